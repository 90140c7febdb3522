//! Which names a claims set has.

/// An EAT profile (RFC 9711 §6): which edition of the format a claims set follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Veraison's, which its services and libraries write and read: the names of the draft before its third edition,
    /// one policy for each appraisal.
    Veraison,
    /// draft-ietf-rats-ear-03: names that are identifiers in every language, a list of policies.
    Draft03,
    /// draft-ietf-rats-ear-04: two more claims of an appraisal, which here are extensions.
    Draft04,
}

/// How one profile spells the claims that profiles spell differently.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) status: &'static str,
    pub(super) vector: &'static str,
    pub(super) policies: &'static str,
    pub(super) verifier: &'static str,
    pub(super) raw_evidence: &'static str,
    /// This project's own claim: which piece of evidence each claim of a vector rests on.
    pub(super) evidence: &'static str,
}

const VERAISON: Names = Names {
    status: "ear.status",
    vector: "ear.trustworthiness-vector",
    policies: "ear.appraisal-policy-id",
    verifier: "ear.verifier-id",
    raw_evidence: "ear.raw-evidence",
    evidence: "ear.attest-run.evidence",
};

const DRAFT: Names = Names {
    status: "ear_status",
    vector: "ear_trustworthiness_vector",
    policies: "ear_appraisal_policy_ids",
    verifier: "ear_verifier_id",
    raw_evidence: "ear_raw_evidence",
    evidence: "ear_attest_run_evidence",
};

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Veraison, Self::Draft03, Self::Draft04];

    pub(super) const CLAIM: &str = "eat_profile";

    /// What `eat_profile` says.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Veraison => "tag:github.com,2023:veraison/ear",
            Self::Draft03 => "tag:ietf.org,2026:rats/ear#03",
            Self::Draft04 => "tag:ietf.org,2026:rats/ear#04",
        }
    }

    pub(super) fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == tag)
    }

    pub(super) const fn names(self) -> &'static Names {
        match self {
            Self::Veraison => &VERAISON,
            Self::Draft03 | Self::Draft04 => &DRAFT,
        }
    }

    /// Whether an appraisal names one policy at most.
    pub(super) const fn has_one_policy(self) -> bool {
        matches!(self, Self::Veraison)
    }

    /// Whether the set has a status of its own, over all appraisals.
    pub(super) const fn has_overall_status(self) -> bool {
        !matches!(self, Self::Veraison)
    }
}

/// Whether a claim of this name is one that EAT, JWT or some edition of EAR defines and that is read here. No extension
/// may have such a name: who knows another edition would take it for the claim.
pub(super) fn is_taken(name: &str) -> bool {
    let taken = |names: &Names| {
        [names.status, names.vector, names.policies, names.verifier, names.raw_evidence, names.evidence].contains(&name)
    };
    ["eat_profile", "eat_nonce", "submods", "iat", "exp", "nbf", "aud"].contains(&name)
        || taken(&VERAISON)
        || taken(&DRAFT)
}
