//! Quotes and signatures beside the bare TPM commands, over the same connection to the same TPM.

use crate::support::{directory, embedded};
use crate::{MANY_ROUNDS, in_turn, row};
use attest_evidence::Sha256Digest;
use attest_evidence::tpm::PcrSelection;
use attest_tpm::{Device, SessionProtection};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

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
