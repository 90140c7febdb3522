//! Challenges that the broker need not remember.

use crate::bytes::{Malformed, Reader};
use crate::digest::to_hex;
use crate::name::BrokerId;
use crate::time::UnixSeconds;
use crate::tpm::{PcrSelection, TpmName};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// The body of `POST /v1/challenge`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// Name of the AK that will make the quote.
    pub ak: TpmName,
}

/// 32 random bytes from the broker. Moved, not copied: a nonce is used once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// A fresh nonce.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A nonce received.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&to_hex(&self.0))
    }
}

/// A challenge: the broker authenticated every field of it to itself.
///
/// ```text
/// challenge := version:u8 ‖ nonce:32 ‖ broker:len:u16 ‖ ak:34 ‖ pcrs:3 ‖ expires:u64 ‖ mac:32
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What the quote must be fresh for.
    pub nonce: Nonce,
    /// The broker that gave it out.
    pub broker: BrokerId,
    /// The AK that may answer.
    pub ak: TpmName,
    /// The PCRs that the quote must cover, no more and no fewer.
    pub selection: PcrSelection,
    /// By the broker's clock; from then on it is refused.
    pub expires: UnixSeconds,
    mac: [u8; 32],
}

const CHALLENGE_VERSION: u8 = 1;

/// Why a challenge is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeRefused {
    /// This broker did not give it out, or somebody changed it.
    #[error("this broker did not give out that challenge")]
    NotOurs,
    /// Its time is up.
    #[error("the challenge expired at {expires}, it is {now}")]
    Expired {
        /// When it expired.
        expires: UnixSeconds,
        /// The broker's clock.
        now: UnixSeconds,
    },
}

impl Challenge {
    /// Reads one whole challenge.
    ///
    /// # Errors
    /// Refuses other versions, malformed identifiers, and bytes missing or left over.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("challenge", bytes);
        let at_version = reader.clone();
        let version = reader.u8()?;
        if version != CHALLENGE_VERSION {
            let problem = crate::Problem::Value { field: "version", value: version.into(), wanted: "1 is wanted" };
            return Err(at_version.malformed(problem));
        }
        let nonce = Nonce(reader.array()?);
        let at_broker = reader.clone();
        let broker = std::str::from_utf8(reader.sized_u16("broker", 64)?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| at_broker.malformed(crate::Problem::Text("not a broker id")))?;
        let at_ak = reader.clone();
        let ak = TpmName::from_bytes(&reader.array::<34>()?)
            .ok_or_else(|| at_ak.malformed(crate::Problem::Text("not a SHA-256 Name")))?;
        let selection = PcrSelection::from_bits(reader.array()?);
        let expires = UnixSeconds(reader.u64()?);
        let mac = reader.array()?;
        reader.end()?;
        Ok(Self { nonce, broker, ak, selection, expires, mac })
    }

    /// The inverse of [`Challenge::parse`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.authenticated();
        out.extend(self.mac);
        out
    }

    fn authenticated(&self) -> Vec<u8> {
        let mut out = vec![CHALLENGE_VERSION];
        out.extend(self.nonce.0);
        let broker = self.broker.as_str().as_bytes();
        out.extend(u16::try_from(broker.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(broker);
        out.extend(self.ak.as_bytes());
        out.extend(self.selection.bits());
        out.extend(self.expires.0.to_be_bytes());
        out
    }
}

/// The key by which a broker, and each of its replicas, knows its own challenges again.
pub struct ChallengeKey(Zeroizing<[u8; 32]>);

impl ChallengeKey {
    /// The key with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A challenge for `nonce`.
    pub fn challenge(
        &self,
        nonce: Nonce,
        broker: BrokerId,
        ak: TpmName,
        selection: PcrSelection,
        expires: UnixSeconds,
    ) -> Challenge {
        let mut challenge = Challenge { nonce, broker, ak, selection, expires, mac: [0; 32] };
        challenge.mac = self.mac(&challenge).finalize().into_bytes().into();
        challenge
    }

    /// Whether this broker gave the challenge out, unchanged, and its time is not up.
    ///
    /// Says nothing about whether it has been used: that is the store's to know.
    ///
    /// # Errors
    /// See [`ChallengeRefused`].
    pub fn check(&self, challenge: &Challenge, now: UnixSeconds) -> Result<(), ChallengeRefused> {
        self.mac(challenge).verify(&challenge.mac.into()).map_err(|_| ChallengeRefused::NotOurs)?;
        if now >= challenge.expires {
            return Err(ChallengeRefused::Expired { expires: challenge.expires, now });
        }
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §3)")]
    fn mac(&self, challenge: &Challenge) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("HMAC takes keys of every length");
        mac.update(b"attest-run/challenge/v1");
        mac.update(&challenge.authenticated());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_of_a_challenge_is_seen() {
        let key = ChallengeKey::new([3; 32]);
        let broker = BrokerId::from_bytes([2; 16]);
        let selection = "0,1,7".parse().unwrap();
        let challenge = key.challenge(Nonce([1; 32]), broker, TpmName::of(b"ak"), selection, UnixSeconds(160));
        assert_eq!(key.check(&challenge, UnixSeconds(159)), Ok(()));
        let late = ChallengeRefused::Expired { expires: UnixSeconds(160), now: UnixSeconds(160) };
        assert_eq!(key.check(&challenge, UnixSeconds(160)), Err(late));
        let bytes = challenge.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(changed) = Challenge::parse(&changed) {
                assert_eq!(key.check(&changed, UnixSeconds(0)), Err(ChallengeRefused::NotOurs), "bit {bit}");
            }
        }
        assert_eq!(ChallengeKey::new([4; 32]).check(&challenge, UnixSeconds(0)), Err(ChallengeRefused::NotOurs));
    }
}
