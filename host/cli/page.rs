//! Where a step's words go: streams, log, and what a CI system reads.
//!
//! In a job of GitHub, whatever is printed while a step runs is fenced: its runner takes no line of it for a command.

use crate::output::narrate;
use attest_ci::github;
use attest_evidence::report::{Escaped, Fault, Report};
use attest_wire::worker::{Annotation, AnnotationLevel, Level, Stream};
use data_encoding::HEXLOWER;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

/// The page of one run.
pub(crate) struct Page {
    github: Option<GitHub>,
    /// Whether standard output goes to people or a CI system, and not to a file or another program.
    shown: bool,
    /// Whether standard output is one JSON document: what a command writes goes to standard error then.
    json: bool,
    /// What is not a whole line yet of standard output, where it is shown, and of standard error.
    output: Vec<u8>,
    error: Vec<u8>,
}

/// A job of GitHub.
struct GitHub {
    /// Ends the fence.
    token: String,
    output: Option<File>,
    summary: Option<File>,
}

/// The longest line of standard error that is waited for: longer ones are shown in parts.
const LONGEST_LINE: usize = 64 * 1024;

impl Page {
    /// Finds out where words go, and raises the fence.
    pub(crate) fn open(json: bool) -> Result<Self, Report> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let in_github = set(github::MARK).is_some_and(|value| value == "true");
        let file = |name: &str| match set(name) {
            Some(path) => File::options().append(true).create(true).open(&path).map(Some).map_err(|error| {
                let what = format!("can't append to {name}, {}: {error}", path.display());
                Report::new("AR-C801", Fault::Environment, what)
            }),
            None => Ok(None),
        };
        let github = match in_github {
            true => {
                let page = GitHub {
                    token: random()?,
                    output: file(github::OUTPUT_FILE)?,
                    summary: file(github::SUMMARY_FILE)?,
                };
                narrate!("{}", github::stop_commands(&page.token));
                Some(page)
            }
            false => None,
        };
        let stdout = std::io::stdout();
        let is_file = rustix::fs::fstat(stdout.as_fd())
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file());
        let shown = stdout.is_terminal() || (!is_file && set("CI").is_some());
        Ok(Self { github, shown, json, output: Vec::new(), error: Vec::new() })
    }

    /// A message to the log.
    pub(crate) fn log(&self, level: Level, message: &str) {
        let mark = match level {
            Level::Debug => "debug: ",
            Level::Info => "",
            Level::Warn => "warning: ",
            Level::Error => "error: ",
        };
        for line in message.lines() {
            narrate!("{mark}{}", Escaped(line));
        }
    }

    /// A part of a command's stream. Standard output is data: it passes as it is, unless people look at it.
    pub(crate) fn stream(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Output if !self.json && self.shown => {
                self.output.extend_from_slice(bytes);
                while let Some(end) = self.output.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.output.drain(..=end).collect();
                    show(&line, self.github.is_some());
                }
                if self.output.len() > LONGEST_LINE {
                    show(&std::mem::take(&mut self.output), self.github.is_some());
                }
            }
            Stream::Output if !self.json => {
                let _ = std::io::stdout().write_all(bytes);
            }
            Stream::Output | Stream::Error => {
                self.error.extend_from_slice(bytes);
                while let Some(end) = self.error.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.error.drain(..=end).collect();
                    narrate!("{}", Escaped(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])));
                }
                if self.error.len() > LONGEST_LINE {
                    self.end_error();
                }
            }
        }
    }

    fn end_lines(&mut self) {
        show(&std::mem::take(&mut self.output), self.github.is_some());
        self.end_error();
    }

    fn end_error(&mut self) {
        if !self.error.is_empty() {
            narrate!("{}", Escaped(&String::from_utf8_lossy(&std::mem::take(&mut self.error))));
        }
    }

    /// A part of the summary, where a CI system takes one. Elsewhere it is told at the end.
    pub(crate) fn summary(&mut self, text: &str) {
        if let Some(file) = self.github.as_mut().and_then(|github| github.summary.as_mut()) {
            let _ = file.write_all(text.as_bytes());
        }
    }

    /// A remark, for people. To GitHub it is told at the end.
    pub(crate) fn annotation(&self, annotation: &Annotation) {
        let Annotation { level, message, file, line, .. } = annotation;
        let mark = match level {
            AnnotationLevel::Notice => "notice",
            AnnotationLevel::Warning => "warning",
            AnnotationLevel::Error => "error",
        };
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = file.as_ref().map(|file| format!("{file}{line}: ")).unwrap_or_default();
        narrate!("{mark}: {}{}", Escaped(&place), Escaped(message));
    }

    /// Everything has been written: shows what was held back, and the summary where no CI system takes one.
    pub(crate) fn finish(&mut self, summary: &str) {
        self.end_lines();
        if self.github.as_ref().is_none_or(|github| github.summary.is_none()) {
            summary.lines().for_each(|line| narrate!("summary: {}", Escaped(line)));
        }
    }

    /// A line for standard output that is no command to whoever reads it there.
    pub(crate) fn plain(&self, line: &str) -> String {
        if self.github.is_some() { github::defused(line) } else { line.to_owned() }
    }

    /// Ends the fence. Behind it stand remarks alone.
    pub(crate) fn close(self, annotations: &[Annotation]) {
        let Some(github) = self.github else { return };
        narrate!("{}", github::resume_commands(&github.token));
        for annotation in annotations {
            narrate!("{}", github::annotate(&for_github(annotation)));
        }
    }

    /// Sets the outputs of a step that was not stopped.
    pub(crate) fn set_outputs<'a>(
        &mut self,
        outputs: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<(), Report> {
        let Some(file) = self.github.as_mut().and_then(|github| github.output.as_mut()) else { return Ok(()) };
        for (name, value) in outputs {
            let text = github::set_output(name, value, &random()?).ok_or_else(|| {
                Report::new("AR-C802", Fault::Bug, format!("no delimiter could be found for output `{name}`"))
            })?;
            file.write_all(text.as_bytes()).map_err(|error| {
                let what = format!("can't append to {}: {error}", github::OUTPUT_FILE);
                Report::new("AR-C801", Fault::Environment, what)
            })?;
        }
        Ok(())
    }
}

fn for_github(annotation: &Annotation) -> github::Annotation<'_> {
    github::Annotation {
        level: match annotation.level {
            AnnotationLevel::Notice => github::Level::Notice,
            AnnotationLevel::Warning => github::Level::Warning,
            AnnotationLevel::Error => github::Level::Error,
        },
        message: &annotation.message,
        title: annotation.title.as_deref(),
        file: annotation.file.as_deref(),
        line: annotation.line,
        end_line: annotation.end_line,
    }
}

/// What nobody can know before.
fn random() -> Result<String, Report> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Report::new("AR-C803", Fault::Environment, format!("no random numbers: {error}")))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Shows a line of standard output. It goes another way than the fence does, and GitHub's runner reads the two as it
/// likes: a line that would be a command is made none.
fn show(line: &[u8], in_github: bool) {
    let text = visible(line);
    let text = if in_github { github::defused(&text) } else { text };
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Text with its line breaks and tabs, and with no other control character.
fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let (body, end) = match part.char_indices().next_back() {
            Some((at, '\n' | '\t')) => part.split_at(at),
            _ => (part, ""),
        };
        shown += &Escaped(body).to_string();
        shown += end;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_but_text() {
        assert_eq!(visible(b"a\tb\n\x1b[2Jc\r\n\xff"), "a\tb\n\\u{1b}[2Jc\\u{d}\n\u{fffd}");
    }
}
