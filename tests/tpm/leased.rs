//! Keys that obey their lease, in real TPMs: what opens one, and what does not.

use crate::support::{Swtpm, directory, embedded};
use attest_evidence::Sha256Digest;
use attest_evidence::name::Stage;
use attest_evidence::report::Explain as _;
use attest_evidence::tpm::{Attributes, KeyPolicy, NONCE, PcrIndex, Public, TpmName, authority_public, authorization};
use attest_tpm::{AwaitingSession, Device, KeyTicket, Opening, SessionProtection, SigningKey, TpmError};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A broker, as far as a TPM sees one.
struct Authority {
    key: p256::ecdsa::SigningKey,
    public: Vec<u8>,
}

impl Authority {
    fn of(seed: u8) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let public = authority_public(&(*point.x().unwrap()).into(), &(*point.y().unwrap()).into());
        Self { key, public }
    }

    fn policy(&self, name: &str) -> KeyPolicy {
        let reference = KeyPolicy::reference(Stage::Prod, &name.parse().unwrap(), &[7; 16]);
        KeyPolicy { authority: TpmName::of(&self.public), reference, boot_state: None }
    }

    fn sign(&self, nonce: &[u8; NONCE], seconds: u32, policy: &KeyPolicy) -> Opening {
        let signature: p256::ecdsa::Signature = self.key.sign(&authorization(nonce, seconds, &policy.reference));
        Opening { seconds, signature: signature.to_bytes().into() }
    }

    fn open(&self, tpm: &mut Device, policy: &KeyPolicy, seconds: u32) -> KeyTicket {
        let session = tpm.begin_lease().unwrap();
        let opening = self.sign(session.nonce(), seconds, policy);
        tpm.open_lease(session, &self.public, &policy.reference, &opening).unwrap()
    }
}

fn verify(key: &SigningKey, digest: &Sha256Digest, r_s: &[u8; 64]) {
    let (x, y) = key.point().unwrap();
    let point = p256::Sec1Point::from_affine_coordinates(&x.into(), &y.into(), false);
    let key = p256::ecdsa::VerifyingKey::from_sec1_point(&point).unwrap();
    key.verify_prehash(digest.as_bytes(), &p256::ecdsa::Signature::from_slice(r_s).unwrap()).unwrap();
}

fn signs_by_lease(mut tpm: Device) {
    let broker = Authority::of(1);
    let policy = broker.policy("release");
    let key = tpm.create_leased_key(&policy).unwrap();
    let public = Public::parse(key.stored().public()).unwrap();
    assert_eq!(public.policy, policy.digest().as_bytes());
    assert!(!public.attributes.contains(Attributes::USER_WITH_AUTH));

    // Before anybody has signed, nothing but a session's own command is sent, and the key is of no use.
    let digest = Sha256Digest::of(b"a file");
    let without = tpm.sign(&key, &digest).unwrap_err();
    assert!(
        matches!(&without, TpmError::Command { reason, .. } if reason.contains("authValue or authPolicy")),
        "{without}"
    );

    let before = tpm.handles().unwrap();
    let waiting: Vec<AwaitingSession> = (0..8).map(|_| tpm.begin_lease().unwrap()).collect();
    assert_eq!(tpm.handles().unwrap().sessions, before.sessions, "a session that waits is not loaded");
    let other = tpm.create_signing_key().unwrap();
    tpm.sign(&other, &digest).unwrap();
    let mut tickets = Vec::new();
    for session in waiting {
        let opening = broker.sign(session.nonce(), 600, &policy);
        tickets.push(tpm.open_lease(session, &broker.public, &policy.reference, &opening).unwrap());
    }
    let commands = tpm.commands();
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &tickets[0], &digest).unwrap());
    let before = commands.load(Ordering::Relaxed);
    for ticket in tickets.iter().cycle().take(20) {
        verify(&key, &digest, &tpm.sign_leased(&key, &policy, ticket, &digest).unwrap());
    }
    assert_eq!(commands.load(Ordering::Relaxed) - before, 40, "two commands a signature");
    // The two kinds of keys take turns, and none is left behind.
    tpm.sign(&other, &digest).unwrap();
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &tickets[0], &digest).unwrap());
    assert!(tpm.handles().unwrap().transient.len() <= 1);
    // Nobody's session is left, nor one of somebody who does not come back.
    for _ in 0..70 {
        drop(tpm.begin_lease().unwrap());
    }
    assert_eq!(tpm.handles().unwrap().saved_sessions.len(), 1);
    tpm.flush_abandoned();
    assert_eq!(tpm.handles().unwrap().saved_sessions, Vec::<u32>::new());
}

