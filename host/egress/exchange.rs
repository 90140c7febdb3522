//! One request, from what the worker asks to what it is answered.

use crate::answer::{self, Answer, Search};
use crate::granted::Granted;
use crate::inject::inject;
use crate::network::Servers;
use crate::progress::Progress;
use crate::reach::{self, Hosts};
use crate::record::Record;
use crate::refusal::NoAnswer;
use crate::request::check;
use crate::teller::{State, Teller};
use attest_wire::egress::Failure;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::{Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long one waits for others.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the addresses of a host, and for a connection to it, TLS included.
    pub connect: Duration,
    /// For the first byte of an answer, from when the server had the last of the request, or took none.
    pub answer: Duration,
}

impl Timeouts {
    /// Those of the program: what a person waits for a server, and what the slowest of services take to think.
    pub const DEFAULT: Self = Self { connect: Duration::from_secs(10), answer: Duration::from_secs(120) };
}

/// What a server may send unasked (RFC 9113 §6.9), to one stream and to all: each of 32 requests at once can be full and stop
/// none of the others.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 32 * STREAM_WINDOW;

/// Sends the requests of one lease.
pub(crate) struct Exchange {
    granted: Arc<Granted>,
    hosts: Arc<Hosts>,
    servers: Box<dyn Servers>,
    teller: Arc<Teller>,
    timeouts: Timeouts,
}

/// Runs tasks until nothing is sent any more; then they are dropped where they are, and with them every request.
#[derive(Debug, Clone)]
pub(crate) struct WhileOpen(pub watch::Receiver<State>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for WhileOpen {
    fn execute(&self, future: F) {
        let mut state = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = state.wait_for(|state| !matches!(state, State::Open)) => {}
                _ = future => {}
            }
        });
    }
}

impl Exchange {
    /// Of what was granted, to these servers at these hosts.
    pub(crate) fn new(
        granted: Granted,
        hosts: Arc<Hosts>,
        servers: Box<dyn Servers>,
        teller: Arc<Teller>,
        timeouts: Timeouts,
    ) -> Self {
        Self { granted: Arc::new(granted), hosts, servers, teller, timeouts }
    }

    /// What the worker is answered.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let Some(slot) = self.teller.slot().await else { return answer::none(Failure::Denied) };
        let (head, body) = request.into_parts();
        let progress = Arc::new(Progress::new());
        let mut record = Record::new(slot, &head, Arc::clone(&progress));
        match self.send(head, body, &mut record, progress).await {
            Ok(passed) => passed.into_response(record),
            Err(why) => {
                record.failed(&why);
                answer::none(why.failure())
            }
        }
    }

    async fn send(
        &self,
        head: hyper::http::request::Parts,
        body: Incoming,
        record: &mut Record,
        progress: Arc<Progress>,
    ) -> Result<answer::Passed, NoAnswer> {
        let checked = check(head, &self.granted)?;
        // Before names are asked for: name servers are told of no host that a secret may not go to.
        checked.permit_secrets(&self.granted)?;
        let limit = self.timeouts.connect;
        let addresses = timeout(limit, self.hosts.addresses(&checked.origin)).await;
        let addresses = addresses.unwrap_or_else(|_| {
            let why = format!("no name server answered within {limit:?}");
            Err(NoAnswer::Failed { failure: Failure::TimedOut, to: checked.origin.clone(), why })
        })?;
        let not_public = reach::permit(&checked.origin, &addresses, checked.private)?;
        let permitted = checked.permitted(&self.granted, not_public)?;

        let (to, secrets) = (checked.origin.clone(), checked.secrets.clone());
        let request = inject(checked, body, permitted, Arc::clone(&progress)).await?;
        record.carries(&secrets);
        progress.begins();
        let answer = tokio::select! {
            answer = self.servers.send(request, &to, &secrets) => answer.map_err(|why| blame(why, &progress))?,
            () = progress.silence(self.timeouts.answer) => return Err(NoAnswer::Failed {
                failure: Failure::TimedOut,
                to,
                why: format!("no answer within {:?}", self.timeouts.answer),
            }),
        };
        let search = Search { granted: Arc::clone(&self.granted), teller: Arc::clone(&self.teller), from: to };
        answer::pass_on(answer, search, record)
    }
}

/// Where the body of the request broke off, that is why nothing that is HTTP came back.
fn blame(why: NoAnswer, progress: &Progress) -> NoAnswer {
    match why {
        NoAnswer::Failed { failure: Failure::Protocol, to, why } if progress.broken() => {
            NoAnswer::Failed { failure: Failure::Body, to, why }
        }
        other => other,
    }
}
