//! Exchanges per second of a broker on a durable SQLite, beside a server that only makes one commit per request.

use crate::support::{Broker, Forged, Rig, SoftAk};
use attest_agent::BrokerClient;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{RawEvidence, qualifying_data, write_bound, write_exchange};
use attest_evidence::tpm::PcrValues;
use axum::extract::State;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use sqlx::SqlitePool;
use std::sync::Arc;
use std::time::Instant;

const EXCHANGES: usize = 4000;
const CLIENTS: usize = 32;

/// User and system time of a process, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// A good exchange of a key in software, whose challenge is asked for over the connection of `rig`.
pub(crate) async fn exchange_by(key: &SoftAk, rig: &Rig) -> Vec<u8> {
    let challenge = rig.client.challenge(&key.name()).await.unwrap();
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let values = PcrValues::new(challenge.selection.indexes().map(|index| (index, [0; 32])));
    let qualifying = qualifying_data(&Sha256Digest::of(&bound));
    let quote = Forged::quote(&qualifying, &challenge.selection.to_tpml(), &values.digest()).bytes();
    let (signature, pcrs) = (key.sign(&quote), values.to_bytes());
    let evidence = RawEvidence { quote: &quote, signature: &signature, pcrs: &pcrs, logs: Vec::new() };
    write_exchange(&bound, &evidence).unwrap()
}

pub(crate) async fn throughput() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "rig").await;
    // A key in software: what is measured is the broker, not a TPM. Exchanges are made beforehand.
    let key = SoftAk::p256();
    key.insert(&broker, "soft").await;
    let mut exchanges = Vec::with_capacity(EXCHANGES);
    for _ in 0..EXCHANGES {
        exchanges.push(exchange_by(&key, &rig).await);
    }
    let root: Arc<str> = rig.outcome.tls_root.clone().into();
    let before = cpu_seconds(broker.pid());
    let began = Instant::now();
    let mut tasks = Vec::new();
    for part in exchanges.chunks(EXCHANGES / CLIENTS) {
        let (part, url, root) = (part.to_vec(), broker.url(), Arc::clone(&root));
        tasks.push(tokio::spawn(async move {
            let client = BrokerClient::new(url.parse().unwrap(), &root).unwrap();
            for exchange in part {
                client.exchange(exchange).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds(broker.pid()) - before;
    let ours = EXCHANGES as f64 / took;
    let theirs = floor().await;
    println!();
    println!(
        "{:44} {ours:>9.0} /s   {:44} {theirs:>9.0} /s   {:>5.2} x",
        format!("exchanges, {CLIENTS} clients, load on the same cores"),
        "axum, plain HTTP, one commit each",
        ours / theirs
    );
    println!("{:44} {:>9.3} ms", "CPU time of the broker per exchange", cpu / EXCHANGES as f64 * 1000.0);
}

/// A server without TLS, evidence or policy, that writes one row in a transaction of its own.
async fn floor() -> f64 {
    let directory = crate::support::directory();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(directory.path().join("floor.db"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
    let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)").execute(&pool).await.unwrap();
    let write = |State(pool): State<SqlitePool>, body: Bytes| async move {
        sqlx::query("INSERT INTO rows (body) VALUES (?)").bind(body.to_vec()).execute(&pool).await.unwrap();
        "hello"
    };
    let routes = axum::Router::new().route("/", axum::routing::post(write)).with_state(pool);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let began = Instant::now();
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            tokio::spawn(async move {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                for _ in 0..EXCHANGES / CLIENTS {
                    let body = Full::new(Bytes::from(vec![7; 1000]));
                    let request = hyper::Request::post("/").header("host", "localhost").body(body).unwrap();
                    let answer = sender.send_request(request).await.unwrap();
                    answer.into_body().collect().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = EXCHANGES as f64 / began.elapsed().as_secs_f64();
    server.abort();
    rate
}
