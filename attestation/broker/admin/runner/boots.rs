//! `runner approve --diff`: what a runner has booted, beside what it may, in words; and a rule out of the difference.

use crate::admin::reference::{apply, in_force, unusable};
use crate::admin::state::State;
use crate::admin::{Global, print, utc};
use crate::measurements::joined;
use crate::store::{BootRow, RunnerRow, Store};
use attest_appraisal::boot::{
    Added, FileHash, ImaRule, OnViolation, ReferenceBoot, References, ReplayedLog, SeenBoot, moment,
};
use attest_evidence::eventlog::{ChangeLine, EventLog, change_words, difference};
use attest_evidence::exchange::logs::decompress_event_log;
use attest_evidence::name::RunnerName;
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use attest_evidence::tpm::PcrValues;
use attest_evidence::{HashAlgorithm, Sha256Digest, UnixSeconds};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most measured files that are shown.
const MOST_SHOWN: usize = 50;

/// How a boot shall be approved.
#[derive(Debug, clap::Args)]
pub(in crate::admin) struct ApproveBoot {
    /// Show what the runner booted last beside what it may boot, and allow it
    #[arg(long)]
    pub(super) diff: bool,
    /// Allow what its kernel has measured as well, each file by itself. So it is anyway where that was allowed before
    #[arg(long, requires = "diff")]
    ima: bool,
    /// Allow files that could not be measured reliably, too
    #[arg(long, requires = "diff")]
    allow_violations: bool,
    /// Show it, and change nothing
    #[arg(long, requires = "diff")]
    dry_run: bool,
    /// Allow it if it still is this boot: the digest that `--dry-run` has shown
    #[arg(long, value_name = "HEX", requires = "diff")]
    boot: Option<Sha256Digest>,
    /// Allow it until then only: 2026-12-31T00:00:00Z
    #[arg(long, value_name = "TIME", requires = "diff", value_parser = time)]
    until: Option<UnixSeconds>,
    /// Let what is allowed now for this runner alone end then
    #[arg(long, value_name = "TIME", requires = "diff", value_parser = time)]
    others_until: Option<UnixSeconds>,
}

fn time(text: &str) -> Result<UnixSeconds, &'static str> {
    moment(text).ok_or("a moment is 2026-12-31T00:00:00Z")
}

#[derive(Serialize)]
struct Shown<'a> {
    runner: &'a RunnerName,
    /// SHA-256 over the quoted PCRs: which boot this is.
    boot: Sha256Digest,
    /// When this boot was seen first.
    seen: u64,
    event_log: Option<Sha256Digest>,
    /// When the boot that it is compared with was seen last.
    compared_with: Option<u64>,
    differences: Vec<PcrLines>,
    /// What its kernel has measured and was not allowed.
    measured: Vec<Added>,
    /// How many files could not be measured reliably, and whether the rule allows that.
    violations: Option<(u64, bool)>,
    /// What the rule takes for the agent's own program: where it lies, by its digest.
    agent: BTreeMap<FileHash, String>,
    /// The rule, TOML.
    rule: &'a str,
    /// The version of the reference values that it is part of; none with `--dry-run`, or where it is allowed already.
    version: Option<i64>,
}

#[derive(Serialize)]
struct PcrLines {
    pcr: u8,
    before: Option<String>,
    after: Option<String>,
    changes: Vec<ChangeLine>,
}

/// A boot as it was seen, with its event log.
struct Seen {
    row: BootRow,
    log: Option<Vec<u8>>,
}

impl Seen {
    async fn of(store: &Store, row: BootRow) -> Result<Self, Report> {
        let Some(digest) = &row.event_log else { return Ok(Self { row, log: None }) };
        let kept = store.evidence(digest).await.map_err(|error| error.report())?;
        let log = kept.map(|kept| decompress_event_log(&kept)).transpose().map_err(|_| damaged("event log"))?;
        Ok(Self { row, log })
    }

    fn log(&self) -> Result<Option<EventLog<'_>>, Report> {
        self.log.as_deref().map(EventLog::parse).transpose().map_err(|refused| refused.report())
    }
}

fn damaged(what: &'static str) -> Report {
    crate::store::StoreError::Row(what).report()
}

