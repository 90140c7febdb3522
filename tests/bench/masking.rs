//! Masking of a hundred secrets in every encoding, beside `aho-corasick` that looks for the raw values only.
//!
//! And how fast the search for what looks like a secret is. Of each the best round is told, and not the median: how fast it is, not
//! how busy the machine.

use aho_corasick::AhoCorasick;
use attest_leaks::{Mask, PatternScanner, Patterns, Values};
use data_encoding::{BASE64, HEXLOWER};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECRETS: usize = 100;
const ROUNDS: usize = 15;
/// Bytes of the text.
const TEXT: usize = 16 << 20;
/// How a stream comes in.
const CHUNK: usize = 64 * 1024;
/// Lines of base64 from one hit to the next.
const HIT: usize = 256;

/// The same secrets and texts in each run: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Tokens of 40 characters, passwords of 16, keys of 32 bytes; each tenth is a key in PEM.
fn secrets(random: &mut Random) -> Vec<Vec<u8>> {
    let mut secret = |at: usize| match at % 10 {
        0 => {
            let text = BASE64.encode(&random.bytes(1200));
            let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
            format!("-----BEGIN X-----\n{}\n-----END X-----\n", lines.join("\n")).into_bytes()
        }
        1..4 => HEXLOWER.encode(&random.bytes(20)).into_bytes(),
        4..7 => BASE64.encode(&random.bytes(12)).into_bytes(),
        _ => random.bytes(32),
    };
    (0..SECRETS).map(&mut secret).collect()
}

/// Lines of base64 of 76 characters. In some stands a secret, raw or in base64; in one of `near_miss`, one with a byte changed.
fn text(random: &mut Random, secrets: &[Vec<u8>], near_miss: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(TEXT + 4096);
    for line in 0.. {
        if text.len() >= TEXT {
            break;
        }
        let mut bytes = random.bytes(57);
        if line % near_miss == 0 {
            let secret = &secrets[random.next() as usize % secrets.len()];
            let mut secret = secret[..secret.len().min(40)].to_vec();
            if line % HIT != 0 {
                let place = secret.len() * 3 / 4;
                secret[place] ^= 1;
            }
            if (line / near_miss).is_multiple_of(2) {
                text.extend_from_slice(b"value=");
                text.extend_from_slice(&secret);
            } else {
                bytes.truncate(7);
                bytes.extend(secret);
            }
        }
        text.extend_from_slice(BASE64.encode(&bytes).as_bytes());
        text.push(b'\n');
    }
    text
}

/// Best times of two, in turn.
fn best(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        ours();
        let between = Instant::now();
        theirs();
        best = (best.0.min(between - began), best.1.min(between.elapsed()));
    }
    best
}

fn speed(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

pub(crate) fn throughput() {
    let mut random = Random(1);
    let secrets = secrets(&mut random);
    let values = Arc::new(Values::new(secrets.iter().map(|secret| ("secret", secret.as_slice()))).unwrap());
    let raw = AhoCorasick::new(&secrets).unwrap();
    for (what, text) in [
        ("a near miss in 16 lines", text(&mut random, &secrets, 16)),
        ("one in each line", text(&mut random, &secrets, 1)),
        ("none", BASE64.encode(&random.bytes(TEXT / 4 * 3)).into_bytes()),
    ] {
        let mut out = Vec::with_capacity(text.len());
        let (ours, theirs) = best(
            || {
                out.clear();
                let mut mask = Mask::new(Arc::clone(&values));
                text.chunks(CHUNK).for_each(|chunk| mask.push(chunk, &mut out));
                assert_eq!(mask.finish(&mut out).is_empty(), what == "none");
            },
            || assert_eq!(raw.find_iter(&text).count() == 0, what == "none"),
        );
        let (ours, theirs) = (speed(text.len(), ours), speed(text.len(), theirs));
        println!(
            "{:44} {ours:>7.0} MB/s   {:44} {theirs:>7.0} MB/s   {:>5.2} x",
            format!("masking 100 secrets: {what}"),
            "aho-corasick, raw values",
            ours / theirs
        );
    }
    patterns(&mut random);
}

/// The other search, for secrets that nobody declared, in texts that have none. It stands in for nothing, and alone.
fn patterns(random: &mut Random) {
    let patterns = Patterns::new();
    let prose = include_str!("../../README.md").as_bytes();
    let code = include_str!("main.rs").as_bytes();
    for (what, text) in [
        ("base64", BASE64.encode(&random.bytes(TEXT / 4 * 3)).into_bytes()),
        ("prose", prose.repeat(TEXT / prose.len())),
        ("code", code.repeat(TEXT / code.len())),
    ] {
        let (ours, _) = best(
            || {
                let mut scanner = PatternScanner::new(Arc::clone(&patterns));
                text.chunks(CHUNK).for_each(|chunk| scanner.push(chunk, |finding| panic!("{finding:?}")));
                scanner.finish(|finding| panic!("{finding:?}"));
            },
            || (),
        );
        println!("{:44} {:>7.0} MB/s", format!("search for all patterns: {what}"), speed(text.len(), ours));
    }
}
