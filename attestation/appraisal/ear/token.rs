//! Signed attestation results: compact JWS (RFC 7515 §7.1), from claims to text and back to belief.

use super::claims::Ear;
use super::json::Object;
use super::key::{EarAlgorithm, EarKey};
use super::refused::EarRefused;
use crate::jws::{Compact, decode};
use attest_evidence::json::LONGEST_NAME;
use attest_evidence::time::UnixSeconds;
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use std::fmt;

/// Longest token: a result with its raw evidence has an event log of a hundred KiB in it.
const LONGEST_TOKEN: usize = 1024 * 1024;
/// Longest header, in base64url: an algorithm, a type, the name of a key, and what others add to that. It is read before
/// any signature, and JSON can take ninety times its length in memory.
const LONGEST_HEADER: usize = 16 * 1024;
/// Seconds by which the verifier's clock may differ from the reader's.
const LEEWAY: u64 = 60;
/// What a result says in `typ` (RFC 9782 §3).
const TYPE: &str = "eat+jwt";

impl Ear {
    /// Signs the result. `sign` gets the bytes to sign, and gives the signature of 64 bytes that `algorithm` has: the
    /// key stays where it is. `key_id` is only for readers who have several keys.
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn sign<E>(
        &self,
        algorithm: EarAlgorithm,
        key_id: Option<&str>,
        sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<String, E> {
        let mut header = json!({ "alg": algorithm.as_str(), "typ": TYPE });
        if let (Some(id), Some(members)) = (key_id, header.as_object_mut()) {
            members.insert("kid".to_owned(), id.into());
        }
        let mut token = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(self.to_json().as_bytes(), &mut token);
        let signature = sign(token.as_bytes())?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(token)
    }
}

/// A token whose signature nobody has looked at: nothing in it is true, and its claims are not even read.
pub struct UnverifiedEar<'a> {
    signed: &'a str,
    algorithm: String,
    key_id: Option<String>,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

/// A result that a verifier has signed, and that is in time.
///
/// Its one constructor is [`UnverifiedEar::verify`].
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedEar(Ear);

impl<'a> UnverifiedEar<'a> {
    /// Takes a compact JWS apart.
    ///
    /// # Errors
    /// [`EarRefused::Malformed`] and [`EarRefused::Type`].
    pub fn parse(text: &'a str) -> Result<Self, EarRefused> {
        let malformed = |reason: &str| EarRefused::Malformed(reason.to_owned());
        let Compact { signed, header, claims, signature } =
            Compact::parse(text, LONGEST_TOKEN).map_err(EarRefused::Malformed)?;
        let part = |part: &str, what: &str| decode(part, what).map_err(EarRefused::Malformed);
        if header.len() > LONGEST_HEADER {
            return Err(malformed("its header is too long"));
        }
        let mut members = Object::parse("header", &part(header, "header")?)?;
        if members.take("crit").is_some() || members.take("b64").is_some() {
            return Err(malformed("its header asks for an extension"));
        }
        let mut text = |name: &str| {
            let text = members.take_text(name).map_err(|_| malformed(&format!("its header's `{name}` is not text")))?;
            if text.as_ref().is_some_and(|text| text.len() > LONGEST_NAME) {
                return Err(malformed(&format!("its header's `{name}` is too long")));
            }
            Ok(text)
        };
        let algorithm = text("alg")?.ok_or_else(|| malformed("its header has no `alg`"))?;
        let kind = text("typ")?.ok_or_else(|| malformed("its header has no `typ`"))?;
        if !is_type_of_results(&kind) {
            return Err(EarRefused::Type(kind));
        }
        let key_id = text("kid")?;
        let (claims, signature) = (part(claims, "claims")?, part(signature, "signature")?);
        Ok(Self { signed, algorithm, key_id, claims, signature })
    }

    /// Which key it says it is signed with: to choose among those that one has, and for nothing else.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Believes it, if `key` has signed it and it is in time.
    ///
    /// A result without an end is good for ever: whoever reads it must look at [`Ear::issued`] or [`Ear::nonce`].
    ///
    /// # Errors
    /// See [`EarRefused`]: the signature first, then what it says.
    pub fn verify(&self, key: &EarKey, now: UnixSeconds) -> Result<VerifiedEar, EarRefused> {
        let wanted = key.algorithm().as_str();
        if self.algorithm != wanted {
            return Err(EarRefused::Algorithm { found: self.algorithm.clone(), wanted });
        }
        key.verify(self.signed.as_bytes(), &self.signature)?;
        let ear = Ear::parse(&self.claims)?;
        let wrong = |what, claim| Err(EarRefused::Time { what, claim, now });
        for (claim, what) in [(Some(ear.issued()), "issued in the future"), (ear.not_before(), "not valid yet")] {
            if let Some(claim) = claim.filter(|claim| *claim > now.plus(LEEWAY)) {
                return wrong(what, claim);
            }
        }
        if let Some(expires) = ear.expires().filter(|expires| now >= expires.plus(LEEWAY)) {
            return wrong("expired", expires);
        }
        Ok(VerifiedEar(ear))
    }
}

impl VerifiedEar {
    /// What the verifier has said.
    pub const fn ear(&self) -> &Ear {
        &self.0
    }
}

/// A passport: whoever shows it is taken for the attester. Nothing of it goes to a log by accident.
impl fmt::Debug for UnverifiedEar<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "UnverifiedEar({} bytes, key {:?})", self.signed.len(), self.key_id)
    }
}

/// Ours, or what older writers say of every JWT; media types have no case (RFC 7515 §4.1.9).
fn is_type_of_results(kind: &str) -> bool {
    let kind = kind.strip_prefix("application/").unwrap_or(kind);
    [TYPE, "jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}