#[test]
fn a_key_signs_for_as_long_as_a_broker_has_signed() {
    let directory = directory();
    signs_by_lease(Device::open(&embedded(directory.path()), SessionProtection::Private).unwrap());
    signs_by_lease(Device::open(&embedded(directory.path()), SessionProtection::Salted).unwrap());
    let swtpm = Swtpm::bare();
    signs_by_lease(Device::open(&swtpm.transport(), SessionProtection::Private).unwrap());
    signs_by_lease(Device::open(&swtpm.transport(), SessionProtection::Salted).unwrap());
}

#[test]
fn k01_the_tpm_takes_no_signature_but_the_brokers_for_this_session_key_and_time() {
    let directory = directory();
    let mut tpm = Device::open(&embedded(directory.path()), SessionProtection::Private).unwrap();
    let (broker, stranger) = (Authority::of(1), Authority::of(2));
    let (policy, other) = (broker.policy("release"), broker.policy("other"));
    let key = tpm.create_leased_key(&policy).unwrap();
    let digest = Sha256Digest::of(b"a file");

    // Somebody else's signature, one for another session, another time, another key.
    type Sign<'a> = Box<dyn Fn(&[u8; NONCE]) -> Opening + 'a>;
    let not_taken: [(&str, Sign<'_>); 4] = [
        ("a stranger's", Box::new(|nonce| stranger.sign(nonce, 600, &policy))),
        ("for another session", Box::new(|_| broker.sign(&[9; NONCE], 600, &policy))),
        ("for another time", Box::new(|nonce| Opening { seconds: 6000, ..broker.sign(nonce, 600, &policy) })),
        ("for another key", Box::new(|nonce| broker.sign(nonce, 600, &other))),
    ];
    for (what, sign) in not_taken {
        let session = tpm.begin_lease().unwrap();
        let opening = sign(session.nonce());
        let refused = tpm.open_lease(session, &broker.public, &policy.reference, &opening).unwrap_err();
        assert_eq!(refused, TpmError::NotAuthorized, "{what}");
        assert_eq!(refused.report().code.to_string(), "AR-T118");
    }
    // A stranger's own key, and the broker's word for another key, open sessions, but none that this key takes.
    let strange = stranger.open(&mut tpm, &stranger.policy("release"), 600);
    let refused = tpm.sign_leased(&key, &stranger.policy("release"), &strange, &digest).unwrap_err();
    assert_eq!(refused, TpmError::PolicyFailed);
    let for_other = broker.open(&mut tpm, &other, 600);
    assert_eq!(tpm.sign_leased(&key, &other, &for_other, &digest).unwrap_err(), TpmError::PolicyFailed);
    // A ticket is for its key alone.
    assert_eq!(tpm.sign_leased(&key, &policy, &for_other, &digest).unwrap_err(), TpmError::LeaseOver);

    // The positive control, and its time.
    let ticket = broker.open(&mut tpm, &policy, 2);
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap());
    std::thread::sleep(Duration::from_millis(2300));
    let over = tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap_err();
    assert_eq!(over, TpmError::LeaseOver);
    assert_eq!(over.report().code.to_string(), "AR-T119");
    // A fresh one opens it again; after a reset of the TPM, a ticket of before does not.
    let ticket = broker.open(&mut tpm, &policy, 600);
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap());
    drop(tpm);
    let mut tpm = Device::open(&embedded(directory.path()), SessionProtection::Private).unwrap();
    assert_eq!(tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap_err(), TpmError::LeaseOver);
}

