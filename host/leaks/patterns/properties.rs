//! What must hold of the search in any text.

use super::samples::positives;
use super::{Finding, PatternScanner, Patterns};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;
use std::sync::{Arc, LazyLock};

static PATTERNS: LazyLock<Arc<Patterns>> = LazyLock::new(Patterns::new);

/// All of a finding, to be compared.
fn facts(finding: &Finding) -> String {
    format!("{finding:?}")
}

fn in_chunks(text: &[u8], sizes: &[usize]) -> Vec<String> {
    let (mut scanner, mut found) = (PatternScanner::new(Arc::clone(&PATTERNS)), Vec::new());
    let mut rest = text;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, tail) = rest.split_at((*size).min(rest.len()));
        scanner.push(chunk, |finding| found.push(finding));
        rest = tail;
    }
    scanner.finish(|finding| found.push(finding));
    found.sort_by_key(|finding| finding.offset);
    found.iter().map(facts).collect()
}

/// Parts of samples, whole ones, and what stands between.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<String> = positives().into_iter().map(|(_, text)| text).collect();
    let whole = prop::sample::select(samples);
    let part =
        (whole.clone(), any::<prop::sample::Index>()).prop_map(|(text, at)| text[..at.index(text.len())].to_owned());
    let between = prop::sample::select(vec![" ", "\n", "", "-", "_", ".", "=", "\"", "\\n", "eyJ", "AKIA", "é", "x"]);
    let fragment = prop_oneof![
        4 => whole.prop_map(String::into_bytes),
        1 => part.prop_map(String::into_bytes),
        4 => between.prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..300),
        1 => (0..400_usize).prop_map(|count| vec![b' '; count]),
    ];
    vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn where_chunks_end_makes_no_difference(text in text(), sizes in vec(1..700_usize, 1..5)) {
        let whole: Vec<_> = PATTERNS.find(&text).iter().map(facts).collect();
        prop_assert_eq!(&in_chunks(&text, &sizes), &whole);
        prop_assert_eq!(&in_chunks(&text, &[1]), &whole);
    }

    #[test]
    fn what_stands_far_away_makes_no_difference(text in text(), before in 0..200_000_usize) {
        let line = [vec![b'.'; before], b"\n".to_vec(), text.clone()].concat();
        let alone = [b"\n".to_vec(), text].concat();
        let told = |text: &[u8], offset: usize| -> Vec<_> {
            let found = PATTERNS.find(text);
            found.iter().map(|finding| (finding.pattern.name, finding.offset - offset as u64, finding.start, finding.end)).collect()
        };
        prop_assert_eq!(told(&line, before), told(&alone, 0));
    }

    #[test]
    fn any_bytes_can_be_searched(text in vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(in_chunks(&text, &[7]), PATTERNS.find(&text).iter().map(facts).collect::<Vec<_>>());
    }
}

#[test]
fn little_of_a_stream_is_kept() {
    let key = positives().remove(0).1;
    let stream =
        [b"-----BEGIN PRIVATE KEY-----\n".to_vec(), key.repeat(300).into_bytes(), vec![b'x'; 1 << 20]].concat();
    for size in [1000, 64 * 1024, 1 << 20] {
        let mut scanner = PatternScanner::new(Arc::clone(&PATTERNS));
        let mut found = 0;
        for chunk in stream.chunks(size) {
            scanner.push(chunk, |_| found += 1);
            assert!(scanner.room() <= 200 * 1024, "{}", scanner.room());
        }
        scanner.finish(|_| found += 1);
        assert_eq!(found, 300);
    }
}

/// Anchors in a row that each could be the beginning of something long: a search whose time is not linear takes minutes.
#[test]
fn texts_that_are_made_to_be_slow_are_not() {
    let anchors =
        ["eyJ", "eyJ.", "-eyJ", ".eyJaaaaaaaa", "ghs_1_eyJaaaaaaaa.", " sk-", "-----BEGIN PRIVATE KEY-----\n", "AKIA"];
    let more = [
        "AKIAABCDEFGHIJKLMNOP ",
        "pypi-AgEIcHlwaS5vcmc",
        " pypi-AgEIcHlwaS5vcmc-",
        "\"auth\":\"",
        "\"auth\":\"aaaaaaaaaaaa",
    ];
    for anchor in anchors.into_iter().chain(more) {
        let text = anchor.repeat(2_000_000 / anchor.len());
        let began = std::time::Instant::now();
        PATTERNS.find(text.as_bytes());
        assert!(began.elapsed().as_secs() < 10, "{anchor}: {:?}", began.elapsed());
    }
}

/// The sources of this project hold no secrets but keys of tests, in files of their own, and tokens that are made to be refused.
#[test]
fn in_our_own_sources_nothing_is_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut searched = 0;
    for folder in ["attestation", "host", "plugins", "docs", "wit", "runner-config", "tests"] {
        sources(&root.join(folder), &mut |path| {
            searched += 1;
            let text = std::fs::read(path).unwrap();
            let found = PATTERNS.find(&text);
            assert!(found.is_empty(), "{}: {found:?}", path.display());
        });
    }
    assert!(searched > 100, "{searched}");
}

fn sources(folder: &Path, each: &mut impl FnMut(&Path)) {
    const NOT_OURS: [&str; 6] = ["target", "node_modules", "testdata", "corpus", "keys", "ear"];
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = path.extension().is_some_and(|end| {
            ["rs", "md", "toml", "sh", "js", "wit", "yml", "json"].iter().any(|wanted| end == *wanted)
        });
        if path.is_dir() && !NOT_OURS.contains(&name.as_str()) {
            sources(&path, each);
        } else if path.is_file() && source {
            each(&path);
        }
    }
}
