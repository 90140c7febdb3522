//! Trustworthiness tiers, claims and vectors (draft-ietf-rats-ar4si §2.3).

use super::json::Object;
use super::refused::{EarRefused, Problem};
use serde_json::{Map, Value};
use std::fmt;

/// How far an attester is trusted: in all, or in one respect (AR4SI §2.3.2).
///
/// The numbers are those of the standard, not an order: saying nothing is less trust than affirming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustTier {
    /// The verifier asserts nothing.
    None = 0,
    /// The verifier affirms.
    Affirming = 2,
    /// The verifier warns.
    Warning = 32,
    /// The verifier says that it is not to be trusted.
    Contraindicated = 96,
}

impl TrustTier {
    /// All of them, each with less trust than the one before.
    pub const BY_FALLING_TRUST: [Self; 4] = [Self::Affirming, Self::None, Self::Warning, Self::Contraindicated];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    /// Whether this says more trust than `other`.
    pub const fn is_better_than(self, other: Self) -> bool {
        self.distrust() < other.distrust()
    }

    /// The one of the two that says less trust.
    #[must_use]
    pub const fn worse_of(self, other: Self) -> Self {
        if self.is_better_than(other) { other } else { self }
    }

    const fn distrust(self) -> u8 {
        match self {
            Self::Affirming => 0,
            Self::None => 1,
            Self::Warning => 2,
            Self::Contraindicated => 3,
        }
    }

    pub(super) fn read(at: &str, value: &Value) -> Result<Self, EarRefused> {
        let text = value.as_str().ok_or_else(|| EarRefused::claim(at, Problem::WrongType("text")))?;
        let tier = Self::BY_FALLING_TRUST.into_iter().find(|tier| tier.as_str() == text);
        tier.ok_or_else(|| EarRefused::claim(at, Problem::OutOfRange("a tier of AR4SI")))
    }
}

impl fmt::Display for TrustTier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What a verifier says in one respect (AR4SI §2.3.2): positive codes are the standard's, negative ones the verifier's
/// own. What a code means beyond its tier depends on the [`TrustAspect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrustClaim(i8);

impl TrustClaim {
    /// The evidence is not enough for a conclusion. The same as no claim.
    pub const NO_ASSERTION: Self = Self(0);
    /// The evidence has parts that the verifier can't evaluate.
    pub const UNKNOWN_EVIDENCE: Self = Self(1);
    /// The verifier failed.
    pub const VERIFIER_MALFUNCTION: Self = Self(-1);
    /// A signature, a digest or a nonce of the evidence is wrong.
    pub const VALIDATION_FAILED: Self = Self(99);

    /// The claim of this code.
    pub const fn from_code(code: i8) -> Self {
        Self(code)
    }

    /// Its code.
    pub const fn code(self) -> i8 {
        self.0
    }

    /// The tier that its code lies in.
    pub const fn tier(self) -> TrustTier {
        match self.0 {
            -1..=1 => TrustTier::None,
            2..=31 | -32..=-2 => TrustTier::Affirming,
            32..=95 | -96..=-33 => TrustTier::Warning,
            96..=127 | -128..=-97 => TrustTier::Contraindicated,
        }
    }

    /// The one of two claims in one respect that stands (AR4SI §2.3.3): the one of less trust, of equal ones the
    /// standard's, and of those the higher code, which says less. Any claim stands before none.
    #[must_use]
    pub fn worse_of(self, other: Self) -> Self {
        let weight = |claim: Self| (claim != Self::NO_ASSERTION, claim.tier().distrust(), claim.0 >= 0, claim.0);
        if weight(other) > weight(self) { other } else { self }
    }
}

impl fmt::Display for TrustClaim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.0, self.tier())
    }
}

/// A claim of the standard, in the respect that it is defined for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandardClaim {
    aspect: TrustAspect,
    claim: TrustClaim,
}

