//! Quotes and signatures beside the bare TPM commands, over the same connection to the same TPM.

use crate::support::{Broker, Runner, directory, embedded};
use crate::{MANY_ROUNDS, in_turn, median, row};
use attest_evidence::Sha256Digest;
use attest_evidence::tpm::{KeyPolicy, PcrSelection, TpmName, authority_public, authorization};
use attest_tpm::{Device, Opening, SessionProtection};
use p256::ecdsa::signature::Signer as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

pub(crate) fn commands() {
    let directory = directory();
    let mut tpm = Device::open(&embedded(directory.path()), SessionProtection::Private).unwrap();
    let key = tpm.create_attestation_key().unwrap();
    tpm.use_attestation_key(&key.credentials).unwrap();
    let signing = tpm.create_signing_key().unwrap();
    let (selection, digest) = ("0,1,2,3,4,5,6,7,8,9,14".parse::<PcrSelection>().unwrap(), Sha256Digest::of(b"data"));
    tpm.sign(&signing, &digest).unwrap();
    let loaded = tpm.handles().unwrap().transient[0];
    let mut wire = tpm.lend(|lent| Some(UnixStream::from(lent.descriptor))).unwrap();
    println!();

    // TPM2_Quote and TPM2_Sign (Part 3 §18.4, §20.2), each with a password session.
    let quote = key.credentials.auth.expose(|auth| {
        let selection = selection.to_tpml();
        command(0x158, key.credentials.handle, auth, &[&[0, 32], digest.as_bytes().as_slice(), &[0, 0x10], &selection])
    });
    let sign = command(
        0x15d,
        loaded,
        &[],
        &[&[0, 32], digest.as_bytes().as_slice(), &[0, 0x10], &[0x80, 0x24, 0x40, 0, 0, 7, 0, 0]],
    );
    let tpm = std::cell::RefCell::new(tpm);
    let (ours, theirs) = in_turn(
        MANY_ROUNDS,
        || drop(tpm.borrow_mut().quote(selection, &digest).unwrap()),
        || exchange(&mut wire, &quote),
    );
    row("quote", ours, "TPM2_Quote", theirs);
    let (ours, theirs) = in_turn(
        MANY_ROUNDS,
        || assert!(tpm.borrow_mut().sign(&signing, &digest).is_ok()),
        || exchange(&mut wire, &sign),
    );
    row("sign", ours, "TPM2_Sign", theirs);
}

/// A thousand files signed by a step with a key that obeys its lease, beside the two commands that each takes the TPM.
pub(crate) fn leased() {
    const FILES: u32 = 1000;
    let broker = Broker::start();
    let mut runner = Runner::enrolled(&broker, "bench");
    runner.as_user(0, &["keys", "create", "release"]).ok();
    let sign = |folder: &str, files: u32| {
        for file in 0..files {
            runner.write(&format!("{folder}/file-{file}"), &format!("file {file}\n"));
        }
        let dist = format!("dist={}", runner.work().join(folder).display());
        let step = runner.step("release-sign");
        let began = Instant::now();
        let out = runner.job(&["--json", "--timings", "--dir", &dist, step.to_str().unwrap(), "--", "v1"]).ok();
        let took = began.elapsed();
        let document: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
        (took, document["counts"]["TPM commands"].as_u64().unwrap())
    };
    sign("warm", 1);
    let (few, few_commands) = sign("few", 1);
    let (many, many_commands) = sign("many", FILES);
    let ours = many.saturating_sub(few) / (FILES - 1);
    let commands = (many_commands - few_commands) as f64 / f64::from(FILES - 1);

    // The same TPM in the bench's hands, with a grant of its own.
    let state = runner.path("state");
    runner.stop_agent();
    let mut tpm = Device::open(&embedded(&state.join("tpm")), SessionProtection::Private).unwrap();
    let key = p256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    let authority = authority_public(&(*point.x().unwrap()).into(), &(*point.y().unwrap()).into());
    let reference = Sha256Digest::of(b"bench");
    let policy = KeyPolicy { authority: TpmName::of(&authority), reference, boot_state: None };
    let leased = tpm.create_leased_key(&policy).unwrap();
    let session = tpm.begin_lease().unwrap();
    let signature: p256::ecdsa::Signature = key.sign(&authorization(session.nonce(), 600, &reference));
    let opening = Opening { seconds: 600, signature: signature.to_bytes().into() };
    let ticket = tpm.open_lease(session, &authority, &reference, &opening).unwrap();
    let mut times = Vec::new();
    for round in 0..FILES {
        let digest = Sha256Digest::of(&round.to_be_bytes());
        let began = Instant::now();
        tpm.sign_leased(&leased, &policy, &ticket, &digest).unwrap();
        times.push(began.elapsed());
    }
    row("each of 1,000 files signed under one lease", ours, "TPM2_PolicyTicket, TPM2_Sign", median(times));
    println!("{:44} {commands:>9.2}", "TPM commands for each of them");
}

/// A command with one handle, authorized by a password.
fn command(code: u32, handle: u32, password: &[u8], parameters: &[&[u8]]) -> Vec<u8> {
    let parameters = parameters.concat();
    let session = [&[0x40, 0, 0, 9, 0, 0, 0][..], &(password.len() as u16).to_be_bytes(), password].concat();
    let body =
        [&code.to_be_bytes()[..], &handle.to_be_bytes(), &(session.len() as u32).to_be_bytes(), &session, &parameters]
            .concat();
    [&[0x80, 0x02][..], &(body.len() as u32 + 6).to_be_bytes(), &body].concat()
}

fn exchange(wire: &mut UnixStream, command: &[u8]) {
    wire.write_all(command).unwrap();
    let mut header = [0; 10];
    wire.read_exact(&mut header).unwrap();
    let length = u32::from_be_bytes(header[2..6].try_into().unwrap()) as usize;
    let mut rest = vec![0; length - 10];
    wire.read_exact(&mut rest).unwrap();
    assert_eq!(header[6..10], [0; 4], "{header:x?}");
}
