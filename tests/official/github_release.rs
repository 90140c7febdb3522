//! `github-release`, against a server that answers as the API of GitHub does.

use super::{Official, TOKEN};
use crate::support::{Received, Server, reply};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// What the server keeps: one release, and what is odd about the next uploads.
#[derive(Default)]
struct GitHub {
    release: Option<Value>,
    assets: Vec<(Value, Vec<u8>)>,
    next: u64,
    /// Uploads that break off after their beginning.
    broken: usize,
    /// Uploads that arrive as something else.
    corrupt: usize,
}

impl GitHub {
    fn answer(&mut self, request: &Received, stream: &mut TcpStream) {
        if request.header("authorization") != format!("Bearer {TOKEN}") {
            return reply(stream, 401, &[], br#"{"message": "Bad credentials"}"#);
        }
        let origin = format!("http://{}", request.header("host"));
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let rest = path.strip_prefix("/repos/octo/widget/releases").unwrap_or("?");
        let json =
            |stream: &mut TcpStream, status, value: &Value| reply(stream, status, &[], value.to_string().as_bytes());
        match (request.method.as_str(), rest) {
            ("GET", tag) if tag.starts_with("/tags/") => {
                match self.release.as_ref().filter(|release| release["draft"] == false) {
                    Some(release) => json(stream, 200, release),
                    None => reply(stream, 404, &[], b"{}"),
                }
            }
            ("GET", "") => json(stream, 200, &self.release.iter().cloned().collect()),
            ("POST", "") => {
                let mut release: Value = serde_json::from_slice(&request.body).unwrap();
                release["id"] = 1.into();
                release["html_url"] = format!("{origin}/octo/widget/releases/untagged-1").into();
                release["upload_url"] = format!("{origin}/repos/octo/widget/releases/1/assets{{?name,label}}").into();
                json(stream, 201, &release);
                self.release = Some(release);
            }
            ("PATCH", "/1") => {
                let release = self.release.as_mut().unwrap();
                let tag = release["tag_name"].as_str().unwrap().to_owned();
                release["draft"] = false.into();
                release["html_url"] = format!("{origin}/octo/widget/releases/tag/{tag}").into();
                json(stream, 200, release);
                for (asset, _) in &mut self.assets {
                    let url = asset["browser_download_url"].as_str().unwrap();
                    asset["browser_download_url"] = url.replace("/untagged-1/", &format!("/{tag}/")).into();
                }
            }
            ("GET", "/1/assets") => json(stream, 200, &self.assets.iter().map(|(asset, _)| asset.clone()).collect()),
            ("POST", "/1/assets") => {
                let name = query.strip_prefix("name=").unwrap().to_owned();
                if self.assets.iter().any(|(asset, _)| asset["name"] == name.as_str()) {
                    return reply(stream, 422, &[], br#"{"message": "already_exists"}"#);
                }
                self.next += 1;
                let corrupt = self.corrupt > 0;
                self.corrupt = self.corrupt.saturating_sub(1);
                let arrived = if corrupt { b"other".to_vec() } else { request.body.clone() };
                let digest = attest_evidence::Sha256Digest::of(&arrived);
                let broken = self.broken > 0;
                self.broken = self.broken.saturating_sub(1);
                let asset = json!({
                    "id": self.next, "name": name, "size": arrived.len(), "digest": format!("sha256:{digest}"),
                    "state": if broken { "starter" } else { "uploaded" },
                    // As long as it is a draft.
                    "browser_download_url": format!("{origin}/octo/widget/releases/download/untagged-1/{name}"),
                });
                match broken {
                    true => reply(stream, 502, &[], b"bad gateway"),
                    false => json(stream, 201, &asset),
                }
                self.assets.push((asset, arrived));
            }
            ("DELETE", rest) => {
                let id: u64 = rest.strip_prefix("/assets/").unwrap().parse().unwrap();
                self.assets.retain(|(asset, _)| asset["id"] != id);
                reply(stream, 204, &[], b"");
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Release {
    step: Official,
    github: Arc<Mutex<GitHub>>,
    server: Server,
}

impl Release {
    fn new() -> Self {
        let github = Arc::<Mutex<GitHub>>::default();
        let answering = Arc::clone(&github);
        let server = Server::start(move |request, stream| answering.lock().unwrap().answer(request, stream));
        let step = Official::new("github-release", &[&server.origin()], &["header:authorization"]);
        step.write("dist/app.tar.gz", "the program");
        step.write("dist/SHA256SUMS", "the checksums");
        Self { step, github, server }
    }

    fn run(&self, more: &[&str]) -> crate::support::Output {
        self.run_tag(more, "v1")
    }

    fn run_tag(&self, more: &[&str], tag: &str) -> crate::support::Output {
        let api = self.server.origin();
        let arguments = [&["--api", &api, "--uploads", &api][..], more, &["octo/widget", tag]].concat();
        self.step.run("dist", "dist", &arguments)
    }

    fn names(&self) -> Vec<String> {
        let github = self.github.lock().unwrap();
        github.assets.iter().map(|(asset, _)| asset["name"].as_str().unwrap().to_owned()).collect()
    }

    fn requests(&self, method: &str) -> usize {
        self.server.received().iter().filter(|request| request.method == method).count()
    }
}

#[test]
fn a_release_is_made_once_and_can_be_made_again() {
    let release = Release::new();
    let out = release.run(&[]).ok();
    let origin = release.server.origin();
    assert!(out.stdout.contains(&format!("url={origin}/octo/widget/releases/tag/v1")), "{}", out.stdout);
    // Where its files are now, and not where they were in the draft.
    assert!(out.stdout.contains("download/v1/app.tar.gz") && !out.stdout.contains("untagged"), "{}", out.stdout);
    let mut names = release.names();
    names.sort();
    assert_eq!(names, ["SHA256SUMS", "app.tar.gz"]);
    assert_eq!(release.github.lock().unwrap().release.as_ref().unwrap()["draft"], false);
    let (posted, deleted) = (release.requests("POST"), release.requests("DELETE"));
    // Again: nothing is sent anew.
    release.run(&[]).ok();
    assert_eq!((release.requests("POST"), release.requests("DELETE")), (posted, deleted));
    // A file that differs is an error, and nothing is changed; unless it is to be replaced.
    release.step.write("dist/app.tar.gz", "another program");
    let out = release.run(&[]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(
        out.stderr.contains("the release has another `app.tar.gz`: it has 11 bytes, and the file 15"),
        "{}",
        out.stderr
    );
    assert_eq!((release.requests("POST"), release.requests("DELETE")), (posted, deleted));
    release.run(&["--replace"]).ok();
    let github = release.github.lock().unwrap();
    let (_, contents) = github.assets.iter().find(|(asset, _)| asset["name"] == "app.tar.gz").unwrap();
    assert_eq!(contents, b"another program");
}

#[test]
fn a_tag_with_a_slash_is_found_again() {
    let release = Release::new();
    for _ in 0..2 {
        let out = release.run_tag(&[], "app/v1").ok();
        assert!(out.stdout.contains("download/app/v1/app.tar.gz"), "{}", out.stdout);
    }
    assert_eq!(release.names().len(), 2);
    // The release, and each file once.
    assert_eq!(release.requests("POST"), 3);
}

#[test]
fn a_release_of_nothing_is_an_error() {
    let release = Release::new();
    for file in ["dist/app.tar.gz", "dist/SHA256SUMS"] {
        release.step.remove(file);
    }
    let out = release.run(&[]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(out.stderr.contains("there is no file in `dist` to release"), "{}", out.stderr);
    assert_eq!(release.requests("GET") + release.requests("POST"), 0);
}

#[test]
fn an_upload_that_breaks_off_is_done_again() {
    let release = Release::new();
    release.github.lock().unwrap().broken = 1;
    release.run(&[]).ok();
    assert_eq!(release.names().len(), 2);
    let github = release.github.lock().unwrap();
    assert!(github.assets.iter().all(|(asset, _)| asset["state"] == "uploaded"), "{:?}", github.assets);
}

#[test]
fn what_arrived_otherwise_is_no_release() {
    let release = Release::new();
    release.github.lock().unwrap().corrupt = 2;
    let out = release.run(&[]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(out.stderr.contains("what arrived is not the file, and was deleted: it has 5 bytes"), "{}", out.stderr);
    assert_eq!(release.names(), [""; 0]);
    let github = release.github.lock().unwrap();
    assert_eq!(github.release.as_ref().unwrap()["draft"], true, "it was not published");
}
