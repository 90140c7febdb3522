//! Requests go out and answers come back, piece by piece.

use crate::harness::*;
use crate::servers::{Raw, Tls, no_tls, ok};
use attest_evidence::exchange::Method;
use attest_wire::egress::{FromEgress, Start};
use http_body_util::BodyExt as _;
use hyper::Request;
use std::time::Duration;

#[tokio::test]
async fn a_request_goes_out_as_it_is_and_its_answer_comes_back() {
    let server = Raw::new(|_| {
        vec![b"HTTP/1.1 404 Nowhere\r\ncontent-length: 5\r\nx-mine: 1\r\nattest-failure: denied\r\nKeep-Alive: timeout=5\r\n\r\nempty".to_vec()]
    });
    let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
    let mut request = get(&format!("{}/a/b%20c?d=e&f", server.origin));
    request.headers_mut().insert("x-step", "yes".parse().unwrap());
    request.headers_mut().insert("attest-else", "no".parse().unwrap());
    request.headers_mut().insert("proxy-authorization", "no".parse().unwrap());
    let (answer, body, sent) = egress.ask(request).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(body, "empty");
    assert_eq!(header(&answer, "x-mine").as_deref(), Some("1"));
    assert_eq!(header(&answer, "content-length").as_deref(), Some("5"));
    assert_eq!((header(&answer, "attest-failure"), header(&answer, "keep-alive")), (None, None));
    let came = server.last();
    assert!(came.starts_with("GET /a/b%20c?d=e&f HTTP/1.1\r\n"), "{came}");
    assert!(came.contains("x-step: yes\r\n") && !came.contains("attest-") && !came.contains("proxy-"), "{came}");
    assert!(came.contains(&format!("host: {}\r\n", server.origin.trim_start_matches("http://"))), "{came}");
    assert_eq!((sent.method, sent.to, sent.path), (Some(Method::Get), server.origin.clone(), "/a/b%20c".to_owned()));
    assert_eq!((sent.status, sent.sent, sent.received, sent.secrets), (Some(404), 0, 5, vec![]));
    assert!(!sent.cut);
}

#[tokio::test]
async fn bodies_go_both_ways_over_tls_with_either_protocol() {
    for (protocol, version) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let server = Tls::echo(protocol).await;
        let origins = vec![private(&server.origin)];
        let mut egress = Egress::start(Start { origins, roots: server.root.clone(), ..nothing() }).await;
        let body = pieces((0..64_u8).map(|n| vec![n; 50_000]));
        let request = Request::put(format!("{}/upload", server.origin)).body(body).unwrap();
        let answer = egress.send(request).await.unwrap();
        assert_eq!(header(&answer, "x-version").as_deref(), Some(version));
        let came = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(came.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at / 50_000) && came.len() == 3_200_000);
        let sent = egress.sent().await;
        assert_eq!((sent.refused, sent.sent, sent.received), (None, 3_200_000, 3_200_000));

        let request = Request::head(format!("{}/head", server.origin)).body(empty()).unwrap();
        let (answer, body, sent) = egress.ask(request).await;
        assert_eq!((answer.status().as_u16(), body.as_str(), sent.method), (200, "", Some(Method::Head)));
    }
}

