//! What must hold of any values in any text, held against a search that tries every needle at every place.

use crate::encodings::{Encoding, forms};
use crate::lines::{ends, line_break};
use crate::parts::parts;
use crate::{Hit, HoldBack, MARK, Mask, Scanner, Values};
use data_encoding::{BASE32, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Values of few different bytes, so that needles overlap, repeat and begin alike.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 8..40),
        vec(prop::sample::select(b"ab".to_vec()), 8..80),
        vec(prop::sample::select(b"aA0/\"\\ \n<\r".to_vec()), 8..200),
        "[a-zA-Z0-9_é😀/+ ]{8,60}".prop_map(String::into_bytes),
        (vec(any::<u8>(), 65..200)),
        "([A-Za-z0-9+/]{20,64}\n){2,4}".prop_map(String::into_bytes),
        "[ab日本]{8,9}".prop_map(String::into_bytes),
    ]
}

/// Something that a text is put together from. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Fragment {
    Bytes(Vec<u8>),
    /// A form of a value: which; from where to where of it; after how many of its bytes a line breaks; one byte changed.
    Form {
        form: usize,
        from: usize,
        to: usize,
        wrap: usize,
        changed: Option<usize>,
    },
}

fn fragment() -> impl Strategy<Value = Fragment> {
    let whole = || (any::<usize>(), Just(0), Just(usize::MAX));
    let cut = || (any::<usize>(), 0..20_usize, 0..200_usize);
    let form = |((form, from, to), wrap, changed)| Fragment::Form { form, from, to, wrap, changed };
    prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(Fragment::Bytes),
        vec(prop::sample::select(b"ab\n\r".to_vec()), 0..20).prop_map(Fragment::Bytes),
        (whole(), Just(0), Just(None)).prop_map(form),
        (whole(), 1..80_usize, Just(None)).prop_map(form),
        (cut(), 0..20_usize, Just(None)).prop_map(form),
        (whole(), 0..20_usize, any::<usize>().prop_map(Some)).prop_map(form),
    ]
}

fn text(values: &Values, fragments: &[Fragment]) -> Vec<u8> {
    let mut text = Vec::new();
    for fragment in fragments {
        match fragment {
            Fragment::Bytes(bytes) => text.extend(bytes),
            Fragment::Form { form, from, to, wrap, changed } => {
                let needle = values.needles.text(form % values.needles.len()).bytes;
                let mut bytes =
                    needle[(*from).min(needle.len())..(*to).min(needle.len()).max(*from).min(needle.len())].to_vec();
                if let Some(changed) = changed
                    && !bytes.is_empty()
                {
                    let length = bytes.len();
                    bytes[changed % length] ^= 1;
                }
                for (place, byte) in bytes.into_iter().enumerate() {
                    if *wrap > 0 && place > 0 && place % wrap == 0 {
                        text.extend(if form % 2 == 0 { &b"\n"[..] } else { b"\r\n" });
                    }
                    text.push(byte);
                }
            }
        }
    }
    text
}

fn ready(values: &[Vec<u8>]) -> Arc<Values> {
    Arc::new(Values::new(values.iter().map(|value| ("name", value.as_slice()))).unwrap())
}

fn masked(values: &Arc<Values>, hold_back: HoldBack, chunks: &[&[u8]]) -> (Vec<u8>, Vec<(usize, Encoding)>) {
    let (mut mask, mut out) = (Mask::holding(Arc::clone(values), hold_back), Vec::new());
    chunks.iter().for_each(|chunk| mask.push(chunk, &mut out));
    let exposed = mask.finish(&mut out);
    (out, exposed.iter().collect())
}

/// `text` in chunks of the sizes, over and over.
fn chunks<'a>(mut text: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        if text.is_empty() {
            break;
        }
        let (chunk, rest) = text.split_at((*size).min(text.len()));
        chunks.push(chunk);
        text = rest;
    }
    chunks
}