macro_rules! aspects {
    ($(
        $(#[$about:meta])*
        $aspect:ident $name:literal { $( $claim:ident = $code:literal $meaning:literal, )+ }
    )+) => {
        /// A respect in which an attester is trusted or not (AR4SI §2.3.4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum TrustAspect {
            $( $(#[$about])* $aspect, )+
        }

        impl TrustAspect {
            /// All of them, in the standard's order.
            pub const ALL: [Self; 8] = [ $( Self::$aspect, )+ ];

            /// Its name in a vector.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$aspect => $name, )+ }
            }

            /// What a code means that the standard defines for this respect, or for all of them.
            pub const fn meaning(self, claim: TrustClaim) -> Option<&'static str> {
                match (self, claim) {
                    (_, TrustClaim::NO_ASSERTION) => Some("no assertion"),
                    (_, TrustClaim::UNKNOWN_EVIDENCE) => Some("evidence that the verifier can't evaluate"),
                    (_, TrustClaim::VERIFIER_MALFUNCTION) => Some("the verifier failed"),
                    (_, TrustClaim::VALIDATION_FAILED) => Some("the evidence is not valid"),
                    $( $( (Self::$aspect, TrustClaim($code)) => Some($meaning), )+ )+
                    _ => None,
                }
            }
        }

        $(
            $(#[$about])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub enum $aspect {
                $( #[doc = $meaning] $claim = $code, )+
            }

            impl From<$aspect> for StandardClaim {
                fn from(claim: $aspect) -> Self {
                    let code = match claim { $( $aspect::$claim => $code, )+ };
                    Self { aspect: TrustAspect::$aspect, claim: TrustClaim(code) }
                }
            }
        )+
    };
}

aspects! {
    /// Which instance it is, by a key of its own.
    InstanceIdentity "instance-identity" {
        Trustworthy = 2 "recognized, and not known to be compromised",
        Untrustworthy = 96 "recognized, and its key tells of a device that is not to be trusted",
        Unrecognized = 97 "not recognized, though it should be",
    }
    /// How it is configured.
    Configuration "configuration" {
        Approved = 2 "a known and approved configuration",
        NoKnownVulnerabilities = 3 "no known vulnerabilities",
        KnownVulnerabilities = 32 "known vulnerabilities",
        Unavailable = 36 "parts that matter for security are not visible to the verifier",
        Unsupportable = 96 "vulnerabilities that are not acceptable",
    }
    /// What was loaded into memory.
    Executables "executables" {
        ApprovedAtBootAndRuntime = 2 "only what is approved, during boot and after it",
        ApprovedAtBoot = 3 "only what is approved, during boot",
        KnownVulnerabilities = 32 "genuine, with known vulnerabilities",
        Unrecognized = 33 "something that is not recognized",
        Contraindicated = 96 "something that is contraindicated",
    }
    /// What lies in its file system.
    FileSystem "file-system" {
        Approved = 2 "only approved files",
        Unrecognized = 32 "files that are not recognized",
        Contraindicated = 96 "files that are contraindicated",
    }
    /// Its hardware and firmware.
    Hardware "hardware" {
        Genuine = 2 "genuine and supported",
        Unsafe = 32 "genuine, with known vulnerabilities",
        Contraindicated = 96 "recognized, and not to be trusted",
        Unrecognized = 97 "not recognized, though it should be",
    }
    /// Who else can see its memory.
    RuntimeOpaque "runtime-opaque" {
        Encrypted = 2 "nobody: it is encrypted, and in a trusted execution environment",
        Isolated = 32 "no neighbour on the same machine",
        Visible = 96 "others on the machine, which is not acceptable",
    }
    /// Who else can read what it stores.
    StorageOpaque "storage-opaque" {
        HardwareKeys = 2 "nobody: its secrets are encrypted by keys that never leave hardware",
        SoftwareKeys = 32 "its secrets are encrypted, by keys outside hardware",
        Unencrypted = 96 "it stores secrets that are not encrypted",
    }
    /// Where the data that it uses comes from.
    SourcedData "sourced-data" {
        Trusted = 2 "from attesters that are affirmed",
        Untrusted = 32 "from sources that are not attested, or that are warned of",
        Contraindicated = 96 "from sources that are contraindicated",
    }
}

impl TrustAspect {
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|aspect| aspect.as_str() == name)
    }

    /// The aspect of this name, for a member at `at`.
    pub(super) fn read(at: &str, name: &str) -> Result<Self, EarRefused> {
        Self::from_name(name).ok_or_else(|| EarRefused::claim(at, Problem::Undefined))
    }
}

