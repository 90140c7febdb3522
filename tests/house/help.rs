//! `help CODE`: every code is explained, by both programs, and the rest of `help` is as it was.

use crate::support::{Output, programs, run};
use std::collections::BTreeSet;
use std::process::Command;

fn asked(program: &str, arguments: &[&str]) -> Output {
    run(Command::new(programs().join(program)).args(arguments).env_clear())
}

#[test]
fn every_code_is_explained() {
    for entry in attest_help::entries() {
        let output = asked("attest-run", &["help", entry.code]).ok();
        let one_line = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(entry.means) && one_line.contains(entry.remedy), "{}", output.stdout);
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn a_code_is_explained_as_the_page_has_it() {
    let explained = "\
AR-B013, of the broker, and reaching it

means  there is no webhook that a test alarm could be sent to

do     set one first: `attest-broker alarm webhook set URL`. It prints the secret that its receiver
       checks signatures with
";
    for program in ["attest-run", "attest-broker"] {
        for code in ["AR-B013", "ar-b013", "B013", "b013"] {
            assert_eq!(asked(program, &["help", code]).ok().stdout, explained, "{program} {code}");
        }
    }
}

#[test]
fn programs_get_json() {
    for program in ["attest-run", "attest-broker"] {
        for arguments in [["--json", "help", "K101"], ["help", "K101", "--json"]] {
            let answer: serde_json::Value = serde_json::from_str(&asked(program, &arguments).ok().stdout).unwrap();
            let members: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, BTreeSet::from(["code", "do", "means", "schema", "title"]));
            assert_eq!(answer["schema"], "attest-run/help/v1");
            assert_eq!((&answer["code"], &answer["title"]), (&"AR-K101".into(), &"keys".into()));
            assert_eq!(answer["means"], "there is no such key");
        }
    }
}

#[test]
fn an_unknown_code_is_wrong_usage_and_names_the_nearest() {
    for program in ["attest-run", "attest-broker"] {
        let output = asked(program, &["help", "E702X"]).refused(2, "AR-C006");
        assert!(output.stderr.contains("there is no error code `AR-E702X`"), "{}", output.stderr);
        assert!(output.stderr.contains("\nhint: near it: AR-E702, "), "{}", output.stderr);
        let output = asked(program, &["--json", "help", "E299"]).refused(2, "AR-C006");
        let answer: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(answer["error"]["code"], "AR-C006");
    }
}

#[test]
fn all_other_help_is_as_it_was() {
    let whole = asked("attest-run", &["help"]).ok().stdout;
    assert_eq!(asked("attest-run", &["--help"]).ok().stdout, whole);
    assert!(whole.ends_with("`attest-run help CODE` explains an error code, such as AR-E207\n"), "{whole}");
    let quote = asked("attest-run", &["help", "verify", "quote"]).ok().stdout;
    assert_eq!(asked("attest-run", &["verify", "quote", "--help"]).ok().stdout, quote);
    assert_eq!(asked("attest-run", &["verify", "help", "quote"]).ok().stdout, quote);
    assert_eq!(
        asked("attest-broker", &["help", "policy", "apply"]).ok().stdout,
        asked("attest-broker", &["policy", "apply", "--help"]).ok().stdout
    );
    let unknown = asked("attest-run", &["help", "verfy"]);
    assert!(unknown.status == 2 && unknown.stderr.contains("verfy"), "{unknown:?}");
}

#[test]
fn an_error_points_to_its_explanation() {
    let output = asked("attest-run", &["eventlog", "replay", "/nonexistent"]).refused(3, "AR-C703");
    assert!(output.stderr.ends_with("\nmore: attest-run help AR-C703\n"), "{}", output.stderr);
    let output = asked("attest-broker", &["--state", "/nonexistent", "policy", "show"]).refused(3, "AR-B003");
    assert!(output.stderr.ends_with("\nmore: attest-broker help AR-B003\n"), "{}", output.stderr);
}
