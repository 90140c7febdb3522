//! Every operation, on every transport, with and without protected sessions.

use crate::support::{Swtpm, directory, embedded};
use attest_evidence::report::Explain as _;
use attest_evidence::tpm::{Attest, Attested, PcrSelection, Public, TpmName, make_credential};
use attest_evidence::{SecretBytes, Sha256Digest};
use attest_tpm::{Device, Lent, LentKind, SessionProtection, Tpm, TpmError, Transport};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

/// PCRs 0 to 9 and 14.
fn selection() -> PcrSelection {
    "0,1,2,3,4,5,6,7,8,9,14".parse().unwrap()
}

/// All that this project does with a TPM.
fn everything(transport: &Transport, protection: SessionProtection) {
    everything_with(Device::open(transport, protection).unwrap(), protection);
}

fn everything_with(mut tpm: Device, protection: SessionProtection) {
    let endorsed = tpm.endorsement().unwrap();
    let key = tpm.create_attestation_key().unwrap();
    assert_eq!(TpmName::of(&key.public), key.credentials.name);
    assert!(attest_appraisal::AttestationKey::check(&key.public).is_ok());
    assert_eq!(tpm.quote(selection(), &Sha256Digest::of(b"")).unwrap_err(), TpmError::NotEnrolled);
    tpm.use_attestation_key(&key.credentials).unwrap();

    // MakeCredential in Rust, ActivateCredential in the TPM.
    let ek = Public::parse(&endorsed.public).unwrap();
    let secret = SecretBytes::random(32).unwrap();
    let credential = make_credential(&ek, &key.credentials.name, &secret).unwrap();
    assert!(tpm.activate(&credential).unwrap() == secret);
    let for_another = make_credential(&ek, &TpmName::of(b"another"), &secret).unwrap();
    assert!(matches!(tpm.activate(&for_another), Err(TpmError::ForeignKey)));

    let quote = tpm.quote(selection(), &Sha256Digest::of(b"nonce")).unwrap();
    let attest = Attest::parse(&quote.message).unwrap();
    let Attested::Quote(info) = attest.attested else { panic!() };
    assert_eq!(attest.extra_data, Sha256Digest::of(b"nonce").as_bytes());
    assert_eq!(info.selection, selection().to_tpml());
    assert_eq!(info.pcr_digest, quote.pcrs.digest().as_bytes());

    let signing = tpm.create_signing_key().unwrap();
    let digest = Sha256Digest::of(b"a message");
    let r_s = tpm.sign(&signing, &digest).unwrap();
    let (x, y) = signing.point().unwrap();
    let point = p256::Sec1Point::from_affine_coordinates(&x.into(), &y.into(), false);
    let verifying = p256::ecdsa::VerifyingKey::from_sec1_point(&point).unwrap();
    verifying.verify_prehash(digest.as_bytes(), &p256::ecdsa::Signature::from_slice(&r_s).unwrap()).unwrap();

    let (message, _) = tpm.certify(signing.stored(), &Sha256Digest::of(b"why")).unwrap();
    let Attested::Certify(certified) = Attest::parse(&message).unwrap().attested else { panic!() };
    assert_eq!(certified.name, signing.stored().name().as_bytes());

    let derivation = tpm.create_derivation_key().unwrap();
    let one = tpm.derive(&derivation, b"one").unwrap();
    assert!(one.len() == 32 && one == tpm.derive(&derivation, b"one").unwrap());
    assert!(one != tpm.derive(&derivation, b"other").unwrap());
    // Lent, it derives the same, and leaves nothing open.
    let before = tpm.handles().unwrap();
    let lent = tpm.lend(|lent| Device::borrowed(lent).unwrap().derive(&derivation, b"one").ok()).unwrap();
    assert!(one == lent);
    let after = tpm.handles().unwrap();
    assert_eq!((after.sessions, after.persistent), (before.sessions, before.persistent));
    assert!(after.transient.is_empty() && after.saved_sessions.is_empty(), "{:x?}", after.transient);

    let sealed = tpm.seal(&secret, "16".parse().unwrap()).unwrap();
    assert!(tpm.unseal(&sealed).unwrap() == secret);
    tpm.remove_attestation_key(&key.credentials).unwrap();
    let gone = TpmError::AttestationKeyMissing { handle: key.credentials.handle };
    assert_eq!(tpm.use_attestation_key(&key.credentials).unwrap_err(), gone);

    let handles = tpm.handles().unwrap();
    assert!(handles.transient.len() <= 1, "{handles:x?}");
    let sessions = usize::from(protection == SessionProtection::Salted);
    assert_eq!(handles.sessions.len(), sessions, "{handles:x?}");
}

