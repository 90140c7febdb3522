//! Frames.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use zeroize::Zeroizing;

/// Most bytes of one message. Larger things go in chunks.
pub const LONGEST_MESSAGE: usize = 1024 * 1024;
/// Most descriptors with one message: a component, its manifest, and a directory for each declaration.
pub const MOST_DESCRIPTORS: usize = 80;
pub(crate) const HEADER: usize = 8;
const MAGIC: u8 = b'A';
const VERSION: u8 = 1;

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side has closed the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The socket reports an error.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side is of another version, or not ours at all.
    #[error("the other side speaks another version of the protocol")]
    Version,
    /// Longer than any message.
    #[error("a message has at most {LONGEST_MESSAGE} bytes, this has {0}")]
    TooLong(usize),
    /// Not the message that was expected.
    #[error("the other side sent something that is no such message")]
    Malformed,
    /// Another number of descriptors than announced.
    #[error("{announced} descriptors were announced, {arrived} arrived")]
    Descriptors {
        /// In the header.
        announced: usize,
        /// With the frame.
        arrived: usize,
    },
}

impl From<rustix::io::Errno> for WireError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A whole frame. It may hold a secret, so it is wiped when dropped.
pub(crate) fn encode(message: &impl Serialize, descriptors: usize) -> Result<Zeroizing<Vec<u8>>, WireError> {
    // Sized first, so that the buffer never moves and leaves no copy behind.
    let length = postcard::experimental::serialized_size(message).map_err(|_| WireError::Malformed)?;
    if length > LONGEST_MESSAGE || descriptors > MOST_DESCRIPTORS {
        return Err(WireError::TooLong(length));
    }
    let mut frame = Zeroizing::new(vec![0; HEADER + length]);
    let (header, body) = frame.split_at_mut(HEADER);
    let announced = u8::try_from(descriptors).map_err(|_| WireError::TooLong(length))?;
    let size = u32::try_from(length).map_err(|_| WireError::TooLong(length))?;
    header.copy_from_slice(&[&[MAGIC, VERSION, announced, 0], size.to_be_bytes().as_slice()].concat());
    postcard::to_slice(message, body).map_err(|_| WireError::Malformed)?;
    Ok(frame)
}

/// Number of descriptors and length of the message that follow a header.
pub(crate) fn decode_header(header: [u8; HEADER]) -> Result<(usize, usize), WireError> {
    let [magic, version, descriptors, zero, a, b, c, d] = header;
    if magic != MAGIC || version != VERSION || zero != 0 {
        return Err(WireError::Version);
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > LONGEST_MESSAGE {
        return Err(WireError::TooLong(length));
    }
    Ok((usize::from(descriptors), length))
}

pub(crate) fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(message) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_another_version_or_length_is_refused() {
        let frame = encode(&"hello".to_owned(), 2).unwrap();
        let header: [u8; HEADER] = frame[..HEADER].try_into().unwrap();
        assert_eq!(decode_header(header).unwrap(), (2, 6));
        assert_eq!(decode::<String>(&frame[HEADER..]).unwrap(), "hello");
        assert!(matches!(decode::<String>(&frame[HEADER..frame.len() - 1]), Err(WireError::Malformed)));
        assert!(matches!(decode::<String>(&[&frame[HEADER..], &[0]].concat()), Err(WireError::Malformed)));
        for (byte, value) in [(0, b'B'), (1, 2), (3, 1)] {
            let mut other = header;
            other[byte] = value;
            assert!(matches!(decode_header(other), Err(WireError::Version)));
        }
        let mut long = header;
        long[4] = 0xff;
        assert!(matches!(decode_header(long), Err(WireError::TooLong(_))));
    }
}
