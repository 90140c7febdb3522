//! The classes of TPMs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a TPM is. It follows from the root that its certificate leads to, never from what a host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TpmClass {
    /// A chip of its own.
    Discrete,
    /// A part of the processor's firmware.
    Firmware,
    /// A cloud's, outside the machine that uses it.
    Virtual,
    /// A program. Also everything that no known root vouches for.
    Software,
}

impl TpmClass {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Discrete, Self::Firmware, Self::Virtual, Self::Software];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Firmware => "firmware",
            Self::Virtual => "virtual",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for TpmClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl std::str::FromStr for TpmClass {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or("a TPM class is `discrete`, `firmware`, `virtual` or `software`")
    }
}
