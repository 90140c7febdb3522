//! Why a step did not run, or not to a good end.

use attest_evidence::name::{DirectoryName, SecretName};
use attest_evidence::report::{Explain, Fault, Report};
use attest_leaks::BadValues;
use attest_step::BadStep;

/// Most arguments, and bytes of them all: they are hashed, sent and logged with every exchange.
pub(super) const MOST_ARGUMENTS: usize = 256;
/// See [`MOST_ARGUMENTS`].
pub(super) const LONGEST_ARGUMENTS: usize = 32 * 1024;

/// Why a step did not run, or not to a good end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Its component or manifest can't be read.
    #[error("the {what} can't be read: {reason}")]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// It is none.
    #[error(transparent)]
    NoStep(#[from] BadStep),
    /// A declared directory was not given.
    #[error("the step declares directory `{0}`, and none was given")]
    DirectoryMissing(DirectoryName),
    /// A directory was given that is not declared.
    #[error("directory `{0}` was given, and the step does not declare it")]
    DirectoryUndeclared(DirectoryName),
    /// What was given is no directory that a step may have.
    #[error("what was given as directory `{name}` {reason}")]
    NotADirectory {
        /// Which.
        name: DirectoryName,
        /// What it is instead.
        reason: String,
    },
    /// More arguments than can be asked with.
    #[error("a step has at most {MOST_ARGUMENTS} arguments of {LONGEST_ARGUMENTS} bytes in all")]
    Arguments,
    /// Root asked for it, and the workers of an agent touch no file as root.
    #[error("a step of this agent does not run for root: it would touch files as root")]
    RootsFiles,
    /// Its worker could not be told what to run.
    #[error("the worker could not be told what to run: {0}")]
    NotBegun(String),
    /// The walls around it could not be raised.
    #[error("the walls around the step could not be raised: {0}")]
    NoWalls(String),
    /// The engine refused it.
    #[error("the step could not be started: {0}")]
    NotStarted(String),
    /// It trapped.
    #[error("the step trapped: {0}")]
    Trapped(String),
    /// It went over a limit.
    #[error("the step went over its limit of {0}")]
    OverLimit(String),
    /// It took too long.
    #[error("the step did not end within {0} s")]
    TimedOut(u64),
    /// Its worker died.
    #[error("the worker died: {0}")]
    WorkerDied(String),
    /// Nobody sends its requests.
    #[error("the process that sends the step's requests did not begin: {0}")]
    NoEgress(String),
    /// Whoever sent its requests has died.
    #[error("the process that sends the step's requests died: {0}")]
    EgressDied(String),
    /// A secret of it can't be looked for in what it writes.
    #[error("{0}")]
    Unmaskable(#[from] BadValues),
    /// A secret for its environment is no text.
    #[error("secret `{0}` is not UTF-8, and a variable of an environment is text")]
    NotText(SecretName),
    /// A secret came back in an answer to a request.
    #[error("secret `{secret}` came back in an answer from {from}, written as {encoding}")]
    CameBack {
        /// Which.
        secret: SecretName,
        /// Who sent it back.
        from: String,
        /// How it was written.
        encoding: String,
    },
    /// A secret stands in a file that the step wrote.
    #[error("secret `{secret}` stands in `{path}` of directory `{directory}`, written as {encoding}")]
    InFile {
        /// Which.
        secret: SecretName,
        /// In which directory.
        directory: DirectoryName,
        /// In which file.
        path: String,
        /// How it is written.
        encoding: String,
    },
    /// What it wrote could not be searched for secrets.
    #[error("what the step wrote could not be searched for secrets: {0}")]
    NotSearched(String),
    /// What it wrote looks like a secret, and policy forbids that.
    #[error("what looks like a secret that nobody declared ({pattern}) stands in {place}")]
    LooksSecret {
        /// The name of the pattern.
        pattern: String,
        /// Where.
        place: String,
    },
    /// Its lease was lost.
    #[error("the step's lease was lost: {0}")]
    LeaseLost(String),
    /// Its CI job has ended.
    #[error("the step's CI job has ended")]
    JobEnded,
    /// Whoever asked for it has gone.
    #[error("whoever started the step has gone")]
    Abandoned,
}

impl Explain for StepError {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Unreadable { .. } => report("AR-S001", Fault::Environment),
            Self::NoStep(error) => error.report(),
            Self::DirectoryMissing(name) => {
                report("AR-S401", Fault::Usage).hint(format!("`--dir {name}=PATH`, before the component's file"))
            }
            Self::DirectoryUndeclared(name) => report("AR-S402", Fault::Usage)
                .hint(format!("leave `--dir {name}=…` out, or declare it in step.toml:\n[dirs.{name}]\nmode = \"read\"\nwhy = \"…\"")),
            Self::NotADirectory { .. } => report("AR-S403", Fault::Usage),
            Self::Arguments => report("AR-S404", Fault::Usage),
            Self::RootsFiles => report("AR-S406", Fault::Refused)
                .hint("run the job as a user of its own; a CI runner should not be root in any case"),
            Self::NotBegun(_) => report("AR-W201", Fault::Environment),
            Self::NoWalls(_) => report("AR-W202", Fault::Environment)
                .hint("nothing was run. The kernel has to have landlock and seccomp (Linux 5.13 or later)"),
            Self::NotStarted(_) => report("AR-W203", Fault::NotAComponent)
                .hint("the step did not run. Was it built against this version of the contract?"),
            Self::Trapped(_) => report("AR-W301", Fault::Trapped).hint("this is a defect of the step; its log may say more"),
            Self::OverLimit(_) => report("AR-W302", Fault::Trapped)
                .hint("if it needs that much, its step.toml may raise the limit: `[limits]`"),
            Self::TimedOut(_) => report("AR-W303", Fault::TimedOut)
                .hint("if it needs that long, its step.toml may raise the limit: `[limits]` `seconds`"),
            Self::WorkerDied(_) => report("AR-W304", Fault::Trapped)
                .hint("what it held has been given back. If it made a forbidden system call, somebody may have broken out of WebAssembly"),
            Self::NoEgress(_) => report("AR-W401", Fault::Environment)
                .hint("nothing was run. `attest-run doctor` tells whether this machine can run attest-egress"),
            Self::EgressDied(_) => report("AR-W402", Fault::Trapped)
                .hint("what it held has been given back. If it made a forbidden system call, a server may have broken into it"),
            Self::Unmaskable(_) => report("AR-S601", Fault::Refused)
                .hint("the step did not run. `attest-broker secret set` takes no such value any more: set it anew"),
            Self::NotText(_) => report("AR-S602", Fault::Refused)
                .hint("the step did not run. Declare it with use = \"reveal\", or store it as text"),
            Self::CameBack { .. } => report("AR-S603", Fault::Refused)
                .hint("the answer was cut off before it, the lease has ended, and the secret is marked as exposed: that server has it and shows it. Replace it"),
            Self::InFile { .. } => report("AR-S604", Fault::Refused)
                .hint("the step failed, the lease has ended, and the secret is marked as exposed. Delete the file, and replace the secret"),
            Self::NotSearched(_) => report("AR-S605", Fault::Environment)
                .hint("the step failed: files that nobody searched may hold what it was given"),
            Self::LooksSecret { .. } => report("AR-S606", Fault::Refused)
                .hint("the step failed, as policy demands. If it is none, write it otherwise; if it is one, replace it"),
            Self::LeaseLost(_) => report("AR-X405", Fault::Refused).hint("the step was stopped; whatever it held is not held any more"),
            Self::JobEnded => report("AR-J307", Fault::Refused)
                .hint("the step was stopped; whatever it held is not held any more. The runner's hook ends a job when its last step has"),
            Self::Abandoned => report("AR-S405", Fault::Refused),
        }
    }
}
