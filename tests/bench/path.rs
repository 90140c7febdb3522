//! The whole path: a step through an agent, and in direct mode, beside the script that a user would write.

use crate::support::{Broker, Directory, Runner, Tracer, Users, directory, programs, run, step};
use crate::{ROUNDS, in_turn, row};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The same in WASI: what `wasmtime run` runs. It says hello and does nothing else.
const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello, world\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 13))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 24)))))"#;

/// A simulator on TCP, as `tpm2-tools` talk to it best, with an attestation key.
struct ToolsTpm {
    child: Child,
    tcti: String,
    _directory: Directory,
}

impl ToolsTpm {
    fn start() -> Self {
        let directory = directory();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1;
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", directory.path().display()))
            .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1,disconnect")])
            .args(["--ctrl", &format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port + 1)).is_err() {
            assert!(Instant::now() < deadline, "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let tpm = Self { child, tcti: format!("swtpm:host=127.0.0.1,port={port}"), _directory: directory };
        let attributes = "restricted|sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
        tpm.tool("tpm2_createprimary", &["-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", attributes, "-c", "ak"]);
        tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", "ak", "0x81010001"]);
        tpm.tool("tpm2_flushcontext", &["-t"]);
        tpm
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        run(command.args(arguments).env("TPM2TOOLS_TCTI", &self.tcti).current_dir(self._directory.path())).ok();
    }
}

impl Drop for ToolsTpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs to a good end, with nothing to say.
fn quietly(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// A client of the runner's agent, as a job's user, with no wrapper around it.
fn client(runner: &Runner, step: &Path) -> Command {
    let mut command = Command::new(programs().join("attest-run"));
    command.arg("--socket").arg(runner.path("run/agent.sock")).arg(step);
    command.uid(Users::JOB).gid(Users::JOB).env_clear().env("HOME", runner.path("home")).current_dir("/");
    command
}

fn direct(home: &Path, step: &Path) -> Command {
    let mut command = Command::new(programs().join("attest-run"));
    command.arg(step).env_clear().env("HOME", home);
    command
}

/// An attested step beside quote, request and run.
pub(crate) fn steps(wasmtime: &str) {
    let folder = directory();
    let file = |name: &str| folder.path().join(name);
    let tpm = ToolsTpm::start();
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "bench");
    let enrolment: serde_json::Value =
        serde_json::from_slice(&std::fs::read(runner.path("state/enrolment.json")).unwrap()).unwrap();
    std::fs::write(file("root.pem"), enrolment["tls_root"].as_str().unwrap()).unwrap();
    std::fs::write(file("hello.wasm"), wat::parse_str(HELLO).unwrap()).unwrap();
    let script = format!(
        "set -e\ntpm2_quote -Q -c 0x81010001 -l sha256:0,1,2,3,4,5,6,7,8,9,14 -q {} -m q.msg -s q.sig -o q.pcrs\n\
         curl -sSf --cacert root.pem {}/v1/health\n{wasmtime} run hello.wasm\n",
        "00".repeat(32),
        broker.url()
    );
    std::fs::write(file("script"), script).unwrap();
    let script = || {
        quietly(Command::new("sh").arg("script").current_dir(folder.path()).env("TPM2TOOLS_TCTI", &tpm.tcti));
    };
    let hello = runner.step("hello");
    let beside = "tpm2_quote, curl, wasmtime run (trivial)";
    let (agent, theirs) = in_turn(ROUNDS, || quietly(&mut client(&runner, &hello)), script);
    row("attested step, agent, warm", agent, beside, theirs);
    let home = directory();
    let (here, theirs) = in_turn(ROUNDS, || quietly(&mut direct(home.path(), &hello)), script);
    row("attested step, direct, warm", here, beside, theirs);

    // The first run of a component on a runner compiles it, in a process of its own.
    let compiled = file("hello.cwasm");
    let compile = || {
        let mut command = Command::new(wasmtime);
        quietly(command.args(["compile", "-o"]).arg(&compiled).arg(&hello));
    };
    let mut compiling = Vec::new();
    let (_, theirs) = in_turn(
        ROUNDS / 4,
        || {
            for entry in std::fs::read_dir(runner.path("state/code")).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
            // What is in memory is another runner's to find: each round has a component of its own.
            std::fs::OpenOptions::new()
                .append(true)
                .open(&hello)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &[0, 2, 1, b'x']))
                .unwrap();
            let document = json(&runner, &hello);
            compiling.push(Duration::from_micros(document["timings_us"]["compile"].as_u64().unwrap()));
        },
        compile,
    );
    row("the first run only: compiling, one thread", crate::median(compiling), "wasmtime compile, all cores", theirs);
}

