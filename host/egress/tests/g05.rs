//! Row G05: a secret that is read back does not come back.

use crate::harness::*;
use crate::servers::{Raw, Tls, ok};
use attest_wire::egress::{FAILURE, FromEgress, Start};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use http_body_util::BodyExt as _;
use std::time::{Duration, Instant};

/// Asks `server`, with the secret in a header; the answer must never arrive.
async fn leaks(server: &Raw, encoding: &str) {
    let mut egress = Egress::start(one_secret(&server.origin, &["header:x-token"])).await;
    cut(&mut egress, &server.origin, encoding).await;
}

async fn cut(egress: &mut Egress, origin: &str, encoding: &str) {
    let request = with(get(&format!("{origin}/x")), &asked("npm", "header:x-token", ""));
    if let Ok(answer) = egress.send(request).await {
        let whole = answer.headers().get(FAILURE).is_none() && answer.into_body().collect().await.is_ok();
        assert!(!whole, "the answer arrived");
    }
    let sent = egress.sent().await;
    assert!(sent.refused.unwrap().contains("secret `npm` came back"));
    let Some(FromEgress::Leaked { secret, encoding: found, from }) = egress.next().await else { panic!("no leak") };
    assert_eq!((secret.as_str(), found.as_str(), from.as_str()), ("npm", encoding, origin));
    assert_eq!(egress.next().await, None);
    assert!(egress.ended().await.success());
    nothing_of_it(&egress.got());
}

/// Not a piece of the value is in what the worker got, in any of these spellings.
fn nothing_of_it(got: &[u8]) {
    let value = VALUE.as_bytes();
    let forms = [
        VALUE.to_owned(),
        BASE64.encode(value),
        BASE64.encode(&value[1..]),
        BASE64.encode(&value[2..]),
        BASE64URL_NOPAD.encode(value),
        HEXLOWER.encode(value),
        HEXUPPER.encode(value),
    ];
    for form in forms {
        for piece in form.as_bytes().windows(6) {
            assert!(!got.windows(6).any(|here| here == piece), "{}", String::from_utf8_lossy(piece));
        }
    }
}

#[tokio::test]
async fn g05_echoed_in_any_encoding() {
    let value = VALUE.as_bytes();
    for (body, encoding) in [
        (VALUE.to_owned(), "raw"),
        (BASE64.encode(value), "base64"),
        (BASE64.encode(format!("x{VALUE}yz").as_bytes()), "base64"),
        (BASE64.encode(format!("xy{VALUE}").as_bytes()), "base64"),
        (HEXLOWER.encode(value), "hex"),
        (HEXUPPER.encode(value), "hex"),
        (VALUE.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"), "percent"),
        (VALUE.replace('/', "\\/"), "json"),
    ] {
        let body = format!("before {body} after");
        leaks(&Raw::new(move |_| vec![ok(&body).into_bytes()]), encoding).await;
    }
}

#[tokio::test]
async fn g05_echoed_byte_by_byte() {
    let answer = ok(&format!("{}{VALUE}{}", "-".repeat(500), "+".repeat(500)));
    leaks(&Raw::new(move |_| answer.bytes().map(|byte| vec![byte]).collect()), "raw").await;
    let chunks: Vec<Vec<u8>> = std::iter::once(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec())
        .chain(VALUE.bytes().map(|byte| vec![b'1', b'\r', b'\n', byte, b'\r', b'\n']))
        .chain([b"0\r\n\r\n".to_vec()])
        .collect();
    leaks(&Raw::new(move |_| chunks.clone()), "raw").await;
}

#[tokio::test]
async fn g05_echoed_at_the_end_of_much_else() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 3_000_000 + VALUE.len());
    let much = vec![b'm'; 3_000_000];
    leaks(&Raw::new(move |_| vec![head.clone().into_bytes(), much.clone(), VALUE.as_bytes().to_vec()]), "raw").await;
}

#[tokio::test]
async fn g05_echoed_in_a_head() {
    for head in ["location: https://a.example/?t=VALUE", "x-echo: VALUE", "set-cookie: a=VALUE; path=/"] {
        let answer = format!("HTTP/1.1 302 Found\r\n{}\r\ncontent-length: 0\r\n\r\n", head.replace("VALUE", VALUE));
        leaks(&Raw::new(move |_| vec![answer.clone().into_bytes()]), "raw").await;
    }
    let name = HEXLOWER.encode(VALUE.as_bytes());
    let answer = format!("HTTP/1.1 200 OK\r\n{name}: x\r\ncontent-length: 0\r\n\r\n");
    leaks(&Raw::new(move |_| vec![answer.clone().into_bytes()]), "hex").await;
}

