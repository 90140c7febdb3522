//! `authority`: by what this broker's certificates of attestation keys are known.

use super::Global;
use super::state::State;
use crate::broker::Settings;
use attest_evidence::report::Report;
use serde_json::json;

/// Prints the authority's certificate.
pub(super) async fn run(global: &Global) -> Result<(), Report> {
    let broker = State::of(global)?.broker(Settings::default()).await?;
    let certificate = broker.keys().ak_authority_pem();
    let data = json!({ "certificate": certificate });
    super::print(global, "attest-run/authority/v1", &data, || certificate);
    Ok(())
}
