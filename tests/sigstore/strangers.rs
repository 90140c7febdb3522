//! Bundles that others signed for others: npm, GitHub, Python, and those of other clients' tests.

use super::read;
use attest_evidence::Digest;
use attest_evidence::report::Explain as _;
use attest_sigstore::{Artifact, Bundle, Expected, Instance, Logged, ManagedKey, Trust, Verified};

const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn identity(identity: &str, issuer: &str) -> Expected {
    Expected::Identity { identity: identity.to_owned(), issuer: issuer.to_owned() }
}

/// Verifies, or tells the code of the refusal and its words.
fn verify(bundle: &[u8], artifact: Artifact<'_>, expected: &Expected, trust: &Trust) -> Result<Verified, String> {
    let said = |report: attest_evidence::report::Report| format!("{}: {}", report.code, report.what);
    let bundle = Bundle::parse(bundle).map_err(|error| said(error.report()))?;
    trust.verify(&bundle, artifact, expected).map_err(|refused| said(refused.report()))
}

/// The digest of the first subject of a bundle's statement: of artifacts that are not here.
fn subject(bundle: &[u8]) -> Digest {
    let bundle: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let statement = data_encoding::BASE64.decode(payload.as_bytes()).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&statement).unwrap();
    let (algorithm, digest) = statement["subject"][0]["digest"].as_object().unwrap().iter().next().unwrap();
    format!("{algorithm}:{}", digest.as_str().unwrap()).parse().unwrap()
}

/// The digest that a bundle names, of a message that is not here.
fn message(bundle: &[u8]) -> Digest {
    let bundle: serde_json::Value = serde_json::from_slice(bundle).unwrap();
    let digest = bundle["messageSignature"]["messageDigest"]["digest"].as_str().unwrap();
    let digest = data_encoding::BASE64.decode(digest.as_bytes()).unwrap();
    Digest::from_bytes(attest_evidence::HashAlgorithm::Sha256, &digest).unwrap()
}

#[test]
fn bundles_of_npm_are_verified() {
    let trust = Trust::of(Instance::PublicGood).unwrap();
    let workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
    let package = read("github-cli/sigstore-js-2.1.0.tgz");
    for bundle in ["github-cli/sigstore-js-2.1.0-bundle.json", "github-cli/sigstore-js-2.1.0-bundle-v0.1.json"] {
        let bundle = read(bundle);
        let verified = verify(&bundle, Artifact::Bytes(&package), &identity(workflow, GITHUB), &trust).unwrap();
        assert_eq!(verified.logged(), Logged::Proved);
        assert_eq!(verified.times().iter().map(|time| time.0).collect::<Vec<_>>(), [1_693_323_623]);
        let claims = verified.claims();
        assert!(claims.contains(&("repository id", "495574555")), "{claims:?}");
        assert!(claims.contains(&("runner", "github-hosted")), "{claims:?}");
        let statement: serde_json::Value = serde_json::from_slice(verified.statement().unwrap()).unwrap();
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");

        let mut other = package.clone();
        other.push(0);
        let refused = verify(&bundle, Artifact::Bytes(&other), &identity(workflow, GITHUB), &trust).unwrap_err();
        assert!(refused.starts_with("AR-V204"), "{refused}");
        // Who did sign is told of whoever is not who was wanted.
        let tag = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/tags/v2.1.0";
        for (wanted, issuer) in [(tag, GITHUB), (workflow, "https://gitlab.com"), ("sigstore", GITHUB)] {
            let parsed = Bundle::parse(&bundle).unwrap();
            let refused = trust.verify(&parsed, Artifact::Bytes(&package), &identity(wanted, issuer)).unwrap_err();
            let report = refused.report();
            assert_eq!(report.code.as_str(), "AR-V201", "{report:?}");
            let found = report.facts.iter().find(|fact| fact.name == "signed by").unwrap();
            assert_eq!(found.value, format!("{workflow}, by {GITHUB}"));
        }
    }
}

