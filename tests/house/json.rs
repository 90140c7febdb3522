//! The page about JSON says what the programs print.

use crate::support::{programs, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The samples of `docs/reference/json.md`, by schema.
fn samples() -> BTreeMap<String, Value> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/json.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    let read = |block: &str| {
        let sample: Value = serde_json::from_str(block).unwrap();
        (sample["schema"].as_str().unwrap().to_owned(), sample)
    };
    blocks.map(read).collect()
}

/// Samples of documents that take a runner and a broker: the test that is named holds them against what is printed.
const ELSEWHERE: [(&str, &str); 3] = [
    ("attest-run/verify-key/v1", "steps::leased_keys::a_key_is_attested_to_whoever_trusts_the_broker"),
    ("attest-run/run/v1", "handles::ledger::a_ledger_ends_with_the_lease"),
    ("attest-run/ledger/v1", "handles::ledger::a_ledger_ends_with_the_lease"),
];

/// Holds a document against the page's sample of its schema.
pub(crate) fn is_as_documented(printed: &str) {
    let printed: Value = serde_json::from_str(printed).unwrap();
    let schema = printed["schema"].as_str().unwrap();
    like(schema, &samples()[schema], &printed);
}

/// Whether a document has the members of a sample, and no others, each of its type. Those whose names end in `?` may be absent.
fn like(at: &str, sample: &Value, printed: &Value) {
    match (sample, printed) {
        (_, Value::Null) => {}
        (Value::Object(sample), Value::Object(printed)) => {
            if let Some(any) = sample.get("…") {
                return printed.iter().for_each(|(name, value)| like(&format!("{at}.{name}"), any, value));
            }
            for (name, value) in printed {
                let known = sample.get(name).or_else(|| sample.get(&format!("{name}?")));
                let known = known.unwrap_or_else(|| panic!("the page has no {at}.{name}: {value}"));
                like(&format!("{at}.{name}"), known, value);
            }
            let wanted = sample.keys().filter(|name| !name.ends_with('?'));
            wanted.for_each(|name| assert!(printed.contains_key(name), "there is no {at}.{name}"));
        }
        (Value::Array(sample), Value::Array(printed)) => {
            let Some(sample) = sample.first() else { return };
            printed.iter().for_each(|value| like(&format!("{at}[]"), sample, value));
        }
        (sample, printed) => {
            assert_eq!(std::mem::discriminant(sample), std::mem::discriminant(printed), "{at}: {printed}");
        }
    }
}

#[test]
fn what_programs_print_is_what_the_page_says() {
    let data = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(path);
    let boot = |file: &str| data("vm/secure-boot").join(file);
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let log = text(boot("eventlog.bin"));
    let folder = crate::support::directory();
    let quoted = folder.path().join("pcrs.json");
    let all: Value = serde_json::from_slice(&std::fs::read(boot("pcrs.json")).unwrap()).unwrap();
    let of_quote = |index: &u8| *index <= 10 || *index == 14;
    let pcrs = (0..24_u8).filter(of_quote).map(|index| (index.to_string(), all["sha256"][index.to_string()].clone()));
    let pcrs = serde_json::json!({ "sha256": pcrs.collect::<serde_json::Map<_, _>>() });
    std::fs::write(&quoted, pcrs.to_string()).unwrap();
    let nonce = std::fs::read_to_string(boot("nonce")).unwrap();
    let quote = [
        ("--message", text(boot("quote-ecc-sha256.msg"))),
        ("--signature", text(boot("quote-ecc-sha256.sig"))),
        ("--ak", text(boot("ak-ecc.tpmt"))),
        ("--nonce", nonce.trim().to_owned()),
        ("--pcrs", text(quoted)),
        ("--eventlog", log.clone()),
        ("--ima", text(boot("ima.bin"))),
    ];
    let quote: Vec<String> = quote.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let other = text(data("vm/other-kernel/eventlog.bin"));
    let root = text(boot("ca-root.der"));
    let chain = text(boot("ca-issuer.der"));
    let ek = text(boot("ek-rsa.der"));
    let made = std::fs::read_to_string(boot("made")).unwrap();
    let wanting = folder.path().join("wanting.wasm");
    let imports = r#"(import "attest:step/outputs@0.1.0" (instance)) (import "wasi:sockets/tcp@0.2.0" (instance))"#;
    std::fs::write(&wanting, wat::parse_str(format!("(component {imports})")).unwrap()).unwrap();
    std::fs::write(folder.path().join("step.toml"), "[step]\nname = \"s\"\n[summary]\nwhy = \"w\"\n").unwrap();
    let wanting = text(wanting);
    let hello = text(crate::support::step_file("hello", "hello"));
    let fixture = text(folder.path().join("test.toml"));
    let case = "[[case]]\nname = \"c\"\nexpect.log.contains = \"nothing of the kind\"\n";
    std::fs::write(&fixture, case).unwrap();
    let npm = text(data("sigstore/github-cli/sigstore-js-2.1.0-bundle.json"));
    let workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
    let commands = [
        words(&["eventlog", "replay", &log]),
        words(&["eventlog", "show", &log]),
        words(&["eventlog", "diff", &log, &other]),
        words(&["ima", "replay", &text(boot("ima.bin"))]),
        [words(&["verify", "quote"]), quote].concat(),
        words(&["verify", "ek", &ek, "--chain", &chain, "--root", &root, "--class", "software", "--at", made.trim()]),
        words(&[
            "verify",
            "bundle",
            "--bundle",
            &npm,
            "--identity",
            workflow,
            &text(data("sigstore/github-cli/sigstore-js-2.1.0.tgz")),
        ]),
        words(&["check", "--fix", &wanting]),
        words(&["test", "--fixture", &fixture, &hello]),
        words(&["pack", &wanting, "-o", "packed.wasm"]),
        words(&["new", "made"]),
        words(&["help", "AR-E506"]),
        words(&["eventlog", "replay", &text(boot("nonce"))]),
    ];
    let state = text(folder.path().join("broker"));
    let of_audience =
        ["audience", "set", "cloud", "--stage", "prod", "--audience", "sts.example", "--to", "https://sts.example/v1"];
    let of_broker = [
        words(&of_audience),
        words(&["audience", "list"]),
        words(&["audience", "delete", "cloud", "--stage", "prod"]),
        words(&["audience", "rotate-key"]),
        words(&["authority"]),
        words(&["timestamp", "certificates"]),
    ];
    run(Command::new(programs().join("attest-broker")).args(["init", "--state", &state])).ok();
    let commands = commands.into_iter().map(|command| ("attest-run", command));
    let of_broker =
        of_broker.into_iter().map(|command| ("attest-broker", [command, words(&["--state", &state])].concat()));
    let mut samples = samples();
    for (program, command) in commands.chain(of_broker) {
        let mut program = Command::new(programs().join(program));
        let output = run(program.arg("--json").args(&command).current_dir(folder.path()));
        let printed: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{command:?}: {error}\n{}\n{}", output.stdout, output.stderr));
        let schema = printed["schema"].as_str().unwrap();
        let sample = samples.remove(schema).unwrap_or_else(|| panic!("{command:?} prints {schema}"));
        like(schema, &sample, &printed);
    }
    for (schema, test) in ELSEWHERE {
        assert!(samples.remove(schema).is_some(), "{test} wants a sample of {schema}");
    }
    assert!(samples.is_empty(), "the page has samples that no command here prints: {samples:?}");
}