#[test]
fn every_operation_works_on_every_transport() {
    let directory = directory();
    let transport = embedded(directory.path());
    everything(&transport, SessionProtection::Private);
    everything(&transport, SessionProtection::Salted);
    let swtpm = Swtpm::bare();
    everything(&swtpm.transport(), SessionProtection::Private);
    everything(&swtpm.transport(), SessionProtection::Salted);
    let certified = Swtpm::certified();
    everything(&certified.transport(), SessionProtection::Private);
    everything(&certified.transport(), SessionProtection::Salted);
}

#[test]
fn keys_and_seals_are_of_one_tpm() {
    let (one, other) = (directory(), directory());
    let mut tpm = Device::open(&embedded(one.path()), SessionProtection::Private).unwrap();
    let signing = tpm.create_signing_key().unwrap();
    let sealed = tpm.seal(&SecretBytes::random(16).unwrap(), "16".parse().unwrap()).unwrap();
    drop(tpm);
    let mut stranger = Device::open(&embedded(other.path()), SessionProtection::Private).unwrap();
    assert_eq!(stranger.sign(&signing, &Sha256Digest::of(b"")).unwrap_err(), TpmError::ForeignKey);
    assert_eq!(stranger.unseal(&sealed).unwrap_err(), TpmError::ForeignKey);
    drop(stranger);
    let mut tpm = Device::open(&embedded(one.path()), SessionProtection::Private).unwrap();
    tpm.sign(&signing, &Sha256Digest::of(b"")).unwrap();
    tpm.unseal(&sealed).unwrap();
}