/// What a step makes the machine do.
pub(crate) fn counts() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "bench");
    let (hello, home) = (runner.step("hello"), directory());
    quietly(&mut client(&runner, &hello));
    quietly(&mut direct(home.path(), &hello));
    println!();

    let document = json(&runner, &hello);
    println!("{:44} {:>9}", "TPM commands of a step that signs nothing", document["counts"]["TPM commands"]);

    let trace = |pid: u32, name: &str, work: &mut dyn FnMut()| {
        let file: PathBuf = runner.path(name);
        let tracer = Tracer::record(pid, &file);
        work();
        tracer.detach();
        std::fs::read_to_string(file).unwrap()
    };
    let made = trace(broker.pid(), "broker.trace", &mut || quietly(&mut client(&runner, &hello)));
    // In WAL mode with synchronous=FULL a commit is one sync.
    println!("{:44} {:>9}", "commits (syncs) of the broker, agent", made.matches("sync(").count());
    let made = trace(runner.spawner_pid(), "spawner.trace", &mut || quietly(&mut client(&runner, &hello)));
    println!("{:44} {:>9}", "processes started, agent (with the client)", 1 + made.matches("execve(").count());
    let file = runner.path("direct.trace");
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-e", "trace=execve,fdatasync,fsync", "-o"])
        .arg(&file)
        .arg(programs().join("attest-run"))
        .arg(&hello);
    quietly(traced.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin"));
    let made = std::fs::read_to_string(file).unwrap();
    let count = |call: &str| made.lines().filter(|line| line.contains(call) && !line.contains(" = -1 ")).count();
    println!("{:44} {:>9}", "processes started, direct", count("execve("));
    println!("{:44} {:>9}", "syncs to disk, direct, TPM and broker", count("sync("));
}

/// One step, with its timings and counts.
fn json(runner: &Runner, step: &Path) -> serde_json::Value {
    let mut command = Command::new(programs().join("attest-run"));
    command.args(["--json", "--socket"]).arg(runner.path("run/agent.sock")).arg("--timings").arg(step);
    command.uid(Users::JOB).gid(Users::JOB).env_clear().env("HOME", runner.path("home")).current_dir("/");
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

/// Peak memory, after a hundred steps.
pub(crate) async fn memory() {
    let broker = Broker::start();
    broker.set_secret("dev", "release/npm-token", "a value to release");
    let runner = Runner::enrolled(&broker, "bench");
    runner.as_user(0, &["keys", "create", "release"]).ok();
    let peak = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    };
    println!();
    let show = |what: &str, mebibytes: f64| println!("{what:44} {mebibytes:>9.1} MiB");
    show("peak memory of the broker, idle", peak(broker.pid()));
    show("peak memory of the agent, idle", peak(runner.agent_pid()));
    let hello = runner.step("hello");
    for _ in 0..100 {
        quietly(&mut client(&runner, &hello));
    }
    show("peak memory of the broker, 100 steps later", peak(broker.pid()));
    show("peak memory of the agent, 100 steps later", peak(runner.agent_pid()));
    show("peak memory of the spawner", peak(runner.spawner_pid()));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| runner.hostile(&["wait"]));
        assert_eq!(step("hostile").join("hostile.wasm").metadata().unwrap().len() >> 20, 0);
        while !runner.work().join("inner/started").exists() {
            assert!(!waiting.is_finished(), "{:?}", waiting.join());
            std::thread::sleep(Duration::from_millis(5));
        }
        let worker = runner.workers()[0];
        show("peak memory of a worker, 64 KiB component", peak(worker));
        run(Command::new("kill").args(["-KILL", &worker.to_string()])).ok();
        waiting.join().unwrap();
    });
}
