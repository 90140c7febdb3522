//! Keys beside the attestation key: which of them are in its TPM, and which of these obey their lease.

use crate::key::AttestationKey;
use crate::signature::{SignatureRefused, SignatureVerifier, verify};
use attest_evidence::digest::to_hex;
use attest_evidence::exchange::{LeasedKey, key_certification_data};
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{
    Attest, Attested, Attributes, KeyPolicy, Public, PublicKey, Signature, SigningScheme, TpmName,
};
use attest_evidence::{Malformed, Sha256Digest};

/// A P-256 key that signs with ECDSA and SHA-256, was made in the TPM of an attestation key, and can't leave it.
///
/// Its one constructor is [`CertifiedKey::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    name: TpmName,
    attributes: Attributes,
    policy: Vec<u8>,
    fingerprint: Sha256Digest,
}

/// What is said of a key, as it came.
#[derive(Debug, Clone, Copy)]
pub struct RawCertification<'a> {
    /// `TPMT_PUBLIC` of the key.
    pub public: &'a [u8],
    /// `TPMS_ATTEST`.
    pub message: &'a [u8],
    /// `TPMT_SIGNATURE` of the attestation key.
    pub signature: &'a [u8],
}

impl<'a> From<&'a LeasedKey> for RawCertification<'a> {
    fn from(key: &'a LeasedKey) -> Self {
        Self { public: &key.public, message: &key.certification, signature: &key.signature }
    }
}

/// Why a key is not believed to be what it is said to be. The first thing wrong, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificationRefused {
    /// The key, its certification or the signature are not of their form.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The attestation key signed something else.
    #[error("the attestation key signed the output of {0}, not a certification")]
    NotACertification(&'static str),
    /// The signature is not the attestation key's over these bytes.
    #[error("the certification is not signed by the runner's attestation key")]
    Signature,
    /// The attestation key certified for another end, or under another name.
    #[error("the certification was made for something else, or for a key of another stage or name")]
    Purpose {
        /// What its qualifying data has to be.
        wanted: Sha256Digest,
        /// What it is, hexadecimal.
        found: String,
    },
    /// It is another key's.
    #[error("the certification is another key's")]
    OtherKey {
        /// The Name of the key, hexadecimal.
        wanted: String,
        /// The Name that is certified.
        found: String,
    },
    /// The key may have been made outside, or be elsewhere too, or sign what it is not for.
    #[error("a key of a step must be {wanted}, and nothing that signs by itself or decrypts; this one is {found}")]
    Attributes {
        /// What it has to be.
        wanted: Attributes,
        /// What it is.
        found: Attributes,
    },
    /// It is of another kind.
    #[error("a key of a step is P-256 with ECDSA and SHA-256, and this one is {0}")]
    Algorithm(String),
    /// It can be used without the broker.
    #[error("the TPM uses the key without the broker's signature, too: it is {0}")]
    WithoutLease(Attributes),
    /// Something else opens it than this broker's signature for a key of this stage and name.
    #[error("the key obeys another policy than this broker's for a key of that stage and name")]
    Policy {
        /// What its policy has to be.
        wanted: Sha256Digest,
        /// What it is, hexadecimal.
        found: String,
    },
    /// A key that signs is asked for to something else.
    #[error("a key that obeys its lease signs, and it is asked for to something else")]
    Use,
    /// It obeys a policy, and nothing is said of that.
    #[error("the key obeys a policy, of which nothing is said")]
    ObeysSomething,
    /// Another key was asked for than the one that is shown.
    #[error("the key that is asked for is not the one that the TPM has certified")]
    Fingerprint {
        /// SHA-256 of the public key that was asked for.
        asked: Sha256Digest,
        /// That of the key that is certified.
        certified: Sha256Digest,
    },
}

impl From<SignatureRefused> for CertificationRefused {
    fn from(_: SignatureRefused) -> Self {
        Self::Signature
    }
}

impl CertifiedKey {
    const NEEDED: Attributes = Attributes::SIGN
        .and(Attributes::FIXED_TPM)
        .and(Attributes::FIXED_PARENT)
        .and(Attributes::SENSITIVE_DATA_ORIGIN);

