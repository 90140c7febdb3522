//! `EFI_LOAD_OPTION` and `BootOrder`: what firmware was told to boot (UEFI 2.10 §3.1.3, §3.3).

use super::cursor::{lenient_text, terminated_utf16};
use super::device_path::DevicePath;
use crate::bytes::{Malformed, Problem, Reader};

/// Most code units in a description. Firmware shows them in a menu.
const LONGEST_DESCRIPTION: usize = 1024;
/// Most paths in one option. The first is the one to boot, firmware keeps one or two of its own behind it.
const MOST_PATHS: usize = 32;
/// Most entries of `BootOrder`: as many as there are numbers.
const MOST_OPTIONS: usize = 1 << 16;

/// The value of `Boot####`, `Driver####` and `SysPrep####` (`EFI_LOAD_OPTION`, UEFI 2.10 §3.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption<'a> {
    /// `Attributes`, all bits of it.
    pub attributes: u32,
    /// `Description`. For people: U+FFFD where it is no UTF-16, to be escaped when printed.
    pub description: String,
    /// The first path of `FilePathList`: what is to be loaded.
    pub path: DevicePath<'a>,
    /// The other paths, which are up to the maker of the firmware.
    pub other_paths: Vec<DevicePath<'a>>,
    /// `OptionalData`: what the image is started with. UTF-16 or not, as the image likes it.
    pub optional_data: &'a [u8],
}

impl<'a> LoadOption<'a> {
    /// `LOAD_OPTION_ACTIVE`.
    const ACTIVE: u32 = 1;
    /// `LOAD_OPTION_HIDDEN`.
    const HIDDEN: u32 = 8;

    /// Reads the data of one variable.
    ///
    /// # Errors
    /// Refuses a description of more than 1024 code units or without its NUL, no path at all, more than 32 paths,
    /// paths that are malformed or end elsewhere than their list, and missing bytes.
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("EFI_LOAD_OPTION", data);
        let attributes = reader.u32_le()?;
        let list_length = reader.u16_le()?;
        let description = lenient_text(terminated_utf16(&mut reader, "Description", LONGEST_DESCRIPTION)?);
        let mut list = Reader::new("FilePathList", reader.take(list_length.into())?);
        let path = DevicePath::read(&mut list)?;
        let mut other_paths = Vec::new();
        while !list.is_empty() {
            if other_paths.len() + 1 >= MOST_PATHS {
                let (value, most) = (MOST_PATHS as u64 + 1, MOST_PATHS as u64);
                return Err(list.malformed(Problem::TooMany { field: "paths", value, most }));
            }
            other_paths.push(DevicePath::read(&mut list)?);
        }
        Ok(Self { attributes, description, path, other_paths, optional_data: reader.rest() })
    }

    /// Whether firmware tries it by itself (`LOAD_OPTION_ACTIVE`).
    pub const fn is_active(&self) -> bool {
        self.attributes & Self::ACTIVE != 0
    }

    /// Whether firmware leaves it out of its menu (`LOAD_OPTION_HIDDEN`).
    pub const fn is_hidden(&self) -> bool {
        self.attributes & Self::HIDDEN != 0
    }
}

/// The number of a `Boot####` variable, whose digits are four, hexadecimal and upper-case (UEFI 2.10 §3.3).
pub fn boot_number(variable: &str) -> Option<u16> {
    let digits = variable.strip_prefix("Boot")?;
    let canonical = digits.len() == 4 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    canonical.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// Reads the data of `BootOrder`: numbers of `Boot####` variables, in the order in which firmware tries them
/// (UEFI 2.10 §3.3). Empty when there is no such variable.
///
/// # Errors
/// Refuses more numbers than there are, and half of one.
pub fn parse_boot_order(data: &[u8]) -> Result<Vec<u16>, Malformed> {
    let reader = Reader::new("BootOrder", data);
    let (numbers, half) = data.as_chunks::<2>();
    if numbers.len() > MOST_OPTIONS {
        let (value, most) = (numbers.len() as u64, MOST_OPTIONS as u64);
        return Err(reader.malformed(Problem::TooMany { field: "BootOrder", value, most }));
    }
    if !half.is_empty() {
        return Err(reader.malformed(Problem::TrailingBytes(half.len())));
    }
    Ok(numbers.iter().map(|number| u16::from_le_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: [u8; 4] = [0x7f, 0xff, 4, 0];
    const PCI: [u8; 6] = [1, 1, 6, 0, 0, 3];

    fn encode(description: &str, paths: &[u8], optional: &[u8]) -> Vec<u8> {
        let mut out = 9u32.to_le_bytes().to_vec();
        out.extend(u16::try_from(paths.len()).unwrap().to_le_bytes());
        out.extend(description.encode_utf16().flat_map(u16::to_le_bytes));
        out.extend([0, 0]);
        out.extend(paths);
        out.extend(optional);
        out
    }

    #[test]
    fn an_option_is_read_and_refused_when_truncated() {
        let paths = [&PCI[..], &END, &END].concat();
        let bytes = encode("debian", &paths, b"ro");
        let option = LoadOption::parse(&bytes).unwrap();
        assert!(option.is_active() && option.is_hidden());
        assert_eq!((option.description.as_str(), option.optional_data), ("debian", &b"ro"[..]));
        assert_eq!((option.path.to_string().as_str(), option.other_paths.len()), ("Pci(0x3,0x0)", 1));
        for length in 0..bytes.len() - 2 {
            assert!(LoadOption::parse(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_list_holds_whole_paths_and_not_too_many() {
        assert!(LoadOption::parse(&encode("", &[], b"")).is_err(), "no path");
        assert!(LoadOption::parse(&encode("", &PCI, &END)).is_err(), "the end is outside of the list");
        assert!(LoadOption::parse(&encode("", &END.repeat(32), b"")).is_ok());
        let problem = Problem::TooMany { field: "paths", value: 33, most: 32 };
        assert_eq!(LoadOption::parse(&encode("", &END.repeat(33), b"")).unwrap_err().problem, problem);
        let long = LoadOption::parse(&encode(&"x".repeat(1025), &END, b"")).unwrap_err().problem;
        assert_eq!(long, Problem::TooMany { field: "Description", value: 1025, most: 1024 });
    }

    #[test]
    fn boot_options_have_numbers() {
        assert_eq!(boot_number("Boot001A"), Some(0x1a));
        for name in ["Boot001a", "Boot1A", "BootOrder", "Boot00001", "boot0001", "Boot+001", ""] {
            assert_eq!(boot_number(name), None, "{name}");
        }
        assert_eq!(parse_boot_order(&[2, 0, 1, 1]), Ok(vec![2, 0x101]));
        assert_eq!(parse_boot_order(&[]), Ok(vec![]));
        assert_eq!(parse_boot_order(&[2, 0, 1]).unwrap_err().problem, Problem::TrailingBytes(1));
        let problem = Problem::TooMany { field: "BootOrder", value: 65_537, most: 65_536 };
        assert_eq!(parse_boot_order(&[0; 131_074]).unwrap_err().problem, problem);
    }

    proptest! {
        #[test]
        fn parse_never_panics(bytes: Vec<u8>, description in ".{0,30}", paths: Vec<u8>) {
            let _ = LoadOption::parse(&bytes);
            let _ = LoadOption::parse(&encode(&description, &paths, &bytes));
            let _ = parse_boot_order(&bytes);
            let _ = boot_number(&description);
        }
    }
}
