//! Writes a step's ledger while it runs.

use attest_evidence::exchange::{
    FileDigest, FilesSeen, GrantBody, KeyLedger, Ledger, LedgerRequest, LedgerSecretUse, OriginLedger, OutputLedger,
    Request, SecretLedger, SecretUse, TokenLedger, UndeclaredFinding,
};
use attest_evidence::name::{KeyName, OutputName, SecretName};
use attest_evidence::{Sha256Digest, exchange::Origin};
use attest_wire::egress::Sent;
use attest_wire::worker::{FileSeen, Files};

/// Most bytes of a place, and of a text of a request.
const LONGEST_PLACE: usize = 128;
const LONGEST_TEXT: usize = 512;

/// A ledger that is being written.
pub(crate) struct Record(Ledger);

impl Record {
    /// Nothing has been used yet.
    pub(crate) fn begin<'a>(grant: &GrantBody, asked: &Request, outputs: impl Iterator<Item = &'a OutputName>) -> Self {
        let secrets = grant.secrets.iter().map(|granted| SecretLedger {
            name: granted.name.clone(),
            version: granted.version,
            usage: granted.usage,
            // A program has its environment from the beginning.
            used: u64::from(granted.usage == SecretUse::Env),
            exposed: None,
        });
        let tokens = grant.tokens.iter().map(|granted| TokenLedger {
            name: granted.name.clone(),
            audience: granted.audience.clone(),
            used: 0,
            exposed: None,
        });
        let keys = grant.keys.iter().map(|granted| KeyLedger {
            name: granted.name.clone(),
            usage: granted.usage,
            formats: granted.formats.clone(),
            used: 0,
        });
        let files = asked.directories.iter().map(|directory| FilesSeen {
            name: directory.name.clone(),
            mode: directory.mode,
            read: Vec::new(),
            written: Vec::new(),
            more: 0,
        });
        Self(Ledger {
            lease: grant.lease.clone(),
            component: asked.component,
            manifest: asked.manifest,
            secrets: secrets.collect(),
            tokens: tokens.collect(),
            keys: keys.collect(),
            destinations: grant
                .http
                .iter()
                .map(|granted| OriginLedger { origin: granted.origin.clone(), used: 0 })
                .collect(),
            requests: Vec::new(),
            more_requests: 0,
            requests_lost: false,
            files: files.collect(),
            outputs: outputs.map(|name| OutputLedger { name: name.clone(), set: false }).collect(),
            undeclared: Vec::new(),
        })
    }

    pub(crate) fn revealed(&mut self, name: &SecretName) {
        self.of(name, |used, _| *used += 1);
    }

    /// A secret, or a token, came to light.
    pub(crate) fn exposed(&mut self, name: &SecretName, place: &str) {
        self.of(name, |_, exposed| {
            exposed.get_or_insert_with(|| place.to_owned());
        });
    }

    /// Changes how often a secret, or a token, was used, and where it came to light.
    fn of(&mut self, name: &SecretName, change: impl Fn(&mut u64, &mut Option<String>)) {
        let secrets = self.0.secrets.iter_mut().filter(|secret| secret.name == *name);
        secrets.for_each(|secret| change(&mut secret.used, &mut secret.exposed));
        let tokens = self.0.tokens.iter_mut().filter(|token| token.name == *name);
        tokens.for_each(|token| change(&mut token.used, &mut token.exposed));
    }

    /// Whoever sent the requests died, and told no more of them.
    pub(crate) fn requests_lost(&mut self) {
        self.0.requests_lost = true;
    }

    pub(crate) fn used(&mut self, key: &KeyName) {
        self.0.keys.iter_mut().filter(|known| known.name == *key).for_each(|key| key.used += 1);
    }

    pub(crate) fn set(&mut self, output: &OutputName) {
        self.0.outputs.iter_mut().filter(|known| known.name == *output).for_each(|output| output.set = true);
    }

    pub(crate) fn sent(&mut self, sent: Sent) {
        let Sent { method, to, path, status, refused, cut, secrets, sent, received } = sent;
        if status.is_some() {
            let origin = to.parse::<Origin>().ok();
            let went = |known: &&mut OriginLedger| origin.as_ref().is_some_and(|to| known.origin.covers(to));
            self.0.destinations.iter_mut().filter(went).for_each(|known| known.used += 1);
        }
        // Whoever got them may have read them, whether it answered or not.
        for (name, _) in &secrets {
            self.of(name, |used, _| *used += 1);
        }
        if self.0.requests.len() >= Ledger::MOST_REQUESTS {
            self.0.more_requests += 1;
            return;
        }
        let secrets = secrets.into_iter().map(|(name, place)| LedgerSecretUse { name, place }).collect();
        let shortened =
            |text: String| text.get(..text.floor_char_boundary(LONGEST_TEXT)).map(str::to_owned).unwrap_or_default();
        let refused = refused.map(shortened);
        let (to, path) = (shortened(to), shortened(path));
        self.0.requests.push(LedgerRequest { method, to, path, status, refused, cut, secrets, sent, received });
    }

    /// What the worker saw of the directories, in their order.
    pub(crate) fn files(&mut self, seen: Vec<Files>) {
        for (known, seen) in self.0.files.iter_mut().zip(seen) {
            let mut more = seen.more;
            let mut listed = |files: Vec<FileSeen>| {
                more += files.len().saturating_sub(Ledger::MOST_FILES) as u64;
                let files = files.into_iter().take(Ledger::MOST_FILES);
                files
                    .map(|file| FileDigest { path: file.path, sha256: file.sha256.map(Sha256Digest::from_bytes) })
                    .collect()
            };
            known.read = listed(seen.read);
            known.written = listed(seen.written);
            known.more = more;
        }
    }

    pub(crate) fn undeclared(&mut self, pattern: &str, place: &str) {
        if self.0.undeclared.len() < Ledger::MOST_FINDINGS {
            let place = place.get(..place.floor_char_boundary(LONGEST_PLACE)).unwrap_or_default().to_owned();
            let finding = UndeclaredFinding { pattern: pattern.to_owned(), place };
            self.0.undeclared.push(finding);
        }
    }

    /// What was granted, and never used.
    pub(crate) fn unused(&self) -> Vec<String> {
        self.0.unused()
    }

    /// The ledger as text, within its bound: files and requests that don't fit are counted.
    pub(crate) fn finish(mut self) -> Option<String> {
        loop {
            let text = serde_json::to_string(&self.0).ok()?;
            // The text stands in a JSON string: quotation marks and backslashes take two bytes there.
            let escaped = text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
            if escaped <= Ledger::LONGEST {
                return Some(text);
            }
            if !self.shorten() {
                return None;
            }
        }
    }

    /// Halves the longest list of what can be counted instead. False if there is nothing left to leave out. What became of
    /// secrets and keys is never left out.
    fn shorten(&mut self) -> bool {
        let ledger = &mut self.0;
        let longest = ledger.files.iter_mut().max_by_key(|files| files.read.len().max(files.written.len()));
        let most = longest.as_ref().map_or(0, |files| files.read.len().max(files.written.len()));
        match longest {
            Some(files) if most > ledger.requests.len() && most > 0 => {
                let list = if files.read.len() >= files.written.len() { &mut files.read } else { &mut files.written };
                files.more += halve(list);
                true
            }
            _ if !ledger.requests.is_empty() => {
                ledger.more_requests += halve(&mut ledger.requests);
                true
            }
            _ => halve(&mut ledger.undeclared) > 0,
        }
    }
}

