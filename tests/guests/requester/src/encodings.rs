//! Ways to write a secret.

use attest_sdk::{Error, Result};
use std::fmt::Write as _;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..=part.len() {
            let at = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(char::from(ALPHABET.get(at).copied().unwrap_or_default()));
        }
    }
    text
}

pub(crate) fn encode(value: &[u8], encoding: &str) -> Result<Vec<u8>> {
    Ok(match encoding {
        "raw" => value.to_vec(),
        "base64" => base64(value).into_bytes(),
        // Behind other bytes, so that other letters come out.
        "base64-1" => base64(&[b"x", value].concat()).into_bytes(),
        "base64-2" => base64(&[b"xy", value].concat()).into_bytes(),
        "hex" => hex(value).into_bytes(),
        "percent" => value.iter().map(|byte| format!("%{byte:02X}")).collect::<String>().into_bytes(),
        "utf-16" => value.iter().flat_map(|byte| [*byte, 0]).collect(),
        other => return Err(Error::new(format!("no encoding {other}"))),
    })
}
