//! Heartbeat and release: how a lease lives on and ends.

use crate::bytes::{Malformed, Problem, Reader, put_sized_u32};
use crate::name::LeaseId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The exporter context by which agent and broker derive the key of a lease from the HPKE context of its grant
/// (RFC 9180 §5.3). 32 bytes.
pub const LEASE_EXPORT: &[u8] = b"attest-run/lease/v1";
const MESSAGE_DOMAIN: &[u8] = b"attest-run/lease-message/v1";

/// A message about a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseMessage {
    /// Which lease.
    pub lease: LeaseId,
    /// Greater in each message than in the one before; the first is 1.
    pub counter: u64,
    /// What it says.
    pub signal: LeaseSignal,
}

/// What is said about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseSignal {
    /// The step still runs.
    Heartbeat,
    /// The step has ended well.
    Succeeded,
    /// The step has ended, not well.
    Failed,
}

impl LeaseSignal {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A lease message and its authentication: HMAC-SHA-256 with the key of the lease.
///
/// ```text
/// sealed := len:u32 ‖ message ‖ mac:32
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedLeaseMessage<'a> {
    bytes: &'a [u8],
    mac: [u8; 32],
    /// The message, believed by nobody before [`SealedLeaseMessage::authenticates`] said yes.
    pub claimed: LeaseMessage,
}

impl<'a> SealedLeaseMessage<'a> {
    /// Takes one whole sealed message apart.
    ///
    /// # Errors
    /// Refuses what is not exactly this structure.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("lease message", bytes);
        let message = reader.sized_u32("message", 1024)?;
        let mac = reader.array()?;
        reader.end()?;
        let claimed = serde_json::from_slice(message).map_err(|error| Malformed {
            structure: "lease message",
            offset: error.column(),
            problem: Problem::Text("not the JSON of a lease message"),
        })?;
        Ok(Self { bytes: message, mac, claimed })
    }

    /// Whether whoever sealed it holds the key of the lease.
    pub fn authenticates(&self, key: &[u8]) -> bool {
        mac(key, self.bytes).verify(&self.mac.into()).is_ok()
    }
}

impl LeaseMessage {
    /// The message with its authentication.
    #[expect(clippy::expect_used, reason = "plain structures with text keys always serialize")]
    pub fn seal(&self, key: &[u8]) -> Vec<u8> {
        let message = serde_json::to_vec(self).expect("plain structures with text keys always serialize");
        let tag = mac(key, &message).finalize().into_bytes();
        let mut out = Vec::with_capacity(message.len() + 36);
        let _ = put_sized_u32(&mut out, &message);
        out.extend(tag);
        out
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §3)")]
fn mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(MESSAGE_DOMAIN);
    mac.update(message);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_the_key_of_its_lease_alone() {
        let message = LeaseMessage { lease: LeaseId::from_bytes([1; 16]), counter: 1, signal: LeaseSignal::Succeeded };
        let sealed = message.seal(&[5; 32]);
        let parsed = SealedLeaseMessage::parse(&sealed).unwrap();
        assert_eq!(parsed.claimed, message);
        assert!(parsed.authenticates(&[5; 32]));
        assert!(!parsed.authenticates(&[6; 32]));
        for byte in 4..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(
                SealedLeaseMessage::parse(&changed).map_or(true, |parsed| !parsed.authenticates(&[5; 32])),
                "{byte}"
            );
        }
    }
}
