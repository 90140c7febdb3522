//! What holds for all evidence: one changed byte never verifies, and what is written is read as it was.

use super::corpus::events::{EventParts, HeaderParts, LogParts};
use super::corpus::keys::{Area, TestKey};
use super::corpus::lists::{self, EntryParts, List};
use super::corpus::parents;
use super::corpus::statement::{Body, Quoted, Statement};
use super::corpus::{case, evidence};
use attest_appraisal::{AttestationKey, HashPolicy, LoneQuote, QuotingKey};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::EventType;
use attest_evidence::tpm::{Attest, Public, PublicKey, Signature, algorithm};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::LazyLock;

/// A good quote, and the public area of its key.
struct Good {
    area: Area,
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// One by a key of each kind.
static QUOTES: LazyLock<Vec<Good>> = LazyLock::new(|| {
    let statement = parents::made_p256().statement;
    let keys = [
        TestKey::p256("p256"),
        TestKey::p384("p384"),
        TestKey::rsa("rsa2048", algorithm::RSASSA),
        TestKey::rsa("rsa2048", algorithm::RSAPSS),
    ];
    let quoted = keys.into_iter().map(|key| {
        let message = statement.bytes();
        let signature = key.sign(&message).bytes();
        Good { area: key.area(), message, signature }
    });
    quoted.collect()
});

fn verifies(key: &QuotingKey, message: &[u8], signature: &[u8]) -> bool {
    let nonce = Some(parents::NONCE_VALUE.as_slice());
    LoneQuote { message, signature, nonce, policy: HashPolicy::Legacy, ..LoneQuote::default() }.verify(key).is_ok()
}

/// With one byte changed.
fn changed(bytes: &[u8], place: prop::sample::Index, by: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place = place.index(bytes.len());
    bytes[place] ^= by;
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_changed_byte_never_verifies(place in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
        for Good { area, message, signature } in &*QUOTES {
            let public = area.bytes();
            let restricted = QuotingKey::Restricted(AttestationKey::check(&public).unwrap());
            let bare = QuotingKey::Bare(Public::parse(&public).unwrap().key);
            for good in [&restricted, &bare] {
                prop_assert!(verifies(good, message, signature));
                prop_assert!(!verifies(good, &changed(message, place, by), signature));
                prop_assert!(!verifies(good, message, &changed(signature, place, by)));
            }
            // The public area: the key is another one, or has another Name, or may not attest.
            let other = AttestationKey::check(&changed(&public, place, by));
            let other = other.ok().filter(|other| other.key() != restricted.key());
            prop_assert!(!other.is_some_and(|other| verifies(&QuotingKey::Restricted(other), message, signature)));
        }
    }
}

/// So that a changed key file is no key, or another one.
#[test]
fn no_bit_of_a_key_is_idle() {
    for Good { area, .. } in &*QUOTES {
        let key = Public::parse(&area.bytes()).unwrap().key;
        let der = key.to_spki().unwrap();
        assert_eq!(PublicKey::from_spki(&der).as_ref(), Some(&key));
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(PublicKey::from_spki(&changed).as_ref(), Some(&key), "{} at byte {}", key.kind(), bit / 8);
        }
    }
}

fn statements() -> impl Strategy<Value = Statement> {
    let selection = vec((any::<u16>(), vec(any::<u8>(), 0..=4)), 0..=16);
    let quoted = (selection, vec(any::<u8>(), 0..=64))
        .prop_map(|(selection, digest)| Body::Quote(Quoted { count: None, selection, digest }));
    let names = (vec(any::<u8>(), 0..=66), vec(any::<u8>(), 0..=66)).prop_map(|names| {
        let sized = |name: &[u8]| [&u16::try_from(name.len()).unwrap().to_be_bytes(), name].concat();
        Body::Other([sized(&names.0), sized(&names.1)].concat())
    });
    let clock = (any::<u64>(), any::<u32>(), any::<u32>(), 0..=1_u8, any::<u64>());
    let sized = || vec(any::<u8>(), 0..=66);
    (prop_oneof![quoted, names], sized(), sized(), clock).prop_map(|(body, signer, nonce, clock)| {
        let kind = if matches!(body, Body::Quote(_)) { 0x8018 } else { 0x8017 };
        let (clock, reset_count, restart_count, safe, firmware) = clock;
        Statement { magic: 0xff54_4347, kind, signer, nonce, clock, reset_count, restart_count, safe, firmware, body }
    })
}