/// Shows the last boot of a runner and makes a rule of it. Returns whether the rule is in force.
pub(super) async fn approve(
    global: &Global,
    state: &State,
    runner: &RunnerRow,
    options: &ApproveBoot,
) -> Result<bool, Report> {
    let store = state.store().await?;
    let name = &runner.runner.name;
    let rows = store.boots(runner.id).await.map_err(|error| error.report())?;
    let mut rows = rows.into_iter();
    let Some(row) = rows.next() else {
        return Err(Report::new("AR-P133", Fault::Refused, format!("nothing is known of what `{name}` booted"))
            .hint("it is seen at the runner's next exchange, whether or not that is granted: run any step on it"));
    };
    let found = row.pcrs.digest();
    if let Some(wanted) = options.boot.filter(|wanted| *wanted != found) {
        return Err(Report::new("AR-P134", Fault::Refused, format!("`{name}` has booted something else since"))
            .fact("wanted", wanted)
            .fact("got", found)
            .hint("look at it anew: `--diff --dry-run`"));
    }
    let seen = Seen::of(&store, row).await?;
    let log = seen.log()?;
    let replayed = log.as_ref().map(ReplayedLog::of);
    let facts = replayed.as_ref().map(|log| log.verify(&seen.row.pcrs)).transpose().map_err(|_| damaged("boot"))?;
    let now = SystemClock.now();
    let (mut references, version) = in_force(&store).await?;
    let described = SeenBoot {
        runner: name,
        class: runner.runner.class,
        firmware: seen.row.firmware,
        pcrs: &seen.row.pcrs,
        facts: facts.map(|boot| boot.facts()),
    };
    let (ima, measured, violations) = measured(&store, runner, &references, options).await?;
    let allowing = ReferenceBoot::allowing(references.free_name(name, now), described);
    let rule = ReferenceBoot { until: options.until, ima, ..allowing };
    let rule_text = References { boots: vec![rule.clone()] }.to_text().map_err(|error| unusable(&error))?;

    let known = compared(&store, &references, rows).await?;
    let differences = match &known {
        Some(known) => compare(known, &seen)?,
        None => Vec::new(),
    };
    if let Some(until) = options.others_until {
        for other in references.boots.iter_mut().filter(|other| other.runners.iter().eq([name])) {
            other.until = Some(other.until.map_or(until, |earlier| earlier.min(until)));
        }
    }
    let was_spoken_of = references.speak_of(name);
    // What has expired for this runner alone is of no use to anybody, and takes room.
    references
        .boots
        .retain(|other| !(other.runners.iter().eq([name]) && other.until.is_some_and(|until| until <= now)));
    references.boots.push(rule.clone());
    let version = if options.dry_run {
        None
    } else {
        let text = references.to_text().map_err(|error| unusable(&error))?;
        Some(apply(&store, text, version, &format!("runner approve {name} --diff")).await?)
    };
    let shown = Shown {
        runner: name,
        boot: found,
        seen: seen.row.first_seen.0,
        event_log: seen.row.event_log,
        compared_with: known.as_ref().map(|known| known.row.last_seen.0),
        differences,
        measured,
        violations: violations.zip(rule.ima.as_ref().map(|rule| rule.violations == OnViolation::Report)),
        agent: rule.ima.as_ref().map(|rule| rule.agent.clone()).unwrap_or_default(),
        rule: &rule_text,
        version,
    };
    print(global, "attest-run/boot-approved/v1", &shown, || in_words(&shown));
    match version {
        Some(version) => narrate!("version {version} of the reference values is in force: `{name}` may boot this"),
        None => narrate!("nothing was changed"),
    }
    if version.is_some() && !was_spoken_of {
        narrate!("from now on `{name}` may boot nothing else");
    }
    Ok(version.is_some())
}

/// A rule that allows what a runner's kernel has measured beside what it may, if there is one or one is wanted.
async fn measured(
    store: &Store,
    runner: &RunnerRow,
    references: &References,
    options: &ApproveBoot,
) -> Result<(Option<ImaRule>, Vec<Added>, Option<u64>), Report> {
    let name = &runner.runner.name;
    let known = references.boots.iter().rev().filter(|boot| boot.is_for(name)).find_map(|boot| boot.ima.clone());
    if known.is_none() && !options.ima {
        return Ok((None, Vec::new(), None));
    }
    let store_error = |error: crate::store::StoreError| error.report();
    let found = store.measurements(runner.id).await.map_err(store_error)?;
    let Some(found) = found else {
        return Err(Report::new("AR-P135", Fault::Refused, format!("nothing is known of what the kernel of `{name}` measured"))
            .hint("the agent sends it with the runner's next exchange, if the kernel measures: `ima_policy=tcb` on its command line"));
    };
    let parts = store.measured_parts(runner.id, 0).await.map_err(store_error)?;
    let parts = parts.map(|(_, parts)| parts).unwrap_or_default();
    let list = joined(&parts).map_err(|_| damaged("measurements"))?;
    let (mut rule, added) = known.unwrap_or_default().allowing(found.entries(&list));
    if options.allow_violations {
        rule.violations = OnViolation::Report;
    }
    Ok((Some(rule), added, Some(found.violations())))
}

