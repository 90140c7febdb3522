//! Percent encoding, as the libraries that are in use write it.

use super::hex_digits;
use zeroize::Zeroizing;

/// How a library writes.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// What it leaves as it is, beside letters and digits. `None`: nothing at all, not even these.
    kept: Option<&'static [u8]>,
    /// A space is `+`.
    plus: bool,
    lower: bool,
}

/// RFC 3986 §2.3.
const UNRESERVED: &[u8] = b"-._~";
/// ECMAScript's `encodeURIComponent`.
const COMPONENT: &[u8] = b"-._~!'()*";
/// Of a form (WHATWG URL §1.3, "application/x-www-form-urlencoded percent-encode set").
const FORM: &[u8] = b"*-._";
/// A path: Python's `quote`.
const PATH: &[u8] = b"-._~/";

/// Every style, in both cases of its digits.
pub(super) const STYLES: [Style; 14] = [
    style(None, false, false),
    style(None, false, true),
    style(None, true, false),
    style(None, true, true),
    style(Some(UNRESERVED), false, false),
    style(Some(UNRESERVED), false, true),
    style(Some(UNRESERVED), true, false),
    style(Some(UNRESERVED), true, true),
    style(Some(COMPONENT), false, false),
    style(Some(COMPONENT), false, true),
    style(Some(FORM), true, false),
    style(Some(FORM), true, true),
    style(Some(PATH), false, false),
    style(Some(PATH), false, true),
];

const fn style(kept: Option<&'static [u8]>, plus: bool, lower: bool) -> Style {
    Style { kept, plus, lower }
}

pub(super) fn encode(piece: &[u8], style: Style) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(piece.len() * 3));
    for byte in piece {
        let kept = style.kept.is_some_and(|kept| byte.is_ascii_alphanumeric() || kept.contains(byte));
        match byte {
            b' ' if style.plus => out.push(b'+'),
            _ if kept => out.push(*byte),
            _ => {
                out.push(b'%');
                out.extend(hex_digits(*byte, style.lower));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_style_is_that_of_a_library() {
        let all = STYLES.map(|style| String::from_utf8(encode(b"a/ ~*\xff", style).to_vec()).unwrap());
        for wanted in [
            "%61%2F%20%7E%2A%FF", // all of it
            "%61%2f+%7e%2a%ff",
            "a%2F%20~%2A%FF", // RFC 3986
            "a%2f%20~%2a%ff",
            "a%2F+~%2A%FF", // Python's quote_plus
            "a%2F%20~*%FF", // encodeURIComponent
            "a%2F+%7E*%FF", // a form
            "a/%20~%2A%FF", // Python's quote
        ] {
            assert!(all.iter().any(|text| text == wanted), "{wanted}: {all:?}");
        }
    }
}
