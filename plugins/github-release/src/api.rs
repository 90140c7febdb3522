//! The REST API of GitHub (version 2022-11-28), as far as releases go.

use crate::options::Options;
use crate::release::{Asset, NewRelease, Release};
use attest_sdk::http::{Request, Response, Url, WithSecrets};
use attest_sdk::{Directory, Error, Result, Secret, warn};
use serde::de::DeserializeOwned;
use step_digest::LocalFile;

/// Things on one page: the most that GitHub gives.
const PAGE: usize = 100;
/// Most pages that are read: a release has at most 1,000 assets, and drafts are among the newest releases.
const MOST_PAGES: usize = 10;
/// Most bytes of a page: a release may have 125,000 characters of text.
const LONGEST_PAGE: usize = 64 << 20;

/// The API, for one repository.
pub(crate) struct Api<'a> {
    /// `…/repos/OWNER/REPOSITORY`.
    repository: Url,
    /// Where files may be sent.
    uploads: String,
    token: &'a Secret,
}

/// Why a file was not sent.
pub(crate) enum Unsent {
    /// The server does not want it.
    Refused(Error),
    /// It may have been sent in part: it can be tried again.
    Broken(Error),
}

impl<'a> Api<'a> {
    pub(crate) fn new(options: &Options, token: &'a Secret) -> Result<Self> {
        let mut repository = options.api.child("repos")?;
        for segment in options.repository.split('/') {
            repository = repository.child(segment)?;
        }
        Ok(Self { repository, uploads: options.uploads.clone(), token })
    }

    /// The release of a tag, published or not.
    pub(crate) fn find(&self, tag: &str) -> Result<Option<Release>> {
        // A tag with a slash would be asked for with an encoded one, and a secret goes to no path that has that.
        if !tag.contains('/') {
            let published = self.releases()?.child("tags")?.child(tag)?;
            let answer = self.ask(Request::get(published)).send()?;
            if answer.status() != 404 {
                return read(answer).map(Some);
            }
        }
        // The API does not find a draft by its tag.
        let mut found = None;
        let seen = self.pages(&self.releases()?, |release: Release| {
            let is_it = release.tag_name == tag;
            if is_it {
                found = Some(release);
            }
            is_it
        })?;
        if let (Seen::Part, None) = (seen, &found) {
            warn(&format!("{tag}: it is not among the first {} releases", PAGE * MOST_PAGES));
        }
        Ok(found)
    }

    /// Makes a release.
    pub(crate) fn create(&self, release: &NewRelease<'_>) -> Result<Release> {
        let text = serde_json::to_string(release).map_err(|error| Error::new(error.to_string()))?;
        read(self.ask(Request::post(self.releases()?)).json(text).send()?)
    }

    /// Makes a draft a release that everybody sees.
    pub(crate) fn publish(&self, release: &Release) -> Result<Release> {
        let url = self.releases()?.child(&release.id.to_string())?;
        read(self.ask(Request::patch(url)).json(r#"{"draft":false}"#).send()?)
    }

    /// The assets of a release.
    pub(crate) fn assets(&self, release: &Release) -> Result<Vec<Asset>> {
        let mut assets = Vec::new();
        let seen = self.pages(&self.releases()?.child(&release.id.to_string())?.child("assets")?, |asset| {
            assets.push(asset);
            false
        })?;
        match seen {
            Seen::Enough => Ok(assets),
            Seen::Part => Err(Error::new(format!("the release has more than {} assets", PAGE * MOST_PAGES))),
        }
    }

    /// Deletes an asset. That it is gone already is as good.
    pub(crate) fn delete(&self, id: u64) -> Result {
        let url = self.releases()?.child("assets")?.child(&id.to_string())?;
        let answer = self.ask(Request::delete(url)).send()?;
        if answer.status() != 404 {
            answer.accepted()?;
        }
        Ok(())
    }

    /// Sends a file into a release.
    pub(crate) fn upload(
        &self,
        release: &Release,
        dist: &Directory,
        file: &LocalFile,
    ) -> std::result::Result<Asset, Unsent> {
        let url = upload_url(&release.upload_url, &self.uploads, file.name()).map_err(Unsent::Refused)?;
        let contents = dist.file(&file.path).map_err(Unsent::Refused)?;
        let request = self.ask(Request::post(url)).header("content-type", "application/octet-stream").file(&contents);
        let unsent = |error: Error| if error.is_denied() { Unsent::Refused(error) } else { Unsent::Broken(error) };
        let answer = request.send().map_err(unsent)?;
        match answer.status() {
            500.. | 408 | 429 => Err(Unsent::Broken(answer.refused())),
            _ => read(answer).map_err(Unsent::Refused),
        }
    }

    fn releases(&self) -> Result<Url> {
        self.repository.child("releases")
    }

    fn ask<'b>(&self, request: Request<'b>) -> Request<'b, WithSecrets<'b>>
    where
        'a: 'b,
    {
        request
            .header("accept", "application/vnd.github+json")
            .header("user-agent", concat!("attest-run-github-release/", env!("CARGO_PKG_VERSION")))
            .header("x-github-api-version", "2022-11-28")
            .secret_header("authorization", "Bearer ", self.token)
    }

    /// A list, item by item, until `each` has enough.
    fn pages<T: DeserializeOwned>(&self, list: &Url, mut each: impl FnMut(T) -> bool) -> Result<Seen> {
        for page in 1..=MOST_PAGES {
            let url = list.with_parameter("per_page", &PAGE.to_string()).with_parameter("page", &page.to_string());
            let items: Vec<T> = read(self.ask(Request::get(url)).send()?)?;
            let is_last = items.len() < PAGE;
            if items.into_iter().any(&mut each) || is_last {
                return Ok(Seen::Enough);
            }
        }
        Ok(Seen::Part)
    }
}

/// How much of a list was read.
enum Seen {
    /// All that was asked for.
    Enough,
    /// There are more pages than are read.
    Part,
}

fn read<T: DeserializeOwned>(answer: Response) -> Result<T> {
    let answer = answer.accepted()?;
    let url = answer.url().without_query();
    serde_json::from_slice(&answer.body_up_to(LONGEST_PAGE)?)
        .map_err(|error| Error::new(format!("{url} answered something else than the API of GitHub: {error}")))
}

/// Where a file goes. The server says it, and it is believed only where files may go: the token goes there too.
fn upload_url(template: &str, uploads: &str, name: &str) -> Result<Url> {
    let base = template.split('{').next().unwrap_or_default();
    let url: Url = base.parse()?;
    if url.origin() != uploads {
        let origin = url.origin();
        return Err(Error::new(format!(
            "the server wants the files at {origin}, and they may go to {uploads}: if that is right, `--uploads {origin}`"
        )));
    }
    Ok(url.with_parameter("name", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_they_may() {
        let template = "https://uploads.github.com/repos/o/r/releases/1/assets{?name,label}";
        let url = upload_url(template, "https://uploads.github.com", "a+b.zip").unwrap().to_string();
        assert_eq!(url, "https://uploads.github.com/repos/o/r/releases/1/assets?name=a%2Bb.zip");
        for (elsewhere, why) in [
            (
                "https://uploads.github.com.evil.example/x{?name}",
                "wants the files at https://uploads.github.com.evil.example",
            ),
            ("http://uploads.github.com/x", "wants the files at http://uploads.github.com"),
            ("", "is no URL"),
            ("/x", "is no URL"),
        ] {
            let error = upload_url(elsewhere, "https://uploads.github.com", "a").unwrap_err().to_string();
            assert!(error.contains(why), "{elsewhere}: {error}");
        }
    }
}
