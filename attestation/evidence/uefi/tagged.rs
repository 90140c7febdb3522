//! `TCG_PCClientTaggedEvent`: events with a number of their own (PFP §10.4.1, `EV_EVENT_TAG`).

use crate::bytes::{Malformed, Reader};

/// Most bytes of data. Windows logs the configuration of its boot so, in up to some tens of KiB.
const LONGEST_DATA: u32 = 1 << 20;

/// The event of `EV_EVENT_TAG`.
///
/// What the digest covers is up to whoever measured. For Windows it is all of the event, for [`LINUX_INITRD`] and
/// [`LINUX_LOAD_OPTIONS`] it is what they name: there the data are a fixed text that nothing protects.
///
/// [`LINUX_INITRD`]: Self::LINUX_INITRD
/// [`LINUX_LOAD_OPTIONS`]: Self::LINUX_LOAD_OPTIONS
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaggedEvent<'a> {
    /// `taggedEventID`.
    pub id: u32,
    /// `taggedEventData`.
    pub data: &'a [u8],
}

impl<'a> TaggedEvent<'a> {
    /// The EFI stub of Linux measured the initrd (Linux, `INITRD_EVENT_TAG_ID`; PCR 9).
    pub const LINUX_INITRD: u32 = 0x8f3b_22ec;
    /// The EFI stub of Linux measured the load options, which are the kernel command line in UTF-16
    /// (Linux, `LOAD_OPTIONS_EVENT_TAG_ID`; PCR 9).
    pub const LINUX_LOAD_OPTIONS: u32 = 0x8f3b_22ed;
    /// systemd-boot measured its configuration (systemd, `LOADER_CONF_EVENT_TAG_ID`; PCR 5).
    pub const SYSTEMD_LOADER_CONF: u32 = 0xf5bc_582a;
    /// systemd-stub measured a devicetree (systemd, `DEVICETREE_ADDON_EVENT_TAG_ID`; PCR 12).
    pub const SYSTEMD_DEVICETREE: u32 = 0x6c46_f751;

    /// Reads one event.
    ///
    /// # Errors
    /// Refuses more than a mebibyte of data, and bytes that are missing or left over.
    pub fn parse(event: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TCG_PCClientTaggedEvent", event);
        let id = reader.u32_le()?;
        let data = reader.sized_u32_le("taggedEventDataSize", LONGEST_DATA)?;
        reader.end()?;
        Ok(Self { id, data })
    }

    /// What was measured, for the ids that are constants of this type.
    pub const fn name(&self) -> Option<&'static str> {
        match self.id {
            Self::LINUX_INITRD => Some("Linux initrd"),
            Self::LINUX_LOAD_OPTIONS => Some("Linux load options"),
            Self::SYSTEMD_LOADER_CONF => Some("systemd-boot configuration"),
            Self::SYSTEMD_DEVICETREE => Some("devicetree"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Problem;
    use proptest::prelude::*;

    fn encode(id: u32, data: &[u8]) -> Vec<u8> {
        [&id.to_le_bytes()[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat()
    }

    #[test]
    fn the_initrd_of_linux_is_known() {
        let bytes = encode(0x8f3b_22ec, b"Linux initrd\0");
        let event = TaggedEvent::parse(&bytes).unwrap();
        assert_eq!((event.name(), event.data), (Some("Linux initrd"), &b"Linux initrd\0"[..]));
        for length in 0..bytes.len() {
            let problem = TaggedEvent::parse(&bytes[..length]).unwrap_err().problem;
            assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(TaggedEvent::parse(&longer).unwrap_err().problem, Problem::TrailingBytes(1));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for size in [(1 << 20) + 1, 1 << 31, u32::MAX] {
            let bytes = [[1, 0, 0, 0], size.to_le_bytes()].concat();
            let refused = TaggedEvent::parse(&bytes).unwrap_err();
            let problem = Problem::TooMany { field: "taggedEventDataSize", value: size.into(), most: 1 << 20 };
            assert_eq!((refused.offset, refused.problem), (4, problem));
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(id: u32, data: Vec<u8>) {
            let _ = TaggedEvent::parse(&data);
            let bytes = encode(id, &data);
            prop_assert_eq!(TaggedEvent::parse(&bytes), Ok(TaggedEvent { id, data: &data }));
        }
    }
}
