//! The manifest inside a component, so that one file travels: a custom section of its outermost layer.
//!
//! Whoever runs a step may have it from a file of hundreds of megabytes: only the heads of sections are read.

use crate::component::{NotAComponent, check_preamble};
use crate::manifest::LONGEST_MANIFEST;
use attest_evidence::report::{Explain, Fault, Report};
use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;

/// The name of the section.
pub const MANIFEST_SECTION: &str = "attest:step/manifest";
/// Most sections that are looked at: tools make some hundreds, and the longest component has room for 60 million.
const MOST_SECTIONS: usize = 65_536;
/// The id of a custom section (component-model/design/mvp/Binary.md).
const CUSTOM: u8 = 0;

/// Why nothing can be said of the manifest inside a file.
#[derive(Debug, thiserror::Error)]
pub enum Unsearchable {
    /// It can't be read.
    #[error("the component can't be read: {0}")]
    File(std::io::Error),
    /// It is no component.
    #[error(transparent)]
    Component(#[from] NotAComponent),
}

impl Explain for Unsearchable {
    fn report(&self) -> Report {
        match self {
            Self::File(_) => Report::new("AR-S001", Fault::Environment, self.to_string()),
            Self::Component(error) => error.report(),
        }
    }
}

/// The bytes of the manifest inside a component, if there is one.
///
/// # Errors
/// Where it can't be read, is no component, or has two of them.
pub fn embedded_manifest(component: impl Read + Seek) -> Result<Option<Vec<u8>>, Unsearchable> {
    let mut sections = Sections::of(component)?;
    let mut found = None;
    while let Some(section) = sections.next()? {
        let Some(contents) = section.manifest else { continue };
        if found.is_some() {
            return Err(NotAComponent::TwoManifests.into());
        }
        let length = usize::try_from(contents.end.saturating_sub(contents.start)).unwrap_or(usize::MAX);
        if length > LONGEST_MANIFEST {
            return Err(NotAComponent::ManifestTooLong(length).into());
        }
        found = Some(sections.bytes(contents.start, length)?);
    }
    Ok(found)
}

/// A component with this manifest inside it, in the place of any other.
///
/// # Errors
/// Where the bytes are no component, or the manifest is too long.
pub fn embed_manifest(component: &[u8], manifest: Option<&[u8]>) -> Result<Vec<u8>, NotAComponent> {
    let manifest = manifest.unwrap_or_default();
    if manifest.len() > LONGEST_MANIFEST {
        return Err(NotAComponent::ManifestTooLong(manifest.len()));
    }
    let mut out = Vec::with_capacity(component.len() + manifest.len() + 64);
    let mut kept = 0;
    let mut keep = |range: Range<u64>| {
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        out.extend_from_slice(range.and_then(|(start, end)| component.get(start..end)).unwrap_or_default());
    };
    let mut sections = Sections::of(Cursor::new(component)).map_err(in_memory)?;
    while let Some(section) = sections.next().map_err(in_memory)? {
        if section.manifest.is_some() {
            keep(kept..section.whole.start);
            kept = section.whole.end;
        }
    }
    keep(kept..sections.end);
    if !manifest.is_empty() {
        let mut contents = Vec::with_capacity(manifest.len() + 32);
        put_sized(&mut contents, MANIFEST_SECTION.as_bytes());
        contents.extend_from_slice(manifest);
        out.push(CUSTOM);
        put_sized(&mut out, &contents);
    }
    Ok(out)
}

/// What is in memory can be read.
pub(crate) fn in_memory(error: Unsearchable) -> NotAComponent {
    match error {
        Unsearchable::Component(error) => error,
        Unsearchable::File(error) => NotAComponent::Malformed { offset: 0, reason: error.to_string() },
    }
}

/// One section.
struct Section {
    /// All of it.
    whole: Range<u64>,
    /// If it is the manifest's: what is in it.
    manifest: Option<Range<u64>>,
}

/// The sections of a component's outermost layer, one after the other.
struct Sections<R> {
    from: R,
    at: u64,
    end: u64,
    seen: usize,
}

impl<R: Read + Seek> Sections<R> {
    fn of(mut from: R) -> Result<Self, Unsearchable> {
        let end = from.seek(SeekFrom::End(0)).map_err(Unsearchable::File)?;
        let mut sections = Self { from, at: 8, end, seen: 0 };
        // Enough to tell what else it may be.
        let start = sections.bytes(0, usize::try_from(end).unwrap_or(usize::MAX).min(64))?;
        check_preamble(&start)?;
        Ok(sections)
    }

    fn next(&mut self) -> Result<Option<Section>, Unsearchable> {
        if self.at >= self.end {
            return Ok(None);
        }
        self.seen += 1;
        if self.seen > MOST_SECTIONS {
            return Err(NotAComponent::TooManySections.into());
        }
        let start = self.at;
        let mut id = [0];
        self.from.seek(SeekFrom::Start(start)).map_err(Unsearchable::File)?;
        self.read(&mut id)?;
        let contents = self.number()?;
        let contents = self.at..self.at.saturating_add(contents);
        if contents.end > self.end {
            return Err(self.malformed("a section that is longer than the file").into());
        }
        let manifest = if id == [CUSTOM] { self.manifest_in(&contents)? } else { None };
        self.at = contents.end;
        Ok(Some(Section { whole: start..contents.end, manifest }))
    }

