//! `attest-run test`: steps in the cases of their fixtures, without network, TPM, broker and configuration.

use crate::support::{Output, programs, run, step, step_file};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The value of `token`, which goes into requests.
const TOKEN: &str = "tok_9f3kQ2m7Lx0Rz5Vb8Nc1";
/// The value of `seen`, which the step is shown.
const SEEN: &str = "correct horse battery staple";
/// What the step declares beside its own `step.toml`.
const HTTP: &str = "[http]\nallow = [\"https://files.example.org\", \"https://*.example.com\"]\nwhy = \"answers\"\n";

fn rehearse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.arg("--net").arg(programs().join("attest-run")).arg("test").args(arguments);
    command.env_clear().env("ATTEST_RUN_TPM", "device:/nonexistent").env("PATH", "/usr/bin:/bin");
    run(command.current_dir(folder))
}

/// The step that uses every kind of handle, and a fixture for it.
struct Scene(crate::support::Directory);

impl Scene {
    fn new(cases: &str) -> Self {
        let scene = Self(crate::support::directory());
        let from = step("requester");
        std::fs::copy(from.join("requester.wasm"), scene.path().join("requester.wasm")).unwrap();
        let manifest = std::fs::read_to_string(from.join("step.toml")).unwrap();
        let manifest = manifest.split("\n[http]").next().unwrap();
        std::fs::write(scene.path().join("step.toml"), format!("{manifest}\n{HTTP}")).unwrap();
        std::fs::create_dir(scene.path().join("work")).unwrap();
        std::fs::write(scene.path().join("work/inside"), "inside\n").unwrap();
        scene.fixture(cases);
        scene
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// These cases, each with both secrets and its directory: `SECRETS` stands for them.
    fn fixture(&self, cases: &str) {
        let secrets = format!("secrets = {{ token = \"{TOKEN}\", seen = \"{SEEN}\" }}\ndirs.work = \"work\"");
        std::fs::write(self.path().join("test.toml"), cases.replace("SECRETS", &secrets)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut all = arguments.to_vec();
        all.push("requester.wasm");
        let out = rehearse(self.path(), &all);
        // Whatever it was, the fixture is as it was, and no secret has been told.
        assert_eq!(std::fs::read_dir(self.path().join("work")).unwrap().count(), 1);
        for secret in [TOKEN, SEEN] {
            assert!(!out.stdout.contains(secret) && !out.stderr.contains(secret), "{}\n{}", out.stdout, out.stderr);
        }
        out
    }

    /// All cases pass.
    #[track_caller]
    fn ok(&self) -> Output {
        self.run(&[]).ok()
    }

    /// One case is not what was expected, in this.
    #[track_caller]
    fn unmet(&self, expectations: &[&str]) -> Vec<Value> {
        let out = self.run(&["--json"]);
        assert_eq!(out.status, 1, "{}\n{}", out.stdout, out.stderr);
        let document: Value = serde_json::from_str(&out.stdout).unwrap();
        let unmet = document["cases"][0]["unmet"].as_array().unwrap().clone();
        let names: Vec<_> = unmet.iter().map(|unmet| unmet["expectation"].as_str().unwrap()).collect();
        assert_eq!(names, expectations, "{document}");
        unmet
    }
}

#[test]
fn the_fixtures_of_the_official_steps_pass() {
    for (name, cases) in [("hello", 2), ("release-sign", 4), ("http-upload", 6)] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name).join("test.toml");
        let component = step(name).join(format!("{name}.wasm"));
        let arguments = ["--fixture", fixture.to_str().unwrap(), component.to_str().unwrap()];
        let out = rehearse(Path::new("/"), &arguments).ok();
        assert!(out.stdout.ends_with(&format!("\n{name}: {cases} cases, all ok\n")), "{}", out.stdout);
        assert_eq!(out.stdout.lines().filter(|line| line.starts_with("ok ")).count(), cases, "{}", out.stdout);
        assert_eq!(out.stderr, "");
    }
}

