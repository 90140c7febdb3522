//! `eventlog`: what a machine booted, by its firmware's log.

use crate::Global;
use crate::output::{self, in_file, parse_log, read_log};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::{ChangeLine, Event, EventLog, Format, Measured, change_words, difference};
use attest_evidence::report::{Fault, Report};
use attest_evidence::tpm::PcrBanks;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Read event logs.
#[derive(Debug, Subcommand)]
pub(crate) enum EventLogCommand {
    /// Compute the PCR values that a log leads to
    Replay(Replay),
    /// Say in words what happened at boot, and which of it was measured
    Show(Show),
    /// Say what changed between two boots. Ends with 1 when something did
    Diff(Diff),
}

/// `eventlog replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The log: a copy of /sys/kernel/security/tpm0/binary_bios_measurements
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One bank only: sha1, sha256, sha384 or sha512
    #[arg(long, value_name = "BANK")]
    bank: Option<HashAlgorithm>,
}

/// `eventlog show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The log
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The bank whose digests are looked at. Default: sha256, which quotes are of; else the strongest
    #[arg(long, value_name = "BANK")]
    bank: Option<HashAlgorithm>,
}

/// `eventlog diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The log of the one boot
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The log of the other
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// The bank to compare in. Default: sha256, which quotes are of; else the strongest that both have
    #[arg(long, value_name = "BANK")]
    bank: Option<HashAlgorithm>,
}

#[derive(Serialize)]
struct Replayed {
    format: &'static str,
    events: usize,
    startup_locality: u8,
    banks: PcrBanks,
}

