//! What certificates may be used for (RFC 5280 §4.2, TCG EK Credential Profile §3.2).

use super::key::agrees;
use super::{CertificateRefused, shown};
use attest_evidence::tpm::PublicKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::ParsedExtension;

/// `tcg-kp-EKCertificate`.
const EK_CERTIFICATE: Oid<'static> = oid!(2.23.133.8.1);
/// `tcg-kp-AIKCertificate`.
const AK_CERTIFICATE: Oid<'static> = oid!(2.23.133.8.3);
/// `id-ce-policyConstraints`.
const POLICY_CONSTRAINTS: Oid<'static> = oid!(2.5.29.36);

/// Extensions that the checks read: subjectAltName, keyUsage, basicConstraints, extKeyUsage.
const READ: [Oid<'static>; 4] = [oid!(2.5.29.17), oid!(2.5.29.15), oid!(2.5.29.19), oid!(2.5.29.37)];

/// Which key of a TPM a certificate has to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Endorsement,
    Attestation,
}

impl Purpose {
    const fn refused(self) -> CertificateRefused {
        match self {
            Self::Endorsement => CertificateRefused::Purpose("endorsement key"),
            Self::Attestation => CertificateRefused::Purpose("attestation key"),
        }
    }

    /// Whether the certificate itself, not an authority's above it, is for this purpose.
    ///
    /// An endorsement key only decrypts, an attestation key only signs, and Google names one extended key usage, that
    /// of endorsement keys, in both kinds of certificate. So the key usage tells them apart wherever there is one, and
    /// without it the extended key usage has to be the exact one.
    pub(super) fn check(self, leaf: &X509Certificate<'_>, key: &PublicKey) -> Result<(), CertificateRefused> {
        let malformed =
            |what: &str| CertificateRefused::Malformed(format!("its {what} can't be read, or is there twice"));
        let usage = leaf.key_usage().map_err(|_| malformed("key usage"))?.map(|usage| usage.value);
        let extended = leaf.extended_key_usage().map_err(|_| malformed("extended key usage"))?;
        let names = |wanted: &[Oid<'static>]| {
            extended.as_ref().map(|usage| wanted.iter().any(|wanted| usage.value.other.contains(wanted)))
        };
        let fits = match (self, usage) {
            (Self::Endorsement, Some(usage)) => {
                let decrypts = usage.key_encipherment() || agrees(key) && usage.key_agreement();
                decrypts && !usage.digital_signature() && names(&[EK_CERTIFICATE]) != Some(false)
            }
            (Self::Endorsement, None) => names(&[EK_CERTIFICATE]) == Some(true),
            (Self::Attestation, Some(usage)) => {
                let signs = usage.digital_signature() && !usage.key_encipherment() && !usage.key_agreement();
                signs && names(&[AK_CERTIFICATE, EK_CERTIFICATE]) != Some(false)
            }
            (Self::Attestation, None) => names(&[AK_CERTIFICATE]) == Some(true),
        };
        if fits && !leaf.is_ca() { Ok(()) } else { Err(self.refused()) }
    }

    /// Whether an authority may vouch for TPMs. Extended key usages of authorities limit what is under them, as
    /// everybody reads them: what RFC 5280 leaves open, the makers' own authorities rely on.
    fn check_authority(authority: &X509Certificate<'_>) -> Result<(), CertificateRefused> {
        let other = || CertificateRefused::AuthorityPurpose { subject: shown(authority) };
        let Some(usage) = authority.extended_key_usage().map_err(|_| other())? else { return Ok(()) };
        let tpms =
            usage.value.any || [EK_CERTIFICATE, AK_CERTIFICATE].iter().any(|kind| usage.value.other.contains(kind));
        if tpms { Ok(()) } else { Err(other()) }
    }
}

/// Whether `authority` may sign a certificate that has `between` authorities under it on the path, not counting
/// those that it issued to itself.
pub(super) fn check_authority(authority: &X509Certificate<'_>, between: usize) -> Result<(), CertificateRefused> {
    let lacks = |lack| CertificateRefused::NotAuthority { subject: shown(authority), lack };
    let constraints = authority
        .basic_constraints()
        .ok()
        .flatten()
        .filter(|constraints| constraints.value.ca)
        .ok_or_else(|| lacks("is not an authority (basicConstraints)"))?;
    match authority.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => return Err(lacks("its key may not (keyUsage)")),
        Ok(_) => {}
        Err(_) => return Err(lacks("what its key may do can't be read (keyUsage)")),
    }
    if let Some(most) = constraints.value.path_len_constraint
        && u32::try_from(between).map_or(true, |between| between > most)
    {
        return Err(CertificateRefused::PathLength { subject: shown(authority), most, found: between });
    }
    Purpose::check_authority(authority)
}

/// Critical extensions must be among those that the checks here take into account, and none may be there twice. The
/// subject's alternative name is critical in EK certificates, whose subject is empty: it holds the maker's names.
/// Policies are taken into account by asking for none: any will do, as RFC 5280 §6.1.1 (c) and (e) has it when the
/// initial set is any policy and none is required. An authority that requires one all the same
/// (`policyConstraints`) is refused.
pub(super) fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), CertificateRefused> {
    if certificate.extensions_map().is_err() {
        return Err(CertificateRefused::Malformed(format!("`{}` has an extension twice", shown(certificate))));
    }
    for extension in certificate.extensions() {
        // One that can't be read must not count as one that isn't there.
        if matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. }) && READ.contains(&extension.oid) {
            let what = format!("extension {} of `{}`", extension.oid.to_id_string(), shown(certificate));
            return Err(CertificateRefused::Malformed(what));
        }
        if extension.oid == POLICY_CONSTRAINTS {
            let constraint = "policyConstraints".to_owned();
            return Err(CertificateRefused::Constraint { authority: shown(certificate), constraint });
        }
        let understood = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::CertificatePolicies(_)
        ) || extension.oid == super::constraints::NAME_CONSTRAINTS;
        if extension.critical && !understood {
            let subject = shown(certificate);
            return Err(CertificateRefused::CriticalExtension { subject, oid: extension.oid.to_id_string() });
        }
    }
    Ok(())
}
