//! A debugger that kills: `strace` with its fault injection.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// `strace`, attached to a process.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Kills the process when one of its threads makes the `count`th of these calls, before the call is made.
    pub(crate) fn kill_at(pid: u32, calls: &str, count: usize) -> Self {
        let mut child = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:signal=SIGKILL:when={count}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        Self(child)
    }

    /// Lets the process go on by itself.
    pub(crate) fn detach(mut self) {
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
