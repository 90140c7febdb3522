//! swtpm: another maker's simulator, with an endorsement certificate of a CA of its own.

use super::Directory;
use super::process::run;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A simulator on a Unix socket. It ends with the test.
pub(crate) struct Swtpm {
    directory: Directory,
    child: Child,
}

impl Swtpm {
    /// A simulator without certificates.
    pub(crate) fn bare() -> Self {
        let directory = super::directory();
        std::fs::create_dir(directory.path().join("state")).unwrap();
        Self::serve(directory)
    }

    /// A simulator with an EK certificate, RSA-2048, of a CA of its own.
    pub(crate) fn certified() -> Self {
        let directory = super::directory();
        let root = directory.path();
        std::fs::create_dir(root.join("state")).unwrap();
        std::fs::create_dir(root.join("ca")).unwrap();
        let ca = root.join("ca");
        let write = |name: &str, contents: String| std::fs::write(root.join(name), contents).unwrap();
        write(
            "localca.conf",
            format!(
                "statedir = {0}\nsigningkey = {0}/signkey.pem\nissuercert = {0}/issuercert.pem\ncertserial = {0}/certserial\n",
                ca.display()
            ),
        );
        write(
            "localca.options",
            "--platform-manufacturer Example\n--platform-version 1\n--platform-model Test\n".to_owned(),
        );
        let tool = run(Command::new("sh").args(["-c", "command -v swtpm_localca"])).ok().stdout;
        write(
            "setup.conf",
            format!(
                "create_certs_tool = {}\ncreate_certs_tool_config = {1}/localca.conf\ncreate_certs_tool_options = {1}/localca.options\n",
                tool.trim(),
                root.display()
            ),
        );
        run(Command::new("swtpm_setup")
            .args(["--tpm2", "--runas", "root", "--create-ek-cert", "--lock-nvram", "--config"])
            .arg(root.join("setup.conf"))
            .arg("--tpmstate")
            .arg(root.join("state")))
        .ok();
        Self::serve(directory)
    }

    fn serve(directory: Directory) -> Self {
        let socket = directory.path().join("socket");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init", "--tpmstate"])
            .arg(format!("dir={}", directory.path().join("state").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !listens(&socket) {
            assert!(Instant::now() < deadline, "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { directory, child }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Lets every user of this machine speak to it.
    pub(crate) fn open_to_all(&self) {
        for (path, mode) in [(self.directory.path().to_owned(), 0o755), (self.socket(), 0o777)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    pub(crate) fn transport(&self) -> attest_tpm::Transport {
        attest_tpm::Transport::Swtpm(self.socket())
    }

    /// The certificates of its CA: the root, and what signs EK certificates.
    pub(crate) fn authority(&self) -> (PathBuf, PathBuf) {
        let ca = self.directory.path().join("ca");
        let root = std::fs::read_dir(&ca)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| name_of(path).contains("rootca-cert"))
            .unwrap();
        (root, ca.join("issuercert.pem"))
    }
}

/// Whether somebody listens on a socket, without connecting to it: a simulator serves one connection at a time.
fn listens(socket: &Path) -> bool {
    const ACCEPTS: &str = "00010000"; // `__SO_ACCEPTCON`
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().any(|line| line.ends_with(socket.to_str().unwrap()) && line.contains(ACCEPTS))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
