//! Forms and queries (`application/x-www-form-urlencoded`, URL standard §5).

use data_encoding::HEXUPPER;

/// Appends a parameter. What is not unreserved (RFC 3986 §2.3) is encoded, so that it reads the same as a form and as a query.
pub(crate) fn add(parameters: &mut Vec<u8>, name: &str, value: &[u8]) {
    // At once what it takes: a vector that grows on the way leaves a copy at each step.
    parameters.reserve_exact(2 + 3 * (name.len() + value.len()));
    if !parameters.is_empty() {
        parameters.push(b'&');
    }
    encode(parameters, name.as_bytes());
    parameters.push(b'=');
    encode(parameters, value);
}

fn encode(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.push(b'%');
            let mut digits = [0; 2];
            HEXUPPER.encode_mut(&[*byte], &mut digits);
            out.extend_from_slice(&digits);
        }
    }
}

/// The names of all parameters, as servers read them. Some read `;` as `&`.
pub(crate) fn names(parameters: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let all = parameters.split(|byte| matches!(byte, b'&' | b';'));
    all.map(|parameter| decode(parameter.split(|byte| *byte == b'=').next().unwrap_or_default()))
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let encoded = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (encoded, first) {
            (Some(byte), _) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (None, b'+') => out.push(b' '),
            (None, other) => out.push(*other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_as_what_it_was() {
        let value: Vec<u8> = (0..=255).collect();
        let mut parameters = b"a=b".to_vec();
        add(&mut parameters, "token", &value);
        let text = String::from_utf8(parameters).unwrap();
        let (_, last) = text.split_once("&token=").unwrap();
        assert!(text.starts_with("a=b&token=%00%01") && last.is_ascii());
        assert_eq!(decode(last.as_bytes()), value);
    }

    #[test]
    fn a_name_is_found_however_it_is_written() {
        for query in ["token=a", "a=b&token", "a;token=", "%74oken=x", "a=b&t%6Fken=1"] {
            assert!(names(query.as_bytes()).any(|name| name == b"token"), "{query}");
        }
        for query in ["", "a=token", "tokens=1", "%2574oken=x", "%+4oken", "%7"] {
            assert!(!names(query.as_bytes()).any(|name| name == b"token"), "{query}");
        }
    }
}
