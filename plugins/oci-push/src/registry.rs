//! A repository of a registry (OCI distribution 1.1), as far as pushing goes.

use crate::challenge::{self, Challenge};
use crate::descriptor::{Descriptor, Digest, IMAGE_INDEX};
use crate::layout::LONGEST_MANIFEST;
use crate::options::{Authentication, Options};
use attest_sdk::http::{Request, Response, Url};
use attest_sdk::{Error, File, Result, Secret};

const USER_AGENT: &str = concat!("attest-run-oci-push/", env!("CARGO_PKG_VERSION"));

/// A repository, and how it comes to know who pushes.
pub(crate) struct Registry<'a> {
    /// `…/v2`.
    base: Url,
    repository: &'a str,
    user: &'a str,
    secret: &'a Secret,
    access: Access,
}

/// What goes along with each request.
enum Access {
    /// Nothing: the registry has not asked.
    Open,
    /// The secret as a password.
    Basic,
    /// The secret as a bearer token.
    Secret,
    /// A token that the registry gave for the secret, for this repository and some minutes.
    Token(String),
}

/// The contents of a blob.
#[derive(Clone, Copy)]
pub(crate) enum Blob<'a> {
    Bytes(&'a [u8]),
    File(&'a File),
}

impl<'a> Registry<'a> {
    /// The registry, of which nothing is asked yet. It says whom it wants to see when it is asked for the first blob, before
    /// anything long is sent.
    pub(crate) fn new(options: &'a Options, secret: &'a Secret) -> Result<Self> {
        let base = options.repository.origin()?.child("v2")?;
        let access = match options.authentication {
            Authentication::Challenge => Access::Open,
            Authentication::Basic => Access::Basic,
            Authentication::Bearer => Access::Secret,
        };
        let repository = options.repository.name.as_str();
        Ok(Self { base, repository, user: &options.user, secret, access })
    }

    /// Whether a blob is there.
    pub(crate) fn has_blob(&mut self, digest: &Digest) -> Result<bool> {
        let url = self.url(&["blobs", digest.as_str()])?;
        let answer = self.send(|| Request::head(&url))?;
        match answer.status() {
            // Some send whoever asks to where it lies: it is there.
            200 | 301 | 302 | 303 | 307 | 308 => Ok(true),
            404 => Ok(false),
            _ => Err(answer.refused()),
        }
    }

    /// Sends a blob, in one piece. The registry holds it against its digest.
    pub(crate) fn push_blob(&mut self, digest: &Digest, blob: Blob<'_>) -> Result {
        let url: Url = format!("{}/", self.url(&["blobs", "uploads"])?).parse()?;
        let answer = self.send(|| Request::post(&url))?.accepted()?;
        let location = answer.header("location").ok_or_else(|| Error::new("the registry named no place for a blob"))?;
        let url = upload_url(&url, location, digest)?;
        let answer = self.send(|| {
            let request = Request::put(&url).header("content-type", "application/octet-stream");
            match blob {
                Blob::Bytes(bytes) => request.body(bytes),
                Blob::File(file) => request.file(file),
            }
        })?;
        answer.accepted().map(drop)
    }

    /// Sends a manifest, under a tag or its digest. Says whether the registry keeps track of what it refers to.
    pub(crate) fn push_manifest(&mut self, reference: &str, manifest: &Descriptor, bytes: &[u8]) -> Result<bool> {
        let url = self.url(&["manifests", reference])?;
        let answer = self.send(|| Request::put(&url).header("content-type", &manifest.media_type).body(bytes))?;
        let answer = answer.accepted()?;
        match answer.header("docker-content-digest") {
            Some(digest) if digest != manifest.digest.as_str() => {
                let digest = digest.escape_debug();
                Err(Error::new(format!("the registry took {} for {digest}", manifest.digest)))
            }
            _ => Ok(answer.header("oci-subject").is_some()),
        }
    }

    /// The index under a tag, if there is one.
    pub(crate) fn index(&mut self, tag: &str) -> Result<Option<Vec<u8>>> {
        let url = self.url(&["manifests", tag])?;
        let answer = self.send(|| Request::get(&url).header("accept", IMAGE_INDEX))?;
        match answer.status() {
            404 => Ok(None),
            _ => answer.accepted()?.body_up_to(usize::try_from(LONGEST_MANIFEST).unwrap_or(usize::MAX)).map(Some),
        }
    }

    fn url(&self, segments: &[&str]) -> Result<Url> {
        let path = self.repository.split('/').chain(segments.iter().copied());
        path.into_iter().try_fold(self.base.clone(), |url, segment| url.child(segment))
    }

    /// Sends a request; once more, if the registry asks who is there or the token has grown old.
    fn send<'r>(&mut self, request: impl Fn() -> Request<'r>) -> Result<Response>
    where
        'a: 'r,
    {
        let answer = self.send_once(request())?;
        if answer.status() != 401 || matches!(self.access, Access::Secret) {
            return Ok(answer);
        }
        let asked = answer.headers().filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
        match Challenge::parse(asked.map(|(_, value)| value)) {
            Some(Challenge::Bearer { realm, service }) => {
                let url = challenge::token_url(&realm, service.as_deref(), self.repository)?;
                self.access = Access::Token(self.token(&url)?);
            }
            Some(Challenge::Basic) if matches!(self.access, Access::Open) => self.access = Access::Basic,
            Some(Challenge::Basic) | None => return Ok(answer),
        }
        drop(answer);
        self.send_once(request())
    }

    fn send_once<'r>(&self, request: Request<'r>) -> Result<Response>
    where
        'a: 'r,
    {
        let request = request.header("user-agent", USER_AGENT);
        match &self.access {
            Access::Open => request.send(),
            Access::Basic => request.secret_basic(self.user, self.secret).send(),
            Access::Secret => request.secret_header("authorization", "Bearer ", self.secret).send(),
            Access::Token(token) => request.header("authorization", &format!("Bearer {token}")).send(),
        }
    }

    fn token(&self, url: &Url) -> Result<String> {
        let request = Request::get(url).header("user-agent", USER_AGENT).secret_basic(self.user, self.secret);
        let answer = request.send()?.accepted().map_err(|error| error.during("asking for a token"))?;
        challenge::token(&answer.body()?)
    }
}

/// Where a blob goes. The registry says it; what is sent there has the token in it, and so it is the registry's own.
fn upload_url(asked: &Url, location: &str, digest: &Digest) -> Result<Url> {
    let url = asked.resolve(location)?;
    if url.origin() != asked.origin() {
        return Err(Error::new(format!("the registry wants blobs at {}, and they go to itself alone", url.origin())));
    }
    Ok(url.with_parameter("digest", digest.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_go_to_the_registry_alone() {
        let asked: Url = "https://ghcr.io/v2/o/w/blobs/uploads/".parse().unwrap();
        let hex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let digest = format!("sha256:{hex}").parse().unwrap();
        let to = |location: &str| upload_url(&asked, location, &digest).map(|url| url.to_string()).ok();
        let at = |place: &str| Some(format!("https://ghcr.io/{place}digest=sha256%3A{hex}"));
        assert_eq!(to("/v2/o/w/blobs/uploads/1"), at("v2/o/w/blobs/uploads/1?"));
        assert_eq!(to("https://ghcr.io/u/1?_state=a%3D"), at("u/1?_state=a%3D&"));
        assert_eq!(to("https://evil.example/u/1"), None);
        assert_eq!(to("http://ghcr.io/u/1"), None);
        assert_eq!(to("u/1"), None);
    }
}
