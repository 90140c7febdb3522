//! A real broker: its own process, its own user, TCP and TLS.

use super::process::{Output, run};
use super::programs::programs;
use super::{Directory, WallClock};
use attest_evidence::exchange::EnrolmentToken;
use sqlx::Row as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user that brokers have in tests.
pub(crate) const BROKER_UID: u32 = 61_001;

/// A broker. It ends with the test.
pub(crate) struct Broker {
    state: PathBuf,
    child: Option<Child>,
    port: u16,
    options: Vec<String>,
    clock: Option<WallClock>,
    _directory: Directory,
}

impl Broker {
    /// Makes a broker and starts it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Makes a broker and starts it with these options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::make(options, false)
    }

    /// The same with a wall clock that can be set: [`Broker::clock`].
    pub(crate) fn start_with_clock(options: &[&str]) -> Self {
        Self::make(options, true)
    }

    fn make(options: &[&str], own_clock: bool) -> Self {
        let directory = super::directory();
        let state = directory.path().join("broker");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(&state, Some(BROKER_UID), Some(BROKER_UID)).unwrap();
        let options = options.iter().map(ToString::to_string).collect();
        let clock = own_clock.then(|| WallClock::in_folder(directory.path()));
        let mut broker = Self { state, child: None, port: 0, options, clock, _directory: directory };
        broker.admin(&["init"]).ok();
        broker.serve();
        broker
    }

    /// Starts the process; on the same port as before, if there was one.
    pub(crate) fn serve(&mut self) {
        let mut child = self
            .command(&["serve", "--json", "--listen", &format!("127.0.0.1:{}", self.port)])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(self.log_file()).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("the broker did not start: {}", self.log()));
        self.port = ready["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        self.child = Some(child);
    }

    /// Ends the process at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills it and starts it again, and lets connections to the old one notice.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.serve();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    /// Whether the process has ended by itself, or is about to.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().unwrap();
        // A killed process is there for a moment longer; one that answers within that is not killed.
        (0..20).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            child.try_wait().unwrap().is_some() || is_zombie(child.id())
        })
    }

    /// Its wall clock.
    pub(crate) fn clock(&self) -> &WallClock {
        self.clock.as_ref().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The process id, to look at the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn log_file(&self) -> PathBuf {
        self.state.parent().unwrap().join("broker.log")
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs().join("attest-broker"));
        command.args(arguments).arg("--state").arg(&self.state).uid(BROKER_UID).gid(BROKER_UID).env_clear();
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        command
    }

    /// What an admin of the broker does.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// A token for a runner, as its text.
    pub(crate) fn token_text(&self, name: &str, isolation: &str, approve: bool) -> String {
        let mut arguments = vec!["runner", "token", name, "--isolation", isolation];
        if approve {
            arguments.push("--approve-uncertified");
        }
        self.admin(&arguments).ok().stdout.trim().to_owned()
    }

    pub(crate) fn token(&self, name: &str, isolation: &str, approve: bool) -> EnrolmentToken {
        EnrolmentToken::parse(&self.token_text(name, isolation, approve)).unwrap()
    }

    /// Sets a secret.
    pub(crate) fn set_secret(&self, stage: &str, name: &str, value: &str) {
        self.set_secret_with(stage, name, value, &[]);
    }

    /// The same with these options.
    pub(crate) fn set_secret_with(&self, stage: &str, name: &str, value: &str, options: &[&str]) {
        let mut child = self
            .command(&["secret", "set", name, "--stage", stage])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Puts a policy in force.
    pub(crate) fn apply_policy(&self, text: &str) {
        let file = self.state.parent().unwrap().join("policy.cedar");
        std::fs::write(&file, text).unwrap();
        self.admin(&["policy", "apply", file.to_str().unwrap()]).ok();
    }

    /// Rows of the database, as an auditor sees them.
    pub(crate) async fn rows(&self, query: &'static str) -> Vec<Vec<String>> {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.state.join("broker.db"));
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&pool).await.unwrap();
        pool.close().await;
        let text = |row: &sqlx::sqlite::SqliteRow, column: usize| {
            row.try_get::<String, _>(column).unwrap_or_else(|_| row.get::<i64, _>(column).to_string())
        };
        rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect()
    }

    /// Changes the database behind the broker's back.
    pub(crate) async fn execute(
        &self,
        query: sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.state.join("broker.db"))
            .busy_timeout(std::time::Duration::from_secs(5));
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        query.execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// Kinds and bodies of the audit log.
    pub(crate) async fn audit(&self) -> Vec<(String, serde_json::Value)> {
        let rows = self.rows("SELECT kind, body FROM audit ORDER BY sequence").await;
        rows.into_iter().map(|row| (row[0].clone(), serde_json::from_str(&row[1]).unwrap())).collect()
    }
}

/// Whether a process is dead, and not gone since somebody holds one of its threads.
fn is_zombie(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