#[tokio::test]
async fn g05_echoed_in_trailers() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-echo\r\n\r\n2\r\nok\r\n0\r\nx-echo: {VALUE}\r\n\r\n"
    );
    leaks(&Raw::new(move |_| vec![answer.clone().into_bytes()]), "raw").await;
}

#[tokio::test]
async fn g05_echoed_over_tls_with_either_protocol() {
    for protocol in ["h2", "http/1.1"] {
        let server = Tls::echo(protocol).await;
        let start = Start { roots: server.root.clone(), ..one_secret(&server.origin, &["header:x-token"]) };
        let mut egress = Egress::start(start).await;
        cut(&mut egress, &server.origin, "raw").await;
    }
}

#[tokio::test]
async fn g05_an_answer_to_a_request_without_it_is_searched_too() {
    let server = Raw::new(|_| vec![ok(VALUE).into_bytes()]);
    let other = Raw::saying("");
    let start = Start { origins: vec![private(&server.origin)], ..one_secret(&other.origin, &["header:x-token"]) };
    let mut egress = Egress::start(start).await;
    if let Ok(answer) = egress.send(get(&server.origin)).await {
        assert!(answer.into_body().collect().await.is_err());
    }
    assert!(egress.sent().await.refused.unwrap().contains("came back"));
    assert!(matches!(egress.next().await, Some(FromEgress::Leaked { from, .. }) if from == server.origin));
    nothing_of_it(&egress.got());
}

#[tokio::test]
async fn g05_what_is_encoded_is_not_passed_on() {
    for line in ["content-encoding: gzip", "content-encoding: br", "content-encoding: identity, deflate"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 5\r\n\r\n12345");
        let server = Raw::new(move |_| vec![answer.clone().into_bytes()]);
        let mut egress = Egress::start(one_secret(&server.origin, &["header:x-token"])).await;
        let mut request = with(get(&server.origin), &asked("npm", "header:x-token", ""));
        request.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
        let (failure, sent) = egress.fail(request).await;
        assert_eq!((failure.as_str(), sent.status, sent.received), ("denied", Some(200), 0));
        assert!(sent.refused.unwrap().contains(line));
        assert!(server.last().contains("accept-encoding: identity\r\n") && !server.last().contains("gzip"));
    }
}

#[tokio::test]
async fn g05_no_part_is_asked_for_where_a_secret_may_go() {
    let (server, other) = (Raw::saying("done"), Raw::saying("done"));
    let mut start = one_secret(&server.origin, &["header:x-token"]);
    start.origins.push(private(&other.origin));
    let mut egress = Egress::start(start).await;
    let part = |origin: &str, field: &'static str| {
        let mut request = get(origin);
        request.headers_mut().insert(field, "bytes=0-3".parse().unwrap());
        request
    };
    for field in ["range", "if-range", "request-range", "x-ms-range"] {
        let refused = egress.refuse(part(&server.origin, field)).await;
        assert!(refused.contains(&format!("header `{field}`")), "{refused}");
    }
    assert_eq!(server.count(), 0);
    egress.ask(part(&other.origin, "range")).await;
}

#[tokio::test]
async fn g05_a_part_that_nobody_asked_for_is_not_passed_on() {
    for head in [
        "206 Partial Content\r\ncontent-range: bytes 0-3/40",
        "206 Partial Content",
        "226 IM Used",
        "200 OK\r\nContent-Range: bytes 0-3/40",
        "200 OK\r\ncontent-type: Multipart/Byteranges; boundary=x",
        "200 OK\r\ncontent-type: text/plain\r\ncontent-type: multipart/byteranges; boundary=x",
    ] {
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 4\r\n\r\n{}", &VALUE[..4]);
        let server = Raw::new(move |_| vec![answer.clone().into_bytes()]);
        let mut egress = Egress::start(one_secret(&server.origin, &["header:x-token"])).await;
        let (failure, sent) = egress.fail(get(&server.origin)).await;
        assert_eq!((failure.as_str(), sent.received), ("denied", 0), "{head}");
        let why = sent.refused.unwrap();
        assert!(why.contains("a part of something") && why.contains(&server.origin), "{head}: {why}");
    }
}

