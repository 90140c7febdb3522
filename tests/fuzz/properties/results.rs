//! What others have signed: attestation results, CI tokens, certificates.

use crate::quote::signing_key;
use crate::shown;
use attest_appraisal::ci::{Algorithm, Issuer, IssuerKind, KeySet, UnverifiedToken};
use attest_appraisal::ear::{Ear, EarAlgorithm, EarKey, UnverifiedEar};
use attest_appraisal::{CertificateRefused, Roots, TpmClass, VerifiedEndorsement};
use attest_evidence::UnixSeconds;
use attest_evidence::report::Explain as _;
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;

/// When the inputs are looked at.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// Attestation results, and keys of verifiers: a claims set that is written again is the same, and signed it is believed.
pub fn ear(bytes: &[u8]) {
    if let Err(refused) = EarKey::from_jwk(bytes) {
        shown(&refused.report());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        match UnverifiedEar::parse(text) {
            // Whoever made the input has this function's key too: that it is believed says nothing.
            Ok(token) => drop(token.verify(&EarKey::from(*signing_key().verifying_key()), NOW)),
            Err(refused) => shown(&refused.report()),
        }
    }
    let ear = match Ear::parse(bytes) {
        Ok(ear) => ear,
        Err(refused) => return shown(&refused.report()),
    };
    let written = ear.to_json();
    assert_eq!(Ear::parse(written.as_bytes()).as_ref(), Ok(&ear), "{written}");
    // A signature takes as long as a hundred parses, so that one in eight inputs has to do.
    if bytes.len().is_multiple_of(8) {
        is_believed(&ear);
    }
}

/// A result that is signed here is believed here, while it is in time.
fn is_believed(ear: &Ear) {
    let key = signing_key();
    let sign = |message: &[u8]| Ok::<_, std::convert::Infallible>(signed(&key, message));
    let Ok(token) = ear.sign(EarAlgorithm::Es256, Some("a key"), sign);
    let token = UnverifiedEar::parse(&token).expect("it was written");
    let now = ear.not_before().unwrap_or(ear.issued()).max(ear.issued());
    let in_time = ear.expires().is_none_or(|expires| now < expires);
    match token.verify(&EarKey::from(*key.verifying_key()), now) {
        Ok(verified) => assert_eq!(verified.ear(), ear),
        Err(refused) => assert!(!in_time, "{refused}"),
    }
}

fn signed(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    let signature: p256::ecdsa::Signature = key.sign(message);
    signature.to_bytes().into()
}

/// CI tokens and key sets of issuers. The input is also taken for claims and signed by a known key, so that what lies
/// behind the signature check is reached.
pub fn ci(bytes: &[u8]) {
    const ISSUER: &str = "https://token.actions.githubusercontent.com";
    let issuer = |kind| Issuer {
        url: ISSUER.to_owned(),
        kind,
        audience: "attest-run".to_owned(),
        algorithms: Algorithm::ALL.to_vec(),
    };
    if let Ok(keys) = KeySet::parse(bytes) {
        assert!(keys.len() <= 64);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        match UnverifiedToken::parse(text) {
            Ok(token) => drop(token.issuer().map(str::len)),
            Err(refused) => shown(&refused.report()),
        }
    }
    let unsigned =
        format!("{}.{}", BASE64URL_NOPAD.encode(br#"{"alg":"ES256","kid":"k"}"#), BASE64URL_NOPAD.encode(bytes));
    // Signing takes longer than all the rest: only for claims that get further than their issuer.
    let token = format!("{unsigned}.AA");
    if UnverifiedToken::parse(&token).map(|token| token.issuer() == Ok(ISSUER)) != Ok(true) {
        return;
    }
    let key = signing_key();
    let point = key.verifying_key().to_sec1_point(false);
    let coordinate = |bytes: Option<_>| bytes.map(|bytes: &p256::FieldBytes| BASE64URL_NOPAD.encode(bytes));
    let (x, y) = (coordinate(point.x()).unwrap_or_default(), coordinate(point.y()).unwrap_or_default());
    let keys = format!(r#"{{"keys":[{{"kid":"k","kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#);
    let keys = KeySet::parse(keys.as_bytes()).expect("a key set of one key");
    let token = format!("{unsigned}.{}", BASE64URL_NOPAD.encode(&signed(&key, unsigned.as_bytes())));
    let token = UnverifiedToken::parse(&token).expect("it was read without its signature");
    for kind in [IssuerKind::GitHub, IssuerKind::GitLab] {
        match token.verify(&issuer(kind), &keys, NOW) {
            Ok(verified) => {
                assert_eq!(verified.issuer(), ISSUER);
                assert!(verified.job().as_str().matches(':').count() >= 2);
                assert!(verified.expires().plus(60) > NOW);
                assert!(!verified.claims().run_url.chars().any(|c| c.is_control() || c.is_whitespace()));
            }
            Err(refused) => shown(&refused.report()),
        }
    }
}

/// Two roots, and a certificate below the first of them.
pub(crate) fn roots() -> Roots {
    let mut roots = Roots::default();
    roots.add_root(TpmClass::Discrete, include_bytes!("roots/root.der").to_vec()).expect("a root of ours");
    roots.add_root(TpmClass::Firmware, include_bytes!("roots/root384.der").to_vec()).expect("a root of ours");
    roots.add_intermediate(include_bytes!("roots/intermediate.der").to_vec()).expect("one of ours");
    roots
}

/// Certificates of endorsement and attestation keys: believed only by roots, in their class, and for ever as they are.
pub fn certificate(bytes: &[u8]) {
    let roots = roots();
    for verify in [VerifiedEndorsement::verify_ek, VerifiedEndorsement::verify_ak] {
        match verify(bytes, &roots, NOW) {
            Ok(verified) => {
                assert!([TpmClass::Discrete, TpmClass::Firmware].contains(&verified.class()));
                let alone = verify(bytes, &Roots::default(), NOW);
                assert!(matches!(alone, Err(CertificateRefused::UnknownIssuer { .. })), "{alone:?}");
            }
            Err(refused) => shown(&refused.report()),
        }
    }
}
