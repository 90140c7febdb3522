//! A case: files, what was changed in them, and what a verifier has to say of it.

use attest_evidence::digest::to_hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The files of a case, by name. Each name stands for one format: `tests/corpus/README.md` has them.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// `TPMS_ATTEST`.
pub(crate) const MESSAGE: &str = "quote.msg";
/// `TPMT_SIGNATURE`.
pub(crate) const SIGNATURE: &str = "quote.sig";
/// `TPMT_PUBLIC` of the attestation key.
pub(crate) const PUBLIC: &str = "ak.tpmt";
/// The key alone, where no public area is known.
pub(crate) const PEM: &str = "ak.pem";
/// The qualifying data that was asked for.
pub(crate) const NONCE: &str = "nonce.bin";
/// Values of PCRs by bank.
pub(crate) const PCRS: &str = "pcrs.json";
/// The event log.
pub(crate) const LOG: &str = "eventlog.bin";
/// The measurement list.
pub(crate) const IMA: &str = "ima.bin";

/// What is to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A quote against a key, a nonce and PCR values.
    Quote,
    /// An event log against a quote that is right.
    Eventlog,
    /// A measurement list against PCR values that were quoted.
    Ima,
    /// A public area that is offered as an attestation key.
    Key,
}

/// What of evidence that is accepted may be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The quoted PCRs that the event log explains, by bank.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) accounts_for: BTreeMap<String, Vec<u8>>,
    /// Numbers of the events whose data are what was measured into these PCRs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) measured: Vec<usize>,
    /// Per PCR, how many entries of the measurement list its value covers, those of other PCRs among them counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) covered: BTreeMap<String, u64>,
}

/// What a verifier has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Yes, and no more than these facts.
    Accept { facts: Facts },
    /// No, by this code.
    Refuse { code: String },
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The good evidence that it was made from; `None` for good evidence itself.
    pub(crate) parent: Option<String>,
    /// What was changed, or what it is.
    pub(crate) what: String,
    /// Where the standards say so.
    pub(crate) clause: Option<&'static str>,
    pub(crate) files: Files,
    pub(crate) verdict: Verdict,
}

impl Case {
    /// Good evidence.
    pub(crate) fn parent(kind: Kind, name: &str, what: &str, files: Files) -> Self {
        let verdict = Verdict::Accept { facts: Facts::default() };
        Self { name: format!("parent/{name}"), kind, parent: None, what: what.to_owned(), clause: None, files, verdict }
    }

    /// What has to be refused, by `code`.
    pub(crate) fn refuse(&self, name: &str, code: &str, what: &str) -> Self {
        self.child(name, what, Verdict::Refuse { code: code.to_owned() })
    }

    /// What was changed and has to be accepted all the same.
    pub(crate) fn accept(&self, name: &str, what: &str) -> Self {
        self.child(name, what, self.verdict.clone())
    }

    fn child(&self, name: &str, what: &str, verdict: Verdict) -> Self {
        let folder = match self.kind {
            Kind::Quote => "quote",
            Kind::Eventlog => "eventlog",
            Kind::Ima => "ima",
            Kind::Key => "key",
        };
        let (name, what) = (format!("{folder}/{name}"), what.to_owned());
        Self { name, what, verdict, parent: Some(self.name.clone()), clause: None, ..self.clone() }
    }

    /// With another file.
    pub(crate) fn with(mut self, file: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(file, bytes.into());
        self
    }

    /// With one file less.
    pub(crate) fn without(mut self, file: &str) -> Self {
        self.files.remove(file);
        self
    }

    /// The clause that says so.
    pub(crate) fn clause(mut self, clause: &'static str) -> Self {
        self.clause = Some(clause);
        self
    }

    /// With other facts than its parent's.
    pub(crate) fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        if let Verdict::Accept { facts } = &mut self.verdict {
            change(facts);
        }
        self
    }

    /// A file that it has.
    pub(crate) fn file(&self, name: &str) -> &[u8] {
        self.files.get(name).unwrap_or_else(|| panic!("{} has no {name}", self.name))
    }

    /// The folder of its files and, beginning with that of its parent, how it is told apart.
    pub(crate) fn digest(&self) -> String {
        let parts = self.files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_slice()]);
        to_hex(attest_evidence::HashAlgorithm::Sha256.hash_parts(parts).as_bytes())
    }
}
