//! Whether what a machine booted is what an admin allowed.

use super::ima::{ImaRule, OnViolation, Stranger};
use super::reference::{ReferenceBoot, ReferenceEvent, References, SecureBootRule};
use super::{BootFacts, VerifiedBoot};
use crate::certificate::TpmClass;
use crate::measurements::Measurements;
use crate::quote::VerifiedQuote;
use attest_evidence::name::RunnerName;
use attest_evidence::report::{Escaped, Explain, Fault, Report};
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{Sha256Digest, UnixSeconds};

/// PCRs that hold the program that is the kernel (UAPI Group Linux TPM PCR Registry): loaders' programs, files that GRUB
/// reads, unified kernel images.
const KERNEL: [u8; 3] = [4, 9, 11];
/// PCRs that hold its command line: GRUB's commands, the kernel's stub, systemd-stub.
const COMMAND_LINE: [u8; 3] = [8, 9, 12];

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Which runner.
    pub runner: &'a RunnerName,
    /// What its TPM is, from the chain of its endorsement.
    pub class: TpmClass,
    /// What it quoted.
    pub quote: &'a VerifiedQuote,
    /// Its event log, where it sent one that leads to the quote.
    pub boot: Option<VerifiedBoot<'a>>,
    /// What its kernel measured, where it sent that.
    pub measurements: Option<&'a Measurements>,
}

/// A boot that an admin's reference values allow.
///
/// Its one constructor is [`References::judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedBoot {
    name: String,
    boot: bool,
    executables: bool,
}

/// Why a boot is none of those that an admin allowed. One variant each, so that a person sees which claim failed, what it
/// was and what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootRefused {
    /// All blocks for this runner have expired.
    #[error("the reference values `{block}` expired")]
    Expired {
        /// The last of them.
        block: String,
        /// When.
        until: UnixSeconds,
    },
    /// The TPM is of another class.
    #[error("a {found} TPM is not allowed by `{block}`")]
    Class {
        /// By what.
        block: String,
        /// What it is.
        found: TpmClass,
    },
    /// The TPM's firmware is too old.
    #[error("the TPM's firmware is older than `{block}` wants it")]
    Firmware {
        /// By what.
        block: String,
        /// The lowest version.
        wanted: u64,
        /// What it has.
        found: u64,
    },
    /// A PCR that the broker did not ask for.
    #[error("`{block}` looks at PCR {pcr}, and exchanges do not quote it")]
    NotQuoted {
        /// By what.
        block: String,
        /// Which PCR.
        pcr: PcrIndex,
    },
    /// A PCR has a value that is not allowed.
    #[error("PCR {pcr} has a value that `{block}` does not allow")]
    Pcr {
        /// By what.
        block: String,
        /// Which PCR.
        pcr: PcrIndex,
        /// What it may be.
        wanted: Vec<Sha256Digest>,
        /// What it is.
        found: Sha256Digest,
    },
    /// Rules about events, and no event log.
    #[error("`{block}` looks at the event log, and the runner sent none")]
    NoLog {
        /// By what.
        block: String,
    },
    /// Secure Boot is not as it has to be.
    #[error("Secure Boot: `{block}` wants it {}, and {found}", if *.wanted { "on" } else { "off" })]
    SecureBoot {
        /// By what.
        block: String,
        /// Whether it has to be on.
        wanted: bool,
        /// How it is, in words.
        found: String,
    },
    /// `dbx` lacks an entry.
    #[error("dbx lacks an entry that `{block}` wants in it")]
    Dbx {
        /// By what.
        block: String,
        /// The entry.
        wanted: Sha256Digest,
        /// How many of those wanted are missing.
        missing: usize,
    },
    /// An image was allowed to run by somebody who is not allowed.
    #[error("an image was {}, who is not among the signers of `{block}`", Escaped(.words))]
    Signer {
        /// By what.
        block: String,
        /// Who, in words.
        words: String,
        /// SHA-256 of the certificate, or the image's hash.
        digest: String,
    },
    /// An event that is not on the list of its PCR.
    #[error("event {event} extended PCR {pcr} with something that `{block}` does not allow: {}", Escaped(.words))]
    Event {
        /// By what.
        block: String,
        /// Which PCR.
        pcr: PcrIndex,
        /// Which event.
        event: usize,
        /// What it says.
        words: String,
        /// What was extended.
        digest: Sha256Digest,
        /// What may have been, as the block has it.
        wanted: Vec<ReferenceEvent>,
    },
    /// Rules about what the kernel measured, and nothing of that came.
    #[error("`{block}` looks at what the kernel measured, and the runner sent nothing of it")]
    NoMeasurements {
        /// By what.
        block: String,
    },
    /// Files that could not be measured reliably.
    #[error("`{block}` allows no violations, and the kernel recorded {count}: files that were open for writing")]
    Violations {
        /// By what.
        block: String,
        /// How many.
        count: u64,
    },
    /// A file that is on no list.
    #[error("the kernel measured `{}`, which `{block}` does not allow", Escaped(&.stranger.name))]
    Measured {
        /// By what.
        block: String,
        /// Which.
        stranger: Stranger,
        /// How many there are.
        strangers: u64,
    },
    /// The agent's own program was not measured.
    #[error("the kernel has measured no program that `{block}` calls the agent")]
    NoAgent {
        /// By what.
        block: String,
        /// What it may be.
        wanted: Vec<String>,
    },
}

