//! What firmware says an event is.

use std::fmt;

/// `eventType` (§10.4.1, tables 14 and 27).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(pub u32);

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl EventType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Its name in the specification, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    /// A certificate used before boot; reserved.
    PREBOOT_CERT = 0x0, "EV_PREBOOT_CERT";
    /// Power-on self-test code.
    POST_CODE = 0x1, "EV_POST_CODE";
    /// Unused.
    UNUSED = 0x2, "EV_UNUSED";
    /// Says something about the log, and extends nothing.
    NO_ACTION = 0x3, "EV_NO_ACTION";
    /// Ends what firmware measures into a PCR before it hands over.
    SEPARATOR = 0x4, "EV_SEPARATOR";
    /// A named action.
    ACTION = 0x5, "EV_ACTION";
    /// A tagged structure.
    EVENT_TAG = 0x6, "EV_EVENT_TAG";
    /// What the root of trust for measurement consists of.
    S_CRTM_CONTENTS = 0x7, "EV_S_CRTM_CONTENTS";
    /// Version of the root of trust for measurement.
    S_CRTM_VERSION = 0x8, "EV_S_CRTM_VERSION";
    /// Processor microcode.
    CPU_MICROCODE = 0x9, "EV_CPU_MICROCODE";
    /// Platform configuration flags.
    PLATFORM_CONFIG_FLAGS = 0xa, "EV_PLATFORM_CONFIG_FLAGS";
    /// Table of devices.
    TABLE_OF_DEVICES = 0xb, "EV_TABLE_OF_DEVICES";
    /// Compact hash, of Intel's TXT and others.
    COMPACT_HASH = 0xc, "EV_COMPACT_HASH";
    /// Initial program loader: what boot loaders measure.
    IPL = 0xd, "EV_IPL";
    /// Data of the initial program loader.
    IPL_PARTITION_DATA = 0xe, "EV_IPL_PARTITION_DATA";
    /// Non-host code.
    NONHOST_CODE = 0xf, "EV_NONHOST_CODE";
    /// Configuration of non-host code.
    NONHOST_CONFIG = 0x10, "EV_NONHOST_CONFIG";
    /// Non-host information.
    NONHOST_INFO = 0x11, "EV_NONHOST_INFO";
    /// Events left out.
    OMIT_BOOT_DEVICE_EVENTS = 0x12, "EV_OMIT_BOOT_DEVICE_EVENTS";
    /// First of the UEFI types; itself no event.
    EFI_EVENT_BASE = 0x8000_0000, "EV_EFI_EVENT_BASE";
    /// Variables that configure security: `SecureBoot`, `PK`, `KEK`, `db`, `dbx`.
    EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG";
    /// Variables that configure booting: digest of the variable's data alone.
    EFI_VARIABLE_BOOT = 0x8000_0002, "EV_EFI_VARIABLE_BOOT";
    /// A program that was loaded from a boot option.
    EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION";
    /// A boot-time driver.
    EFI_BOOT_SERVICES_DRIVER = 0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER";
    /// A run-time driver.
    EFI_RUNTIME_SERVICES_DRIVER = 0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER";
    /// The partition table.
    EFI_GPT_EVENT = 0x8000_0006, "EV_EFI_GPT_EVENT";
    /// A named action.
    EFI_ACTION = 0x8000_0007, "EV_EFI_ACTION";
    /// A volume of firmware: digest of memory.
    EFI_PLATFORM_FIRMWARE_BLOB = 0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    /// Tables that firmware hands over: digest of memory.
    EFI_HANDOFF_TABLES = 0x8000_0009, "EV_EFI_HANDOFF_TABLES";
    /// A volume of firmware, with a description.
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    /// Tables that firmware hands over, with a description.
    EFI_HANDOFF_TABLES2 = 0x8000_000b, "EV_EFI_HANDOFF_TABLES2";
    /// Variables that configure booting: digest of the whole event.
    EFI_VARIABLE_BOOT2 = 0x8000_000c, "EV_EFI_VARIABLE_BOOT2";
    /// The partition table.
    EFI_GPT_EVENT2 = 0x8000_000d, "EV_EFI_GPT_EVENT2";
    /// Firmware's measurement from locality 4.
    EFI_HCRTM_EVENT = 0x8000_0010, "EV_EFI_HCRTM_EVENT";
    /// The key by which a program was allowed to run.
    EFI_VARIABLE_AUTHORITY = 0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY";
    /// Firmware of a device, over SPDM.
    EFI_SPDM_FIRMWARE_BLOB = 0x8000_00e1, "EV_EFI_SPDM_FIRMWARE_BLOB";
    /// Configuration of a device, over SPDM.
    EFI_SPDM_FIRMWARE_CONFIG = 0x8000_00e2, "EV_EFI_SPDM_FIRMWARE_CONFIG";
    /// Policy of devices.
    EFI_SPDM_DEVICE_POLICY = 0x8000_00e3, "EV_EFI_SPDM_DEVICE_POLICY";
    /// The key by which a device was allowed.
    EFI_SPDM_DEVICE_AUTHORITY = 0x8000_00e4, "EV_EFI_SPDM_DEVICE_AUTHORITY";
}

impl fmt::Display for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => out.write_str(name),
            None => write!(out, "{:#010x}", self.0),
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}