fn logs() -> impl Strategy<Value = LogParts> {
    let header = (any::<[u8; 8]>(), vec(any::<u8>(), 0..=255)).prop_map(|(versions, vendor)| HeaderParts {
        versions,
        vendor,
        ..LogParts::made().header
    });
    let kind = prop_oneof![Just(EventType::SEPARATOR), Just(EventType::IPL), any::<u32>().prop_map(EventType)];
    // The last byte of a log is neither 0 nor 0xff: such are padding.
    let data = (vec(any::<u8>(), 0..200), 1..=0xfe_u8).prop_map(|(data, last)| [data, vec![last]].concat());
    let event = (0..24_u32, kind, data, 1..=2_usize).prop_map(|(pcr, kind, data, digests)| {
        let mut event = EventParts::measured(pcr, kind, &data, &data);
        event.digests.truncate(digests);
        event
    });
    (header, vec(event, 1..40)).prop_map(|(header, events)| LogParts { header, events })
}

fn areas() -> impl Strategy<Value = Area> {
    let areas: Vec<_> = QUOTES.iter().map(|quote| quote.area.clone()).collect();
    let hash = || prop::sample::select(HashAlgorithm::ALL.map(HashAlgorithm::id).to_vec());
    let protection = prop::sample::select(vec![vec![algorithm::NULL], vec![6, 128, 0x43], vec![6, 256, 0x43]]);
    (prop::sample::select(areas), any::<u32>(), hash(), hash(), vec(any::<u8>(), 0..=64), protection).prop_map(
        |(area, attributes, name_alg, hash, policy, symmetric)| {
            let scheme = vec![area.scheme[0], hash];
            let attributes = attributes & 0x000f_0ff6;
            Area { name_alg, attributes, policy, symmetric, scheme, ..area }
        },
    )
}

fn entries() -> impl Strategy<Value = List> {
    let entry = (0..24_u32, any::<[u8; 20]>(), "[a-z|-]{4,40}", vec(any::<u8>(), 0..300)).prop_map(
        |(pcr, template_digest, name, data)| EntryParts {
            pcr,
            template_digest: template_digest.to_vec(),
            name_length: None,
            name: name.into_bytes(),
            data_length: None,
            data,
        },
    );
    vec(entry, 0..40).prop_map(List)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn statements_are_read_as_they_were_written(statement in statements()) {
        let bytes = statement.bytes();
        prop_assert_eq!(Statement::of(&Attest::parse(&bytes).unwrap()), statement);
    }

    #[test]
    fn logs_are_read_as_they_were_written(log in logs()) {
        prop_assert_eq!(LogParts::of(&log.bytes()), log);
    }

    #[test]
    fn lists_are_read_as_they_were_written(list in entries()) {
        prop_assert_eq!(lists::pieces(&list.bytes(), |_| true), list);
    }

    #[test]
    fn public_areas_are_read_as_they_were_written(area in areas()) {
        let public = Public::parse(&area.bytes()).unwrap();
        let scheme = public.scheme.unwrap();
        prop_assert_eq!(public.name, public.name.algorithm().hash(&area.bytes()));
        prop_assert_eq!(public.name.algorithm().id(), area.name_alg);
        prop_assert_eq!(vec![scheme.hash.id()], &area.scheme[1..]);
        prop_assert_eq!(public.policy, area.policy);
        let unique = match public.key {
            PublicKey::P256 { x, y } => vec![x.to_vec(), y.to_vec()],
            PublicKey::P384 { x, y } => vec![x.to_vec(), y.to_vec()],
            PublicKey::Rsa { modulus, .. } => vec![modulus],
        };
        prop_assert_eq!(unique, area.unique);
    }
}

#[test]
fn signatures_are_written_as_they_were_read() {
    let mut read = 0;
    for case in evidence() {
        let Some(bytes) = case.files.get(case::SIGNATURE) else { continue };
        if let Ok(signature) = Signature::parse(bytes) {
            assert_eq!(signature.to_bytes().as_ref(), Some(bytes), "{}", case.name);
            read += 1;
        }
    }
    assert!(read > 200, "{read}");
}