impl ApprovedBoot {
    /// The block that it fits.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the block says anything of what was booted, beside what ran.
    pub const fn pins_boot(&self) -> bool {
        self.boot
    }

    /// Whether what ran is allowed too: all that the kernel measured is on a list, the agent's own program among it, nothing
    /// could not be measured, and the kernel with its command line, on whose word that rests, is allowed by itself.
    pub const fn executables(&self) -> bool {
        self.executables
    }
}

impl References {
    /// Judges a boot: `None` where no admin has said anything about the runner.
    ///
    /// # Errors
    /// See [`BootRefused`]: the reason of the block that came nearest, the later one of two.
    pub fn judge(&self, candidate: Candidate<'_>, now: UnixSeconds) -> Result<Option<ApprovedBoot>, BootRefused> {
        let mut nearest: Option<(usize, BootRefused)> = None;
        for block in self.boots.iter().filter(|block| block.is_for(candidate.runner)) {
            match block.judge(candidate, now) {
                Ok(()) => {
                    let (boot, executables) = (block.pins_boot(), block.pins_executables(candidate.measurements));
                    return Ok(Some(ApprovedBoot { name: block.name.clone(), boot, executables }));
                }
                Err((passed, refused)) => {
                    if nearest.as_ref().is_none_or(|(most, _)| passed >= *most) {
                        nearest = Some((passed, refused));
                    }
                }
            }
        }
        nearest.map_or(Ok(None), |(_, refused)| Err(refused))
    }
}

impl ReferenceBoot {
    fn pins_boot(&self) -> bool {
        self.secure_boot.is_some() || !self.pcrs.is_empty() || !self.events.is_empty()
    }

    /// PCR 10 is what the kernel says, and any root may extend it: it is worth as much as the kernel and its command line.
    fn pins_executables(&self, found: Option<&Measurements>) -> bool {
        let pins = |pcr: u8| {
            let pcr = PcrIndex::new(pcr).map(super::reference::PcrNumber);
            pcr.is_some_and(|pcr| self.pcrs.contains_key(&pcr) || self.events.contains_key(&pcr))
        };
        let kernel = KERNEL.into_iter().any(pins) && COMMAND_LINE.into_iter().any(pins);
        let lists_all = |rule: &ImaRule| {
            !rule.agent.is_empty() && !rule.scopes.is_empty() && !rule.scopes.iter().any(|scope| scope.any)
        };
        kernel && self.ima.as_ref().is_some_and(lists_all) && found.is_some_and(|found| found.violations() == 0)
    }

    /// Judges one block. An error says also how many checks had been passed.
    fn judge(&self, candidate: Candidate<'_>, now: UnixSeconds) -> Result<(), (usize, BootRefused)> {
        let mut passed = 0;
        self.checks(candidate, now, &mut passed).map_err(|refused| (passed, refused))
    }

