//! What the arguments ask for.

use attest_sdk::http::Url;
use attest_sdk::{Arguments, Error, Result};

const USAGE: &str = "usage: oci-push.wasm -- [--from NAME | --file FILE [--type TYPE]] [--user USER] \
    [--auth challenge|basic|bearer] [--unsigned] REGISTRY/REPOSITORY:TAG [TAG...]";
/// What an artifact is of which nobody says what it is.
const UNKNOWN_ARTIFACT: &str = "application/vnd.unknown.artifact.v1";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) repository: Repository,
    pub(crate) tags: Vec<String>,
    pub(crate) source: Source,
    /// With the secret as a password.
    pub(crate) user: String,
    pub(crate) authentication: Authentication,
    pub(crate) unsigned: bool,
}

/// What is pushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The image of a layout; by the name that it has there, if there are several.
    Layout(Option<String>),
    /// A file, and its type as an artifact.
    File { path: String, artifact_type: String },
}

/// How the registry comes to know who pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authentication {
    /// As the registry asks for it.
    Challenge,
    /// With the secret as a password, in every request.
    Basic,
    /// With the secret as a bearer token, in every request.
    Bearer,
}

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository {
    registry: String,
    pub(crate) name: String,
}

impl Options {
    pub(crate) fn parse(args: Vec<String>) -> Result<Self> {
        let mut args = Arguments::new(args, USAGE);
        let (from, file, artifact_type) = (args.option("--from")?, args.option("--file")?, args.option("--type")?);
        let source = match (from, file, artifact_type) {
            (from, None, None) => Source::Layout(from),
            (None, Some(path), artifact_type) => {
                let artifact_type = artifact_type.unwrap_or_else(|| UNKNOWN_ARTIFACT.to_owned());
                Source::File { path, artifact_type }
            }
            (Some(_), _, _) => return Err(args.wrong("`--from` is for layouts, and `--file` for files")),
            (None, None, Some(_)) => return Err(args.wrong("`--type` goes with `--file`")),
        };
        let user = args.option("--user")?.unwrap_or_else(|| "attest-run".to_owned());
        let authentication = match args.option("--auth")?.as_deref() {
            None | Some("challenge") => Authentication::Challenge,
            Some("basic") => Authentication::Basic,
            Some("bearer") => Authentication::Bearer,
            Some(_) => return Err(args.wrong("`--auth` is `challenge`, `basic` or `bearer`")),
        };
        let unsigned = args.flag("--unsigned");
        let nothing = args.wrong("a reference is needed");
        let mut rest = args.rest()?.into_iter();
        let (repository, tag) = reference(&rest.next().ok_or(nothing)?)?;
        let tags: Vec<_> = [tag].into_iter().chain(rest).collect();
        if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
            return Err(wrong(bad, "no tag: 1 to 128 letters, digits, `_`, `.` and `-`, the first no `.` or `-`"));
        }
        Ok(Self { repository, tags, source, user, authentication, unsigned })
    }
}

impl Repository {
    /// `REGISTRY/NAME`: what people and signatures call it.
    pub(crate) fn reference(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }

    /// The origin of its API.
    pub(crate) fn origin(&self) -> Result<Url> {
        // Only this machine may be spoken to in the clear (step.toml, `[http]`).
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        let is_here = host == "localhost" || host.starts_with("127.") || self.registry.starts_with("[::1]");
        let host = if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry };
        format!("{}://{host}", if is_here { "http" } else { "https" }).parse()
    }
}

fn wrong(text: &str, why: &str) -> Error {
    Error::new(format!("`{}` is {why}", text.escape_debug())).with_code(2)
}

fn reference(text: &str) -> Result<(Repository, String)> {
    let bad = |why: &str| wrong(text, &format!("no reference `REGISTRY/REPOSITORY:TAG`: {why}"));
    if text.contains('@') {
        return Err(bad("the digest is what comes out, and can't be chosen"));
    }
    let (registry, rest) = text.split_once('/').ok_or_else(|| bad("the registry is missing"))?;
    if !registry.contains(['.', ':']) && registry != "localhost" {
        return Err(bad("the registry is a host, such as `docker.io`"));
    }
    let (name, tag) = rest.split_once(':').ok_or_else(|| bad("the tag is missing"))?;
    if !name.split('/').all(is_component) {
        return Err(bad("a repository is made of a-z and 0-9, with `.`, `_`, `-` and `/` in between"));
    }
    let repository = Repository { registry: registry.to_owned(), name: name.to_owned() };
    repository.origin().map_err(|error| error.with_code(2))?;
    Ok((repository, tag.to_owned()))
}

/// Between two slashes of a repository's name (OCI distribution 1.1, "Pulling manifests").
fn is_component(text: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_inside) && text.ends_with(is_inside) && text.chars().all(|c| is_inside(c) || "._-".contains(c))
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || ".-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn references_are_taken_apart() {
        for (reference, repository, origin, tag) in [
            ("ghcr.io/octo/widget:v1.0.0", "ghcr.io/octo/widget", "https://ghcr.io", "v1.0.0"),
            ("docker.io/octo/widget:1", "docker.io/octo/widget", "https://registry-1.docker.io", "1"),
            ("localhost:5000/w:t", "localhost:5000/w", "http://localhost:5000", "t"),
            ("127.0.0.1:5000/a/b_c:t", "127.0.0.1:5000/a/b_c", "http://127.0.0.1:5000", "t"),
            ("registry.example.org:8443/w:t", "registry.example.org:8443/w", "https://registry.example.org:8443", "t"),
        ] {
            let options = options(reference).unwrap();
            assert_eq!(options.repository.reference(), repository);
            assert_eq!(options.repository.origin().unwrap().origin(), origin);
            assert_eq!(options.tags, [tag]);
        }
    }

    #[test]
    fn options_say_what_is_pushed() {
        let several = options("--from latest --auth basic --user octo ghcr.io/o/w:v1 latest").unwrap();
        assert_eq!(several.source, Source::Layout(Some("latest".into())));
        assert_eq!(
            (several.tags.len(), several.authentication, several.user.as_str()),
            (2, Authentication::Basic, "octo")
        );
        let file = options("--file a.sbom --type application/spdx+json --unsigned ghcr.io/o/w:sbom").unwrap();
        let source = Source::File { path: "a.sbom".into(), artifact_type: "application/spdx+json".into() };
        assert_eq!((file.source, file.unsigned), (source, true));
    }

    #[test]
    fn what_is_not_understood_is_told_why() {
        for (words, why) in [
            ("", "is needed"),
            ("widget:v1", "registry is missing"),
            ("octo/widget:v1", "is a host"),
            ("ghcr.io/octo/widget", "tag is missing"),
            ("ghcr.io/octo/widget@sha256:ab", "can't be chosen"),
            ("ghcr.io/Octo/widget:v1", "a-z"),
            ("ghcr.io/../widget:v1", "a-z"),
            ("ghcr.io//widget:v1", "a-z"),
            ("ghcr.io/o/w:-v1", "no tag"),
            ("ghcr.io/o/w:v1 a/b", "no tag"),
            ("user@ghcr.io/o/w:v1", "can't be chosen"),
            ("--from a --file b ghcr.io/o/w:v1", "`--from` is for"),
            ("--type a ghcr.io/o/w:v1", "goes with"),
            ("--auth none ghcr.io/o/w:v1", "`--auth` is"),
        ] {
            let error = options(words).unwrap_err().to_string();
            assert!(error.contains(why), "{words}: {error}");
        }
    }
}
