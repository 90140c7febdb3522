//! Keys that the TPM derives: made for one use, in a process of their own, and gone with it.
//!
//! An Ed25519 key is HMAC(TPM key, label), then HKDF. What the TPM answers passes through buffers of libtss2
//! that nobody can wipe; so the agent's process never sees it. It lends its TPM to a short-lived process that
//! derives, signs and ends; the kernel clears the memory of a process that has ended. Only the public key and
//! the signature come back.
//!
//! The base of the symmetric keys that a step derives comes about in the same way. The agent is given it, in memory that
//! is wiped, for as long as the step's lease lasts: each derived key is an expansion of it.

use crate::keys::KeyError;
use attest_evidence::SecretBytes;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::TpmName;
use attest_tpm::{DerivationKey, Device, Lent, LentKind, SessionProtection, Tpm, TpmError};
use attest_wire::client::Key;
use attest_wire::{Channel, Revealed, WireError};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use ed25519_dalek::{SigningKey, VerifyingKey};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use zeroize::Zeroizing;

/// The argument by which `attest-agent` knows that it shall derive: it then calls [`serve`].
const ARGUMENT: &str = "derive";
/// The longest that deriving may take: a salted session and two commands on the slowest TPM.
const LONGEST: Duration = Duration::from_secs(60);
/// HKDF's `info` (RFC 5869 §2.3).
const INFO: &[u8] = b"attest-run/ed25519/v1";
const BASE_INFO: &[u8] = b"attest-run/derive/v1";

/// What is asked of the process. The TPM's descriptor comes with it, the message after it.
#[derive(Serialize, Deserialize)]
struct Asked {
    kind: LentKind,
    protection: SessionProtection,
    /// The EK that sessions must be salted with.
    ek: Option<TpmName>,
    key: DerivationKey,
    label: String,
    wanted: Wanted,
}

/// What shall come of what is derived.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Wanted {
    /// The public key of an Ed25519 key.
    PublicKey,
    /// Its signature of a message of this length.
    Signature(u64),
    /// What symmetric keys are derived from.
    Base,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    Signer {
        public_key: [u8; 32],
        /// 64 bytes, or none if nothing was to be signed.
        signature: Vec<u8>,
    },
    Base(Revealed),
}

/// The public key that `label` leads to.
pub(crate) async fn public_key(tpm: &Tpm, key: DerivationKey, label: String) -> Result<VerifyingKey, KeyError> {
    match derive(tpm, key, label, Wanted::PublicKey, Vec::new()).await? {
        Answer::Signer { public_key, .. } => VerifyingKey::from_bytes(&public_key).ok(),
        Answer::Base(_) => None,
    }
    .ok_or(KeyError::Tpm(TpmError::ForeignKey))
}

/// What the symmetric keys of `label` are derived from: a pseudorandom key of 32 bytes (RFC 5869 §2.2).
pub(crate) async fn base(tpm: &Tpm, key: DerivationKey, label: String) -> Result<SecretBytes, KeyError> {
    match derive(tpm, key, label, Wanted::Base, Vec::new()).await? {
        Answer::Base(base) => Ok(base.into_secret()),
        Answer::Signer { .. } => Err(KeyError::Tpm(TpmError::ForeignKey)),
    }
}

/// Signs `message` with the key that `label` leads to, if that is `public`'s.
pub(crate) async fn sign(
    tpm: &Tpm,
    key: DerivationKey,
    label: String,
    message: Vec<u8>,
    public: &Key,
) -> Result<[u8; 64], KeyError> {
    let damaged = || KeyError::Damaged { stage: public.stage, name: public.name.clone() };
    let expected = VerifyingKey::from_public_key_pem(&public.public_key).map_err(|_| damaged())?;
    let wanted = Wanted::Signature(message.len() as u64);
    let Answer::Signer { public_key, signature } = derive(tpm, key, label, wanted, message).await? else {
        return Err(damaged());
    };
    let signature = signature.try_into().map_err(|_| damaged())?;
    if public_key == expected.to_bytes() { Ok(signature) } else { Err(damaged()) }
}

