//! What a verifier concluded of one attester.

use super::claims::EatNonce;
use super::extensions::{EvidenceDigests, Extensions};
use super::json::{Object, text};
use super::profile::Profile;
use super::refused::{EarRefused, Problem};
use super::vector::{TrustAspect, TrustClaim, TrustTier, TrustVector};
use serde_json::{Map, Value};

/// What a verifier concluded of one attester, a submodule of an [`Ear`](super::Ear) (draft-ietf-rats-ear §3.1).
///
/// Its status is computed from its vector. It can be made worse, and never better.
#[derive(Debug, Clone, PartialEq)]
pub struct Appraisal {
    profile: Option<String>,
    status: TrustTier,
    vector: Option<TrustVector>,
    policies: Vec<String>,
    nonce: Option<EatNonce>,
    evidence: Option<EvidenceDigests>,
    extensions: Extensions,
}

impl Appraisal {
    /// The appraisal that came to this vector.
    pub fn of(vector: TrustVector) -> Self {
        Self {
            profile: None,
            status: vector.tier(),
            // The draft has no empty vectors.
            vector: Some(vector).filter(|vector| !vector.is_empty()),
            policies: Vec::new(),
            nonce: None,
            evidence: None,
            extensions: Extensions::default(),
        }
    }

    /// With a status of `tier` if that is less trust than the claims bear.
    #[must_use]
    pub fn no_better_than(mut self, tier: TrustTier) -> Self {
        self.status = self.status.worse_of(tier);
        self
    }

    /// Under one policy more, applied after those that are there.
    #[must_use]
    pub fn under_policy(mut self, id: impl Into<String>) -> Self {
        self.policies.push(id.into());
        self
    }

    /// With the nonce that the evidence answered.
    #[must_use]
    pub fn answering(mut self, nonce: EatNonce) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// With the digests of the evidence that the claims rest on.
    #[must_use]
    pub fn resting_on(mut self, evidence: EvidenceDigests) -> Self {
        self.evidence = Some(evidence);
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

    /// The profile that its extensions are of, if it has one of its own.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// How far the attester is trusted in all.
    pub const fn status(&self) -> TrustTier {
        self.status
    }

    /// The claims that the status rests on. The draft allows a verifier to leave them away if its client asks for that:
    /// then nothing is known beyond the status.
    pub const fn vector(&self) -> Option<&TrustVector> {
        self.vector.as_ref()
    }

    /// What it says in this respect: nothing, where there is no vector.
    pub fn claim(&self, aspect: TrustAspect) -> TrustClaim {
        self.vector.as_ref().map_or(TrustClaim::NO_ASSERTION, |vector| vector.claim(aspect))
    }

    /// The policies that were applied, in their order.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// The nonce in the evidence.
    pub const fn nonce(&self) -> Option<&EatNonce> {
        self.nonce.as_ref()
    }

    /// The evidence that the claims rest on.
    pub const fn evidence(&self) -> Option<&EvidenceDigests> {
        self.evidence.as_ref()
    }

    /// Claims that are not the draft's.
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    pub(super) fn read(profile: Profile, at: &str, value: Value) -> Result<Self, EarRefused> {
        let names = profile.names();
        let mut object = Object::of(at, value)?;
        let status_at = object.path(names.status);
        let stated = TrustTier::read(&status_at, &object.require(names.status)?)?;
        let vector = match object.take(names.vector) {
            Some(vector) => Some(TrustVector::read(&object.path(names.vector), vector)?),
            None => None,
        };
        if let Some(borne) = vector.as_ref().map(TrustVector::tier)
            && stated.is_better_than(borne)
        {
            return Err(EarRefused::Status { at: status_at, stated, borne });
        }
        let policies = match object.take(names.policies) {
            Some(value) => read_policies(profile, &object.path(names.policies), value)?,
            None => Vec::new(),
        };
        let evidence = match object.take(names.evidence) {
            Some(value) => Some(EvidenceDigests::read(&object.path(names.evidence), value)?),
            None => None,
        };
        let nonce = EatNonce::take(&mut object)?;
        let profile = object.take_text(Profile::CLAIM)?;
        let extensions = Extensions::read(object)?;
        Ok(Self { profile, status: stated, vector, policies, nonce, evidence, extensions })
    }

    pub(super) fn to_value(&self, profile: Profile) -> Value {
        let names = profile.names();
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        if let Some(profile) = &self.profile {
            put(Profile::CLAIM, profile.as_str().into());
        }
        put(names.status, self.status.as_str().into());
        if let Some(vector) = &self.vector {
            put(names.vector, vector.to_value());
        }
        match self.policies.as_slice() {
            [] => None,
            [one] if profile.has_one_policy() => put(names.policies, one.as_str().into()),
            many => put(names.policies, many.into()),
        };
        if let Some(nonce) = &self.nonce {
            put(EatNonce::CLAIM, nonce.as_str().into());
        }
        if let Some(evidence) = &self.evidence {
            put(names.evidence, evidence.to_value());
        }
        self.extensions.write(&mut members);
        members.into()
    }
}

fn read_policies(profile: Profile, at: &str, value: Value) -> Result<Vec<String>, EarRefused> {
    if profile.has_one_policy() {
        return Ok(vec![text(at, value)?]);
    }
    let Value::Array(items) = value else { return Err(EarRefused::claim(at, Problem::WrongType("a list"))) };
    if items.is_empty() {
        return Err(EarRefused::claim(at, Problem::Empty));
    }
    items.into_iter().map(|item| text(at, item)).collect()
}
