//! What a step tells people and the steps that follow: log, outputs, summary, annotations.

use super::lines;
use crate::bindings::attest::step::{annotations, log, outputs, summary};
use crate::state::{LONGEST_TEXT, State};
use attest_evidence::name::OutputName;
use attest_wire::worker::{Annotation, AnnotationLevel, Level};
use wasmtime::Result;

/// Most bytes of a job's page: what GitHub takes of one step.
const LONGEST_SUMMARY: usize = 1 << 20;
/// Most remarks of a step, and bytes of one with all its parts: more are read by nobody.
const MOST_ANNOTATIONS: usize = 1000;
const LONGEST_ANNOTATION: usize = 64 * 1024;

impl log::Host for State {
    async fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        self.consumption.write(message.len())?;
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        let mut rest = message.as_str();
        loop {
            let (part, after) = rest.split_at(rest.floor_char_boundary(LONGEST_TEXT));
            self.host.log(level, part.to_owned(), after.is_empty())?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }
}

impl outputs::Host for State {
    async fn set(&mut self, name: String, value: String) -> Result<Result<(), outputs::OutputError>> {
        let declared = name.parse::<OutputName>().ok().filter(|name| self.handles.outputs.contains(name));
        let Some(declared) = declared else {
            return Ok(Err(outputs::OutputError::NotDeclared(lines("outputs", &name, ""))));
        };
        if value.len() > LONGEST_TEXT {
            return Ok(Err(outputs::OutputError::TooLong(LONGEST_TEXT as u64)));
        }
        self.consumption.write(value.len())?;
        if !self.outputs_set.insert(declared.clone()) {
            return Ok(Err(outputs::OutputError::SetAlready));
        }
        self.host.output(&declared, value)?;
        Ok(Ok(()))
    }
}

impl summary::Host for State {
    async fn append(&mut self, markdown: String) -> Result<()> {
        self.consumption.write(markdown.len())?;
        self.summary = self.summary.saturating_add(markdown.len());
        if self.summary > LONGEST_SUMMARY {
            return Err(self.consumption.stop(format!("{} MiB of summary", LONGEST_SUMMARY >> 20)));
        }
        let mut rest = markdown.as_str();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.floor_char_boundary(LONGEST_TEXT));
            self.host.summary(part.to_owned())?;
            rest = after;
        }
        Ok(())
    }
}

impl annotations::Host for State {
    async fn annotate(&mut self, annotation: annotations::Annotation) -> Result<()> {
        let annotations::Annotation { level, message, title, file, line, end_line } = annotation;
        let bytes = message.len() + title.as_ref().map_or(0, String::len) + file.as_ref().map_or(0, String::len);
        self.consumption.write(bytes)?;
        self.annotations += 1;
        if self.annotations > MOST_ANNOTATIONS {
            return Err(self.consumption.stop(format!("{MOST_ANNOTATIONS} annotations")));
        }
        if bytes > LONGEST_ANNOTATION {
            return Err(self.consumption.stop(format!("{} KiB of one annotation", LONGEST_ANNOTATION >> 10)));
        }
        let level = match level {
            annotations::Level::Notice => AnnotationLevel::Notice,
            annotations::Level::Warning => AnnotationLevel::Warning,
            annotations::Level::Error => AnnotationLevel::Error,
        };
        Ok(self.host.annotate(Annotation { level, message, title, file, line, end_line })?)
    }
}
