//! What has been seen of a case.

use super::expect::SecretExpected;
use super::url::Url;
use attest_evidence::exchange::Method;
use attest_evidence::name::OutputName;
use attest_evidence::report::Report;
use attest_wire::client::{End, Event};
use attest_wire::worker::{Annotation, Stream};
use hyper::HeaderMap;
use std::collections::BTreeMap;

/// What has been seen of a case. Secrets in it are masked, but for those in requests.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The status that `attest-run` would end with.
    pub(super) exit: u8,
    /// What the step said of its failure.
    pub(super) message: Option<String>,
    /// What ended it.
    pub(super) error: Option<Report>,
    pub(super) log: String,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) summary: String,
    pub(super) outputs: BTreeMap<OutputName, String>,
    pub(super) annotations: Vec<Annotation>,
    /// Requests that were not sent or whose answer was not passed on, each with its reason.
    pub(super) refused: Vec<String>,
    /// Requests that were answered.
    pub(super) received: Vec<Received>,
    /// What people should know, expected or not.
    pub(super) notes: Vec<String>,
}

/// A request, as a server got it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    /// As the step wrote it, without secrets in the query.
    pub(super) url: Url,
    /// With secrets.
    pub(super) headers: HeaderMap,
    pub(super) secrets: Vec<SecretExpected>,
    /// With secrets.
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method.as_str(), self.url)
    }
}

impl Seen {
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Log { message, .. } => {
                self.log += &message;
                self.log.push('\n');
            }
            Event::Stream { stream: Stream::Output, bytes } => self.stdout.extend(bytes),
            Event::Stream { stream: Stream::Error, bytes } => self.stderr.extend(bytes),
            Event::Output { name, value } => drop(self.outputs.insert(name, value)),
            Event::Summary(text) => self.summary += &text,
            Event::Annotation(annotation) => self.annotations.push(annotation),
            Event::RequestRefused { request, reason } => self.refused.push(format!("{request}: {reason}")),
            Event::Masked { secret, place } => {
                self.notes.push(format!("secret `{secret}` was masked in what the step wrote: {place}"));
            }
            Event::Undeclared { pattern, place } => {
                self.notes.push(format!("what looks like a secret ({pattern}) stands in {place}"));
            }
            // Leases, times and counts are the field's; a step that is run has no other answer and one end.
            Event::Granted { .. }
            | Event::Unused(_)
            | Event::Phase { .. }
            | Event::Count { .. }
            | Event::Answer(_)
            | Event::End(_) => {}
        }
    }

    /// It ended like this.
    pub(super) fn end(&mut self, end: End) {
        match end {
            End::Done => self.exit = 0,
            End::StepFailed { code, message } => (self.exit, self.message) = (code, Some(message)),
            End::Failed { report, .. } => (self.exit, self.error) = (report.fault.step_status(), Some(report)),
        }
    }

    /// Why it did not end well, in words; nothing if it did.
    pub(super) fn failure(&self) -> String {
        let error = self.error.as_ref().map(|error| error.what.clone());
        self.message.clone().or(error).unwrap_or_default()
    }

    /// How it ended, in words.
    pub(super) fn ending(&self) -> String {
        match (&self.message, &self.error) {
            (Some(message), _) => format!("{}: {message}", self.exit),
            (None, Some(error)) => format!("{}: error[{}]: {}", self.exit, error.code, error.what),
            (None, None) => self.exit.to_string(),
        }
    }
}
