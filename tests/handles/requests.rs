//! Requests: where they go, what they carry, and where they don't go. G03 and G04.

use super::{Scene, TOKEN, http};
use crate::support::{Server, reply, run, wait_until};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn requests_are_sent_and_answers_come_back() {
    let scene = Scene::new();
    let server = Server::start(|request, stream| {
        let body = format!("{} bytes", request.body.len());
        reply(stream, 201, &[("x-from-server", "yes")], body.as_bytes());
    });
    let out = scene.run(&[&server], &["send", "POST", &format!("{}/a/b?c=d", server.origin()), "hello"]).ok();
    for wanted in ["status 201", "header x-from-server: yes", "body 5 bytes"] {
        assert!(out.stderr.contains(wanted), "{}", out.stderr);
    }
    let received = server.received();
    assert_eq!(received.len(), 1);
    assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("POST", "/a/b?c=d"));
    assert_eq!(received[0].header("host"), format!("127.0.0.1:{}", server.port()));
    assert_eq!(received[0].body, b"hello");

    // A file, streamed, with the token that the step does not see.
    scene.send_token_to(&server, &["--method", "PUT"]);
    scene.runner.write("inner/release.bin", &"0123456789abcdef".repeat(200_000));
    let out = scene.run(&[&server], &["upload", &format!("{}/release.bin", server.origin()), "release.bin"]).ok();
    assert!(out.stderr.contains("body 3200000 bytes"), "{}", out.stderr);
    let upload = server.received().pop().unwrap();
    assert_eq!(upload.header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(upload.header("content-length"), "3200000");
    assert!(!out.stderr.contains(TOKEN) && !out.stdout.contains(TOKEN));
}

