//! What events say, in words for people.

use super::Event;
use super::difference::{Change, database_difference};
use super::meaning::{Meaning, Measured};
use crate::digest::to_hex;
use crate::hash::HashAlgorithm;
use crate::report::Escaped;
use crate::uefi::signature_list::{Authority, AuthorityKind, SignatureKind};
use crate::uefi::{Guid, LoadOption, PartitionTable, Signature, Variable, load_option};
use serde::Serialize;
use std::fmt;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Most entries of a list that are named one by one.
const MOST_NAMED: usize = 4;

impl fmt::Display for Meaning<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => out.write_str("header of the log"),
            Self::StartupLocality(locality) => write!(out, "the TPM was started from locality {locality}"),
            Self::Note(signature) => write!(out, "note: {}", Escaped(signature)),
            Self::Separator { error: false } => out.write_str("end of what firmware measures here"),
            Self::Separator { error: true } => out.write_str("end of what firmware measures here, because of an error"),
            Self::Action(action) => write!(out, "{}", Escaped(action)),
            Self::CrtmVersion(version) => write!(out, "firmware starts with version {}", Escaped(version)),
            Self::Config(variable) => out.write_str(&config(variable)),
            Self::Boot(variable) => out.write_str(&boot(variable)),
            Self::Authority(variable) => out.write_str(&authority(variable)),
            Self::Image(image) => match &image.path {
                Some(path) => write!(out, "program {}", Escaped(&path.to_string())),
                None => out.write_str("program of no named file"),
            },
            Self::PartitionTable(table) => out.write_str(&partitions(table)),
            Self::Firmware(blob) => {
                let description = blob.description.as_deref().unwrap_or_default();
                let space = if description.is_empty() { "" } else { " " };
                write!(out, "firmware{space}{}, {} bytes at {:#x}", Escaped(description), blob.length, blob.base)
            }
            Self::Handoff(handoff) => {
                let names = handoff.tables.iter().map(|table| guid(table.kind));
                write!(out, "tables of firmware: {}", some_of(names.collect()))
            }
            Self::Command { kind: "", text } => write!(out, "command line: {}", Escaped(text)),
            Self::Command { kind, text } => write!(out, "{kind}: {}", Escaped(text)),
            Self::Label(label) => write!(out, "{}", Escaped(label)),
            Self::Tagged(tagged) => match tagged.name() {
                Some(name) => out.write_str(name),
                None => write!(out, "tag {:#010x}, {} bytes", tagged.id, tagged.data.len()),
            },
            Self::Other => out.write_str("something"),
        }
    }
}

impl Event<'_> {
    /// What it says, for people; where that is not to be put into words, what kind of event it is said to be.
    pub fn words(&self) -> String {
        match self.meaning() {
            Meaning::Other => self.kind.to_string(),
            meaning => meaning.to_string(),
        }
    }
}

fn guid(guid: Guid) -> String {
    guid.name().map_or_else(|| guid.to_string(), str::to_owned)
}

/// A list, or its first entries and how many more there are.
fn some_of(mut entries: Vec<String>) -> String {
    let more = entries.len().saturating_sub(MOST_NAMED);
    if more > 1 {
        entries.truncate(MOST_NAMED);
        entries.push(format!("{more} more"));
    }
    entries.join(", ")
}

fn config(variable: &Variable<'_>) -> String {
    let name = Escaped(&variable.name);
    if ["PK", "KEK", "db", "dbx", "dbr", "dbt"].contains(&variable.name.as_str()) {
        return format!("{name}: {}", signatures(variable.data));
    }
    match variable.as_flag() {
        Ok(Some(true)) => format!("{name} is on"),
        Ok(Some(false)) => format!("{name} is off"),
        Ok(None) => format!("{name} is not there"),
        Err(_) => format!("variable {name} of {}, {} bytes", guid(variable.vendor), variable.data.len()),
    }
}

fn signatures(data: &[u8]) -> String {
    let Ok(all) = Signature::parse_lists(data) else { return format!("{} bytes, not a signature list", data.len()) };
    if all.is_empty() {
        return "empty".to_owned();
    }
    signature_words(&all)
}

