//! What must hold for any bytes that strangers send, as functions of those bytes.
//!
//! One function for each parser. It returns where the bytes are refused, and where they are accepted it asserts what
//! must hold of what was read: that it is what was written, that a second and plainer implementation comes to the same.
//! `make fuzz` runs them on inputs that libFuzzer makes up; `tests/evidence` runs them on those that `tests/fuzz` keeps.
#![expect(clippy::expect_used, reason = "a property that does not hold ends the run: that is how it is seen")]

mod eventlog;
mod exchange;
mod host;
mod ima;
mod quote;
mod results;
mod tpm;
mod uefi;

pub use eventlog::eventlog;
pub use exchange::{enrolment, exchange};
pub use host::{component, manifest, wire};
pub use ima::ima;
pub use quote::quote;
pub use results::{certificate, ci, ear};
pub use tpm::{attest, public, signature};
pub use uefi::{device_path, firmware, gpt, image_load, load_option, signature_list, tagged, uefi_variable};

/// What must hold of any bytes: it panics where that does not.
pub type Property = fn(&[u8]);

/// Every property, by the name of its target and its corpus.
pub const ALL: [(&str, Property); 22] = [
    ("attest", attest),
    ("certificate", certificate),
    ("ci", ci),
    ("component", component),
    ("device_path", device_path),
    ("ear", ear),
    ("enrolment", enrolment),
    ("eventlog", eventlog),
    ("exchange", exchange),
    ("firmware", firmware),
    ("gpt", gpt),
    ("ima", ima),
    ("image_load", image_load),
    ("load_option", load_option),
    ("manifest", manifest),
    ("public", public),
    ("quote", quote),
    ("signature", signature),
    ("signature_list", signature_list),
    ("tagged", tagged),
    ("uefi_variable", uefi_variable),
    ("wire", wire),
];

use attest_evidence::Malformed;
use attest_evidence::report::Report;

/// What was read. An error is about a byte that is there, or the end.
fn read<T>(bytes: &[u8], result: Result<T, Malformed>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(malformed) => {
            assert!(malformed.offset <= bytes.len(), "{malformed} of {}", bytes.len());
            None
        }
    }
}

/// What a person sees of a refusal holds no character that moves the cursor or the direction of the text.
fn shown(report: &Report) {
    let text = report.to_string();
    let wrong = text.chars().find(|c| (c.is_control() && *c != '\n') || matches!(*c, '\u{202a}'..='\u{202e}'));
    assert_eq!(wrong, None, "{text:?}");
}

/// The first `N` bytes of `rest`, which moves on.
fn next<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// A little-endian 32-bit number from `rest`, which moves on.
fn next_u32(rest: &mut &[u8]) -> Option<u32> {
    next(rest).map(u32::from_le_bytes)
}

/// That many bytes from `rest`, which moves on.
fn next_bytes<'a>(rest: &mut &'a [u8], count: u32) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(usize::try_from(count).ok()?)?;
    *rest = tail;
    Some(head)
}

/// A length as 32 bits.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("inputs are far shorter")
}

/// By the plainest code: SHA-1 or SHA-2 of `bytes`, by the size of its digest.
fn plain_hash(size: usize, bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    match size {
        20 => sha1::Sha1::digest(bytes).to_vec(),
        32 => sha2::Sha256::digest(bytes).to_vec(),
        48 => sha2::Sha384::digest(bytes).to_vec(),
        _ => sha2::Sha512::digest(bytes).to_vec(),
    }
}
