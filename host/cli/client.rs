//! Asking: an agent over its socket, or the one in this process. The same requests, the same events.

use crate::config::{self, Mode};
use crate::{Global, output};
use attest_agent::{Admins, Agent, Peer, Spawner, User};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_wire::client::{Answer, End, Event, Request};
use attest_wire::{Channel, WireError};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

/// Asks for something and hears what happens.
pub(crate) fn ask(
    global: &Global,
    request: Request,
    descriptors: Vec<OwnedFd>,
    mut hear: impl FnMut(Event),
) -> Result<End, Report> {
    match config::mode(global)? {
        Mode::Agent(socket) => ask_agent(&socket, &request, &descriptors, &mut hear),
        Mode::Direct(settings) => ask_here(*settings, request, descriptors, &mut hear),
    }
}

/// Asks for something that has one answer.
pub(crate) fn ask_one(global: &Global, request: Request, descriptors: Vec<OwnedFd>) -> Result<Answer, Report> {
    let mut answer = None;
    let end = ask(global, request, descriptors, |event| {
        if let Event::Answer(given) = event {
            answer = Some(given);
        }
    })?;
    match (end, answer) {
        (End::Done, Some(answer)) => Ok(answer),
        (End::Failed { report, .. }, _) => Err(report),
        _ => Err(unexpected()),
    }
}

/// An answer of another kind than was asked for.
pub(crate) fn unexpected() -> Report {
    Report::new("AR-C501", Fault::Bug, "the agent answered something else than it was asked")
        .hint("client and agent are of one version: install them together")
}

fn ask_agent(
    socket: &Path,
    request: &Request,
    descriptors: &[OwnedFd],
    hear: &mut impl FnMut(Event),
) -> Result<End, Report> {
    let stream = UnixStream::connect(socket).map_err(|error| {
        Report::new(
            "AR-C502",
            Fault::Environment,
            format!("the agent at {} can't be reached: {error}", socket.display()),
        )
        .hint("is `attest-run agent` running? Its log says why it is not")
    })?;
    let broken = |error: WireError| {
        Report::new("AR-C503", Fault::Environment, format!("the agent does not answer: {error}"))
            .hint("the log of `attest-run agent` says more")
    };
    let channel = Channel::new(stream);
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(OwnedFd::as_fd).collect();
    channel.send_with(request, &borrowed).map_err(broken)?;
    loop {
        match channel.receive().map_err(broken)? {
            Event::End(end) => return Ok(end),
            event => hear(event),
        }
    }
}

fn ask_here(
    mut settings: attest_agent::Settings,
    request: Request,
    descriptors: Vec<OwnedFd>,
    hear: &mut impl FnMut(Event),
) -> Result<End, Report> {
    output::start_log("warn");
    // Before any thread, so that it inherits nothing but this process's rights.
    let spawner = Spawner::start(&config::spawned(), None).map_err(|error| error.report())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::new("AR-C504", Fault::Environment, error.to_string()))?;
    let uid = rustix::process::getuid().as_raw();
    // A step is stopped in good order. Nothing else has an order to be stopped in: it is let go.
    let stoppable = matches!(request, Request::Run { .. });
    settings.broker_at_once = stoppable;
    let user = User { uid, gid: rustix::process::getgid().as_raw() };
    runtime.block_on(async {
        let agent = Agent::start(settings, spawner).await.map_err(|error| error.report())?;
        let (events, mut told) = tokio::sync::mpsc::channel(64);
        let admins = Admins::new(vec![uid]);
        let work = agent.answer(request, descriptors, user, Peer::myself(), &admins, events);
        tokio::pin!(work);
        let interrupted = interrupted();
        tokio::pin!(interrupted);
        let end = loop {
            tokio::select! {
                biased;
                Some(event) = told.recv() => hear(event),
                () = &mut interrupted, if !told.is_closed() => {
                    if !stoppable {
                        return Err(Report::new("AR-C506", Fault::Environment, "interrupted"));
                    }
                    told.close();
                }
                end = &mut work => break end,
            }
        };
        while let Ok(event) = told.try_recv() {
            hear(event);
        }
        Ok(end)
    })
}

/// Ctrl-C, or whoever stops the job. The step is stopped in good order, and its lease ended.
pub(crate) async fn interrupted() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
