//! Signatures: relabelled, by another key, malformed inside, of a key too weak.

use super::case::{Case, MESSAGE, PEM, PUBLIC, SIGNATURE};
use super::keys::{SignatureParts, TestKey, digest_info, emsa_pkcs1};
use super::parents::{self, Made};
use attest_evidence::HashAlgorithm;
use attest_evidence::tpm::algorithm::{self, ECDSA, NULL, RSAPSS, RSASSA, SHA1, SHA256, SHA384};

/// `TPM_ALG_HMAC`, `TPM_ALG_ECDAA`, `TPM_ALG_SM2`, `TPM_ALG_ECSCHNORR`.
const UNKNOWN: [(u16, &str); 4] = [(0x0005, "hmac"), (0x001a, "ecdaa"), (0x001b, "sm2"), (0x001c, "ecschnorr")];
/// Order of the group of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

pub(crate) fn cases() -> Vec<Case> {
    let (p256, ssa, pss) = (parents::made_p256(), parents::made_rsassa(), parents::made_rsapss());
    [ecdsa(&p256), rsassa(&ssa), rsapss(&pss), relabelled(&p256, &ssa, &pss), weak(&p256), other_keys(&p256)].concat()
}

/// The parent with another signature over its message.
fn with(made: &Made, name: &str, code: &str, what: &str, change: impl FnOnce(&mut SignatureParts)) -> Case {
    let signature = made.key.sign(made.case.file(MESSAGE)).but(change);
    made.case.refuse(name, code, what).with(SIGNATURE, signature)
}

/// The parent, of whose key no more is known than the key itself.
fn bare(made: &Made, case: Case) -> Case {
    case.without(PUBLIC).with(PEM, made.key.pem())
}

fn ecdsa(made: &Made) -> Vec<Case> {
    let value = |name, what, values: Vec<Vec<u8>>| with(made, name, "AR-E205", what, |parts| parts.values = values);
    let good = made.key.sign(made.case.file(MESSAGE)).values;
    let [r, s] = good.as_slice() else { panic!("two scalars") };
    let wider = |scalar: &[u8]| [&[0], scalar].concat();
    let (r, s) = (r.clone(), s.clone());
    let other_s = negated(&s);
    vec![
        value("ecdsa-zeros", "r and s are 0", vec![vec![0; 32], vec![0; 32]]),
        value("ecdsa-nothing", "r and s are empty", vec![Vec::new(), Vec::new()]),
        value("ecdsa-r-order", "r is the order of the group", vec![ORDER.to_vec(), s.clone()]),
        value("ecdsa-s-order", "s is the order of the group", vec![r.clone(), ORDER.to_vec()]),
        value("ecdsa-swapped", "r and s change places", vec![s.clone(), r.clone()]),
        value("ecdsa-one-twice", "s is r", vec![r.clone(), r.clone()]),
        value("ecdsa-wide", "scalars of 33 bytes, a zero in front", vec![wider(&r), wider(&s)]),
        with(made, "ecdsa-too-wide", "AR-E201", "a scalar of 67 bytes", |parts| {
            parts.values = vec![vec![1; 67], s.clone()]
        }),
        with(made, "ecdsa-one-scalar", "AR-E201", "r alone", |parts| parts.values = vec![r.clone()]),
        with(made, "ecdsa-three-scalars", "AR-E201", "r, s and s again", |parts| {
            parts.values = vec![r.clone(), s.clone(), s.clone()];
        }),
        made.case
            .accept(
                "ecdsa-other-s",
                "s is n - s: a second signature that anybody can make of the first. It is as good, so \
                     that nothing may be told apart by the bytes of its signature",
            )
            .with(SIGNATURE, SignatureParts { scheme: ECDSA, hash: SHA256, values: vec![r, other_s] }.bytes())
            .clause("FIPS 186-5 §6.4.2"),
    ]
}

/// n - s.
fn negated(s: &[u8]) -> Vec<u8> {
    let negated = rsa::BigUint::from_bytes_be(&ORDER) - rsa::BigUint::from_bytes_be(s);
    let bytes = negated.to_bytes_be();
    [vec![0; 32 - bytes.len()], bytes].concat()
}

