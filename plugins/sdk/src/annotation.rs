//! Remarks about lines of files.

use crate::bindings::attest::step::annotations::{self, Level};

/// A remark for whoever reviews the change. [`Annotation::make`] makes it; needs `[annotations]`.
#[derive(Debug, Clone)]
#[must_use = "a remark is made by `make`"]
pub struct Annotation(annotations::Annotation);

impl Annotation {
    /// Something to know.
    pub fn notice(message: impl Into<String>) -> Self {
        Self::new(Level::Notice, message)
    }

    /// Something that may be wrong.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Level::Warning, message)
    }

    /// Something that is wrong.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Level::Error, message)
    }

    fn new(level: Level, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(annotations::Annotation { level, message, title: None, file: None, line: None, end_line: None })
    }

    /// With a title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.0.title = Some(title.into());
        self
    }

    /// About a file, by its path in the repository.
    pub fn file(mut self, path: impl Into<String>) -> Self {
        self.0.file = Some(path.into());
        self
    }

    /// About a line of it, counted from 1.
    pub fn line(mut self, line: u32) -> Self {
        self.0.line = Some(line);
        self
    }

    /// About several lines of it, the last one as well.
    pub fn lines(mut self, first: u32, last: u32) -> Self {
        self.0.line = Some(first);
        self.0.end_line = Some(last);
        self
    }

    /// Makes the remark.
    pub fn make(self) {
        annotations::annotate(&self.0);
    }
}
