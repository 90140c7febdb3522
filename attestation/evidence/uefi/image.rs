//! `UEFI_IMAGE_LOAD_EVENT`: an image that firmware or a loader started (PFP §10.2.3).

use super::cursor::{bounded_u64, padding};
use super::device_path::{DevicePath, LONGEST_PATH};
use crate::bytes::{Malformed, Reader};

/// The event of `EV_EFI_BOOT_SERVICES_APPLICATION`, `EV_EFI_BOOT_SERVICES_DRIVER` and `EV_EFI_RUNTIME_SERVICES_DRIVER`.
///
/// The digest of these events is the Authenticode hash of the image. It covers nothing of what is here: which file it
/// was is only said, by whoever wrote the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLoad<'a> {
    /// `ImageLocationInMemory`: a physical address.
    pub address: u64,
    /// `ImageLengthInMemory`, in bytes.
    pub length: u64,
    /// `ImageLinkTimeAddress`.
    pub link_time_address: u64,
    /// `DevicePath`. `None` where `LengthOfDevicePath` is 0, as for images that did not come from a file system.
    pub path: Option<DevicePath<'a>>,
    /// What follows, at most [`MOST_PADDING`](super::MOST_PADDING) bytes without meaning.
    pub padding: &'a [u8],
}

impl<'a> ImageLoad<'a> {
    /// Reads one event.
    ///
    /// # Errors
    /// Refuses a path of more than 64 KiB or that is no single device path; missing bytes; more than
    /// [`MOST_PADDING`](super::MOST_PADDING) bytes after the end.
    pub fn parse(event: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("UEFI_IMAGE_LOAD_EVENT", event);
        let address = reader.u64_le()?;
        let length = reader.u64_le()?;
        let link_time_address = reader.u64_le()?;
        let path_length = bounded_u64(&mut reader, "LengthOfDevicePath", LONGEST_PATH)?;
        let path = match reader.take(path_length)? {
            [] => None,
            path => Some(DevicePath::parse(path)?),
        };
        Ok(Self { address, length, link_time_address, path, padding: padding(&reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Problem;
    use proptest::prelude::*;

    const END: [u8; 4] = [0x7f, 0xff, 4, 0];

    fn encode(path: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> =
            [0x1000, 0x2000, 0x3000, path.len() as u64].into_iter().flat_map(u64::to_le_bytes).collect();
        out.extend(path);
        out
    }

    #[test]
    fn an_image_may_have_no_path_and_some_padding() {
        let bytes = encode(&END);
        let image = ImageLoad::parse(&bytes).unwrap();
        assert_eq!((image.address, image.length, image.link_time_address), (0x1000, 0x2000, 0x3000));
        assert_eq!(image.path.unwrap().to_string(), "");
        for length in 0..bytes.len() {
            let problem = ImageLoad::parse(&bytes[..length]).unwrap_err().problem;
            assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
        }
        let shim = [encode(&[]), vec![0xaf; 9]].concat();
        let image = ImageLoad::parse(&shim).unwrap();
        assert_eq!((image.path, image.padding.len()), (None, 9));
        let longer = [encode(&[]), vec![0xaf; 10]].concat();
        assert_eq!(ImageLoad::parse(&longer).unwrap_err().problem, Problem::TrailingBytes(10));
    }

    #[test]
    fn absurd_lengths_are_refused() {
        for length in [65_537, 1u64 << 31, 1 << 32, u64::MAX] {
            let mut bytes = encode(&END);
            bytes[24..32].copy_from_slice(&length.to_le_bytes());
            let problem = Problem::TooMany { field: "LengthOfDevicePath", value: length, most: 65_536 };
            assert_eq!(ImageLoad::parse(&bytes).unwrap_err().problem, problem);
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(path: Vec<u8>, rest: Vec<u8>) {
            let _ = ImageLoad::parse(&rest);
            let _ = ImageLoad::parse(&[encode(&path), rest].concat());
        }
    }
}