/// npm's registry gives a list of attestations: the publisher's, by npm's key, and the provenance.
#[test]
fn provenance_from_npm_s_registry_is_verified() {
    let trust = Trust::of(Instance::PublicGood).unwrap();
    let gundam = "https://github.com/ramonpetgrave64/gundam-visor/.github/workflows/npm-publish.yml@refs/tags/v1.0.1";
    let goggles =
        "https://github.com/trishankatdatadog/supreme-goggles/.github/workflows/npm-publish.yml@refs/tags/v1.0.5";
    let cases = [
        ("gundam-visor-cli-v1-tag.tgz.json", gundam, None),
        ("gundam-visor-cli-v1-tag-invalidsigprov.tgz.json", gundam, Some("AR-V2")),
        ("supreme-googles-cli-v02-tag.tgz.json", goggles, None),
        ("supreme-googles-cli-v02-tag-invalidsigprov.tgz.json", goggles, Some("AR-V2")),
    ];
    for (file, workflow, refused) in cases {
        let listed: serde_json::Value = serde_json::from_slice(&read(&format!("slsa-verifier/{file}"))).unwrap();
        let provenance = listed["attestations"].as_array().unwrap().iter();
        let provenance = provenance.map(|attestation| &attestation["bundle"]);
        let provenance = provenance.filter(|bundle| bundle["verificationMaterial"]["publicKey"].is_null());
        let bundle = provenance.map(ToString::to_string).next().unwrap().into_bytes();
        let answer = verify(&bundle, Artifact::Digest(subject(&bundle)), &identity(workflow, GITHUB), &trust);
        match (answer, refused) {
            (Ok(verified), None) => assert_ne!(verified.logged(), Logged::No),
            (Err(said), Some(code)) if said.starts_with(code) => {}
            (answer, _) => panic!("{file}: {:?}", answer.map(|verified| verified.logged())),
        }
    }
}

#[test]
fn an_attestation_of_github_s_own_instance_is_verified() {
    let trust = Trust::of(Instance::GitHub).unwrap();
    let workflow = "https://github.com/actions/attest-demo/.github/workflows/build-python.yml@refs/heads/main";
    let wheel = read("github-cli/github_provenance_demo-0.0.12-py3-none-any.whl");
    let file = |kind: &str| read(&format!("github-cli/github_provenance_demo-0.0.12-py3-none-any-bundle{kind}.jsonl"));
    let wanted = identity(workflow, GITHUB);
    let verified = verify(&file(""), Artifact::Bytes(&wheel), &wanted, &trust).unwrap();
    // It has no log: a timestamp stands for time.
    assert_eq!((verified.logged(), verified.times().len()), (Logged::No, 1));
    let public = Trust::of(Instance::PublicGood).unwrap();
    let refused = verify(&file(""), Artifact::Bytes(&wheel), &wanted, &public).unwrap_err();
    assert!(refused.starts_with("AR-V2"), "{refused}");
    let refused = verify(&file("-missing-cert"), Artifact::Bytes(&wheel), &wanted, &trust).unwrap_err();
    assert!(refused.starts_with("AR-V101"), "{refused}");
    let refused = verify(&file("-missing-verification-material"), Artifact::Bytes(&wheel), &wanted, &trust);
    assert!(refused.unwrap_err().starts_with("AR-V101"));
}

#[test]
fn bundles_of_every_version_are_verified() {
    let trust = Trust::of(Instance::PublicGood).unwrap();
    let brian = identity("brian@dehamer.com", "https://github.com/login/oauth");
    for file in
        ["bundleV01-dsse-no-proof", "bundleV01-intoto-no-proof", "bundleV02-dsse", "bundleV03-dsse", "bundleV03-intoto"]
    {
        let bundle = read(&format!("sigstore-js/{file}.sigstore"));
        let verified = verify(&bundle, Artifact::Digest(subject(&bundle)), &brian, &trust);
        let logged = verified.map(|verified| verified.logged());
        let wanted = if file.ends_with("no-proof") { Logged::Promised } else { Logged::Proved };
        assert_eq!(logged, Ok(wanted), "{file}");
    }
    let bundle = read("sigstore-go/dsse.sigstore.json");
    verify(&bundle, Artifact::Digest(subject(&bundle)), &brian, &trust).unwrap();
    let two = read("sigstore-go/dsse-2sigs.sigstore.json");
    let refused = verify(&two, Artifact::Digest(subject(&two)), &brian, &trust).unwrap_err();
    assert!(refused.starts_with("AR-V101"), "{refused}");
    let python = read("sigstore-python/integration/Python-3.12.5.tgz.sigstore");
    let wanted = identity("thomas@python.org", "https://accounts.google.com");
    // Its proof has no checkpoint: the log's promise is what counts.
    let verified = verify(&python, Artifact::Digest(message(&python)), &wanted, &trust).unwrap();
    assert_eq!(verified.logged(), Logged::Promised);
    let without_promise = String::from_utf8(python.clone()).unwrap().replace("inclusionPromise", "inclusionPromise2");
    let refused = verify(without_promise.as_bytes(), Artifact::Digest(message(&python)), &wanted, &trust).unwrap_err();
    assert!(refused.starts_with("AR-V211"), "{refused}");
}

