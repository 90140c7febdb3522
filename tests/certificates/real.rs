//! Known answers for certificates that makers and clouds have issued.

use super::{NOW, certificate, code};
use attest_appraisal::{Roots, TpmClass, VerifiedEndorsement};
use attest_evidence::time::UnixSeconds;

fn ek(name: &str) -> super::Verified {
    VerifiedEndorsement::verify_ek(&certificate(name), &Roots::built_in(), NOW)
}

fn ak(name: &str) -> super::Verified {
    VerifiedEndorsement::verify_ak(&certificate(name), &Roots::built_in(), NOW)
}

#[test]
fn an_st_tpm_in_the_form_that_its_nv_index_has() {
    let bytes = certificate("st-ek-rsa.nv");
    assert!(bytes.ends_with(&[0xff; 431]));
    let verified = ek("st-ek-rsa.nv").unwrap();
    assert_eq!(verified.class(), TpmClass::Discrete);
    assert_eq!(verified.key().to_string(), "RSA-2048");
    let description = verified.description();
    assert_eq!(description.manufacturer.unwrap().as_bytes(), b"STM ");
    assert_eq!(description.manufacturer.unwrap().name(), Some("STMicroelectronics"));
    assert_eq!(description.model.as_deref(), Some("ST33HTPHAHB4"));
    assert_eq!(description.version.as_deref(), Some("id:00490004"));
    assert_eq!(description.specification.as_ref().unwrap().to_string(), "TPM 2.0 level 0 revision 116");
    assert_eq!(
        verified.chain(),
        [
            "TPMManufacturer=id:53544D20, TPMModel=ST33HTPHAHB4, TPMVersion=id:00490004",
            "C=CH, O=STMicroelectronics NV, CN=STM TPM EK Intermediate CA 05",
            "C=CH, O=STMicroelectronics NV, CN=STM TPM EK Root CA",
            "OU=GlobalSign Trusted Computing Certificate Authority, O=GlobalSign, \
             CN=GlobalSign Trusted Platform Module Root CA",
        ]
    );
    assert_eq!(verified.valid_until(), UnixSeconds(1_846_886_400)); // 11 July 2028
    assert_eq!(
        verified.fingerprint(),
        &attest_evidence::Sha256Digest::of(&bytes[..bytes.len() - 431]),
        "the padding is not part of it"
    );
}

#[test]
fn before_its_time_and_after_it_a_tpm_s_certificate_is_refused() {
    let verify =
        |now| VerifiedEndorsement::verify_ek(&certificate("st-ek-rsa.nv"), &Roots::built_in(), UnixSeconds(now));
    assert!(verify(1_846_886_400).is_ok());
    for moment in [0, 1_846_886_401, u64::MAX] {
        assert_eq!(code(verify(moment)), "AR-E402");
    }
}

/// Google's authorities issue both kinds, with the extended key usage of endorsement keys in both or in none.
#[test]
fn google_s_endorsement_and_attestation_keys_are_told_apart() {
    for name in ["google-pca-enc.pem", "google-uca-enc.pem"] {
        assert_eq!(ek(name).unwrap().class(), TpmClass::Virtual, "{name}");
        assert_eq!(code(ak(name)), "AR-E405", "{name}");
    }
    for name in ["google-pca-sign.pem", "google-uca-sign.pem", "google-ak-2020.der"] {
        assert_eq!(ak(name).unwrap().class(), TpmClass::Virtual, "{name}");
        assert_eq!(code(ek(name)), "AR-E405", "{name}");
    }
    let described = ek("google-uca-enc.pem").unwrap();
    assert_eq!(described.description().manufacturer.unwrap().name(), Some("Google"));
    assert_eq!(described.description().model.as_deref(), Some("vTPM"));
    let not_described = ek("google-pca-enc.pem").unwrap();
    assert_eq!(not_described.description(), &attest_appraisal::TpmDescription::default());
    assert_eq!(
        not_described.chain()[0],
        "L=us-central1-a, O=Google Compute Engine, OU=google.com:wuale-gcp-testing, CN=218557372616137117"
    );
}

/// TPMs of the 1.2 generation: RSA keys that are said to be for OAEP, and SHA-1.
#[test]
fn sha_1_is_refused_by_name_whenever_it_is() {
    for name in ["st-ek-tpm12.nv", "st-ek-tpm12.der", "st-ek-tpm12-second.pem"] {
        let refused = ek(name).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the certificate of `TPMManufacturer=id:53544D20, TPMModel=ST33ZP24PVSP, TPMVersion=id:0D0C` is signed \
             with SHA-1 and RSA, which proves nothing any more",
            "{name}"
        );
        assert_eq!(code(Err(refused)), "AR-E410");
        let in_its_time = UnixSeconds(1_500_000_000);
        let earlier = VerifiedEndorsement::verify_ek(&certificate(name), &Roots::built_in(), in_its_time);
        assert_eq!(code(earlier), "AR-E410");
    }
    assert_eq!(certificate("st-ek-tpm12.nv"), certificate("st-ek-tpm12.der"), "the header is off");
}

#[test]
fn what_is_no_endorsement_key_s_is_refused() {
    for (name, wanted) in [
        ("hpe-idevid.der", "AR-E405"),
        ("self-signed.pem", "AR-E405"),
        ("forged-st-intermediate.pem", "AR-E405"),
        ("infineon-intermediate-sha1.pem", "AR-E410"),
        ("no-der.pem", "AR-E401"),
        ("three-bytes.pem", "AR-E401"),
    ] {
        assert_eq!(code(ek(name)), wanted, "{name}");
    }
    // An identity of a device, for TLS: its key signs, and is no TPM's by any authority that is known.
    assert_eq!(code(ak("hpe-idevid.der")), "AR-E405");
}

/// Somebody else's authority with the name of ST's, and the test's own root above it.
#[test]
fn an_authority_of_the_right_name_is_not_enough() {
    let mut roots = Roots::default();
    roots.add_root(TpmClass::Discrete, certificate("forged-st-intermediate.pem")).unwrap();
    assert_eq!(code(VerifiedEndorsement::verify_ek(&certificate("st-ek-rsa.nv"), &roots, NOW)), "AR-E403");
}

/// An authority of one AMD Pluton, which signs that TPM's keys: the device brings it along.
#[test]
fn the_authority_of_one_device_is_not_that_device_s_key() {
    assert_eq!(code(ek("amd-pluton-device-authority.pem")), "AR-E405");
}

#[test]
fn the_last_word_on_a_root_counts() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("attestation/appraisal/roots/google/tpm-ek-v1-root-2018.der");
    let mut roots = Roots::built_in();
    roots.add_root(TpmClass::Software, std::fs::read(root).unwrap()).unwrap();
    let verified = VerifiedEndorsement::verify_ek(&certificate("google-uca-enc.pem"), &roots, NOW).unwrap();
    assert_eq!(verified.class(), TpmClass::Software);
    // And the next one who asks for what is built in has what is built in.
    assert_eq!(ek("google-uca-enc.pem").unwrap().class(), TpmClass::Virtual);
}
