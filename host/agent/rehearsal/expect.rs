//! What a case expects, and what of it was not met.

use super::fixture::texts;
use super::seen::{Received, Seen};
use super::url::Url;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{Method, Place};
use attest_evidence::name::{OutputName, SecretName};
use attest_evidence::report::Code;
use attest_wire::rehearsal::Unmet;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a case expects. What it does not speak of may be anything, but that the step ends well.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    /// The exit status that `attest-run` would end with; none: 0, or that of `error`.
    pub(super) exit: Option<u8>,
    /// The code of the error that ends the step.
    pub(super) error: Option<Code>,
    /// What the step says of its failure or, where something else ended it, what that error says.
    pub(super) failure: Texts,
    pub(super) log: Texts,
    /// What a command writes.
    pub(super) stdout: Texts,
    pub(super) stderr: Texts,
    pub(super) summary: Texts,
    pub(super) outputs: BTreeMap<OutputName, String>,
    /// By `NAME/PATH`: a directory's name, and a path in it.
    pub(super) files: BTreeMap<String, FileExpected>,
    pub(super) annotations: AnnotationsExpected,
    /// All requests that were answered, in their order.
    pub(super) requests: Option<Vec<RequestExpected>>,
    /// Each stands in a line about a request that was refused, and in each such line stands one of them.
    #[serde(deserialize_with = "texts")]
    pub(super) refused: Vec<String>,
}

/// A text, as far as it is expected.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Texts {
    #[serde(deserialize_with = "texts")]
    pub(super) contains: Vec<String>,
    /// What must not stand there.
    #[serde(deserialize_with = "texts")]
    pub(super) lacks: Vec<String>,
}

/// A file, as far as it is expected.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileExpected {
    #[serde(deserialize_with = "texts")]
    pub(super) contains: Vec<String>,
    pub(super) equals: Option<String>,
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) absent: bool,
}

/// Remarks, as far as they are expected.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AnnotationsExpected {
    pub(super) count: Option<usize>,
    /// Each stands in one of them.
    #[serde(deserialize_with = "texts")]
    pub(super) contains: Vec<String>,
}

/// A request, as far as it is expected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestExpected {
    method: Method,
    url: Url,
    /// What stands in a header, by its name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// All secrets in it.
    #[serde(default)]
    pub(super) secrets: Option<Vec<SecretExpected>>,
    #[serde(default)]
    body: Texts,
}

/// A secret in a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretExpected {
    pub(super) name: SecretName,
    pub(super) place: Place,
}

/// Those that were not met.
#[derive(Default)]
struct Found(Vec<Unmet>);

impl Found {
    fn unless(&mut self, met: bool, expectation: impl Into<String>, wanted: impl ToString, got: impl ToString) {
        if !met {
            let (expectation, wanted, got) = (expectation.into(), wanted.to_string(), got.to_string());
            self.0.push(Unmet { expectation, wanted, got });
        }
    }

    fn texts(&mut self, what: &str, expected: &Texts, got: &str) {
        for text in &expected.contains {
            self.unless(got.contains(text), format!("{what}.contains"), text, got);
        }
        for text in &expected.lacks {
            self.unless(!got.contains(text), format!("{what}.lacks"), text, got);
        }
    }
}

impl Expect {
    /// What of it was not met. `read` gives what a file of a directory holds at the end, and none if there is none.
    pub(super) fn unmet(&self, seen: &Seen, read: impl Fn(&str) -> Result<Option<Vec<u8>>, String>) -> Vec<Unmet> {
        let mut found = Found::default();
        self.ending(seen, &mut found);
        let (stdout, stderr) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
        found.texts("failure", &self.failure, &seen.failure());
        found.texts("log", &self.log, &seen.log);
        found.texts("stdout", &self.stdout, &stdout);
        found.texts("stderr", &self.stderr, &stderr);
        found.texts("summary", &self.summary, &seen.summary);
        for (name, wanted) in &self.outputs {
            let got = seen.outputs.get(name);
            found.unless(
                got == Some(wanted),
                format!("outputs.{name}"),
                wanted,
                got.map_or("(not set)", String::as_str),
            );
        }
        for (name, expected) in &self.files {
            expected.unmet(name, read(name), &mut found);
        }
        self.annotations(seen, &mut found);
        self.requests(&seen.received, &mut found);
        self.refused(seen, &mut found);
        found.0
    }

