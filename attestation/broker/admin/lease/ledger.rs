//! A step's ledger, for people.

use attest_evidence::exchange::{DirectoryMode, FileDigest, Ledger};
use attest_evidence::report::Escaped;
use std::fmt::Write as _;

/// What was granted and what was done with it, a line each; what was never used stands at the end.
pub(super) fn in_words(ledger: &Ledger) -> String {
    let mut text = String::new();
    // Writing into a `String` can't fail.
    let _ = write(ledger, &mut text);
    text
}

fn write(ledger: &Ledger, out: &mut String) -> std::fmt::Result {
    writeln!(out, "lease      {}", ledger.lease)?;
    writeln!(out, "component  {}", ledger.component)?;
    writeln!(out, "manifest   {}", ledger.manifest)?;
    for secret in &ledger.secrets {
        let exposed = secret.exposed.as_ref().map(|place| format!(", EXPOSED in {}", Escaped(place)));
        let (name, version, usage) = (&secret.name, secret.version, secret.usage.as_str());
        writeln!(
            out,
            "secret     {name} v{version} to {usage}: used {}{}",
            times(secret.used),
            exposed.unwrap_or_default()
        )?;
    }
    for token in &ledger.tokens {
        let exposed = token.exposed.as_ref().map(|place| format!(", EXPOSED in {}", Escaped(place)));
        let used = times(token.used);
        writeln!(out, "token      {} for {}: used {used}{}", token.name, token.audience, exposed.unwrap_or_default())?;
    }
    for key in &ledger.keys {
        writeln!(out, "key        {} to {}: used {}", key.name, key.usage.as_str(), times(key.used))?;
    }
    for destination in &ledger.destinations {
        writeln!(out, "requests   to {}: {}", destination.origin, destination.used)?;
    }
    for request in &ledger.requests {
        let method = request.method.map_or("-", |method| method.as_str());
        let secrets = request.secrets.iter().map(|used| format!(" with {} in {}", used.name, used.place));
        let outcome = match (request.status, &request.refused) {
            (_, Some(reason)) => format!("refused: {}", Escaped(reason)),
            (Some(status), None) => format!("{status}, {} bytes sent, {} received", request.sent, request.received),
            (None, None) => format!("no answer, {} bytes sent", request.sent),
        };
        let outcome = if request.cut { outcome + ", broken off" } else { outcome };
        let to = format!("{}{}", request.to, request.path);
        writeln!(out, "           {method} {}{}: {outcome}", Escaped(&to), secrets.collect::<String>())?;
    }
    if ledger.requests_lost {
        writeln!(out, "           and what was being sent when the process died that sends them: it is not known")?;
    }
    if ledger.more_requests > 0 {
        writeln!(out, "           and {} more", ledger.more_requests)?;
    }
    for files in &ledger.files {
        let mode = match files.mode {
            DirectoryMode::Read => "to read",
            DirectoryMode::Write => "to write",
        };
        let (read, written) = (files.read.len(), files.written.len());
        writeln!(out, "directory  {} {mode}: {read} files read, {written} written", files.name)?;
        for (what, list) in [("read", &files.read), ("wrote", &files.written)] {
            for FileDigest { path, sha256 } in list {
                let digest = sha256.as_ref().map_or_else(|| "gone, or not readable".to_owned(), ToString::to_string);
                writeln!(out, "           {what} {}  {digest}", Escaped(path))?;
            }
        }
        if files.more > 0 {
            writeln!(out, "           and {} more", files.more)?;
        }
    }
    for output in &ledger.outputs {
        writeln!(out, "output     {}: {}", output.name, if output.set { "set" } else { "not set" })?;
    }
    for finding in &ledger.undeclared {
        writeln!(out, "looks like a secret ({}) in {}", Escaped(&finding.pattern), Escaped(&finding.place))?;
    }
    let unused = ledger.unused();
    if !unused.is_empty() {
        writeln!(out, "unused     {}: step.toml could do without", unused.join(", "))?;
    }
    Ok(())
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}
