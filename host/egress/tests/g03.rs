//! Row G03: requests to whom they may not go, in every spelling.

use crate::harness::*;
use crate::servers::{Raw, ok};
use attest_evidence::exchange::GrantedOrigin;
use attest_wire::egress::Start;
use hyper::{Method, Request};

fn to(origins: &[&str]) -> Start {
    Start { origins: origins.iter().map(|origin| private(origin)).collect(), ..nothing() }
}

#[tokio::test]
async fn g03_what_is_not_granted() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(to(&[&server.origin, "https://granted.example"])).await;
    for target in [
        "https://granted.example:8443/".to_owned(),
        "https://other.example/".to_owned(),
        "https://granted.example.other.example/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "https://[::1]/".to_owned(),
        server.origin.replace("127.0.0.1", "localhost"),
        server.origin.replace("127.0.0.1", "127.0.0.2"),
        server.origin.replace("http", "https"),
    ] {
        let why = egress.refuse(get(&target)).await;
        assert!(why.contains("is not granted") && why.contains(&server.origin), "{why}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn g03_an_authority_that_can_be_read_in_two_ways() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(to(&[&server.origin])).await;
    let authority = server.origin.trim_start_matches("http://");
    let port = authority.rsplit(':').next().unwrap();
    for (target, reason) in [
        (format!("http://user@{authority}/"), "names no user"),
        (format!("http://user:password@{authority}/"), "names no user"),
        (format!("http://granted.example@{authority}/"), "names no user"),
        (format!("http://127.1:{port}/"), "four decimal numbers"),
        (format!("http://2130706433:{port}/"), "four decimal numbers"),
        (format!("http://0x7f.0.0.1:{port}/"), "four decimal numbers"),
        (format!("http://127.0.0.1.:{port}/"), "is no host"),
    ] {
        let why = egress.refuse(get(&target)).await;
        assert!(why.contains(reason), "{target}: {why}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn g03_a_host_that_is_not_the_authority() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(to(&[&server.origin])).await;
    for host in ["other.example", "127.0.0.1", "", "127.0.0.1:80, other.example"] {
        let mut request = get(&server.origin);
        request.headers_mut().insert("host", host.parse().unwrap());
        let why = egress.refuse(request).await;
        assert!(why.contains("header `host` says"), "{why}");
    }
    let mut request = get(&server.origin);
    request.headers_mut().insert("host", server.origin.trim_start_matches("http://").parse().unwrap());
    egress.ask(request).await;
    assert_eq!(server.last().to_ascii_lowercase().matches("host:").count(), 1);
}

#[tokio::test]
async fn g03_private_addresses_without_a_grant_for_them() {
    let server = Raw::saying("done");
    let origins = [
        server.origin.clone(),
        server.origin.replace("127.0.0.1", "localhost"),
        "https://10.1.2.3".to_owned(),
        "https://[::ffff:10.1.2.3]".to_owned(),
        "https://169.254.169.254".to_owned(),
    ];
    let public = |origin: &String| GrantedOrigin { private: false, ..private(origin) };
    let start = Start { origins: origins.iter().map(public).collect(), ..nothing() };
    let mut egress = Egress::start(start).await;
    for origin in &origins {
        let why = egress.refuse(get(origin)).await;
        assert!(why.contains("private = true"), "{why}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn g03_redirects_are_passed_on_and_not_followed() {
    let other = Raw::saying("the other");
    let location = other.origin.clone();
    let server = Raw::new(move |_| {
        vec![format!("HTTP/1.1 307 Elsewhere\r\nlocation: {location}/x\r\ncontent-length: 0\r\n\r\n").into_bytes()]
    });
    let mut egress = Egress::start(to(&[&server.origin, &other.origin])).await;
    let (answer, _, sent) = egress.ask(get(&server.origin)).await;
    assert_eq!((answer.status().as_u16(), sent.status), (307, Some(307)));
    assert_eq!(header(&answer, "location"), Some(format!("{}/x", other.origin)));
    assert_eq!((server.count(), other.count()), (1, 0));
}

#[tokio::test]
async fn g03_methods_that_echo_or_tunnel() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(to(&[&server.origin])).await;
    for method in ["TRACE", "TRACK", "PROPFIND", "get"] {
        let request = Request::builder().method(method).uri(&server.origin).body(empty()).unwrap();
        let why = egress.refuse(request).await;
        assert!(why.contains("is never sent"), "{why}");
    }
    let authority = server.origin.trim_start_matches("http://");
    let connect = Request::builder().method(Method::CONNECT).uri(authority).body(empty()).unwrap();
    let (failure, sent) = egress.fail(connect).await;
    assert_eq!((failure.as_str(), sent.method), ("denied", None));
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn g03_line_breaks_stay_in_no_header() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(to(&[&server.origin])).await;
    let (_, _, sent) = egress.ask(get(&format!("{}/a%0d%0aHost:%20other?b%0d%0ac", server.origin))).await;
    assert_eq!(sent.path, "/a%0d%0aHost:%20other");
    assert!(server.last().starts_with("GET /a%0d%0aHost:%20other?b%0d%0ac HTTP/1.1\r\n"));
}

#[tokio::test]
async fn g03_two_lengths_are_one() {
    let server = Raw::new(|_| vec![ok("done").into_bytes()]);
    let mut egress = Egress::start(to(&[&server.origin])).await;
    let mut request = post(&server.origin, "text/plain", "12345");
    request.headers_mut().append("content-length", "5".parse().unwrap());
    request.headers_mut().append("transfer-encoding", "chunked".parse().unwrap());
    egress.ask(request).await;
    let came = server.last().to_ascii_lowercase();
    assert_eq!((came.matches("content-length").count(), came.matches("transfer-encoding").count()), (1, 0), "{came}");
}