async fn derive(
    tpm: &Tpm,
    key: DerivationKey,
    label: String,
    wanted: Wanted,
    message: Vec<u8>,
) -> Result<Answer, KeyError> {
    let mut process = Process::start().map_err(|error| {
        let what = format!("the process that derives keys can't be started: {error}");
        KeyError::Derived(Box::new(Report::new("AR-K105", Fault::Environment, what)))
    })?;
    let answer = tpm
        .run(move |device| {
            device.lend(|lent| {
                // Why it failed goes to the log; to callers the connection is broken, which it may be.
                process
                    .ask(lent, key, label, wanted, &message)
                    .inspect_err(|error| tracing::error!(%error, "no key could be derived"))
                    .ok()
            })
        })
        .await?;
    answer.map_err(|report| KeyError::Derived(Box::new(report)))
}

/// A process that waits for what to derive. Dropped, it is ended.
struct Process {
    child: Child,
    channel: Channel,
}

impl Process {
    fn start() -> Result<Self, WireError> {
        let (channel, theirs) = Channel::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(theirs.into_stream())))
            .stdout(Stdio::null())
            .process_group(0)
            .env_clear()
            .spawn()?;
        Ok(Self { child, channel })
    }

    /// Lends it the TPM, and waits until it has ended.
    fn ask(
        &mut self,
        lent: Lent,
        key: DerivationKey,
        label: String,
        wanted: Wanted,
        message: &[u8],
    ) -> Result<Result<Answer, Report>, WireError> {
        let Lent { descriptor, kind, protection, ek } = lent;
        let asked = Asked { kind, protection, ek, key, label, wanted };
        let mut stream = self.channel.stream();
        stream.set_read_timeout(Some(LONGEST))?;
        stream.set_write_timeout(Some(LONGEST))?;
        self.channel.send_with(&asked, &[descriptor.as_fd()])?;
        stream.write_all(message)?;
        let answer = self.channel.receive()?;
        self.child.wait()?;
        Ok(answer)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The process's life: one key, at most one signature. Its standard input is the connection to the agent.
///
/// # Errors
/// What the operating system reports when the answer can't be given.
pub fn serve() -> io::Result<()> {
    seclude()?;
    let channel = Channel::at_stdin()?;
    let broken = |error: WireError| io::Error::other(error.to_string());
    let (asked, descriptors) = channel.receive_with::<Asked>().map_err(broken)?;
    let Ok([descriptor]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let lent = Lent { descriptor, kind: asked.kind, protection: asked.protection, ek: asked.ek.clone() };
    let mut message = Vec::new();
    let length = match asked.wanted {
        Wanted::Signature(length) => length,
        Wanted::PublicKey | Wanted::Base => 0,
    };
    if channel.stream().take(length).read_to_end(&mut message)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let answer = answer(lent, &asked, &message);
    channel.send(&answer).map_err(broken)
}

/// The TPM is given back when this returns: nothing of ours is left open in it.
fn answer(lent: Lent, asked: &Asked, message: &[u8]) -> Result<Answer, Report> {
    use ed25519_dalek::Signer as _;
    let derived = Device::borrowed(lent)
        .and_then(|mut device| device.derive(&asked.key, asked.label.as_bytes()))
        .map_err(|error| error.report())?;
    let info = match asked.wanted {
        Wanted::Base => BASE_INFO,
        Wanted::PublicKey | Wanted::Signature(_) => INFO,
    };
    let mut seed = Zeroizing::new([0; 32]);
    derived
        .expose(|derived| Hkdf::<Sha256>::new(None, derived).expand(info, seed.as_mut_slice()))
        .map_err(|_| Report::new("AR-K104", Fault::Bug, "HKDF gave no seed"))?;
    if let Wanted::Base = asked.wanted {
        return Ok(Answer::Base(Revealed::new(SecretBytes::new(seed.to_vec()))));
    }
    let key = SigningKey::from_bytes(&seed);
    let signature = match asked.wanted {
        Wanted::Signature(_) => key.sign(message).to_bytes().to_vec(),
        Wanted::PublicKey | Wanted::Base => Vec::new(),
    };
    Ok(Answer::Signer { public_key: key.verifying_key().to_bytes(), signature })
}

/// Nobody looks into this process, and no core of it reaches a disk.
fn seclude() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