    fn checks(&self, candidate: Candidate<'_>, now: UnixSeconds, passed: &mut usize) -> Result<(), BootRefused> {
        let block = || self.name.clone();
        let quoted = |pcr: PcrIndex| {
            let value = candidate.quote.pcrs().get(pcr).copied().map(Sha256Digest::from_bytes);
            value.ok_or_else(|| BootRefused::NotQuoted { block: block(), pcr })
        };
        if let Some(until) = self.until.filter(|until| *until <= now) {
            return Err(BootRefused::Expired { block: block(), until });
        }
        *passed += 1;
        if !self.classes.is_empty() && !self.classes.contains(&candidate.class) {
            return Err(BootRefused::Class { block: block(), found: candidate.class });
        }
        *passed += 1;
        let found = candidate.quote.firmware_version();
        if let Some(wanted) = self.minimum_firmware.filter(|wanted| found < wanted.0) {
            return Err(BootRefused::Firmware { block: block(), wanted: wanted.0, found });
        }
        for (pcr, wanted) in &self.pcrs {
            *passed += 1;
            let found = quoted(pcr.0)?;
            if !wanted.contains(&found) {
                let wanted = wanted.iter().copied().collect();
                return Err(BootRefused::Pcr { block: block(), pcr: pcr.0, wanted, found });
            }
        }
        *passed += 1;
        self.boot_checks(candidate, passed, quoted)?;
        match &self.ima {
            Some(rule) => rule.checks(&self.name, candidate.measurements, passed),
            None => Ok(()),
        }
    }

    fn boot_checks(
        &self,
        candidate: Candidate<'_>,
        passed: &mut usize,
        quoted: impl Fn(PcrIndex) -> Result<Sha256Digest, BootRefused>,
    ) -> Result<(), BootRefused> {
        let block = || self.name.clone();
        if self.secure_boot.is_none() && self.events.is_empty() {
            return Ok(());
        }
        let facts = candidate.boot.ok_or_else(|| BootRefused::NoLog { block: block() })?.facts();
        // What the log says of a PCR is believed because a quote covers that PCR.
        if let Some(rule) = &self.secure_boot {
            quoted(PcrIndex::SECURE_BOOT)?;
            rule.judge(&self.name, facts)?;
            *passed += 1;
        }
        for (pcr, allowed) in &self.events {
            quoted(pcr.0)?;
            let stranger = facts.of_pcr(pcr.0).find(|event| !allowed.iter().any(|one| one.digest == event.digest));
            if let Some(event) = stranger {
                let (words, digest) = (event.words.clone(), event.digest);
                let (event, wanted) = (event.number, allowed.clone());
                return Err(BootRefused::Event { block: block(), pcr: pcr.0, event, words, digest, wanted });
            }
            *passed += 1;
        }
        Ok(())
    }
}

impl ImaRule {
    fn checks(&self, block: &str, found: Option<&Measurements>, passed: &mut usize) -> Result<(), BootRefused> {
        let block = block.to_owned();
        let Some((found, judged)) = found.and_then(|found| Some((found, found.judged(&block)?))) else {
            return Err(BootRefused::NoMeasurements { block });
        };
        // Every kernel that measures begins with an entry about the boot.
        if found.quoted().count == 0 {
            return Err(BootRefused::NoMeasurements { block });
        }
        *passed += 1;
        if self.violations == OnViolation::Refuse && found.violations() > 0 {
            return Err(BootRefused::Violations { block, count: found.violations() });
        }
        *passed += 1;
        if let Some(stranger) = judged.first.clone() {
            return Err(BootRefused::Measured { block, stranger, strangers: judged.strangers });
        }
        *passed += 1;
        if !self.agent.is_empty() && !judged.agent {
            let wanted = self.agent.keys().map(|hash| String::from(*hash)).collect();
            return Err(BootRefused::NoAgent { block, wanted });
        }
        Ok(())
    }
}

