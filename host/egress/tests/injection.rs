//! A secret in each place that there is.

use crate::harness::*;
use crate::servers::{Raw, Tls};
use attest_evidence::exchange::Place;
use attest_wire::egress::Start;
use data_encoding::BASE64;
use hyper::Request;

const FORM: &str = "application/x-www-form-urlencoded";
const ENCODED: &str = "s3cr3t%2Fv4lue%2B0123456789%3Dabcdef";

/// Sends `request` with the secret in `place`, and gives what came to the server.
async fn sent(request: impl Fn(&str) -> Request<Sending>, place: &str, front: &str) -> String {
    let server = Raw::saying("done");
    let mut egress = Egress::start(one_secret(&server.origin, &[place])).await;
    let request = with(request(&format!("{}/path", server.origin)), &asked("npm", place, front));
    let (_, _, sent) = egress.ask(request).await;
    assert_eq!(sent.secrets, [("npm".parse().unwrap(), place.parse::<Place>().unwrap())]);
    server.last()
}

/// Sends `request` with the secret in `place`, and gives why it was refused.
async fn refused(request: impl Fn(&str) -> Request<Sending>, place: &str, front: &str) -> String {
    let server = Raw::saying("done");
    let mut egress = Egress::start(one_secret(&server.origin, &[place])).await;
    let request = with(request(&format!("{}/path", server.origin)), &asked("npm", place, front));
    let why = egress.refuse(request).await;
    assert_eq!(server.count(), 0);
    assert!(why.contains("npm") && why.contains(place) && !why.contains(VALUE), "{why}");
    why
}

#[tokio::test]
async fn in_a_header_behind_a_prefix() {
    let came = sent(get, "header:authorization", "Bearer ").await;
    assert!(came.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{came}");
    assert!(!came.contains("attest-"));
    let came = sent(get, "header:x-token", "").await;
    assert!(came.contains(&format!("x-token: {VALUE}\r\n")), "{came}");
}

#[tokio::test]
async fn never_beside_a_header_of_the_step() {
    let request = |target: &str| {
        let mut request = get(target);
        request.headers_mut().insert("authorization", "mine".parse().unwrap());
        request
    };
    for place in ["header:authorization", "basic"] {
        assert!(refused(request, place, "x").await.contains("has such a header"));
    }
}

#[tokio::test]
async fn as_a_password() {
    let came = sent(get, "basic", "robot").await;
    let wanted = format!("authorization: Basic {}\r\n", BASE64.encode(format!("robot:{VALUE}").as_bytes()));
    assert!(came.contains(&wanted), "{came}");
    assert!(refused(get, "basic", "a:b").await.contains("colon"));
}

#[tokio::test]
async fn in_the_query() {
    let came = sent(get, "query:token", "").await;
    assert!(came.starts_with(&format!("GET /path?token={ENCODED} HTTP/1.1\r\n")), "{came}");
    let came = sent(|target| get(&format!("{target}?a=b")), "query:token", "").await;
    assert!(came.starts_with(&format!("GET /path?a=b&token={ENCODED} HTTP/1.1\r\n")), "{came}");
    for query in ["token=x", "a=b&t%6fken=", "token"] {
        assert!(
            refused(|target| get(&format!("{target}?{query}")), "query:token", "").await.contains("such a parameter")
        );
    }
}

#[tokio::test]
async fn in_a_form_in_front_of_the_others() {
    let came = sent(|target| post(target, FORM, "a=b&c=d"), "form:token", "").await;
    assert!(came.ends_with(&format!("\r\n\r\ntoken={ENCODED}&a=b&c=d")), "{came}");
    assert!(came.contains(&format!("content-length: {}\r\n", ENCODED.len() + 14)), "{came}");
    let came = sent(|target| post(target, &format!("{FORM}; charset=utf-8"), ""), "form:token", "").await;
    assert!(came.ends_with(&format!("\r\n\r\ntoken={ENCODED}")), "{came}");
    let streamed = |target: &str| {
        let body = pieces([&b""[..], b"a=", b"b"].map(<[u8]>::to_vec).into_iter());
        Request::post(target).header("content-type", FORM).body(body).unwrap()
    };
    let came = sent(streamed, "form:token", "").await.replace("\r\n", " ");
    assert!(came.contains("transfer-encoding: chunked"), "{came}");
    let body: String = came.split(' ').filter(|part| part.contains('=') || *part == "&" || *part == "b").collect();
    assert_eq!(body, format!("token={ENCODED}&a=b"));
    assert!(refused(|target| post(target, "text/plain", "a=b"), "form:token", "").await.contains("no form"));
    assert!(refused(get, "form:token", "").await.contains("no form"));
}

#[tokio::test]
async fn in_a_json_object_that_stays_as_it_was() {
    let json = |body: &'static str| move |target: &str| post(target, "application/json", body);
    let came = sent(json("{ \"a\": 1e400, \"b\":{} }\n"), "json:token", "").await;
    assert!(came.ends_with(&format!("\r\n\r\n{{\"token\":\"{VALUE}\", \"a\": 1e400, \"b\":{{}} }}\n")), "{came}");
    let came = sent(json(" {} "), "json:token", "").await;
    assert!(came.ends_with(&format!("\r\n\r\n {{\"token\":\"{VALUE}\"}} ")), "{came}");
    for (body, why) in [
        ("[]", "no JSON object"),
        ("", "no JSON object"),
        ("{} {}", "no JSON object"),
        ("\"{}\"", "no JSON object"),
        ("{\"token\":1}", "such a member"),
        ("{\"to\\u006ben\":1}", "such a member"),
    ] {
        assert!(refused(json(body), "json:token", "").await.contains(why), "{body}");
    }
    let long = |target: &str| post(target, "application/json", &format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)));
    assert!(refused(long, "json:token", "").await.contains("more than 1 MiB"));
}

