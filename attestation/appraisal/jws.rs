//! Compact JWS (RFC 7515 §7.1), taken apart and not yet believed.

use data_encoding::BASE64URL_NOPAD;

/// The parts of a token, as text. [`decode`] gives their bytes.
pub(crate) struct Compact<'a> {
    /// What the signature is over.
    pub(crate) signed: &'a str,
    pub(crate) header: &'a str,
    pub(crate) claims: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes a token of at most `longest` bytes apart.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &'a str, longest: usize) -> Result<Self, String> {
        if text.len() > longest {
            return Err("it is too long".to_owned());
        }
        let (signed, signature) = text.rsplit_once('.').ok_or("it has no signature")?;
        let (header, claims) = signed.split_once('.').ok_or("it has no claims")?;
        Ok(Self { signed, header, claims, signature })
    }
}

/// The bytes of the part `what`.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn decode(part: &str, what: &str) -> Result<Vec<u8>, String> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|error| format!("its {what} is not base64url: {error}"))
}
