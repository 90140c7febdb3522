//! What this machine booted: the firmware's event log, or, for the embedded TPM, a boot that the agent measures itself.

use crate::agent::{AgentError, Settings};
use crate::state::State;
use crate::{measure, programs};
use attest_evidence::Sha256Digest;
use attest_evidence::eventlog::{EventType, LARGEST_LOG, LogBuilder};
use attest_evidence::exchange::logs;
use attest_evidence::tpm::PcrIndex;
use attest_tpm::{Tpm, Transport};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The log of this boot, and whether the broker has it.
#[derive(Debug)]
pub(crate) struct BootLog {
    log: Option<Log>,
    /// Whether the broker has said yes to an exchange that carried it.
    known: Mutex<bool>,
}

#[derive(Debug)]
struct Log {
    bytes: Vec<u8>,
    digest: Sha256Digest,
}

/// Reads the firmware's event log of a TPM device. For root, before an agent gives up what it takes to read it.
///
/// None where there is none: some firmware and some boot loaders leave none, and other transports are no machine's.
pub fn firmware_log(tpm: &Transport) -> Option<Vec<u8>> {
    let path = log_path(tpm)?;
    match read_event_log(&path) {
        Ok(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "there is no event log: reference values about it will not be met");
            None
        }
    }
}

/// Reads an event log.
///
/// # Errors
/// What the operating system reports, and one that is larger than any broker reads.
pub fn read_event_log(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(LARGEST_LOG).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST_LOG {
        return Err(std::io::Error::other(format!("it is larger than the {LARGEST_LOG} bytes that any broker reads")));
    }
    Ok(bytes)
}

/// `/sys/kernel/security/tpmN/binary_bios_measurements`, for `/dev/tpmN` and `/dev/tpmrmN`.
fn log_path(tpm: &Transport) -> Option<PathBuf> {
    let Transport::Device(device) = tpm else { return None };
    let name = device.file_name()?.to_str()?;
    let number = name.strip_prefix("tpmrm").or_else(|| name.strip_prefix("tpm"))?;
    let number: u8 = number.parse().ok()?;
    Some(PathBuf::from(format!("/sys/kernel/security/tpm{number}/binary_bios_measurements")))
}

impl BootLog {
    pub(crate) async fn of(settings: &Settings, state: &State, tpm: &Tpm) -> Result<Self, AgentError> {
        let bytes = match &settings.tpm {
            Transport::Embedded(_) => Some(measured_boot(tpm, state, settings).await?),
            _ => settings.event_log.clone(),
        };
        let log = bytes.map(|bytes| Log { digest: Sha256Digest::of(&bytes), bytes });
        Ok(Self { log, known: Mutex::new(false) })
    }

    /// What goes along with a quote: nothing, the digest of a log that the broker has, or all of it.
    pub(crate) fn to_send(&self) -> Vec<(u16, Vec<u8>)> {
        let Some(log) = &self.log else { return Vec::new() };
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        vec![if known { logs::known_event_log(&log.digest) } else { logs::event_log(&log.bytes) }]
    }

    /// Remembers whether the broker has it.
    pub(crate) fn set_known(&self, known: bool) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

/// The boot of the embedded TPM: it starts with the agent, and the agent measures into it what it is itself and what it runs
/// on, as firmware and boot loaders do. It proves nothing that the agent does not say; it makes the whole path the same.
async fn measured_boot(tpm: &Tpm, state: &State, settings: &Settings) -> Result<Vec<u8>, AgentError> {
    let mut log = LogBuilder::default();
    let pcr = |number: u8| PcrIndex::new(number).unwrap_or(PcrIndex::SECURE_BOOT);
    log.measured(pcr(0), EventType::S_CRTM_VERSION, concat!("attest-run ", env!("CARGO_PKG_VERSION")).as_bytes());
    for (name, digest) in programs::digests(state, &settings.programs).await? {
        log.event(pcr(4), EventType::IPL, digest, name.as_bytes());
    }
    for number in 0..=7 {
        log.measured(pcr(number), EventType::SEPARATOR, &[0; 4]);
    }
    let kernel = rustix::system::uname();
    let release = format!("kernel_release: {}", kernel.release().to_string_lossy());
    log.measured(pcr(8), EventType::IPL, release.as_bytes());
    if let Ok(release) = measure::digest_of(Path::new("/etc/os-release")) {
        log.event(pcr(9), EventType::IPL, release, b"/etc/os-release");
    }
    let (bytes, extended) = log.finish();
    tpm.run(move |device| device.extend_pcrs(&extended)).await.map_err(AgentError::Tpm)?;
    Ok(bytes)
}
