//! Another reader of TPM structures beside ours: `tpm2-protocol`, on what real TPMs wrote and on that with bytes
//! changed.
//!
//! What we take it takes, and finds the same in it. What it takes and we do not is on a list, with the reason. It has
//! no event logs and no measurement lists.

use super::corpus::{case, evidence};
use attest_evidence::tpm::{Attest, Attested, Public, PublicKey, Signature, SignatureValue, algorithm};
use attest_evidence::{Malformed, Problem};
use proptest::prelude::*;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::TpmUint32;
use tpm2_protocol::data::{TpmsAttest, TpmtPublic, TpmtSignature, TpmuAttest, TpmuPublicId, TpmuSignature};

/// What we leave out and the other reads: the structure, the field at which we stop, and why.
const LEFT_OUT: [(&str, &str, &str); 15] = [
    (
        "TPMS_ATTEST",
        "type",
        "statements that are no quote: of all but certification and time only the refusal is wanted",
    ),
    ("TPMT_SIGNATURE", "scheme", "ECDAA, SM2, ECSchnorr and HMAC attest nothing here"),
    ("TPMT_SIGNATURE", "sigAlg", "a signature by nothing"),
    ("TPMT_SIGNATURE", "hash", "SM3 and SHA-3"),
    ("TPMT_PUBLIC", "type", "keyed hashes and symmetric keys"),
    ("TPMT_PUBLIC", "nameAlg", "SM3, SHA-3 and none"),
    ("TPMT_PUBLIC", "objectAttributes", "bits that are reserved"),
    ("TPMT_PUBLIC", "scheme", "key agreement, encryption, ECDAA; schemes of the other kind of key"),
    ("TPMT_PUBLIC", "hash", "SM3 and SHA-3"),
    ("TPMT_PUBLIC", "symmetric", "other ciphers than AES"),
    ("TPMT_PUBLIC", "symmetric.keyBits", "AES of other sizes than 128 and 256"),
    ("TPMT_PUBLIC", "symmetric.mode", "other modes than CFB"),
    ("TPMT_PUBLIC", "curveID", "other curves than P-256 and P-384"),
    ("TPMT_PUBLIC", "kdf", "key derivation of a signing key"),
    ("TPMT_PUBLIC", "keyBits", "bits that are not those of the modulus"),
];

/// Bounds that are ours: a coordinate of more bytes than its curve has.
const TOO_LONG: [&str; 2] = ["x", "y"];

