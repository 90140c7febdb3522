//! Base64 of a text that contains the value: which of its characters depend on the value alone.

use zeroize::Zeroizing;

/// RFC 4648 §4.
pub(super) const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// RFC 4648 §5.
pub(super) const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The characters that depend wholly on `part`, where `before` bytes (modulo 3) stand before it.
///
/// The characters at both ends, that it shares with its neighbours or with padding, are left out: they hold at most four
/// bits of it each.
pub(super) fn within(part: &[u8], before: usize, alphabet: &[u8; 64]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(part.len() / 3 * 4 + 4));
    // The bits of the first byte that belong to the character that it shares.
    let shared = match before % 3 {
        0 => 0,
        1 => 4,
        _ => 2,
    };
    let (mut bits, mut count) = (0_u32, 0_u32);
    for (place, byte) in part.iter().enumerate() {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        if place == 0 {
            count -= shared;
        }
        while count >= 6 {
            count -= 6;
            let value = usize::try_from(bits >> count & 63).unwrap_or_default();
            out.extend(alphabet.get(value));
        }
        bits &= (1 << count) - 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::{BASE64, BASE64URL};

    #[test]
    fn what_depends_on_the_value_alone_is_in_every_text_that_contains_it() {
        let value = b"s3cr\xfft-\x00v\xfealue";
        for (alphabet, encoding) in [(STANDARD, BASE64), (URL, BASE64URL)] {
            for before in 0..7 {
                for after in 0..5 {
                    let text = [&vec![0xa7; before], &value[..], &vec![0x5b; after]].concat();
                    let text = encoding.encode(&text);
                    let within = within(value, before, alphabet);
                    let place = text.find(std::str::from_utf8(&within).unwrap());
                    assert_eq!(place, Some((before * 8).div_ceil(6)), "{before} {after}");
                    assert_eq!(within.len(), (before + value.len()) * 8 / 6 - (before * 8).div_ceil(6));
                }
            }
        }
    }
}
