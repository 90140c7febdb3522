//! The agent as a daemon: clients over a Unix socket, each known by the kernel's word.

use crate::agent::{Agent, AgentError};
use crate::jobs::{Found, Peer};
use crate::keys::KeyError;
use crate::signing::{Message, SigningError, Timestamps};
use crate::step::StepRequest;
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Explain, Fault, Report};
use attest_spawner::User;
use attest_wire::client::{Answer, CiToken, End, Event, Request};
use attest_wire::{Channel, FrameReader, FrameWriter, WireError, split};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Most clients at once. Each may run a step.
const MOST_CLIENTS: usize = 64;
/// The longest a client may take to say what it wants.
const LONGEST_HESITATION: Duration = Duration::from_secs(5);
/// The longest a client may take to hear the rest, once the work is done.
const LONGEST_FAREWELL: Duration = Duration::from_secs(10);
/// The longest that steps may take to end when the agent does.
const LONGEST_CLOSING: Duration = Duration::from_secs(10);
/// Events that wait for a client to take them.
const LONGEST_QUEUE: usize = 64;

/// Who may make, delete and use keys by hand, and enrol.
#[derive(Debug, Clone)]
pub struct Admins(Vec<u32>);

impl Admins {
    /// Root, and these.
    pub fn new(mut uids: Vec<u32>) -> Self {
        uids.push(0);
        Self(uids)
    }

    fn include(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

/// Why an agent can't serve, or does not serve a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// Its socket can't be made.
    #[error("can't listen on {}: {reason}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Its spawner has ended, and with it every worker.
    #[error("the spawner has ended: no step can run")]
    SpawnerGone,
    /// The client is no admin.
    #[error("only an admin of this runner may {what}; uid {uid} is none")]
    NotAdmin {
        /// What it wanted.
        what: &'static str,
        /// Who it is.
        uid: u32,
    },
    /// It is being stopped, and what it did with it.
    #[error("the agent was stopped")]
    Stopped,
    /// The client has gone without a word.
    #[error("the client has gone without a word")]
    Gone,
    /// The client did not say what it wants, or sent other files than it said.
    #[error("the request can't be understood: {0}")]
    Request(String),
}

impl Explain for ServeError {
    fn report(&self) -> Report {
        match self {
            Self::Socket { .. } => Report::new("AR-C401", Fault::Environment, self.to_string()),
            Self::SpawnerGone => Report::new("AR-C404", Fault::Environment, self.to_string())
                .hint("start the agent again. If a step made it happen, that step broke out of WebAssembly"),
            Self::NotAdmin { .. } => Report::new("AR-C402", Fault::Refused, self.to_string()).hint(
                "run it as root, or have the runner's admin add the user to `admins` in the agent's configuration",
            ),
            Self::Stopped => Report::new("AR-C405", Fault::Environment, self.to_string())
                .hint("what ran has ended, and so has its lease: run it again when the agent is back"),
            Self::Gone | Self::Request(_) => Report::new("AR-C403", Fault::Usage, self.to_string())
                .hint("client and agent are of one version: install them together"),
        }
    }
}

/// A client that has said what it wants.
pub struct Client {
    request: Request,
    descriptors: Vec<OwnedFd>,
    /// Who it is, by the kernel's word.
    user: User,
    peer: Peer,
    reader: FrameReader,
    writer: FrameWriter,
}

impl Client {
    /// Hears what the client at `stream` wants.
    ///
    /// # Errors
    /// [`ServeError::Request`]. The client has been told, if it can be.
    pub async fn hear(stream: std::os::unix::net::UnixStream) -> Result<Self, ServeError> {
        let not_understood = |error: &dyn std::fmt::Display| ServeError::Request(error.to_string());
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|error| not_understood(&error))?;
        let user = User { uid: peer.uid.as_raw(), gid: peer.gid.as_raw() };
        let handle = stream.try_clone().map_err(|error| not_understood(&error))?;
        let mut heard = tokio::task::spawn_blocking(move || {
            stream.set_nonblocking(false)?;
            let channel = Channel::new(stream);
            let request = channel.receive_with::<Request>();
            Ok::<_, io::Error>((channel, request))
        });
        let mut in_time = true;
        let heard = match tokio::time::timeout(LONGEST_HESITATION, &mut heard).await {
            Ok(heard) => heard,
            Err(_) => {
                in_time = false;
                // It ends what waits, however slowly something came.
                let _ = handle.shutdown(std::net::Shutdown::Read);
                heard.await
            }
        };
        drop(handle);
        let (channel, request) =
            heard.map_err(|error| not_understood(&error))?.map_err(|error| not_understood(&error))?;
        let (reader, mut writer) = split(channel.into_stream()).map_err(|error| not_understood(&error))?;
        match request {
            Ok((request, descriptors)) => {
                let peer = Peer::of(peer.pid, user.uid);
                Ok(Self { request, descriptors, user, peer, reader, writer })
            }
            Err(WireError::Closed) if in_time => Err(ServeError::Gone),
            Err(error) => {
                let late = format!("it did not come within {} s", LONGEST_HESITATION.as_secs());
                let refused = ServeError::Request(if in_time { error.to_string() } else { late });
                let _ = writer.send(&Event::End(End::Failed { report: refused.report(), audit: None })).await;
                Err(refused)
            }
        }
    }

