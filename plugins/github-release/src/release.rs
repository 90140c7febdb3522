//! Releases and assets, as the API of GitHub shows them: as much of them as is needed.

use serde::{Deserialize, Serialize};
use step_digest::Sha256Digest;

/// A release.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Release {
    pub(crate) id: u64,
    pub(crate) tag_name: String,
    pub(crate) draft: bool,
    /// Its assets can't be changed any more. Servers that know no such thing don't say.
    #[serde(default)]
    pub(crate) immutable: bool,
    pub(crate) html_url: String,
    /// A URI template (RFC 6570): `https://…/assets{?name,label}`.
    pub(crate) upload_url: String,
}

/// A file of a release.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Asset {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) size: u64,
    /// `sha256:…`. Older servers don't say.
    #[serde(default)]
    digest: Option<String>,
    pub(crate) browser_download_url: String,
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// All of it is there.
    Uploaded,
    /// It was begun: nothing of it can be had, and its name is taken.
    #[serde(other)]
    Unfinished,
}

/// A release that is to be made.
#[derive(Debug, Serialize)]
pub(crate) struct NewRelease<'a> {
    pub(crate) tag_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_commitish: Option<&'a str>,
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<&'a str>,
    pub(crate) draft: bool,
    pub(crate) prerelease: bool,
}

impl Release {
    pub(crate) const fn describe(&self) -> &'static str {
        if self.draft { "draft" } else { "published release" }
    }
}

impl Asset {
    /// Its SHA-256, if the server says it.
    pub(crate) fn digest(&self) -> Option<Sha256Digest> {
        self.digest.as_deref()?.strip_prefix("sha256:")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_read_as_github_and_older_servers_write_them() {
        let asset = |text: &str| serde_json::from_str::<Asset>(text).unwrap();
        let new = asset(
            r#"{"url":"https://api.github.com/repos/o/r/releases/assets/1","browser_download_url":"https://github.com/o/r/releases/download/v1/a.zip","id":1,"node_id":"x","name":"a.zip","label":null,"state":"uploaded","content_type":"application/zip","size":3,"digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","download_count":0}"#,
        );
        assert_eq!((new.state, new.digest()), (State::Uploaded, Some(Sha256Digest::of(b"abc"))));
        let half = asset(r#"{"browser_download_url":"u","id":1,"name":"a","state":"starter","size":0,"digest":null}"#);
        assert_eq!((half.state, half.digest()), (State::Unfinished, None));
        let old = asset(r#"{"browser_download_url":"u","id":1,"name":"a","state":"open","size":0}"#);
        assert_eq!((old.state, old.digest()), (State::Unfinished, None));
    }

    #[test]
    fn a_new_release_says_no_more_than_was_asked_for() {
        let new = NewRelease {
            tag_name: "v1",
            target_commitish: None,
            name: "v1",
            body: None,
            draft: true,
            prerelease: false,
        };
        let text = r#"{"tag_name":"v1","name":"v1","draft":true,"prerelease":false}"#;
        assert_eq!(serde_json::to_string(&new).unwrap(), text);
    }
}
