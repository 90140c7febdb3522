//! What stands behind the component on the command line.

use crate::error::{Error, Result};

/// Arguments, taken one by one: options first, then [`rest`](Self::rest).
#[derive(Debug)]
pub struct Arguments {
    usage: &'static str,
    options: Vec<String>,
    /// What stands behind `--`.
    behind: Vec<String>,
}

impl Arguments {
    /// Those of a step, and how it is called: `usage: publish.wasm -- [--dry-run] VERSION`.
    pub fn new(args: Vec<String>, usage: &'static str) -> Self {
        let mut options = args;
        let behind = match options.iter().position(|argument| argument == "--") {
            Some(at) => options.split_off(at).split_off(1),
            None => Vec::new(),
        };
        Self { usage, options, behind }
    }

    /// Whether `--name` is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.options.len();
        self.options.retain(|argument| argument != name);
        self.options.len() < before
    }

    /// What stands behind `--name`: `--name VALUE`, or `--name=VALUE`. Once at most.
    pub fn option(&mut self, name: &str) -> Result<Option<String>> {
        let joined = |argument: &String| argument.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let Some(at) = self.options.iter().position(|argument| argument == name || joined(argument)) else {
            return Ok(None);
        };
        let found = self.options.remove(at);
        let value = match found.split_once('=') {
            Some((_, value)) => value.to_owned(),
            None if at < self.options.len() => self.options.remove(at),
            None => return Err(self.wrong(&format!("`{name}` takes a value"))),
        };
        if self.options.iter().any(|argument| argument == name || joined(argument)) {
            return Err(self.wrong(&format!("`{name}` stands there twice")));
        }
        Ok(Some(value))
    }

    /// What is left, once all options are taken. An option among it is one that the step does not know.
    pub fn rest(self) -> Result<Vec<String>> {
        if let Some(unknown) = self.options.iter().find(|argument| argument.starts_with('-') && argument.len() > 1) {
            return Err(self.wrong(&format!("there is no option `{}`", unknown.escape_debug())));
        }
        Ok(self.options.into_iter().chain(self.behind).collect())
    }

    /// A failure with exit status 2, which says what is wrong and how the step is called.
    pub fn wrong(&self, what: &str) -> Error {
        Error::new(format!("{what}\n{}", self.usage)).with_code(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Arguments {
        Arguments::new(words.split_whitespace().map(str::to_owned).collect(), "usage: test")
    }

    #[test]
    fn options_are_taken_wherever_they_stand() {
        let mut args = arguments("--api https://a.example x --replace --title=a=b y -- --replace");
        assert!(args.flag("--replace") && !args.flag("--replace") && !args.flag("--draft"));
        assert_eq!(args.option("--api").unwrap().as_deref(), Some("https://a.example"));
        assert_eq!(args.option("--title").unwrap().as_deref(), Some("a=b"));
        assert_eq!(args.option("--tit").unwrap(), None);
        assert_eq!(args.rest().unwrap(), ["x", "y", "--replace"]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let message = |error: Error| error.to_string();
        assert_eq!(message(arguments("--api").option("--api").unwrap_err()), "`--api` takes a value\nusage: test");
        let twice = arguments("--api a --api=b").option("--api").unwrap_err();
        assert_eq!(message(twice), "`--api` stands there twice\nusage: test");
        assert_eq!(message(arguments("x --no").rest().unwrap_err()), "there is no option `--no`\nusage: test");
        assert_eq!(arguments("-").rest().unwrap(), ["-"]);
    }
}
