//! How a value may be written: every form of it that the search looks for.

mod base64;
mod json;
mod percent;

use zeroize::Zeroizing;

/// The longest part of a value that is looked for as a whole, in bytes. A longer one is cut into pieces.
pub(crate) const LONGEST_WHOLE: usize = 64;
/// Bytes of a piece. A multiple of three: base64 of neighbouring pieces meets without a gap.
pub(crate) const PIECE: usize = 48;
/// Characters of a piece in base64.
const BASE64_PIECE: usize = PIECE / 3 * 4;
/// Characters of a piece in hex.
const HEX_PIECE: usize = PIECE * 2;

/// How a value was written where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is.
    Raw,
    /// Base64 of any text that contains it (RFC 4648 §4), on one line or several.
    Base64,
    /// Base64 for URLs and file names (RFC 4648 §5), on one line or several.
    Base64Url,
    /// Hexadecimal digits, all lower or all upper case, on one line or several.
    Hex,
    /// Percent encoding (RFC 3986 §2.1), or a form's (`+` for a space).
    Percent,
    /// Within a JSON string (RFC 8259 §7).
    Json,
    /// UTF-16 in either byte order.
    Utf16,
}

impl Encoding {
    /// Whether tools that write it break it into lines.
    pub(crate) fn wraps(self) -> bool {
        matches!(self, Self::Base64 | Self::Base64Url | Self::Hex)
    }

    /// `base64`, say.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::Json => "json",
            Self::Utf16 => "utf-16",
        }
    }
}

/// One way in which a part of a value may be written.
pub(crate) struct Form {
    pub(crate) encoding: Encoding,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// All forms of `part`: of the whole of it, or, where it is longer than [`LONGEST_WHOLE`], of its pieces.
///
/// A form may be there twice.
pub(crate) fn forms(part: &[u8]) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut add = |encoding, bytes| forms.push(Form { encoding, bytes });
    for piece in pieces(part) {
        byte_by_byte(piece, &mut add);
    }
    let long = part.len() > LONGEST_WHOLE;
    for lower in [true, false] {
        cut(&hex(part, lower), long.then_some(HEX_PIECE), |bytes| add(Encoding::Hex, bytes));
    }
    for (encoding, alphabet) in [(Encoding::Base64, base64::STANDARD), (Encoding::Base64Url, base64::URL)] {
        for before in 0..3 {
            let text = base64::within(part, before, alphabet);
            cut(&text, long.then_some(BASE64_PIECE), |bytes| add(encoding, bytes));
        }
    }
    forms
}

/// Encodings that write one character after the other, each on its own.
fn byte_by_byte(piece: &[u8], add: &mut impl FnMut(Encoding, Zeroizing<Vec<u8>>)) {
    add(Encoding::Raw, Zeroizing::new(piece.to_vec()));
    once(percent::STYLES.into_iter().map(|style| percent::encode(piece, style)), |bytes| add(Encoding::Percent, bytes));
    once(json::styles().map(|style| json::encode(piece, style)), |bytes| add(Encoding::Json, bytes));
    if let Ok(text) = std::str::from_utf8(piece) {
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            add(Encoding::Utf16, Zeroizing::new(text.encode_utf16().flat_map(order).collect()));
        }
    }
}

/// What most styles write alike is there once.
fn once(all: impl Iterator<Item = Zeroizing<Vec<u8>>>, add: impl FnMut(Zeroizing<Vec<u8>>)) {
    let mut different: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    for bytes in all {
        if !different.contains(&bytes) {
            different.push(bytes);
        }
    }
    different.into_iter().for_each(add);
}

/// Pieces that cover `part`, each whole characters where it is UTF-8.
fn pieces(part: &[u8]) -> Vec<&[u8]> {
    if part.len() <= LONGEST_WHOLE {
        return vec![part];
    }
    let text = std::str::from_utf8(part).ok();
    let down = |at| text.map_or(at, |text| text.floor_char_boundary(at));
    let up = |at| text.map_or(at, |text| text.ceil_char_boundary(at));
    let starts = (0..part.len() - PIECE).step_by(PIECE).chain([part.len() - PIECE]);
    starts.filter_map(|start| part.get(down(start)..up(start + PIECE).min(part.len()))).collect()
}

/// Cuts what is one character a byte. The last piece overlaps the one before.
fn cut(text: &[u8], size: Option<usize>, mut add: impl FnMut(Zeroizing<Vec<u8>>)) {
    let Some(size) = size.filter(|size| *size < text.len()) else {
        return add(Zeroizing::new(text.to_vec()));
    };
    for start in (0..text.len() - size).step_by(size).chain([text.len() - size]) {
        if let Some(piece) = text.get(start..start + size) {
            add(Zeroizing::new(piece.to_vec()));
        }
    }
}

fn hex(part: &[u8], lower: bool) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(part.len() * 2));
    part.iter().for_each(|byte| out.extend(hex_digits(*byte, lower)));
    out
}

/// The two digits of a byte.
fn hex_digits(byte: u8, lower: bool) -> [u8; 2] {
    let digit = |value: u8| match value {
        0..10 => b'0' + value,
        _ if lower => b'a' + value - 10,
        _ => b'A' + value - 10,
    };
    [digit(byte >> 4), digit(byte & 15)]
}
