//! Vectors of others, and what every result must hold to.

use super::*;
use attest_evidence::Sha256Digest;
use attest_evidence::report::Explain as _;
use attest_evidence::time::UnixSeconds;
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::signature::Signer as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;

macro_rules! vector {
    ($path:literal) => {
        include_str!(concat!("../../../tests/testdata/ear/", $path))
    };
}

const OK: [(&str, &str); 4] = [
    ("mini", vector!("veraison-ear/ear-claims.json")),
    ("vector", vector!("veraison-ear/ear-claims-tv-ok.json")),
    ("extension", vector!("veraison-ear/ear-claims-extension-ok.json")),
    ("key attestation", vector!("veraison-ear/ear-claims-key-attestation-ok.json")),
];
const DRAFT: [(&str, &str); 4] = [
    ("one attester", vector!("draft/ear-json-1.json")),
    ("two attesters", vector!("draft/ear-json-2.json")),
    ("annotated evidence", vector!("draft/ext-veraison-json-1.json")),
    ("key attestation", vector!("draft/ext-veraison-json-2.json")),
];
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn veraison_key() -> EarKey {
    EarKey::from_jwk(vector!("veraison-ear/pkey.json").as_bytes()).unwrap()
}

fn es256() -> p256::ecdsa::SigningKey {
    let key: Value = serde_json::from_str(vector!("veraison-ear/skey.json")).unwrap();
    let bytes = BASE64URL_NOPAD.decode(key["d"].as_str().unwrap().as_bytes()).unwrap();
    p256::ecdsa::SigningKey::from_slice(&bytes).unwrap()
}

fn eddsa() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn sign_es256(message: &[u8]) -> Result<[u8; 64], Infallible> {
    let signature: p256::ecdsa::Signature = es256().sign(message);
    Ok(signature.to_bytes().into())
}

fn sign_eddsa(message: &[u8]) -> Result<[u8; 64], Infallible> {
    Ok(eddsa().sign(message).to_bytes())
}

