//! Handles: what a language's runtime, a large upload, many calls and many steps at once cost.

use crate::support::{Broker, Runner, Users, directory, programs, step_file};
use crate::{ROUNDS, in_turn, median, row};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the upload.
const LARGE: u64 = 1 << 30;
/// Rounds of an upload.
const UPLOADS: usize = 5;

fn quietly(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn client(runner: &Runner) -> Command {
    let mut command = Command::new(programs().join("attest-run"));
    command.arg("--socket").arg(runner.path("run/agent.sock"));
    command.uid(Users::JOB).gid(Users::JOB).env_clear().env("HOME", runner.path("home")).current_dir("/");
    command
}

/// A component of a language with a runtime in it, beside the same as a command.
pub(crate) fn javascript(wasmtime: &str) {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "bench");
    let hello = runner.step("hello-js");
    let theirs = step_file("hello-js", "hello-js-command");
    let cache = directory();
    let config = cache.path().join("cache.toml");
    std::fs::write(&config, format!("[cache]\ndirectory = \"{}\"\n", cache.path().join("cache").display())).unwrap();
    let (ours, theirs) = in_turn(
        ROUNDS,
        || quietly(client(&runner).arg(&hello).args(["--", "you"])),
        || {
            quietly(
                Command::new(wasmtime)
                    .args(["run", "-C"])
                    .arg(format!("cache=y,cache-config={}", config.display()))
                    .arg(&theirs)
                    .arg("you"),
            )
        },
    );
    row("attested step in JavaScript, 1 MB, agent, warm", ours, "wasmtime run -C cache of it as a command", theirs);
}

/// Takes what it is sent, and answers.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = swallow(&mut stream);
            });
        }
    });
    origin
}

fn swallow(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut head = Vec::new();
    let body = loop {
        let count = stream.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..count]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break head.len() - end - 4;
        }
        assert!(count > 0);
    };
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
    if field("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length: u64 = field("content-length").unwrap().trim().parse().unwrap();
    let mut left = length - body as u64;
    while left > 0 {
        left -= stream.read(&mut buffer)? as u64;
    }
    stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// Peak memory of a process, MiB.
fn peak(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// A runner whose step may send `token` to a server.
fn sender(origin: &str) -> (Broker, Runner, PathBuf) {
    let broker = Broker::start();
    broker.apply_policy(&format!(
        "{}\n@id(\"here\") permit (principal, action == Action::\"send\", resource in Stage::\"dev\")\n\
         when {{ [\"agent\", \"direct\"].contains(context.measured.isolation) && context.private && \
         !(context.measured has job) }};\n",
        include_str!("../../attestation/broker/policy/development.cedar")
    ));
    broker.set_secret("dev", "seen", "a value that nobody shows");
    broker.set_secret_with("dev", "token", "tok_9f3kQ2m7Lx0Rz5Vb8Nc1", &["--to", origin, "--private"]);
    let runner = Runner::enrolled(&broker, "bench");
    let step = runner.step("requester");
    let manifest = step.with_file_name("step.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let more = format!("[http]\nprivate = [\"{origin}\"]\nwhy = \"sends\"\n[limits]\nseconds = 120\n");
    let text = text.split("\n[http]").next().unwrap();
    std::fs::write(&manifest, format!("{text}\n{more}")).unwrap();
    runner.write("inner/inside", "inside\n");
    (broker, runner, step)
}

fn request(runner: &Runner, step: &Path, arguments: &[&str]) -> Command {
    let mut command = client(runner);
    command
        .arg("--dir")
        .arg(format!("work={}", runner.work().join("inner").display()))
        .arg(step)
        .arg("--")
        .args(arguments);
    command
}

/// Peak memory of worker and egress while a step runs, MiB.
fn peaks(runner: &Runner, mut step: Command) -> (f64, f64) {
    let mut child = step.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let egress = programs().join("attest-egress");
    let mut peaks = (0.0f64, 0.0f64);
    while child.try_wait().unwrap().is_none() {
        for worker in runner.workers() {
            peaks.0 = peaks.0.max(peak(worker));
        }
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if line.starts_with(egress.to_str().unwrap().as_bytes()) {
                peaks.1 = peaks.1.max(peak(pid));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    peaks
}

/// A large file through egress, beside curl.
pub(crate) fn upload() {
    let origin = sink();
    let (_broker, runner, step) = sender(&origin);
    let file = runner.write("inner/large", "");
    let chunk: Vec<u8> = (0..1u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut large = std::fs::File::options().write(true).open(&file).unwrap();
    for _ in 0..LARGE / chunk.len() as u64 {
        large.write_all(&chunk).unwrap();
    }
    drop(large);
    let url = format!("{origin}/large");
    let ours = || quietly(&mut request(&runner, &step, &["upload", &url, "large"]));
    let theirs =
        || quietly(Command::new("curl").args(["-sSf", "-H", "authorization: Bearer x", "-T"]).arg(&file).arg(&url));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..UPLOADS {
        first.push(crate::timed(&mut { ours }));
        second.push(crate::timed(&mut { theirs }));
    }
    // To look costs time, too: once more, and not counted.
    let peaks = peaks(&runner, request(&runner, &step, &["upload", &url, "large"]));
    row("1 GiB uploaded with a secret, whole command", median(first), "curl -T", median(second));
    println!("{:44} {:>9.1} MiB", "of it: peak memory of the worker", peaks.0);
    println!("{:44} {:>9.1} MiB", "of it: peak memory of egress", peaks.1);
    println!("{:44} {:>9.1} MiB", "of it: peak memory of the agent", peak(runner.agent_pid()));
}

/// What a call costs that uses a handle, and ten steps at once.
pub(crate) fn calls_and_crowds() {
    let (_broker, runner, step) = sender("http://127.0.0.1:1");
    let output = request(&runner, &step, &["calls", "1000"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let each = said.lines().find_map(|line| line.strip_suffix(" ns each")).unwrap_or_else(|| panic!("{said}"));
    println!("{:44} {:>9.3} us", "a host call that uses a handle, of 1,000", each.parse::<f64>().unwrap() / 1000.0);

    let began = Instant::now();
    let mut waiting: Vec<_> = (0..10)
        .map(|_| {
            let mut command = request(&runner, &step, &["wait", "4000"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    while runner.workers().len() < 10 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let at_once = runner.workers().len();
    for child in &mut waiting {
        assert!(child.wait().unwrap().success());
    }
    println!("{:44} {:>9}", "steps at once", at_once);
    println!("{:44} {:>9.1} MiB", "peak memory of the agent with them", peak(runner.agent_pid()));
}