#[test]
fn what_a_step_makes_is_held_against_what_is_expected() {
    let scene = Scene::new(
        r##"
        [[case]]
        name = "the page"
        args = ["page"]
        SECRETS
        [case.expect]
        log.contains = "::set-output"
        outputs.out = "one\ntwo=three\n::error::four"
        summary.contains = ["# Done", "::warning::"]
        annotations = { count = 1, contains = ["look", "a: b, c"] }
        requests = []

        [[case]]
        name = "a file"
        args = ["write", "made", "contents"]
        SECRETS
        [case.expect.files]
        "work/made" = { equals = "contents", contains = "tent", sha256 = "d1b2a59fbea7e20077af9f91b27e95e865061b270be03ff539ab3b73587882e8" }
        "work/inside" = { contains = "inside" }
        "work/none" = { absent = true }

        [[case]]
        name = "a failure"
        args = ["nonsense"]
        SECRETS
        [case.expect]
        exit = 1
        failure.contains = "no such way"
        "##,
    );
    let out = scene.ok();
    assert!(out.stdout.ends_with("requester: 3 cases, all ok\n"), "{}", out.stdout);
    let out = scene.run(&["--case", "a file"]).ok();
    assert!(
        out.stdout.starts_with("ok a file (") && out.stdout.contains("requester: 1 case, all ok"),
        "{}",
        out.stdout
    );
    let out = scene.run(&["--case", "another"]).refused(2, "AR-S707");
    assert!(out.stderr.contains("the page") && out.stderr.contains("a failure"), "{}", out.stderr);
}

#[test]
fn each_expectation_that_is_not_met_is_named_with_what_was_there() {
    let scene = Scene::new(
        r###"
        [[case]]
        name = "all wrong"
        args = ["page"]
        SECRETS
        [case.expect]
        exit = 3
        log.contains = "another text"
        log.lacks = "##[error]"
        summary.contains = "another text"
        outputs = { out = "two", other = "three" }
        files."work/inside".equals = "outside"
        files."work/none".contains = "a"
        annotations = { count = 2, contains = "another text" }
        [[case.expect.requests]]
        method = "GET"
        url = "https://files.example.org/"
        "###,
    );
    let unmet = scene.unmet(&[
        "exit",
        "log.contains",
        "log.lacks",
        "summary.contains",
        "outputs.other",
        "outputs.out",
        "files.\"work/inside\".equals",
        "files.\"work/none\"",
        "annotations.count",
        "annotations.contains",
        "requests",
    ]);
    assert_eq!((&unmet[0]["wanted"], &unmet[0]["got"]), (&"3".into(), &"0".into()));
    assert_eq!((&unmet[6]["wanted"], &unmet[6]["got"]), (&"outside".into(), &"inside\n".into()));
    let out = scene.run(&[]);
    assert_eq!(out.status, 1);
    assert!(out.stdout.starts_with("FAILED all wrong ("), "{}", out.stdout);
    assert!(out.stdout.contains("\n  exit\n    wanted  3\n    got     0\n"), "{}", out.stdout);
    assert!(out.stdout.ends_with("requester: 1 case, 1 FAILED\n"), "{}", out.stdout);
    // What comes from a step is text for a terminal, whatever it is.
    assert!(!out.stdout.contains('\u{1b}') && out.stdout.contains("\\u{1b}"), "{}", out.stdout);
}

/// A case that sends what `arguments` say, with `more` in it.
fn sending(arguments: &[&str], more: &str) -> String {
    format!("[[case]]\nname = \"c\"\nargs = {}\n{more}\n", serde_json::to_string(arguments).unwrap())
}

const ANSWER: &str = "[[case.http]]\nmethod = \"GET\"\nurl = \"https://files.example.org/a\"\n";

