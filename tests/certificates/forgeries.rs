//! Certificates that were changed, cut, or signed as nobody should.

use super::maker::{Authority, plain, roots, verify};
use super::{NOW, certificate, code, file};
use crate::support::{directory, run};
use attest_appraisal::{Roots, TpmClass, VerifiedEndorsement};
use attest_evidence::tpm::PublicKey;
use rcgen::KeyPair;
use std::path::Path;
use std::process::Command;

/// Whether any certificate that differs from `genuine` in one bit verifies.
fn one_bit_other(genuine: &[u8], length: usize, roots: &Roots) {
    assert!(verify(genuine, roots).is_ok(), "the control");
    let mut forged = genuine.to_vec();
    for bit in 0..length * 8 {
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&forged, roots).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
        forged[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn one_changed_bit_never_verifies() {
    let nv = certificate("st-ek-rsa.nv");
    one_bit_other(&nv, nv.len(), &Roots::built_in());
    let root = Authority::root("root", plain);
    let ecdsa = root.tpm(plain);
    one_bit_other(&ecdsa, ecdsa.len(), &roots(&root, &[]));
}

#[test]
fn what_ends_early_is_malformed_wherever_it_ends() {
    let whole = certificate("st-ek-rsa.nv");
    let length = whole.len() - 431;
    for end in 0..length {
        let cut = VerifiedEndorsement::verify_ek(&whole[..end], &Roots::built_in(), NOW);
        assert_eq!(code(cut), "AR-E401", "{end} bytes");
    }
    assert!(verify(&whole[..length], &Roots::built_in()).is_ok());
    for behind in [&b"x"[..], &[0, 0xff], &[0xff, 0], b"\n\n"] {
        assert_eq!(code(verify(&[&whole[..length], behind].concat(), &Roots::built_in())), "AR-E401");
    }
}

#[test]
fn a_certificate_is_for_one_key() {
    let root = Authority::root("root", plain);
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let parameters = |key: &KeyPair| {
        let point = key.public_key_raw();
        let (x, y) = point[1..].split_at(32);
        PublicKey::P256 { x: x.try_into().unwrap(), y: y.try_into().unwrap() }
    };
    let verified = verify(&root.certify(&key, plain), &roots(&root, &[])).unwrap();
    assert!(verified.is_for(&parameters(&key)));
    assert!(!verified.is_for(&parameters(&other)));
}

/// Runs `openssl` in a folder with a root, and has it sign a TPM's certificate.
fn openssl_signs(folder: &Path, key: &[&str], options: &[&str]) -> (Roots, Vec<u8>) {
    let openssl = |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(folder)).ok();
    let extensions = "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n\
                      [tpm]\nkeyUsage=critical,keyAgreement\nextendedKeyUsage=2.23.133.8.1\n\
                      [req]\ndistinguished_name=dn\n[dn]\n";
    std::fs::write(folder.join("openssl.cnf"), extensions).unwrap();
    openssl(&[&["genpkey", "-out", "root.key"], key].concat());
    openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        "root.key",
        "-subj",
        "/CN=root",
        "-days",
        "36500",
        "-config",
        "openssl.cnf",
        "-extensions",
        "ca",
        "-outform",
        "DER",
        "-out",
        "root.der",
    ]);
    openssl(&["x509", "-in", "root.der", "-inform", "DER", "-out", "root.pem"]);
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "tpm.key"]);
    openssl(&["req", "-new", "-key", "tpm.key", "-subj", "/CN=tpm", "-config", "openssl.cnf", "-out", "tpm.csr"]);
    openssl(
        &[
            &[
                "x509",
                "-req",
                "-in",
                "tpm.csr",
                "-CA",
                "root.pem",
                "-CAkey",
                "root.key",
                "-days",
                "36500",
                "-extfile",
                "openssl.cnf",
                "-extensions",
                "tpm",
                "-outform",
                "DER",
                "-out",
                "tpm.der",
                "-set_serial",
                "7",
            ],
            options,
        ]
        .concat(),
    );
    let mut roots = Roots::default();
    roots.add_root(TpmClass::Discrete, std::fs::read(folder.join("root.der")).unwrap()).unwrap();
    (roots, std::fs::read(folder.join("tpm.der")).unwrap())
}

const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

/// Checks at the present moment: `openssl` dates what it signs.
fn now(tpm: &[u8], roots: &Roots) -> super::Verified {
    use attest_evidence::time::{Clock as _, SystemClock};
    VerifiedEndorsement::verify_ek(tpm, roots, SystemClock.now())
}

#[test]
fn signatures_of_every_kind_that_makers_use_verify() {
    let pss = |hash: &'static str| [hash, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"];
    for (key, options) in [
        (RSA, &["-sha256"][..]),
        (RSA, &["-sha384"]),
        (RSA, &["-sha512"]),
        (RSA, &pss("-sha256")),
        (RSA, &pss("-sha384")),
        (RSA, &pss("-sha512")),
        (&["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], &["-sha256"]),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha256"]),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha384"]),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], &["-sha384"]),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], &["-sha512"]),
    ] {
        let folder = directory();
        let (roots, tpm) = openssl_signs(folder.path(), key, options);
        assert_eq!(now(&tpm, &roots).unwrap().chain(), ["CN=tpm", "CN=root"], "{key:?} {options:?}");
    }
}

#[test]
fn signatures_that_prove_nothing_are_refused() {
    let short = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..];
    let pss_sha1 = ["-sha1", "-sigopt", "rsa_padding_mode:pss"];
    let two_hashes = ["-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_mgf1_md:sha1"];
    for (key, options, wanted) in [
        (RSA, &["-sha1"][..], "AR-E410"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], &["-sha1"], "AR-E410"),
        (RSA, &pss_sha1, "AR-E410"),
        (RSA, &two_hashes, "AR-E411"),
        (RSA, &["-sha224"], "AR-E411"),
        (&["-algorithm", "ED25519"], &[], "AR-E411"),
        (short, &["-sha256"], "AR-E412"),
    ] {
        let folder = directory();
        let (roots, tpm) = openssl_signs(folder.path(), key, options);
        assert_eq!(code(now(&tpm, &roots)), wanted, "{key:?} {options:?}");
    }
}

#[test]
fn files_hold_one_certificate_several_or_none() {
    use attest_appraisal::StoredCertificate;
    let read = |bytes: &[u8]| StoredCertificate::read(bytes);
    let pem = std::fs::read(file("google-uca-enc.pem")).unwrap();
    let two = [&b"the first\n"[..], &pem, b"the second\n", &pem].concat();
    assert_eq!(read(&two).unwrap().len(), 2);
    assert!(read(&pem.repeat(65)).is_err());
    assert!(read(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_err());
    assert!(read(&vec![0; (1 << 20) + 1]).is_err());
    let header = read(&std::fs::read(file("st-ek-tpm12.nv")).unwrap()).unwrap();
    assert!(header[0].tpm12_header && header.len() == 1);
    // A header alone is none.
    assert!(!read(&[0x10, 0x01, 0x00, 0x00, 0x00]).unwrap()[0].tpm12_header);
}