#[test]
fn a_secret_stands_in_the_place_that_was_granted() {
    let scene = Scene::new();
    let server = Server::start(|_, stream| reply(stream, 200, &[], b"taken"));
    let all = ["--in", "header:x-key", "--in", "basic", "--in", "query:key", "--in", "form:key", "--in", "json:key"];
    scene.send_token_to(&server, &all);
    let url = format!("{}/x?a=b", server.origin());
    let with = |place: &str, with: &str, body: &[&str]| {
        let arguments = [&["with", "POST", &url, place, with], body].concat();
        scene.run(&[&server], &arguments).ok();
        server.received().pop().unwrap()
    };
    assert_eq!(with("header:x-key", "key=", &[]).header("x-key"), format!("key={TOKEN}"));
    let basic = data_encoding::BASE64.encode(format!("me:{TOKEN}").as_bytes());
    assert_eq!(with("basic", "me", &[]).header("authorization"), format!("Basic {basic}"));
    assert_eq!(with("query:key", "", &[]).target, format!("/x?a=b&key={TOKEN}"));
    let form = with("form:key", "", &["c=d&e=f"]);
    assert_eq!(String::from_utf8(form.body.clone()).unwrap(), format!("key={TOKEN}&c=d&e=f"));
    assert_eq!(form.header("content-length"), form.body.len().to_string());
    let json = with("json:key", "", &[r#"{"a": [1, 2]}"#]);
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(value, serde_json::json!({ "a": [1, 2], "key": TOKEN }));
}

/// What the job's log says of a request that was not sent.
#[track_caller]
fn refused(scene: &Scene, more: &str, arguments: &[&str], why: &str) {
    let out = run(&mut scene.command(more, &[], arguments));
    assert_eq!(out.status, 1, "{arguments:?}: {}", out.stderr);
    assert!(out.stderr.contains("step failed: refused: ErrorCode::HttpRequestDenied"), "{}", out.stderr);
    assert!(
        out.stderr.contains("refused  ") && out.stderr.contains(why),
        "{arguments:?}: wanted {why:?}: {}",
        out.stderr
    );
}

#[test]
fn g03_requests_go_to_what_is_declared_and_granted_and_to_nobody_else() {
    let scene = Scene::new();
    let (server, other) = (Server::plain(), Server::plain());
    let (here, there) = (format!("127.0.0.1:{}", server.port()), format!("127.0.0.1:{}", other.port()));
    let port = server.port();
    let declared = http(&[&server]);

    // The control: what is declared is reached.
    run(&mut scene.command(&declared, &[], &["raw", "GET", "http", &here, "/"])).ok();
    let before = server.received().len();

    refused(&scene, &declared, &["raw", "GET", "http", &there, "/"], &format!("`http://{there}` is not granted"));
    for (authority, why) in [
        (format!("user:password@{here}"), "names no user"),
        (format!("{here}@{there}"), "names no user"),
        (format!("localhost:{port}"), "is not granted"),
        (format!("[::1]:{port}"), "is not granted"),
        (format!("127.1:{port}"), "four decimal numbers"),
        (format!("2130706433:{port}"), "four decimal numbers"),
        (format!("0x7f000001:{port}"), "four decimal numbers"),
    ] {
        refused(&scene, &declared, &["raw", "GET", "http", &authority, "/"], why);
    }
    refused(&scene, &declared, &["raw", "GET", "https", &here, "/"], "is not granted");
    for method in ["TRACE", "CONNECT", "PROPFIND"] {
        refused(&scene, &declared, &["raw", method, "http", &here, "/"], &format!("method `{method}` is never sent"));
    }

    // A redirect is the step's to see, and nobody follows it.
    let away = format!("http://{there}/away");
    let redirecting = Server::start(move |_, stream| reply(stream, 302, &[("location", &away)], b""));
    let out = scene.run(&[&redirecting], &["send", "GET", &redirecting.origin()]);
    assert!(out.stderr.contains("status 302"), "{}", out.stderr);

    // What names another host, smuggles a line, or speaks for the connection never leaves the step.
    for (name, value) in [
        ("host", there.as_str()),
        ("x-a", "b\\r\\nx-injected: c"),
        ("connection", "upgrade"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "Basic abc"),
        ("attest-secret", "{}"),
    ] {
        let out = run(&mut scene.command(&declared, &[], &["raw", "GET", "http", &here, "/", name, value]));
        assert_eq!(out.status, 1, "{name}: {}", out.stderr);
        assert!(out.stderr.contains("refused: header"), "{name}: {}", out.stderr);
    }
    assert_eq!(server.received().len(), before, "none of it arrived");
    assert!(other.received().is_empty());

    // An address of one's own network is reached only where that is named and granted.
    let public = |origin: &str| format!("[http]\nallow = [\"{origin}\"]\nwhy = \"sends\"");
    let as_public = public(&server.origin());
    refused(&scene, &as_public, &["raw", "GET", "http", &here, "/"], "lies at 127.0.0.1");
    refused(&scene, &public("https://10.0.0.1"), &["raw", "GET", "https", "10.0.0.1", "/"], "lies at 10.0.0.1");
    refused(
        &scene,
        &public("https://169.254.169.254"),
        &["raw", "GET", "https", "169.254.169.254", "/latest/meta-data/"],
        "lies at 169.254.169.254",
    );
    refused(&scene, &public("http://localhost:1"), &["raw", "GET", "http", "localhost:1", "/"], "lies at ");

    // What is declared and not granted stops the step before it runs.
    scene.broker.apply_policy(include_str!("../../attestation/broker/policy/development.cedar"));
    let out = run(&mut scene.command(&declared, &[], &["raw", "GET", "http", &here, "/"])).refused(126, "AR-P402");
    assert!(out.stderr.contains(&server.origin()), "{}", out.stderr);
}

#[test]
fn g04_a_secret_goes_to_its_own_destinations_whatever_the_manifest_says() {
    let scene = Scene::new();
    let (server, other) = (Server::plain(), Server::plain());
    let to = format!("{}/api", server.origin());
    let set = ["secret", "destinations", "token", "--stage", "dev", "--to", &to, "--private", "--method", "PUT"];
    scene.broker.admin(&set).ok();
    let declared = http(&[&server, &other]);
    let url = |server: &Server, path: &str| format!("{}{path}", server.origin());
    let bearer = |method, url: &str| {
        let arguments = ["with", method, url, "header:authorization", "Bearer "];
        run(&mut scene.command(&declared, &[], &arguments))
    };
    // The control.
    bearer("PUT", &url(&server, "/api/x")).ok();
    assert_eq!(server.received().pop().unwrap().header("authorization"), format!("Bearer {TOKEN}"));
    for (method, url, why) in [
        ("PUT", url(&other, "/api/x"), format!("may not go to `{}`", other.origin())),
        ("PUT", url(&server, "/other"), "may not go to path `/other` there".to_owned()),
        ("POST", url(&server, "/api/x"), "may not go there with POST".to_owned()),
    ] {
        let out = bearer(method, &url);
        assert_eq!(out.status, 1, "{url}: {}", out.stderr);
        assert!(out.stderr.contains(&format!("secret `token` {why}")), "{url}: {}", out.stderr);
    }
    // Paths that lead elsewhere, as no library would write them.
    let here = format!("127.0.0.1:{}", server.port());
    for path in ["/api/../other", "/api/%2e%2e/other", "/api/x/..%2f../../other", "/api//other", "/apis"] {
        let out = run(&mut scene.command(&declared, &[], &["raw-with", &here, path]));
        assert_eq!(out.status, 1, "{path}: {}", out.stderr);
        assert!(out.stderr.contains("secret `token` may not go to path"), "{path}: {}", out.stderr);
    }
    let arguments = ["with", "PUT", &url(&server, "/api/x"), "query:key", ""];
    let out = run(&mut scene.command(&declared, &[], &arguments));
    assert!(out.stderr.contains("may not stand in `query:key` there"), "{}", out.stderr);

    // A manifest that names another destination changes nothing for the better; one that narrows is obeyed.
    let step = scene.step(&declared);
    let manifest = step.with_file_name("step.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let run_with = |to: String, url: &str| {
        let edited = text.replace("[secrets.token]\n", &format!("[secrets.token]\nto = [\"{to}\"]\n"));
        std::fs::write(&manifest, edited).unwrap();
        let work = format!("work={}", scene.runner.work().join("inner").display());
        let arguments = ["--dir", &work, step.to_str().unwrap(), "--", "with", "PUT", url, "header:authorization", "x"];
        scene.runner.job(&arguments)
    };
    let out = run_with(url(&other, "/api"), &url(&other, "/api/x"));
    assert!(out.stderr.contains("secret `token` may not go to"), "{}", out.stderr);
    let out = run_with(url(&server, "/api/narrow"), &url(&server, "/api/x"));
    assert!(out.stderr.contains("may not go to path `/api/x` there"), "{}", out.stderr);
    run_with(url(&server, "/api/narrow"), &url(&server, "/api/narrow/x")).ok();
    assert!(other.received().is_empty(), "nothing of it arrived elsewhere");
}

#[test]
fn servers_that_misbehave_are_told_apart() {
    use std::io::Write as _;
    let scene = Scene::new();
    let cut = Server::start(|_, stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")));
    let garbage = Server::start(|_, stream| drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")));
    let gone = Server::start(|_, _| {});
    for (server, why) in [
        (&cut, "its answer ended too early"),
        (&garbage, "invalid HTTP version parsed"),
        (&gone, "connection closed before message completed"),
    ] {
        let out = scene.run(&[server], &["send", "GET", &server.origin()]);
        assert_eq!(out.status, 1, "{}", out.stderr);
        assert!(out.stderr.contains(why), "{}", out.stderr);
    }
    // One that answers for ever ends with the step's own bound of time, and the agent stays up.
    let endless = Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let limited = format!("{}\n[limits]\nseconds = 2", http(&[&endless]));
    let out = run(&mut scene.command(&limited, &[], &["download", &endless.origin()]));
    out.refused(124, "AR-W303");
    // So does one that never answers.
    let silent = Server::start(|_, _| std::thread::sleep(std::time::Duration::from_secs(10)));
    let limited = format!("{}\n[limits]\nseconds = 2", http(&[&silent]));
    let out = run(&mut scene.command(&limited, &[], &["send", "GET", &silent.origin()]));
    out.refused(124, "AR-W303");
    scene.run(&[], &["log", "still here"]).ok();
}

#[tokio::test]
async fn a_step_whose_egress_dies_fails() {
    let scene = Scene::new();
    let come = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&come);
    let server = Server::start(move |_, _| {
        told.store(true, Ordering::SeqCst);
        // It never answers.
        std::thread::sleep(Duration::from_secs(20));
    });
    scene.send_token_to(&server, &[]);
    let arguments = ["with", "GET", &server.origin(), "header:authorization", "Bearer "];
    let mut command = scene.command(&http(&[&server]), &[], &arguments);
    let client = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| come.load(Ordering::SeqCst));
    let [egress] = <[u32; 1]>::try_from(scene.runner.egress()).unwrap();
    run(Command::new("kill").args(["-KILL", &egress.to_string()])).ok();
    let output = client.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("AR-W402") && stderr.contains("was killed by signal 9"), "{stderr}");
    assert_eq!(output.status.code(), Some(134), "{stderr}");
    assert_eq!(scene.runner.workers(), [0; 0]);
    assert_eq!(scene.broker.rows("SELECT state FROM leases").await, [["failed"]]);
    // Nobody knows whether the token went out: it is not said to be unused.
    let end = scene.told().await;
    assert_eq!(end["ledger"]["requests_lost"], true, "{end}");
    assert!(!end["unused"].to_string().contains("secrets.token"), "{end}");
    let told = scene.broker.admin(&["lease", "ledger", end["lease"].as_str().unwrap()]).ok().stdout;
    assert!(told.contains("what was being sent when the process died"), "{told}");
}

#[tokio::test]
async fn a_server_that_hangs_up_has_read_the_secret() {
    let scene = Scene::new();
    let server = Server::start(|_, _| {});
    scene.send_token_to(&server, &[]);
    let arguments = ["with", "GET", &server.origin(), "header:authorization", "Bearer "];
    let out = scene.run(&[&server], &arguments);
    assert_eq!(out.status, 1, "{}", out.stderr);
    let end = scene.told().await;
    let token = end["ledger"]["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == "token").unwrap();
    assert_eq!(token["used"], 1);
    assert_eq!(end["ledger"]["requests"][0]["status"], serde_json::Value::Null);
}
