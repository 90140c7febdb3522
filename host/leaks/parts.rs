//! Which parts of a value are secrets by themselves.

/// Fewest bytes of a value, and of a line of one: what is shorter is in too many texts that have nothing to do with it.
pub const SHORTEST_VALUE: usize = 8;

/// The first line of an OpenSSH private key begins with "openssh-key-v1" and holds the names of algorithms and the public key's
/// beginning (PROTOCOL.key): that of all Ed25519 keys is the same.
const OPENSSH: &[u8] = b"b3BlbnNzaC1rZXktdjE";

/// The parts of `value` that are looked for: what stands between lines that say nothing, and each line.
///
/// Each has at least [`SHORTEST_VALUE`] bytes. Where nothing is left, it is the value as it is.
pub(crate) fn parts(value: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut begins = 0;
    let mut at = 0;
    let mut lines = Vec::new();
    for line in value.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        let text = line.trim_ascii();
        if says_nothing(text) {
            parts.extend(value.get(begins..at));
            begins = end;
        } else {
            lines.push(text);
        }
        at = end;
    }
    let whole = begins == 0;
    parts.extend(value.get(begins..));
    if !whole {
        // What is left of a key in PEM is its lines; their last line break is not of the secret.
        parts.iter_mut().for_each(|part| *part = part.trim_ascii());
    }
    if lines.len() > 1 || value.ends_with(b"\n") {
        parts.extend(lines);
    }
    parts.retain(|part| part.len() >= SHORTEST_VALUE);
    parts.sort_unstable();
    parts.dedup();
    if parts.is_empty() { vec![value] } else { parts }
}

/// Lines that stand in many secrets alike.
fn says_nothing(line: &[u8]) -> bool {
    let boundary = |begin: &[u8]| line.starts_with(begin) && line.ends_with(b"-----");
    boundary(b"-----BEGIN ") || boundary(b"-----END ") || line.starts_with(OPENSSH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_one_line_is_one_part() {
        assert_eq!(parts(b"correct horse"), [b"correct horse"]);
        assert_eq!(parts(b" padded value "), [b" padded value "]);
    }

    #[test]
    fn lines_are_parts_without_what_surrounds_them() {
        assert_eq!(parts(b"token-of-42\n"), [&b"token-of-42"[..], b"token-of-42\n"]);
        assert_eq!(
            parts(b"user: me\r\n  password: 1234\nshort\n"),
            [&b"password: 1234"[..], b"user: me", b"user: me\r\n  password: 1234\nshort\n"]
        );
    }

    #[test]
    fn boundaries_of_pem_are_no_secret() {
        let key = b"-----BEGIN X-----\nAAAABBBB\nCCCC\n-----END X-----\n";
        assert_eq!(parts(key), [&b"AAAABBBB"[..], b"AAAABBBB\nCCCC"]);
        let nothing = b"-----BEGIN X-----\n-----END X-----\n";
        assert_eq!(parts(nothing), [nothing]);
    }

    #[test]
    fn the_line_that_all_openssh_keys_begin_with_is_no_secret() {
        let key = b"-----BEGIN X-----\nb3BlbnNzaC1rZXktdjEAAAAABG5v\nBBBBCCCC\n-----END X-----";
        assert_eq!(parts(key), [b"BBBBCCCC"]);
    }
}
