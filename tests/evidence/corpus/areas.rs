//! Public areas of keys that may not attest.

use super::case::{Case, PUBLIC};
use super::keys::{Area, TestKey};
use super::parents;
use attest_evidence::tpm::algorithm::{AES, CFB, KEYEDHASH, NULL, RSASSA, SHA1};

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

pub(crate) fn cases() -> Vec<Case> {
    let (p256, rsa) = (TestKey::p256("p256"), TestKey::rsa("rsa2048", RSASSA));
    let parents = [area_p256(), area_rsa()];
    let [of_p256, of_rsa] = &parents;
    let refuse = |parent: &Case, area: Area, name: &str, what: &str, change: &dyn Fn(&mut Area)| {
        parent.refuse(name, "AR-E101", what).with(PUBLIC, area.but(change))
    };
    let ecc = |name, what, change: &dyn Fn(&mut Area)| refuse(of_p256, p256.area(), name, what, change);
    let rsa_case = |name, what, change: &dyn Fn(&mut Area)| refuse(of_rsa, rsa.area(), name, what, change);
    let without = |name, what, bit: u32| ecc(name, what, &|area| area.attributes &= !bit).clause("TPM 2.0 Part 2 §8.3");
    vec![
        without("unrestricted", "signs what a program makes up, too", RESTRICTED),
        without("duplicable", "not fixedTPM: it can be in another TPM, too", FIXED_TPM),
        without("parent-not-fixed", "not fixedParent: it can be moved", FIXED_PARENT),
        without(
            "made-outside",
            "not sensitiveDataOrigin: a program made it, and may have kept it",
            SENSITIVE_DATA_ORIGIN,
        ),
        without("does-not-sign", "without sign", SIGN),
        ecc("decrypts", "with decrypt", &|area| area.attributes |= DECRYPT).clause("TPM 2.0 Part 2 §8.3"),
        ecc("storage-key", "restricted and decrypt: a parent of others", &|area| {
            area.attributes = (area.attributes | DECRYPT) & !SIGN;
            area.symmetric = vec![AES, 128, CFB];
            area.scheme = vec![NULL];
        }),
        ecc("no-attributes", "no attribute at all", &|area| area.attributes = 0),
        ecc("reserved-attribute", "with bit 20 of the attributes, which is reserved", &|area| {
            area.attributes |= 1 << 20
        })
        .clause("TPM 2.0 Part 2 §8.3"),
        ecc("no-scheme", "of no scheme of its own", &|area| area.scheme = vec![NULL]),
        ecc("ecdaa", "signs by ECDAA", &|area| area.scheme = vec![0x001a, 0x000b, 0]),
        ecc("scheme-of-rsa", "an elliptic curve, signing by RSASSA", &|area| area.scheme[0] = RSASSA),
        ecc("signs-sha1", "signs with SHA-1", &|area| area.scheme[1] = SHA1),
        ecc("signs-sm3", "signs with SM3", &|area| area.scheme[1] = 0x0012),
        ecc("name-sha1", "has a Name of SHA-1", &|area| area.name_alg = SHA1),
        ecc("name-sm3", "has a Name of SM3", &|area| area.name_alg = 0x0012),
        ecc("name-null", "has no Name", &|area| area.name_alg = NULL),
        ecc("p521", "of another curve: P-521", &|area| area.details[0] = 0x0005),
        ecc("bn-p256", "of another curve: BN_P256", &|area| area.details[0] = 0x0010),
        ecc("p224", "of a short curve: P-224", &|area| area.details[0] = 0x0002),
        ecc("kdf", "with a key derivation", &|area| area.details[1] = 0x0020),
        ecc("coordinate-too-long", "x has 33 bytes", &|area| area.unique[0].insert(0, 0)),
        ecc("coordinate-missing", "x alone", &|area| {
            area.unique.pop();
        }),
        ecc("policy-too-long", "a policy digest of 65 bytes", &|area| area.policy = vec![1; 65]),
        ecc("keyed-hash", "no asymmetric key: a keyed hash", &|area| {
            area.kind = KEYEDHASH;
            area.symmetric = Vec::new();
            area.scheme = vec![NULL];
            area.details = Vec::new();
            area.unique = vec![vec![7; 32]];
        }),
        rsa_case("rsa-scheme-of-ecc", "RSA, signing by ECDSA", &|area| area.scheme[0] = 0x0018),
        rsa_case("rsa-bits-more", "said to have 3072 bits, and has 2048", &|area| area.details[0] = 3072),
        rsa_case("rsa-empty", "no modulus", &|area| area.unique = vec![Vec::new()]),
        rsa_case("rsa-8192", "a modulus of 8192 bits, more than any TPM's", &|area| {
            area.details[0] = 8192;
            area.unique = vec![vec![0xff; 1024]];
        }),
        rsa_case("rsa-restricted-and-decrypts", "an endorsement key, signing", &|area| {
            area.attributes |= DECRYPT;
            area.symmetric = vec![AES, 128, CFB];
        }),
        of_rsa.refuse("rsa-weak", "AR-E101", "1024 bits").with(PUBLIC, TestKey::rsa("rsa1024", RSASSA).area().bytes()),
    ]
}

pub(crate) fn area_p256() -> Case {
    parents::area("area-p256", "the public area of the corpus' P-256 key", &TestKey::p256("p256"))
}

pub(crate) fn area_rsa() -> Case {
    parents::area("area-rsassa", "the public area of the corpus' RSA-2048 key", &TestKey::rsa("rsa2048", RSASSA))
}
