//! A maker of TPMs whose authorities do as they are told.

use attest_appraisal::{Roots, TpmClass, VerifiedEndorsement};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// `tcg-kp-EKCertificate`.
pub(super) const EK: &[u64] = &[2, 23, 133, 8, 1];
/// `tcg-kp-AIKCertificate`.
pub(super) const AK: &[u64] = &[2, 23, 133, 8, 3];

/// Somebody who signs certificates.
pub(super) struct Authority {
    pub(super) params: CertificateParams,
    pub(super) certificate: Vec<u8>,
    key: KeyPair,
}

impl Authority {
    /// A root. What is particular about it, `change` does to what would be right.
    pub(super) fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority(name, change), KeyPair::generate().unwrap());
        let certificate = der(&params.self_signed(&key).unwrap());
        Self { params, certificate, key }
    }

    /// An authority under this one.
    pub(super) fn authority(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (authority(name, change), KeyPair::generate().unwrap());
        let certificate = der(&params.signed_by(&key, &self.issuer()).unwrap());
        Self { params, certificate, key }
    }

    /// Another certificate for an authority that has one: this one vouches for it too.
    pub(super) fn vouch_for(&self, other: &Self) -> Vec<u8> {
        der(&other.params.signed_by(&other.key, &self.issuer()).unwrap())
    }

    /// A TPM's certificate.
    pub(super) fn tpm(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        self.certify(&KeyPair::generate().unwrap(), change)
    }

    /// A TPM's certificate for this key.
    pub(super) fn certify(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a TPM");
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK.to_vec())];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        der(&params.signed_by(key, &self.issuer()).unwrap())
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    params
}

fn der(certificate: &Certificate) -> Vec<u8> {
    certificate.der().to_vec()
}

/// Roots of which the first is trusted and the rest lie between it and TPMs.
pub(super) fn roots(root: &Authority, between: &[&Authority]) -> Roots {
    let mut roots = Roots::default();
    roots.add_root(TpmClass::Discrete, root.certificate.clone()).unwrap();
    for authority in between {
        roots.add_intermediate(authority.certificate.clone()).unwrap();
    }
    roots
}

/// Checks an endorsement key's certificate at the tests' moment.
pub(super) fn verify(tpm: &[u8], roots: &Roots) -> super::Verified {
    VerifiedEndorsement::verify_ek(tpm, roots, super::NOW)
}

/// An extension that nobody knows, and that has to be understood.
pub(super) fn unknown_critical() -> CustomExtension {
    critical(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0])
}

pub(super) fn critical(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(true);
    extension
}

/// Nothing particular.
pub(super) fn plain(_: &mut CertificateParams) {}
