//! Keeps the secrets that a step was granted out of what it writes for people, and sees what looks like one that nobody
//! declared.

use crate::search::Undeclared;
use attest_evidence::SecretBytes;
use attest_evidence::name::SecretName;
use attest_leaks::{BadValues, Exposed, Mask, PatternScanner, Patterns, Values};
use attest_wire::worker::{Annotation, Stream};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a step writes passes through here. Its secrets are looked for in every encoding, across the parts in which it
/// writes, and replaced.
pub(crate) struct Screen {
    values: Arc<Values>,
    names: Vec<SecretName>,
    log: Option<Text>,
    summary: Text,
    output: Mask,
    error: Mask,
    /// Which was masked, and where.
    masked: BTreeSet<(SecretName, String)>,
    patterns: Arc<Patterns>,
    /// What is shown, searched for what nobody declared: log, summary, standard output, standard error.
    shown: [(&'static str, PatternScanner); 4],
    undeclared: Vec<Undeclared>,
}

/// Where in `shown` what is.
const LOG: usize = 0;
const SUMMARY: usize = 1;
const OUTPUT: usize = 2;
const ERROR: usize = 3;
/// Findings that are told; more are not looked at by anybody.
const MOST_FINDINGS: usize = 64;

impl Screen {
    /// For these secrets.
    pub(crate) fn new(secrets: &[(SecretName, SecretBytes)], patterns: &Arc<Patterns>) -> Result<Self, BadValues> {
        // Each value is lent in turn, and all of them have to be there at once.
        let texts: Vec<(String, Vec<u8>)> =
            secrets.iter().map(|(name, value)| (name.to_string(), value.expose(<[u8]>::to_vec))).collect();
        let texts = zeroize_later(texts);
        let values = Arc::new(Values::new(texts.iter().map(|(name, value)| (name.as_str(), value.as_slice())))?);
        Ok(Self {
            names: secrets.iter().map(|(name, _)| name.clone()).collect(),
            log: None,
            summary: Text::new(&values),
            output: Mask::new(Arc::clone(&values)),
            error: Mask::new(Arc::clone(&values)),
            masked: BTreeSet::new(),
            patterns: Arc::clone(patterns),
            shown: ["log", "summary", "standard output", "standard error"]
                .map(|place| (place, PatternScanner::new(Arc::clone(patterns)))),
            undeclared: Vec::new(),
            values,
        })
    }

    fn found(&mut self, place: &str, exposed: &Exposed) {
        for (value, encoding) in exposed.iter() {
            if let Some(name) = self.names.get(value) {
                self.masked.insert((name.clone(), format!("{place}, {}", encoding.name())));
            }
        }
    }

    /// Looks at what is shown: secrets that were declared are masked in it.
    fn show(&mut self, place: usize, bytes: &[u8]) {
        if let Some((place, scanner)) = self.shown.get_mut(place) {
            let undeclared = &mut self.undeclared;
            scanner.push(bytes, |finding| {
                note(undeclared, finding.pattern.name, format!("{place}, line {}", finding.start.line));
            });
        }
    }

    fn mask(&mut self, place: &str, text: String) -> String {
        let values = Arc::clone(&self.values);
        let (masked, exposed) = values.mask_whole(&text);
        let masked = masked.into_owned();
        self.found(place, &exposed);
        masked
    }

    /// A text that is there as a whole.
    pub(crate) fn whole(&mut self, place: &str, text: String) -> String {
        let masked = self.mask(place, text);
        for finding in self.patterns.find(masked.as_bytes()) {
            note(&mut self.undeclared, finding.pattern.name, place.to_owned());
        }
        masked
    }

    /// A part of a message to the log: what of it may be shown by now.
    pub(crate) fn log(&mut self, part: String, last: bool) -> String {
        let shown = match self.log.take() {
            None if last => self.mask("log", part),
            text => {
                let mut text = text.unwrap_or_else(|| Text::new(&self.values));
                let shown = text.push(&part);
                if last {
                    let (rest, exposed) = text.finish();
                    self.found("log", &exposed);
                    shown + &rest
                } else {
                    self.log = Some(text);
                    shown
                }
            }
        };
        self.show(LOG, shown.as_bytes());
        if last {
            self.show(LOG, b"\n");
        }
        shown
    }

    /// A part of a command's stream: what of it may be shown by now.
    pub(crate) fn stream(&mut self, stream: Stream, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        match stream {
            Stream::Output => self.output.push(bytes, &mut shown),
            Stream::Error => self.error.push(bytes, &mut shown),
        }
        self.show(if stream == Stream::Output { OUTPUT } else { ERROR }, &shown);
        shown
    }

    /// A part of the summary: what of it may be shown by now.
    pub(crate) fn summary(&mut self, part: &str) -> String {
        let shown = self.summary.push(part);
        self.show(SUMMARY, shown.as_bytes());
        shown
    }

    /// A remark.
    pub(crate) fn annotation(&mut self, annotation: Annotation) -> Annotation {
        let place = "an annotation";
        Annotation {
            message: self.whole(place, annotation.message),
            title: annotation.title.map(|title| self.whole(place, title)),
            file: annotation.file.map(|file| self.whole(place, file)),
            ..annotation
        }
    }

    /// Nothing more is written: what was held back of standard output, standard error, summary, and a message to the log.
    pub(crate) fn finish(&mut self) -> Rest {
        let mut rest = Rest::default();
        for (place, mask, bytes) in [
            ("standard output", &mut self.output, &mut rest.output),
            ("standard error", &mut self.error, &mut rest.error),
        ] {
            let exposed = std::mem::replace(mask, Mask::new(Arc::clone(&self.values))).finish(bytes);
            for (value, encoding) in exposed.iter() {
                let name = self.names.get(value).cloned();
                self.masked.extend(name.map(|name| (name, format!("{place}, {}", encoding.name()))));
            }
        }
        let (summary, exposed) = std::mem::replace(&mut self.summary, Text::new(&self.values)).finish();
        rest.summary = summary;
        self.found("summary", &exposed);
        if let Some(log) = self.log.take() {
            let (text, exposed) = log.finish();
            rest.log = text;
            self.found("log", &exposed);
        }
        for (place, shown) in [
            (LOG, rest.log.as_bytes()),
            (SUMMARY, rest.summary.as_bytes()),
            (OUTPUT, &rest.output),
            (ERROR, &rest.error),
        ] {
            self.show(place, shown);
        }
        for (place, scanner) in &mut self.shown {
            let scanner = std::mem::replace(scanner, PatternScanner::new(Arc::clone(&self.patterns)));
            let undeclared = &mut self.undeclared;
            scanner.finish(|finding| {
                note(undeclared, finding.pattern.name, format!("{place}, line {}", finding.start.line));
            });
        }
        rest
    }

    /// What looks like a secret that nobody declared, in what was shown.
    pub(crate) fn undeclared(&mut self) -> Vec<Undeclared> {
        std::mem::take(&mut self.undeclared)
    }

    /// Which secrets were masked, and where.
    pub(crate) fn masked(&self) -> impl Iterator<Item = &(SecretName, String)> {
        self.masked.iter()
    }
}

fn note(undeclared: &mut Vec<Undeclared>, pattern: &str, place: String) {
    let finding = Undeclared { pattern: pattern.to_owned(), place };
    if undeclared.len() < MOST_FINDINGS && !undeclared.contains(&finding) {
        undeclared.push(finding);
    }
}

/// What was held back at the end.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub(crate) output: Vec<u8>,
    pub(crate) error: Vec<u8>,
    pub(crate) summary: String,
    pub(crate) log: String,
}

/// A long text that comes in parts.
struct Text {
    mask: Mask,
    /// What came out of the mask, up to where a character begins that is not whole yet.
    partial: Vec<u8>,
}

impl Text {
    fn new(values: &Arc<Values>) -> Self {
        Self { mask: Mask::new(Arc::clone(values)), partial: Vec::new() }
    }

