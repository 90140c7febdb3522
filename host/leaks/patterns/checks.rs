//! What formats say beyond an expression, and what only looks like a secret.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};

/// Shannon's entropy of random text, in bits for each character, is above these: of 20 characters of base64 4.0 and more, of 32 hex
/// digits 3.2. What people write into examples is mostly below.
const LEAST_OF_BASE64: f64 = 3.3;
const LEAST_OF_HEX: f64 = 2.8;
/// In random text no character stands that often in a row, in any that will ever be issued.
const LONGEST_REPETITION: usize = 6;
/// Nor do so many in the order of the alphabet.
const LONGEST_SEQUENCE: usize = 8;
/// Words of manuals.
const WORDS: [&[u8]; 7] = [b"EXAMPLE", b"PLACEHOLDER", b"REDACTED", b"CHANGEME", b"YOUR_TOKEN", b"YOURTOKEN", b"XXXXX"];

/// Random text, by all that can be told.
pub(super) fn varied(secret: &[u8]) -> bool {
    entropy(secret) >= LEAST_OF_BASE64 && !placeholder(secret)
}

/// The same, of hex digits.
pub(super) fn hex(secret: &[u8]) -> bool {
    entropy(secret) >= LEAST_OF_HEX && !placeholder(secret)
}

/// Random text, with letters of both cases in it. Of 32 characters of base62, one in four million has not.
pub(super) fn both_cases(secret: &[u8]) -> bool {
    varied(secret) && secret.iter().any(u8::is_ascii_lowercase) && secret.iter().any(u8::is_ascii_uppercase)
}

/// The same, with digits: one in two hundred has none, and names of functions in words that run together neither.
pub(super) fn mixed(secret: &[u8]) -> bool {
    both_cases(secret) && secret.iter().any(u8::is_ascii_digit)
}

/// A token whose last six characters are the CRC32 of the others behind its `_`, in base62: that of GitHub and npm.
/// <https://github.blog/engineering/behind-githubs-new-authentication-token-formats/>
pub(super) fn checksum(secret: &[u8]) -> bool {
    let token = secret.iter().position(|byte| *byte == b'_').and_then(|at| secret.get(at + 1..)).unwrap_or_default();
    let Some((random, sum)) = token.split_last_chunk::<6>() else { return false };
    // Of longer tokens it is not known what is summed up.
    let right = token.len() != 36 || base62(crc32(random)) == *sum;
    right && varied(secret)
}

/// 40 characters of base64, in both cases, with digits, and no digest in hex.
pub(super) fn aws_secret(secret: &[u8]) -> bool {
    secret.len() == 40 && !secret.iter().all(u8::is_ascii_hexdigit) && entropy(secret) >= 4.0 && mixed(secret)
}

/// A JWT, with or without something before its header: the header says how it is signed.
pub(super) fn jwt(secret: &[u8]) -> bool {
    let begin = secret.windows(3).position(|window| window == b"eyJ").unwrap_or_default();
    let mut parts = secret.get(begin..).unwrap_or_default().split(|byte| *byte == b'.');
    let mut object = || {
        let bytes = BASE64URL_NOPAD.decode(parts.next()?).ok()?;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).ok()
    };
    let (Some(header), Some(claims)) = (object(), object()) else { return false };
    let signed = header.get("alg").and_then(|name| name.as_str()).is_some_and(|name| name != "none");
    // That of jwt.io, which stands in manuals without number.
    let example = claims.get("sub").is_some_and(|subject| subject == "1234567890");
    signed && !example
}

/// `user:password`, in base64.
pub(super) fn docker_auth(secret: &[u8]) -> bool {
    let Some(text) = BASE64.decode(secret).or_else(|_| BASE64_NOPAD.decode(secret)).ok() else { return false };
    let text = zeroize::Zeroizing::new(text);
    let Some(at) = text.iter().position(|byte| *byte == b':') else { return false };
    let (user, password) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
    let printable = std::str::from_utf8(&text).is_ok_and(|text| !text.chars().any(char::is_control));
    let word =
        [&b"password"[..], b"passwd", b"secret", b"token"].iter().any(|word| password.eq_ignore_ascii_case(word));
    printable && !user.is_empty() && password.len() >= 6 && !word && entropy(password) >= 2.0 && !placeholder(password)
}

/// The storage emulator's key is the same on each machine, and public.
pub(super) fn azure_storage(secret: &[u8]) -> bool {
    varied(secret) && !secret.starts_with(b"Eby8vdM02xNOcqFl")
}

/// A key's text: random but for its beginning, which says what it is.
pub(super) fn private_key(secret: &[u8]) -> bool {
    let dashes = |text: &[u8]| text.windows(5).position(|window| window == b"-----");
    let Some(text) = dashes(secret.get(5..).unwrap_or_default()).and_then(|at| secret.get(at + 10..)) else {
        return false;
    };
    let text = text.get(..dashes(text).unwrap_or(text.len())).unwrap_or_default();
    let characters = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
    // Ed25519 in PKCS #8 has 64.
    let words = |word: &[u8]| text.to_ascii_uppercase().windows(word.len()).any(|window| window == word);
    characters >= 60 && entropy(text) >= 4.0 && !words(b"EXAMPLE") && !words(b"XXXXXXXX")
}

/// Bits for each character.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    let all: f64 = counts.iter().copied().map(f64::from).sum();
    let used = counts.iter().filter(|count| **count > 0).copied().map(f64::from);
    used.map(|count| count / all).map(|share| -share * share.log2()).sum()
}

fn placeholder(text: &[u8]) -> bool {
    let longest = |next: fn(u8, u8) -> bool| {
        let (mut run, mut longest) = (1, 1);
        for pair in text.windows(2) {
            run = if matches!(pair, [one, other] if next(*one, *other)) { run + 1 } else { 1 };
            longest = longest.max(run);
        }
        longest
    };
    let upper = text.to_ascii_uppercase();
    let word = WORDS.iter().any(|word| upper.windows(word.len()).any(|window| window == *word));
    let follows = |one: u8, other: u8| one.checked_add(1) == Some(other) || (one, other) == (b'9', b'0');
    word || longest(|one, other| one == other) >= LONGEST_REPETITION || longest(follows) >= LONGEST_SEQUENCE
}

/// ISO 3309, bit by bit: 30 bytes are summed up at most.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// Six digits: 0 to 9, A to Z, a to z.
fn base62(mut number: u32) -> [u8; 6] {
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = match u8::try_from(number % 62).unwrap_or_default() {
            value @ 0..10 => b'0' + value,
            value @ 10..36 => b'A' + value - 10,
            value => b'a' + value - 36,
        };
        number /= 62;
    }
    digits
}

#[cfg(test)]
pub(super) fn sum(random: &[u8]) -> String {
    String::from_utf8(base62(crc32(random)).to_vec()).unwrap()
}
