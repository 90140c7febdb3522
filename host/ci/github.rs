//! What GitHub's runner reads: commands in a log, and files that a step appends to (GitHub, "Workflow commands for GitHub
//! Actions").
//!
//! Whoever writes a line that begins with `::` gives the runner an order. What steps write is fenced: between
//! [`stop_commands`] and [`resume_commands`] lines are text. Values that go into a file stand between delimiters that
//! nobody can know before.

/// Set to `true` in every job.
pub const MARK: &str = "GITHUB_ACTIONS";
/// The variable that names the file for outputs.
pub const OUTPUT_FILE: &str = "GITHUB_OUTPUT";
/// The variable that names the file for the job's page.
pub const SUMMARY_FILE: &str = "GITHUB_STEP_SUMMARY";

/// How important a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// To be read.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
}

/// A remark about lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// How important.
    pub level: Level,
    /// What is remarked.
    pub message: &'a str,
    /// Its title.
    pub title: Option<&'a str>,
    /// The file's path in the repository.
    pub file: Option<&'a str>,
    /// The first line that it is about, counted from 1.
    pub line: Option<u32>,
    /// The last.
    pub end_line: Option<u32>,
}

/// The line that makes every following one text, until [`resume_commands`] with the same token. Nobody may know that
/// token before.
pub fn stop_commands(token: &str) -> String {
    format!("::stop-commands::{token}")
}

/// The line that ends what [`stop_commands`] began.
pub fn resume_commands(token: &str) -> String {
    format!("::{token}::")
}

/// The command, in one line, that makes a remark.
pub fn annotate(annotation: &Annotation<'_>) -> String {
    let level = match annotation.level {
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let properties = [
        ("file", annotation.file.map(property)),
        ("line", number(annotation.line)),
        ("endLine", number(annotation.end_line)),
        ("title", annotation.title.map(property)),
    ];
    let properties: Vec<String> =
        properties.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let space = if properties.is_empty() { "" } else { " " };
    format!("::{level}{space}{}::{}", properties.join(","), data(annotation.message))
}

/// What is appended to [`OUTPUT_FILE`] to set an output. None if `delimiter` stands in the value: choose another.
///
/// `name` has to be one that holds neither line breaks nor `<` nor `=`; a name of an output is such.
pub fn set_output(name: &str, value: &str, delimiter: &str) -> Option<String> {
    if value.contains(delimiter) || delimiter.is_empty() {
        return None;
    }
    Some(format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"))
}

/// A line that is no command, whatever it was: `::` at its beginning, and `##[` anywhere, are shown otherwise.
pub fn defused(line: &str) -> String {
    let line = line.replace("##[", "#\\u{23}[");
    let start = line.trim_start();
    match start.strip_prefix("::") {
        Some(rest) => format!("{}\\u{{3a}}:{rest}", line.get(..line.len() - start.len()).unwrap_or_default()),
        None => line,
    }
}

/// Text in a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property's value in a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_one_command_whatever_is_in_it() {
        let annotation = Annotation {
            level: Level::Warning,
            message: "100% sure\n::set-output name=a::b\r",
            title: Some("a,b: c\n::error::x"),
            file: Some("src/a,b.rs"),
            line: Some(3),
            end_line: None,
        };
        assert_eq!(
            annotate(&annotation),
            "::warning file=src/a%2Cb.rs,line=3,title=a%2Cb%3A c%0A%3A%3Aerror%3A%3Ax\
             ::100%25 sure%0A::set-output name=a::b%0D"
        );
        let bare =
            Annotation { level: Level::Notice, message: "m", title: None, file: None, line: None, end_line: None };
        assert_eq!(annotate(&bare), "::notice::m");
    }

    #[test]
    fn a_line_that_was_a_command_is_none() {
        assert_eq!(defused("  ::set-output name=a::b\n"), "  \\u{3a}:set-output name=a::b\n");
        assert_eq!(defused("x ##[add-mask]e"), "x #\\u{23}[add-mask]e");
        assert_eq!(defused("std::fs::read"), "std::fs::read");
    }

    #[test]
    fn a_value_can_t_end_its_own_fence() {
        let value = "one\nPATH=/evil\ndelimiter\nBASH_ENV=x";
        assert_eq!(set_output("a", value, "delimiter"), None);
        assert_eq!(set_output("a", value, "d41d8cd9").unwrap(), format!("a<<d41d8cd9\n{value}\nd41d8cd9\n"));
    }
}
