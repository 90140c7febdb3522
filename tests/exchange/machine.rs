//! A machine that boots as the test says, and whose kernel measures what the test says.

use crate::support::{Broker, Directory, Rig, directory, embedded};
use attest_agent::BrokerError;
use attest_evidence::eventlog::{Event, EventLog, EventType, LogBuilder};
use attest_evidence::exchange::{
    GrantBody, Isolation, LeaseClose, RawEvidence, Request, lease_end_qualifying_data, logs, write_bound,
    write_exchange, write_lease_close_bound,
};
use attest_evidence::report::Report;
use attest_evidence::tpm::PcrIndex;
use attest_evidence::uefi::Guid;
use attest_evidence::{HashAlgorithm, Sha256Digest};
use attest_tpm::{QuoteOutput, Tpm};
use std::path::Path;

pub(super) fn pcr(number: u8) -> PcrIndex {
    PcrIndex::new(number).unwrap()
}

/// `UEFI_VARIABLE_DATA`.
pub(super) fn variable(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u16> = name.encode_utf16().collect();
    let mut out = vendor.as_bytes().to_vec();
    out.extend((name.len() as u64).to_le_bytes());
    out.extend((data.len() as u64).to_le_bytes());
    out.extend(name.into_iter().flat_map(u16::to_le_bytes));
    out.extend(data);
    out
}

/// A boot with Secure Boot on or off, of a kernel.
pub(super) fn boot(secure: bool, kernel: &str) -> LogBuilder {
    let mut log = LogBuilder::default();
    log.measured(pcr(0), EventType::S_CRTM_VERSION, b"firmware 1.0");
    let flag = variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[u8::from(secure)]);
    log.measured(pcr(7), EventType::EFI_VARIABLE_DRIVER_CONFIG, &flag);
    for number in 0..=7 {
        log.measured(pcr(number), EventType::SEPARATOR, &[0; 4]);
    }
    let command = format!("linux /{kernel} root=/dev/sda1");
    log.event(pcr(8), EventType::IPL, Sha256Digest::of(command.as_bytes()), format!("grub_cmd: {command}").as_bytes());
    log.event(pcr(9), EventType::IPL, Sha256Digest::of(kernel.as_bytes()), format!("/{kernel}").as_bytes());
    log
}

/// A runner whose TPM boots as the test says.
pub(super) struct Machine {
    pub(super) rig: Rig,
    /// What it asks for.
    pub(super) request: Request,
    folder: Directory,
    pub(super) log: Vec<u8>,
}

impl Machine {
    pub(super) async fn booted(broker: &Broker, log: LogBuilder) -> Self {
        Self::booted_as(broker, "r", log).await
    }

    pub(super) async fn booted_as(broker: &Broker, name: &str, log: LogBuilder) -> Self {
        let folder = directory();
        let rig = Rig::with_tpm(broker, name, embedded(&folder.path().join("tpm"))).await.unwrap();
        let mut machine = Self { request: rig.request(), rig, folder, log: Vec::new() };
        machine.measure(log).await;
        machine
    }

    pub(super) async fn measure(&mut self, log: LogBuilder) {
        let (bytes, extended) = log.finish();
        self.rig.tpm.run(move |device| device.extend_pcrs(&extended)).await.unwrap();
        self.log = bytes;
    }

    /// Measures what an event log of another machine says, in its order.
    pub(super) async fn measure_log(&mut self, bytes: Vec<u8>) {
        let log = EventLog::parse(&bytes).unwrap();
        let digest = |event: &Event<'_>| {
            let digest = event.digest(HashAlgorithm::Sha256)?.try_into().ok()?;
            Some((event.extends()?, Sha256Digest::from_bytes(digest)))
        };
        let extended: Vec<_> = log.events().iter().filter_map(digest).collect();
        self.rig.tpm.run(move |device| device.extend_pcrs(&extended)).await.unwrap();
        self.log = bytes;
    }

    /// Turns the TPM off, does something to its state, and boots.
    pub(super) async fn reboot(&mut self, log: LogBuilder, meanwhile: impl FnOnce(&Path)) {
        self.restart(meanwhile).await;
        self.measure(log).await;
    }

    /// The same, and nothing is measured yet.
    pub(super) async fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        let elsewhere = directory();
        self.rig.tpm = Tpm::open(embedded(&elsewhere.path().join("tpm"))).await.unwrap();
        let state = self.folder.path().join("tpm");
        // The old one writes its state down when nobody speaks to it any more.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_served(&state) {
            assert!(std::time::Instant::now() < deadline, "the TPM does not end");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        meanwhile(&state);
        self.rig.tpm = Tpm::open(embedded(&state)).await.unwrap();
        let credentials = self.rig.key.credentials.duplicate();
        self.rig.tpm.run(move |device| device.use_attestation_key(&credentials)).await.unwrap();
    }

    pub(super) async fn send(&self, logs: &[(u16, Vec<u8>)]) -> Result<GrantBody, BrokerError> {
        let challenge = self.rig.challenge().await;
        let bound = write_bound(&challenge, &self.request).unwrap();
        let quote = self.rig.quote(&challenge, &bound).await;
        self.rig.send(write(&bound, &quote, logs)).await
    }

    /// Asks with a log.
    pub(super) async fn ask_with(&self, log: &[u8]) -> Result<GrantBody, BrokerError> {
        self.send(&[logs::event_log(log)]).await
    }

    pub(super) async fn ask(&self) -> Result<GrantBody, BrokerError> {
        self.ask_with(&self.log).await
    }
}

/// Whether a process serves the TPM whose state is there.
fn is_served(state: &Path) -> bool {
    let state = state.to_str().unwrap();
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == state.as_bytes())
    })
}

pub(super) fn report(result: Result<GrantBody, BrokerError>) -> Report {
    match result {
        Err(BrokerError::Refused(report, _)) => *report,
        other => panic!("wanted a refusal, got {other:?}"),
    }
}

pub(super) fn fact<'a>(report: &'a Report, name: &str) -> &'a str {
    report.facts.iter().find(|fact| fact.name == name).map_or("", |fact| &fact.value)
}

impl Machine {
    /// Asks with its event log and a part of what its kernel measured.
    pub(super) async fn ask_measured(&self, first: u64, list: &[u8]) -> Result<GrantBody, BrokerError> {
        self.send(&[logs::event_log(&self.log), logs::measurements(first, list)]).await
    }

    /// Ends a lease with a quote, and these logs.
    pub(super) async fn close(&self, release: Vec<u8>, logs: &[(u16, Vec<u8>)]) -> Result<(), BrokerError> {
        self.rig.client.close_lease(self.closing(release, logs).await).await
    }

    pub(super) async fn closing(&self, release: Vec<u8>, logs: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let challenge = self.rig.challenge().await;
        let close = LeaseClose { isolation: Isolation::Direct, release, ledger: None };
        let bound = write_lease_close_bound(&challenge, &close).unwrap();
        let qualifying = lease_end_qualifying_data(&Sha256Digest::of(&bound));
        let selection = challenge.selection;
        let quote = self.rig.tpm.run(move |device| device.quote(selection, &qualifying)).await.unwrap();
        write(&bound, &quote, logs)
    }
}

fn write(bound: &[u8], quote: &QuoteOutput, logs: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let pcrs = quote.pcrs.to_bytes();
    let logs = logs.iter().map(|(kind, bytes)| (*kind, bytes.as_slice())).collect();
    let evidence = RawEvidence { quote: &quote.message, signature: &quote.signature, pcrs: &pcrs, logs };
    write_exchange(bound, &evidence).unwrap()
}
