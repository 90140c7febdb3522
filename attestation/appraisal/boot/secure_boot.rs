//! Secure Boot, as PCR 7 says it (PC Client Platform Firmware Profile §3.3.4.8): its configuration, a separator, and then who
//! allowed each image to run.

use super::{BANK, BootFacts, Signer, cut};
use attest_evidence::eventlog::{Event, Meaning};
use attest_evidence::report::Escaped;
use attest_evidence::uefi::signature_list::{Authority, AuthorityKind, SignatureKind};
use attest_evidence::uefi::variable::Coverage;
use attest_evidence::uefi::{Guid, Signature, Variable};
use attest_evidence::{Digest, HashAlgorithm, Sha256Digest};

/// What PCR 7 says of Secure Boot, read by what was measured alone: no digest covers an event's type, so that it decides
/// nothing here. A separator is known by its digest, a variable by its own bytes; nobody can take either away.
#[derive(Debug, Default)]
pub(super) struct SecureBootReading {
    /// Firmware has said all about its configuration: what comes behind the separator, anybody can extend.
    configured: bool,
    /// In front of it stands something of which only the digest is known. It may be anything.
    unknown: bool,
    flags: Vec<Option<bool>>,
}

impl SecureBootReading {
    /// Reads the next event of PCR 7, of which `digest` was extended.
    pub(super) fn read(&mut self, event: &Event<'_>, digest: &Sha256Digest, facts: &mut BootFacts) {
        let is = |data: u32| *digest == Sha256Digest::of(&data.to_le_bytes());
        if is(0) || is(u32::MAX) {
            self.configured = true;
            return;
        }
        if is(1) {
            self.configured = true;
            facts.weakened = Some("firmware ended its measurements with an error".to_owned());
            return;
        }
        let covered = Digest::from_bytes(BANK, digest.as_bytes());
        let variable = Variable::parse(event.data)
            .ok()
            .filter(|variable| covered.is_some_and(|digest| variable.covered_by(&digest) == Some(Coverage::Whole)));
        let text = std::str::from_utf8(event.data).ok().filter(|_| event.is_measured(BANK));
        match (variable, text) {
            (Some(variable), _) if !self.configured => self.configure(&variable, facts),
            (Some(variable), _) => facts.signers.extend(signer(&variable, digest)),
            // Actions. One says that whoever can reach the machine may change what runs.
            (None, Some(action)) => {
                if action.contains("Debug Mode") {
                    facts.weakened = Some(cut(Escaped(action).to_string()));
                }
            }
            (None, None) if !self.configured => self.unknown = true,
            (None, None) => facts.signers.push(unknown_signer(digest)),
        }
    }

    /// A variable in front of the separator.
    fn configure(&mut self, variable: &Variable<'_>, facts: &mut BootFacts) {
        if variable.is(Guid::GLOBAL_VARIABLE, "SecureBoot") {
            self.flags.push(variable.as_flag().ok().flatten());
        } else if variable.is(Guid::IMAGE_SECURITY_DATABASE, "dbx")
            && let Ok(entries) = Signature::parse_lists(variable.data)
        {
            facts.dbx.extend(entries.iter().filter_map(|entry| match entry.kind {
                SignatureKind::Hash(digest) | SignatureKind::X509Hash { digest, .. } => Some(digest),
                SignatureKind::X509(der) => Some(HashAlgorithm::Sha256.hash(der)),
                SignatureKind::Other { .. } => None,
            }));
        }
    }

    /// Said once, in front of the separator, and nothing unknown beside it.
    pub(super) fn result(&self) -> Option<bool> {
        match self.flags.as_slice() {
            [flag] if self.configured && !self.unknown => *flag,
            _ => None,
        }
    }
}

/// Variables of shim that are measured like authorities and name nobody.
const NAMELESS: [&str; 2] = ["SbatLevel", "MokListTrusted"];

/// Who a variable behind the separator names: whoever let an image run. What names nobody, and is not known to, is a
/// stranger. Reference values speak in SHA-256: who is named by another hash is known by the event's own digest.
fn signer(variable: &Variable<'_>, event: &Sha256Digest) -> Option<Signer> {
    match Authority::parse(variable.data).map(|authority| authority.kind) {
        Ok(kind) => {
            let digest = match kind {
                AuthorityKind::X509(der) => HashAlgorithm::Sha256.hash(der),
                AuthorityKind::Hash(digest) | AuthorityKind::X509Hash(digest) if digest.algorithm() == BANK => digest,
                AuthorityKind::Hash(_) | AuthorityKind::X509Hash(_) => by_event(event),
            };
            Some(Signer { digest, words: cut(Meaning::Authority(variable.clone()).to_string()) })
        }
        Err(_) if variable.vendor == Guid::SHIM_LOCK && NAMELESS.contains(&variable.name.as_str()) => None,
        Err(_) => Some(unknown_signer(event)),
    }
}

fn unknown_signer(event: &Sha256Digest) -> Signer {
    Signer { digest: by_event(event), words: "allowed by something of which only the digest is known".to_owned() }
}

fn by_event(event: &Sha256Digest) -> Digest {
    Digest::from_bytes(BANK, event.as_bytes()).unwrap_or(Digest::zero(BANK))
}
