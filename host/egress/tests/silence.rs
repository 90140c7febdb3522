//! Servers that say nothing, and names that change: with the library, so that nobody waits two minutes.

use crate::harness::*;
use crate::servers::{Raw, no_tls, ok};
use attest_egress::{Granted, Hosts, Lease, Resolve, Resolving, Timeouts, client};
use attest_wire::egress::Start;
use hyper::Request;
use hyper::body::Bytes;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A name server that first gives one address, then the other.
struct Changing {
    asked: Arc<AtomicUsize>,
    addresses: [IpAddr; 2],
}

impl Resolve for Changing {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        let address = self.addresses[self.asked.fetch_add(1, Ordering::Relaxed).min(1)];
        Box::pin(async move { Ok(vec![address]) })
    }
}

async fn within(start: Start, answer: Duration, addresses: [IpAddr; 2]) -> (Egress, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let lease = Lease {
        granted: Granted::new(start.origins, start.secrets).unwrap(),
        hosts: Hosts::new(Box::new(Changing { asked: Arc::clone(&asked), addresses })),
        tls: client(&start.roots).unwrap(),
        timeouts: Timeouts { connect: Duration::from_millis(500), answer },
    };
    (Egress::within(lease).await, asked)
}

const HERE: [IpAddr; 2] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST); 2];

#[tokio::test]
async fn a_server_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", silent.local_addr().unwrap());
    let start = Start { origins: vec![private(&origin)], ..nothing() };
    let (mut egress, _) = within(start, Duration::from_millis(300), HERE).await;
    let began = Instant::now();
    let (failure, sent) = egress.fail(get(&origin)).await;
    assert_eq!((failure.as_str(), sent.status), ("timed-out", None));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_and_nothing_else() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let start = Start { origins: vec![private(&origin)], ..nothing() };
    let (mut egress, _) = within(start, Duration::from_secs(60), HERE).await;
    let (failure, sent) = egress.fail(get(&origin)).await;
    assert_eq!(failure, "timed-out", "{sent:?}");
}

#[tokio::test]
async fn a_step_that_takes_its_time_is_not_a_server_that_does() {
    let server = Raw::new(|_| vec![ok("done").into_bytes()]);
    let start = Start { origins: vec![private(&server.origin)], ..nothing() };
    let (mut egress, _) = within(start, Duration::from_millis(200), HERE).await;
    let (send, mut wait) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            send.send(Bytes::from_static(b"slow ")).await.unwrap();
        }
    });
    let body = receiving(move |context| wait.poll_recv(context));
    let (_, text, sent) = egress.ask(Request::post(&server.origin).body(body).unwrap()).await;
    assert_eq!((text.as_str(), sent.sent), ("done", 20));
}

#[tokio::test]
async fn g03_a_name_that_leads_elsewhere_later_leads_where_it_did() {
    // TLS fails, but with whom one talks can be seen from how: nobody listens at the second address.
    let origin = format!("https://rebinding.example:{}", no_tls());
    let elsewhere = [HERE[0], IpAddr::from([127, 0, 0, 99])];
    let start = Start { origins: vec![private(&origin)], ..nothing() };
    let (mut egress, asked) = within(start, Duration::from_secs(5), elsewhere).await;
    for _ in 0..3 {
        let (failure, sent) = egress.fail(get(&origin)).await;
        assert_eq!(failure, "tls", "{sent:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
