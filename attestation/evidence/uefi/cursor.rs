//! What the parsers of this module share: 64-bit lengths, UTF-16, and the padding that shim leaves.

use crate::bytes::{Malformed, Problem, Reader};

/// The most bytes that may follow a variable or an image event.
///
/// Old versions of shim computed sizes with `sizeof`, which counts the one-element arrays at the end of the structures
/// and the padding behind them, and logged one byte more than they measured: six bytes behind a `UEFI_VARIABLE_DATA`,
/// eight or nine behind a `UEFI_IMAGE_LOAD_EVENT` have been seen. Nothing reads them.
pub const MOST_PADDING: usize = 9;

/// All that is left, if that is no more than [`MOST_PADDING`].
pub(super) fn padding<'a>(reader: &Reader<'a>) -> Result<&'a [u8], Malformed> {
    let rest = reader.rest();
    if rest.len() > MOST_PADDING { Err(reader.malformed(Problem::TrailingBytes(rest.len()))) } else { Ok(rest) }
}

/// A 64-bit count or length of at most `most`.
pub(super) fn bounded_u64(reader: &mut Reader<'_>, field: &'static str, most: usize) -> Result<usize, Malformed> {
    let before = reader.clone();
    let value = reader.u64_le()?;
    usize::try_from(value).ok().filter(|count| *count <= most).ok_or_else(|| {
        before.malformed(Problem::TooMany { field, value, most: u64::try_from(most).unwrap_or(u64::MAX) })
    })
}

/// `count` code units of UTF-16. The caller has bounded `count`.
pub(super) fn utf16<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8], Malformed> {
    // Saturation can't make a slice of this length: `take` refuses it.
    reader.take(count.saturating_mul(2))
}

/// The code units of little-endian UTF-16. An odd last byte is no unit.
fn units(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair))
}

/// UTF-16 that names something: no unpaired surrogate, no NUL, no half of a code unit.
pub(super) fn strict_text(bytes: &[u8]) -> Option<String> {
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let text: String = char::decode_utf16(units(bytes)).collect::<Result<_, _>>().ok()?;
    (!text.contains('\0')).then_some(text)
}

/// UTF-16 for people, up to the first NUL: U+FFFD in the place of unpaired surrogates.
pub(super) fn lenient_text(bytes: &[u8]) -> String {
    let before_nul = units(bytes).take_while(|unit| *unit != 0);
    char::decode_utf16(before_nul).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The bytes of a NUL-terminated UTF-16 string of at most `most` code units, without its NUL.
pub(super) fn terminated_utf16<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    most: usize,
) -> Result<&'a [u8], Malformed> {
    let longest = most.saturating_add(1);
    match units(reader.rest()).take(longest).position(|unit| unit == 0) {
        Some(length) => {
            let text = utf16(reader, length)?;
            reader.take(2)?;
            Ok(text)
        }
        None if reader.rest().len() / 2 < longest => Err(reader.malformed(Problem::Text("no NUL ends the text"))),
        None => {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            Err(reader.malformed(Problem::TooMany { field, value: most.saturating_add(1), most }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn names_are_decoded_strictly_and_descriptions_are_not() {
        assert_eq!(strict_text(&encode("Größe 🙂")).as_deref(), Some("Größe 🙂"));
        let unpaired = [0x41, 0, 0x00, 0xd8, 0x42, 0];
        assert_eq!(strict_text(&unpaired), None);
        assert_eq!(lenient_text(&unpaired), "A\u{fffd}B");
        assert_eq!(strict_text(&encode("a\0")), None);
        assert_eq!(lenient_text(&encode("a\0b")), "a");
        assert_eq!(strict_text(b"a\0b"), None);
    }

    #[test]
    fn terminated_text_ends_where_its_nul_is() {
        let bytes = [encode("ab\0"), vec![9]].concat();
        let mut reader = Reader::new("test", &bytes);
        assert_eq!(terminated_utf16(&mut reader, "text", 2), Ok(&encode("ab")[..]));
        assert_eq!(reader.rest(), &[9]);
        let too_long = terminated_utf16(&mut Reader::new("test", &bytes), "text", 1);
        assert_eq!(too_long.unwrap_err().problem, Problem::TooMany { field: "text", value: 2, most: 1 });
        let open = terminated_utf16(&mut Reader::new("test", &bytes[..5]), "text", 2);
        assert_eq!(open.unwrap_err().problem, Problem::Text("no NUL ends the text"));
    }
}