#[test]
fn canned_servers_answer_what_they_are_for() {
    let send = ["send", "GET", "https://files.example.org/a?b=c"];
    let answer = format!("{ANSWER}status = 418\nheaders.x-tea = \"green\"\nbody = \"short and stout\"\n");
    let expect = "[case.expect]\nlog.contains = [\"status 418\", \"header x-tea: green\", \"body short and stout\"]\n";
    let scene = Scene::new(&sending(&send, &format!("SECRETS\n{answer}{expect}")));
    scene.ok();
    // A query in the server's URL is one that is wanted; a file can be a body; the first that fits answers.
    let exact = answer.replace("/a\"", "/a?b=c\"").replace("body = \"short and stout\"", "body_file = \"body\"");
    let other = answer.replace("/a\"", "/a?b=d\"").replace("418", "500");
    std::fs::write(scene.path().join("body"), "short and stout").unwrap();
    scene.fixture(&sending(&send, &format!("SECRETS\n{other}{exact}{ANSWER}{expect}")));
    scene.ok();
    scene.fixture(&sending(&send, &format!("SECRETS\n{}", exact.replace("\"body\"", "\"none\""))));
    let out = scene.run(&[]).refused(2, "AR-S706");
    assert!(out.stderr.contains("none"), "{}", out.stderr);
}

#[test]
fn a_request_that_nobody_answers_is_denied_and_fails_the_case() {
    let get = ["raw", "GET", "https", "files.example.org", "/b"];
    let scene = Scene::new(&sending(&get, &format!("SECRETS\n{ANSWER}[case.expect]\nexit = 1\n")));
    let unmet = scene.unmet(&["refused"]);
    assert!(unmet[0]["got"].as_str().unwrap().contains("nobody answers GET https://files.example.org/b"), "{unmet:?}");
    // As the step sees it, and where it is expected.
    let expect = "[case.expect]\nexit = 1\nrefused = \"nobody answers\"\nfailure.contains = \"HttpRequestDenied\"\nrequests = []\n";
    scene.fixture(&sending(&get, &format!("SECRETS\n{ANSWER}{expect}")));
    scene.ok();
    // The step goes on guessing after the first answer, and there is one.
    let guess = ["guess", "https://files.example.org/a"];
    let once = format!("{}times = 1\n", ANSWER.replace("GET", "POST"));
    scene.fixture(&sending(
        &guess,
        &format!("SECRETS\n{once}[case.expect]\nexit = 1\nrefused = \"nobody answers any more\"\n"),
    ));
    scene.ok();
}

#[test]
fn requests_go_where_egress_lets_them_go() {
    let scene = Scene::new("");
    let refused = |arguments: &[&str], why: &str| {
        let expect = format!("[case.expect]\nexit = 1\nrefused = {}\nrequests = []\n", Value::from(why));
        scene.fixture(&sending(arguments, &format!("SECRETS\n{expect}")));
        scene.ok();
    };
    refused(&["raw", "GET", "https", "elsewhere.example.org", "/"], "`https://elsewhere.example.org` is not granted");
    refused(&["raw", "GET", "https", "a.b.example.com", "/"], "is not granted");
    refused(&["raw", "TRACE", "https", "files.example.org", "/"], "method `TRACE` is never sent");
    refused(&["raw", "GET", "https", "user@files.example.org", "/"], "names no user");
    // Addresses are what they are.
    let manifest = std::fs::read_to_string(scene.path().join("step.toml")).unwrap();
    let here = manifest.replace("\"https://files.example.org\"", "\"https://10.0.0.1\", \"https://localhost\"");
    std::fs::write(scene.path().join("step.toml"), &here).unwrap();
    refused(&["raw", "GET", "https", "10.0.0.1", "/"], "`10.0.0.1` lies at 10.0.0.1");
    refused(&["raw", "GET", "https", "localhost", "/"], "`localhost` lies at ");
}

