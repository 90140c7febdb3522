//! Nothing leaks: not a session, not an object, also when commands fail.

use crate::support::{directory, embedded};
use attest_evidence::Sha256Digest;
use attest_evidence::tpm::{Credential, PcrSelection};
use attest_tpm::{Device, SessionProtection, StoredKey, TpmError};

/// A key of no TPM: its private area is made up.
fn nonsense(key: &attest_tpm::SigningKey) -> StoredKey {
    let mut text: serde_json::Value = serde_json::to_value(key.stored()).unwrap();
    text["private"] = "AAAA".into();
    serde_json::from_value(text).unwrap()
}

#[test]
fn ten_thousand_quotes_and_signatures_leave_the_tpm_as_it_was() {
    let directory = directory();
    let mut tpm = Device::open(&embedded(directory.path()), SessionProtection::Private).unwrap();
    let key = tpm.create_attestation_key().unwrap();
    tpm.use_attestation_key(&key.credentials).unwrap();
    let keys: Vec<_> = (0..3).map(|_| tpm.create_signing_key().unwrap()).collect();
    let broken = nonsense(&tpm.create_signing_key().unwrap());
    let selection: PcrSelection = "0,1,2,3,4,5,6,7".parse().unwrap();
    tpm.sign(&keys[0], &Sha256Digest::of(b"")).unwrap();
    let before = tpm.handles().unwrap();
    for round in 0..10_000u32 {
        let digest = Sha256Digest::of(&round.to_be_bytes());
        tpm.quote(selection, &digest).unwrap();
        tpm.sign(&keys[round as usize % 3], &digest).unwrap();
        if round % 100 == 0 {
            // Errors thrown in: a key that does not load, a credential that does not open.
            assert!(tpm.certify(&broken, &digest).is_err());
            let credential = Credential { id_object: vec![0; 52], encrypted_secret: vec![0; 68] };
            assert!(tpm.activate(&credential).is_err());
            let secret = attest_evidence::SecretBytes::new(vec![0; 200]);
            assert!(matches!(tpm.seal(&secret, selection), Err(TpmError::Command { .. })));
        }
    }
    tpm.sign(&keys[0], &Sha256Digest::of(b"")).unwrap();
    let after = tpm.handles().unwrap();
    assert_eq!(after.sessions, before.sessions);
    assert_eq!(after.transient.len(), before.transient.len());
    assert_eq!(after.persistent, before.persistent);
}