#[test]
fn k01_a_key_that_is_bound_to_a_boot_state_signs_in_no_other() {
    let directory = directory();
    let mut tpm = Device::open(&embedded(directory.path()), SessionProtection::Private).unwrap();
    let broker = Authority::of(1);
    let state = tpm.pcr_state("0,7".parse().unwrap()).unwrap();
    let policy = KeyPolicy { boot_state: Some(state), ..broker.policy("release") };
    let key = tpm.create_leased_key(&policy).unwrap();
    let digest = Sha256Digest::of(b"a file");
    let ticket = broker.open(&mut tpm, &policy, 600);
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap());
    // Without the state in its policy, the session does not fit.
    let without = KeyPolicy { boot_state: None, ..policy.clone() };
    assert_eq!(tpm.sign_leased(&key, &without, &ticket, &digest).unwrap_err(), TpmError::PolicyFailed);
    tpm.extend_pcrs(&[(PcrIndex::new(9).unwrap(), Sha256Digest::of(b"of no matter"))]).unwrap();
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap());
    tpm.extend_pcrs(&[(PcrIndex::new(7).unwrap(), Sha256Digest::of(b"another boot"))]).unwrap();
    let other = tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap_err();
    assert_eq!(other, TpmError::OtherBootState);
    assert_eq!(other.report().code.to_string(), "AR-T120");
}

/// Commands to a TPM, by somebody who has taken the device.
struct Raw(UnixStream);

/// `TPM_RH_NULL`, and the storage root.
const NULL: [u8; 4] = [0x40, 0, 0, 7];
const STORAGE_ROOT: [u8; 4] = [0x81, 0, 0, 1];
const PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

impl Raw {
    fn take(swtpm: &Swtpm) -> Self {
        let stream = UnixStream::connect(swtpm.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }

    /// Response code, and what follows it.
    fn send(&mut self, code: u32, handles: &[[u8; 4]], session: Option<&[u8]>, rest: &[u8]) -> (u32, Vec<u8>) {
        let mut body = handles.concat();
        if let Some(session) = session {
            body.extend(u32::try_from(session.len()).unwrap().to_be_bytes());
            body.extend(session);
        }
        body.extend(rest);
        let tag: u16 = if session.is_some() { 0x8002 } else { 0x8001 };
        let length = u32::try_from(body.len() + 10).unwrap();
        let command = [&tag.to_be_bytes()[..], &length.to_be_bytes(), &code.to_be_bytes(), &body].concat();
        self.0.write_all(&command).unwrap();
        let mut head = [0; 10];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[2..6].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 10];
        self.0.read_exact(&mut body).unwrap();
        (u32::from_be_bytes(head[6..].try_into().unwrap()), body)
    }

    fn load(&mut self, public: &[u8], private: &[u8]) -> [u8; 4] {
        let (code, body) =
            self.send(0x157, &[STORAGE_ROOT], Some(&PASSWORD), &[sized(private), sized(public)].concat());
        assert_eq!(code, 0, "TPM2_Load: anybody with the device can load the key");
        body[..4].try_into().unwrap()
    }

    fn policy_session(&mut self) -> ([u8; 4], [u8; NONCE]) {
        let rest = [&sized(&[0; NONCE])[..], &sized(&[]), &[1], &[0, 0x10, 0, 0x0b]].concat();
        let (code, body) = self.send(0x176, &[NULL, NULL], None, &rest);
        assert_eq!(code, 0, "TPM2_StartAuthSession");
        (body[..4].try_into().unwrap(), body[6..].try_into().unwrap())
    }

    fn flush(&mut self, handle: [u8; 4]) {
        self.send(0x165, &[], None, &handle);
    }

    fn sign(&mut self, key: [u8; 4], session: &[u8]) -> u32 {
        let rest = [&sized(&[5; 32])[..], &[0, 0x10], &[0x80, 0x24], &NULL, &sized(&[])].concat();
        self.send(0x15d, &[key], Some(session), &rest).0
    }

    fn policy_signed(
        &mut self,
        session: [u8; 4],
        nonce: &[u8],
        broker: &Authority,
        policy: &KeyPolicy,
        by: &Opening,
    ) -> u32 {
        let seconds = -i32::try_from(by.seconds).unwrap();
        let parts = (nonce, &[][..], policy.reference.as_bytes().as_slice(), seconds.to_be_bytes());
        self.policy_signed_as(session, broker, parts, by)
    }

    /// The same with what is signed divided as somebody likes: nonceTPM, cpHashA, policyRef, expiration.
    fn policy_signed_as(
        &mut self,
        session: [u8; 4],
        broker: &Authority,
        (nonce, command, reference, expiration): (&[u8], &[u8], &[u8], [u8; 4]),
        by: &Opening,
    ) -> u32 {
        let external = [&sized(&[])[..], &sized(&broker.public), &[0x40, 0, 0, 1]].concat();
        let (code, body) = self.send(0x167, &[], None, &external);
        assert_eq!(code, 0, "TPM2_LoadExternal");
        let key: [u8; 4] = body[..4].try_into().unwrap();
        let (r, s) = by.signature.split_at(32);
        let rest = [
            &sized(nonce)[..],
            &sized(command),
            &sized(reference),
            &expiration,
            &[0, 0x18, 0, 0x0b],
            &sized(r),
            &sized(s),
        ];
        let (code, _) = self.send(0x160, &[key, session], None, &rest.concat());
        self.flush(key);
        code
    }
}