#[test]
fn secrets_stand_in_requests_where_they_may() {
    let with = |place: &str, text: &str, body: &[&str]| {
        let all = [&["with", "POST", "https://a.example.com/x?a=b", place, text], body].concat();
        sending(&all, "")
    };
    let server = "[[case.http]]\nmethod = \"POST\"\nurl = \"https://a.example.com/x?a=b\"\n";
    let expected = |place: &str, more: &str| {
        let secrets = format!("secrets = [{{ name = \"token\", place = \"{place}\" }}]");
        format!(
            "SECRETS\n{server}[[case.expect.requests]]\nmethod = \"POST\"\nurl = \"https://a.example.com/x?a=b\"\n{secrets}\n{more}\n"
        )
    };
    let scene = Scene::new("");
    // Where nothing is said, in every place.
    for (place, text, body, more) in [
        ("header:x-key", "key=", &[][..], format!("headers.x-key = \"key={TOKEN}\"")),
        ("basic", "me", &[], "headers.authorization = \"Basic \"".to_owned()),
        ("query:key", "", &[], String::new()),
        ("form:key", "", &["c=d"], format!("body.contains = \"key={TOKEN}&c=d\"")),
        ("json:key", "", &["{\"a\": 1}"], format!("body.contains = [\"\\\"a\\\"\", \"{TOKEN}\"]")),
    ] {
        scene.fixture(&format!("{}{}", with(place, text, body), expected(place, &more)));
        scene.ok();
    }
    // What is not as expected is told, and the token is not.
    scene.fixture(&format!("{}{}", with("header:x-key", "", &[]), expected("basic", "headers.x-key = \"other\"")));
    let unmet = scene.unmet(&["requests.1.headers.x-key", "requests.1.secrets"]);
    assert_eq!(unmet[0]["got"], "***");
    assert_eq!((&unmet[1]["wanted"], &unmet[1]["got"]), (&"token in basic".into(), &"token in header:x-key".into()));
    // Where the fixture narrows it, as a broker would.
    for (narrowed, why) in [
        ("in = [\"basic\"]", "may not stand in `header:x-key` there"),
        ("methods = [\"PUT\"]", "may not go there with POST"),
        ("to = [\"https://a.example.com/y\"]", "may not go to path `/x` there"),
        ("to = [\"https://files.example.org\"]", "may not go to `https://a.example.com`"),
    ] {
        let secrets = format!(
            "secrets = {{ token = {{ value = \"{TOKEN}\", {narrowed} }}, seen = \"{SEEN}\" }}\ndirs.work = \"work\"\n"
        );
        let expect = format!("[case.expect]\nexit = 1\nrequests = []\nrefused = {}\n", Value::from(why));
        scene.fixture(&format!("{}{secrets}{server}{expect}", with("header:x-key", "", &[])));
        scene.ok();
    }
}

#[test]
fn what_ends_a_step_in_the_field_ends_the_case() {
    let scene = Scene::new("");
    // A server that shows the token, as it is and otherwise.
    let with = ["with", "GET", "https://files.example.org/a", "header:authorization", "Bearer "];
    let base64 = data_encoding::BASE64.encode(TOKEN.as_bytes());
    for (answer, encoding) in [
        (format!("body = \"in front {TOKEN} behind\"\n"), "raw"),
        (format!("body = \"{base64}\"\n"), "base64"),
        (format!("headers.x-debug = \"{TOKEN}\"\n"), "raw"),
    ] {
        let expect = format!(
            "[case.expect]\nexit = 126\nerror = \"AR-S603\"\nfailure.contains = \"secret `token` came back in an answer from \
             https://files.example.org, written as {encoding}\"\n"
        );
        scene.fixture(&sending(&with, &format!("SECRETS\n{ANSWER}{answer}{expect}")));
        scene.ok();
    }
    // Where nobody expects it, the case has failed, and the error is there.
    scene.fixture(&sending(&with, &format!("SECRETS\n{ANSWER}body = \"{TOKEN}\"\n")));
    scene.unmet(&["exit"]);
    let document: Value = serde_json::from_str(&scene.run(&["--json"]).stdout).unwrap();
    assert_eq!(document["cases"][0]["error"]["code"], "AR-S603");
    // A secret in a file, and a step that takes too long.
    scene.fixture(&sending(&["file", "hex"], "SECRETS\n[case.expect]\nerror = \"AR-S604\"\n"));
    scene.ok();
    let manifest = std::fs::read_to_string(scene.path().join("step.toml")).unwrap();
    std::fs::write(scene.path().join("step.toml"), format!("{manifest}\n[limits]\nseconds = 1\n")).unwrap();
    scene.fixture(&sending(&["calls", "100000000000"], "SECRETS\n[case.expect]\nexit = 124\nerror = \"AR-W303\"\n"));
    scene.ok();
}

