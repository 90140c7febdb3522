//! Secrets on their way to the worker.

use attest_evidence::SecretBytes;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;

/// A secret that may cross to the process next door. [`SecretBytes`] can't be serialized; this can, and is
/// for that alone.
pub struct Revealed(SecretBytes);

impl Revealed {
    /// Lets a secret cross.
    pub const fn new(secret: SecretBytes) -> Self {
        Self(secret)
    }

    /// The secret on the other side.
    pub fn into_secret(self) -> SecretBytes {
        self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Serialize for Revealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose(|bytes| serializer.serialize_bytes(bytes))
    }
}

impl<'de> Deserialize<'de> for Revealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Revealed;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Revealed, E> {
                Ok(Revealed(SecretBytes::new(bytes.to_vec())))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
