//! Proof values: getting around their constructors does not compile.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds of a library of ours, the newest first. There may be several, with other features each.
fn builds(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_attest-run")).parent().unwrap().join("deps");
    let mut builds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
        })
        .collect();
    builds.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().modified().unwrap()));
    builds
}

/// Builds of our libraries that belong together: code that uses all three compiles.
struct Libraries([PathBuf; 3]);

impl Libraries {
    const NAMES: [&str; 3] = ["attest_broker", "attest_appraisal", "attest_evidence"];

    fn find() -> Self {
        let control = "pub fn who(host: &attest_appraisal::AppraisedHost) -> &attest_evidence::name::RunnerName { host.runner() }
             pub fn what(grant: &attest_broker::exchange::Grant) -> &attest_evidence::exchange::GrantBody { grant.body() }
             pub fn why(decision: &attest_broker::policy::Decision) -> &[String] { decision.rules() }";
        let mut last = String::new();
        for broker in builds(Self::NAMES[0]) {
            for appraisal in builds(Self::NAMES[1]) {
                for evidence in builds(Self::NAMES[2]) {
                    let libraries = Self([broker.clone(), appraisal.clone(), evidence]);
                    match libraries.compile(control) {
                        (true, _) => return libraries,
                        (false, messages) => last = messages,
                    }
                }
            }
        }
        panic!("the libraries can't be used from outside: {last}")
    }

    /// What the compiler says of code that uses them.
    fn compile(&self, code: &str) -> (bool, String) {
        let folder = crate::support::directory();
        let source = folder.path().join("case.rs");
        std::fs::write(&source, code).unwrap();
        let mut command = Command::new("rustc");
        command.args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--out-dir"]).arg(folder.path());
        command.arg("-L").arg(format!("dependency={}", self.0[0].parent().unwrap().display()));
        for (name, library) in Self::NAMES.iter().zip(&self.0) {
            command.arg("--extern").arg(format!("{name}={}", library.display()));
        }
        let output = command.arg(&source).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn nobody_makes_a_grant_out_of_nothing() {
    // Found by the control: they can be used from outside, as they are meant to be.
    let libraries = Libraries::find();
    let cases = [
        // Fields are private: E0451.
        (
            "E0451",
            "pub fn forge(quoted: attest_appraisal::QuotedHost, old: attest_appraisal::AppraisedHost)
             -> attest_appraisal::AppraisedHost { attest_appraisal::AppraisedHost { quoted, ..old } }",
        ),
        (
            "E0451",
            "pub fn forge(quote: attest_appraisal::VerifiedQuote, old: attest_appraisal::QuotedHost)
             -> attest_appraisal::QuotedHost { attest_appraisal::QuotedHost { quote, ..old } }",
        ),
        (
            "E0451",
            "pub fn forge(facts: &attest_appraisal::boot::BootFacts) -> attest_appraisal::boot::VerifiedBoot<'_> {
             attest_appraisal::boot::VerifiedBoot { facts } }",
        ),
        (
            "E0451",
            "pub fn forge() -> attest_appraisal::boot::ApprovedBoot {
             attest_appraisal::boot::ApprovedBoot { name: String::new(), boot: true, executables: true } }",
        ),
        (
            "E0451",
            "pub fn forge(old: attest_appraisal::VerifiedQuote, pcrs: attest_evidence::tpm::PcrValues)
             -> attest_appraisal::VerifiedQuote { attest_appraisal::VerifiedQuote { pcrs, ..old } }",
        ),
        (
            "E0451",
            "pub fn forge(bound: attest_evidence::Sha256Digest) -> attest_broker::exchange::VerifiedJob {
             attest_broker::exchange::VerifiedJob { bound, job: None } }",
        ),
        (
            "E0451",
            "pub fn forge(bound: attest_evidence::Sha256Digest) -> attest_broker::policy::Decision {
             attest_broker::policy::Decision { bound, policy_version: 1, rules: Vec::new(), leases: 1,
             undeclared: attest_evidence::exchange::Undeclared::Report } }",
        ),
        (
            "E0451",
            "pub fn forge(body: attest_evidence::exchange::GrantBody, lease: attest_broker::store::LeaseRow)
             -> attest_broker::exchange::Grant { attest_broker::exchange::Grant { body, lease, minted: Vec::new() } }",
        ),
        // So is the one of a tuple: E0423.
        (
            "E0423",
            "pub fn forge(ear: attest_appraisal::ear::Ear) -> attest_appraisal::ear::VerifiedEar {
             attest_appraisal::ear::VerifiedEar(ear) }",
        ),
        // The signature is the grant's own to make: E0624.
        (
            "E0624",
            "pub fn forge(keys: &attest_broker::BrokerKeys, body: &attest_evidence::exchange::GrantBody) -> Vec<u8> {
             keys.sign_grant(body) }",
        ),
        // A grant without an appraised host: the constructor can't even be named from outside.
        ("E0624", "pub fn forge() { let _ = attest_broker::exchange::Grant::issue; }"),
        // None of them is made by default, or copied from a part: E0277, E0599.
        (
            "E0277",
            "fn make<T: Default>() -> T { T::default() } pub fn forge() -> attest_appraisal::AppraisedHost { make() }",
        ),
        (
            "E0277",
            "fn make<T: Default>() -> T { T::default() } pub fn forge() -> attest_broker::policy::Decision { make() }",
        ),
    ];
    for (code, case) in cases {
        let (compiles, messages) = libraries.compile(case);
        assert!(!compiles, "{case}");
        assert!(messages.contains(&format!("error[{code}]")), "wanted {code} for\n{case}\n{messages}");
        assert_eq!(messages.matches("error[").count(), 1, "{messages}");
    }
}
