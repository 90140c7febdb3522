//! The report as SARIF 2.1.0 (OASIS, <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>).

use crate::report::{Leak, Report, message};
use attest_leaks::{Pattern, Patterns};
use attest_sdk::http::encode;
use serde_json::{Value, json};

/// Of what the paths are relative.
const ROOT: &str = "SRCROOT";
/// The name of the fingerprints. Another way to make them has another number.
const FINGERPRINT: &str = "attestRunSecret/v1";

pub(crate) fn write(report: &Report) -> String {
    let rules: Vec<&Pattern> = Patterns::all().collect();
    let results: Vec<Value> = report.leaks.iter().map(|leak| result(report, leak, &rules)).collect();
    let problems = report.problems.iter().map(|problem| json!({ "level": "error", "message": { "text": problem } }));
    let skipped = report.skipped.iter().map(|path| {
        let location = json!({ "physicalLocation": { "artifactLocation": artifact(path) } });
        json!({ "level": "note", "message": { "text": "A large binary file: it was not searched." }, "locations": [location] })
    });
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "attest-run secret-scan",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|pattern| rule(pattern)).collect::<Vec<_>>(),
            } },
            "invocations": [{
                "executionSuccessful": report.problems.is_empty(),
                "toolExecutionNotifications": problems.chain(skipped).collect::<Vec<_>>(),
            }],
            "originalUriBaseIds": { ROOT: { "description": { "text": "The directory that was searched." } } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(pattern: &Pattern) -> Value {
    json!({
        "id": pattern.name,
        "shortDescription": { "text": format!("In the sources: {}", pattern.what) },
        "fullDescription": { "text": message(pattern) },
        "help": { "text": "Revoke it and make a new one, for it stays in the history. Then keep the new one where only those \
            who need it can read it." },
        "defaultConfiguration": { "level": "error" },
        // As the code hosts that read SARIF sort it.
        "properties": { "tags": ["security", "secret"], "security-severity": "9.0" },
    })
}

fn result(report: &Report, leak: &Leak, rules: &[&Pattern]) -> Value {
    let finding = &leak.finding;
    let region = if leak.binary {
        json!({ "byteOffset": finding.offset, "byteLength": finding.length })
    } else {
        json!({
            "startLine": finding.start.line,
            "startColumn": finding.start.column,
            "endLine": finding.end.line,
            "endColumn": finding.end.column,
        })
    };
    let mut result = json!({
        "ruleId": finding.pattern.name,
        "level": "error",
        "message": { "text": message(finding.pattern) },
        "locations": [{ "physicalLocation": { "artifactLocation": artifact(&leak.path), "region": region } }],
        "fingerprints": { FINGERPRINT: finding.fingerprint.to_string() },
    });
    if let Some(fields) = result.as_object_mut() {
        let place = rules.iter().position(|rule| rule.name == finding.pattern.name);
        fields.extend(place.map(|place| ("ruleIndex".to_owned(), json!(place))));
        // With one such property a result is suppressed, without any it is not (§3.27.23).
        if let Some(why) = report.why(leak) {
            let mut suppression = json!({ "kind": "external", "status": "accepted" });
            if let (Some(fields), Some(why)) = (suppression.as_object_mut(), why) {
                fields.insert("justification".to_owned(), json!(why));
            }
            fields.insert("suppressions".to_owned(), json!([suppression]));
        }
    }
    result
}

fn artifact(path: &str) -> Value {
    json!({ "uri": uri(path), "uriBaseId": ROOT })
}

/// A relative reference (RFC 3986 §4.2): whatever could mean something in it is percent-encoded, `:` too, or the first name of a
/// path could be a scheme.
fn uri(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests;