#[derive(Serialize)]
struct Row {
    event: usize,
    byte: usize,
    pcr: u32,
    #[serde(rename = "type")]
    kind: String,
    measured: &'static str,
    says: String,
    digests: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Shown {
    bank: &'static str,
    events: Vec<Row>,
}

#[derive(Serialize)]
struct Differing {
    bank: &'static str,
    pcrs: Vec<DifferingPcr>,
}

#[derive(Serialize)]
struct DifferingPcr {
    pcr: u8,
    before: Option<String>,
    after: Option<String>,
    changes: Vec<ChangeLine>,
}

impl EventLogCommand {
    pub(crate) fn execute(self, global: &Global) -> Result<ExitCode, Report> {
        match self {
            Self::Replay(replay) => replay.execute(global).map(|()| ExitCode::SUCCESS),
            Self::Show(show) => show.execute(global).map(|()| ExitCode::SUCCESS),
            Self::Diff(diff) => diff.execute(global),
        }
    }
}

/// The bank that was asked for, or the one that quotes are of, or the strongest.
fn bank_of(logs: &[(&EventLog<'_>, &Path)], asked: Option<HashAlgorithm>) -> Result<HashAlgorithm, Report> {
    let has = |bank: HashAlgorithm| logs.iter().all(|(log, _)| log.banks().any(|other| other == bank));
    let found = match asked {
        Some(bank) => Some(bank).filter(|bank| has(*bank)),
        None => {
            let preferred = std::iter::once(HashAlgorithm::Sha256).chain(HashAlgorithm::ALL.into_iter().rev());
            preferred.into_iter().find(|bank| has(*bank))
        }
    };
    found.ok_or_else(|| {
        let what = match asked {
            Some(bank) => format!("there are no digests of the {bank} bank"),
            None => "the logs have no bank in common".to_owned(),
        };
        logs.iter().fold(Report::new("AR-C701", Fault::Usage, what), |report, (log, file)| {
            let banks = log.banks().map(HashAlgorithm::as_str).collect::<Vec<_>>().join(", ");
            in_file(report, file).fact("banks", banks)
        })
    })
}

impl Replay {
    fn execute(self, global: &Global) -> Result<(), Report> {
        let bytes = read_log(&self.file)?;
        let log = parse_log(&bytes, &self.file)?;
        let asked = self.bank.map(|bank| bank_of(&[(&log, &self.file)], Some(bank))).transpose()?;
        let mut banks = PcrBanks::default();
        let mut uncovered = Vec::new();
        for bank in log.banks().filter(|bank| asked.is_none_or(|asked| asked == *bank)) {
            let replay = log.replay(bank);
            if let Some(event) = replay.without_digest() {
                uncovered.push(format!(
                    "note: from event {event} on, events have no {bank} digest: {bank} does not cover them"
                ));
            }
            banks.insert(bank, replay.values().clone());
        }
        let replayed = Replayed {
            format: match log.format() {
                Format::Sha1 => "sha1",
                Format::CryptoAgile => "crypto-agile",
            },
            events: log.events().len(),
            startup_locality: log.startup_locality(),
            banks,
        };
        for note in uncovered {
            output::narrate!("{note}");
        }
        output::print(global, "attest-run/eventlog/v1", &replayed, || {
            let mut text = format!(
                "format    {}\nevents    {}\nlocality  {}\n",
                replayed.format, replayed.events, replayed.startup_locality
            );
            for (bank, values) in replayed.banks.iter() {
                text += &format!("{bank}\n");
                for (pcr, value) in values {
                    text += &format!("  {:>2}  {value}\n", pcr.get());
                }
            }
            text
        });
        Ok(())
    }
}

fn measured(event: &Event<'_>, bank: HashAlgorithm) -> &'static str {
    if event.extends().is_none() {
        return "not extended";
    }
    match event.measured(bank) {
        Measured::Whole => "measured",
        Measured::Value => "value measured",
        Measured::No => "claimed",
    }
}

impl Show {
    fn execute(self, global: &Global) -> Result<(), Report> {
        let bytes = read_log(&self.file)?;
        let log = parse_log(&bytes, &self.file)?;
        let bank = bank_of(&[(&log, &self.file)], self.bank)?;
        let row = |event: &Event<'_>| Row {
            event: event.number,
            byte: event.offset,
            pcr: event.pcr(),
            kind: event.kind.to_string(),
            measured: measured(event, bank),
            says: event.words(),
            digests: event.digests().map(|digest| (digest.algorithm().as_str(), digest.to_string())).collect(),
        };
        let shown = Shown { bank: bank.as_str(), events: log.events().iter().map(row).collect() };
        output::print(global, "attest-run/eventlog-show/v1", &shown, || {
            let mut text = format!(
                "By the digests in {bank}. measured: the digest is that of what the line says; value measured: of the value, \
                 not of its name;\nclaimed: of something that is not in the log, so that the words are whoever's wrote it.\n\n\
                 PCR  {:14}  what\n",
                "proof"
            );
            for (event, row) in log.events().iter().zip(&shown.events) {
                let pcr = event.extends().map_or_else(|| "-".to_owned(), |pcr| pcr.to_string());
                text += &format!("{pcr:>3}  {:14}  {}\n", row.measured, row.says);
            }
            text
        });
        Ok(())
    }
}

impl Diff {
    fn execute(self, global: &Global) -> Result<ExitCode, Report> {
        let (old, new) = (read_log(&self.old)?, read_log(&self.new)?);
        let (old, new) = (parse_log(&old, &self.old)?, parse_log(&new, &self.new)?);
        let bank = bank_of(&[(&old, &self.old), (&new, &self.new)], self.bank)?;
        let pcrs: Vec<DifferingPcr> = difference(&old, &new, bank)
            .into_iter()
            .map(|pcr| DifferingPcr {
                pcr: pcr.pcr.get(),
                before: pcr.before.map(|digest| digest.to_string()),
                after: pcr.after.map(|digest| digest.to_string()),
                changes: pcr.changes.iter().flat_map(|change| change_words(change, bank)).collect(),
            })
            .collect();
        let same = pcrs.is_empty();
        let differing = Differing { bank: bank.as_str(), pcrs };
        output::print(global, "attest-run/eventlog-diff/v1", &differing, || {
            if same {
                return format!("both lead to the same values in {bank}");
            }
            let mut text = String::new();
            for pcr in &differing.pcrs {
                let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not extended".to_owned());
                text += &format!("PCR {} ({bank})\n  - {}\n  + {}\n", pcr.pcr, value(&pcr.before), value(&pcr.after));
                for line in &pcr.changes {
                    text += &format!("  {:9} {}\n", line.change, line.says);
                }
            }
            text
        });
        Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}
