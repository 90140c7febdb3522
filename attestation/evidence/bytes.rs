//! A strict cursor over untrusted bytes: big-endian, as TPM structures and our own frames are, or little-endian, as logs
//! of firmware and kernel are.

use serde::de::DeserializeOwned;

/// Where and why bytes could not be read as the structure they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{structure} is malformed at byte {offset}: {problem}")]
pub struct Malformed {
    /// Name of the structure, in the words of its specification (`TPMS_ATTEST`, …).
    pub structure: &'static str,
    /// Byte at which reading stopped, counted from the start of that structure.
    pub offset: usize,
    /// What was wrong there.
    pub problem: Problem,
}

/// The ways in which bytes can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field reaches past the end.
    #[error("{wanted} bytes wanted, {left} left")]
    Truncated {
        /// Bytes that the field needs.
        wanted: usize,
        /// Bytes that remain.
        left: usize,
    },
    /// The structure ended before its bytes did.
    #[error("{0} bytes after the end")]
    TrailingBytes(usize),
    /// A count or length above the bound of its field.
    #[error("{field} is {value}, at most {most} is allowed")]
    TooMany {
        /// The counted field.
        field: &'static str,
        /// What the bytes say.
        value: u64,
        /// The bound.
        most: u64,
    },
    /// A field holds a value that its specification doesn't allow there.
    #[error("{field} is {value:#x}, {wanted}")]
    Value {
        /// The field.
        field: &'static str,
        /// What the bytes say.
        value: u64,
        /// What the specification, or this project, wants there.
        wanted: &'static str,
    },
    /// Text that is not what its format asks for.
    #[error("{0}")]
    Text(&'static str),
}

/// Reads fields from the front of a slice and never past its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    structure: &'static str,
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`, which claim to be one `structure`.
    pub fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { structure, rest: bytes, length: bytes.len() }
    }

    /// The number of bytes read so far.
    pub fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// The error for `problem` at the present offset.
    pub fn malformed(&self, problem: Problem) -> Malformed {
        Malformed { structure: self.structure, offset: self.offset(), problem }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.malformed(Problem::Truncated { wanted: count, left: self.rest.len() }))?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes, by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed(Problem::Truncated { wanted: N, left: self.rest.len() }))?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Two bytes, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 32-bit little-endian length of at most `most`, then that many bytes.
    pub fn sized_u32_le(&mut self, field: &'static str, most: u32) -> Result<&'a [u8], Malformed> {
        let before = self.clone();
        let length = self.u32_le()?;
        let bounded = usize::try_from(length).ok().filter(|_| length <= most);
        let count = bounded
            .ok_or_else(|| before.malformed(Problem::TooMany { field, value: length.into(), most: most.into() }))?;
        self.take(count)
    }

    /// All that is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A 16-bit field that must hold `wanted`.
    pub fn expect_u16(&mut self, field: &'static str, wanted: u16, words: &'static str) -> Result<(), Malformed> {
        let before = self.clone();
        let value = self.u16()?;
        if value == wanted {
            Ok(())
        } else {
            Err(before.malformed(Problem::Value { field, value: value.into(), wanted: words }))
        }
    }

    /// `TPM2B`: a 16-bit length of at most `most`, then that many bytes (TPM 2.0 Part 2 §10.4).
    pub fn sized_u16(&mut self, field: &'static str, most: u16) -> Result<&'a [u8], Malformed> {
        let before = self.clone();
        let length = self.u16()?;
        if length > most {
            return Err(before.malformed(Problem::TooMany { field, value: length.into(), most: most.into() }));
        }
        self.take(length.into())
    }

    /// A 32-bit length of at most `most`, then that many bytes.
    pub fn sized_u32(&mut self, field: &'static str, most: u32) -> Result<&'a [u8], Malformed> {
        let before = self.clone();
        let length = self.u32()?;
        if length > most {
            return Err(before.malformed(Problem::TooMany { field, value: length.into(), most: most.into() }));
        }
        let count = usize::try_from(length)
            .map_err(|_| before.malformed(Problem::TooMany { field, value: length.into(), most: most.into() }))?;
        self.take(count)
    }

    /// Ends the structure: anything left is an error.
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed(Problem::TrailingBytes(self.rest.len()))) }
    }
}

/// Appends `bytes` behind their length as 16 bits. The inverse of [`Reader::sized_u16`].
///
/// Returns `None` when they don't fit a 16-bit length.
#[must_use]
pub fn put_sized_u16(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend(u16::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend(bytes);
    Some(())
}

/// Appends `bytes` behind their length as 32 bits. The inverse of [`Reader::sized_u32`].
///
/// Returns `None` when they don't fit a 32-bit length.
#[must_use]
pub fn put_sized_u32(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend(u32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend(bytes);
    Some(())
}

/// Reads one whole JSON document of the form of `T`.
pub(crate) fn read_json<T: DeserializeOwned>(
    structure: &'static str,
    json: &[u8],
    wrong: &'static str,
) -> Result<T, Malformed> {
    serde_json::from_slice(json).map_err(|error| Malformed {
        structure,
        offset: json_offset(json, &error),
        problem: Problem::Text(wrong),
    })
}

/// At which byte of `json` an error is: `serde_json` counts lines and columns.
pub(crate) fn json_offset(json: &[u8], error: &serde_json::Error) -> usize {
    let before = json.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    before.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_json_is_told_by_its_byte() {
        for (json, offset) in [("{\"a\":x}", 5), ("{\n  \"a\": 1,\n x", 13), ("", 0)] {
            let error = serde_json::from_str::<serde_json::Value>(json).unwrap_err();
            assert_eq!(json_offset(json.as_bytes(), &error), offset, "{json:?}");
        }
    }
}
