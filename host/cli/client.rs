//! Asking: an agent over its socket, or one that is started for this. The same requests, the same events.

use crate::Global;
use crate::agent::no_agent;
use crate::config::{self, Mode};
use attest_agent::told_to_end;
use attest_evidence::report::{Fault, Report};
use attest_wire::client::{Answer, End, Event, Request};
use attest_wire::{Channel, WireError, split};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The longest that an agent of our own may take to let go of what it has, once it has said how it ended.
const LONGEST_TEARDOWN: Duration = Duration::from_secs(10);

/// Asks for something and hears what happens.
pub(crate) fn ask(
    global: &Global,
    request: &Request,
    descriptors: &[OwnedFd],
    mut hear: impl FnMut(Event),
) -> Result<End, Report> {
    let hear = |event| match event {
        Event::End(end) => ControlFlow::Break(end),
        event => {
            hear(event);
            ControlFlow::Continue(())
        }
    };
    match config::mode(global)? {
        Mode::Agent(socket) => ask_agent(&socket, request, descriptors, hear),
        Mode::Direct(direct) => {
            let for_step = matches!(request, Request::Run { .. });
            // The broker takes the longest to be ready; the agent, which waits for both, comes last.
            let (helpers, connections) = direct.begin(for_step);
            let agent = OwnAgent::start(direct.command())?;
            agent.send(&helpers, &connections)?;
            // It alone holds them: their end is that of what they lead to.
            drop(connections);
            // A step is stopped in good order. Nothing else has an order to be stopped in: it is let go.
            let on_interrupt = if for_step { OnInterrupt::Stop } else { OnInterrupt::LetGo };
            agent.ask(request, descriptors, on_interrupt, hear)
        }
    }
}

/// Asks for something that has one answer.
pub(crate) fn ask_one(global: &Global, request: Request, descriptors: Vec<OwnedFd>) -> Result<Answer, Report> {
    let mut answer = None;
    let end = ask(global, &request, &descriptors, |event| {
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
    mut hear: impl FnMut(Event) -> ControlFlow<End>,
) -> Result<End, Report> {
    let stream = UnixStream::connect(socket).map_err(|error| {
        Report::new(
            "AR-C502",
            Fault::Environment,
            format!("the agent at {} can't be reached: {error}", socket.display()),
        )
        .hint("is `attest-run agent` running? Its log says why it is not")
    })?;
    let channel = Channel::new(stream);
    channel.send_with(request, &borrowed(descriptors)).map_err(|error| agent_gone(&error))?;
    loop {
        if let ControlFlow::Break(end) = hear(channel.receive().map_err(|error| agent_gone(&error))?) {
            return Ok(end);
        }
    }
}

fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(OwnedFd::as_fd).collect()
}

fn agent_gone(error: &WireError) -> Report {
    Report::new("AR-C503", Fault::Environment, format!("the agent does not answer: {error}"))
        .hint("the log of `attest-run agent` says more; in direct mode it stands above")
}

/// What Ctrl-C does to what an agent of our own does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInterrupt {
    /// It is told to stop, and its end awaited.
    Stop,
    /// It is left to end as it may.
    LetGo,
}

/// An agent that lives for one command.
pub(crate) struct OwnAgent {
    channel: Channel,
    child: Child,
}

impl OwnAgent {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Result<Self, Report> {
        let mut started = || -> Result<Self, WireError> {
            let (channel, theirs) = Channel::pair()?;
            let child = command
                .stdin(Stdio::from(OwnedFd::from(theirs.into_stream())))
                .stdout(Stdio::null())
                .process_group(0) // a terminal's Ctrl-C is for us; it ends with the connection
                .spawn()?;
            Ok(Self { channel, child })
        };
        started().map_err(|error| no_agent(&error.to_string()))
    }

    /// Tells it something.
    fn send(&self, message: &impl Serialize, descriptors: &[OwnedFd]) -> Result<(), Report> {
        self.channel.send_with(message, &borrowed(descriptors)).map_err(|error| agent_gone(&error))
    }

    /// Asks it, and hears it until `hear` has heard enough.
    pub(crate) fn ask<E: DeserializeOwned, T>(
        mut self,
        request: &impl Serialize,
        descriptors: &[OwnedFd],
        on_interrupt: OnInterrupt,
        mut hear: impl FnMut(E) -> ControlFlow<T>,
    ) -> Result<T, Report> {
        self.send(request, descriptors)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Report::new("AR-C504", Fault::Environment, error.to_string()))?;
        let stream = self.channel.stream().try_clone().map_err(|error| agent_gone(&error.into()))?;
        let heard = runtime.block_on(async {
            let (mut reader, _writer) = split(stream).map_err(|error| agent_gone(&error))?;
            let interrupted = told_to_end();
            tokio::pin!(interrupted);
            let mut stopping = false;
            loop {
                let event = {
                    // Not to be cancelled midway, and so made outside of what waits for the signal too.
                    let receive = reader.receive();
                    tokio::pin!(receive);
                    loop {
                        tokio::select! {
                            biased;
                            event = &mut receive => break event.map_err(|error| agent_gone(&error))?,
                            () = &mut interrupted, if !stopping => {
                                if on_interrupt == OnInterrupt::LetGo {
                                    return Err(Report::new("AR-C506", Fault::Environment, "interrupted"));
                                }
                                stopping = true;
                                let _ = self.channel.stream().shutdown(Shutdown::Write);
                            }
                        }
                    }
                };
                if let ControlFlow::Break(end) = hear(event) {
                    // Its connection ends when it has let go of what it had; a TPM's lock is waited for by whoever comes next.
                    let gone = async { while reader.receive::<E>().await.is_ok() {} };
                    tokio::select! {
                        _ = tokio::time::timeout(LONGEST_TEARDOWN, gone) => {}
                        () = &mut interrupted, if !stopping => {}
                    }
                    return Ok(end);
                }
            }
        })?;
        let _ = self.child.try_wait();
        Ok(heard)
    }
}
