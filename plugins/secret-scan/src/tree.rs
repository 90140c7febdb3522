//! The files below a directory.

use crate::file::{FileSearch, Searched};
use crate::report::{Leak, MOST_FINDINGS, Report};
use attest_leaks::Patterns;
use attest_sdk::{Directory, Entry, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

/// How deep directories may lie in one another: each is an open handle.
const DEEPEST: usize = 100;

/// Searches all files below `source`, in the order of their names. What can't be read is a problem in the report, and the rest is
/// searched all the same. Symbolic links are not followed: what they point to is searched where it is, or is not of the sources.
pub(crate) fn search(source: &Directory, patterns: &Arc<Patterns>, report: &mut Report) {
    // Broken off, it has said so itself.
    let _ = directory(source, "", DEEPEST, patterns, report);
}

fn directory(
    directory: &Directory,
    path: &str,
    deeper: usize,
    patterns: &Arc<Patterns>,
    report: &mut Report,
) -> ControlFlow<()> {
    let entries = match directory.entries() {
        Ok(entries) => entries,
        Err(error) => {
            report.problem(format!("{}: {error}", shown(path)));
            return ControlFlow::Continue(());
        }
    };
    for entry in entries {
        let path = format!("{path}{}", entry.name);
        let result = if entry.is_file {
            file(directory, &entry, &path, patterns, report)
        } else if entry.is_directory && entry.name != ".git" {
            match deeper.checked_sub(1) {
                Some(deeper) => below(directory, &entry, &path, deeper, patterns, report)?,
                None => {
                    report.problem(format!("{}: it lies below more than {DEEPEST} directories", shown(&path)));
                    Ok(())
                }
            }
        } else {
            Ok(())
        };
        if let Err(error) = result {
            report.problem(format!("{}: {error}", shown(&path)));
        }
        if report.room() == 0 {
            report.problem(format!(
                "{}: the last that was searched, {MOST_FINDINGS} findings are the most",
                shown(&path)
            ));
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

fn below(
    parent: &Directory,
    entry: &Entry,
    path: &str,
    deeper: usize,
    patterns: &Arc<Patterns>,
    report: &mut Report,
) -> ControlFlow<(), Result> {
    match parent.directory(&entry.name) {
        Ok(child) => {
            directory(&child, &format!("{path}/"), deeper, patterns, report)?;
            ControlFlow::Continue(Ok(()))
        }
        Err(error) => ControlFlow::Continue(Err(error)),
    }
}

fn file(parent: &Directory, entry: &Entry, path: &str, patterns: &Arc<Patterns>, report: &mut Report) -> Result {
    let mut search = FileSearch::new(patterns, report.room());
    parent.file(&entry.name)?.read_each(|part| search.push(part))?;
    match search.finish() {
        Searched::LeftOut => report.skipped.push(path.to_owned()),
        Searched::Whole { findings, binary } => {
            report.searched += 1;
            let leaks = findings.into_iter().map(|finding| Leak { path: path.to_owned(), binary, finding });
            report.leaks.extend(leaks);
        }
    }
    Ok(())
}

/// A path in a message: names can hold anything.
fn shown(path: &str) -> String {
    let path = path.trim_end_matches('/');
    format!("`{}`", if path.is_empty() { "." } else { path }.escape_debug())
}
