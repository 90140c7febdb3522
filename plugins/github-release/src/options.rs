//! What the arguments ask for.

use crate::release::NewRelease;
use attest_sdk::http::Url;
use attest_sdk::{Arguments, Error, Result};

const USAGE: &str = "usage: github-release.wasm -- [--replace] [--draft] [--prerelease] [--title TITLE] [--notes FILE] \
    [--target COMMIT] [--api URL] [--uploads ORIGIN] OWNER/REPOSITORY TAG [FILE...]";
const API: &str = "https://api.github.com";

#[derive(Debug)]
pub(crate) struct Options {
    /// `OWNER/REPOSITORY`.
    pub(crate) repository: String,
    pub(crate) tag: String,
    /// Paths in `dist`. None: all of it.
    pub(crate) files: Vec<String>,
    pub(crate) api: Url,
    /// Where files may be sent.
    pub(crate) uploads: String,
    /// Assets that differ make place for the file.
    pub(crate) replace: bool,
    /// The release stays a draft.
    pub(crate) draft: bool,
    prerelease: bool,
    title: Option<String>,
    /// The path in `dist` of the release's text.
    pub(crate) notes: Option<String>,
    target: Option<String>,
}

impl Options {
    pub(crate) fn parse(args: Vec<String>) -> Result<Self> {
        let mut args = Arguments::new(args, USAGE);
        let api: Url = args.option("--api")?.as_deref().unwrap_or(API).parse().map_err(usage)?;
        let uploads = match args.option("--uploads")? {
            Some(origin) => origin.parse::<Url>().map_err(usage)?.origin(),
            None => uploads_of(&api),
        };
        let (replace, draft, prerelease) = (args.flag("--replace"), args.flag("--draft"), args.flag("--prerelease"));
        let (title, notes, target) = (args.option("--title")?, args.option("--notes")?, args.option("--target")?);
        let nothing = args.wrong("a repository and a tag are needed");
        let no_repository = args.wrong("a repository is `OWNER/REPOSITORY`");
        let mut rest = args.rest()?.into_iter();
        let (Some(repository), Some(tag)) = (rest.next(), rest.next()) else { return Err(nothing) };
        let is_name = |name: &str| {
            !matches!(name, "" | "." | "..") && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !repository.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name)) {
            return Err(no_repository);
        }
        let files = rest.collect();
        Ok(Self { repository, tag, files, api, uploads, replace, draft, prerelease, title, notes, target })
    }

    /// The release to make: a draft, until its files are there.
    pub(crate) fn new_release<'a>(&'a self, notes: Option<&'a str>) -> NewRelease<'a> {
        NewRelease {
            tag_name: &self.tag,
            target_commitish: self.target.as_deref(),
            name: self.title.as_deref().unwrap_or(&self.tag),
            body: notes,
            draft: true,
            prerelease: self.prerelease,
        }
    }
}

fn usage(error: Error) -> Error {
    error.with_code(2)
}

/// Where files go, by the origin of the API: GitHub has a host of its own for them, and an Enterprise Server has not.
fn uploads_of(api: &Url) -> String {
    match api.authority().strip_prefix("api.") {
        Some(rest) => format!("https://uploads.{rest}"),
        None => api.origin(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn the_host_for_files_follows_from_the_one_of_the_api() {
        for (words, uploads) in [
            ("o/r v1", "https://uploads.github.com"),
            ("--api https://api.octo.ghe.com o/r v1", "https://uploads.octo.ghe.com"),
            ("--api https://git.example.com/api/v3 o/r v1", "https://git.example.com"),
            ("--uploads https://files.example.com/ o/r v1", "https://files.example.com"),
        ] {
            assert_eq!(options(words).unwrap().uploads, uploads, "{words}");
        }
    }

    #[test]
    fn a_release_is_named_after_its_tag_and_begins_as_a_draft() {
        let parsed = options("--prerelease --target main o/r v1 a b").unwrap();
        assert_eq!((parsed.files.len(), parsed.draft, parsed.replace), (2, false, false));
        let new = parsed.new_release(Some("notes"));
        assert_eq!((new.name, new.draft, new.prerelease, new.target_commitish), ("v1", true, true, Some("main")));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (words, why) in [
            ("", "are needed"),
            ("o/r", "are needed"),
            ("r v1", "OWNER/REPOSITORY"),
            ("o/r/x v1", "OWNER/REPOSITORY"),
            ("o/.. v1", "OWNER/REPOSITORY"),
            ("--overwrite o/r v1", "no option"),
        ] {
            let error = options(words).unwrap_err().to_string();
            assert!(error.contains(why), "{words}: {error}");
        }
    }
}
