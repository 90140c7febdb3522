//! What can go wrong with a TPM, and what to do about it.

use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::TpmName;
use std::path::PathBuf;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind};

/// An operation of the TPM that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TpmError {
    /// There is no TPM where one should be.
    #[error("no TPM at {transport}: {reason}")]
    Absent {
        /// Where it was looked for.
        transport: String,
        /// Why it could not be opened.
        reason: String,
    },
    /// Somebody else uses it.
    #[error("the TPM at {transport} is in use: {reason}")]
    Busy {
        /// Which.
        transport: String,
        /// How that shows.
        reason: String,
    },
    /// The embedded TPM's state is gone, though it has been there.
    #[error("the embedded TPM's state is gone from {directory}")]
    StateLost {
        /// Where it was.
        directory: PathBuf,
    },
    /// The embedded TPM's state is there but is not what was written.
    #[error("the embedded TPM's state in {directory} is damaged: {reason}")]
    StateDamaged {
        /// Where it is.
        directory: PathBuf,
        /// What shows it.
        reason: String,
    },
    /// Too many failed authorizations (TPM 2.0 Part 1 §19.8).
    #[error("the TPM is locked out: too many failed authorizations")]
    LockedOut,
    /// The AK that this runner enrolled with is not in the TPM.
    #[error("the attestation key is not in the TPM at handle {handle:#010x}")]
    AttestationKeyMissing {
        /// Where it should be.
        handle: u32,
    },
    /// Another key lies where the AK should.
    #[error("the key at handle {handle:#010x} is {found}, and the enrolled attestation key is {wanted}")]
    AttestationKeyChanged {
        /// Where it should be.
        handle: u32,
        /// The Name of the enrolled AK.
        wanted: TpmName,
        /// The Name of what is there.
        found: TpmName,
    },
    /// The TPM shows another EK than the one that was checked.
    #[error("the TPM's endorsement key is {found}, and the one that was checked is {wanted}")]
    OtherEndorsementKey {
        /// The Name of the EK that was checked.
        wanted: TpmName,
        /// The Name of the one that sessions were salted with.
        found: TpmName,
    },
    /// No AK has been named yet.
    #[error("no attestation key: this runner is not enrolled")]
    NotEnrolled,
    /// A stored key does not belong to this TPM, or its file is damaged.
    #[error("the key can't be loaded: it was made by another TPM, or its file is damaged")]
    ForeignKey,
    /// The PCRs changed faster than they could be read.
    #[error("the PCRs changed during {0} quotes in a row")]
    PcrsUnstable(u32),
    /// The policy of sealed data does not hold.
    #[error("the sealed data's policy does not hold: the boot state has changed")]
    PolicyFailed,
    /// What was shown is no authority's word for this key and this session.
    #[error("the TPM does not take the broker's signature for this key")]
    NotAuthorized,
    /// The time for which an authority signed is over, or the TPM was reset since.
    #[error("the TPM does not use the key any more: the time that the broker signed for is over")]
    LeaseOver,
    /// The PCRs that a key is bound to are not what they were.
    #[error("the TPM does not use the key in this boot state: the PCRs that it is bound to are not what they were")]
    OtherBootState,
    /// What came from the TPM is no signature of the key over what it was given.
    #[error("what came from the TPM is no signature of its key over what it was given")]
    AnotherSigned,
    /// The connection to the TPM broke.
    #[error("the connection to the TPM broke during {command}: {reason}")]
    Broken {
        /// What was asked.
        command: &'static str,
        /// How it broke.
        reason: String,
    },
    /// The TPM, or the library in front of it, said no.
    #[error("{command} failed: {reason}")]
    Command {
        /// What was asked.
        command: &'static str,
        /// The response code in words.
        reason: String,
    },
    /// More is asked of the TPM at once than it can queue.
    #[error("the TPM has {0} commands waiting")]
    QueueFull(usize),
    /// The thread that owns the TPM has ended.
    #[error("the TPM has been closed")]
    Closed,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Entropy,
}

impl TpmError {
    /// The error for the library's `error` in answer to `command`. `broke` is what the transport said last.
    pub(crate) fn from_tss(command: &'static str, error: tss_esapi::Error, broke: Option<String>) -> Self {
        if let Some(reason) = broke {
            return Self::Broken { command, reason };
        }
        match error {
            tss_esapi::Error::Tss2Error(code) => Self::from_code(command, code),
            error => Self::Command { command, reason: error.to_string() },
        }
    }

