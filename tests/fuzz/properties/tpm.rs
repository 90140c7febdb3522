//! What a TPM says.

use crate::read;
use attest_appraisal::AttestationKey;
use attest_evidence::HashAlgorithm;
use attest_evidence::report::Explain as _;
use attest_evidence::tpm::{Attest, Attested, ClockInfo, Public, PublicKey, Signature};

/// `TPMS_ATTEST`: written again it is the same bytes.
pub fn attest(bytes: &[u8]) {
    let Some(attest) = read(bytes, Attest::parse(bytes)) else { return };
    assert_eq!(encoded(&attest), bytes);
    if let Attested::Quote(quote) = &attest.attested
        && let Some(selections) = read(quote.selection, quote.selections())
    {
        assert!(selections.len() <= 16);
        assert!(selections.iter().all(|selection| selection.pcrs.is_sorted()));
    }
}

/// `TPMS_ATTEST`, written from its parts (Part 2 §10.12.12).
pub(crate) fn encoded(attest: &Attest<'_>) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        [&length.to_be_bytes(), bytes].concat()
    };
    let clock = |clock: &ClockInfo| {
        let counts = [clock.reset_count.to_be_bytes(), clock.restart_count.to_be_bytes()].concat();
        [&clock.clock.to_be_bytes()[..], &counts, &[clock.safe.into()]].concat()
    };
    let (kind, body) = match &attest.attested {
        Attested::Quote(quote) => (0x8018_u16, [quote.selection, &sized(quote.pcr_digest)].concat()),
        Attested::Certify(certified) => (0x8017, [sized(certified.name), sized(certified.qualified_name)].concat()),
        Attested::Time(time) => {
            let [first, last] = [time.time, time.firmware_version].map(u64::to_be_bytes);
            (0x8019, [&first[..], &clock(&time.clock), &last].concat())
        }
    };
    let parts = [
        &0xff54_4347_u32.to_be_bytes()[..],
        &kind.to_be_bytes(),
        &sized(attest.qualified_signer),
        &sized(attest.extra_data),
        &clock(&attest.clock),
        &attest.firmware_version.to_be_bytes(),
        &body,
    ];
    parts.concat()
}

/// `TPMT_SIGNATURE`: written again it is the same bytes.
pub fn signature(bytes: &[u8]) {
    if let Some(signature) = read(bytes, Signature::parse(bytes)) {
        assert_eq!(signature.to_bytes().as_deref(), Some(bytes));
    }
}

/// `TPMT_PUBLIC`: its Name is the hash of the bytes, and as `SubjectPublicKeyInfo` it is the same key.
pub fn public(bytes: &[u8]) {
    if let Err(refused) = AttestationKey::check(bytes) {
        crate::shown(&refused.report());
    }
    let Some(public) = read(bytes, Public::parse(bytes)) else { return };
    assert!(HashAlgorithm::ALL.into_iter().any(|hash| hash.hash(bytes) == public.name));
    let Some(der) = public.key.to_spki() else { return };
    assert_eq!(PublicKey::from_spki(&der).as_ref().map(significant), Some(significant(&public.key)));
    assert!(public.key.to_pem().is_some());
}

/// The numbers of a key, without leading zeros: DER has none.
fn significant(key: &PublicKey) -> (Vec<u8>, Vec<u8>) {
    let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    match key {
        PublicKey::P256 { x, y } => (trimmed(x), trimmed(y)),
        PublicKey::P384 { x, y } => (trimmed(x), trimmed(y)),
        PublicKey::Rsa { exponent, modulus, .. } => (trimmed(modulus), trimmed(&exponent.to_be_bytes())),
    }
}
