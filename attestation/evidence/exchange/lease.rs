//! Messages about a lease: how it lives on and ends, and how its holder hears that it was taken.

use super::Isolation;
use crate::bytes::{Malformed, Problem, Reader, put_sized_u32, read_json};
use crate::digest::Sha256Digest;
use crate::name::LeaseId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The exporter context by which agent and broker derive the key of a lease from the HPKE context of its grant
/// (RFC 9180 §5.3). 32 bytes.
pub const LEASE_EXPORT: &[u8] = b"attest-run/lease/v1";
/// Most leases that one message speaks of: an agent serves fewer steps at once.
pub const MOST_LEASES: usize = 256;
/// Most bytes of a message, before its authentication.
const LONGEST_MESSAGE: u32 = 16 * 1024;

/// What the holder of a lease says with the key of that lease.
pub trait LeaseWords: Serialize + DeserializeOwned {
    /// Stands before the bytes that are authenticated: no message is taken for one of another kind.
    const DOMAIN: &'static [u8];

    /// The lease whose key authenticates it.
    fn lease(&self) -> &LeaseId;
}

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

impl LeaseWords for LeaseMessage {
    const DOMAIN: &'static [u8] = b"attest-run/lease-message/v1";

    fn lease(&self) -> &LeaseId {
        &self.lease
    }
}

/// The end of a lease together with a quote, framed as an exchange: what the machine is when the step has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseClose {
    /// What the agent says of the walls around it.
    pub isolation: Isolation,
    /// The sealed [`LeaseMessage`] that ends the lease, hexadecimal in JSON.
    #[serde(with = "hex")]
    pub release: Vec<u8>,
    /// What the step did: the JSON of a [`Ledger`](super::Ledger), as text. The quote vouches for these bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
}

mod hex {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        HEXLOWER.decode(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)
    }
}

impl LeaseClose {
    /// Reads the part of `bound` that follows the challenge.
    ///
    /// # Errors
    /// Refuses what is not exactly one of these.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        read_json("end of a lease", bytes, "not the words of a lease's end")
    }

    /// The part of `bound` that follows the challenge.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// `SHA-256("attest-run/lease-end/v1" ‖ SHA-256(bound))`.
pub fn lease_end_qualifying_data(bound: &Sha256Digest) -> Sha256Digest {
    Sha256Digest::of_parts([b"attest-run/lease-end/v1".as_slice(), bound.as_bytes()])
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

/// The wish to hear at once when leases of this runner are taken. It changes nothing, so that it needs no counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseWatch {
    /// A lease that the runner holds: its key authenticates the wish.
    pub lease: LeaseId,
    /// All that it holds: those that have ended are named at once.
    pub held: Vec<LeaseId>,
}

impl LeaseWords for LeaseWatch {
    const DOMAIN: &'static [u8] = b"attest-run/lease-watch/v1";

    fn lease(&self) -> &LeaseId {
        &self.lease
    }
}

/// Leases that are held no more, whatever their holder did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasesEnded {
    /// Which, each with the reason.
    pub ended: Vec<EndedLease>,
}

/// A lease that is held no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedLease {
    /// Which.
    pub lease: LeaseId,
    /// Why, in a word: `revoked`, `lost`, `job-ended`, `replayed`, `unknown`.
    pub how: String,
}

/// A message and its authentication: HMAC-SHA-256 with the key of the lease.
///
/// ```text
/// sealed := len:u32 ‖ message ‖ mac:32
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<'a, T> {
    bytes: &'a [u8],
    mac: [u8; 32],
    /// The message, believed by nobody before [`Sealed::authenticates`] said yes.
    pub claimed: T,
}

