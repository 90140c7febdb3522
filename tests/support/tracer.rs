//! A debugger: `strace`, which writes down what a process asks of the kernel, or kills it when it asks.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that it may take to let go.
const LONGEST: Duration = Duration::from_secs(20);

/// `strace`, attached to a process.
pub(crate) struct Tracer {
    child: Child,
    /// Held open: it tells of every process that it follows.
    _messages: BufReader<ChildStderr>,
}

impl Tracer {
    /// Kills the process when one of its threads makes the `count`th of these calls, before the call is made.
    pub(crate) fn kill_at(pid: u32, calls: &str, count: usize) -> Self {
        let inject = format!("inject={calls}:signal=SIGKILL:when={count}");
        Self::attach(pid, &["-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject])
    }

    /// Writes down every system call that the process and its children make, with its number.
    pub(crate) fn record(pid: u32, file: &Path) -> Self {
        Self::attach(pid, &["-n", "-o", file.to_str().unwrap()])
    }

    fn attach(pid: u32, arguments: &[&str]) -> Self {
        let mut child = Command::new("strace")
            .args(["-f", "-p", &pid.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut messages = BufReader::new(child.stderr.take().unwrap());
        messages.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        Self { child, _messages: messages }
    }

    /// Lets the process go on by itself.
    pub(crate) fn detach(mut self) {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        let deadline = Instant::now() + LONGEST;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "strace does not let go");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
