use super::*;
use crate::allow::AllowList;

/// Not verbatim: scanners would find it.
fn token(last: &str) -> String {
    ["SG.", "q7Lw2ZxT0bRk9VnE4mHs5A", ".", "Yp3Jd8Uf1Gc6Xo0Ni2Bt7Ql4Ws9Ke5Mz8Ra3Vh6Cy1", last].concat()
}

fn report(texts: &[(&str, &str, bool)], allowed: &str) -> Report {
    let patterns = Patterns::new();
    let mut report = Report::new(AllowList::read(allowed.as_bytes()).unwrap());
    for (path, text, binary) in texts {
        let found = patterns.find(text.as_bytes()).into_iter();
        report.leaks.extend(found.map(|finding| Leak { path: (*path).to_owned(), binary: *binary, finding }));
    }
    report
}

fn read(report: &Report) -> Value {
    serde_json::from_str(&write(report)).unwrap()
}

/// What the schema of SARIF 2.1.0 asks of the parts that are written, and what its text asks beyond.
fn is_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    for run in log["runs"].as_array().unwrap() {
        let driver = &run["tool"]["driver"];
        assert!(driver["name"].is_string());
        let rules = driver["rules"].as_array().unwrap();
        let mut ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rules.len(), "§3.19.23: no two rules are one");
        assert!(rules.iter().all(|rule| is_message(&rule["shortDescription"]) && is_message(&rule["help"])));
        assert!(["utf16CodeUnits", "unicodeCodePoints"].contains(&run["columnKind"].as_str().unwrap()));
        for invocation in run["invocations"].as_array().unwrap() {
            assert!(invocation["executionSuccessful"].is_boolean());
            for notification in invocation["toolExecutionNotifications"].as_array().unwrap() {
                assert!(is_message(&notification["message"]) && is_level(&notification["level"]));
            }
        }
        for result in run["results"].as_array().unwrap() {
            assert!(is_message(&result["message"]) && is_level(&result["level"]));
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            let fingerprints = result["fingerprints"].as_object().unwrap();
            assert!(!fingerprints.is_empty() && fingerprints.values().all(Value::is_string));
            for suppression in result["suppressions"].as_array().into_iter().flatten() {
                assert!(["inSource", "external"].contains(&suppression["kind"].as_str().unwrap()));
            }
            for location in result["locations"].as_array().unwrap() {
                is_place(&location["physicalLocation"], run);
            }
        }
    }
}

fn is_place(place: &Value, run: &Value) {
    let artifact = &place["artifactLocation"];
    let uri = artifact["uri"].as_str().unwrap();
    assert!(!uri.starts_with('/') && uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\:?#\"<>".contains(&byte)));
    assert!(run["originalUriBaseIds"][artifact["uriBaseId"].as_str().unwrap()].is_object());
    let region = &place["region"];
    let number = |name: &str| region[name].as_u64();
    match (number("startLine"), number("byteOffset")) {
        (Some(line), None) => {
            let start = (line, number("startColumn").unwrap());
            assert!(start.0 >= 1 && start.1 >= 1);
            assert!((number("endLine").unwrap(), number("endColumn").unwrap()) > start);
        }
        (None, Some(_)) => assert!(number("byteLength").unwrap() >= 1),
        other => panic!("{other:?}"),
    }
}

fn is_message(message: &Value) -> bool {
    message["text"].as_str().is_some_and(|text| !text.is_empty())
}

fn is_level(level: &Value) -> bool {
    ["none", "note", "warning", "error"].contains(&level.as_str().unwrap())
}

#[test]
fn findings_have_their_places() {
    let text = format!("one\n\u{e9} = {}\n", token("D"));
    let report = report(&[("src/a b:\u{e9}.rs", &text, false), ("x.bin", &format!("..{}", token("D")), true)], "");
    let log = read(&report);
    is_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "src/a%20b%3A%C3%A9.rs");
    let length = token("D").len();
    assert_eq!(place["region"], json!({ "startLine": 2, "startColumn": 5, "endLine": 2, "endColumn": 5 + length }));
    let place = &results[1]["locations"][0]["physicalLocation"];
    assert_eq!(place["region"], json!({ "byteOffset": 2, "byteLength": length }));
    assert_eq!(results[0]["fingerprints"], results[1]["fingerprints"]);
}

#[test]
fn the_secret_is_not_in_it() {
    let report = report(&[("a", &token("D"), false)], "");
    let text = write(&report);
    let secret = token("D");
    assert_eq!(report.open().count(), 1);
    assert!((0..secret.len() - 8).all(|at| !text.contains(&secret[at..at + 8])));
}

#[test]
fn what_is_allowed_is_suppressed_and_fails_nothing() {
    let all = report(&[("a", &token("D"), false), ("b", &token("E"), false)], "");
    let allowed = format!("{} # of a test\n{}\n", all.leaks[0].finding.fingerprint, "0".repeat(32));
    let report = report(&[("a", &token("D"), false), ("b", &token("E"), false)], &allowed);
    let log = read(&report);
    is_sarif(&log);
    let results = &log["runs"][0]["results"];
    assert_eq!(
        results[0]["suppressions"],
        json!([{ "kind": "external", "status": "accepted", "justification": "of a test" }])
    );
    assert_eq!(results[1].get("suppressions"), None);
    assert_eq!((report.open().count(), report.allowed(), report.unused().count()), (1, 1, 1));
}

#[test]
fn an_empty_report_and_one_with_problems_are_sarif() {
    let mut report = report(&[], "");
    is_sarif(&read(&report));
    assert_eq!(read(&report)["runs"][0]["invocations"][0]["executionSuccessful"], true);
    report.problem("`a`: it can't be read".to_owned());
    report.skipped.push("b c.bin".to_owned());
    let log = read(&report);
    is_sarif(&log);
    assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], false);
    assert_eq!(log["runs"][0]["invocations"][0]["toolExecutionNotifications"].as_array().unwrap().len(), 2);
}