impl<'a, T: LeaseWords> Sealed<'a, T> {
    /// Takes one whole sealed message apart.
    ///
    /// # Errors
    /// Refuses what is not exactly this structure.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("lease message", bytes);
        let sealed = Self::read(&mut reader)?;
        reader.end()?;
        Ok(sealed)
    }

    /// Takes several sealed messages apart, one behind the other.
    ///
    /// # Errors
    /// Refuses what is not exactly that, none, and more than [`MOST_LEASES`].
    pub fn parse_all(bytes: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new("lease messages", bytes);
        let mut all = Vec::new();
        while all.is_empty() || reader.offset() < bytes.len() {
            if all.len() >= MOST_LEASES {
                let most = MOST_LEASES as u64;
                return Err(reader.malformed(Problem::TooMany { field: "messages", value: most + 1, most }));
            }
            all.push(Self::read(&mut reader)?);
        }
        Ok(all)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let message = reader.sized_u32("message", LONGEST_MESSAGE)?;
        let mac = reader.array()?;
        let claimed = read_json("lease message", message, "not the JSON of a lease message")?;
        Ok(Self { bytes: message, mac, claimed })
    }

    /// Whether whoever sealed it holds the key of the lease.
    pub fn authenticates(&self, key: &[u8]) -> bool {
        mac::<T>(key, self.bytes).verify(&self.mac.into()).is_ok()
    }
}

/// A message with its authentication.
#[expect(clippy::expect_used, reason = "plain structures with text keys always serialize")]
pub fn seal<T: LeaseWords>(message: &T, key: &[u8]) -> Vec<u8> {
    let message = serde_json::to_vec(message).expect("plain structures with text keys always serialize");
    let tag = mac::<T>(key, &message).finalize().into_bytes();
    let mut out = Vec::with_capacity(message.len() + 36);
    let _ = put_sized_u32(&mut out, &message);
    out.extend(tag);
    out
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §3)")]
fn mac<T: LeaseWords>(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(T::DOMAIN);
    mac.update(message);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> LeaseMessage {
        LeaseMessage { lease: LeaseId::from_bytes([1; 16]), counter: 1, signal: LeaseSignal::Succeeded }
    }

    #[test]
    fn a_message_is_known_by_the_key_of_its_lease_alone() {
        let sealed = seal(&message(), &[5; 32]);
        let parsed = Sealed::<LeaseMessage>::parse(&sealed).unwrap();
        assert_eq!(parsed.claimed, message());
        assert!(parsed.authenticates(&[5; 32]));
        assert!(!parsed.authenticates(&[6; 32]));
        for byte in 4..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            let parsed = Sealed::<LeaseMessage>::parse(&changed);
            assert!(parsed.map_or(true, |parsed| !parsed.authenticates(&[5; 32])), "{byte}");
        }
    }

    #[test]
    fn a_wish_to_watch_is_no_message_and_several_are_told_apart() {
        let watch = LeaseWatch { lease: LeaseId::from_bytes([1; 16]), held: Vec::new() };
        let sealed = seal(&watch, &[5; 32]);
        assert!(Sealed::<LeaseMessage>::parse(&sealed).is_err());
        let mut same_words = Sealed::<LeaseWatch>::parse(&sealed).unwrap();
        assert!(same_words.authenticates(&[5; 32]));
        same_words.mac = mac::<LeaseMessage>(&[5; 32], same_words.bytes).finalize().into_bytes().into();
        assert!(!same_words.authenticates(&[5; 32]));

        let one = seal(&message(), &[5; 32]);
        let all = [one.as_slice(), &one, &one].concat();
        assert_eq!(Sealed::<LeaseMessage>::parse_all(&all).unwrap().len(), 3);
        assert!(Sealed::<LeaseMessage>::parse(&all).is_err());
        assert!(Sealed::<LeaseMessage>::parse_all(&all[..all.len() - 1]).is_err());
        assert!(Sealed::<LeaseMessage>::parse_all(b"").is_err());
        assert!(Sealed::<LeaseMessage>::parse_all(&one.repeat(MOST_LEASES + 1)).is_err());
    }
}
