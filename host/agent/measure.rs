//! The statement about the build environment: an in-toto Statement v1 with predicate `measurement/v1`.
//!
//! Deterministic: the same environment gives the same bytes. It is not signed here.

use attest_evidence::Sha256Digest;
use attest_evidence::exchange::Isolation;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::PcrValues;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The predicate's type.
const PREDICATE: &str = "https://attest-run.dev/measurement/v1";
/// Most bytes of a file that is measured by its contents.
const LONGEST_TEXT: u64 = 64 * 1024;

/// What is measured: given by whoever knows.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Programs, by name.
    pub programs: BTreeMap<&'static str, PathBuf>,
    /// How the agent is separated from the jobs.
    pub isolation: Isolation,
    /// The boot state.
    pub pcrs: PcrValues,
}

/// Why the environment could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't measure {}: {reason}", path.display())]
pub struct MeasureError {
    /// What.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

impl Explain for MeasureError {
    fn report(&self) -> Report {
        Report::new("AR-C301", Fault::Environment, self.to_string())
    }
}

#[derive(Serialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<ResourceDescriptor>,
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate,
}

#[derive(Serialize)]
struct ResourceDescriptor {
    name: String,
    digest: BTreeMap<&'static str, Sha256Digest>,
}

#[derive(Serialize)]
struct Predicate {
    isolation: Isolation,
    boot_state: BootState,
    kernel: Kernel,
    os: BTreeMap<String, String>,
    programs: Vec<ResourceDescriptor>,
}

#[derive(Serialize)]
struct BootState {
    pcr_digest: Sha256Digest,
    pcrs: BTreeMap<u8, String>,
}

#[derive(Serialize)]
struct Kernel {
    release: String,
    version: String,
    command_line: String,
}

/// The statement about this environment, as the bytes of its JSON.
///
/// # Errors
/// A program or a kernel file that can't be read.
pub fn statement(subject: &Subject) -> Result<Vec<u8>, MeasureError> {
    let name = rustix::system::uname();
    let programs = subject
        .programs
        .iter()
        .map(|(name, path)| Ok(descriptor(name, digest_of(path)?)))
        .collect::<Result<Vec<_>, MeasureError>>()?;
    let pcr_digest = subject.pcrs.digest();
    let predicate = Predicate {
        isolation: subject.isolation,
        boot_state: BootState {
            pcr_digest,
            pcrs: subject
                .pcrs
                .iter()
                .map(|(index, value)| (index.get(), attest_evidence::digest::to_hex(value)))
                .collect(),
        },
        kernel: Kernel {
            release: name.release().to_string_lossy().into_owned(),
            version: name.version().to_string_lossy().into_owned(),
            command_line: text_of(Path::new("/proc/cmdline"))?.trim_end().to_owned(),
        },
        os: os_release(&text_of(Path::new("/etc/os-release")).unwrap_or_default()),
        programs,
    };
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: vec![descriptor("boot-state", pcr_digest)],
        predicate_type: PREDICATE,
        predicate,
    };
    serde_json::to_vec(&statement)
        .map_err(|error| MeasureError { path: PathBuf::from("statement"), reason: error.to_string() })
}

fn descriptor(name: &str, digest: Sha256Digest) -> ResourceDescriptor {
    ResourceDescriptor { name: name.to_owned(), digest: BTreeMap::from([("sha256", digest)]) }
}

pub(crate) fn digest_of(path: &Path) -> Result<Sha256Digest, MeasureError> {
    use sha2::Digest as _;
    let failed = |error: std::io::Error| MeasureError { path: path.to_owned(), reason: error.to_string() };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Sha256Digest::from_bytes(hash.finalize().into())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn text_of(path: &Path) -> Result<String, MeasureError> {
    let failed = |error: std::io::Error| MeasureError { path: path.to_owned(), reason: error.to_string() };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(LONGEST_TEXT).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The members of `os-release(5)` that say which system it is.
fn os_release(text: &str) -> BTreeMap<String, String> {
    const KEPT: [&str; 6] = ["ID", "VERSION_ID", "BUILD_ID", "IMAGE_ID", "IMAGE_VERSION", "VARIANT_ID"];
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| KEPT.contains(name))
        .map(|(name, value)| (name.to_lowercase(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_environment_gives_the_same_bytes() {
        let subject = Subject {
            programs: BTreeMap::from([("this", PathBuf::from("/proc/self/exe"))]),
            isolation: Isolation::Direct,
            pcrs: PcrValues::default(),
        };
        assert_eq!(statement(&subject).unwrap(), statement(&subject).unwrap());
    }

    #[test]
    fn of_os_release_only_what_says_which_system_it_is_is_kept() {
        let os = os_release("ID=debian\nVERSION_ID=\"12\"\nHOME_URL=https://example.org\n");
        assert_eq!(os, BTreeMap::from([("id".into(), "debian".into()), ("version_id".into(), "12".into())]));
    }
}
