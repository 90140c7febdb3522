//! Row G04: a secret goes to its own destinations, and nowhere else.

use crate::harness::*;
use crate::servers::Raw;
use attest_evidence::exchange::{Method, PathPrefix};
use attest_wire::egress::Start;
use hyper::Request;

#[tokio::test]
async fn g04_each_condition_of_a_destination_holds_and_is_named() {
    let (server, other) = (Raw::saying("done"), Raw::saying("done"));
    let mut npm = secret("npm", VALUE, &[server.origin.as_str()], &["header:authorization"]);
    npm.destinations[0].path = "/upload".parse::<PathPrefix>().unwrap();
    npm.destinations[0].methods = vec![Method::Put, Method::Post];
    let start =
        Start { origins: vec![private(&server.origin), private(&other.origin)], secrets: vec![npm], ..nothing() };
    let mut egress = Egress::start(start).await;
    let put = |target: &str| Request::put(target).body(empty()).unwrap();
    let here = format!("{}/upload/x", server.origin);
    let in_header = asked("npm", "header:authorization", "");
    let all = format!("{}/upload PUT,POST in header:authorization", server.origin);
    for (request, secret, why) in [
        (put(&format!("{}/upload/x", other.origin)), &in_header, format!("may not go to `{}`", other.origin)),
        (put(&format!("{}/uploads", server.origin)), &in_header, "may not go to path `/uploads`".to_owned()),
        (put(&format!("{}/upload/%2e%2e/x", server.origin)), &in_header, "may not go to path".to_owned()),
        (put(&format!("{}/upload//x", server.origin)), &in_header, "may not go to path".to_owned()),
        (get(&here), &in_header, "may not go there with GET".to_owned()),
        (put(&here), &asked("npm", "header:x-other", ""), "may not stand in `header:x-other`".to_owned()),
        (put(&here), &asked("npm", "basic", ""), "may not stand in `basic`".to_owned()),
        (put(&here), &asked("npm", "query:authorization", ""), "may not stand in `query:".to_owned()),
    ] {
        let refused = egress.refuse(with(request, secret)).await;
        assert!(refused.contains(&why) && refused.contains(&all), "{refused}");
    }
    let refused = egress.refuse(with(put(&here), &asked("release/other", "basic", ""))).await;
    assert!(refused.contains("`release/other` is not granted"), "{refused}");
    assert_eq!((server.count(), other.count()), (0, 0));
    egress.ask(with(put(&here), &in_header)).await;
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn g04_conditions_of_two_destinations_do_not_add_up() {
    let server = Raw::saying("done");
    let both = [format!("{}/a", server.origin), format!("{}/b", server.origin)];
    let mut npm = secret("npm", VALUE, &both.each_ref().map(String::as_str), &["header:x-a"]);
    npm.destinations[1].places = vec!["header:x-b".parse().unwrap()];
    let mut egress = Egress::start(Start { secrets: vec![npm], ..one_secret(&server.origin, &[]) }).await;
    for (target, place) in [(&both[0], "header:x-b"), (&both[1], "header:x-a")] {
        let why = egress.refuse(with(get(target), &asked("npm", place, ""))).await;
        assert!(why.contains(&format!("may not stand in `{place}`")), "{why}");
    }
    egress.ask(with(get(&both[1]), &asked("npm", "header:x-b", ""))).await;
}

#[tokio::test]
async fn g04_a_secret_goes_into_a_private_network_only_where_it_may_itself() {
    let server = Raw::saying("done");
    let mut start = one_secret(&server.origin, &["header:x-token"]);
    start.secrets[0].destinations[0].private = false;
    let mut egress = Egress::start(start).await;
    egress.ask(get(&server.origin)).await;
    let refused = egress.refuse(with(get(&server.origin), &asked("npm", "header:x-token", ""))).await;
    assert!(refused.contains("may not go to 127.0.0.1, an address of this machine"), "{refused}");
    assert_eq!(server.count(), 1);
}
