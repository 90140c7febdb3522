//! `EFI_GUID` (UEFI 2.10 §2.3.1 and Appendix A).

use crate::bytes::{Malformed, Reader};
use crate::digest::hex_array;
use std::fmt;

/// `EFI_GUID`: 16 bytes, the first three fields of which are little-endian (UEFI 2.10 Appendix A).
///
/// As text it has one spelling: lower-case, with hyphens, without braces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// Text that is not the canonical form of a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a GUID is written `8be4df61-93ca-11d2-aa0d-00e098032b8c`: 32 lower-case hexadecimal digits, four hyphens")]
pub struct BadGuid;

macro_rules! named {
    ($($(#[$documentation:meta])* $constant:ident = $fields:expr, $name:literal;)*) => {
        impl Guid {
            $($(#[$documentation])* pub const $constant: Self = {
                let (a, b, c, d, e) = $fields;
                Self::from_fields(a, b, c, d, e)
            };)*

            /// What the GUID stands for, if it is one of the constants of this type.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }

            #[cfg(test)]
            const NAMED: &[Self] = &[$(Self::$constant,)*];
        }
    };
}

named! {
    /// No GUID: the type of an unused partition entry.
    ZERO = (0, 0, 0, 0, 0), "zero";

    // Vendors of variables.

    /// `EFI_GLOBAL_VARIABLE`: `SecureBoot`, `PK`, `KEK`, `BootOrder`, … (UEFI 2.10 §3.3).
    GLOBAL_VARIABLE = (0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d, 0x00e0_9803_2b8c), "EFI global variable";
    /// `EFI_IMAGE_SECURITY_DATABASE_GUID`: `db`, `dbx`, `dbt`, `dbr` (UEFI 2.10 §32.4.1).
    IMAGE_SECURITY_DATABASE = (0xd719_b2cb, 0x3d3a, 0x4596, 0xa3bc, 0xdad0_0e67_656f), "EFI image security database";
    /// `SHIM_LOCK_GUID`: `MokList`, `SbatLevel`, … of shim.
    SHIM_LOCK = (0x605d_ab50, 0xe046, 0x4300, 0xabb6, 0x3dd8_10dd_8b23), "shim";
    /// The vendor of the variables in the Boot Loader Interface of systemd.
    BOOT_LOADER_INTERFACE = (0x4a67_b082, 0x0a4c, 0x41cf, 0xb6c7, 0x440b_29bb_8c4f), "boot loader interface";

    // Owners of signatures.

    /// The owner that Microsoft enters beside its certificates and hashes.
    MICROSOFT = (0x77fa_9abd, 0x0359, 0x4d32, 0xbd60, 0x28f4_e78f_784b), "Microsoft";

    // Types of signatures (UEFI 2.10 §32.4.1).

    /// `EFI_CERT_X509_GUID`: a DER certificate.
    CERT_X509 = (0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5, 0xab15_5c2b_f072), "X.509 certificate";
    /// `EFI_CERT_SHA1_GUID`: the Authenticode hash of an image.
    CERT_SHA1 = (0x826c_a512, 0xcf10, 0x4ac9, 0xb187, 0xbe01_4966_31bd), "SHA-1 of an image";
    /// `EFI_CERT_SHA256_GUID`: the Authenticode hash of an image.
    CERT_SHA256 = (0xc1c4_1626, 0x504c, 0x4092, 0xaca9, 0x41f9_3693_4328), "SHA-256 of an image";
    /// `EFI_CERT_SHA384_GUID`: the Authenticode hash of an image.
    CERT_SHA384 = (0xff3e_5307, 0x9fd0, 0x48c9, 0x85f1, 0x8ad5_6c70_1e01), "SHA-384 of an image";
    /// `EFI_CERT_SHA512_GUID`: the Authenticode hash of an image.
    CERT_SHA512 = (0x093e_0fae, 0xa6c4, 0x4f50, 0x9f1b, 0xd41e_2b89_c19a), "SHA-512 of an image";
    /// `EFI_CERT_X509_SHA256_GUID`: the hash of a certificate's to-be-signed part, and since when it is revoked.
    CERT_X509_SHA256 = (0x3bd2_a492, 0x96c0, 0x4079, 0xb420, 0xfcf9_8ef1_03ed), "SHA-256 of a certificate";
    /// `EFI_CERT_X509_SHA384_GUID`.
    CERT_X509_SHA384 = (0x7076_876e, 0x80c2, 0x4ee6, 0xaad2, 0x28b3_49a6_865b), "SHA-384 of a certificate";
    /// `EFI_CERT_X509_SHA512_GUID`.
    CERT_X509_SHA512 = (0x446d_bf63, 0x2502, 0x4cda, 0xbcfa, 0x2465_d2b0_fe9d), "SHA-512 of a certificate";
    /// `EFI_CERT_TYPE_PKCS7_GUID`: the signature before the new value of an authenticated variable
    /// (UEFI 2.10 §8.2).
    CERT_TYPE_PKCS7 = (0x4aaf_d29d, 0x68df, 0x49ee, 0x8aa9, 0x347d_3756_65a7), "PKCS #7 signature";

    // Types of partitions (UEFI 2.10 §5.3.3 and the makers of operating systems).

    /// `EFI System Partition`.
    EFI_SYSTEM_PARTITION = (0xc12a_7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0_c93e_c93b), "EFI system partition";
    /// The boot partition that GRUB uses on machines without UEFI.
    BIOS_BOOT_PARTITION = (0x2168_6148, 0x6449, 0x6e6f, 0x744e, 0x6565_6445_4649), "BIOS boot partition";
    /// A Linux file system.
    LINUX_FILESYSTEM = (0x0fc6_3daf, 0x8483, 0x4772, 0x8e79, 0x3d69_d847_7de4), "Linux file system";
    /// A Linux swap partition.
    LINUX_SWAP = (0x0657_fd6d, 0xa4ab, 0x43c4, 0x84e5, 0x0933_c84b_4f4f), "Linux swap";
    /// A Linux LVM physical volume.
    LINUX_LVM = (0xe6d6_d379, 0xf507, 0x44c2, 0xa23c, 0x238f_2a3d_f928), "Linux LVM";
    /// A Linux root file system for x86-64 (Discoverable Partitions Specification).
    LINUX_ROOT_X86_64 = (0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7, 0xfbca_f984_b709), "Linux root (x86-64)";
    /// Microsoft's basic data partition.
    MICROSOFT_BASIC_DATA = (0xebd0_a0a2, 0xb9e5, 0x4433, 0x87c0, 0x68b6_b726_99c7), "Microsoft basic data";
    /// Microsoft's reserved partition.
    MICROSOFT_RESERVED = (0xe3c9_e316, 0x0b5c, 0x4db8, 0x817d, 0xf92d_f002_15ae), "Microsoft reserved";

    // Tables that firmware hands over (UEFI 2.10 §4.6).

    /// `ACPI_TABLE_GUID`: the RSDP of ACPI 1.0.
    ACPI_10_TABLE = (0xeb9d_2d30, 0x2d88, 0x11d3, 0x9a16, 0x0090_273f_c14d), "ACPI 1.0";
    /// `EFI_ACPI_TABLE_GUID`: the RSDP of ACPI 2.0 and later.
    ACPI_20_TABLE = (0x8868_e871, 0xe4f1, 0x11d3, 0xbc22, 0x0080_c73c_8881), "ACPI 2.0";
    /// `SMBIOS_TABLE_GUID`.
    SMBIOS_TABLE = (0xeb9d_2d31, 0x2d88, 0x11d3, 0x9a16, 0x0090_273f_c14d), "SMBIOS";
    /// `SMBIOS3_TABLE_GUID`.
    SMBIOS3_TABLE = (0xf2fd_1544, 0x9794, 0x4a2c, 0x992e, 0xe5bb_cf20_e394), "SMBIOS 3";
}

impl Guid {
    /// The GUID whose text is these five groups of digits. Of `e` the low 48 bits count.
    const fn from_fields(a: u32, b: u16, c: u16, d: u16, e: u64) -> Self {
        let [a0, a1, a2, a3] = a.to_le_bytes();
        let [b0, b1] = b.to_le_bytes();
        let [c0, c1] = c.to_le_bytes();
        let [d0, d1] = d.to_be_bytes();
        let [_, _, e0, e1, e2, e3, e4, e5] = e.to_be_bytes();
        Self([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e0, e1, e2, e3, e4, e5])
    }

    /// A GUID from its bytes as UEFI stores them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as UEFI stores them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The next 16 bytes.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array().map(Self)
    }

    /// The bytes in the order of the text. Its own inverse.
    const fn swapped(bytes: [u8; 16]) -> [u8; 16] {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e0, e1, e2, e3, e4, e5] = bytes;
        [a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, e0, e1, e2, e3, e4, e5]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in Self::swapped(self.0).into_iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                out.write_str("-")?;
            }
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::str::FromStr for Guid {
    type Err = BadGuid;

    fn from_str(text: &str) -> Result<Self, BadGuid> {
        let digits: String = text.split('-').collect();
        let guid = hex_array(&digits).map(|bytes| Self(Self::swapped(bytes))).map_err(|_| BadGuid)?;
        // The hyphens may stand anywhere so far.
        if guid.to_string() == text { Ok(guid) } else { Err(BadGuid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

    #[test]
    fn the_first_three_fields_are_little_endian() {
        let bytes = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
        assert_eq!(Guid::from_bytes(bytes), Guid::GLOBAL_VARIABLE);
        assert_eq!(Guid::GLOBAL_VARIABLE.to_string(), TEXT);
        assert_eq!(Guid::GLOBAL_VARIABLE.name(), Some("EFI global variable"));
        assert_eq!(Guid::from_bytes([1; 16]).name(), None);
    }

    #[test]
    fn text_has_one_spelling() {
        assert_eq!(TEXT.parse(), Ok(Guid::GLOBAL_VARIABLE));
        let upper = TEXT.to_uppercase();
        let bare = TEXT.replace('-', "");
        let moved = "8be4df6-193ca-11d2-aa0d-00e098032b8c";
        for wrong in [upper.as_str(), &bare, moved, "{8be4df61-93ca-11d2-aa0d-00e098032b8c}", "", "-", &TEXT[1..]] {
            assert_eq!(wrong.parse::<Guid>(), Err(BadGuid), "{wrong}");
        }
    }

    #[test]
    fn no_two_names_share_a_guid() {
        for (place, guid) in Guid::NAMED.iter().enumerate() {
            assert!(!Guid::NAMED[..place].contains(guid), "{guid}");
            assert!(guid.name().is_some());
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_agree(bytes: [u8; 16]) {
            let guid = Guid::from_bytes(bytes);
            prop_assert_eq!(guid.to_string().parse(), Ok(guid));
        }
    }
}
