//! What an event says, read by its type, and how much of that its digest covers.

use super::{Event, EventType};
use crate::hash::{Digest, HashAlgorithm};
use crate::uefi::firmware::{FirmwareBlob, HandoffTables};
use crate::uefi::variable::Coverage;
use crate::uefi::{ImageLoad, PartitionTable, TaggedEvent, Variable};

/// What an event says. All of it is a claim; [`Event::measured`] says what of it is more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// The header of a crypto-agile log.
    Header,
    /// From which locality the TPM was started.
    StartupLocality(u8),
    /// Something about the log or the platform, with its signature, that was not measured.
    Note(String),
    /// What firmware measures into a PCR ends here.
    Separator {
        /// Whether it ends because of an error (§10.4.1: the data are 1).
        error: bool,
    },
    /// A named action.
    Action(&'a str),
    /// The version of the root of trust for measurement.
    CrtmVersion(String),
    /// A variable that configures security.
    Config(Variable<'a>),
    /// A variable that configures booting.
    Boot(Variable<'a>),
    /// The variable by whose entry an image was allowed to run.
    Authority(Variable<'a>),
    /// An image that was loaded. The digest is of the image.
    Image(ImageLoad<'a>),
    /// The partition table.
    PartitionTable(PartitionTable),
    /// A volume of firmware. The digest is of the memory.
    Firmware(FirmwareBlob),
    /// Tables that firmware hands over. The digest is of the tables.
    Handoff(HandoffTables),
    /// A command that a boot loader ran, or a command line that it passed on: GRUB writes `kind: text` and measures the
    /// text, systemd-boot writes and measures UTF-16.
    Command {
        /// `grub_cmd`, `kernel_cmdline`, `module_cmdline`; empty where the loader says none.
        kind: &'a str,
        /// The text.
        text: String,
    },
    /// A label of something whose digest was measured: a file that GRUB read, shim's `MokList`.
    Label(&'a str),
    /// A tagged structure.
    Tagged(TaggedEvent<'a>),
    /// Anything else, or data that are not of their form.
    Other,
}

/// How much of an event's data its digest covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measured {
    /// Nothing: the data are a label that anybody may have written.
    No,
    /// The value, without its name: a variable's data, a command's text.
    Value,
    /// All that the event says.
    Whole,
}

/// GRUB's kinds of command (`grub_tpm_measure`): the text behind the colon is what was measured.
const COMMANDS: [&str; 3] = ["grub_cmd", "kernel_cmdline", "module_cmdline"];
/// The longest text that is taken for text.
const LONGEST_TEXT: usize = 16 << 10;

impl<'a> Event<'a> {
    /// What it says.
    pub fn meaning(&self) -> Meaning<'a> {
        self.read().unwrap_or(Meaning::Other)
    }

    fn read(&self) -> Option<Meaning<'a>> {
        let data = self.data;
        Some(match self.kind {
            EventType::NO_ACTION => match self.startup_locality() {
                Ok(Some(locality)) => Meaning::StartupLocality(locality),
                _ if data.starts_with(b"Spec ID Event") => Meaning::Header,
                _ => Meaning::Note(signature(data)?),
            },
            EventType::SEPARATOR => match data {
                [0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff] => Meaning::Separator { error: false },
                [1, 0, 0, 0] => Meaning::Separator { error: true },
                _ => return None,
            },
            EventType::ACTION | EventType::EFI_ACTION => Meaning::Action(text(data)?),
            EventType::S_CRTM_VERSION => Meaning::CrtmVersion(version(data)?),
            EventType::EFI_VARIABLE_DRIVER_CONFIG => Meaning::Config(Variable::parse(data).ok()?),
            EventType::EFI_VARIABLE_BOOT | EventType::EFI_VARIABLE_BOOT2 => Meaning::Boot(Variable::parse(data).ok()?),
            EventType::EFI_VARIABLE_AUTHORITY => Meaning::Authority(Variable::parse(data).ok()?),
            EventType::EFI_BOOT_SERVICES_APPLICATION
            | EventType::EFI_BOOT_SERVICES_DRIVER
            | EventType::EFI_RUNTIME_SERVICES_DRIVER => Meaning::Image(ImageLoad::parse(data).ok()?),
            EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => {
                Meaning::PartitionTable(PartitionTable::parse(data).ok()?)
            }
            EventType::EFI_PLATFORM_FIRMWARE_BLOB => Meaning::Firmware(FirmwareBlob::parse(data).ok()?),
            EventType::EFI_PLATFORM_FIRMWARE_BLOB2 => Meaning::Firmware(FirmwareBlob::parse_described(data).ok()?),
            EventType::POST_CODE => match text(data) {
                Some(text) => Meaning::Label(text),
                None => Meaning::Firmware(FirmwareBlob::parse(data).ok()?),
            },
            EventType::EFI_HANDOFF_TABLES => Meaning::Handoff(HandoffTables::parse(data).ok()?),
            EventType::EFI_HANDOFF_TABLES2 => Meaning::Handoff(HandoffTables::parse_described(data).ok()?),
            EventType::IPL => command(data)?,
            EventType::EVENT_TAG => Meaning::Tagged(TaggedEvent::parse(data).ok()?),
            _ => Meaning::Label(text(data)?),
        })
    }

    /// How much of its data the digest in `bank` covers.
    pub fn measured(&self, bank: HashAlgorithm) -> Measured {
        let Some(digest) = self.digest(bank).and_then(|digest| Digest::from_bytes(bank, digest)) else {
            return Measured::No;
        };
        if self.extends().is_none() {
            return Measured::No;
        }
        match self.meaning() {
            Meaning::Config(variable) | Meaning::Boot(variable) | Meaning::Authority(variable) => {
                match variable.covered_by(&digest) {
                    Some(Coverage::Whole) => Measured::Whole,
                    Some(Coverage::Data) => Measured::Value,
                    None => Measured::No,
                }
            }
            Meaning::Command { kind: "", .. } => {
                // systemd-boot before 251 cut the last byte of the terminating NUL off the event, not off what it measured.
                let cut = bank.hash_parts([self.data, &[0]]);
                if self.is_measured(bank) || cut == digest { Measured::Whole } else { Measured::No }
            }
            Meaning::Command { text, .. } if bank.hash(text.as_bytes()) == digest => Measured::Value,
            _ if self.is_measured(bank) => Measured::Whole,
            _ => Measured::No,
        }
    }
}

/// Printable ASCII, with or without a NUL behind it.
fn text(data: &[u8]) -> Option<&str> {
    let data = data.strip_suffix(&[0]).unwrap_or(data);
    let printable = !data.is_empty()
        && data.len() <= LONGEST_TEXT
        && data.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    std::str::from_utf8(data).ok().filter(|_| printable)
}

/// UTF-16 text of more than one letter, with or without a NUL, or half of one, behind it.
fn wide_text(data: &[u8]) -> Option<String> {
    // Boot loaders write Latin letters: the second byte of the first is zero, as it is in no text of one byte each.
    if data.len() < 4 || data.len() > LONGEST_TEXT || data.get(1) != Some(&0) {
        return None;
    }
    let (units, _) = data.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let end = units.iter().rposition(|unit| *unit != 0)? + 1;
    let text = String::from_utf16(units.get(..end)?).ok()?;
    (!text.contains(char::is_control)).then_some(text)
}

/// The 16 bytes that say what kind of note it is (§10.4.5).
fn signature(data: &[u8]) -> Option<String> {
    let signature = data.first_chunk::<16>()?;
    text(signature.split(|byte| *byte == 0).next()?).map(str::to_owned)
}

/// Text, UTF-16 or a GUID (§10.4.1, `EV_S_CRTM_VERSION`).
fn version(data: &[u8]) -> Option<String> {
    if let Some(text) = text(data).map(str::to_owned).or_else(|| wide_text(data)) {
        return Some(text);
    }
    let guid: [u8; 16] = data.try_into().ok()?;
    Some(crate::uefi::Guid::from_bytes(guid).to_string())
}

fn command(data: &[u8]) -> Option<Meaning<'_>> {
    if let Some(wide) = wide_text(data) {
        return Some(Meaning::Command { kind: "", text: wide });
    }
    let line = std::str::from_utf8(data.strip_suffix(&[0]).unwrap_or(data)).ok()?;
    match line.split_once(": ") {
        Some((kind, text)) if COMMANDS.contains(&kind) => Some(Meaning::Command { kind, text: text.to_owned() }),
        _ => Some(Meaning::Label(text(data)?)),
    }
}
