//! A runner as an admin sets it up: an agent of its own user, workers of another, jobs of a third.
//!
//! Each lives in a mount namespace with an `/etc` of its own, so that tests don't meet, and this machine's
//! `/etc/attest-run` stays as it is.

use super::process::{Output, run};
use super::programs::programs;
use super::{Broker, Directory, WallClock, step};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The users of a runner.
pub(crate) struct Users;

impl Users {
    pub(crate) const AGENT: u32 = 61_002;
    pub(crate) const WORKER: u32 = 61_003;
    /// The user that jobs run as.
    pub(crate) const JOB: u32 = 61_004;
    /// A user of the machine with no part in this.
    pub(crate) const STRANGER: u32 = 61_005;
    pub(crate) const EGRESS: u32 = 61_006;
}

/// A runner. Its agent ends with the test.
pub(crate) struct Runner {
    directory: Directory,
    programs: PathBuf,
    agent: Option<Child>,
    clock: WallClock,
    /// The agent's mount namespace: its workers are known by it, also when the agent is gone.
    namespace: PathBuf,
}

impl Runner {
    /// A runner whose agent serves and is enrolled with `broker`.
    pub(crate) fn enrolled(broker: &Broker, name: &str) -> Self {
        let mut runner = Self::new(programs());
        runner.start_agent();
        let token = broker.token_text(name, "agent", true);
        runner.as_user(0, &["enroll", "--broker", &broker.url(), "--token", &token]).ok();
        runner
    }

    /// A runner that has been configured, with these programs.
    pub(crate) fn new(programs: &Path) -> Self {
        let directory = super::directory();
        let root = directory.path();
        let etc = root.join("etc");
        run(Command::new("cp").args(["-a", "/etc"]).arg(&etc)).ok();
        std::fs::create_dir_all(etc.join("attest-run")).unwrap();
        let mut passwd = std::fs::read_to_string(etc.join("passwd")).unwrap();
        let mut group = std::fs::read_to_string(etc.join("group")).unwrap();
        let users = [
            ("ar-agent", Users::AGENT),
            ("ar-worker", Users::WORKER),
            ("ar-job", Users::JOB),
            ("ar-stranger", Users::STRANGER),
            ("ar-egress", Users::EGRESS),
        ];
        for (name, uid) in users {
            passwd += &format!("{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n");
            group += &format!("{name}:x:{uid}:\n");
        }
        std::fs::write(etc.join("passwd"), passwd).unwrap();
        std::fs::write(etc.join("group"), group).unwrap();
        let config = format!(
            "[agent]\nsocket = \"{0}/run/agent.sock\"\nstate = \"{0}/state\"\ntpm = \"embedded:{0}/state/tpm\"\n\
             user = \"ar-agent\"\nworker_user = \"ar-worker\"\negress_user = \"ar-egress\"\n",
            root.display()
        );
        std::fs::write(etc.join("attest-run/config.toml"), config).unwrap();
        for (name, owner, mode) in [
            ("run", 0, 0o755),
            ("state", Users::AGENT, 0o700),
            ("work", Users::JOB, 0o700),
            ("home", Users::JOB, 0o700),
        ] {
            let path = root.join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
        }
        let clock = WallClock::in_folder(root);
        Self { programs: programs.to_owned(), directory, agent: None, clock, namespace: PathBuf::new() }
    }

