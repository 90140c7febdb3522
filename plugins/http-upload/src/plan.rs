//! Which file goes where.

use attest_sdk::http::Url;
use attest_sdk::{Arguments, Error, Result};

const USAGE: &str = "usage: http-upload.wasm -- [--post] [--digest HEADER] URL FILE...";

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) method: Method,
    /// A header that says the SHA-256 of each file.
    pub(crate) digest_header: Option<String>,
    url: Url,
    files: Vec<String>,
}

/// How files are sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Put,
    Post,
}

impl Plan {
    pub(crate) fn parse(args: Vec<String>) -> Result<Self> {
        let mut args = Arguments::new(args, USAGE);
        let method = if args.flag("--post") { Method::Post } else { Method::Put };
        let digest_header = args.option("--digest")?;
        let nothing = args.wrong("a URL and a file are needed");
        let mut rest = args.rest()?.into_iter();
        let (Some(url), files) = (rest.next(), rest.collect::<Vec<_>>()) else { return Err(nothing) };
        if files.is_empty() {
            return Err(nothing);
        }
        let url = url.parse().map_err(|error: Error| error.with_code(2))?;
        Ok(Self { method, digest_header, url, files })
    }

    /// Each file, by its path in `dist`, and its URL: the one given, if that does not end in `/`, or the file's path below it.
    pub(crate) fn targets(&self) -> Result<Vec<(String, Url)>> {
        if !self.url.path().ends_with('/') {
            let [file] = &self.files[..] else {
                let hint = "several files need a URL that ends in `/`: their names go behind it";
                return Err(Error::new(hint).with_code(2));
            };
            return Ok(vec![(file.clone(), self.url.clone())]);
        }
        self.files.iter().map(|file| Ok((file.clone(), self.below(file)?))).collect()
    }

    fn below(&self, file: &str) -> Result<Url> {
        let mut url = self.url.clone();
        for segment in file.split('/') {
            url = url.child(segment).map_err(|error| error.during(file).with_code(2))?;
        }
        match self.url.query() {
            Some(query) => format!("{url}?{query}").parse(),
            None => Ok(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &str) -> Result<Plan> {
        Plan::parse(words.split_whitespace().map(str::to_owned).collect())
    }

    fn targets(words: &str) -> Vec<String> {
        plan(words).unwrap().targets().unwrap().into_iter().map(|(file, url)| format!("{file} {url}")).collect()
    }

    #[test]
    fn a_url_names_the_file_or_the_folder() {
        assert_eq!(targets("https://e.org/a.tgz app.tgz"), ["app.tgz https://e.org/a.tgz"]);
        assert_eq!(
            targets("https://e.org/r/ a+b.tgz sub/c.tgz"),
            ["a+b.tgz https://e.org/r/a%2Bb.tgz", "sub/c.tgz https://e.org/r/sub/c.tgz"]
        );
        assert_eq!(targets("https://e.org a"), ["a https://e.org/a"]);
        assert_eq!(targets("https://e.org/r/?v=1 a"), ["a https://e.org/r/a?v=1"]);
    }

    #[test]
    fn options_are_understood() {
        let plan = plan("--post --digest repr-digest https://e.org/ a").unwrap();
        assert_eq!((plan.method, plan.digest_header.as_deref()), (Method::Post, Some("repr-digest")));
    }

    #[test]
    fn what_can_not_be_done_is_refused_before_anything_is_sent() {
        for (words, why) in [
            ("", "are needed"),
            ("https://e.org/", "are needed"),
            ("--put https://e.org/ a", "no option `--put`"),
            ("ftp://e.org/ a", "no URL"),
        ] {
            let error = plan(words).unwrap_err().to_string();
            assert!(error.contains(why), "{words}: {error}");
        }
        for (words, why) in [
            ("https://e.org/x a b", "ends in `/`"),
            ("https://e.org/ ../a", "segment"),
            ("https://e.org/ a//b", "segment"),
        ] {
            let error = plan(words).unwrap().targets().unwrap_err().to_string();
            assert!(error.contains(why), "{words}: {error}");
        }
    }
}
