//! What has to be done for each file, by what is there already.

use crate::release::{Asset, State};
use attest_sdk::{Error, Result};
use step_digest::LocalFile;

/// What is done for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is there.
    Keep,
    /// It is there as far as can be told: the server says its size and no digest.
    KeepBySize,
    /// It is not there.
    Upload,
    /// Of an upload that broke off an asset with this id is left, and has to go first.
    Restart(u64),
    /// An asset with this id has its name, and has to go first.
    Replace(u64),
}

impl Action {
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Keep => "was there",
            Self::KeepBySize => "was there, by its size: this server says no digest",
            Self::Upload | Self::Restart(_) => "uploaded",
            Self::Replace(_) => "replaced",
        }
    }
}

/// Whether an asset is the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Same,
    SameSize,
    Unfinished,
    Different(String),
}

/// Holds an asset against the file that it should be.
pub(crate) fn compare(file: &LocalFile, asset: &Asset) -> Comparison {
    if asset.state == State::Unfinished {
        return Comparison::Unfinished;
    }
    if asset.size != file.size {
        return Comparison::Different(format!("it has {} bytes, and the file {}", asset.size, file.size));
    }
    match asset.digest() {
        Some(digest) if digest == file.digest => Comparison::Same,
        Some(digest) => Comparison::Different(format!("its SHA-256 is {digest}, and the file's {}", file.digest)),
        None => Comparison::SameSize,
    }
}

/// What has to be done for one file.
pub(crate) fn action(file: &LocalFile, assets: &[Asset], replace: bool) -> Result<Action> {
    let Some(asset) = assets.iter().find(|asset| asset.name == file.name()) else { return Ok(Action::Upload) };
    Ok(match compare(file, asset) {
        Comparison::Same => Action::Keep,
        Comparison::SameSize => Action::KeepBySize,
        Comparison::Unfinished => Action::Restart(asset.id),
        Comparison::Different(_) if replace => Action::Replace(asset.id),
        Comparison::Different(how) => {
            let hint = "nothing was changed. `--replace` puts the file in its place";
            return Err(Error::new(format!("the release has another `{}`: {how}; {hint}", asset.name)));
        }
    })
}

/// What has to be done for each of them.
pub(crate) fn actions(files: &[LocalFile], assets: &[Asset], replace: bool) -> Result<Vec<Action>> {
    files.iter().map(|file| action(file, assets, replace)).collect()
}

/// GitHub changes names with other characters, and would not find them again; two files can't have one name.
pub(crate) fn check_names(files: &[LocalFile]) -> Result {
    let mut names = Vec::new();
    for file in files {
        let name = file.name();
        let kept = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        if name.is_empty() || name.starts_with('.') || name.ends_with('.') || !name.chars().all(kept) {
            let name = name.escape_debug();
            let hint = "letters, digits, `-`, `_`, `+` and `.` inside are kept";
            return Err(Error::new(format!("GitHub would give `{name}` another name: {hint}")));
        }
        if names.contains(&name) {
            return Err(Error::new(format!("two files are called `{name}`")));
        }
        names.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use step_digest::Sha256Digest;

    fn file(path: &str, contents: &[u8]) -> LocalFile {
        LocalFile { path: path.into(), size: contents.len() as u64, digest: Sha256Digest::of(contents) }
    }

    fn asset(name: &str, state: &str, contents: &[u8], with_digest: bool) -> Asset {
        let digest = with_digest.then(|| format!("sha256:{}", Sha256Digest::of(contents)));
        let value = serde_json::json!({
            "id": 7, "name": name, "state": state, "size": contents.len(), "digest": digest, "browser_download_url": "u",
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_there_decides_what_is_done() {
        let local = file("sub/a.zip", b"abc");
        for (there, replace, done) in [
            (vec![], false, Ok(Action::Upload)),
            (vec![asset("b.zip", "uploaded", b"abc", true)], false, Ok(Action::Upload)),
            (vec![asset("a.zip", "uploaded", b"abc", true)], false, Ok(Action::Keep)),
            (vec![asset("a.zip", "uploaded", b"abc", true)], true, Ok(Action::Keep)),
            (vec![asset("a.zip", "uploaded", b"abd", false)], false, Ok(Action::KeepBySize)),
            (vec![asset("a.zip", "uploaded", b"abd", true)], false, Err("its SHA-256 is")),
            (vec![asset("a.zip", "uploaded", b"abcd", false)], false, Err("it has 4 bytes, and the file 3")),
            (vec![asset("a.zip", "uploaded", b"abd", true)], true, Ok(Action::Replace(7))),
            // What was begun is done anew, without being asked: nobody can have got it.
            (vec![asset("a.zip", "starter", b"", false)], false, Ok(Action::Restart(7))),
            (vec![asset("a.zip", "open", b"abc", true)], false, Ok(Action::Restart(7))),
        ] {
            match (action(&local, &there, replace), done) {
                (Ok(action), Ok(done)) => assert_eq!(action, done, "{there:?} {replace}"),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
                (action, done) => panic!("{action:?}, and not {done:?}"),
            }
        }
    }

    #[test]
    fn one_that_differs_stops_all() {
        let files = [file("a", b"1"), file("b", b"2")];
        let error = actions(&files, &[asset("b", "uploaded", b"3", true)], false).unwrap_err().to_string();
        assert!(error.contains("another `b`") && error.contains("--replace"), "{error}");
    }

    #[test]
    fn names_that_github_would_change_are_refused() {
        assert!(check_names(&[file("a-1.0+b_c.tar.gz", b""), file("sub/SHA256SUMS", b"")]).is_ok());
        for name in ["a b", "a~b", ".a", "a.", "ä", "sub/", "a\nb"] {
            let error = check_names(&[file(name, b"")]).unwrap_err().to_string();
            assert!(error.contains("another name"), "{name}: {error}");
        }
        let twice = check_names(&[file("x/a", b""), file("y/a", b"")]).unwrap_err();
        assert_eq!(twice.to_string(), "two files are called `a`");
    }
}
