//! What a step is: its manifest, its imports, and whether the one covers the other.
//!
//! [`Manifest::parse`] reads `step.toml`, [`Component::inspect`] a component's outer layer without running or
//! compiling any of it. [`CheckedStep`] holds one against the other; nothing runs without it.

mod check;
mod component;
mod embedded;
mod interfaces;
mod manifest;
mod proposal;
mod suggestion;

pub use check::{BadStep, CheckedStep, Coverage, Import, StepKind, Uncovered};
pub use component::{Component, LONGEST_COMPONENT, NotAComponent};
pub use embedded::{MANIFEST_SECTION, Unsearchable, embed_manifest, embedded_manifest};
pub use interfaces::{INTERFACES, Interface, Need, Section};
pub use manifest::{
    About, BadGuestPath, BadManifest, DirectoryDeclaration, GuestPath, HttpDeclaration, KeyDeclaration,
    LONGEST_MANIFEST, Limits, Manifest, Reason, SecretDeclaration, TokenDeclaration, manifest_schema,
};
pub use proposal::{FILL_IN, Proposal, is_unfinished, least_manifest};
pub use suggestion::{TomlError, parse_toml};