    /// Checks that `ak` has certified a key, by this stage and name, and that it is one that can't be elsewhere.
    ///
    /// What a certification says holds for as long as the two keys live: there is nothing fresh in it.
    ///
    /// # Errors
    /// See [`CertificationRefused`].
    pub fn verify(
        raw: RawCertification<'_>,
        (stage, name): (Stage, &KeyName),
        ak: &AttestationKey,
        verifier: &dyn SignatureVerifier,
    ) -> Result<Self, CertificationRefused> {
        let attest = Attest::parse(raw.message)?;
        let Attested::Certify(certified) = attest.attested else {
            return Err(CertificationRefused::NotACertification(attest.attested.command()));
        };
        let signature = Signature::parse(raw.signature)?;
        if signature.scheme != ak.scheme() {
            return Err(CertificationRefused::Signature);
        }
        verify(verifier, ak.key(), ak.scheme(), raw.message, &signature.value)?;
        let wanted = key_certification_data(stage, name);
        if attest.extra_data != wanted.as_bytes() {
            return Err(CertificationRefused::Purpose { wanted, found: to_hex(attest.extra_data) });
        }
        let public = Public::parse(raw.public)?;
        let name = TpmName::of(raw.public);
        if certified.name != name.as_bytes() {
            return Err(CertificationRefused::OtherKey { wanted: name.to_string(), found: to_hex(certified.name) });
        }
        let none_of = Attributes::RESTRICTED.and(Attributes::DECRYPT);
        if !public.attributes.missing(Self::NEEDED).is_empty() || public.attributes.missing(none_of) != none_of {
            return Err(CertificationRefused::Attributes { wanted: Self::NEEDED, found: public.attributes });
        }
        let fingerprint = match (&public.key, public.scheme) {
            (PublicKey::P256 { .. }, Some(SigningScheme::ECDSA_SHA256)) => public.key.to_spki(),
            _ => None,
        };
        let Some(fingerprint) = fingerprint.as_deref().map(Sha256Digest::of) else {
            return Err(CertificationRefused::Algorithm(public.key.kind()));
        };
        Ok(Self { name, attributes: public.attributes, policy: public.policy, fingerprint })
    }

    /// Checks that only `policy` opens the key.
    ///
    /// # Errors
    /// See [`CertificationRefused`].
    pub fn obeys(&self, policy: &KeyPolicy) -> Result<(), CertificationRefused> {
        if self.attributes.contains(Attributes::USER_WITH_AUTH) {
            return Err(CertificationRefused::WithoutLease(self.attributes));
        }
        let wanted = policy.digest();
        if self.policy != wanted.as_bytes() {
            return Err(CertificationRefused::Policy { wanted, found: to_hex(&self.policy) });
        }
        Ok(())
    }

    /// Checks that whoever has the TPM may use the key: that it is none which would obey a lease.
    ///
    /// # Errors
    /// [`CertificationRefused::ObeysSomething`].
    pub fn obeys_nobody(&self) -> Result<(), CertificationRefused> {
        let by_itself = self.attributes.contains(Attributes::USER_WITH_AUTH) && self.policy.is_empty();
        if by_itself { Ok(()) } else { Err(CertificationRefused::ObeysSomething) }
    }

    /// Checks that it is the key with this fingerprint.
    ///
    /// # Errors
    /// [`CertificationRefused::Fingerprint`].
    pub fn is(&self, asked: &Sha256Digest) -> Result<(), CertificationRefused> {
        if self.fingerprint == *asked {
            return Ok(());
        }
        Err(CertificationRefused::Fingerprint { asked: *asked, certified: self.fingerprint })
    }

    /// Its Name.
    pub const fn name(&self) -> &TpmName {
        &self.name
    }

    /// SHA-256 of its public key (DER `SubjectPublicKeyInfo`).
    pub const fn fingerprint(&self) -> &Sha256Digest {
        &self.fingerprint
    }
}