/// A token of any header and any claims, signed by the vectors' key.
fn token(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = BASE64URL_NOPAD.encode(&sign_es256(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn verified(token: &str) -> Result<VerifiedEar, EarRefused> {
    UnverifiedEar::parse(token.trim_end())?.verify(&veraison_key(), NOW)
}

fn claim<T>(at: &str, problem: Problem) -> Result<T, EarRefused> {
    Err(EarRefused::Claim { at: at.to_owned(), problem })
}

fn of(vector: TrustVector) -> Ear {
    let submods = BTreeMap::from([("tpm".to_owned(), Appraisal::of(vector))]);
    Ear::new(Profile::Draft04, verifier(), NOW, submods).unwrap()
}

fn verifier() -> VerifierId {
    VerifierId { developer: "attest-run".to_owned(), build: "0.1.0".to_owned() }
}

fn genuine() -> Ear {
    of(TrustVector::default().with(Hardware::Genuine).with(Executables::ApprovedAtBoot))
}

/// `genuine` as JSON, with one change.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Ear, EarRefused> {
    let mut claims = serde_json::from_str(&genuine().to_json()).unwrap();
    change(&mut claims);
    Ear::parse(claims.to_string().as_bytes())
}

#[test]
fn what_others_accept_is_read_and_written_as_it_was() {
    for (name, text) in OK.into_iter().chain(DRAFT) {
        let ear = Ear::parse(text.as_bytes()).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let written: Value = serde_json::from_str(&ear.to_json()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap(), "{name}");
        let token = ear.sign(EarAlgorithm::Es256, None, sign_es256).unwrap();
        assert_eq!(verified(&token).unwrap().ear(), &ear, "{name}");
    }
}

#[test]
fn what_others_refuse_is_refused() {
    assert_eq!(
        Ear::parse(vector!("veraison-ear/ear-claims-key-attestation-ko.json").as_bytes()),
        claim("submods.PARSEC_TPM.ear.veraison.key-attestation.akpub", Problem::Missing)
    );
    assert_eq!(verified(vector!("veraison-ear/token-no-claims-ko.jwt")), claim("eat_profile", Problem::Missing));
    assert_eq!(
        verified(vector!("veraison-ear/token-float-time-ko.jwt")),
        claim("iat", Problem::WrongType("a whole number of seconds"))
    );
    assert_eq!(
        verified(vector!("veraison-ear/token-hs256-ko.jwt")),
        Err(EarRefused::Algorithm { found: "HS256".to_owned(), wanted: "ES256" })
    );
    assert!(matches!(verified(vector!("veraison-ear/token-none-ko.jwt")), Err(EarRefused::Malformed(_))));
}

#[test]
fn a_token_that_others_signed_verifies() {
    let result = verified(vector!("veraison-ear/token-ok.jwt")).unwrap();
    let ear = result.ear();
    assert_eq!((ear.profile(), ear.issued()), (Profile::Veraison, UnixSeconds(1_666_091_373)));
    let appraisal = &ear.submods()["test"];
    assert_eq!((appraisal.status(), appraisal.policies()), (TrustTier::Affirming, &["policy://test/01234".into()][..]));
    assert_eq!(appraisal.extensions().get("ear.veraison.policy-claims"), Some(&json!({ "foo": "bar", "bar": "baz" })));
    // Its status is all that it says: no claim stands behind it.
    assert_eq!((appraisal.vector(), appraisal.claim(TrustAspect::Hardware)), (None, TrustClaim::NO_ASSERTION));
}

#[test]
fn results_of_a_running_verifier_are_read() {
    let key = EarKey::from_jwk(vector!("veraison-services/verifier.jwk").as_bytes()).unwrap();
    assert_eq!(key, veraison_key());
    for (name, text, status) in [
        ("cca end to end", vector!("veraison-services/cca.end-to-end.json"), TrustTier::Affirming),
        ("cca good", vector!("veraison-services/cca.good.json"), TrustTier::Affirming),
        ("cca challenge", vector!("veraison-services/cca.verify-challenge.json"), TrustTier::Affirming),
        ("cca stale", vector!("veraison-services/cca.freshness-fail.json"), TrustTier::Contraindicated),
        ("enacttrust good", vector!("veraison-services/enacttrust.good.json"), TrustTier::Affirming),
        ("enacttrust bad", vector!("veraison-services/enacttrust.badnode.json"), TrustTier::Contraindicated),
    ] {
        let submods: Value = serde_json::from_str(text).unwrap();
        let mut claims: Value = serde_json::from_str(OK[0].1).unwrap();
        claims["submods"] = submods.clone();
        let ear = Ear::parse(claims.to_string().as_bytes()).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        assert_eq!(ear.status(), status, "{name}");
        for appraisal in ear.submods().values() {
            // Its verifier comes to the status that is computed here.
            assert_eq!(appraisal.status(), appraisal.vector().unwrap().tier(), "{name}");
        }
        assert_eq!(serde_json::from_str::<Value>(&ear.to_json()).unwrap()["submods"], submods, "{name}");
    }
}

#[test]
fn the_draft_s_examples_say_what_the_draft_says_of_them() {
    let one = Ear::parse(DRAFT[0].1.as_bytes()).unwrap();
    assert_eq!((one.profile(), one.status()), (Profile::Draft03, TrustTier::Contraindicated));
    let psa = &one.submods()["PSA"];
    assert_eq!(
        *psa.vector().unwrap(),
        TrustVector::default()
            .with(InstanceIdentity::Trustworthy)
            .with(Executables::Contraindicated)
            .with(Hardware::Genuine)
    );
    assert_eq!(psa.policies(), ["https://veraison.example/policy/1/60a0068d"]);
    let two = Ear::parse(DRAFT[1].1.as_bytes()).unwrap();
    assert_eq!((two.submods().len(), two.status()), (2, TrustTier::Affirming));
}

#[test]
fn tiers_are_the_standard_s() {
    for code in i8::MIN..=i8::MAX {
        let tier = match code {
            96.. => TrustTier::Contraindicated,
            32.. => TrustTier::Warning,
            2.. => TrustTier::Affirming,
            -1.. => TrustTier::None,
            -32.. => TrustTier::Affirming,
            -96.. => TrustTier::Warning,
            _ => TrustTier::Contraindicated,
        };
        assert_eq!(TrustClaim::from_code(code).tier(), tier, "{code}");
    }
    let named =
        |aspect: TrustAspect| (i8::MIN..=i8::MAX).filter(move |c| aspect.meaning(TrustClaim::from_code(*c)).is_some());
    for (aspect, codes) in [
        (TrustAspect::InstanceIdentity, &[-1, 0, 1, 2, 96, 97, 99][..]),
        (TrustAspect::Configuration, &[-1, 0, 1, 2, 3, 32, 36, 96, 99]),
        (TrustAspect::Executables, &[-1, 0, 1, 2, 3, 32, 33, 96, 99]),
        (TrustAspect::FileSystem, &[-1, 0, 1, 2, 32, 96, 99]),
        (TrustAspect::Hardware, &[-1, 0, 1, 2, 32, 96, 97, 99]),
        (TrustAspect::RuntimeOpaque, &[-1, 0, 1, 2, 32, 96, 99]),
        (TrustAspect::StorageOpaque, &[-1, 0, 1, 2, 32, 96, 99]),
        (TrustAspect::SourcedData, &[-1, 0, 1, 2, 32, 96, 99]),
    ] {
        assert_eq!(named(aspect).collect::<Vec<_>>(), codes, "{aspect}");
    }
}

#[test]
fn nothing_unknown_is_affirmed() {
    let none = of(TrustVector::default());
    assert_eq!((none.status(), none.submods()["tpm"].status()), (TrustTier::None, TrustTier::None));
    assert_eq!(Ear::parse(none.to_json().as_bytes()), Ok(none));
    for claim in [TrustClaim::UNKNOWN_EVIDENCE, TrustClaim::VERIFIER_MALFUNCTION] {
        let vector = TrustVector::default().with(Hardware::Genuine).with_claim(TrustAspect::Executables, claim);
        assert_eq!(of(vector).status(), TrustTier::None);
    }
    // One attester of which nothing is known: the whole is not affirmed.
    let known = TrustVector::default().with(Hardware::Genuine);
    let submods = [("tpm", known), ("ci", TrustVector::of_all(TrustClaim::NO_ASSERTION))];
    let submods = submods.map(|(label, vector)| (label.to_owned(), Appraisal::of(vector)));
    let ear = Ear::new(Profile::Draft04, verifier(), NOW, BTreeMap::from(submods)).unwrap();
    assert_eq!(ear.status(), TrustTier::None);
}

#[test]
fn no_later_claim_takes_back_a_worse_one() {
    let both = TrustVector::default().with(Hardware::Contraindicated).with(Hardware::Genuine);
    assert_eq!(both, TrustVector::default().with(Hardware::Genuine).with(Hardware::Contraindicated));
    assert_eq!(both.tier(), TrustTier::Contraindicated);
    let boot = TrustVector::default().with(Executables::ApprovedAtBoot);
    assert_eq!(boot.clone().with(Executables::ApprovedAtBootAndRuntime), boot);
    let appraisal = Appraisal::of(both).no_better_than(TrustTier::Affirming);
    assert_eq!(appraisal.status(), TrustTier::Contraindicated);
    assert_eq!(appraisal.no_better_than(TrustTier::None).status(), TrustTier::Contraindicated);
    assert_eq!(Appraisal::of(boot).no_better_than(TrustTier::Warning).status(), TrustTier::Warning);
}

#[test]
fn a_status_that_its_claims_do_not_bear_is_refused() {
    let at = "submods.tpm.ear_status".to_owned();
    for (code, stated, borne) in [
        (96, TrustTier::Affirming, TrustTier::Contraindicated),
        (32, TrustTier::None, TrustTier::Warning),
        (0, TrustTier::Affirming, TrustTier::None),
        (-1, TrustTier::Affirming, TrustTier::None),
    ] {
        let read = changed(|claims| {
            claims["submods"]["tpm"] =
                json!({ "ear_status": stated.as_str(), "ear_trustworthiness_vector": { "hardware": code } });
        });
        assert_eq!(read, Err(EarRefused::Status { at: at.clone(), stated, borne }));
    }
    let (stated, borne) = (TrustTier::Affirming, TrustTier::Warning);
    let overall = changed(|claims| claims["submods"]["tpm"]["ear_status"] = "warning".into());
    assert_eq!(overall, Err(EarRefused::Status { at: "ear_status".to_owned(), stated, borne }));
    // A worse one stands, here and over all.
    let worse = changed(|claims| claims["ear_status"] = "contraindicated".into()).unwrap();
    assert_eq!(worse.status(), TrustTier::Contraindicated);
}

#[test]
fn claims_are_what_they_must_be() {
    type Change = fn(&mut Value);
    let cases: [(&str, Problem, Change); 26] = [
        ("iat", Problem::Missing, |c| drop(c.as_object_mut().unwrap().remove("iat"))),
        ("iat", Problem::WrongType("a whole number of seconds"), |c| c["iat"] = json!(-1)),
        ("exp", Problem::WrongType("a whole number of seconds"), |c| c["exp"] = json!(1.5)),
        ("nbf", Problem::WrongType("a whole number of seconds"), |c| c["nbf"] = json!("1")),
        ("aud", Problem::Audience, |c| c["aud"] = json!("somebody")),
        ("eat_profile", Problem::WrongType("text"), |c| c["eat_profile"] = json!(1)),
        ("ear_verifier_id.build", Problem::Missing, |c| c["ear_verifier_id"] = json!({ "developer": "x" })),
        ("ear_verifier_id.more", Problem::Undefined, |c| c["ear_verifier_id"]["more"] = json!(1)),
        ("ear_raw_evidence", Problem::WrongType("base64url"), |c| c["ear_raw_evidence"] = json!("a+b/")),
        ("ear_raw_evidence", Problem::WrongType("base64url"), |c| c["ear_raw_evidence"] = json!("3q2-7x")),
        ("eat_nonce", Problem::OutOfRange("8 to 88 bytes of text"), |c| c["eat_nonce"] = json!("1337")),
        ("eat_nonce", Problem::WrongType("text"), |c| c["eat_nonce"] = json!(["0123456789abcdef"])),
        ("submods", Problem::Empty, |c| c["submods"] = json!({})),
        ("submods", Problem::WrongType("an object"), |c| c["submods"] = json!([])),
        ("submods.tpm", Problem::WrongType("an object"), |c| c["submods"]["tpm"] = json!("affirming")),
        ("submods.tpm.ear_status", Problem::WrongType("text"), |c| c["submods"]["tpm"]["ear_status"] = json!(2)),
        ("submods.tpm.ear_status", Problem::OutOfRange("a tier of AR4SI"), |c| {
            c["submods"]["tpm"]["ear_status"] = json!("Affirming");
        }),
        ("submods.tpm.ear_trustworthiness_vector", Problem::Empty, |c| {
            c["submods"]["tpm"]["ear_trustworthiness_vector"] = json!({});
        }),
        ("submods.tpm.ear_trustworthiness_vector.hardware", Problem::OutOfRange("-128 to 127"), |c| {
            c["submods"]["tpm"]["ear_trustworthiness_vector"]["hardware"] = json!(258);
        }),
        ("submods.tpm.ear_trustworthiness_vector.hardware", Problem::WrongType("an integer"), |c| {
            c["submods"]["tpm"]["ear_trustworthiness_vector"]["hardware"] = json!(2.0);
        }),
        ("submods.tpm.ear_trustworthiness_vector.luck", Problem::Undefined, |c| {
            c["submods"]["tpm"]["ear_trustworthiness_vector"]["luck"] = json!(2);
        }),
        ("submods.tpm.ear_appraisal_policy_ids", Problem::Empty, |c| {
            c["submods"]["tpm"]["ear_appraisal_policy_ids"] = json!([]);
        }),
        ("submods.tpm.ear_attest_run_evidence.hardware.quote", Problem::WrongType("a SHA-256 digest"), |c| {
            c["submods"]["tpm"]["ear_attest_run_evidence"] = json!({ "hardware": { "quote": "sha256:00" } });
        }),
        ("submods.tpm.ear_verifier_claims", Problem::Empty, |c| {
            c["submods"]["tpm"]["ear_verifier_claims"] = json!({});
        }),
        // Names of another edition, and of the outer object: who knows those would believe them.
        ("submods.tpm.ear.status", Problem::Undefined, |c| c["submods"]["tpm"]["ear.status"] = json!("affirming")),
        ("ear_trustworthiness_vector", Problem::Undefined, |c| {
            c["ear_trustworthiness_vector"] = json!({ "hardware": 2 });
        }),
    ];
    for (at, problem, change) in cases {
        assert_eq!(changed(change), claim(at, problem));
    }
    let unknown = changed(|claims| claims["eat_profile"] = "tag:ietf.org,2026:rats/ear#99".into());
    assert_eq!(unknown, Err(EarRefused::Profile("tag:ietf.org,2026:rats/ear#99".to_owned())));
    // What nobody here knows is kept, as JWT wants it.
    let extended = changed(|claims| claims["jti"] = "55b8".into()).unwrap();
    assert_eq!(extended.extensions().iter().collect::<Vec<_>>(), [("jti", &json!("55b8"))]);
}

#[test]
fn results_that_could_not_be_read_are_not_made() {
    let make = |profile, submods| Ear::new(profile, verifier(), NOW, submods);
    assert_eq!(make(Profile::Draft04, BTreeMap::new()), claim("submods", Problem::Empty));
    let two = Appraisal::of(TrustVector::default()).under_policy("a").under_policy("b");
    let two = BTreeMap::from([("tpm".to_owned(), two)]);
    assert!(make(Profile::Draft04, two.clone()).is_ok());
    assert_eq!(
        make(Profile::Veraison, two),
        claim("submods.tpm.ear.appraisal-policy-id", Problem::OutOfRange("one policy"))
    );
    for name in ["ear_status", "ear.status", "iat", "exp", "aud", "submods"] {
        let extended = genuine().with_extension(name, serde_json::Map::new());
        assert_eq!(extended, claim(name, Problem::Undefined));
    }
    assert!(EatNonce::of(&[0; 7]).is_err() && EatNonce::of(&[0; 65]).is_err());
    assert_eq!(
        (EatNonce::of(&[0; 8]).unwrap().as_str().len(), EatNonce::of(&[0; 64]).unwrap().as_str().len()),
        (12, 88)
    );
}

#[test]
fn a_member_twice_is_refused_at_every_depth() {
    let text = DRAFT[0].1;
    for (member, again) in [
        (r#""iat":"#, r#""iat": 1, "#),
        (r#""developer":"#, r#""developer": "x", "#),
        (r#""PSA":"#, r#""PSA": {}, "#),
        (r#""ear_status":"#, r#""ear_status": "affirming", "#),
        (r#""executables":"#, r#""executables": 2, "#),
    ] {
        let twice = text.replacen(member, &format!("{again}{member}"), 1);
        assert!(matches!(Ear::parse(twice.as_bytes()), Err(EarRefused::Malformed(_))), "{member}");
    }
    let inside = OK[2].1.replacen(r#""k1":"#, r#""k1": "v0", "k1":"#, 1);
    assert!(matches!(Ear::parse(inside.as_bytes()), Err(EarRefused::Malformed(_))));
    let header = token(r#"{"alg":"none","alg":"ES256","typ":"JWT"}"#, OK[0].1);
    assert!(matches!(verified(&header), Err(EarRefused::Malformed(_))));
}

#[test]
fn the_key_says_by_which_algorithm() {
    let claims = OK[0].1;
    assert!(verified(&token(r#"{"alg":"ES256","typ":"JWT"}"#, claims)).is_ok());
    for name in ["none", "None", "HS256", "EdDSA", "ES384", "RS256", "es256"] {
        let refused = verified(&token(&format!(r#"{{"alg":"{name}","typ":"JWT"}}"#), claims));
        assert_eq!(refused, Err(EarRefused::Algorithm { found: name.to_owned(), wanted: "ES256" }));
    }
    // The right name, and no signature.
    let whole = token(r#"{"alg":"ES256","typ":"JWT"}"#, claims);
    let (signed, _) = whole.rsplit_once('.').unwrap();
    assert_eq!(verified(&format!("{signed}.")), Err(EarRefused::Signature));
    // A key in the header is nobody's.
    let stranger = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let point = p256::ecdsa::VerifyingKey::from(&stranger).to_sec1_point(false);
    let [x, y] = [&point.as_bytes()[1..33], &point.as_bytes()[33..]].map(|bytes| BASE64URL_NOPAD.encode(bytes));
    let header = json!({ "alg": "ES256", "typ": "JWT", "jwk": { "kty": "EC", "crv": "P-256", "x": x, "y": y } });
    let signed = [header.to_string().as_bytes(), claims.as_bytes()].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
    let signature: p256::ecdsa::Signature = stranger.sign(signed.as_bytes());
    let forged = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()));
    assert_eq!(verified(&forged), Err(EarRefused::Signature));
    // One key's results are not another's, of whichever kind.
    let signed = genuine().sign(EarAlgorithm::EdDsa, Some("one"), sign_eddsa).unwrap();
    let parsed = UnverifiedEar::parse(&signed).unwrap();
    assert_eq!(parsed.key_id(), Some("one"));
    assert!(parsed.verify(&eddsa().verifying_key().into(), NOW).is_ok());
    assert!(matches!(parsed.verify(&veraison_key(), NOW), Err(EarRefused::Algorithm { .. })));
    let other = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    assert_eq!(parsed.verify(&other.verifying_key().into(), NOW), Err(EarRefused::Signature));
}

#[test]
fn only_tokens_of_results_are_read() {
    let claims = OK[0].1;
    for kind in ["eat+jwt", "EAT+JWT", "application/eat+jwt", "jwt"] {
        assert!(verified(&token(&format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#), claims)).is_ok(), "{kind}");
    }
    let other = verified(&token(r#"{"alg":"ES256","typ":"at+jwt"}"#, claims));
    assert_eq!(other, Err(EarRefused::Type("at+jwt".to_owned())));
    for header in [
        r#"{"alg":"ES256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":1,"typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"JWT","crit":["exp"]}"#,
        r#"{"alg":"ES256","typ":"JWT","crit":[]}"#,
        r#"{"alg":"ES256","typ":"JWT","b64":false}"#,
        r#"["ES256"]"#,
        "",
    ] {
        assert!(matches!(verified(&token(header, claims)), Err(EarRefused::Malformed(_))), "{header}");
    }
    let whole = token(r#"{"alg":"ES256","typ":"JWT"}"#, claims);
    assert!(matches!(verified(&"A".repeat(1024 * 1024 + 1)), Err(EarRefused::Malformed(_))));
    let header = |filler| format!(r#"{{"alg":"ES256","typ":"JWT","x5c":"{}"}}"#, "A".repeat(filler));
    assert!(verified(&token(&header(8 * 1024), claims)).is_ok());
    let long = verified(&token(&header(12 * 1024), claims));
    assert_eq!(long, Err(EarRefused::Malformed("its header is too long".to_owned())));
    let deep = claims.replacen('{', &format!(r#"{{"deep":{}{},"#, "[".repeat(200), "]".repeat(200)), 1);
    assert!(matches!(Ear::parse(deep.as_bytes()), Err(EarRefused::Malformed(_))));
    for broken in [format!("{whole}.more"), format!(".{whole}"), format!("{whole}="), String::new(), "..".to_owned()] {
        assert!(matches!(verified(&broken), Err(EarRefused::Malformed(_))), "{broken}");
    }
}

/// A tenth of all numbers were read as one of their neighbours, and as the next neighbour each time.
#[test]
fn a_number_in_an_extension_is_the_same_however_often_it_is_read_and_written() {
    let claims = vector!("veraison-ear/ear-claims.json").replacen('{', r#"{"x":8.383658838626809e-78,"#, 1);
    let ear = Ear::parse(claims.as_bytes()).unwrap();
    assert_eq!(ear.extensions().get("x"), Some(&json!(8.383658838626809e-78)));
    assert_eq!(Ear::parse(ear.to_json().as_bytes()), Ok(ear));
}

#[test]
fn one_changed_byte_never_verifies() {
    for (algorithm, key, signed) in [
        (EarAlgorithm::Es256, veraison_key(), genuine().sign(EarAlgorithm::Es256, None, sign_es256).unwrap()),
        (
            EarAlgorithm::EdDsa,
            eddsa().verifying_key().into(),
            genuine().sign(EarAlgorithm::EdDsa, None, sign_eddsa).unwrap(),
        ),
    ] {
        assert!(UnverifiedEar::parse(&signed).unwrap().verify(&key, NOW).is_ok());
        for at in 0..signed.len() {
            for other in [b'A', b'_', b'.', b'='] {
                let mut bytes = signed.clone().into_bytes();
                if bytes[at] == other {
                    continue;
                }
                bytes[at] = other;
                let text = String::from_utf8(bytes).unwrap();
                let verified = UnverifiedEar::parse(&text).and_then(|parsed| parsed.verify(&key, NOW));
                assert!(verified.is_err(), "{algorithm:?}, byte {at}");
            }
        }
    }
}

#[test]
fn a_result_is_good_for_its_time() {
    let signed = |ear: Ear| ear.sign(EarAlgorithm::Es256, None, sign_es256).unwrap();
    let at = |text: &str, now: u64| UnverifiedEar::parse(text).unwrap().verify(&veraison_key(), UnixSeconds(now));
    let UnixSeconds(issued) = NOW;
    let text = signed(genuine().expiring(NOW.plus(300)));
    let time = |what, claim: u64, now| Err(EarRefused::Time { what, claim: UnixSeconds(claim), now: UnixSeconds(now) });
    assert_eq!(at(&text, issued - 61), time("issued in the future", issued, issued - 61));
    assert!(at(&text, issued - 60).is_ok() && at(&text, issued + 359).is_ok());
    assert_eq!(at(&text, issued + 360), time("expired", issued + 300, issued + 360));
    let later = signed(changed(|claims| claims["nbf"] = (issued + 100).into()).unwrap());
    assert_eq!(at(&later, issued + 39), time("not valid yet", issued + 100, issued + 39));
    assert!(at(&later, issued + 40).is_ok());
}

#[test]
fn keys_are_public_and_of_two_kinds() {
    let point = r#""kty":"EC","crv":"P-256","x":"usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8""#;
    let y = r#""y":"IBOL-C3BttVivg-lSreASjpkttcsz-1rb7btKLv8EX4""#;
    let read = |text: String| EarKey::from_jwk(text.as_bytes());
    assert_eq!(read(format!(r#"{{{point},{y},"use":"sig","alg":"ES256"}}"#)), Ok(veraison_key()));
    let x = BASE64URL_NOPAD.encode(eddsa().verifying_key().as_bytes());
    let okp = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    assert_eq!(read(okp).unwrap().algorithm(), EarAlgorithm::EdDsa);
    for bad in [
        vector!("veraison-ear/skey.json").to_owned(),
        format!(r#"{{{point},{y},{y}}}"#),
        format!(r#"{{{point}}}"#),
        format!(r#"{{{point},{}}}"#, y.replace("IBOL", "IBOM")),
        format!(r#"{{{point},{y},"use":"enc"}}"#),
        format!(r#"{{{point},{y},"alg":"ES384"}}"#),
        format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
        // The neutral element: every signature could be made to fit it.
        r#"{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#.to_owned(),
        r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
        "[]".to_owned(),
    ] {
        assert!(matches!(read(bad.clone()), Err(EarRefused::Key(_))), "{bad}");
    }
}

#[test]
fn the_evidence_of_a_claim_is_told_under_a_name_of_our_own() {
    let digest = Sha256Digest::of(b"quote");
    let evidence = EvidenceDigests::default().with(TrustAspect::Hardware, "quote", digest);
    for (profile, name) in
        [(Profile::Veraison, "ear.attest-run.evidence"), (Profile::Draft04, "ear_attest_run_evidence")]
    {
        let appraisal = Appraisal::of(TrustVector::default().with(Hardware::Genuine)).resting_on(evidence.clone());
        let ear = Ear::new(profile, verifier(), NOW, BTreeMap::from([("tpm".to_owned(), appraisal)])).unwrap();
        let json: Value = serde_json::from_str(&ear.to_json()).unwrap();
        assert_eq!(json["submods"]["tpm"][name], json!({ "hardware": { "quote": format!("sha256:{digest}") } }));
        let read = Ear::parse(ear.to_json().as_bytes()).unwrap();
        let read = read.submods()["tpm"].evidence().unwrap();
        assert_eq!(read.of(TrustAspect::Hardware).collect::<Vec<_>>(), [("quote", &digest)]);
        assert_eq!(read.of(TrustAspect::Executables).count(), 0);
    }
}

#[test]
fn every_refusal_has_its_code() {
    let at = "iat".to_owned();
    let (stated, borne) = (TrustTier::Affirming, TrustTier::None);
    let refused = [
        EarRefused::Malformed(String::new()),
        EarRefused::Algorithm { found: String::new(), wanted: "ES256" },
        EarRefused::Signature,
        EarRefused::Profile(String::new()),
        EarRefused::Claim { at: at.clone(), problem: Problem::Missing },
        EarRefused::Status { at, stated, borne },
        EarRefused::Time { what: "expired", claim: NOW, now: NOW },
        EarRefused::Key(""),
        EarRefused::Type(String::new()),
    ];
    let codes = refused.map(|refused| refused.report().code.as_str().to_owned());
    assert_eq!(codes.to_vec(), (701..=709).map(|number| format!("AR-E{number}")).collect::<Vec<_>>());
}

fn vectors() -> impl Strategy<Value = TrustVector> {
    let aspect = proptest::sample::select(&TrustAspect::ALL[..]);
    proptest::collection::vec((aspect, any::<i8>()), 0..6).prop_map(|claims| {
        claims.into_iter().fold(TrustVector::default(), |vector, (aspect, code)| {
            vector.with_claim(aspect, TrustClaim::from_code(code))
        })
    })
}

fn ears() -> impl Strategy<Value = Ear> {
    let tier = proptest::sample::select(&TrustTier::BY_FALLING_TRUST[..]);
    let appraisal = (vectors(), tier, proptest::option::of(".{0,12}"), any::<Option<[u8; 32]>>()).prop_map(
        |(vector, tier, policy, nonce)| {
            let mut appraisal = Appraisal::of(vector).no_better_than(tier);
            if let Some(policy) = policy {
                appraisal = appraisal.under_policy(policy);
            }
            if let Some(nonce) = nonce {
                let evidence =
                    EvidenceDigests::default().with(TrustAspect::Hardware, "quote", Sha256Digest::of(&nonce));
                appraisal = appraisal.answering(EatNonce::of(&nonce).unwrap()).resting_on(evidence);
            }
            appraisal
        },
    );
    let submods = proptest::collection::btree_map(".{1,12}", appraisal, 1..4);
    let profile = proptest::sample::select(&Profile::ALL[..]);
    let text = ".{0,24}";
    (profile, submods, any::<u64>(), any::<Option<u64>>(), any::<Option<Vec<u8>>>(), (text, text)).prop_map(
        |(profile, submods, issued, expires, evidence, (developer, build))| {
            let mut ear = Ear::new(profile, VerifierId { developer, build }, UnixSeconds(issued), submods).unwrap();
            if let Some(expires) = expires {
                ear = ear.expiring(UnixSeconds(expires)).answering(EatNonce::of(&expires.to_be_bytes()).unwrap());
            }
            if let Some(evidence) = evidence {
                let members = serde_json::Map::from_iter([("length".to_owned(), evidence.len().into())]);
                ear = ear.with_raw_evidence(evidence).with_extension("example", members).unwrap();
            }
            ear
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(ear in ears()) {
        prop_assert_eq!(Ear::parse(ear.to_json().as_bytes()), Ok(ear));
    }

    #[test]
    fn the_status_is_the_worst_tier(vector in vectors()) {
        let has = |tier| vector.iter().any(|(_, claim)| claim != TrustClaim::NO_ASSERTION && claim.tier() == tier);
        let worst = if has(TrustTier::Contraindicated) {
            TrustTier::Contraindicated
        } else if has(TrustTier::Warning) {
            TrustTier::Warning
        } else if has(TrustTier::None) || !has(TrustTier::Affirming) {
            TrustTier::None
        } else {
            TrustTier::Affirming
        };
        prop_assert_eq!(vector.tier(), worst);
        prop_assert_eq!(Appraisal::of(vector.clone()).status(), worst);
        for tier in TrustTier::BY_FALLING_TRUST {
            prop_assert!(!Appraisal::of(vector.clone()).no_better_than(tier).status().is_better_than(worst));
        }
    }

    #[test]
    fn any_bytes_are_refused_in_order(bytes in any::<Vec<u8>>(), text in ".*") {
        prop_assert!(Ear::parse(&bytes).is_err());
        prop_assert!(UnverifiedEar::parse(&text).is_err());
    }
}