    /// Where in a custom section the manifest is, if it is the manifest's.
    fn manifest_in(&mut self, contents: &Range<u64>) -> Result<Option<Range<u64>>, Unsearchable> {
        let length = self.number()?;
        let start = self.at.saturating_add(length);
        if start > contents.end {
            return Err(self.malformed("a section whose name is longer than it").into());
        }
        let mut name = [0; MANIFEST_SECTION.len()];
        if length != name.len() as u64 {
            return Ok(None);
        }
        self.read(&mut name)?;
        Ok((name == MANIFEST_SECTION.as_bytes()).then_some(start..contents.end))
    }

    /// An unsigned number of 32 bits (LEB128, WebAssembly §5.2.2).
    fn number(&mut self) -> Result<u64, Unsearchable> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let mut byte = [0];
            self.read(&mut byte)?;
            let [byte] = byte;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.malformed("a number that does not end").into())
    }

    fn bytes(&mut self, start: u64, length: usize) -> Result<Vec<u8>, Unsearchable> {
        let mut bytes = vec![0; length];
        self.from.seek(SeekFrom::Start(start)).map_err(Unsearchable::File)?;
        self.from.read_exact(&mut bytes).map_err(Unsearchable::File)?;
        Ok(bytes)
    }

    /// Reads what comes next.
    fn read(&mut self, into: &mut [u8]) -> Result<(), Unsearchable> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.malformed("the file ends within a section").into(),
            _ => Unsearchable::File(error),
        })?;
        self.at = self.at.saturating_add(into.len() as u64);
        Ok(())
    }

    fn malformed(&self, reason: &str) -> NotAComponent {
        NotAComponent::Malformed { offset: self.at, reason: reason.to_owned() }
    }
}

/// Bytes with their length in front of them.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes.len();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or(0x7f);
        rest >>= 7;
        out.push(if rest == 0 { low } else { low | 0x80 });
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::Component;

    fn component() -> Vec<u8> {
        let text = r#"(component
            (@custom "attest:step/other" "x")
            (component (@custom "attest:step/manifest" "inner"))
            (core module (@custom "attest:step/manifest" "module"))
            (import "f" (func $f)) (export "run" (func $f)))"#;
        wat::parse_str(text).unwrap()
    }

    fn found(bytes: &[u8]) -> Option<Vec<u8>> {
        embedded_manifest(Cursor::new(bytes)).map_err(in_memory).unwrap()
    }

    #[test]
    fn a_manifest_goes_in_and_comes_out() {
        let bare = component();
        // What stands in others inside is theirs.
        assert_eq!(found(&bare), None);
        assert_eq!(Component::inspect(&bare).unwrap().manifest, None);
        for manifest in [vec![b'a'], vec![b'b'; 200], vec![b'c'; LONGEST_MANIFEST]] {
            let packed = embed_manifest(&bare, Some(&manifest)).unwrap();
            assert_eq!(found(&packed), Some(manifest.clone()));
            let inspected = Component::inspect(&packed).unwrap();
            assert_eq!(inspected.manifest, Some(manifest));
            assert_eq!(inspected.imports, ["f"]);
            // In the place of the other, and out again.
            let again = embed_manifest(&packed, Some(b"other")).unwrap();
            assert_eq!(again, embed_manifest(&bare, Some(b"other")).unwrap());
            assert_eq!(embed_manifest(&packed, None).unwrap(), bare);
        }
        assert_eq!(
            embed_manifest(&bare, Some(&vec![b'#'; LONGEST_MANIFEST + 1])),
            Err(NotAComponent::ManifestTooLong(LONGEST_MANIFEST + 1))
        );
    }

    #[test]
    fn two_of_them_are_none() {
        let one = embed_manifest(&component(), Some(b"one")).unwrap();
        let mut two = one.clone();
        two.extend_from_slice(&one[component().len()..]);
        assert_eq!(Component::inspect(&two), Err(NotAComponent::TwoManifests));
        // Packing again leaves one.
        assert_eq!(found(&embed_manifest(&two, Some(b"three")).unwrap()), Some(b"three".to_vec()));
        let mut long = component();
        long.push(CUSTOM);
        let mut contents = Vec::new();
        put_sized(&mut contents, MANIFEST_SECTION.as_bytes());
        contents.extend(vec![b'#'; LONGEST_MANIFEST + 1]);
        put_sized(&mut long, &contents);
        assert_eq!(Component::inspect(&long), Err(NotAComponent::ManifestTooLong(LONGEST_MANIFEST + 1)));
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_told_or_harmless() {
        let packed = embed_manifest(&component(), Some(b"[step]")).unwrap();
        for length in 0..packed.len() {
            let _ = embedded_manifest(Cursor::new(&packed[..length]));
        }
        for at in 0..packed.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = packed.clone();
                changed[at] ^= flip;
                if let Ok(Some(manifest)) = embedded_manifest(Cursor::new(&changed)) {
                    assert!(manifest.len() <= changed.len());
                }
            }
        }
        let mut sections = packed[..8].to_vec();
        sections.extend([CUSTOM, 1, 0].repeat(MOST_SECTIONS + 1));
        assert!(matches!(
            embedded_manifest(Cursor::new(&sections)),
            Err(Unsearchable::Component(NotAComponent::TooManySections))
        ));
    }
}
