//! Claims beyond the draft's.

use super::json::{Object, text};
use super::profile::is_taken;
use super::refused::{EarRefused, Problem};
use super::vector::TrustAspect;
use attest_evidence::Sha256Digest;
use attest_evidence::json::LONGEST_NAME;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Claims that are not the draft's, kept as they came. They never change what the draft's claims say.
///
/// Of those that others have defined and that a reader may build on, the form is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extensions(BTreeMap<String, Value>);

impl Extensions {
    /// Adds a claim. The draft wants extensions to be objects.
    ///
    /// # Errors
    /// The name is a claim's of some edition of the draft, or of JWT; or it is one whose form is known, and this is not
    /// it.
    pub fn insert(&mut self, name: &str, members: Map<String, Value>) -> Result<(), EarRefused> {
        self.add(name, name, members.into())
    }

    /// The value of the claim of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// What is left of an object when everything that is known was taken.
    pub(super) fn read(object: Object) -> Result<Self, EarRefused> {
        let mut extensions = Self::default();
        for (at, name, value) in object.rest() {
            extensions.add(&at, &name, value)?;
        }
        Ok(extensions)
    }

    pub(super) fn write(&self, members: &mut Map<String, Value>) {
        members.extend(self.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    fn add(&mut self, at: &str, name: &str, value: Value) -> Result<(), EarRefused> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(EarRefused::claim("(extension)", Problem::OutOfRange("a name of 1 to 256 bytes")));
        }
        if is_taken(name) {
            return Err(EarRefused::claim(at, Problem::Undefined));
        }
        let value = match name {
            "ear.veraison.key-attestation" | "ear_veraison_key_attestation" => key_attestation(at, value)?,
            "ear.veraison.annotated-evidence"
            | "ear.veraison.policy-claims"
            | "ear_veraison_annotated_evidence"
            | "ear_veraison_policy_claims"
            | "ear_attester_claims"
            | "ear_verifier_claims" => object(at, value)?,
            _ => value,
        };
        self.0.insert(name.to_owned(), value);
        Ok(())
    }
}

fn object(at: &str, value: Value) -> Result<Value, EarRefused> {
    match value {
        Value::Object(members) if members.is_empty() => Err(EarRefused::claim(at, Problem::Empty)),
        Value::Object(_) => Ok(value),
        _ => Err(EarRefused::claim(at, Problem::WrongType("an object"))),
    }
}

/// A key that was attested: its `SubjectPublicKeyInfo` as base64url. Whoever reads this claim is going to trust a key,
/// so that one without the key is no such claim.
fn key_attestation(at: &str, value: Value) -> Result<Value, EarRefused> {
    let mut object = Object::of(at, value)?;
    let key = object.require_text("akpub")?;
    let bytes = BASE64URL_NOPAD.decode(key.as_bytes());
    if !bytes.is_ok_and(|bytes| !bytes.is_empty()) {
        return Err(EarRefused::claim(object.path("akpub"), Problem::WrongType("base64url")));
    }
    object.finish()?;
    Ok(Map::from_iter([("akpub".to_owned(), key.into())]).into())
}

/// Which pieces of evidence the claims of a vector rest on: for each, the digest of every piece, by its name. Who has
/// the evidence can check that it is the one that was appraised.
///
/// This project's own claim, `ear.attest-run.evidence` or `ear_attest_run_evidence` by the profile; digests are written
/// `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvidenceDigests(BTreeMap<TrustAspect, BTreeMap<String, Sha256Digest>>);

const SHA256: &str = "sha256:";

impl EvidenceDigests {
    /// With one piece more under the claim in this respect. A piece of the same name is replaced.
    #[must_use]
    pub fn with(mut self, aspect: TrustAspect, piece: &str, digest: Sha256Digest) -> Self {
        self.0.entry(aspect).or_default().insert(piece.to_owned(), digest);
        self
    }

    /// The pieces that the claim in this respect rests on.
    pub fn of(&self, aspect: TrustAspect) -> impl Iterator<Item = (&str, &Sha256Digest)> {
        self.0.get(&aspect).into_iter().flatten().map(|(piece, digest)| (piece.as_str(), digest))
    }

    pub(super) fn read(at: &str, value: Value) -> Result<Self, EarRefused> {
        let mut digests = Self::default();
        for (at, name, value) in Object::of(at, value)?.rest() {
            let aspect = TrustAspect::read(&at, &name)?;
            for (at, piece, value) in Object::of(&at, value)?.rest() {
                let digest = text(&at, value)?.strip_prefix(SHA256).and_then(|digits| digits.parse().ok());
                let digest = digest.ok_or_else(|| EarRefused::claim(&at, Problem::WrongType("a SHA-256 digest")))?;
                digests = digests.with(aspect, &piece, digest);
            }
        }
        Ok(digests)
    }

    pub(super) fn to_value(&self) -> Value {
        let pieces = |pieces: &BTreeMap<String, Sha256Digest>| -> Map<String, Value> {
            pieces.iter().map(|(piece, digest)| (piece.clone(), format!("{SHA256}{digest}").into())).collect()
        };
        let aspects: Map<String, Value> =
            self.0.iter().map(|(aspect, of)| (aspect.as_str().to_owned(), pieces(of).into())).collect();
        aspects.into()
    }
}
