//! The claims of an attestation result.

use super::appraisal::Appraisal;
use super::extensions::Extensions;
use super::json::{Object, text};
use super::profile::Profile;
use super::refused::{EarRefused, Problem};
use super::vector::TrustTier;
use attest_evidence::json::LONGEST_NAME;
use attest_evidence::time::UnixSeconds;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most attesters of one result: a host, its job and its step are three.
const MOST_SUBMODS: usize = 64;

/// An attestation result (draft-ietf-rats-ear §3): what one verifier concluded of one or more attesters.
///
/// These are claims, and anybody can make them: a result that is believed is a [`VerifiedEar`](super::VerifiedEar).
#[derive(Debug, Clone, PartialEq)]
pub struct Ear {
    profile: Profile,
    status: Option<TrustTier>,
    issued: UnixSeconds,
    not_before: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
    verifier: VerifierId,
    raw_evidence: Option<Vec<u8>>,
    submods: BTreeMap<String, Appraisal>,
    nonce: Option<EatNonce>,
    extensions: Extensions,
}

/// Which software appraised (AR4SI §2.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierId {
    /// Who made it.
    pub developer: String,
    /// Which build of it.
    pub build: String,
}

/// What somebody asked for freshness by (RFC 9711 §4.1): text of 8 to 88 bytes. Lists of nonces are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EatNonce(String);

impl Ear {
    /// The result of `verifier` at `issued`, over attesters that each have a label.
    ///
    /// # Errors
    /// There are no attesters, too many, or one without a label; or an appraisal names more policies than the profile
    /// can tell.
    pub fn new(
        profile: Profile,
        verifier: VerifierId,
        issued: UnixSeconds,
        submods: BTreeMap<String, Appraisal>,
    ) -> Result<Self, EarRefused> {
        check_submods(&submods)?;
        for (label, appraisal) in &submods {
            if profile.has_one_policy() && appraisal.policies().len() > 1 {
                let at = format!("submods.{label}.{}", profile.names().policies);
                return Err(EarRefused::claim(at, Problem::OutOfRange("one policy")));
            }
        }
        Ok(Self {
            profile,
            status: profile.has_overall_status().then(|| worst(&submods)),
            issued,
            not_before: None,
            expires: None,
            verifier,
            raw_evidence: None,
            submods,
            nonce: None,
            extensions: Extensions::default(),
        })
    }

    /// Good until `moment`, and not any more then.
    #[must_use]
    pub const fn expiring(mut self, moment: UnixSeconds) -> Self {
        self.expires = Some(moment);
        self
    }

    /// As the answer to whoever gave `nonce`.
    #[must_use]
    pub fn answering(mut self, nonce: EatNonce) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// With the evidence as it came. It tells the reader everything that the attester told the verifier.
    #[must_use]
    pub fn with_raw_evidence(mut self, evidence: Vec<u8>) -> Self {
        self.raw_evidence = Some(evidence);
        self
    }

    /// With a claim that is not the draft's.
    ///
    /// # Errors
    /// See [`Extensions::insert`].
    pub fn with_extension(mut self, name: &str, members: Map<String, Value>) -> Result<Self, EarRefused> {
        self.extensions.insert(name, members)?;
        Ok(self)
    }

    /// Reads a claims set that is not signed, or whose signature the caller has verified.
    ///
    /// # Errors
    /// See [`EarRefused`].
    pub fn parse(json: &[u8]) -> Result<Self, EarRefused> {
        let mut object = Object::parse("claims", json)?;
        let tag = object.require_text(Profile::CLAIM)?;
        if tag.len() > LONGEST_NAME {
            return Err(EarRefused::claim(Profile::CLAIM, Problem::OutOfRange("256 bytes at most")));
        }
        let profile = Profile::from_tag(&tag).ok_or(EarRefused::Profile(tag))?;
        let names = profile.names();
        if object.take("aud").is_some() {
            return Err(EarRefused::claim("aud", Problem::Audience));
        }
        let issued = take_time(&mut object, "iat")?.ok_or_else(|| EarRefused::claim("iat", Problem::Missing))?;
        let not_before = take_time(&mut object, "nbf")?;
        let expires = take_time(&mut object, "exp")?;
        let verifier = VerifierId::read(names.verifier, object.require(names.verifier)?)?;
        let raw_evidence = match object.take_text(names.raw_evidence)? {
            Some(text) => Some(
                BASE64URL_NOPAD
                    .decode(text.as_bytes())
                    .map_err(|_| EarRefused::claim(names.raw_evidence, Problem::WrongType("base64url")))?,
            ),
            None => None,
        };
        let nonce = EatNonce::take(&mut object)?;
        let mut submods = BTreeMap::new();
        for (at, label, value) in Object::of("submods", object.require("submods")?)?.rest() {
            submods.insert(label, Appraisal::read(profile, &at, value)?);
        }
        check_submods(&submods)?;
        let status = match object.take(names.status) {
            Some(value) => Some(TrustTier::read(names.status, &value)?),
            None => None,
        };
        let borne = worst(&submods);
        if let Some(stated) = status.filter(|stated| stated.is_better_than(borne)) {
            return Err(EarRefused::Status { at: names.status.to_owned(), stated, borne });
        }
        let extensions = Extensions::read(object)?;
        Ok(Self { profile, status, issued, not_before, expires, verifier, raw_evidence, submods, nonce, extensions })
    }

