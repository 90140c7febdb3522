//! Just enough DER (X.690) for what the certificate parser leaves alone.

/// An element: its identifier octet, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Identifier and length too.
    pub(super) whole: &'a [u8],
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]` and `[1]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;

/// The elements that `bytes` are, one after the other. The last item is `None` where something else follows.
pub(super) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = Option<Element<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let split = element(bytes);
        bytes = split.map_or(&[], |(_, rest)| rest);
        Some(split.map(|(element, _)| element))
    })
}

/// What the one element in `bytes` holds, if it has this `tag`.
pub(super) fn only(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    element(bytes).filter(|(element, rest)| element.tag == tag && rest.is_empty()).map(|(element, _)| element.content)
}

/// The first element, and what is behind it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
    // The shortest form, and no other.
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest
            .split_first()
            .map(|(length, rest)| (usize::from(*length), rest))
            .filter(|(length, _)| *length > 0x7f)?,
        0x82 => rest
            .split_first_chunk::<2>()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))
            .filter(|(length, _)| *length > 0xff)?,
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - behind.len())?;
    Some((Element { tag, content, whole }, behind))
}
