//! Somebody who takes alarms: a server on this machine, which may be unwilling.

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What came: headers and body.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Delivery {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver of webhooks. It ends with the test.
pub(crate) struct Webhook {
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    deliveries: Mutex<Vec<Delivery>>,
    /// How many are turned away first.
    unwilling: Mutex<u32>,
}

impl Webhook {
    /// Turns away the first `unwilling` deliveries.
    pub(crate) async fn start(unwilling: u32) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/alarms", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { unwilling: Mutex::new(unwilling), ..Shared::default() });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| take(Arc::clone(&shared), request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, shared, task }
    }

    /// What has come, once there are so many.
    pub(crate) async fn deliveries(&self, count: usize) -> Vec<Delivery> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let deliveries = self.shared.deliveries.lock().unwrap().clone();
            if deliveries.len() >= count {
                return deliveries;
            }
            assert!(Instant::now() < deadline, "{count} wanted: {deliveries:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let turned_away = {
        let mut unwilling = shared.unwilling.lock().unwrap();
        let turned_away = *unwilling > 0;
        *unwilling = unwilling.saturating_sub(1);
        turned_away
    };
    let status = if turned_away { 503 } else { 204 };
    if !turned_away {
        shared.deliveries.lock().unwrap().push(Delivery { headers, body });
    }
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}