    /// What it wants.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Tells it why it gets nothing.
    pub async fn refuse(mut self, report: Report) {
        let end = Event::End(End::Failed { report, audit: None });
        let _ = tokio::time::timeout(LONGEST_FAREWELL, self.writer.send(&end)).await;
    }
}

impl Agent {
    /// Serves clients at `socket` until `end` comes.
    ///
    /// # Errors
    /// [`ServeError::Socket`].
    pub async fn serve(
        self: Arc<Self>,
        socket: std::os::unix::net::UnixListener,
        admins: Admins,
        end: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let failed = |error: io::Error| ServeError::Socket { path: PathBuf::from("socket"), reason: error.to_string() };
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(socket).map_err(failed)?;
        let clients = Arc::new(Semaphore::new(MOST_CLIENTS));
        let (close, closing) = tokio::sync::watch::channel(());
        let spawner_gone = self.spawner().gone().map_err(failed)?;
        tokio::pin!(end, spawner_gone);
        let result = loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut end => break Ok(()),
                () = &mut spawner_gone => break Err(ServeError::SpawnerGone),
            };
            let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else {
                tracing::warn!("too many clients at once");
                continue;
            };
            let (agent, admins, closing) = (Arc::clone(&self), admins.clone(), closing.clone());
            tokio::spawn(async move {
                match Client::hear(stream).await {
                    Ok(client) => {
                        let mut closing = closing;
                        let closed = async move { drop(closing.changed().await) };
                        agent.serve_client(client, &admins, closed).await;
                    }
                    Err(error) => tracing::info!(%error, "a client was not served"),
                }
                drop(permit);
            });
        };
        drop(listener);
        // Steps end, and their leases with them.
        drop((close, closing));
        let all = u32::try_from(MOST_CLIENTS).unwrap_or(u32::MAX);
        if tokio::time::timeout(LONGEST_CLOSING, clients.acquire_many(all)).await.is_err() {
            tracing::warn!("clients were still being served; their leases end by themselves");
        }
        result
    }

    /// Does what a client wants, and tells it. When `closing` comes, or the client goes, what runs ends in good order.
    pub async fn serve_client(&self, client: Client, admins: &Admins, closing: impl Future<Output = ()>) {
        let Client { request, descriptors, user, peer, mut reader, writer } = client;
        let (events, told) = mpsc::channel(LONGEST_QUEUE);
        let (stop, stopped) = oneshot::channel();
        // A task of its own writes: a client that does not read keeps nothing waiting but itself.
        let mut telling = tokio::spawn(tell(told, writer, stopped));
        let work = self.answer(request, descriptors, user, peer, admins, events);
        tokio::pin!(work, closing);
        let (mut stop, mut stopped) = (Some(stop), false);
        let mut end = loop {
            // Whoever watched has gone, or shall: what runs is told so by the closed channel.
            tokio::select! {
                biased;
                () = reader.closed(), if stop.is_some() => drop(stop.take()),
                () = &mut closing, if !stopped => {
                    stopped = true;
                    drop(stop.take());
                }
                end = &mut work => break end,
            }
        };
        if stopped && matches!(end, End::Failed { .. }) {
            end = End::Failed { report: ServeError::Stopped.report(), audit: None };
        }
        let Ok(Ok(Some(mut writer))) = tokio::time::timeout(LONGEST_FAREWELL, &mut telling).await else {
            telling.abort();
            return;
        };
        // Who has gone but reads on, as after Ctrl-C, hears how it ended.
        let _ = tokio::time::timeout(LONGEST_FAREWELL, writer.send(&Event::End(end))).await;
    }

    /// Does what a client wants. `user` and `peer` are who it is, by the kernel's word.
    async fn answer(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        user: User,
        peer: Peer,
        admins: &Admins,
        events: mpsc::Sender<Event>,
    ) -> End {
        let admin = |what| {
            if admins.include(user.uid) {
                Ok(())
            } else {
                Err(Refused::Serve(ServeError::NotAdmin { what, uid: user.uid }))
            }
        };
        let answered = match request {
            Request::Run { arguments, stage, directories, token } => {
                let asked = (arguments, stage, token);
                return match step_request(descriptors, directories, asked, user, peer) {
                    Ok(step) => self.run_step(step, events).await,
                    Err(error) => End::Failed { report: error.report(), audit: None },
                };
            }
            Request::StartJob { token } => {
                let found = self.session(&peer, Some(&token), true).await;
                found
                    .map(|found| match found {
                        Found::Session(session) => Answer::Job(Some(session)),
                        Found::None | Found::NotBelieved(_) => Answer::Job(None),
                    })
                    .map_err(Refused::Agent)
            }
            Request::EndJob => self.end_job(&peer).await.map(Answer::JobEnded).map_err(Refused::Agent),
            Request::Quote { nonce, pcrs } => self.user_quote(&nonce, &pcrs).await.map_err(Refused::Agent),
            Request::Measure { claimed } => self.measure(&peer, &claimed).await.map_err(Refused::Agent),
            Request::ListKeys => self.keys().list().map(Answer::Keys).map_err(Refused::Key),
            Request::CreateKey { stage, name, kind } => match admin("make keys") {
                Ok(()) => {
                    let made = self.create_key(stage, &name, kind).await;
                    made.map(|key| Answer::Keys(vec![key])).map_err(Refused::Agent)
                }
                Err(refused) => Err(refused),
            },
            Request::RotateKey { stage, name } => match admin("rotate keys") {
                Ok(()) => {
                    let made = self.rotate_key(stage, &name).await;
                    made.map(|key| Answer::Keys(vec![key])).map_err(Refused::Agent)
                }
                Err(refused) => Err(refused),
            },
            Request::AttestKey { stage, name } => match admin("attest keys") {
                Ok(()) => self.attest_key(stage, &name).await.map(Answer::KeyAttestation).map_err(Refused::Agent),
                Err(refused) => Err(refused),
            },
            Request::DeleteKey { stage, name } => match admin("delete keys") {
                Ok(()) => {
                    self.keys().delete(stage, &name).await.map(|()| Answer::Keys(Vec::new())).map_err(Refused::Key)
                }
                Err(refused) => Err(refused),
            },
            Request::Sign { stage, name, format } => match admin("sign by hand") {
                Ok(()) => self.sign_by_hand(stage, &name, format, descriptors).await,
                Err(refused) => Err(refused),
            },
            Request::Enrol { broker, token } => match admin("enrol") {
                Ok(()) => self
                    .enrol(&broker, &token)
                    .await
                    .map(|(outcome, _)| Answer::Enrolled {
                        runner: outcome.runner,
                        state: outcome.state,
                        class: outcome.class,
                    })
                    .map_err(Refused::Agent),
                Err(refused) => Err(refused),
            },
            Request::Status => self.status().await.map(Answer::Status).map_err(Refused::Agent),
        };
        match answered {
            Ok(answer) => {
                let _ = events.send(Event::Answer(answer)).await;
                End::Done
            }
            Err(refused) => End::Failed { report: refused.report(), audit: None },
        }
    }

    /// Signs a file for an admin.
    async fn sign_by_hand(
        &self,
        stage: Stage,
        name: &KeyName,
        format: KeyFormat,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Answer, Refused> {
        let [file] = <[OwnedFd; 1]>::try_from(descriptors)
            .map_err(|_| Refused::Serve(ServeError::Request("one file is to be signed".to_owned())))?;
        self.sign_file(stage, name, format, File::from(file)).await.map(Answer::Signature).map_err(Refused::Report)
    }

    /// Signs a file with a key of this runner, for whoever owns the runner.
    ///
    /// # Errors
    /// The report of what went wrong.
    pub async fn sign_file(
        &self,
        stage: Stage,
        name: &KeyName,
        format: KeyFormat,
        file: File,
    ) -> Result<Vec<u8>, Report> {
        let key = self.keys().usable(stage, name).await.map_err(|error| error.report())?;
        let message = Message::new(key, format).map_err(|error| error.report())?;
        let timestamps = match format {
            KeyFormat::Sigstore => Timestamps::Broker(self.link().await.map_err(|error| error.report())?),
            KeyFormat::Raw | KeyFormat::Minisign | KeyFormat::Ssh => Timestamps::None,
        };
        let read = tokio::task::spawn_blocking(move || read_into(message, file)).await;
        let unreadable =
            |reason: String| Report::new("AR-K201", Fault::Environment, format!("the file can't be read: {reason}"));
        let message =
            read.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
        message.sign(&timestamps).await.map_err(|error| match error {
            SigningError::Key(error) => error.report(),
            error => Report::new("AR-K202", Fault::Environment, error.to_string()),
        })
    }
}

