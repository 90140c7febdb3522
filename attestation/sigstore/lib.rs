//! Sigstore: bundles are verified here, and nowhere else; what the crates of the Sigstore project are called stays inside.
//!
//! * [`Trust`]: whom is believed: certificate authorities, logs and timestamp authorities of one instance.
//! * [`Bundle`]: a signature with what it takes to check it, read strictly.
//! * [`Trust::verify`]: whether a bundle is a signature over this artifact, by whom it was wanted: [`Verified`].
//! * [`message_bundle`], with a [`TimestampQuery`] answered: a bundle of ours, by a key that the reader knows.
//!
//! Source: the client specification of Sigstore (`sigstore-client-spec`), bundle versions 0.1 to 0.3.
#![warn(clippy::indexing_slicing)]

mod bundle;
mod compose;
mod refused;
mod timestamp;
mod trust;
mod verify;

pub use bundle::{Bundle, BundleMalformed, LARGEST_BUNDLE};
pub use compose::{NotComposed, message_bundle};
pub use refused::{Refused, Signer};
pub use timestamp::{Timestamp, TimestampQuery, TimestampRefused};
pub use trust::{Instance, Trust, TrustMalformed};
pub use verify::{Artifact, Expected, KeyMalformed, Logged, ManagedKey, Verified};