fn by_policy(session: [u8; 4]) -> Vec<u8> {
    [&session[..], &[0, 0, 1, 0, 0]].concat()
}

/// Response codes (Part 2 §6.6.2 and §6.6.3); `S1`: of the first session, `P5`: of the fifth parameter.
const AUTH_UNAVAILABLE: u32 = 0x12f;
const POLICY_FAIL_S1: u32 = 0x99d;
const EXPIRED_S1: u32 = 0x9a3;
const SIGNATURE_P5: u32 = 0x5db;
/// TPM_RC_NONCE, of the first parameter.
const NONCE_P1: u32 = 0x1cf;

#[test]
fn k01_whoever_has_the_device_can_not_use_the_key_by_raw_commands() {
    let swtpm = Swtpm::bare();
    let broker = Authority::of(1);
    let policy = broker.policy("release");
    let mut tpm = Device::open(&swtpm.transport(), SessionProtection::Private).unwrap();
    let key = tpm.create_leased_key(&policy).unwrap();
    // Its file, as it lies on the disk.
    let file: serde_json::Value = serde_json::to_value(key.stored()).unwrap();
    let bytes = |part: &str| data_encoding::BASE64.decode(file[part].as_str().unwrap().as_bytes()).unwrap();
    // The agent has signed with it, and its lease has long to go.
    let session = tpm.begin_lease().unwrap();
    let (nonce, opening) = (*session.nonce(), broker.sign(session.nonce(), 600, &policy));
    let ticket = tpm.open_lease(session, &broker.public, &policy.reference, &opening).unwrap();
    let digest = Sha256Digest::of(b"a file");
    verify(&key, &digest, &tpm.sign_leased(&key, &policy, &ticket, &digest).unwrap());
    drop(tpm);

    let mut raw = Raw::take(&swtpm);
    let loaded = raw.load(&bytes("public"), &bytes("private"));
    assert_eq!(raw.sign(loaded, &PASSWORD), AUTH_UNAVAILABLE, "by its empty authorization value");
    let (session, fresh) = raw.policy_session();
    assert_eq!(raw.sign(loaded, &by_policy(session)), POLICY_FAIL_S1, "in a session that nobody has opened");
    // What the broker signed for the agent's session is of no use in this one.
    let replayed = raw.policy_signed(session, &fresh, &broker, &policy, &opening);
    assert_eq!(replayed, SIGNATURE_P5, "replayed under this session's nonce");
    let replayed = raw.policy_signed(session, &nonce, &broker, &policy, &opening);
    assert_eq!(replayed, NONCE_P1, "replayed under its own nonce");
    // The same bytes, divided so that neither a nonce nor an end is left: the reference is another's then, and too short.
    let signed = authorization(&nonce, opening.seconds, &policy.reference);
    let mut divided = |end: usize, command: &[u8], reference: &[u8]| {
        let expiration: [u8; 4] = signed[end - 4..end].try_into().unwrap();
        raw.policy_signed_as(session, &broker, (&signed[..end - 4], command, reference, expiration), &opening)
    };
    assert_eq!(divided(4, &signed[4..36], &signed[36..]), 0, "an empty nonce, the command's digest, what is left");
    assert_eq!(raw.sign(loaded, &by_policy(session)), POLICY_FAIL_S1, "and the key does not take it");
    raw.flush(session);
    // By a grant of its own it would sign, and after its expiry it would not: both the TPM's doing.
    let (session, fresh) = raw.policy_session();
    assert_eq!(raw.policy_signed(session, &fresh, &broker, &policy, &broker.sign(&fresh, 1, &policy)), 0);
    assert_eq!(raw.sign(loaded, &by_policy(session)), 0, "the control: by a fresh grant");
    let (session, fresh) = raw.policy_session();
    assert_eq!(raw.policy_signed(session, &fresh, &broker, &policy, &broker.sign(&fresh, 1, &policy)), 0);
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(raw.sign(loaded, &by_policy(session)), EXPIRED_S1, "after the grant's expiry");
}