    /// The error for the TPM's `code` in answer to `command`.
    pub(crate) fn from_code(command: &'static str, code: Tss2ResponseCode) -> Self {
        match code.kind() {
            Some(Tss2ResponseCodeKind::Lockout) => Self::LockedOut,
            Some(Tss2ResponseCodeKind::PolicyFail | Tss2ResponseCodeKind::PcrChanged) => Self::PolicyFailed,
            Some(Tss2ResponseCodeKind::Integrity) => Self::ForeignKey,
            // A ticket is one of this TPM since its last reset, or none (Part 3 §23.5.1).
            Some(Tss2ResponseCodeKind::Expired | Tss2ResponseCodeKind::Ticket)
                if matches!(command, "TPM2_PolicyTicket" | "TPM2_Sign") =>
            {
                Self::LeaseOver
            }
            // The PCRs are not so (Part 3 §23.7.1).
            Some(Tss2ResponseCodeKind::Value) if command == "TPM2_PolicyPCR" => Self::OtherBootState,
            Some(Tss2ResponseCodeKind::Signature) if command == "TPM2_PolicySigned" => Self::NotAuthorized,
            _ => Self::Command { command, reason: tss_esapi::Error::Tss2Error(code).to_string() },
        }
    }
}

impl Explain for TpmError {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Absent { .. } => report("AR-T101", Fault::Environment)
                .hint("`attest-run doctor` shows which TPM is used and why. `--tpm embedded:DIR` runs one in software"),
            Self::Busy { .. } => report("AR-T102", Fault::Environment)
                .hint("one process at a time owns a TPM. Wait for it, or stop it; an agent serves many at once"),
            Self::StateLost { directory } => report("AR-T103", Fault::Environment)
                .fact("directory", directory.display())
                .hint("restore it from a copy, or delete the directory and enroll again: a new TPM is another identity"),
            Self::StateDamaged { directory, .. } => report("AR-T104", Fault::Environment)
                .fact("directory", directory.display())
                .hint("restore it from a copy, or delete the directory and enroll again: a new TPM is another identity"),
            Self::LockedOut => report("AR-T105", Fault::Environment)
                .hint("wait for the lockout to end, or `tpm2_dictionarylockout --clear-lockout`. No key of attest-run counts for it"),
            Self::AttestationKeyMissing { .. } => report("AR-T106", Fault::Environment)
                .hint("the TPM was cleared or replaced, or its state is an older copy. Enroll again with a new token"),
            Self::AttestationKeyChanged { .. } => report("AR-T107", Fault::Environment)
                .hint("the TPM was cleared or replaced, or its state is another's. Enroll again with a new token"),
            Self::OtherEndorsementKey { wanted, found } => report("AR-T117", Fault::Environment)
                .fact("wanted", wanted)
                .fact("got", found)
                .hint("the TPM was replaced, or something on its bus answers in its place. Look at the machine before you enroll it again"),
            Self::NotEnrolled => report("AR-T108", Fault::Environment)
                .hint("get a token from the broker's admin and run `attest-run enroll --broker URL --token -`"),
            Self::ForeignKey => report("AR-T109", Fault::Environment).hint("delete the key and create it again"),
            Self::PcrsUnstable(_) => report("AR-T110", Fault::Environment).hint("something extends PCRs all the time: find out what"),
            Self::PolicyFailed => report("AR-T111", Fault::Refused).hint("boot into the state it was sealed in, or seal it again"),
            Self::NotAuthorized => report("AR-T118", Fault::Refused)
                .hint("the key was made for another broker, or the broker has another key now: `attest-run keys rotate`"),
            Self::LeaseOver => report("AR-T119", Fault::Refused).hint("run the step again: a key is used while its lease lasts"),
            Self::OtherBootState => report("AR-T120", Fault::Refused)
                .hint("boot into the state that the key was made in, or `attest-run keys rotate` makes another for this one"),
            Self::AnotherSigned => report("AR-T121", Fault::Environment)
                .hint("something on the way to the TPM changes what passes: look at the machine before you use its keys again"),
            Self::Broken { .. } => report("AR-T112", Fault::Environment).hint("the next command opens a new connection: try again. `attest-run doctor` shows whether it comes back"),
            Self::Command { .. } => report("AR-T113", Fault::Environment).hint("`attest-run doctor` shows the TPM's state"),
            Self::QueueFull(_) => report("AR-T114", Fault::Environment).hint("try again: too many steps ask at once"),
            Self::Closed => report("AR-T115", Fault::Environment).hint("the reason stands in the log before this"),
            Self::Entropy => report("AR-T116", Fault::Environment),
        }
    }
}