#[test]
fn a_simulator_that_somebody_else_holds_is_busy() {
    let swtpm = Swtpm::bare();
    let _held = Device::open(&swtpm.transport(), SessionProtection::Private).unwrap();
    let began = std::time::Instant::now();
    let refused = Device::open(&swtpm.transport(), SessionProtection::Private).map(drop).unwrap_err();
    assert!(matches!(refused, TpmError::Busy { .. }), "{refused:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn a_lockout_is_named() {
    use crate::support::run;
    use std::process::Command;
    let swtpm = Swtpm::bare();
    let mut tpm = Device::open(&swtpm.transport(), SessionProtection::Private).unwrap();
    let key = tpm.create_attestation_key().unwrap();
    drop(tpm);
    // Somebody's own key without `noDA`, and three wrong guesses at its authorization.
    let folder = directory();
    let tcti = format!("cmd:socat - UNIX-CONNECT:{}", swtpm.socket().display());
    let tool = |arguments: &[&str]| {
        run(Command::new(arguments[0]).args(&arguments[1..]).env("TPM2TOOLS_TCTI", &tcti).current_dir(folder.path()))
    };
    tool(&["tpm2_dictionarylockout", "--setup-parameters", "--max-tries=3", "--recovery-time=1000"]).ok();
    tool(&["tpm2_nvdefine", "0x1500016", "-s", "8", "-a", "authread|authwrite"]).ok();
    tool(&["tpm2_nvwrite", "0x1500016", "-i", "/proc/version", "-C", "0x1500016", "-P", ""]);
    tool(&["tpm2_createprimary", "-c", "primary.ctx", "-p", "secret"]).ok();
    tool(&["tpm2_flushcontext", "-t"]);
    for _ in 0..4 {
        tool(&["tpm2_create", "-C", "primary.ctx", "-P", "wrong", "-u", "k.pub", "-r", "k.priv"]);
        tool(&["tpm2_flushcontext", "-t"]);
    }
    // Keys of this project are exempt: the lockout stops others, not us.
    let mut tpm = Device::open(&swtpm.transport(), SessionProtection::Private).unwrap();
    tpm.use_attestation_key(&key.credentials).unwrap();
    tpm.quote(selection(), &Sha256Digest::of(b"")).unwrap();
    // What counts for it, somebody's NV index here, is refused by its name.
    let refused = tpm.read_nv(0x0150_0016).unwrap_err();
    assert_eq!(refused, TpmError::LockedOut);
    assert_eq!(refused.report().code.to_string(), "AR-T105");
    drop(tpm);
    let out = tool(&["tpm2_create", "-C", "primary.ctx", "-P", "secret", "-u", "k.pub", "-r", "k.priv"]);
    assert!(out.stderr.contains("0x921"), "the control: the TPM is locked out\n{}", out.stderr);
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let directory = directory();
    let tpm = Tpm::open(embedded(directory.path())).await.unwrap();
    let key = tpm.run(|device| device.create_attestation_key()).await.unwrap();
    tpm.run(move |device| device.use_attestation_key(&key.credentials)).await.unwrap();
    let quote = || tpm.run(|device| device.quote(selection(), &Sha256Digest::of(b"nonce")));
    quote().await.unwrap();
    // A borrower that may have left an answer unread.
    let broken = tpm.run(|device| device.lend(|_| None::<()>)).await.unwrap_err();
    assert!(matches!(broken, TpmError::Broken { .. }), "{broken:?}");
    quote().await.unwrap();
    // The helper process dies.
    let children = std::fs::read_dir("/proc/self/task").unwrap().flat_map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    let line = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let helper = children.into_iter().find(|pid| line(pid).contains(directory.path().to_str().unwrap())).unwrap();
    crate::support::run(std::process::Command::new("kill").args(["-KILL", &helper])).ok();
    let broken = quote().await.unwrap_err();
    assert!(matches!(broken, TpmError::Broken { .. }), "{broken:?}");
    quote().await.unwrap();
}

#[test]
fn sessions_are_salted_with_the_endorsement_key_that_was_checked() {
    let directory = directory();
    let mut tpm = Device::open(&embedded(directory.path()), SessionProtection::Salted).unwrap();
    let key = tpm.create_attestation_key().unwrap();
    tpm.use_attestation_key(&key.credentials).unwrap();
    let derivation = tpm.create_derivation_key().unwrap();
    // The control: who borrows the TPM finds the key that the lender has found.
    tpm.lend(|lent| Device::borrowed(lent).unwrap().derive(&derivation, b"label").ok()).unwrap();
    // Something on the bus that shows its own key is told from the TPM.
    let other = TpmName::of(b"an interposer's key");
    let wrong = |error: TpmError| matches!(error, TpmError::OtherEndorsementKey { .. });
    let refused = tpm.lend(|mut lent| {
        lent.ek = Some(other.clone());
        Device::borrowed(lent).map(drop).err()
    });
    assert!(wrong(refused.unwrap()));
    let mut credentials = key.credentials.duplicate();
    credentials.ek = other;
    assert!(wrong(tpm.use_attestation_key(&credentials).unwrap_err()));
    let sessions = tpm.handles().unwrap().sessions;
    assert_eq!(sessions.len(), 1, "{sessions:x?}");
}

/// A stand-in for the kernel's device, which this machine may not have: one write is one command, one read its response,
/// as `/dev/tpmrm0` has it. Behind it is a real simulator.
fn character_device(swtpm: &Swtpm) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut device = std::fs::File::from(theirs);
    let mut simulator = std::os::unix::net::UnixStream::connect(swtpm.socket()).unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok(length @ 1..) = device.read(&mut packet) {
            simulator.write_all(&packet[..length]).unwrap();
            simulator.read_exact(&mut packet[..10]).unwrap();
            let length = u32::from_be_bytes(packet[2..6].try_into().unwrap()) as usize;
            simulator.read_exact(&mut packet[10..length]).unwrap();
            if device.write_all(&packet[..length]).is_err() {
                return;
            }
        }
    });
    ours
}

#[test]
fn every_operation_works_on_a_character_device() {
    let swtpm = Swtpm::bare();
    // Its kernel would have started it up.
    drop(Device::open(&swtpm.transport(), SessionProtection::Private).unwrap());
    let lent = Lent {
        descriptor: character_device(&swtpm),
        kind: LentKind::Device,
        protection: Transport::Device("/dev/tpmrm0".into()).protection(),
        ek: None,
    };
    assert_eq!(lent.protection, SessionProtection::Salted);
    everything_with(Device::borrowed(lent).unwrap(), SessionProtection::Salted);
    // Where there is none, that is what is said.
    let absent = Device::open(&Transport::Device("/dev/no-such-tpm".into()), SessionProtection::Salted);
    assert!(matches!(absent.map(drop).unwrap_err(), TpmError::Absent { .. }));
}