    fn ending(&self, seen: &Seen, found: &mut Found) {
        let exit = self.exit.or(self.error.is_none().then_some(0));
        if let Some(exit) = exit {
            found.unless(exit == seen.exit, "exit", exit, seen.ending());
        }
        if let Some(code) = &self.error {
            let met = seen.error.as_ref().is_some_and(|error| error.code == *code);
            found.unless(met, "error", code, seen.ending());
        }
    }

    fn annotations(&self, seen: &Seen, found: &mut Found) {
        let said: Vec<String> = seen
            .annotations
            .iter()
            .map(|remark| {
                [remark.title.as_deref(), Some(&remark.message)].into_iter().flatten().collect::<Vec<_>>().join(": ")
            })
            .collect();
        if let Some(count) = self.annotations.count {
            found.unless(count == said.len(), "annotations.count", count, said.len());
        }
        for text in &self.annotations.contains {
            let met = said.iter().any(|remark| remark.contains(text));
            found.unless(met, "annotations.contains", text, said.join("\n"));
        }
    }

    fn requests(&self, received: &[Received], found: &mut Found) {
        let Some(expected) = &self.requests else { return };
        let wanted: Vec<String> = expected.iter().map(RequestExpected::line).collect();
        let got: Vec<String> = received.iter().map(Received::line).collect();
        found.unless(
            expected.len() == received.len(),
            "requests",
            format!("{} of them\n{}", wanted.len(), wanted.join("\n")),
            format!("{} of them\n{}", got.len(), got.join("\n")),
        );
        for (number, (expected, received)) in expected.iter().zip(received).enumerate() {
            expected.unmet(&format!("requests.{}", number + 1), received, found);
        }
    }

    /// A refusal that nobody expects fails the case, unless the step was ended: that is told already, and may be why.
    fn refused(&self, seen: &Seen, found: &mut Found) {
        let refused = &seen.refused;
        for text in &self.refused {
            found.unless(refused.iter().any(|line| line.contains(text)), "refused", text, refused.join("\n"));
        }
        for line in refused.iter().filter(|_| seen.error.is_none()) {
            let met = self.refused.iter().any(|text| line.contains(text));
            found.unless(met, "refused", "nothing but what is listed", line);
        }
    }
}

impl FileExpected {
    /// Whether it expects anything, and nothing that excludes the other.
    pub(super) fn is_whole(&self) -> bool {
        let holds = !self.contains.is_empty() || self.equals.is_some() || self.sha256.is_some();
        holds != self.absent
    }

    fn unmet(&self, name: &str, read: Result<Option<Vec<u8>>, String>, found: &mut Found) {
        let what = |how: &str| format!("files.\"{name}\".{how}");
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) if self.absent => return,
            Ok(None) => return found.unless(false, format!("files.\"{name}\""), "a file", "(there is none)"),
            Err(reason) => return found.unless(false, format!("files.\"{name}\""), "a file", format!("({reason})")),
        };
        let text = String::from_utf8_lossy(&bytes);
        found.unless(!self.absent, what("absent"), "no file", &text);
        for part in &self.contains {
            found.unless(text.contains(part), what("contains"), part, &text);
        }
        if let Some(equals) = &self.equals {
            found.unless(bytes == equals.as_bytes(), what("equals"), equals, &text);
        }
        if let Some(sha256) = &self.sha256 {
            let got = Sha256Digest::of(&bytes);
            found.unless(got == *sha256, what("sha256"), sha256, got);
        }
    }
}

impl RequestExpected {
    fn line(&self) -> String {
        format!("{} {}", self.method.as_str(), self.url)
    }

