//! What somebody finds who has broken out of WebAssembly: G09, and the second line of G02. A native program stands
//! in the worker's place, behind the worker's walls. Each attempt has its control: with the walls named beside it
//! left out, it succeeds.

use crate::support::{Broker, Runner, Users, worker_programs};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

const KILLED: &str = "it made a forbidden system call";
const DENIED: &str = "Permission denied (os error 13)";
const NOT_PERMITTED: &str = "Operation not permitted (os error 1)";

struct Prison {
    runner: Runner,
    step: std::path::PathBuf,
    programs: crate::support::Directory,
    broker: Broker,
}

impl Prison {
    fn new() -> Self {
        let intruder = Path::new(env!("CARGO_BIN_EXE_attest-run")).with_file_name("intruder");
        let programs = worker_programs(&intruder);
        let broker = Broker::start();
        let mut runner = Runner::new(programs.path());
        runner.start_agent();
        let token = broker.token_text("prison", "agent", true);
        runner.as_user(0, &["enroll", "--broker", &broker.url(), "--token", &token]).ok();
        let step = runner.step("hello");
        Self { runner, step, programs, broker }
    }

    /// How a trick goes with these walls left out.
    fn attempt(&self, without: &str, trick: &str, what: &str) -> String {
        std::fs::write(self.programs.path().join("without"), without).unwrap();
        let out = self.runner.job(&[self.step.to_str().unwrap(), "--", trick, what]);
        out.stderr
    }

    /// The trick fails behind all walls, and succeeds without the ones that hold it back.
    #[track_caller]
    fn holds(&self, trick: &str, what: &str, how: &str, control: &str) {
        let out = self.attempt("", trick, what);
        assert!(out.contains(how), "{trick} {what}: wanted {how:?}, got {out}");
        let out = self.attempt(control, trick, what);
        assert!(out.contains("got through"), "{trick} {what} without {control}: {out}");
    }
}

/// Ways out of the granted directories.
pub(super) const ESCAPES: [&str; 13] = [
    "parent",
    "deep",
    "absolute",
    "proc",
    "symlink",
    "symlink-absolute",
    "hard-link",
    "make-symlink",
    "rename-out",
    "rename-across",
    "truncate-readonly",
    "set-size-readonly",
    "remove-readonly",
];

/// Lays out what the ways lead to.
pub(super) fn lay_out(runner: &Runner) {
    runner.write("outside/file", "outside\n");
    runner.write("inner/sub/file", "inside\n");
    let link = |target: &Path, name: &str| {
        let link = runner.work().join("inner").join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, link).unwrap();
    };
    link(Path::new("../outside/file"), "link-outside");
    link(&runner.work().join("outside/file"), "link-absolute");
    for made in ["inner/linked", "inner/made", "outside/renamed", "readonly/moved"] {
        let _ = std::fs::remove_file(runner.work().join(made));
    }
}

#[test]
fn g02_the_directories_hold_also_without_webassembly() {
    let prison = Prison::new();
    let runner = &prison.runner;
    super::provide(&prison.broker, runner);
    let attempt = |without: &str, way: &str| {
        std::fs::write(prison.programs.path().join("without"), without).unwrap();
        lay_out(runner);
        runner.hostile(&["escape", way]).stderr
    };
    for way in ESCAPES {
        let out = attempt("", way);
        let refused = ["os error 1)", "os error 13)", "os error 18)"].iter().any(|error| out.contains(error));
        assert!(refused && !out.contains("got through"), "{way}: {out}");
        // The control: it is landlock that holds them back, and nothing else would.
        let out = attempt("landlock", way);
        assert!(out.contains("got through"), "{way} without landlock: {out}");
    }
}

