//! A quote on its own, with the parts of it taken out of one input.

use crate::{next, tpm};
use attest_appraisal::{AttestationKey, HashPolicy, LoneQuote, QuotingKey};
use attest_evidence::report::Explain as _;
use attest_evidence::tpm::{Attest, Attested, PcrBanks, Public, PublicKey, Signature, SignatureValue, SigningScheme};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use sha2::{Digest as _, Sha256};

/// `LEN:u16 ‖ message ‖ LEN:u16 ‖ signature ‖ LEN:u16 ‖ public ‖ PCRs as JSON`, all lengths big-endian.
///
/// The message is looked at twice: with the signature and the key of the input, and signed by a key of this function's,
/// so that what lies behind the signature check is reached. What is verified then is what was signed, and no byte of it
/// can be another.
pub fn quote(bytes: &[u8]) {
    let mut rest = bytes;
    let parts = (part(&mut rest), part(&mut rest), part(&mut rest));
    let (Some(message), Some(signature), Some(public)) = parts else { return };
    let pcrs: PcrBanks = serde_json::from_slice(rest).unwrap_or_default();
    let pcrs = Some(&pcrs).filter(|pcrs| !pcrs.is_empty());
    let quote = LoneQuote { message, signature, pcrs, policy: HashPolicy::Legacy, ..LoneQuote::default() };
    if let Some(key) = key(public) {
        match quote.verify(&key) {
            Ok(verified) => holds(message, &verified, pcrs),
            Err(refused) => crate::shown(&refused.report()),
        }
    }
    // Signing takes longer than all the rest: only for what is a quote.
    if !Attest::parse(message).is_ok_and(|attest| matches!(attest.attested, Attested::Quote(_))) {
        return;
    }
    let (key, signature) = signed(message);
    let quote = LoneQuote { signature: &signature, policy: HashPolicy::Strict, ..quote };
    match quote.verify(&key) {
        Ok(verified) => {
            holds(message, &verified, pcrs);
            // One in eight inputs has to do: to look at a signature takes as long as a hundred parses.
            let at = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>();
            if at.is_multiple_of(8) {
                let mut changed = message.to_vec();
                let at = at / 8 % changed.len().max(1);
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 1;
                }
                assert!(LoneQuote { message: &changed, ..quote }.verify(&key).is_err(), "byte {at} can be another");
            }
        }
        Err(refused) => crate::shown(&refused.report()),
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(next(rest)?);
    crate::next_bytes(rest, length.into())
}

/// The key of a public area: restricted, if that is what it says.
fn key(public: &[u8]) -> Option<QuotingKey> {
    let restricted = AttestationKey::check_by(public, HashPolicy::Legacy).ok().map(QuotingKey::Restricted);
    restricted.or_else(|| Some(QuotingKey::Bare(Public::parse(public).ok()?.key)))
}

/// What was verified is what the message says.
fn holds(message: &[u8], verified: &attest_appraisal::VerifiedLoneQuote, pcrs: Option<&PcrBanks>) {
    let attest = Attest::parse(message).expect("it was parsed to be verified");
    assert_eq!(tpm::encoded(&attest), message);
    let Attested::Quote(quote) = attest.attested else { unreachable!("only quotes are verified") };
    assert_eq!((attest.extra_data, quote.pcr_digest), (&verified.extra_data[..], &verified.pcr_digest[..]));
    assert!(verified.selection.iter().any(|(_, pcrs)| !pcrs.is_empty()));
    let Some(pcrs) = pcrs else { return };
    let mut values = Vec::new();
    for (bank, indexes) in &verified.selection {
        for index in indexes {
            let value = pcrs.bank(*bank).and_then(|values| values.get(index));
            values.extend(value.expect("each quoted PCR has a value").as_bytes());
        }
    }
    assert_eq!(crate::plain_hash(verified.scheme.hash.size(), &values), verified.pcr_digest);
}

/// A key of this target alone.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).expect("a number between zero and the curve's order")
}

/// `message`, signed by [`signing_key`].
fn signed(message: &[u8]) -> (QuotingKey, Vec<u8>) {
    let key = signing_key();
    let point = key.verifying_key().to_sec1_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| (*bytes).into()).unwrap_or_default();
    let public = PublicKey::P256 { x: coordinate(point.x()), y: coordinate(point.y()) };
    let signature: p256::ecdsa::Signature = key.sign_prehash(&Sha256::digest(message)).expect("a digest of 32 bytes");
    let (r, s) = signature.split_bytes();
    let value = SignatureValue::Ecdsa { r: &r, s: &s };
    let signature = Signature { scheme: SigningScheme::ECDSA_SHA256, value };
    (QuotingKey::Bare(public), signature.to_bytes().unwrap_or_default())
}