fn read_into(mut message: Message, mut file: File) -> io::Result<Message> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(message),
            count => message.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn step_request(
    descriptors: Vec<OwnedFd>,
    names: Vec<attest_evidence::name::DirectoryName>,
    (arguments, stage, token): (Vec<String>, Stage, Option<CiToken>),
    files_of: User,
    peer: Peer,
) -> Result<StepRequest, ServeError> {
    let found = descriptors.len();
    let refused = || {
        ServeError::Request(format!("{found} files came, for a component, a manifest and {} directories", names.len()))
    };
    let mut descriptors = descriptors.into_iter();
    let (component, manifest) = descriptors.next().zip(descriptors.next()).ok_or_else(refused)?;
    if descriptors.len() != names.len() {
        return Err(refused());
    }
    let directories = names.clone().into_iter().zip(descriptors).collect();
    Ok(StepRequest { component, manifest, directories, arguments, stage, files_of, peer, token })
}

/// Tells a client what happens until nothing more does, or until it shall be told no more. `None` if it can't be told
/// anything after that.
async fn tell(
    mut told: mpsc::Receiver<Event>,
    mut writer: FrameWriter,
    mut stopped: oneshot::Receiver<()>,
) -> Option<FrameWriter> {
    loop {
        let event = tokio::select! {
            biased;
            _ = &mut stopped => return Some(writer),
            event = told.recv() => event,
        };
        let Some(event) = event else { return Some(writer) };
        tokio::select! {
            biased;
            sent = writer.send(&event) => sent.ok()?,
            // A part of it may have been sent.
            _ = &mut stopped => return None,
        }
    }
}

/// Why a client does not get what it asked for.
enum Refused {
    Agent(AgentError),
    Key(KeyError),
    Serve(ServeError),
    Report(Report),
}

impl Refused {
    fn report(self) -> Report {
        match self {
            Self::Agent(error) => error.report(),
            Self::Key(error) => error.report(),
            Self::Serve(error) => error.report(),
            Self::Report(report) => report,
        }
    }
}

/// A socket that every user of this machine may connect to: the kernel says who each is.
///
/// # Errors
/// [`ServeError::Socket`]: for one, that another agent listens there.
pub fn listen(path: &Path) -> Result<std::os::unix::net::UnixListener, ServeError> {
    let failed = |reason: String| ServeError::Socket { path: path.to_owned(), reason };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(failed("another agent listens there".to_owned()));
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(|error| failed(error.to_string()))?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(|error| failed(error.to_string()))?;
    Ok(listener)
}