/// What the other makes of all of `bytes`. It gives back what is left over; we count that as refused.
fn theirs<T: TpmUnmarshal>(bytes: &[u8]) -> Option<T> {
    T::unmarshal(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

fn expect_listed(bytes: &[u8], malformed: Malformed) {
    let listed = match malformed.problem {
        Problem::Value { field, .. } => {
            LEFT_OUT.iter().any(|(structure, known, _)| (*structure, *known) == (malformed.structure, field))
        }
        Problem::TooMany { field, .. } => malformed.structure == "TPMT_PUBLIC" && TOO_LONG.contains(&field),
        _ => false,
    };
    assert!(listed, "{malformed}, and the other takes it: {bytes:02x?}");
}

/// Compares both readings of a `TPMS_ATTEST`; whether both take it.
fn compare_attest(bytes: &[u8]) -> bool {
    match (Attest::parse(bytes), theirs::<TpmsAttest>(bytes)) {
        (Err(_), None) => false,
        (Err(malformed), Some(_)) => {
            expect_listed(bytes, malformed);
            false
        }
        (Ok(ours), None) => {
            // The other knows the algorithms of banks, and eight of them; our `selections` has the
            // numbers as they are, and a verifier refuses those that it does not know.
            let Attested::Quote(quote) = ours.attested else { panic!("only we take {bytes:02x?}") };
            let mut others = Vec::new();
            let mut selection = quote.selection.get(4..).unwrap();
            while let [high, low, size, rest @ ..] = selection {
                others.push(tpm2_protocol::data::TpmAlgId::unmarshal(&[*high, *low]).is_err());
                selection = rest.get(usize::from(*size)..).unwrap();
            }
            assert!(others.contains(&true) || others.len() > 8, "only we take {bytes:02x?}");
            false
        }
        (Ok(ours), Some(theirs)) => {
            assert_eq!(ours.qualified_signer, theirs.qualified_signer.as_ref());
            assert_eq!(ours.extra_data, theirs.extra_data.as_ref());
            assert_eq!(ours.clock.clock, theirs.clock_info.clock.value());
            assert_eq!(ours.clock.reset_count, theirs.clock_info.reset_count.value());
            assert_eq!(ours.clock.restart_count, theirs.clock_info.restart_count.value());
            assert_eq!(ours.clock.safe, theirs.clock_info.safe.0);
            assert_eq!(ours.firmware_version, theirs.firmware_version.value());
            match (ours.attested, theirs.attested) {
                (Attested::Quote(ours), TpmuAttest::Quote(theirs)) => {
                    assert_eq!(ours.pcr_digest, theirs.pcr_digest.as_ref());
                    let mut selection =
                        TpmUint32::from(u32::try_from(theirs.pcr_select.len()).unwrap()).to_be_bytes().to_vec();
                    for bank in theirs.pcr_select.iter() {
                        selection.extend(bank.hash.value().to_be_bytes());
                        selection.push(u8::try_from(bank.pcr_select.len()).unwrap());
                        selection.extend(&*bank.pcr_select);
                    }
                    assert_eq!(ours.selection, selection);
                }
                (Attested::Certify(ours), TpmuAttest::Certify(theirs)) => {
                    assert_eq!(ours.name, theirs.name.as_ref());
                    assert_eq!(ours.qualified_name, theirs.qualified_name.as_ref());
                }
                (Attested::Time(ours), TpmuAttest::Time(theirs)) => {
                    assert_eq!(ours.time, theirs.time.time.value());
                    assert_eq!(ours.clock.clock, theirs.time.clock_info.clock.value());
                    assert_eq!(ours.firmware_version, theirs.firmware_version.value());
                }
                (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
            }
            true
        }
    }
}

/// What both take. What only they take is on the list; what only we take is wrong.
fn both<O: std::fmt::Debug, T>(bytes: &[u8], ours: Result<O, Malformed>, theirs: Option<T>) -> Option<(O, T)> {
    match (ours, theirs) {
        (Err(_), None) => None,
        (Err(malformed), Some(_)) => {
            expect_listed(bytes, malformed);
            None
        }
        (Ok(ours), None) => panic!("only we take {ours:?}"),
        (Ok(ours), Some(theirs)) => Some((ours, theirs)),
    }
}

fn compare_signature(bytes: &[u8]) -> bool {
    match both(bytes, Signature::parse(bytes), theirs::<TpmtSignature>(bytes)) {
        None => false,
        Some((ours, theirs)) => {
            let hash = match (ours.value, theirs.signature) {
                (SignatureValue::Ecdsa { r, s }, TpmuSignature::Ecdsa(theirs)) => {
                    assert_eq!((r, s), (theirs.signature_r.as_ref(), theirs.signature_s.as_ref()));
                    theirs.hash
                }
                (SignatureValue::Rsa(sig), TpmuSignature::Rsassa(theirs) | TpmuSignature::Rsapss(theirs)) => {
                    assert_eq!(sig, theirs.sig.as_ref());
                    theirs.hash
                }
                (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
            };
            assert_eq!(ours.scheme.hash.id(), hash.value());
            true
        }
    }
}

fn compare_public(bytes: &[u8]) -> bool {
    match both(bytes, Public::parse(bytes), theirs::<TpmtPublic>(bytes)) {
        None => false,
        Some((ours, theirs)) => {
            assert_eq!(ours.name.algorithm().id(), theirs.name_alg.value());
            assert_eq!(ours.policy, theirs.auth_policy.as_ref());
            match (ours.key, theirs.unique) {
                (PublicKey::Rsa { modulus, .. }, TpmuPublicId::Rsa(theirs)) => assert_eq!(modulus, theirs.as_ref()),
                (PublicKey::P256 { x, y }, TpmuPublicId::Ecc(theirs)) => {
                    assert!(x.ends_with(&theirs.x) && y.ends_with(&theirs.y));
                }
                (PublicKey::P384 { x, y }, TpmuPublicId::Ecc(theirs)) => {
                    assert!(x.ends_with(&theirs.x) && y.ends_with(&theirs.y));
                }
                (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
            }
            true
        }
    }
}

/// What real TPMs and the corpus have of one structure: the good ones, and the spoilt ones.
fn structures(file: &str) -> [Vec<Vec<u8>>; 2] {
    let cases = evidence();
    let (good, spoilt): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.parent.is_none());
    let of = |cases: Vec<&case::Case>| cases.iter().filter_map(|case| case.files.get(file).cloned()).collect();
    [of(good), of(spoilt)]
}

#[test]
fn both_read_what_real_tpms_wrote() {
    for (file, compare, count) in [
        (case::MESSAGE, compare_attest as fn(&[u8]) -> bool, 10),
        (case::SIGNATURE, compare_signature, 10),
        (case::PUBLIC, compare_public, 9),
    ] {
        let [good, spoilt] = structures(file);
        assert_eq!(good.len(), count, "{file}");
        assert!(good.iter().all(|bytes| compare(bytes)), "{file}");
        spoilt.iter().for_each(|bytes| {
            compare(bytes);
        });
    }
}

/// Some bytes changed, put in, or left out.
fn mutated(file: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let [good, spoilt] = structures(file);
    let edit = (any::<prop::sample::Index>(), 0..4_u8, prop_oneof![any::<u8>(), Just(0), Just(0x10), Just(0xff)]);
    let edits = prop::collection::vec(edit, 1..4);
    (prop::sample::select([good, spoilt].concat()), edits).prop_map(|(mut bytes, edits)| {
        for (place, kind, byte) in edits {
            // Structures are decided in their first bytes: half of the changes are there.
            let near = bytes.len().min(if kind % 2 == 0 { 32 } else { usize::MAX });
            match (near, kind) {
                (0, _) => bytes.push(byte),
                (near, 0 | 1) => bytes[place.index(near)] = byte,
                (near, 2) => bytes.insert(place.index(near), byte),
                (near, _) => {
                    bytes.remove(place.index(near));
                }
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_read_changed_statements_alike(bytes in mutated(case::MESSAGE)) {
        compare_attest(&bytes);
    }

    #[test]
    fn both_read_changed_signatures_alike(bytes in mutated(case::SIGNATURE)) {
        compare_signature(&bytes);
    }

    #[test]
    fn both_read_changed_public_areas_alike(bytes in mutated(case::PUBLIC)) {
        compare_public(&bytes);
    }
}

#[test]
fn nothing_on_the_list_is_there_for_nothing() {
    let creation = crate::read("quotes/gce/windows_gcp_shielded_vm/creation.msg");
    let refused = Attest::parse(&creation).unwrap_err();
    assert!(
        matches!(refused.problem, Problem::Value { field: "type", .. }) && theirs::<TpmsAttest>(&creation).is_some()
    );
    use algorithm::{ECC, ECDSA, NULL, RSA, SHA256};
    let ecc = |parts: &[u16]| {
        let head = [ECC, SHA256, 0, 0, 0];
        let mut bytes: Vec<u8> = head.iter().chain(parts).flat_map(|part| part.to_be_bytes()).collect();
        bytes.extend([0, 1, 1, 0, 1, 1]);
        bytes
    };
    let sized = |parts: &[u16]| parts.iter().flat_map(|part| part.to_be_bytes()).collect::<Vec<u8>>();
    for (structure, field, bytes) in [
        ("TPMT_SIGNATURE", "scheme", sized(&[0x1a, SHA256, 0, 0])),
        ("TPMT_SIGNATURE", "sigAlg", sized(&[NULL])),
        ("TPMT_SIGNATURE", "hash", sized(&[ECDSA, 0x12, 0, 0])),
        ("TPMT_PUBLIC", "type", sized(&[0x08, SHA256, 0, 0, 0, NULL, 0])),
        ("TPMT_PUBLIC", "nameAlg", sized(&[RSA, NULL, 0, 0, 0, NULL, NULL, 0, 0, 0, 0])),
        ("TPMT_PUBLIC", "scheme", ecc(&[NULL, 0x1b, SHA256, 3, NULL])),
        ("TPMT_PUBLIC", "hash", ecc(&[NULL, ECDSA, 0x12, 3, NULL])),
        ("TPMT_PUBLIC", "symmetric", ecc(&[0x26, 128, 0x43, NULL, 3, NULL])),
        ("TPMT_PUBLIC", "symmetric.keyBits", ecc(&[6, 192, 0x43, NULL, 3, NULL])),
        ("TPMT_PUBLIC", "symmetric.mode", ecc(&[6, 128, 0x42, NULL, 3, NULL])),
        ("TPMT_PUBLIC", "curveID", ecc(&[NULL, NULL, 5, NULL])),
        ("TPMT_PUBLIC", "kdf", ecc(&[NULL, NULL, 3, 0x20, SHA256])),
        ("TPMT_PUBLIC", "keyBits", sized(&[RSA, SHA256, 0, 0, 0, NULL, NULL, 2048, 0, 0, 0])),
    ] {
        let refused = match structure {
            "TPMT_SIGNATURE" => {
                assert!(theirs::<TpmtSignature>(&bytes).is_some(), "{structure} {field}");
                Signature::parse(&bytes).unwrap_err()
            }
            _ => {
                assert!(theirs::<TpmtPublic>(&bytes).is_some(), "{structure} {field}");
                Public::parse(&bytes).unwrap_err()
            }
        };
        assert!(matches!(refused.problem, Problem::Value { field: at, .. } if at == field), "{refused}, not {field}");
    }
}
