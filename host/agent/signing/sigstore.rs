//! Signatures as Sigstore bundles, with the broker's timestamp: the key is known to whoever verifies.

use super::SigningError;
use crate::agent::Link;
use attest_evidence::time::{Clock as _, SystemClock};
use attest_evidence::{Sha256Digest, report::Explain as _};
use attest_sigstore::{TimestampQuery, message_bundle};
use attest_wire::client::Key;
use std::sync::Arc;

/// Who says when something was signed.
#[derive(Clone, Default)]
pub(crate) enum Timestamps {
    /// The broker.
    Broker(Arc<Link>),
    /// Nobody: in rehearsals, whose signatures are of no worth.
    #[default]
    None,
}

/// The bundle of a signature by `key` over the message with this digest.
pub(super) async fn bundle(
    key: &Key,
    digest: &Sha256Digest,
    signature: &[u8],
    timestamps: &Timestamps,
) -> Result<Vec<u8>, SigningError> {
    let timestamp = match timestamps {
        Timestamps::None => None,
        Timestamps::Broker(link) => {
            let query =
                TimestampQuery::about(signature).map_err(|refused| SigningError::NoTimestamp(refused.to_string()))?;
            let answer = link.client.timestamp(query.to_der().to_vec()).await;
            let answer = answer.map_err(|error| SigningError::NoTimestamp(error.report().what))?;
            let timestamp = query.answer(&answer, SystemClock.now());
            Some(timestamp.map_err(|refused| SigningError::NoTimestamp(refused.to_string()))?)
        }
    };
    // By the hint a verifier finds the key: its fingerprint, of which there is one.
    let hint = format!("sha256:{}", key.fingerprint);
    let bundle = message_bundle(&hint, digest, signature, timestamp.as_ref());
    Ok(bundle.map_err(|error| SigningError::NotComposed(error.to_string()))?.into_bytes())
}