/// Entries of a signature database in words: certificates by their subjects, hashes by their number.
fn signature_words(all: &[Signature<'_>]) -> String {
    let hashes = all.iter().filter(|entry| matches!(entry.kind, SignatureKind::Hash(_))).count();
    let mut parts: Vec<String> = all
        .iter()
        .filter_map(|entry| match &entry.kind {
            SignatureKind::X509(der) => Some(certificate(der)),
            SignatureKind::Hash(_) => None,
            SignatureKind::X509Hash { digest, .. } => Some(format!("certificate {digest}")),
            SignatureKind::Other { kind, .. } => Some(format!("entry of type {}", guid(*kind))),
        })
        .collect();
    if hashes > 0 {
        parts.push(format!("{hashes} image {}", if hashes == 1 { "hash" } else { "hashes" }));
        let last = parts.len() - 1;
        parts.swap(0, last);
    }
    some_of(parts)
}

/// A certificate by the name of its subject. Nothing has verified it: the digest of the whole event stands for it.
fn certificate(der: &[u8]) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else {
        return format!("{} bytes of a certificate", der.len());
    };
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.map_or_else(|| parsed.subject().to_string(), str::to_owned);
    format!("`{}`", Escaped(&name))
}

fn authority(variable: &Variable<'_>) -> String {
    let name = Escaped(&variable.name);
    match Authority::parse(variable.data).map(|authority| authority.kind) {
        Ok(AuthorityKind::X509(der)) => format!("allowed by {name}: {}", certificate(der)),
        Ok(AuthorityKind::Hash(digest)) => format!("allowed by {name}: image hash {digest}"),
        Ok(AuthorityKind::X509Hash(digest)) => {
            format!("allowed by {name}: certificate whose signed part has hash {digest}")
        }
        Err(_) => match std::str::from_utf8(variable.data) {
            Ok(text) if !text.is_empty() && text.chars().all(|letter| !letter.is_control() || letter == '\n') => {
                format!("{name}: {}", Escaped(text.trim_end()))
            }
            _ => format!("{name}: {}", to_hex(variable.data.get(..32).unwrap_or(variable.data))),
        },
    }
}

fn boot(variable: &Variable<'_>) -> String {
    let name = Escaped(&variable.name);
    if variable.name == "BootOrder"
        && let Ok(order) = load_option::parse_boot_order(variable.data)
    {
        return format!("{name}: {}", some_of(order.iter().map(|number| format!("{number:04X}")).collect()));
    }
    if load_option::boot_number(&variable.name).is_some()
        && let Ok(option) = LoadOption::parse(variable.data)
    {
        let path = option.path.to_string();
        return format!("{name}: {}, {}", Escaped(&option.description), Escaped(&path));
    }
    format!("{name}, {} bytes", variable.data.len())
}

fn partitions(table: &PartitionTable) -> String {
    let names = table.partitions.iter().map(|partition| {
        let name = if partition.name.is_empty() { guid(partition.kind) } else { partition.name.clone() };
        Escaped(&name).to_string()
    });
    format!("disk {}: {}", table.disk, some_of(names.collect()))
}

/// One line about a change between two boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeLine {
    /// `gone`, `new`, `was`, `is`, `added`, `removed`, `order`, `locality`.
    pub change: &'static str,
    /// What.
    pub says: String,
}

/// One change, in as many lines as it takes.
pub fn change_words(change: &Change<'_>, bank: HashAlgorithm) -> Vec<ChangeLine> {
    let line = |change, says: String| ChangeLine { change, says };
    let said = |event: &Event<'_>| {
        let words = event.words();
        match event.measured(bank) {
            Measured::No => {
                let digest = event.digest(bank).map(to_hex).unwrap_or_default();
                format!("{words}  [claimed; {}]", digest.get(..16).unwrap_or(&digest))
            }
            _ => words,
        }
    };
    match change {
        Change::Removed(event) => vec![line("gone", said(event))],
        Change::Added(event) => vec![line("new", said(event))],
        Change::Changed { before, after } => {
            let mut lines = vec![line("was", said(before)), line("is", said(after))];
            if let Some((added, removed)) = database_difference(before, after) {
                if !added.is_empty() {
                    lines.push(line("added", signature_words(&added)));
                }
                if !removed.is_empty() {
                    lines.push(line("removed", signature_words(&removed)));
                }
            }
            lines
        }
        Change::Reordered => {
            vec![line("order", "the same events in another order, or another number of times".to_owned())]
        }
        Change::StartupLocality { before, after } => {
            vec![line("locality", format!("the TPM was started from locality {before}, and now from {after}"))]
        }
    }
}
