//! `help CODE`.

use super::{Entry, entries};
use attest_evidence::report::{Document, Fault, Report};
use clap::Command;
use std::cmp::Reverse;
use std::ffi::OsString;

/// Codes that are named to whoever asks for one that is not there.
const NEAREST: usize = 3;
/// Characters of a line, and of the names in front of it.
const WIDTH: usize = 100;
const INDENT: usize = 7;

/// `help CODE` on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// As the page writes it, whether there is such a code or not.
    code: String,
    /// Whether the answer shall be JSON.
    pub json: bool,
}

impl Question {
    /// What `arguments` ask of `program`: `help` and a code, among options that every command takes. None where it is
    /// anything else.
    pub fn of(program: &Command, arguments: &[OsString]) -> Option<Self> {
        let (mut words, mut json) = (Vec::new(), false);
        let mut arguments = arguments.iter().skip(1);
        while let Some(argument) = arguments.next() {
            let argument = argument.to_str()?;
            let Some(option) = argument.strip_prefix("--") else {
                words.push(argument);
                continue;
            };
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let known = program.get_arguments().find(|known| known.get_long() == Some(name))?;
            json |= name == "json";
            if known.get_action().takes_values() && value.is_none() {
                arguments.next()?;
            }
        }
        match words.as_slice() {
            ["help", code] => Some(Self { code: code_of(code)?, json }),
            _ => None,
        }
    }

    /// What the page says, as text or as one line of JSON.
    ///
    /// # Errors
    /// There is no such code.
    pub fn answer(&self) -> Result<String, Report> {
        let entry = entries().find(|entry| entry.code == self.code).ok_or_else(|| self.unknown())?;
        if self.json {
            return Ok(Document { schema: "attest-run/help/v1", data: &entry }.to_line());
        }
        let Entry { code, title, means, remedy } = entry;
        Ok(format!("{code}, of {title}\n\nmeans  {}\n\ndo     {}\n", wrapped(means), wrapped(remedy)))
    }

    fn unknown(&self) -> Report {
        let number = |code: &str| code.get(4..).and_then(|digits| digits.parse::<i32>().ok()).unwrap_or_default();
        let mut near: Vec<&str> = entries().map(|entry| entry.code).collect();
        near.sort_by_key(|code| {
            let of_its_part = code.get(..4) == self.code.get(..4);
            let distance = strsim::damerau_levenshtein(code, &self.code);
            (distance, Reverse(of_its_part), number(code).abs_diff(number(&self.code)))
        });
        near.truncate(NEAREST);
        Report::new("AR-C006", Fault::Usage, format!("there is no error code `{}`", self.code))
            .hint(format!("near it: {}", near.join(", ")))
    }
}

/// The code that is meant: `e207`, `AR-E207`. None for what can only be something else, such as a command's name.
fn code_of(word: &str) -> Option<String> {
    let word = word.to_ascii_uppercase();
    if word.starts_with("AR-") {
        return Some(word);
    }
    let mut characters = word.chars();
    let looks = characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && characters.next().is_some_and(|second| second.is_ascii_digit());
    looks.then(|| format!("AR-{word}"))
}

/// Lines of [`WIDTH`] characters, all but the first indented.
fn wrapped(text: &str) -> String {
    let (mut lines, mut column) = (String::new(), INDENT);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > INDENT && column + 1 + length > WIDTH {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', INDENT));
            column = INDENT;
        } else if column > INDENT {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    fn asked(line: &str) -> Option<Question> {
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
        let program = Command::new("attest-run").args([json, Arg::new("state").long("state")]);
        Question::of(&program, &line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_code_is_found_however_it_is_written_and_nothing_else_is_one() {
        let question = |json| Some(Question { code: "AR-E207".to_owned(), json });
        for line in ["help AR-E207", "help e207", "help ar-e207", "--state help help E207", "--state=x help E207"] {
            assert_eq!(asked(&format!("attest-run {line}")), question(false), "{line}");
        }
        for line in ["--json help E207", "help --json E207", "help E207 --json"] {
            assert_eq!(asked(&format!("attest-run {line}")), question(true), "{line}");
        }
        for line in
            ["help", "help verify", "help verify quote", "help E207 E208", "help --new E207", "step.wasm help E207"]
        {
            assert_eq!(asked(&format!("attest-run {line}")), None, "{line}");
        }
    }

    #[test]
    fn whoever_mistypes_a_code_is_told_the_nearest() {
        let hint = |code: &str| Question { code: code.to_owned(), json: false }.answer().unwrap_err().hint.unwrap();
        assert!(hint("AR-E702X").starts_with("near it: AR-E702, "));
        assert!(hint(concat!("AR-", "Q207")).starts_with("near it: AR-"));
        assert!(hint("AR-").starts_with("near it: AR-"));
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        for entry in entries() {
            let question = Question { code: entry.code.to_owned(), json: false };
            let answer = question.answer().unwrap();
            assert!(answer.lines().all(|line| line.chars().count() <= WIDTH), "{answer}");
        }
    }
}