/// Leaves out the second half of a list, or the one that is there. How many those were.
fn halve<T>(list: &mut Vec<T>) -> u64 {
    let kept = list.len() / 2;
    let gone = list.len() - kept;
    list.truncate(kept);
    gone as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest_evidence::exchange::SecretUse;

    #[test]
    fn a_step_can_t_make_its_ledger_too_long_to_be_told() {
        let quotes = "\"".repeat(1024);
        let mut record = Record(Ledger {
            lease: attest_evidence::name::LeaseId::from_bytes([1; 16]),
            component: Sha256Digest::of(b"c"),
            manifest: Sha256Digest::of(b"m"),
            secrets: vec![SecretLedger {
                name: "a".parse().unwrap(),
                version: 1,
                usage: SecretUse::Http,
                used: 0,
                exposed: None,
            }],
            tokens: Vec::new(),
            keys: Vec::new(),
            destinations: Vec::new(),
            requests: Vec::new(),
            more_requests: 0,
            requests_lost: false,
            files: vec![FilesSeen {
                name: "d".parse().unwrap(),
                mode: attest_evidence::exchange::DirectoryMode::Write,
                read: Vec::new(),
                written: Vec::new(),
                more: 0,
            }],
            outputs: Vec::new(),
            undeclared: Vec::new(),
        });
        record.exposed(&"a".parse().unwrap(), "log");
        let seen = (0..400).map(|_| FileSeen { path: quotes.clone(), sha256: None }).collect();
        record.files(vec![Files { read: Vec::new(), written: seen, more: 0 }]);
        for _ in 0..300 {
            record.undeclared("p", &quotes);
            let (to, path) = (quotes.clone(), quotes.clone());
            let (status, refused, secrets) = (None, Some(quotes.clone()), Vec::new());
            record.sent(Sent { method: None, to, path, status, refused, cut: false, secrets, sent: 0, received: 0 });
        }
        let text = record.finish().expect("a ledger");
        let ledger = Ledger::parse(text.as_bytes()).unwrap();
        assert_eq!(ledger.secrets[0].exposed.as_deref(), Some("log"));
        assert!(ledger.more_requests > 0 && ledger.files[0].more > 0);
    }
}
