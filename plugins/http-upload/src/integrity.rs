//! Headers that say what was sent, so that the server can refuse what arrived otherwise.

use step_digest::Sha256Digest;

/// The digest as a header wants it: structured in those of RFC 9530, hexadecimal in any other, such as
/// `x-checksum-sha256`.
pub(crate) fn value(header: &str, digest: &Sha256Digest) -> String {
    if ["content-digest", "repr-digest"].iter().any(|name| header.eq_ignore_ascii_case(name)) {
        format!("sha-256=:{}:", digest.base64())
    } else {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_has_its_form() {
        // RFC 9530 §B.1, of the same bytes.
        let digest = Sha256Digest::of(b"{\"hello\": \"world\"}\n");
        let structured = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(value("Repr-Digest", &digest), structured);
        assert_eq!(value("content-digest", &digest), structured);
        let hexadecimal = "44aff4ab2d7c3250525675a08f0cfa9591168cffe51791c5f5bbc417c15a6c38";
        assert_eq!(value("x-checksum-sha256", &digest), hexadecimal);
    }
}
