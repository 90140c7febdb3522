//! `measure`: the statement about this build environment.

use crate::{Global, client, output};
use attest_evidence::Sha256Digest;
use attest_evidence::measurement::{Claimed, Workspace};
use attest_evidence::report::{Fault, Report};
use attest_wire::client::{Answer, Request};
use clap::Args;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The schema of what is printed.
const SCHEMA: &str = include_str!("../../docs/reference/measurement.schema.json");
/// Most bytes of a file that is read for its digest.
const LARGEST_FILE: u64 = 16 << 20;

/// Variables by which somebody else's code comes into a build, or a build gets its parts from elsewhere.
const VARIABLES: [&str; 66] = [
    "AR",
    "BASH_ENV",
    "CARGO_HOME",
    "CC",
    "CFLAGS",
    "CLASSPATH",
    "CPPFLAGS",
    "CURL_HOME",
    "CXX",
    "CXXFLAGS",
    "DOCKER_HOST",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_TEMPLATE_DIR",
    "GOENV",
    "GOFLAGS",
    "GOINSECURE",
    "GONOSUMCHECK",
    "GONOSUMDB",
    "GOPATH",
    "GOPROXY",
    "GOROOT",
    "GOSUMDB",
    "GOTOOLCHAIN",
    "GRADLE_OPTS",
    "GRADLE_USER_HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LD",
    "LDFLAGS",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MAKEFLAGS",
    "MAVEN_OPTS",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PATH",
    "PERL5LIB",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "SOURCE_DATE_EPOCH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
/// All that begin like this do, too. In any case, as npm and curl take them.
const PREFIXES: [&str; 9] = [
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_TARGET_",
    "GIT_CONFIG_",
    "NPM_CONFIG_",
    "PIP_",
    "UV_",
    "YARN_",
    "BUNDLE_",
];
/// Files in the home directory that steer builds.
const FILES: [&str; 25] = [
    ".bash_profile",
    ".bashrc",
    ".cargo/config",
    ".cargo/config.toml",
    ".config/git/config",
    ".config/pip/pip.conf",
    ".config/uv/uv.toml",
    ".curlrc",
    ".docker/config.json",
    ".gitconfig",
    ".gradle/gradle.properties",
    ".gradle/init.gradle",
    ".gradle/init.gradle.kts",
    ".m2/settings.xml",
    ".npmrc",
    ".pip/pip.conf",
    ".profile",
    ".pypirc",
    ".ssh/config",
    ".wgetrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".zprofile",
    ".zshenv",
    ".zshrc",
];

/// Print an in-toto Statement v1, predicate measurement/v1. The same environment gives the same bytes.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// The working copy that is built. Default: what the CI system says, else this directory
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Print the JSON Schema of what is printed otherwise
    #[arg(long, conflicts_with = "workspace")]
    schema: bool,
}

impl Measure {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        if self.schema {
            output::print_text(SCHEMA);
            return Ok(());
        }
        let claimed = claimed(&self.workspace())?;
        let claimed =
            serde_json::to_string(&claimed).map_err(|error| Report::new("AR-C302", Fault::Bug, error.to_string()))?;
        match client::ask_one(global, Request::Measure { claimed }, Vec::new())? {
            Answer::Statement(statement) => output::print_text(&statement),
            _ => return Err(client::unexpected()),
        }
        Ok(())
    }

    fn workspace(&self) -> PathBuf {
        let of_ci = || ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"].iter().find_map(std::env::var_os).map(PathBuf::from);
        self.workspace.clone().or_else(of_ci).unwrap_or_else(|| PathBuf::from("."))
    }
}

/// What we say of what we were called in.
fn claimed(workspace: &Path) -> Result<Claimed, Report> {
    let steers = |name: &OsStr| {
        let name = name.to_str()?;
        let upper = name.to_ascii_uppercase();
        let listed = VARIABLES.contains(&upper.as_str()) || PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
        listed.then(|| name.to_owned())
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((steers(&name)?, Sha256Digest::of(value.as_bytes()))))
        .collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let in_home = |file: &&str| Some((format!("~/{file}"), digest_of(&home.as_ref()?.join(file))?));
    Ok(Claimed { variables, files: FILES.iter().filter_map(in_home).collect(), workspace: git(workspace)? })
}

/// The digest of a file that can be read.
fn digest_of(path: &Path) -> Option<Sha256Digest> {
    let file =
        std::fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(Sha256Digest::of(&bytes))
}

/// What git says of a working copy: nothing where there is no git, or no working copy of its.
fn git(workspace: &Path) -> Result<Option<Workspace>, Report> {
    let ask = |arguments: &[&str]| {
        let asked = Command::new("git")
            .arg("-C")
            .arg(workspace)
            // Nothing is written, and no watcher of the repository's choice is started.
            .args(["--no-optional-locks", "-c", "core.fsmonitor=false"])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        asked.ok().filter(|output| output.status.success()).map(|output| output.stdout)
    };
    let inside = ask(&["rev-parse", "--is-inside-work-tree"]);
    if inside.is_none_or(|inside| inside.trim_ascii() != b"true") {
        return Ok(None);
    }
    let commit = ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
    let commit = commit.map(|commit| String::from_utf8_lossy(commit.trim_ascii()).into_owned());
    let Some(status) = ask(&["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"]) else {
        let what = format!("git does not say how the working copy at {} is", workspace.display());
        return Err(Report::new("AR-C303", Fault::Environment, what).hint("see what `git status` says there"));
    };
    Ok(Some(Workspace { commit, dirty: !status.is_empty() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest_evidence::measurement::MOST_CLAIMED;

    #[test]
    fn lists_are_in_order_and_fit() {
        assert!(VARIABLES.is_sorted() && FILES.is_sorted());
        // With all of them there is room for those that have a prefix.
        assert!(VARIABLES.len() + 256 <= MOST_CLAIMED && FILES.len() <= MOST_CLAIMED);
    }
}