impl SecureBootRule {
    fn judge(&self, block: &str, facts: &BootFacts) -> Result<(), BootRefused> {
        let refused =
            |found: String| Err(BootRefused::SecureBoot { block: block.to_owned(), wanted: self.enabled, found });
        match (facts.secure_boot, &facts.weakened) {
            (None, _) => return refused("the log says nothing of it that was measured".to_owned()),
            (Some(true), Some(weakness)) if self.enabled => return refused(format!("it is on, but: {weakness}")),
            (Some(found), _) if found != self.enabled => {
                return refused(format!("it is {}", if found { "on" } else { "off" }));
            }
            _ => {}
        }
        let missing: Vec<_> = self
            .dbx_at_least
            .iter()
            .filter(|wanted| !facts.dbx.iter().any(|entry| entry.as_bytes() == wanted.as_bytes()))
            .collect();
        if let Some(wanted) = missing.first() {
            return Err(BootRefused::Dbx { block: block.to_owned(), wanted: **wanted, missing: missing.len() });
        }
        let allowed = |signers: &[ReferenceEvent], digest| signers.iter().any(|signer| signer.allows(digest));
        let stranger = self
            .signers
            .as_ref()
            .and_then(|signers| facts.signers.iter().find(|signer| !allowed(signers, &signer.digest)));
        match stranger {
            Some(signer) => Err(BootRefused::Signer {
                block: block.to_owned(),
                words: signer.words.clone(),
                digest: signer.digest.to_string(),
            }),
            None => Ok(()),
        }
    }
}

/// Digests that were allowed, as many as a person looks at.
fn any_of(wanted: &[ReferenceEvent]) -> String {
    const MOST: usize = 8;
    let mut text: Vec<String> = wanted.iter().take(MOST).map(|one| one.digest.to_string()).collect();
    if wanted.len() > MOST {
        text.push(format!("one of {} more", wanted.len() - MOST));
    }
    if text.is_empty() { "nothing".to_owned() } else { text.join(" or ") }
}

impl BootRefused {
    /// Whether it is about what ran, and not about what was booted.
    pub const fn is_about_measurements(&self) -> bool {
        matches!(
            self,
            Self::NoMeasurements { .. } | Self::Violations { .. } | Self::Measured { .. } | Self::NoAgent { .. }
        )
    }
}

impl Explain for BootRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        let update = "if the change is wanted: `attest-broker runner approve NAME --diff` shows it and allows it";
        match self {
            Self::Expired { until, .. } => report("AR-E809").fact("until", super::moment::text(*until).unwrap_or_else(|| until.to_string())).hint(update),
            Self::Class { found, .. } => report("AR-E806").fact("got", found),
            Self::Firmware { wanted, found, .. } => {
                report("AR-E807").fact("wanted", format!("{wanted:016x}")).fact("got", format!("{found:016x}"))
            }
            Self::NotQuoted { pcr, .. } => report("AR-E810").fact("pcr", pcr),
            Self::Pcr { pcr, wanted, found, .. } => {
                let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                report("AR-E801").fact("pcr", pcr).fact("wanted", wanted).fact("got", found).hint(update)
            }
            Self::NoLog { .. } => report("AR-E808").hint(
                "the agent reads /sys/kernel/security/tpm0/binary_bios_measurements; some firmware and loaders leave none",
            ),
            Self::SecureBoot { wanted, found, .. } => {
                report("AR-E803").fact("wanted", if *wanted { "on" } else { "off" }).fact("got", found)
            }
            Self::Dbx { wanted, missing, .. } => {
                report("AR-E804").fact("wanted", wanted).fact("missing", missing).hint("update the machine's dbx")
            }
            Self::Signer { digest, .. } => report("AR-E805").fact("got", digest).hint(update),
            Self::Event { pcr, event, digest, wanted, .. } => report("AR-E802")
                .fact("pcr", pcr)
                .fact("event", event)
                .fact("wanted", any_of(wanted))
                .fact("got", digest)
                .hint(update),
            Self::NoMeasurements { .. } => report("AR-E811").hint(
                "the agent reads /sys/kernel/security/ima/binary_runtime_measurements where its TPM is a device; the kernel measures with `ima_policy=tcb` on its command line",
            ),
            Self::Violations { count, .. } => report("AR-E812").fact("violations", count).hint(
                "they are counted since boot: find what writes to files in use (`attest-run ima replay` names them), then reboot; or let policy decide by `violations = \"report\"`",
            ),
            Self::Measured { stranger, strangers, .. } => report("AR-E813")
                .fact("entry", stranger.entry)
                .fact("file", &stranger.name)
                .fact("got", &stranger.digest)
                .fact("not allowed", strangers)
                .hint(update),
            Self::NoAgent { wanted, .. } => report("AR-E814").fact("wanted", wanted.join(" or ")).hint(
                "does the kernel's IMA policy measure programs (`ima_policy=tcb`)? Was the agent updated, and its digest not?",
            ),
        }
    }
}
