//! `authority`: by what this broker is known to whoever verifies keys: the certificate that those of attestation keys lead to, and the
//! key that keys in TPMs obey.

use super::Global;
use super::state::State;
use crate::broker::Settings;
use attest_evidence::report::Report;
use serde_json::json;

/// Prints both.
pub(super) async fn run(global: &Global) -> Result<(), Report> {
    let broker = State::of(global)?.broker(Settings::default()).await?;
    let certificate = broker.keys().ak_authority_pem();
    let grant_key = broker.keys().grant_key_pem();
    let data = json!({ "certificate": certificate, "grant_key": grant_key });
    super::print(global, "attest-run/authority/v1", &data, || certificate + &grant_key);
    Ok(())
}