#[tokio::test]
async fn several_at_once_but_no_more_than_eight() {
    let server = Raw::saying("done");
    let places = ["header:x-a", "query:b", "form:c", "form:d"];
    let start = || {
        let more = secret("other", "0ther-value-of-another-secret", &[server.origin.as_str()], &places);
        let mut start = one_secret(&server.origin, &places);
        start.secrets.push(more);
        start
    };
    let mut egress = Egress::start(start()).await;
    let mut request = post(&server.origin, FORM, "e=f");
    for (name, place) in [("npm", "header:x-a"), ("other", "query:b"), ("npm", "form:c"), ("other", "form:d")] {
        request = with(request, &asked(name, place, ""));
    }
    let (_, _, sent) = egress.ask(request).await;
    assert_eq!(sent.secrets.len(), 4);
    let came = server.last();
    assert!(came.starts_with("POST /?b=0ther-value-of-another-secret HTTP/1.1"), "{came}");
    assert!(came.ends_with(&format!("c={ENCODED}&d=0ther-value-of-another-secret&e=f")), "{came}");

    let twice = with(with(get(&server.origin), &asked("npm", "header:x-a", "")), &asked("other", "header:x-a", ""));
    assert!(egress.refuse(twice).await.contains("has such a header"));
    let many = (0..9).fold(get(&server.origin), |request, _| with(request, &asked("npm", "header:x-a", "")));
    assert!(egress.refuse(many).await.contains("at most 8"));
    let nonsense = with(get(&server.origin), "{\"name\":\"npm\",\"place\":\"header:Host\",\"with\":\"\"}");
    assert!(egress.refuse(nonsense).await.contains("a way that is none"));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_body_is_a_form_or_json() {
    let server = Raw::saying("done");
    let mut egress = Egress::start(one_secret(&server.origin, &["form:a", "json:b"])).await;
    let both = with(post(&server.origin, FORM, "{}"), &asked("npm", "form:a", ""));
    let why = egress.refuse(with(both, &asked("npm", "json:b", ""))).await;
    assert!(why.contains("not announced as JSON"), "{why}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_body_is_announced_as_what_it_is() {
    fn announced(headers: &[(&str, &str)], target: &str) -> Request<Sending> {
        let request =
            headers.iter().fold(Request::post(target), |request, (name, value)| request.header(*name, *value));
        request.body(full("{\"a\":1}")).unwrap()
    }
    let kind = "content-type";
    let json = [(kind, "application/vnd.a+json; charset=\"UTF-8\"")];
    sent(|target| announced(&json, target), "json:token", "").await;
    for headers in [
        &[][..],
        &[(kind, "text/plain")],
        &[(kind, "application/jsonp")],
        &[(kind, "application/json; charset=utf-7")],
        &[(kind, "application/json"), (kind, "application/json")],
        &[(kind, "application/json"), ("content-encoding", "gzip")],
    ] {
        let why = refused(|target| announced(headers, target), "json:token", "").await;
        assert!(why.contains("not announced as JSON"), "{headers:?}: {why}");
    }
    for headers in
        [&[][..], &[(kind, "multipart/form-data")], &[(kind, "application/x-www-form-urlencoded; charset=utf-32")]]
    {
        let why = refused(|target| announced(headers, target), "form:token", "").await;
        assert!(why.contains("no form"), "{headers:?}: {why}");
    }
}

#[tokio::test]
async fn what_no_header_can_hold_is_not_put_into_one() {
    let server = Raw::saying("done");
    let value = "line one\r\nx-injected: yes";
    let secrets = vec![secret("npm", value, &[server.origin.as_str()], &["header:x-token", "query:token"])];
    let mut egress = Egress::start(Start { secrets, ..one_secret(&server.origin, &[]) }).await;
    let why = egress.refuse(with(get(&server.origin), &asked("npm", "header:x-token", ""))).await;
    assert!(why.contains("no header can"), "{why}");
    let why = egress.refuse(with(get(&server.origin), &asked("npm", "header:x-token", "a\r\nb: "))).await;
    assert!(why.contains("no header can"), "{why}");
    egress.ask(with(get(&server.origin), &asked("npm", "query:token", ""))).await;
    assert!(server.last().starts_with("GET /?token=line%20one%0D%0Ax-injected%3A%20yes HTTP/1.1\r\n"));
}

#[tokio::test]
async fn over_tls_with_either_protocol() {
    for protocol in ["h2", "http/1.1"] {
        let server = Tls::echo(protocol).await;
        let start = Start { roots: server.root.clone(), ..one_secret(&server.origin, &["json:token"]) };
        let mut egress = Egress::start(start).await;
        let request = post(&format!("{}/head", server.origin), "application/json", "{\"a\":1}");
        let (answer, _, sent) = egress.ask(with(request, &asked("npm", "json:token", ""))).await;
        let length = "{\"token\":\"\",\"a\":1}".len() + VALUE.len();
        assert_eq!(header(&answer, "x-got-content-length"), Some(length.to_string()));
        assert_eq!(sent.sent, u64::try_from(length).unwrap());
    }
}
