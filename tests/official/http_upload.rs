//! `http-upload`.

use super::{Official, TOKEN};
use crate::support::{Server, reply};

#[test]
fn files_are_uploaded_with_a_token_that_the_step_does_not_see() {
    let server = Server::start(|request, stream| {
        let status = if request.header("authorization") == format!("Bearer {TOKEN}") { 201 } else { 401 };
        reply(stream, status, &[], b"");
    });
    let step = Official::new("http-upload", &[&server.origin()], &["header:authorization"]);
    step.write("dist/app.tar.gz", &"contents ".repeat(300_000));
    step.write("dist/empty", "");
    let to = format!("{}/releases/v1/", server.origin());
    let out = step.run("dist", "dist", &["--digest", "x-checksum-sha256", &to, "app.tar.gz", "empty"]).ok();
    assert!(out.stdout.contains("urls=") && out.stdout.contains("/releases/v1/app.tar.gz"), "{}", out.stdout);
    assert!(out.stderr.contains("summary: "), "{}", out.stderr);
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("PUT", "/releases/v1/app.tar.gz"));
    assert_eq!(received[0].body.len(), 2_700_000);
    let digest = attest_evidence::Sha256Digest::of(&received[0].body).to_string();
    assert_eq!(received[0].header("x-checksum-sha256"), digest);
    assert_eq!((received[1].body.len(), received[1].header("content-length")), (0, "0"));

    let out = step.run("dist", "dist", &[&to, "missing"]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(out.stderr.contains("missing"), "{}", out.stderr);
}

#[test]
fn what_the_server_does_not_take_is_told() {
    let server = Server::start(|_, stream| reply(stream, 403, &[], b"quota exceeded"));
    let step = Official::new("http-upload", &[&server.origin()], &["header:authorization"]);
    step.write("dist/app.tar.gz", &"contents ".repeat(300_000));
    let out = step.run("dist", "dist", &[&format!("{}/app", server.origin()), "app.tar.gz"]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(out.stderr.contains("403") && out.stderr.contains("quota exceeded"), "{}", out.stderr);
    // To a host that is not the manifest's it sends nothing.
    let other = Server::plain();
    let out = step.run("dist", "dist", &[&format!("{}/app", other.origin()), "app.tar.gz"]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(out.stderr.contains("is not granted") && other.received().is_empty(), "{}", out.stderr);
}