#[tokio::test]
async fn what_a_server_sends_before_its_answer_is_left_out() {
    let server = Raw::new(|_| {
        vec![
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".to_vec(),
            ok("done").into_bytes(),
        ]
    });
    let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
    let (answer, body, _) = egress.ask(get(&server.origin)).await;
    assert_eq!((answer.status().as_u16(), body.as_str()), (200, "done"));
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_failure_with_a_name() {
    let long = "x".repeat(70_000);
    for (answer, failure) in [
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "protocol"),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "protocol"),
        (format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\ncontent-length: 0\r\n\r\n"), "protocol"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned(), "protocol"),
    ] {
        let server = Raw::new(move |_| vec![answer.clone().into_bytes()]);
        let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
        let (failed, sent) = egress.fail(get(&server.origin)).await;
        assert_eq!(failed, failure, "{sent:?}");
        assert!(sent.refused.unwrap().contains(&server.origin));
    }
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_cut_off() {
    let server = Raw::new(|_| vec![b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all".to_vec()]);
    let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
    // Where the end comes at once, it may overtake the head.
    if let Ok(answer) = egress.send(get(&server.origin)).await {
        assert!(answer.into_body().collect().await.is_err());
    }
    let sent = egress.sent().await;
    assert!(sent.refused.unwrap().contains("ended too early"));
    assert_eq!((sent.status, sent.received), (Some(200), 7));
}

#[tokio::test]
async fn nobody_there_and_whoever_is_not_who_it_should_be() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = Tls::named("h2", "other.example").await;
    let plain = format!("https://localhost:{}", no_tls());
    let unknown = Tls::echo("h2").await;
    let origins = [&format!("http://{gone}"), &other.origin, &plain, &unknown.origin].map(|origin| private(origin));
    let mut egress = Egress::start(Start { origins: origins.to_vec(), roots: other.root.clone(), ..nothing() }).await;
    for (origin, failure) in
        [(&format!("http://{gone}"), "unreachable"), (&other.origin, "tls"), (&plain, "tls"), (&unknown.origin, "tls")]
    {
        let (failed, sent) = egress.fail(get(origin)).await;
        assert_eq!(failed, failure, "{sent:?}");
    }
}

#[tokio::test]
async fn a_step_that_does_not_wait_is_told_of() {
    let server =
        Raw::new(|_| vec![b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n".to_vec(), vec![b'x'; 10_000_000]]);
    let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
    let mut answer = egress.send(get(&server.origin)).await.unwrap();
    assert!(answer.body_mut().frame().await.unwrap().is_ok());
    drop(answer);
    let sent = egress.sent().await;
    assert_eq!((sent.status, sent.refused, sent.cut), (Some(200), None, true));
    assert!(sent.received < 10_000_000);
}

#[tokio::test]
async fn it_ends_with_the_worker_and_has_told_everything() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
    for _ in 0..5 {
        egress.send(get(&server.origin)).await.unwrap().into_body().collect().await.unwrap();
    }
    egress.hang_up();
    for _ in 0..5 {
        assert!(matches!(egress.next().await, Some(FromEgress::Sent(_))));
    }
    assert_eq!(egress.next().await, None);
    assert!(egress.ended().await.success());
}

#[tokio::test]
async fn a_large_body_is_not_waited_for_where_it_may_not_go() {
    let mut egress = Egress::start(nothing()).await;
    let never = receiving(|_| std::task::Poll::Pending);
    let request = egress.refuse(Request::put("https://a.example/").body(never).unwrap());
    let why = tokio::time::timeout(Duration::from_secs(5), request).await.unwrap();
    assert!(why.contains("https://a.example"), "{why}");
    egress.refuse(get("https://a.example/")).await;
}

#[tokio::test]
async fn a_large_upload_takes_little_memory() {
    const BYTES: usize = 256 << 20;
    for protocol in ["http/1.1", "h2"] {
        let server = Tls::echo(protocol).await;
        let start = Start { roots: server.root.clone(), ..one_secret(&server.origin, &["header:x-token"]) };
        let mut egress = Egress::start(start).await;
        let body = sized(BYTES, hyper::body::Bytes::from(vec![0; 1 << 16]));
        let request = Request::put(format!("{}/sink", server.origin)).header("content-length", BYTES);
        let request = with(request.body(body).unwrap(), &asked("npm", "header:x-token", ""));
        let (_, text, _) = egress.ask(request).await;
        assert_eq!(text, BYTES.to_string(), "{protocol}");
        assert!(egress.peak() < 64 * 1024, "{protocol}: {} KiB", egress.peak());
    }
}

#[tokio::test]
async fn a_path_is_written_in_characters_that_can_be_seen() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(Start { origins: vec![private(&server.origin)], ..nothing() }).await;
    let (failure, sent) = egress.fail(get(&format!("{}/a\u{202e}b", server.origin))).await;
    assert_eq!((failure.as_str(), sent.path.as_str()), ("denied", "/a\\u{202e}b"));
    assert!(sent.refused.unwrap().is_ascii());
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn while_the_agent_does_not_read_requests_wait() {
    let mut egress = Egress::start(nothing()).await;
    egress.agent_reads(false);
    let long = format!("https://a.example/{}", "x".repeat(40_000));
    let mut answered = 0;
    let waiting = loop {
        let mut worker = egress.worker();
        let target = long.clone();
        let mut request = tokio::spawn(async move { worker.send_request(get(&target)).await.map(drop) });
        match tokio::time::timeout(Duration::from_secs(1), &mut request).await {
            Ok(_) => answered += 1,
            Err(_) => break request,
        }
        assert!(answered < 1000, "the queue has no end");
    };
    egress.agent_reads(true);
    waiting.await.unwrap().unwrap();
    for _ in 0..=answered {
        egress.sent().await;
    }
}
