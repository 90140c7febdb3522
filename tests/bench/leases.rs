//! Ten thousand live leases, and how soon a revocation is effective.

use crate::broker::{cpu_seconds, exchange_by};
use crate::median;
use crate::support::{Broker, Held, Rig, Runner, SoftAk};
use attest_evidence::exchange::{LeaseWatch, seal};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LEASES: usize = 10_000;
/// Leases of one agent: a machine with as many jobs at once.
const OF_ONE_AGENT: usize = 16;
/// Agents behind one address: the broker takes no more than 256 connections from one.
const BEHIND_ONE: usize = 100;
const HEARTBEAT: Duration = Duration::from_secs(10);
const ROUNDS: u32 = 3;

/// The memory of a process that is its own and in use, in MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

type Connection = SendRequest<Full<Bytes>>;

/// A connection to the broker from an address of this machine.
async fn connect(broker: &Broker, tls: &tokio_rustls::TlsConnector, address: usize) -> Connection {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("127.0.0.{}:0", 2 + address).parse().unwrap()).unwrap();
    let stream = socket.connect(format!("127.0.0.1:{}", broker.port()).parse().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream = tls.connect(name, stream).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn post(connection: &mut Connection, path: &str, body: Vec<u8>) -> Bytes {
    let request = hyper::Request::post(path).header("host", "localhost").body(Full::new(body.into())).unwrap();
    let response = connection.send_request(request).await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.into_body().collect().await.unwrap().to_bytes()
}

/// What ten thousand live leases cost a broker.
pub(crate) async fn many() {
    // Making them takes longer than two heartbeats: these are far apart until all are there.
    let broker = Broker::start_with(&["--lease-seconds", "3600", "--heartbeat-seconds", "3600"]);
    let rig = Rig::enrolled(&broker, "rig").await;
    let idle = resident(broker.pid());
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls::pki_types::CertificateDer::from_pem_slice(rig.outcome.tls_root.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));

    let agents = LEASES / OF_ONE_AGENT;
    let mut all = Vec::with_capacity(agents);
    for agent in 0..agents {
        let key = SoftAk::p256();
        key.insert(&broker, &format!("agent-{agent}")).await;
        let mut held = Vec::with_capacity(OF_ONE_AGENT);
        for _ in 0..OF_ONE_AGENT {
            let grant = rig.send(exchange_by(&key, &rig).await).await.unwrap();
            held.push(Held::of(&rig, grant));
        }
        all.push(held);
    }
    let (mut speaking, mut listening) = (Vec::new(), Vec::new());
    for agent in 0..agents {
        speaking.push(connect(&broker, &tls, agent / BEHIND_ONE).await);
        listening.push(connect(&broker, &tls, agent / BEHIND_ONE).await);
    }
    broker
        .execute(sqlx::query("UPDATE heartbeats SET every = 10, last_seen = (SELECT max(last_seen) FROM heartbeats)"))
        .await;
    let alive = broker.rows("SELECT count(*) FROM leases WHERE state = 'active'").await[0][0].clone();
    let (before, began) = (cpu_seconds(broker.pid()), Instant::now());
    let tasks: Vec<_> = all
        .into_iter()
        .zip(speaking)
        .zip(listening)
        .enumerate()
        .map(|(at, ((held, mut speaking), mut listening))| {
            tokio::spawn(async move {
                let ids: Vec<_> = held.iter().map(|held| held.id().clone()).collect();
                let first = &held[0];
                let wish = LeaseWatch { lease: ids[0].clone(), held: ids };
                let wish = first.key.expose(|key| seal(&wish, key));
                let watching = tokio::spawn(async move {
                    loop {
                        assert_eq!(post(&mut listening, "/v1/lease/watch", wish.clone()).await, r#"{"ended":[]}"#);
                    }
                });
                // Spread over the interval, as agents are that began when they did.
                tokio::time::sleep(HEARTBEAT * u32::try_from(at).unwrap() / u32::try_from(agents).unwrap()).await;
                let mut beat = tokio::time::interval(HEARTBEAT);
                for round in 0..ROUNDS {
                    beat.tick().await;
                    let body = held.iter().flat_map(|held| held.heartbeat(u64::from(round) + 1)).collect();
                    assert_eq!(post(&mut speaking, "/v1/lease/heartbeats", body).await, r#"{"ended":[]}"#);
                }
                watching.abort();
                held.len()
            })
        })
        .collect();
    let mut beats = 0;
    for task in tasks {
        beats += task.await.unwrap() * usize::try_from(ROUNDS).unwrap();
    }
    let (cpu, took) = (cpu_seconds(broker.pid()) - before, began.elapsed().as_secs_f64());
    println!();
    println!(
        "{alive} live leases of {agents} agents, a heartbeat of each every {} s, each agent listening",
        HEARTBEAT.as_secs()
    );
    println!("{:44} {:>9.2} %  of one core ({beats} heartbeats in {took:.0} s)", "the broker", cpu / took * 100.0);
    println!("{:44} {:>9.1} MiB  beside {idle:.1} MiB without", "its resident memory", resident(broker.pid()));
}

/// How soon a revoked step is gone, from the admin's command on: what it takes to say so beside it.
pub(crate) async fn revocation() {
    let broker = Broker::start();
    broker.set_secret("dev", "release/npm-token", "a value to release");
    let runner = tokio::task::block_in_place(|| Runner::enrolled(&broker, "bench"));
    runner.as_user(0, &["keys", "create", "release"]).ok();
    let (mut gone, mut said) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut command = runner.hostile_command("seconds = 50", &["loop"]);
        let mut client = command.stderr(Stdio::null()).spawn().unwrap();
        while runner.workers().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        tokio::task::block_in_place(|| broker.admin(&["lease", "revoke", "--all"])).ok();
        said.push(began.elapsed());
        while !runner.workers().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        gone.push(began.elapsed());
        tokio::task::block_in_place(|| client.wait()).unwrap();
    }
    let most = gone.iter().max().unwrap().as_secs_f64() * 1000.0;
    println!();
    crate::row("a revoked step's worker is gone", median(gone), "the admin's command", median(said));
    println!("{:44} {most:>9.3} ms", "the longest of twenty");
}