#[test]
fn a_case_stands_in_for_the_broker_that_makes_tokens() {
    let scene = Scene::new("");
    let manifest = scene.path().join("step.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let token = "[tokens.token]\naudience = \"registry\"\nto = [\"https://a.example.com/up\"]\n";
    std::fs::write(&manifest, text.replace("[secrets.token]\n", token)).unwrap();
    let case = |path: &str, expect: &str| {
        let url = format!("https://a.example.com/{path}");
        let args = format!("[\"with\", \"PUT\", \"{url}\", \"header:authorization\", \"Bearer \"]");
        let given = format!("secrets.seen = \"{SEEN}\"\ntokens.token = \"{TOKEN}\"\ndirs.work = \"work\"\n");
        let server = format!("[[case.http]]\nmethod = \"PUT\"\nurl = \"{url}\"\n");
        format!("[[case]]\nname = \"c\"\nargs = {args}\n{given}{server}[case.expect]\n{expect}\n")
    };
    scene.fixture(&case("up", &format!("requests = [{{ method = \"PUT\", url = \"https://a.example.com/up\", headers.authorization = \"Bearer {TOKEN}\", secrets = [{{ name = \"token\", place = \"header:authorization\" }}] }}]")));
    scene.ok();
    // It goes where step.toml says, and nowhere else.
    scene.fixture(&case("down", "exit = 1\nrefused = \"secret `token` may not go to path `/down` there\""));
    scene.ok();
}

#[test]
fn secrets_are_masked_and_that_is_noted() {
    let scene =
        Scene::new(&sending(&["say", "log", "base64"], "SECRETS\n[case.expect]\nlog.contains = \"in front ***\"\n"));
    let out = scene.ok();
    assert!(out.stderr.contains("c: secret `seen` was masked in what the step wrote: log, base64"), "{}", out.stderr);
    let document: Value = serde_json::from_str(&scene.run(&["--json"]).ok().stdout).unwrap();
    assert!(document["cases"][0]["notes"][0].as_str().unwrap().contains("was masked"), "{document}");
}

#[test]
fn derived_keys_are_the_same_each_time() {
    let scene = Scene::new("");
    let derive = |seed: &str| {
        scene.fixture(&format!(
            "{seed}\n{}",
            sending(&["derive", "p"], "SECRETS\n[case.expect]\nlog.contains = \"?\"\n")
        ));
        scene.unmet(&["log.contains"])[0]["got"].clone()
    };
    let one = derive("");
    assert_eq!(one.as_str().unwrap().trim().len(), 64);
    assert_eq!(one, derive(""));
    assert_ne!(one, derive("seed = \"another\""));
}

#[test]
fn a_fixture_that_does_not_go_with_the_step_is_wrong_usage() {
    let scene = Scene::new("");
    let refused = |text: &str, code: &str, why: &str| {
        scene.fixture(text);
        let out = scene.run(&[]).refused(2, code);
        assert!(out.stderr.contains(why) && out.stderr.contains("test.toml"), "wanted {why}: {}", out.stderr);
        assert_eq!(out.stdout, "");
    };
    refused("", "AR-S703", "has no case");
    refused("[[case]]\nname = \"c\"\nargz = []\n", "AR-S702", "did you mean `args`?");
    refused("[[case]]\nname = \"c\"\n[case.expect]\nlog.contain = \"a\"\n", "AR-S702", "did you mean `contains`?");
    refused("[[case]]\nname = \"c\"\nsecrets.seen = \"0123456789\"\n", "AR-S704", "`secrets.token`");
    let more = format!("secrets = {{ token = \"{TOKEN}\", seen = \"{SEEN}\", npm = \"0123456789\" }}\n");
    refused(&sending(&[], &more), "AR-S705", "secrets.npm");
    refused(&sending(&[], "SECRETS\nkeys.release = \"p256\"\n"), "AR-S705", "keys.release");
    let elsewhere = ANSWER.replace("files.example.org", "elsewhere.example.org");
    refused(&sending(&[], &format!("SECRETS\n{elsewhere}")), "AR-S705", "requests to https://elsewhere.example.org");
    refused(&sending(&[], &format!("SECRETS\n{ANSWER}status = 99\n")), "AR-S703", "99 is no status");
    refused(&"#".repeat(1024 * 1024 + 1), "AR-S709", "1048577 bytes");
    std::fs::remove_file(scene.path().join("test.toml")).unwrap();
    scene.run(&[]).refused(2, "AR-S701");
    // A directory that is not there is found before the step begins.
    scene.fixture(&sending(&["page"], "SECRETS"));
    let text = std::fs::read_to_string(scene.path().join("test.toml")).unwrap().replace("\"work\"", "\"wrok\"");
    std::fs::write(scene.path().join("test.toml"), text).unwrap();
    assert!(scene.run(&[]).refused(2, "AR-S706").stderr.contains("wrok"));
}

#[test]
fn a_fixture_lies_beside_the_component_or_beside_its_manifest() {
    let scene = Scene::new(&sending(&["page"], "SECRETS"));
    let elsewhere = crate::support::directory();
    let moved = |name: &str, to: &Path| std::fs::rename(scene.path().join(name), to.join(name)).unwrap();
    moved("test.toml", elsewhere.path());
    moved("step.toml", elsewhere.path());
    std::fs::create_dir(elsewhere.path().join("work")).unwrap();
    let manifest: PathBuf = elsewhere.path().join("step.toml");
    scene.run(&["--manifest", manifest.to_str().unwrap()]).ok();
}

#[test]
fn a_program_of_the_command_line_is_tested_as_a_step_is() {
    let folder = crate::support::directory();
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(step_file("cli", "cli"), path("cli.wasm")).unwrap();
    let manifest = "[step]\nname = \"cli\"\n[secrets.seen]\nuse = \"env\"\nvariable = \"TOKEN\"\nwhy = \"a program that reads it there\"\n";
    std::fs::write(path("step.toml"), manifest).unwrap();
    let cases = format!(
        "[[case]]\nname = \"environment\"\nargs = [\"env\"]\nsecrets.seen = \"{SEEN}\"\nexpect.stdout.contains = \"TOKEN=***\"\n\
         [[case]]\nname = \"errors\"\nargs = [\"stderr\", \"to people\"]\nsecrets.seen = \"{SEEN}\"\nexpect.stderr.contains = \"to people\"\n\
         [[case]]\nname = \"a trap\"\nargs = [\"panic\"]\nsecrets.seen = \"{SEEN}\"\nexpect.error = \"AR-W301\"\n"
    );
    std::fs::write(path("test.toml"), cases).unwrap();
    let out = rehearse(folder.path(), &["cli.wasm"]).ok();
    assert!(out.stdout.ends_with("cli: 3 cases, all ok\n"), "{}", out.stdout);
}