/// What a worker says after it has said that the step is over.
#[test]
fn a_step_calls_nobody_after_its_end() {
    let prison = Prison::new();
    super::provide(&prison.broker, &prison.runner);
    std::fs::write(prison.programs.path().join("without"), "").unwrap();
    let call = |when: &str| prison.runner.hostile(&["call", when]).ok().stderr;
    // The control: before it, it is heard, and the key signs.
    let before = call("before");
    assert!(before.contains("a call") && !before.contains("keys.release"), "{before}");
    let after = call("after");
    assert!(after.contains("got through") && !after.contains("a call"), "{after}");
    let unused = after.lines().find(|line| line.starts_with("unused ")).unwrap();
    assert!(unused.contains("keys.release"), "{after}");
    assert_eq!(prison.runner.workers(), Vec::<u32>::new());
}

#[test]
fn g09_an_intruder_reaches_nothing() {
    let prison = Prison::new();
    let runner = &prison.runner;

    // Files: of the system, of the job's user beside what was granted, and writing anywhere.
    prison.holds("read", "/etc/passwd", DENIED, "landlock");
    let own = runner.write("own", "the job's own file\n");
    prison.holds("read", own.to_str().unwrap(), DENIED, "landlock");
    prison.holds("write", runner.work().join("made").to_str().unwrap(), DENIED, "landlock");
    // The agent's files are another user's, whatever landlock says.
    let enrolment = runner.path("state/enrolment.json");
    for without in ["", "landlock", "landlock seccomp"] {
        let out = prison.attempt(without, "read", enrolment.to_str().unwrap());
        assert!(out.contains(DENIED), "{out}");
    }
    // A device, as the TPM's: this one anybody else may open.
    let device = runner.path("run/tpmrm0");
    crate::support::run(std::process::Command::new("mknod").arg(&device).args(["c", "1", "3"])).ok();
    std::fs::set_permissions(&device, std::fs::Permissions::from_mode(0o666)).unwrap();
    prison.holds("device", device.to_str().unwrap(), DENIED, "landlock");
    // And this one is the agent's, as the TPM is.
    chown(&device, Some(Users::AGENT), Some(Users::AGENT)).unwrap();
    std::fs::set_permissions(&device, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(prison.attempt("landlock seccomp", "device", device.to_str().unwrap()).contains(DENIED));

    // The network.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = udp.local_addr().unwrap().to_string();
    prison.holds("udp", &udp, KILLED, "seccomp");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = tcp.local_addr().unwrap().to_string();
    prison.holds("tcp", &tcp, KILLED, "seccomp landlock");
    assert!(prison.attempt("seccomp", "tcp", &tcp).contains(DENIED), "landlock holds TCP back by itself");
    prison.holds("unix", runner.path("run/agent.sock").to_str().unwrap(), KILLED, "seccomp landlock");

    // Processes.
    prison.holds("trace", "", KILLED, "seccomp");
    prison.holds("fork", "", KILLED, "seccomp resources");
    assert!(prison.attempt("seccomp", "fork", "").contains("Resource temporarily unavailable"));
    let out = prison.attempt("", "execute", "/bin/true");
    assert!(out.contains(KILLED), "{out}");
    assert!(prison.attempt("seccomp", "execute", "/bin/true").contains(DENIED));
    let out = prison.attempt("seccomp landlock", "execute", "/bin/true");
    assert!(out.contains("ended with status 0"), "{out}");
    let agent = prison.attempt("", "signal", &runner.agent_pid().to_string());
    assert!(agent.contains(KILLED), "{agent}");
    assert!(prison.attempt("seccomp landlock", "signal", &runner.agent_pid().to_string()).contains(NOT_PERMITTED));

    prison.holds("own", &std::process::id().to_string(), KILLED, "seccomp");

    // Whatever whoever started it had open: the intruder closes nothing by itself, and finds nothing.
    let out = prison.attempt("seccomp", "descriptor", "100");
    assert!(out.contains("Bad file descriptor"), "{out}");

    // Becoming somebody else.
    prison.holds("files-of", &Users::AGENT.to_string(), KILLED, "seccomp identity");
    assert!(prison.attempt("seccomp", "files-of", &Users::AGENT.to_string()).contains(NOT_PERMITTED));
}