/// Every place of every needle, by the plainest code: where it begins and ends, and for whom it stands.
fn places(values: &[Vec<u8>], text: &[u8]) -> BTreeSet<(usize, usize, usize, Encoding)> {
    let mut places = BTreeSet::new();
    for (number, value) in values.iter().enumerate() {
        for form in parts(value).into_iter().flat_map(forms).filter(|form| form.bytes.len() >= 8) {
            for begin in 0..text.len() {
                let plain = text[begin..].starts_with(&form.bytes).then(|| begin + form.bytes.len());
                let wrapped = || ends(text, begin, &form.bytes).filter(|_| form.encoding.wraps());
                if let Some(end) = plain.or_else(wrapped) {
                    places.insert((end, begin, number, form.encoding));
                }
            }
        }
    }
    places
}

/// `text` with a mark for each run of bytes that are of some place.
fn plainly_masked(text: &[u8], places: &BTreeSet<(usize, usize, usize, Encoding)>) -> Vec<u8> {
    let mut hit = vec![false; text.len()];
    places.iter().for_each(|(end, begin, ..)| hit[*begin..*end].fill(true));
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match hit[at] {
            false => out.push(*byte),
            true if at == 0 || !hit[at - 1] => out.extend(MARK.as_bytes()),
            true => {}
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_searches_find_what_the_plainest_finds(
        values in vec(value(), 1..4),
        fragments in vec(fragment(), 0..8),
        sizes in vec(1..60_usize, 1..5),
    ) {
        let ready = ready(&values);
        let text = text(&ready, &fragments);
        let places = places(&values, &text);
        let wanted = plainly_masked(&text, &places);
        let split = chunks(&text, &sizes);
        let single = chunks(&text, &[1]);
        let all = masked(&ready, HoldBack::Beginnings, &[&text]);
        prop_assert_eq!(&all.0, &wanted);
        for pieces in [&split, &single] {
            prop_assert_eq!(&masked(&ready, HoldBack::Beginnings, pieces), &all);
            prop_assert_eq!(&masked(&ready, HoldBack::Always, pieces), &all);
        }
        // Whose they are: each value, and some encoding of those that it is there in.
        let owners: BTreeSet<_> = places.iter().map(|(.., value, encoding)| (*value, *encoding)).collect();
        let exposed: BTreeSet<_> = all.1.iter().copied().collect();
        prop_assert!(exposed.is_subset(&owners));
        let names = |of: &BTreeSet<(usize, Encoding)>| of.iter().map(|(value, _)| *value).collect::<BTreeSet<_>>();
        prop_assert_eq!(names(&exposed), names(&owners));

        let first = places.first().map(|(end, begin, ..)| (*begin, *end));
        for pieces in [&vec![text.as_slice()], &split, &single] {
            let mut scanner = Scanner::new(Arc::clone(&ready));
            let found = pieces.iter().fold(None, |_, chunk| scanner.push(chunk));
            let found = found.map(|Hit { offset, length, .. }| (usize::try_from(offset).unwrap(), length));
            let found = found.map(|(begin, length)| (begin, begin + length));
            prop_assert_eq!(found, first);
        }
    }

    #[test]
    fn what_holds_no_value_comes_out_as_it_was(value in value(), text in vec(any::<u8>(), 0..600)) {
        let ready = ready(std::slice::from_ref(&value));
        prop_assume!(places(&[value], &text).is_empty());
        prop_assert_eq!(masked(&ready, HoldBack::Beginnings, &chunks(&text, &[7])), (text, vec![]));
    }

    #[test]
    fn every_encoding_is_found_wherever_it_stands(
        value in vec(any::<u8>(), 8..=64),
        before in vec(any::<u8>(), 0..100),
        after in vec(any::<u8>(), 0..100),
        column in 1..100_usize,
    ) {
        prop_assume!(!value.contains(&b'\n'));
        let ready = ready(std::slice::from_ref(&value));
        let text = [&before[..], &value, &after].concat();
        let percent: String = value.iter().map(|byte| format!("%{byte:02X}")).collect();
        // As text what is text: some random bytes are. Others as the characters of their numbers.
        let json = String::from_utf8(value.clone()).unwrap_or_else(|_| value.iter().copied().map(char::from).collect());
        let written = [
            (text.clone(), Encoding::Raw),
            (BASE64.encode(&text).into_bytes(), Encoding::Base64),
            (BASE64_NOPAD.encode(&text).into_bytes(), Encoding::Base64),
            (BASE64URL.encode(&text).into_bytes(), Encoding::Base64Url),
            (BASE64URL_NOPAD.encode(&text).into_bytes(), Encoding::Base64Url),
            (HEXLOWER.encode(&text).into_bytes(), Encoding::Hex),
            (HEXUPPER.encode(&text).into_bytes(), Encoding::Hex),
            (percent.into_bytes(), Encoding::Percent),
            (serde_json::to_vec(&json).unwrap(), Encoding::Json),
        ];
        for (text, encoding) in written {
            let found = ready.find(&text);
            prop_assert!(found.is_some(), "{encoding:?}");
            if encoding.wraps() {
                for end in [&b"\n"[..], b"\r\n"] {
                    prop_assert!(ready.find(&text.chunks(column).collect::<Vec<_>>().join(end)).is_some(), "{encoding:?}");
                }
            }
        }
        // The control: an encoding that is not looked for.
        prop_assert_eq!(ready.find(BASE32.encode(&value).as_bytes()), None);
    }

    #[test]
    fn text_is_found_in_what_is_made_for_text(value in "[\\PC\n\t]{8,30}", before in "\\PC{0,20}") {
        prop_assume!(!value.contains('\n') && value.encode_utf16().count() >= 4);
        let ready = ready(&[value.clone().into_bytes()]);
        let text = format!("{before}{value}");
        let json = serde_json::to_vec(&text).unwrap();
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for text in [json, little, big] {
            prop_assert!(ready.find(&text).is_some());
        }
        let (whole, exposed) = ready.mask_whole(&text);
        prop_assert!(!exposed.is_empty() && !whole.contains(&value));
    }

    #[test]
    fn ninety_five_bytes_in_a_row_of_a_long_value_are_found(
        value in vec(any::<u8>(), 95..2000),
        place in any::<prop::sample::Index>(),
        column in 10..100_usize,
    ) {
        let begin = place.index(value.len() - 94);
        let leaked = &value[begin..begin + 95];
        let ready = ready(std::slice::from_ref(&value));
        prop_assert!(ready.find(leaked).is_some());
        prop_assert!(ready.find(HEXLOWER.encode(leaked).as_bytes()).is_some());
        // In base64 a piece and a byte on either side, where it is at another offset than in the whole.
        let wrapped = BASE64.encode(&value).into_bytes().chunks(column).collect::<Vec<_>>().join(&b"\r\n"[..]);
        let (out, _) = masked(&ready, HoldBack::Beginnings, &[&wrapped]);
        // Line breaks between pieces stay, and say nothing. At the end stays what padding shares.
        let shown = out.iter().filter(|byte| !b"*\r\n".contains(byte)).count();
        prop_assert!(shown <= 3, "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn masked_text_is_text(value in vec(prop::sample::select(vec![0x9f_u8, 0x98, 0x80, 0xf0]), 8..12), text in "[😀é]{0,40}") {
        let ready = ready(&[value]);
        let (masked, exposed) = ready.mask_whole(&text);
        prop_assert_eq!(exposed.is_empty(), masked == text);
    }
}

/// As `line_break` sees it.
#[test]
fn line_breaks_are_those_of_unix_and_windows() {
    assert_eq!([line_break(b"\nx"), line_break(b"\r\nx"), line_break(b"\rx"), line_break(b"x")], [1, 2, 0, 0]);
}
