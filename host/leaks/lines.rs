//! Needles that are broken into lines where they stand: between any two of their bytes may be one line break.

/// The bytes of the line break that begins `text`: `\n` or `\r\n`. 0 where none does.
pub(crate) fn line_break(text: &[u8]) -> usize {
    match text {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

/// Where in `text` the needle ends that is there from `at` on.
pub(crate) fn ends(text: &[u8], mut at: usize, needle: &[u8]) -> Option<usize> {
    for (place, wanted) in needle.iter().enumerate() {
        if text.get(at) != Some(wanted) {
            at += if place > 0 { line_break(text.get(at..)?) } else { 0 };
            if text.get(at) != Some(wanted) {
                return None;
            }
        }
        at += 1;
    }
    Some(at)
}

/// Where in `text` begins what comes before the byte at `at` and is `needle`, of which that byte is the next.
pub(crate) fn begins(text: &[u8], mut at: usize, needle: &[u8]) -> Option<usize> {
    for wanted in needle.iter().rev() {
        at = at.checked_sub(1)?;
        if text.get(at) == Some(&b'\n') {
            at = at.checked_sub(1)?;
            if text.get(at) == Some(&b'\r') {
                at = at.checked_sub(1)?;
            }
        }
        if text.get(at) != Some(wanted) {
            return None;
        }
    }
    Some(at)
}

/// What of `text` is left without line breaks, if it could be the beginning of a needle: `None` where a break comes first, or two
/// stand together. At its end a break may be half there.
pub(crate) fn joined(text: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut broken = true;
    while let Some((first, tail)) = rest.split_first() {
        match line_break(rest) {
            0 if rest == b"\r" && !broken => return Some(joined),
            0 => {
                joined.push(*first);
                broken = false;
                rest = tail;
            }
            _ if broken => return None,
            length => {
                broken = true;
                rest = rest.get(length..)?;
            }
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_break_between_two_bytes_is_passed_over() {
        let text = b"xab\ncd\r\nefx";
        assert_eq!(ends(text, 1, b"abcdef"), Some(10));
        assert_eq!(ends(text, 1, b"abcdeg"), None);
        assert_eq!(ends(text, 3, b"cdef"), None, "a needle does not begin with a break");
        assert_eq!(begins(text, 8, b"abcd"), Some(1));
        assert_eq!(begins(text, 8, b"bbcd"), None);
        assert_eq!(ends(b"ab\n\ncd", 0, b"abcd"), None);
        assert_eq!(ends(b"ab\rcd", 0, b"abcd"), None);
        assert_eq!(begins(b"ab\n\ncd", 4, b"ab"), None);
        assert_eq!(begins(b"ab\rcd", 3, b"ab"), None);
    }

    #[test]
    fn a_beginning_is_told_from_other_text() {
        assert_eq!(joined(b"ab\ncd"), Some(b"abcd".to_vec()));
        assert_eq!(joined(b"ab\r"), Some(b"ab".to_vec()));
        assert_eq!(joined(b"ab\r\n"), Some(b"ab".to_vec()));
        assert_eq!(joined(b"ab\n\n"), None);
        assert_eq!(joined(b"\nab"), None);
        assert_eq!(joined(b"ab\n\r"), Some(b"ab\r".to_vec()), "no needle has a carriage return");
    }
}
