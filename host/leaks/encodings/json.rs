//! JSON strings, as the libraries that are in use write them.

use super::hex_digits;
use zeroize::Zeroizing;

/// How a library writes.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// `\/` for `/`: PHP.
    slash: bool,
    /// `\u000a` for `\n`, and so on.
    numbers: bool,
    /// `\u00e9`, with surrogate pairs, for whatever is not ASCII: Python.
    ascii: bool,
    /// `\u003c` for `<`, `>` and `&`: Go.
    html: bool,
    /// Upper-case digits: .NET.
    upper: bool,
}

/// Every style.
pub(super) fn styles() -> impl Iterator<Item = Style> {
    (0..32_u8).map(|bits| Style {
        slash: bits & 1 != 0,
        numbers: bits & 2 != 0,
        ascii: bits & 4 != 0,
        html: bits & 8 != 0,
        upper: bits & 16 != 0,
    })
}

/// Bytes that are no text are written as the characters of their numbers (ISO 8859-1).
pub(super) fn encode(piece: &[u8], style: Style) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(piece.len() * 6));
    match std::str::from_utf8(piece) {
        Ok(text) => text.chars().for_each(|character| write(&mut out, character, style)),
        Err(_) => piece.iter().for_each(|byte| write(&mut out, char::from(*byte), style)),
    }
    out
}

fn write(out: &mut Vec<u8>, character: char, style: Style) {
    let short = match character {
        '"' | '\\' => Some(character),
        '/' if style.slash => Some('/'),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        _ => None,
    };
    let mut room = [0; 4];
    match short {
        Some(short) if !(style.numbers && character.is_control()) => {
            out.push(b'\\');
            out.extend(short.encode_utf8(&mut room).as_bytes());
        }
        _ if numbered(character, style) => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend(b"\\u");
                unit.to_be_bytes().into_iter().for_each(|byte| out.extend(hex_digits(byte, !style.upper)));
            }
        }
        _ => out.extend(character.encode_utf8(&mut room).as_bytes()),
    }
}

fn numbered(character: char, style: Style) -> bool {
    match character {
        '\0'..' ' => true,
        '<' | '>' | '&' => style.html,
        '\u{7f}'.. => style.ascii,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &[u8]) -> Vec<String> {
        styles().map(|style| String::from_utf8(encode(value, style).to_vec()).unwrap()).collect()
    }

    #[test]
    fn each_style_is_that_of_a_library() {
        let found = all("a/\"\\\n\u{1}<é😀".as_bytes());
        for wanted in [
            serde_json::to_string("a/\"\\\n\u{1}<é😀").unwrap().trim_matches('"').to_owned(),
            r#"a\/\"\\\n\u0001<\u00e9\ud83d\ude00"#.to_owned(), // PHP
            r#"a/\"\\\n\u0001<\u00e9\ud83d\ude00"#.to_owned(),  // Python
            r#"a/\"\\\n\u0001\u003cé😀"#.to_owned(),            // Go
            r#"a/\"\\\n\u0001\u003C\u00E9\uD83D\uDE00"#.to_owned(), // .NET, but for its quotation marks
            r#"a/\"\\\u000a\u0001<é😀"#.to_owned(),
        ] {
            assert!(found.contains(&wanted), "{wanted}: {found:?}");
        }
        assert!(all(b"\xff\x00bytes").contains(&r"\u00ff\u0000bytes".to_owned()));
    }

    #[test]
    fn every_style_is_read_as_the_value() {
        let value = "a/\"\\\r\n\t\u{8}\u{c}\u{1}\u{7f}<>&é😀";
        for text in all(value.as_bytes()) {
            assert_eq!(serde_json::from_str::<String>(&format!("\"{text}\"")).unwrap(), value);
        }
    }
}
