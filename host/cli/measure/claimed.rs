//! What a client says of what it was called in: what steers builds, and the working copy.

use attest_agent::digest_if_there;
use attest_evidence::Sha256Digest;
use attest_evidence::measurement::{Claimed, Workspace};
use attest_evidence::report::{Explain as _, Fault, Report};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Variables by which somebody else's code comes into a build, or a build gets its parts from elsewhere.
const VARIABLES: &[&str] = &[
    "ALL_PROXY",
    "AR",
    "BASHOPTS",
    "BASH_ENV",
    "CARGO_HOME",
    "CC",
    "CFLAGS",
    "CLASSPATH",
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "CPPFLAGS",
    "CURL_HOME",
    "CXX",
    "CXXFLAGS",
    "C_INCLUDE_PATH",
    "DOCKER_HOST",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCC_EXEC_PREFIX",
    "GCONV_PATH",
    "GIT_ASKPASS",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_EXEC_PATH",
    "GIT_PROXY_COMMAND",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_TEMPLATE_DIR",
    "GLIBC_TUNABLES",
    "GOENV",
    "GOFLAGS",
    "GOINSECURE",
    "GONOPROXY",
    "GONOSUMCHECK",
    "GONOSUMDB",
    "GOPATH",
    "GOPRIVATE",
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
    "LIBRARY_PATH",
    "MAKEFILES",
    "MAKEFLAGS",
    "MAVEN_OPTS",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NO_PROXY",
    "OBJC_INCLUDE_PATH",
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
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "SHELLOPTS",
    "SOURCE_DATE_EPOCH",
    "SSH_ASKPASS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
/// All that begin like this do, too. In any case, as npm and curl take them.
const PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "BUNDLE_",
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
    "CARGO_TARGET_",
    "CGO_",
    "CMAKE_",
    "GIT_CONFIG_",
    "GIT_SSL_",
    "NPM_CONFIG_",
    "PIP_",
    "PKG_CONFIG_",
    "UV_",
    "YARN_",
];
/// What stands in a name that is a secret's: it steers nothing, and its digest would help to guess it.
const SECRETS: &[&str] = &["AUTH", "CREDENTIAL", "KEY", "PASSW", "PWD", "SECRET", "TOKEN"];
/// Files in the home directory that steer builds, but those that hold passwords first of all.
const FILES: &[&str] = &[
    ".bash_profile",
    ".bashrc",
    ".cargo/config",
    ".cargo/config.toml",
    ".config/git/config",
    ".config/pip/pip.conf",
    ".config/uv/uv.toml",
    ".curlrc",
    ".gitconfig",
    ".gradle/gradle.properties",
    ".gradle/init.gradle",
    ".gradle/init.gradle.kts",
    ".m2/settings.xml",
    ".npmrc",
    ".pip/pip.conf",
    ".profile",
    ".ssh/config",
    ".wgetrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".zprofile",
    ".zshenv",
    ".zshrc",
];

/// What we say of what we were called in.
pub(super) fn gather(workspace: &Path) -> Result<Claimed, Report> {
    let steers = |name: &OsStr| {
        let name = name.to_str()?;
        let upper = name.to_ascii_uppercase();
        let listed = VARIABLES.contains(&upper.as_str()) || PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
        let secret = SECRETS.iter().any(|word| upper.contains(word));
        (listed && !secret).then(|| name.to_owned())
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((steers(&name)?, Sha256Digest::of(&without_credentials(value.as_bytes())))))
        .collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.as_deref();
    let mut files = BTreeMap::new();
    for (file, home) in FILES.iter().zip(std::iter::repeat(home)) {
        let digest = home.map(|home| digest_if_there(&home.join(file))).transpose();
        let digest = digest.map_err(|error| error.report())?.flatten();
        files.extend(digest.map(|digest| (format!("~/{file}"), digest)));
    }
    Ok(Claimed { variables, files, workspace: git(workspace)? })
}

/// A value without what stands between `://` and `@`: user and password of a URL.
fn without_credentials(value: &[u8]) -> Vec<u8> {
    let find = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).position(|part| part == wanted);
    let mut kept = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = find(rest, b"://") {
        let (before, after) = rest.split_at(at + 3);
        kept.extend_from_slice(before);
        let authority = after.iter().position(|byte| b"/?# \t\n,;".contains(byte)).unwrap_or(after.len());
        let user = after.iter().take(authority).rposition(|byte| *byte == b'@');
        rest = after.get(user.map_or(0, |at| at + 1)..).unwrap_or_default();
    }
    kept.extend_from_slice(rest);
    kept
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
    fn who_may_fetch_is_no_part_of_from_where() {
        let kept = |text: &str| String::from_utf8(without_credentials(text.as_bytes())).unwrap();
        assert_eq!(kept("https://ci:pw@host/a@b"), "https://host/a@b");
        assert_eq!(kept("http://u:p@one/x,https://two,direct"), "http://one/x,https://two,direct");
        assert_eq!(kept("https://a:b@c@host?x"), "https://host?x");
        assert_eq!(kept("--flag"), "--flag");
    }

    #[test]
    fn lists_are_in_order_and_fit() {
        assert!(VARIABLES.is_sorted() && FILES.is_sorted() && PREFIXES.is_sorted());
        // With all of them there is room for those that have a prefix.
        assert!(VARIABLES.len() + 256 <= MOST_CLAIMED && FILES.len() <= MOST_CLAIMED);
    }
}