#[tokio::test]
async fn g05_characters_of_which_the_bytes_are_others_are_not_passed_on() {
    for (kind, charset) in [
        ("text/plain; charset=utf-32", "utf-32"),
        ("text/plain; a=b; CHARSET=\"UTF-7\"", "utf-7"),
        ("text/html; charset=utf-8; charset=ibm037", "ibm037"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 4\r\n\r\nabcd");
        let server = Raw::new(move |_| vec![answer.clone().into_bytes()]);
        let mut egress = Egress::start(one_secret(&server.origin, &["header:x-token"])).await;
        let (failure, sent) = egress.fail(get(&server.origin)).await;
        assert_eq!((failure.as_str(), sent.received), ("denied", 0), "{kind}");
        let why = sent.refused.unwrap();
        assert!(why.contains(&format!("charset: {charset}")), "{kind}: {why}");
    }
    for charset in ["\"Utf-16LE\"", "utf-8", "ISO-8859-1", "windows-1252"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset={charset}\r\ncontent-length: 4\r\n\r\na\0b\0"
        );
        let server = Raw::new(move |_| vec![answer.clone().into_bytes()]);
        let mut egress = Egress::start(one_secret(&server.origin, &["header:x-token"])).await;
        let (_, body, _) = egress.ask(get(&server.origin)).await;
        assert_eq!(body, "a\0b\0");
        // In some of these a secret has other bytes than in UTF-8, if it is not of ASCII.
        let mut start = one_secret(&server.origin, &["header:x-token"]);
        start.secrets.push(secret("other", "schlüsselchen", &[server.origin.as_str()], &["header:x-token"]));
        let mut egress = Egress::start(start).await;
        if charset.to_ascii_lowercase().contains("utf") {
            egress.ask(get(&server.origin)).await;
        } else {
            let (_, sent) = egress.fail(get(&server.origin)).await;
            assert!(sent.refused.unwrap().contains(&format!("charset: {}", charset.to_ascii_lowercase())));
        }
    }
}

#[tokio::test]
async fn g05_a_guess_comes_out_when_any_other_text_does() {
    // The beginning of the secret, and a text that is none: each waits for what follows.
    for text in [&VALUE[..20], "another text of twenty"] {
        let begun = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n", text.len());
        let pause = std::iter::repeat_n(Vec::new(), 2000);
        let pieces: Vec<Vec<u8>> =
            std::iter::once(begun.into_bytes()).chain(pause).chain([b"0\r\n\r\n".to_vec()]).collect();
        let server = Raw::new(move |_| pieces.clone());
        let mut egress = Egress::start(one_secret(&server.origin, &["header:x-token"])).await;
        let mut answer = egress.send(get(&server.origin)).await.unwrap();
        let began = Instant::now();
        let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, text.as_bytes());
        assert!(began.elapsed() > Duration::from_millis(200), "{text}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn g05_nothing_is_sent_after_it() {
    // It would write for three seconds and more.
    let slow = Raw::new(|_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n".to_vec();
        std::iter::once(head).chain(std::iter::repeat_n(vec![b'x'; 1000], 200_000)).take(15_000).collect()
    });
    let server = Raw::new(|_| vec![ok(VALUE).into_bytes()]);
    let mut start = one_secret(&server.origin, &["header:x-token"]);
    start.origins.push(private(&slow.origin));
    let mut egress = Egress::start(start).await;
    let mut other = egress.worker();
    let waiting = other.send_request(get(&slow.origin)).await.unwrap();
    let began = Instant::now();
    let _ = egress.send(get(&server.origin)).await;
    assert!(waiting.into_body().collect().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mut told = [egress.sent().await, egress.sent().await];
    told.sort_by_key(|sent| sent.to != server.origin);
    assert!(told[0].refused.as_ref().unwrap().contains("came back"));
    assert!(told[1].cut && told[1].received < 1_000_000, "{:?}", told[1]);
    assert!(matches!(egress.next().await, Some(FromEgress::Leaked { .. })));
    assert!(other.send_request(get(&slow.origin)).await.is_err());
}