    /// Has the agent use another TPM, and adds lines to its configuration.
    pub(crate) fn configure(&self, tpm: &str, lines: &str) {
        let path = self.path("etc/attest-run/config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let own = |line: &&str| !line.starts_with("tpm = ");
        let kept: Vec<&str> = text.lines().filter(own).collect();
        std::fs::write(&path, format!("{}\ntpm = \"{tpm}\"\n{lines}", kept.join("\n"))).unwrap();
    }

    /// Where the runner's folders are.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The job's working directory: its user's, mode 0700.
    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Writes a file of the job's user, mode 0600.
    pub(crate) fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.work().join(name);
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != self.work()) {
            std::fs::create_dir_all(folder).unwrap();
            chown(folder, Some(Users::JOB), Some(Users::JOB)).unwrap();
        }
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(Users::JOB), Some(Users::JOB)).unwrap();
        path
    }

    /// A copy of a step that `make steps` has built, for the job to read.
    pub(crate) fn step(&self, name: &str) -> PathBuf {
        let folder = self.path("steps").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for file in [format!("{name}.wasm"), "step.toml".to_owned()] {
            std::fs::copy(step(name).join(&file), folder.join(&file)).unwrap();
        }
        folder.join(format!("{name}.wasm"))
    }

    /// A command in the runner's namespace.
    fn in_namespace(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc && exec \"$@\"")
            .arg(self.path("etc"))
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .current_dir("/");
        command
    }

    /// A program of the runner's, as a user would run it.
    pub(crate) fn command(&self, uid: u32, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.in_namespace("setpriv");
        command
            .args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"])
            .arg(self.programs.join(program))
            .args(arguments);
        command
    }

    /// `attest-run`, as a user would run it.
    pub(crate) fn as_user(&self, uid: u32, arguments: &[&str]) -> Output {
        run(&mut self.command(uid, "attest-run", arguments))
    }

    /// `attest-run`, as a job runs it.
    pub(crate) fn job(&self, arguments: &[&str]) -> Output {
        self.as_user(Users::JOB, arguments)
    }

    /// Runs the hostile step in the job's working directory.
    pub(crate) fn hostile(&self, arguments: &[&str]) -> Output {
        run(&mut self.hostile_command("", arguments))
    }

    /// The same as a command, with these limits in the step's manifest.
    pub(crate) fn hostile_command(&self, limits: &str, arguments: &[&str]) -> Command {
        let limited = |text: String| format!("{text}\n[limits]\n{limits}\n");
        self.hostile_command_by(|text| if limits.is_empty() { text } else { limited(text) }, arguments)
    }

    /// The same with a manifest that is changed.
    pub(crate) fn hostile_command_by(&self, change: impl FnOnce(String) -> String, arguments: &[&str]) -> Command {
        let step = self.step("hostile");
        let manifest = step.with_file_name("step.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        std::fs::write(&manifest, change(text)).unwrap();
        self.write("readonly/file", "may only be read\n");
        self.write("inner/inside", "inside\n");
        let dir = |name: &str, folder: &str| format!("{name}={}", self.work().join(folder).display());
        let (work, readonly) = (dir("work", "inner"), dir("readonly", "readonly"));
        let mut all = vec!["--dir", &work, "--dir", &readonly, step.to_str().unwrap(), "--"];
        all.extend(arguments);
        let mut command = self.command(Users::JOB, "attest-run", &all);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts the agent and waits until it serves.
    pub(crate) fn start_agent(&mut self) {
        self.start_agent_with(false);
    }

    /// The same with a wall clock that can be set: [`Runner::clock`].
    pub(crate) fn start_agent_with_clock(&mut self) {
        self.start_agent_with(true);
    }

    /// The agent's wall clock.
    pub(crate) fn clock(&self) -> &WallClock {
        &self.clock
    }

    fn start_agent_with(&mut self, own_clock: bool) {
        let served = self.log().matches("serving").count();
        let log = std::fs::File::options().create(true).append(true).open(self.path("agent.log")).unwrap();
        let mut command = self.in_namespace(self.programs.join("attest-run").to_str().unwrap());
        if own_clock {
            self.clock.give(&mut command);
        }
        let child = command.arg("agent").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.agent = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.log().matches("serving").count() == served {
            assert!(Instant::now() < deadline, "the agent does not serve: {}", self.log());
            assert!(self.agent.as_mut().unwrap().try_wait().unwrap().is_none(), "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.namespace = std::fs::read_link(format!("/proc/{}/ns/mnt", self.agent_pid())).unwrap();
    }

    /// What the agent wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// The agent's process id.
    pub(crate) fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// The process id of the agent's spawner.
    pub(crate) fn spawner_pid(&self) -> u32 {
        let agent = self.agent_pid();
        let children = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap();
        let line = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        children.split_whitespace().find(|pid| line(pid).contains("attest-spawner")).unwrap().parse().unwrap()
    }

    /// Ends the agent at once.
    pub(crate) fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// Ends the agent as systemd would.
    pub(crate) fn stop_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            run(Command::new("kill").arg(agent.id().to_string())).ok();
            agent.wait().unwrap();
        }
    }

    /// Process ids of the workers that run: not of compilers and searchers, which are the same program.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let works = |role: Option<&[u8]>| role.is_none_or(|role| role != b"--compile" && role != b"--search");
        self.processes("attest-worker", works)
    }

    /// Those of them that have been told what to do, and have raised their walls.
    pub(crate) fn at_work(&self) -> Vec<u32> {
        let walled = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("\nSeccomp:\t2"))
        };
        self.workers().into_iter().filter(walled).collect()
    }

    /// Processes that send the requests of its steps.
    pub(crate) fn egress(&self) -> Vec<u32> {
        self.processes("attest-egress", |_| true)
    }

    /// Its processes of a program, by their first argument.
    fn processes(&self, program: &str, wanted: impl Fn(Option<&[u8]>) -> bool) -> Vec<u32> {
        let program = self.programs.join(program);
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|link| link == self.namespace))
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut words = line.split(|byte| *byte == 0);
                words.next() == Some(program.to_str().unwrap().as_bytes()) && wanted(words.next())
            })
            .collect()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.kill_agent();
    }
}