/// Of staging: a statement in a log of Rekor's second version, whose time is a timestamp's.
#[test]
fn a_statement_in_a_log_of_the_second_version_is_verified() {
    let bundle = read("sigstore-python/a.dsse.staging-rekor-v2.txt.sigstore.json");
    let workflow = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/\
                    extremely-dangerous-oidc-beacon.yml@refs/heads/main";
    let verify = |instance| {
        let trust = Trust::of(instance).unwrap();
        verify(&bundle, Artifact::Digest(subject(&bundle)), &identity(workflow, GITHUB), &trust)
    };
    let verified = verify(Instance::Staging).unwrap();
    assert_eq!((verified.logged(), verified.times().len()), (Logged::Proved, 1));
    // The public instance trusts none of it.
    let refused = verify(Instance::PublicGood).unwrap_err();
    assert!(refused.starts_with("AR-V2"), "{refused}");
}

/// A key and a timestamp authority, no log: as an instance that is cut off from the world has it.
#[test]
fn a_key_with_a_timestamp_alone_is_verified() {
    let trust = Trust::parse(&read("trusted_root/sigstore-go-public-key-validity.json")).unwrap();
    let bundle = read("sigstore-go/public-key-validity.sigstore.json");
    let key = ManagedKey::parse(&read("sigstore-go/public-key-validity.pem")).unwrap();
    let digest = message(&bundle);
    let verified = verify(&bundle, Artifact::Digest(digest), &Expected::Key(key), &trust).unwrap();
    assert_eq!((verified.logged(), verified.times().len()), (Logged::No, 1));
    assert_eq!(verified.signer(), None);
    // Without its timestamp nobody shows when.
    let mut bare: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    bare["verificationMaterial"]["timestampVerificationData"] = serde_json::Value::Null;
    let key = ManagedKey::parse(&read("sigstore-go/public-key-validity.pem")).unwrap();
    let refused =
        verify(bare.to_string().as_bytes(), Artifact::Digest(digest), &Expected::Key(key), &trust).unwrap_err();
    assert!(refused.starts_with("AR-V2"), "{refused}");
}

#[test]
fn what_other_clients_tests_refuse_is_refused() {
    let trust = Trust::of(Instance::PublicGood).unwrap();
    let william = identity("william@yossarian.net", "https://github.com/login/oauth");
    for (file, code) in [
        ("bundle_cve_2022_36056.txt.sigstore", "AR-V208"),
        ("bundle_no_checkpoint.txt.sigstore", "AR-V211"),
        ("bundle_v3_no_signed_time.txt.sigstore.json", "AR-V209"),
        ("bundle_invalid_version.txt.sigstore", "AR-V101"),
    ] {
        let bundle = read(&format!("sigstore-python/{file}"));
        let refused = verify(&bundle, Artifact::Digest(message(&bundle)), &william, &trust).unwrap_err();
        assert!(refused.starts_with(code), "{file}: {refused}");
    }
    // The signature is good, and another workflow's.
    let wrong = read("slsa-verifier/MODULE-wrong-signer.bazel.intoto.jsonl");
    let wanted =
        identity("https://github.com/loosebazooka/aa-test/.github/workflows/release.yaml@refs/heads/main", GITHUB);
    let module = read("slsa-verifier/MODULE-wrong-signer.bazel");
    let refused = verify(&wrong, Artifact::Bytes(&module), &wanted, &trust).unwrap_err();
    assert!(refused.starts_with("AR-V201"), "{refused}");
}

/// That somebody signed proves nothing.
#[test]
fn v01_nobody_is_expected() {
    use crate::support::{programs, run};
    let file = |path: &str| super::data(path).to_str().unwrap().to_owned();
    let (bundle, package) =
        (file("github-cli/sigstore-js-2.1.0-bundle.json"), file("github-cli/sigstore-js-2.1.0.tgz"));
    let verify = |options: &[&str]| {
        let mut command = std::process::Command::new(programs().join("attest-run"));
        command.args(["verify", "bundle", "--bundle", &bundle]).args(options).arg(&package).env_clear();
        run(&mut command)
    };
    verify(&[]).refused(2, "AR-V001");
    verify(&["--identity", "release@example.org"]).refused(2, "AR-V002");
    let workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
    let good = verify(&["--identity", workflow]).ok();
    assert!(good.stdout.contains("time       2023-08-29T15:40:23Z"), "{}", good.stdout);
    // Who did sign is told.
    let other = verify(&["--identity", &workflow.replace("sigstore-js", "fork")]);
    assert!(other.stderr.contains(&format!("signed by  {workflow}")), "{}", other.stderr);
    other.refused(1, "AR-V201");
}