/// The boot to compare with: the one before, of those that are remembered.
async fn compared(
    store: &Store,
    references: &References,
    rows: impl Iterator<Item = BootRow>,
) -> Result<Option<Seen>, Report> {
    // Of boots that fit exact rules, the latest; else the latest of all.
    let mut rows: Vec<BootRow> = rows.collect();
    let fits = |row: &BootRow| {
        references.boots.iter().any(|boot| {
            !boot.pcrs.is_empty()
                && boot.pcrs.iter().all(|(pcr, values)| {
                    row.pcrs.get(pcr.0).is_some_and(|value| values.contains(&Sha256Digest::from_bytes(*value)))
                })
        })
    };
    let place = rows.iter().position(fits).unwrap_or(0);
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(Seen::of(store, rows.swap_remove(place)).await?))
}

/// What differs, in words where both have their logs.
fn compare(known: &Seen, seen: &Seen) -> Result<Vec<PcrLines>, Report> {
    let bank = HashAlgorithm::Sha256;
    if let (Some(before), Some(after)) = (known.log()?, seen.log()?) {
        let lines = difference(&before, &after, bank).into_iter().map(|pcr| PcrLines {
            pcr: pcr.pcr.get(),
            before: pcr.before.map(|digest| digest.to_string()),
            after: pcr.after.map(|digest| digest.to_string()),
            changes: pcr.changes.iter().flat_map(|change| change_words(change, bank)).collect(),
        });
        return Ok(lines.collect());
    }
    let value = |values: &PcrValues, pcr| values.get(pcr).map(|value| attest_evidence::digest::to_hex(value));
    let pcrs = known.row.pcrs.selection().indexes().chain(seen.row.pcrs.selection().indexes());
    let mut pcrs: Vec<_> = pcrs.collect();
    pcrs.sort();
    pcrs.dedup();
    let lines = pcrs.into_iter().filter_map(|pcr| {
        let (before, after) = (value(&known.row.pcrs, pcr), value(&seen.row.pcrs, pcr));
        (before != after).then(|| PcrLines { pcr: pcr.get(), before, after, changes: Vec::new() })
    });
    Ok(lines.collect())
}

fn in_words(shown: &Shown<'_>) -> String {
    let moment = |seconds: u64| utc(i64::try_from(seconds).unwrap_or(i64::MAX));
    let mut text = format!("boot {} of {}, seen first at {}", shown.boot, shown.runner, moment(shown.seen));
    text += match shown.event_log {
        Some(_) => ", with its event log\n",
        None => ", without an event log: it can be compared by its PCRs alone\n",
    };
    match shown.compared_with {
        None => text += "there is no other boot to compare it with\n",
        Some(_) if shown.differences.is_empty() => text += "nothing that an event log would say has changed\n",
        Some(at) => text += &format!("beside the boot that was seen at {}:\n", moment(at)),
    }
    for pcr in &shown.differences {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not extended".to_owned());
        text += &format!("\nPCR {}\n  - {}\n  + {}\n", pcr.pcr, value(&pcr.before), value(&pcr.after));
        for line in &pcr.changes {
            text += &format!("  {:9} {}\n", line.change, line.says);
        }
    }
    match shown.violations {
        None | Some((0, _)) => {}
        Some((count, true)) => text += &format!("\n{count} files could not be measured reliably; that is allowed\n"),
        Some((count, false)) => {
            text += &format!(
                "\n{count} files could not be measured reliably since boot, which the rule does not allow: the machine won't fit it \
                 before it reboots, unless `--allow-violations` says so\n"
            );
        }
    }
    for (digest, path) in &shown.agent {
        text += &format!("the agent's own program: {} {}\n", String::from(*digest), Escaped(path));
    }
    if !shown.measured.is_empty() {
        text += &format!("\nthe kernel measured {} files that were not allowed\n", shown.measured.len());
    }
    for Added { name, digest, allowed } in shown.measured.iter().take(MOST_SHOWN) {
        let sign = if *allowed { "+" } else { "can't be allowed:" };
        text += &format!("  {sign} {digest}  {}\n", Escaped(name));
    }
    if shown.measured.len() > MOST_SHOWN {
        text += &format!("  … and {} more, all of them in the rule below\n", shown.measured.len() - MOST_SHOWN);
    }
    text + &format!("\n{}", shown.rule)
}