impl Explain for CertificationRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(malformed) => {
                report("AR-K301").fact("structure", malformed.structure).fact("byte", malformed.offset)
            }
            Self::NotACertification(_) => report("AR-K302"),
            Self::Signature => report("AR-K303").hint("was the runner enrolled anew since? Restart its agent"),
            Self::Purpose { wanted, found } => report("AR-K304").fact("wanted", wanted).fact("got", found),
            Self::OtherKey { wanted, found } => report("AR-K305").fact("wanted", wanted).fact("got", found),
            Self::Attributes { wanted, found } => report("AR-K306").fact("wanted", wanted).fact("got", found),
            Self::Algorithm(_) => report("AR-K307"),
            Self::WithoutLease(_) => {
                report("AR-K308").hint("an admin of the runner makes another: `attest-run keys rotate`")
            }
            Self::Policy { wanted, found } => report("AR-K309").fact("wanted", wanted).fact("got", found).hint(
                "the key was made for another broker, stage or name: `attest-run keys rotate` makes one for this",
            ),
            Self::Use => report("AR-K315").hint("agent and broker of one version ask for no such thing"),
            Self::ObeysSomething => report("AR-K314"),
            Self::Fingerprint { asked, certified } => {
                report("AR-K310").fact("asked", asked).fact("certified", certified)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::PureRust;
    use attest_evidence::bytes::put_sized_u16;
    use attest_evidence::tpm::{PcrState, authority_public};
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;

    const AK: Attributes = Attributes::RESTRICTED.and(CertifiedKey::NEEDED).and(Attributes::USER_WITH_AUTH);

    fn name() -> KeyName {
        "release".parse().unwrap()
    }

    /// `TPMT_PUBLIC` of a key with these attributes and this policy.
    fn public(seed: u8, attributes: Attributes, policy: &[u8]) -> (SigningKey, Vec<u8>) {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let outside = authority_public(&(*point.x().unwrap()).into(), &(*point.y().unwrap()).into());
        // As a key from outside is written, with other attributes and a policy.
        let mut out = outside[..4].to_vec();
        out.extend(attributes.bits().to_be_bytes());
        put_sized_u16(&mut out, policy).unwrap();
        out.extend(&outside[10..]);
        (key, out)
    }

    /// `TPMS_ATTEST` of `TPM2_Certify`, and its signature.
    fn certify(ak: &SigningKey, public: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut message = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x17];
        put_sized_u16(&mut message, b"signer").unwrap();
        put_sized_u16(&mut message, key_certification_data(Stage::Prod, &name()).as_bytes()).unwrap();
        message.extend([0; 8 + 4 + 4 + 1 + 8]);
        put_sized_u16(&mut message, TpmName::of(public).as_bytes()).unwrap();
        put_sized_u16(&mut message, b"").unwrap();
        let signature: p256::ecdsa::Signature = ak.sign(&message);
        let (r, s) = signature.split_bytes();
        let mut out = vec![0, 0x18, 0, 0x0b];
        put_sized_u16(&mut out, &r).unwrap();
        put_sized_u16(&mut out, &s).unwrap();
        (message, out)
    }

    fn verify(public: &[u8]) -> Result<CertifiedKey, CertificationRefused> {
        let (signer, ak) = self::public(1, AK, b"");
        let (message, signature) = certify(&signer, public);
        let raw = RawCertification { public, message: &message, signature: &signature };
        CertifiedKey::verify(raw, (Stage::Prod, &name()), &AttestationKey::check(&ak).unwrap(), &PureRust)
    }

    fn code(refused: &CertificationRefused) -> String {
        refused.report().code.to_string()
    }

    #[test]
    fn a_key_that_may_be_elsewhere_is_none_though_it_is_certified() {
        verify(&public(2, CertifiedKey::NEEDED, b"").1).unwrap();
        let without = |attribute: Attributes| attribute.missing(CertifiedKey::NEEDED);
        let spoiled = [
            without(Attributes::FIXED_TPM),
            without(Attributes::FIXED_PARENT),
            without(Attributes::SENSITIVE_DATA_ORIGIN),
            without(Attributes::SIGN),
            CertifiedKey::NEEDED.and(Attributes::RESTRICTED),
            CertifiedKey::NEEDED.and(Attributes::DECRYPT),
        ];
        for attributes in spoiled {
            let refused = verify(&public(2, attributes, b"").1).unwrap_err();
            assert_eq!(code(&refused), "AR-K306", "{attributes}");
        }
        // Another scheme: none at all, so that the key would sign by any.
        let (_, mut any_scheme) = public(2, CertifiedKey::NEEDED, b"");
        any_scheme[12..14].copy_from_slice(&[0, 0x10]);
        any_scheme.drain(14..16);
        assert_eq!(code(&verify(&any_scheme).unwrap_err()), "AR-K307");
    }

    #[test]
    fn a_key_obeys_its_policy_and_nothing_beside_it() {
        let policy = KeyPolicy {
            authority: TpmName::of(b"broker"),
            reference: KeyPolicy::reference(Stage::Prod, &name(), &[1; 16]),
            boot_state: None::<PcrState>,
        };
        let digest = policy.digest();
        let key = verify(&public(2, CertifiedKey::NEEDED, digest.as_bytes()).1).unwrap();
        assert_eq!((key.obeys(&policy), key.obeys_nobody()), (Ok(()), Err(CertificationRefused::ObeysSomething)));
        let with_auth = CertifiedKey::NEEDED.and(Attributes::USER_WITH_AUTH);
        let key = verify(&public(2, with_auth, digest.as_bytes()).1).unwrap();
        assert_eq!(code(&key.obeys(&policy).unwrap_err()), "AR-K308");
        let key = verify(&public(2, with_auth, b"").1).unwrap();
        assert_eq!(key.obeys_nobody(), Ok(()));
        let key = verify(&public(2, CertifiedKey::NEEDED, b"").1).unwrap();
        assert_eq!(code(&key.obeys(&policy).unwrap_err()), "AR-K309");
    }
}