fn rsassa(made: &Made) -> Vec<Case> {
    let (message, size) = (made.case.file(MESSAGE), made.key.size());
    let (sha256, info) = (HashAlgorithm::Sha256, digest_info(HashAlgorithm::Sha256));
    let digest = sha256.hash(message);
    let digest = digest.as_bytes();
    let encoded = |name, what, encoded: Vec<u8>| {
        let signature = made.key.sign_encoded(&encoded);
        with(made, name, "AR-E205", what, |parts| parts.values = vec![signature]).clause("RFC 8017 §9.2")
    };
    let good = emsa_pkcs1(&info, digest, size);
    let without_null = {
        let mut short = info.clone();
        short.drain(15..17);
        short[1] -= 2;
        short[3] -= 2;
        short
    };
    let garbage = {
        let start = [&[0x00, 0x01], [0xff; 8].as_slice(), &[0x00], &info, digest].concat();
        [start.as_slice(), &vec![0x5a; size - start.len()]].concat()
    };
    let type_two = [&[0x00, 0x02], &good[2..]].concat();
    let raw = |name, what, value: Vec<u8>| with(made, name, "AR-E205", what, |parts| parts.values = vec![value]);
    let signature = made.key.sign(message).values.concat();
    vec![
        encoded("rsassa-garbage-behind", "a short padding, and garbage behind the digest", garbage),
        encoded("rsassa-without-null", "DigestInfo without its NULL", emsa_pkcs1(&without_null, digest, size)),
        encoded("rsassa-without-info", "the digest alone, without DigestInfo", emsa_pkcs1(&[], digest, size)),
        encoded("rsassa-info-of-sha384", "DigestInfo of SHA-384 before a digest of SHA-256", {
            emsa_pkcs1(&digest_info(HashAlgorithm::Sha384), digest, size)
        }),
        encoded("rsassa-block-type-2", "padding of encryption", type_two),
        raw("rsassa-0", "the number 0", vec![0; size]),
        raw("rsassa-1", "the number 1", [vec![0; size - 1], vec![1]].concat()),
        raw("rsassa-modulus", "the modulus", made.key.area().unique.concat()),
        raw("rsassa-short", "the signature without its last byte", signature[..size - 1].to_vec()),
        raw("rsassa-long", "the signature and a zero in front", [&[0], signature.as_slice()].concat()),
        raw("rsassa-empty", "nothing", Vec::new()),
    ]
}

fn rsapss(made: &Made) -> Vec<Case> {
    let message = made.case.file(MESSAGE);
    let salted = |salt| made.key.sign_pss(message, salt);
    let longest = made.key.size() - 2 - HashAlgorithm::Sha256.size();
    let refuse = |name, what, salt| with(made, name, "AR-E205", what, |parts| parts.values = vec![salted(salt)]);
    let old = SignatureParts { scheme: RSAPSS, hash: SHA256, values: vec![salted(longest)] }.bytes();
    vec![
        refuse("rsapss-no-salt", "no salt: what no TPM makes", 0),
        refuse("rsapss-other-salt", "a salt of 20 bytes, as SHA-1 would have it", 20),
        made.case
            .accept("rsapss-longest-salt", "the longest salt that fits, as TPMs before revision 1.38 take it")
            .with(SIGNATURE, old)
            .clause("TPM 2.0 Part 1 §B.7"),
    ]
}

/// What a signature says of itself chooses nothing.
fn relabelled(p256: &Made, ssa: &Made, pss: &Made) -> Vec<Case> {
    let scheme = |made, name, code, what: &str, scheme| with(made, name, code, what, |parts| parts.scheme = scheme);
    let hash = |made, name, code, what: &str, hash| with(made, name, code, what, |parts| parts.hash = hash);
    let one = |made, name, what: &str, scheme| {
        with(made, name, "AR-E203", what, |parts| {
            parts.scheme = scheme;
            parts.values = vec![parts.values.concat()];
        })
    };
    let by_sha1 = |made: &Made, name, code| {
        let signature = made.key.sign_by(HashAlgorithm::Sha1, made.case.file(MESSAGE)).bytes();
        made.case.refuse(name, code, "truly signed with SHA-1").with(SIGNATURE, signature)
    };
    let by_sha384 = |made: &Made, name, code| {
        let signature = made.key.sign_by(HashAlgorithm::Sha384, made.case.file(MESSAGE)).bytes();
        made.case
            .refuse(name, code, "truly signed with SHA-384, and the key is one of SHA-256")
            .with(SIGNATURE, signature)
    };
    let null = with(p256, "scheme-null", "AR-E201", "of scheme TPM_ALG_NULL", |parts| parts.scheme = NULL);
    let sm3 = hash(p256, "hash-sm3", "AR-E201", "ECDSA with SM3", 0x0012);
    let mut cases = vec![
        scheme(ssa, "rsassa-as-rsapss", "AR-E203", "RSASSA, labelled RSAPSS", RSAPSS),
        scheme(pss, "rsapss-as-rsassa", "AR-E203", "RSAPSS, labelled RSASSA", RSASSA),
        bare(
            ssa,
            scheme(ssa, "rsassa-as-rsapss-bare", "AR-E205", "the same, of a key whose scheme is not known", RSAPSS),
        ),
        bare(
            pss,
            scheme(pss, "rsapss-as-rsassa-bare", "AR-E205", "the same, of a key whose scheme is not known", RSASSA),
        ),
        scheme(p256, "ecdsa-as-rsassa-two-parts", "AR-E201", "ECDSA, labelled RSASSA", RSASSA),
        one(p256, "ecdsa-as-rsassa", "ECDSA, labelled RSASSA and in its form", RSASSA),
        bare(p256, one(p256, "ecdsa-as-rsassa-bare", "the same, of a key whose scheme is not known", RSASSA)),
        with(ssa, "rsassa-as-ecdsa", "AR-E203", "RSASSA, labelled ECDSA and in its form", |parts| {
            parts.scheme = ECDSA;
            parts.values = vec![vec![1; 32], vec![1; 32]];
        }),
        hash(p256, "ecdsa-sha256-as-sha1", "AR-E203", "ECDSA with SHA-256, labelled SHA-1", SHA1),
        hash(p256, "ecdsa-sha256-as-sha384", "AR-E203", "ECDSA with SHA-256, labelled SHA-384", SHA384),
        bare(p256, hash(p256, "ecdsa-sha256-as-sha1-bare", "AR-E209", "the same with SHA-1, of a bare key", SHA1)),
        bare(
            p256,
            hash(p256, "ecdsa-sha256-as-sha384-bare", "AR-E205", "the same with SHA-384, of a bare key", SHA384),
        ),
        hash(ssa, "rsassa-sha256-as-sha1", "AR-E203", "RSASSA with SHA-256, labelled SHA-1", SHA1),
        bare(ssa, hash(ssa, "rsassa-sha256-as-sha1-bare", "AR-E209", "the same, of a bare key", SHA1)),
        by_sha1(p256, "ecdsa-by-sha1", "AR-E203"),
        bare(p256, by_sha1(p256, "ecdsa-by-sha1-bare", "AR-E209")),
        by_sha1(ssa, "rsassa-by-sha1", "AR-E203"),
        bare(ssa, by_sha1(ssa, "rsassa-by-sha1-bare", "AR-E209")),
        by_sha384(p256, "ecdsa-by-sha384", "AR-E203"),
        null.clause("TPM 2.0 Part 2 §11.3.4"),
        sm3,
    ];
    cases.extend(UNKNOWN.map(|(id, name)| {
        let (name, what) = (format!("scheme-{name}"), format!("of scheme {id:#06x}"));
        with(p256, &name, "AR-E201", &what, |parts| parts.scheme = id)
    }));
    cases
}