    /// The claims set as JSON text.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// The claims set as JSON.
    pub fn to_value(&self) -> Value {
        let names = self.profile.names();
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put(Profile::CLAIM, self.profile.as_str().into());
        put("iat", self.issued.0.into());
        put(names.verifier, self.verifier.to_value());
        let submods: Map<String, Value> =
            self.submods.iter().map(|(label, appraisal)| (label.clone(), appraisal.to_value(self.profile))).collect();
        put("submods", submods.into());
        if let Some(status) = self.status {
            put(names.status, status.as_str().into());
        }
        for (name, time) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let Some(UnixSeconds(seconds)) = time {
                put(name, seconds.into());
            }
        }
        if let Some(nonce) = &self.nonce {
            put(EatNonce::CLAIM, nonce.as_str().into());
        }
        if let Some(evidence) = &self.raw_evidence {
            put(names.raw_evidence, BASE64URL_NOPAD.encode(evidence).into());
        }
        self.extensions.write(&mut members);
        Value::Object(members)
    }

    /// Which edition of the format it follows.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// How far all its attesters together are trusted: as far as the one of least trust, or less.
    pub fn status(&self) -> TrustTier {
        self.status.unwrap_or_else(|| worst(&self.submods))
    }

    /// When it was made.
    pub const fn issued(&self) -> UnixSeconds {
        self.issued
    }

    /// From when on it is good, if it says so.
    pub const fn not_before(&self) -> Option<UnixSeconds> {
        self.not_before
    }

    /// Until when it is good, if it says so.
    pub const fn expires(&self) -> Option<UnixSeconds> {
        self.expires
    }

    /// Which software appraised.
    pub const fn verifier(&self) -> &VerifierId {
        &self.verifier
    }

    /// The evidence as it came.
    pub fn raw_evidence(&self) -> Option<&[u8]> {
        self.raw_evidence.as_deref()
    }

    /// The appraisal of each attester, by its label. There is at least one.
    pub const fn submods(&self) -> &BTreeMap<String, Appraisal> {
        &self.submods
    }

    /// What it is the answer to. A reader who asked with a nonce must compare it.
    pub const fn nonce(&self) -> Option<&EatNonce> {
        self.nonce.as_ref()
    }

    /// Claims that are not the draft's.
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

impl VerifierId {
    fn read(at: &str, value: Value) -> Result<Self, EarRefused> {
        let mut object = Object::of(at, value)?;
        let id = Self { developer: object.require_text("developer")?, build: object.require_text("build")? };
        object.finish()?;
        Ok(id)
    }

    fn to_value(&self) -> Value {
        let members = [("developer", &self.developer), ("build", &self.build)];
        Map::from_iter(members.map(|(name, text)| (name.to_owned(), text.as_str().into()))).into()
    }
}

impl EatNonce {
    pub(super) const CLAIM: &str = "eat_nonce";

    /// The nonce of these 8 to 64 bytes: base64, as the draft wants it.
    ///
    /// # Errors
    /// There are fewer bytes, or more.
    pub fn of(bytes: &[u8]) -> Result<Self, EarRefused> {
        if !(8..=64).contains(&bytes.len()) {
            return Err(EarRefused::claim(Self::CLAIM, Problem::OutOfRange("8 to 64 bytes")));
        }
        Ok(Self(BASE64.encode(bytes)))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn take(object: &mut Object) -> Result<Option<Self>, EarRefused> {
        let Some(value) = object.take(Self::CLAIM) else { return Ok(None) };
        let at = object.path(Self::CLAIM);
        let text = text(&at, value)?;
        if !(8..=88).contains(&text.len()) {
            return Err(EarRefused::claim(at, Problem::OutOfRange("8 to 88 bytes of text")));
        }
        Ok(Some(Self(text)))
    }
}

fn worst(submods: &BTreeMap<String, Appraisal>) -> TrustTier {
    submods.values().map(Appraisal::status).reduce(TrustTier::worse_of).unwrap_or(TrustTier::None)
}

fn check_submods(submods: &BTreeMap<String, Appraisal>) -> Result<(), EarRefused> {
    if submods.is_empty() {
        return Err(EarRefused::claim("submods", Problem::Empty));
    }
    if submods.len() > MOST_SUBMODS {
        return Err(EarRefused::claim("submods", Problem::OutOfRange("64 attesters at most")));
    }
    if submods.keys().any(|label| label.is_empty() || label.len() > LONGEST_NAME) {
        return Err(EarRefused::claim("submods", Problem::OutOfRange("labels of 1 to 256 bytes")));
    }
    Ok(())
}

/// The draft forbids times with a fraction or an exponent.
fn take_time(object: &mut Object, name: &str) -> Result<Option<UnixSeconds>, EarRefused> {
    let Some(value) = object.take(name) else { return Ok(None) };
    let seconds =
        value.as_u64().ok_or_else(|| EarRefused::claim(name, Problem::WrongType("a whole number of seconds")))?;
    Ok(Some(UnixSeconds(seconds)))
}
