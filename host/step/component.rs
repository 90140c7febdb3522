//! The outer layer of a component: what it imports and exports. Nothing in it is compiled or run.

use crate::embedded::{embedded_manifest, in_memory};
use crate::manifest::LONGEST_MANIFEST;
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain, Fault, Report};
use std::io::Cursor;
use wasmparser::{ComponentTypeRef, Parser, Payload};

/// Most bytes of a component. A Python interpreter with its library is 40 MB.
pub const LONGEST_COMPONENT: usize = 128 * 1024 * 1024;
/// Most imports that are looked at; the contract has some thirty interfaces.
const MOST_IMPORTS: usize = 256;
/// Most exports that are looked at: `run` is wanted, and tools add a few. Of the shortest, the longest component has room
/// for 26 million, and a `String` for each.
const MOST_EXPORTS: usize = 256;
/// Most modules and components one inside the other: composition makes three or four of them. The parser remembers each
/// that it is in, and the longest component has room for nine million.
const DEEPEST: usize = 64;

/// A component, as far as its imports and exports go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Names of its imports but types, such as `attest:step/log@0.1.0`.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// The bytes of the manifest inside it, if there is one.
    pub manifest: Option<Vec<u8>>,
    /// SHA-256 of its bytes.
    pub digest: Sha256Digest,
}

/// Bytes that are no component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAComponent {
    /// Not WebAssembly.
    #[error("the file is not WebAssembly: it starts with `{0}`")]
    NotWebAssembly(String),
    /// WebAssembly as people write it.
    #[error("the file is the text form of WebAssembly, not the binary")]
    TextForm,
    /// WebAssembly, but a core module.
    #[error("the file is a core WebAssembly module, not a component")]
    CoreModule,
    /// Longer than any component.
    #[error("a component has at most {LONGEST_COMPONENT} bytes, this has {0}")]
    TooLong(usize),
    /// Broken somewhere.
    #[error("the component is malformed at byte {offset}: {reason}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// More imports than the contract has.
    #[error("the component imports more than {MOST_IMPORTS} interfaces")]
    TooManyImports,
    /// More exports than any step has.
    #[error("the component exports more than {MOST_EXPORTS} items")]
    TooManyExports,
    /// A component in a component in a component, and so on.
    #[error("in the component are more than {DEEPEST} others, one inside the other")]
    TooDeep,
    /// More sections than any tool makes.
    #[error("the component has more sections than are looked at")]
    TooManySections,
    /// Two manifests inside it.
    #[error("in the component are two manifests")]
    TwoManifests,
    /// A manifest inside it that is longer than any.
    #[error("the manifest in the component has {0} bytes, and at most {LONGEST_MANIFEST} are read")]
    ManifestTooLong(usize),
}

impl Component {
    /// Reads the outer layer.
    ///
    /// # Errors
    /// See [`NotAComponent`].
    pub fn inspect(bytes: &[u8]) -> Result<Self, NotAComponent> {
        if bytes.len() > LONGEST_COMPONENT {
            return Err(NotAComponent::TooLong(bytes.len()));
        }
        check_preamble(bytes)?;
        let malformed = |error: wasmparser::BinaryReaderError| NotAComponent::Malformed {
            offset: error.offset(),
            reason: error.message().to_owned(),
        };
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(malformed)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } if depth == DEEPEST => {
                    return Err(NotAComponent::TooDeep);
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let import = import.map_err(malformed)?;
                        // A type gives nothing: it is a name for a shape.
                        if matches!(import.ty, ComponentTypeRef::Type(_)) {
                            continue;
                        }
                        imports.push(import.name.name.to_owned());
                        if imports.len() > MOST_IMPORTS {
                            return Err(NotAComponent::TooManyImports);
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        exports.push(export.map_err(malformed)?.name.name.to_owned());
                        if exports.len() > MOST_EXPORTS {
                            return Err(NotAComponent::TooManyExports);
                        }
                    }
                }
                _ => {}
            }
        }
        let manifest = embedded_manifest(Cursor::new(bytes)).map_err(in_memory)?;
        Ok(Self { imports, exports, manifest, digest: Sha256Digest::of(bytes) })
    }
}

