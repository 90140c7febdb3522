//! G05: servers that send back what they were sent.

use super::{Scene, TOKEN, http};
use crate::support::{Received, Server, reply, run, wait_until};
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The token out of what a server was sent.
fn token(request: &Received) -> String {
    request.header("authorization").trim_start_matches("Bearer ").to_owned()
}

/// The step ends, nothing of the token is told, and the broker knows of it.
fn comes_back(
    scene: &Scene,
    how: &str,
    encoding: &str,
    answer: impl Fn(&Received, &mut TcpStream) + Send + Sync + 'static,
) {
    let server = Server::start(answer);
    scene.send_token_to(&server, &[]);
    let arguments = ["with", "GET", &server.origin(), "header:authorization", "Bearer "];
    let out = run(&mut scene.command(&http(&[&server]), &[], &arguments)).refused(126, "AR-S603");
    assert!(out.stderr.contains("secret `token` came back"), "{how}: {}", out.stderr);
    assert!(out.stderr.contains(&format!("written as {encoding}")), "{how}: {}", out.stderr);
    for part in [&TOKEN[..10], &TOKEN[10..]] {
        assert!(!out.stderr.contains(part) && !out.stdout.contains(part), "{how}: {}", out.stderr);
    }
}

#[test]
fn g05_a_secret_that_comes_back_ends_the_step_and_is_not_told() {
    let scene = Scene::new();
    // The control: what comes back is no secret.
    let server = Server::plain();
    scene.send_token_to(&server, &[]);
    scene.run(&[&server], &["with", "GET", &server.origin(), "header:authorization", "Bearer "]).ok();

    comes_back(&scene, "as it is", "raw", |request, stream| reply(stream, 200, &[], token(request).as_bytes()));
    comes_back(&scene, "in base64", "base64", |request, stream| {
        let text = data_encoding::BASE64.encode(format!("x{}y", token(request)).as_bytes());
        reply(stream, 200, &[], text.as_bytes());
    });
    comes_back(&scene, "in hex", "hex", |request, stream| {
        reply(stream, 200, &[], data_encoding::HEXUPPER.encode(token(request).as_bytes()).as_bytes());
    });
    comes_back(&scene, "in a header", "raw", |request, stream| {
        reply(stream, 200, &[("x-debug", request.header("authorization"))], b"");
    });
    comes_back(&scene, "in a redirect", "raw", |request, stream| {
        reply(stream, 302, &[("location", &format!("https://example.com/?t={}", token(request)))], b"");
    });
    comes_back(&scene, "in an error", "raw", |request, stream| {
        reply(stream, 500, &[], format!("bad token {}", token(request)).as_bytes());
    });
    comes_back(&scene, "in chunks of one byte", "raw", |request, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for byte in format!("in front {} behind", token(request)).bytes() {
            if stream.write_all(&[b"1\r\n", &[byte][..], b"\r\n"].concat()).is_err() {
                return;
            }
            let _ = stream.flush();
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let alarms = scene.broker.admin(&["alarm", "list", "--json"]).ok().stdout;
    assert!(
        alarms.contains("secret-exposed") && alarms.contains("[\"token\",\"an answer from http://127.0.0.1:"),
        "{alarms}"
    );
    let listed = scene.broker.admin(&["secret", "list"]).ok().stdout;
    assert!(listed.contains("EXPOSED"), "{listed}");
}

#[tokio::test]
async fn g05_whoever_does_not_listen_keeps_no_lease_open_that_leaks() {
    let scene = Scene::new();
    let (come, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (told, wait) = (Arc::clone(&come), Arc::clone(&stopped));
    let server = Server::start(move |_, stream| {
        told.store(true, Ordering::SeqCst);
        wait_until(|| wait.load(Ordering::SeqCst));
        reply(stream, 200, &[], TOKEN.as_bytes());
    });
    let authority = server.origin().replace("http://", "");
    let mut command = scene.command(&http(&[&server]), &[], &["flood", &authority]);
    let client = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| come.load(Ordering::SeqCst));
    // Its client reads nothing any more, and nobody reads what it has written: the step waits for it.
    let signal = |name: &str| run(Command::new("kill").args([name, &client.id().to_string()])).ok();
    signal("-STOP");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(scene.runner.workers().len(), 1);
    stopped.store(true, Ordering::SeqCst);
    wait_until(|| scene.runner.workers().is_empty());
    let exposed = || scene.broker.admin(&["secret", "list"]).ok().stdout.contains("EXPOSED");
    wait_until(exposed);
    signal("-CONT");
    let output = client.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("AR-S603"));
}

#[test]
fn g05_what_could_hide_a_secret_is_not_passed_on() {
    let scene = Scene::new();
    // Compressed, or said to be: what is in it can't be seen, whatever was asked for.
    let server = Server::start(|request, stream| {
        assert_eq!(request.header("accept-encoding"), "identity");
        reply(stream, 200, &[("content-encoding", "gzip")], token(request).as_bytes());
    });
    scene.send_token_to(&server, &[]);
    let arguments = ["with", "GET", &server.origin(), "header:authorization", "Bearer "];
    let out = run(&mut scene.command(&http(&[&server]), &[], &arguments));
    assert!(out.stderr.contains("its answer is encoded (`content-encoding: gzip`)"), "{}", out.stderr);
    assert!(!out.stderr.contains(TOKEN), "{}", out.stderr);
    // A part of an answer, in which a part of a secret would not be recognized.
    let here = format!("127.0.0.1:{}", server.port());
    for field in ["range", "if-range"] {
        let arguments = ["raw", "GET", "http", &here, "/", field, "bytes=0-3"];
        let out = run(&mut scene.command(&http(&[&server]), &[], &arguments));
        assert!(out.stderr.contains(&format!("header `{field}` asks for a part of an answer")), "{}", out.stderr);
    }
    // Where no secret goes, a part is just a part.
    let plain = Server::plain();
    let here = format!("127.0.0.1:{}", plain.port());
    run(&mut scene.command(&http(&[&plain]), &[], &["raw", "GET", "http", &here, "/", "range", "bytes=0-3"])).ok();
}

/// A server that holds a guess against the token and says how much of it is right. The mask is no such oracle: what comes
/// back is either no secret, and passes, or one, and ends the step.
#[test]
fn g05_no_mask_tells_which_guess_is_right() {
    let scene = Scene::new();
    let server = Server::start(|request, stream| {
        let guess = String::from_utf8_lossy(&request.body).into_owned();
        let body = format!("{guess}{}", &token(request)[1..]);
        reply(stream, 200, &[], body.as_bytes());
    });
    scene.send_token_to(&server, &[]);
    let out = scene.run(&[&server], &["guess", &server.origin()]).refused(126, "AR-S603");
    // The guesses before the right one came back as they are, with most of the token: the server has it, and shows it. At
    // the right one everything ends, and the secret is exposed: nobody can go on guessing.
    let answered = server.received().len();
    assert_eq!(answered, usize::from(TOKEN.as_bytes()[0] - b'a') + 1, "{}", out.stderr);
    assert!(!out.stderr.contains(TOKEN), "{}", out.stderr);
}