/// An RSA key of 1024 bits, otherwise right.
fn weak(made: &Made) -> Vec<Case> {
    let key = TestKey::rsa("rsa1024", RSASSA);
    let message = made.case.file(MESSAGE).to_vec();
    let refuse = |name, code, what| made.case.refuse(name, code, what).signed(&key, &message);
    let what = "an honest quote by an RSA key of 1024 bits";
    vec![
        refuse("rsa-1024", "AR-E101", what).with(PUBLIC, key.area().bytes()),
        refuse("rsa-1024-bare", "AR-E204", "the same, of a bare key").without(PUBLIC).with(PEM, key.pem()),
    ]
}

/// Keys of other TPMs, and keys that are none.
fn other_keys(made: &Made) -> Vec<Case> {
    let other = TestKey::p256("p256-other");
    let message = made.case.file(MESSAGE).to_vec();
    let area = made.key.area();
    let off_curve = area.but(|area| area.unique[1][31] ^= 1);
    let at_zero = area.but(|area| area.unique = vec![vec![0; 32], vec![0; 32]]);
    let rsa = TestKey::rsa("rsa2048", RSASSA);
    let exponent = |name, what, exponent: u16| {
        let public = rsa.area().but(|area| area.details[2] = exponent);
        made.case.refuse(name, "AR-E204", what).signed(&rsa, &message).with(PUBLIC, public)
    };
    let unrestricted = area.but(|area| area.attributes &= !(1 << 16));
    vec![
        made.case
            .refuse("quote-of-another-tpm", "AR-E205", "an honest quote, by the key of another TPM")
            .signed(&other, &message),
        made.case
            .refuse("key-of-another-tpm", "AR-E205", "the key of another TPM, otherwise right")
            .with(PUBLIC, other.area().bytes()),
        made.case.refuse("key-off-its-curve", "AR-E204", "a point off its curve").with(PUBLIC, off_curve),
        made.case.refuse("key-0", "AR-E204", "the point 0, 0").with(PUBLIC, at_zero),
        exponent("rsa-exponent-1", "RSA with exponent 1: everything signs itself", 1),
        exponent("rsa-exponent-2", "RSA with an even exponent", 2),
        made.case
            .refuse("unrestricted-key", "AR-E101", "an honest quote, by a key that signs what a program makes up, too")
            .with(PUBLIC, unrestricted)
            .clause("TPM 2.0 Part 1 §25.2"),
        made.case
            .refuse("key-of-another-scheme", "AR-E203", "the key is one of RSAPSS, and signs by RSASSA")
            .signed(&rsa, &message)
            .with(PUBLIC, rsa.area().but(|area| area.scheme[0] = algorithm::RSAPSS)),
    ]
}