impl fmt::Display for TrustAspect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What a verifier says of one attester (AR4SI §2.3.5): at most one claim in each respect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustVector(std::collections::BTreeMap<TrustAspect, TrustClaim>);

impl TrustVector {
    /// One claim in every respect: [`TrustClaim::VALIDATION_FAILED`] where nothing of the evidence can be believed.
    pub fn of_all(claim: TrustClaim) -> Self {
        Self(TrustAspect::ALL.into_iter().map(|aspect| (aspect, claim)).collect())
    }

    /// With a claim of the standard. Of two in one respect the worse one stands, in whichever order they come.
    #[must_use]
    pub fn with(self, claim: impl Into<StandardClaim>) -> Self {
        let StandardClaim { aspect, claim } = claim.into();
        self.with_claim(aspect, claim)
    }

    /// With any claim. Of two in one respect the worse one stands, in whichever order they come.
    #[must_use]
    pub fn with_claim(mut self, aspect: TrustAspect, claim: TrustClaim) -> Self {
        self.0.entry(aspect).and_modify(|present| *present = present.worse_of(claim)).or_insert(claim);
        self
    }

    /// What it says in this respect. [`TrustClaim::NO_ASSERTION`] where it says nothing: the standard wants nobody to
    /// tell the two apart.
    pub fn claim(&self, aspect: TrustAspect) -> TrustClaim {
        self.0.get(&aspect).copied().unwrap_or(TrustClaim::NO_ASSERTION)
    }

    /// The claims that are written down, [`TrustClaim::NO_ASSERTION`] among them.
    pub fn iter(&self) -> impl Iterator<Item = (TrustAspect, TrustClaim)> + '_ {
        self.0.iter().map(|(aspect, claim)| (*aspect, *claim))
    }

    /// Whether no claim is written down.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The best status that these claims bear: the tier of the worst one.
    ///
    /// Where nothing is asserted, nothing is affirmed. Evidence that the verifier could not evaluate, and its own
    /// failures, are claims: they leave no status better than [`TrustTier::None`].
    pub fn tier(&self) -> TrustTier {
        self.0.values().copied().fold(TrustClaim::NO_ASSERTION, TrustClaim::worse_of).tier()
    }

    pub(super) fn read(at: &str, value: Value) -> Result<Self, EarRefused> {
        let mut claims = std::collections::BTreeMap::new();
        for (at, name, value) in Object::of(at, value)?.rest() {
            let aspect = TrustAspect::read(&at, &name)?;
            let code = value.as_i64().ok_or_else(|| EarRefused::claim(&at, Problem::WrongType("an integer")))?;
            let code = i8::try_from(code).map_err(|_| EarRefused::claim(&at, Problem::OutOfRange("-128 to 127")))?;
            claims.insert(aspect, TrustClaim(code));
        }
        if claims.is_empty() {
            return Err(EarRefused::claim(at, Problem::Empty));
        }
        Ok(Self(claims))
    }

    pub(super) fn to_value(&self) -> Value {
        let members: Map<String, Value> =
            self.0.iter().map(|(aspect, claim)| (aspect.as_str().to_owned(), claim.code().into())).collect();
        members.into()
    }
}