    fn unmet(&self, which: &str, received: &Received, found: &mut Found) {
        let same = self.method == received.method && self.url.covers(&received.url);
        found.unless(same, which, self.line(), received.line());
        for (name, wanted) in &self.headers {
            let values = received.headers.get_all(name.as_str()).iter();
            let got: Vec<String> = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
            let met = got.iter().any(|value| value.contains(wanted));
            let shown = if got.is_empty() { "(no such header)".to_owned() } else { got.join("\n") };
            found.unless(met, format!("{which}.headers.{name}"), wanted, shown);
        }
        if let Some(wanted) = &self.secrets {
            let sorted = |secrets: &[SecretExpected]| {
                let mut lines: Vec<_> =
                    secrets.iter().map(|secret| format!("{} in {}", secret.name, secret.place)).collect();
                lines.sort();
                lines.join("\n")
            };
            let (wanted, got) = (sorted(wanted), sorted(&received.secrets));
            let shown = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
            found.unless(wanted == got, format!("{which}.secrets"), shown(&wanted), shown(&got));
        }
        found.texts(&format!("{which}.body"), &self.body, &String::from_utf8_lossy(&received.body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest_evidence::report::{Fault, Report};

    fn unmet(expect: &str, seen: &Seen) -> Vec<String> {
        let expect: Expect = attest_step::parse_toml(expect).unwrap();
        let read = |name: &str| Ok((name == "dist/a").then(|| b"one\ntwo\n".to_vec()));
        let unmet = expect.unmet(seen, read).into_iter();
        unmet.map(|Unmet { expectation, wanted, got }| format!("{expectation}|{wanted}|{got}")).collect()
    }

    #[test]
    fn what_was_not_met_is_named_and_nothing_else() {
        let mut seen = Seen { log: "hello\n".to_owned(), ..Seen::default() };
        seen.outputs.insert("out".parse().unwrap(), "1".to_owned());
        assert!(unmet("", &seen).is_empty());
        assert!(unmet("exit = 0\nlog.contains = \"hell\"\noutputs.out = \"1\"", &seen).is_empty());
        assert_eq!(
            unmet(
                "exit = 3\nlog.contains = [\"hell\", \"bye\"]\nlog.lacks = \"lo\"\noutputs = { out = \"2\", other = \"3\" }",
                &seen
            ),
            [
                "exit|3|0",
                "log.contains|bye|hello\n",
                "log.lacks|lo|hello\n",
                "outputs.other|3|(not set)",
                "outputs.out|2|1",
            ]
        );
        assert!(
            unmet(
                "files.\"dist/a\" = { contains = \"two\", equals = \"one\\ntwo\\n\" }\nfiles.\"dist/b\".absent = true",
                &seen
            )
            .is_empty()
        );
        assert_eq!(
            unmet("files.\"dist/a\".absent = true\nfiles.\"dist/b\".equals = \"x\"", &seen),
            ["files.\"dist/a\".absent|no file|one\ntwo\n", "files.\"dist/b\"|a file|(there is none)"]
        );
    }

    #[test]
    fn an_error_is_expected_by_its_code() {
        let mut seen = Seen { exit: 126, ..Seen::default() };
        seen.error = Some(Report::new("AR-S603", Fault::Refused, "it came back"));
        assert!(unmet("error = \"AR-S603\"", &seen).is_empty());
        assert!(unmet("exit = 126", &seen).is_empty());
        assert_eq!(unmet("", &seen), ["exit|0|126: error[AR-S603]: it came back"]);
        assert_eq!(unmet("error = \"AR-S604\"", &seen), ["error|AR-S604|126: error[AR-S603]: it came back"]);
    }

    #[test]
    fn a_refused_request_is_expected_or_fails_the_case() {
        let seen = Seen { refused: vec!["GET https://a.example/: nobody".to_owned()], ..Seen::default() };
        assert_eq!(unmet("", &seen), ["refused|nothing but what is listed|GET https://a.example/: nobody"]);
        assert!(unmet("refused = \"GET https://a.example/\"", &seen).is_empty());
        assert_eq!(unmet("refused = \"PUT\"", &seen).len(), 2);
    }
}