    fn push(&mut self, part: &str) -> String {
        self.mask.push(part.as_bytes(), &mut self.partial);
        let whole = match std::str::from_utf8(&self.partial) {
            Ok(text) => text.len(),
            // Cut within a character at the end; otherwise a mark stands in one, and the rest of it is shown as such.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.partial.len(),
        };
        let rest = self.partial.split_off(whole);
        let shown = std::mem::replace(&mut self.partial, rest);
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn finish(self) -> (String, Exposed) {
        let Self { mask, mut partial } = self;
        let exposed = mask.finish(&mut partial);
        (String::from_utf8_lossy(&partial).into_owned(), exposed)
    }
}

fn zeroize_later(texts: Vec<(String, Vec<u8>)>) -> Vec<(String, zeroize::Zeroizing<Vec<u8>>)> {
    texts.into_iter().map(|(name, value)| (name, zeroize::Zeroizing::new(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        let value = SecretBytes::new(b"correct horse battery".to_vec());
        Screen::new(&[("npm-token".parse().unwrap(), value)], &Patterns::new()).unwrap()
    }

    #[test]
    fn a_secret_is_masked_wherever_its_parts_are_cut() {
        let mut screen = screen();
        assert_eq!(screen.log("a correct horse battery b".to_owned(), true), "a *** b");
        let shown: String = [("ä correct hor", false), ("se bat", false), ("tery ö", true)]
            .into_iter()
            .map(|(part, last)| screen.log(part.to_owned(), last))
            .collect();
        assert_eq!(shown, "ä *** ö");
        let mut out = Vec::new();
        for part in [b"correct ".as_slice(), b"horse", b" battery staple"] {
            out.extend(screen.stream(Stream::Output, part));
        }
        assert_eq!(screen.stream(Stream::Error, b"nothing"), b"nothing");
        let mut summary = screen.summary("Y29ycmVjdCBob3JzZSBi");
        summary += &screen.summary("YXR0ZXJ5 in base64");
        let rest = screen.finish();
        out.extend(rest.output);
        summary += &rest.summary;
        assert_eq!(out, b"*** staple");
        assert_eq!(summary, "*** in base64");
        let masked: Vec<String> = screen.masked().map(|(name, place)| format!("{name}: {place}")).collect();
        assert_eq!(masked, ["npm-token: log, raw", "npm-token: standard output, raw", "npm-token: summary, base64"]);
    }

    #[test]
    fn what_nobody_declared_is_seen_where_it_is_shown() {
        let mut screen = screen();
        let token = ["SG.", "q7Lw2ZxT0bRk9VnE4mHs5A", ".", "Yp3Jd8Uf1Gc6Xo0Ni2Bt7Ql4Ws9Ke5Mz8Ra3Vh6Cy1D"].concat();
        screen.log("nothing".to_owned(), true);
        screen.log(format!("key {token}"), true);
        let (one, two) = token.split_at(9);
        screen.stream(Stream::Error, one.as_bytes());
        screen.stream(Stream::Error, two.as_bytes());
        screen.whole("output out", token);
        screen.finish();
        let mut places: Vec<_> = screen.undeclared().into_iter().map(|found| found.place).collect();
        places.sort();
        assert_eq!(places, ["log, line 2", "output out", "standard error, line 1"]);
    }

    #[test]
    fn a_value_too_short_to_be_told_from_other_text_is_refused() {
        let value = SecretBytes::new(b"1234567".to_vec());
        assert!(matches!(
            Screen::new(&[("pin".parse().unwrap(), value)], &Patterns::new()),
            Err(BadValues::TooShort { .. })
        ));
    }
}