/// Whether bytes begin as those of a component do (component-model/design/mvp/Binary.md).
pub(crate) fn check_preamble(bytes: &[u8]) -> Result<(), NotAComponent> {
    if let Some(rest) = bytes.strip_prefix(b"\0asm") {
        return match rest.get(..4) {
            Some([1, 0, 0, 0]) => Err(NotAComponent::CoreModule),
            Some([_, _, 1, 0]) => Ok(()),
            Some(_) => {
                Err(NotAComponent::Malformed { offset: 4, reason: "an unknown version of WebAssembly".to_owned() })
            }
            None => {
                Err(NotAComponent::Malformed { offset: 4, reason: "the file ends in its first 8 bytes".to_owned() })
            }
        };
    }
    let start = bytes.trim_ascii_start();
    if [&b"(component"[..], b"(module", b";;", b"(;"].iter().any(|form| start.starts_with(form)) {
        return Err(NotAComponent::TextForm);
    }
    let start = bytes.get(..bytes.len().min(8)).unwrap_or_default();
    Err(NotAComponent::NotWebAssembly(start.escape_ascii().to_string()))
}

impl Explain for NotAComponent {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::NotAComponent, self.to_string());
        match self {
            Self::TextForm => report("AR-S201").hint("`wasm-tools parse FILE -o STEP.wasm` makes the binary"),
            Self::NotWebAssembly(_) => report("AR-S201").hint("attest-run runs WebAssembly components"),
            Self::CoreModule => {
                report("AR-S202").hint("make a component of it: `attest-run pack CORE.wasm -o STEP.wasm`")
            }
            Self::TooLong(_) => report("AR-S203"),
            Self::Malformed { .. } => report("AR-S204").hint("was the file copied whole?"),
            Self::TooManyImports => report("AR-S205"),
            Self::TooManyExports | Self::TooDeep | Self::TooManySections => report("AR-S206"),
            Self::TwoManifests => {
                report("AR-S207").hint("`attest-run pack FILE -o FILE --manifest step.toml` leaves one")
            }
            Self::ManifestTooLong(_) => report("AR-S208").hint("pack it again, with a manifest of its own"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outer_layer_of_a_component_counts() {
        let bytes = wat::parse_str(
            r#"(component
                (import "attest:step/log@0.1.0" (instance $log (export "write" (func))))
                (core module (import "env" "secret" (func)))
                (component (import "wasi:sockets/tcp@0.2.0" (instance)))
                (alias export $log "write" (func $write))
                (export "run" (func $write)))"#,
        );
        let component = Component::inspect(&bytes.unwrap()).unwrap();
        assert_eq!(component.imports, ["attest:step/log@0.1.0"]);
        assert_eq!(component.exports, ["run"]);
    }

    #[test]
    fn memory_does_not_follow_what_a_file_says() {
        let component = |inside: &str| wat::parse_str(format!("(component {inside})")).unwrap();
        let exports = |count: usize| -> String {
            (0..count).map(|number| format!(r#"(export "e{number}" (func $f))"#)).collect()
        };
        let exporting = |count| component(&format!(r#"(import "f" (func $f)) {}"#, exports(count)));
        assert_eq!(Component::inspect(&exporting(MOST_EXPORTS)).unwrap().exports.len(), MOST_EXPORTS);
        assert_eq!(Component::inspect(&exporting(MOST_EXPORTS + 1)), Err(NotAComponent::TooManyExports));
        let nested = |levels| component(&["(component ".repeat(levels), ")".repeat(levels)].concat());
        assert!(Component::inspect(&nested(DEEPEST)).is_ok());
        assert_eq!(Component::inspect(&nested(DEEPEST + 1)), Err(NotAComponent::TooDeep));
        // Beside one another they may be as many as there is room for.
        assert!(Component::inspect(&component(&"(component) ".repeat(DEEPEST + 1))).is_ok());
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        assert_eq!(Component::inspect(b"#!/bin/sh\n"), Err(NotAComponent::NotWebAssembly("#!/bin/s".into())));
        assert_eq!(Component::inspect(b""), Err(NotAComponent::NotWebAssembly(String::new())));
        assert_eq!(Component::inspect(&wat::parse_str("(module)").unwrap()), Err(NotAComponent::CoreModule));
        let good = wat::parse_str("(component (core module (func)))").unwrap();
        for length in 4..good.len() {
            // A component may end between two sections; anywhere else the cut shows.
            match Component::inspect(&good[..length]) {
                Ok(_) | Err(NotAComponent::Malformed { .. }) => {}
                other => panic!("{length}: {other:?}"),
            }
        }
        assert!(matches!(Component::inspect(&good[..good.len() - 1]), Err(NotAComponent::Malformed { .. })));
    }
}
