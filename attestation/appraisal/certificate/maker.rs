//! What a certificate says of its TPM: who made it, which model it is, which specification it keeps.

use super::der::{self, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, SET};
use super::name::{TPM_MANUFACTURER, TPM_MODEL, TPM_VERSION, text};
use std::fmt;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

/// `id-ce-subjectDirectoryAttributes` (RFC 5280 §4.2.1.8).
const DIRECTORY_ATTRIBUTES: Oid<'static> = oid!(2.5.29.9);
/// `tcg-at-tpmSpecification` (TCG EK Credential Profile §3.1.3).
const TPM_SPECIFICATION: Oid<'static> = oid!(2.23.133.2.16);
/// The longest text that is taken from a certificate, in bytes. Makers need 20.
const LONGEST_TEXT: usize = 128;

/// What a certificate says of its TPM. The maker signed it, so it is true as far as the maker tells the truth; clouds
/// leave it out of some certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmDescription {
    /// Who made it.
    pub manufacturer: Option<Manufacturer>,
    /// The model, in the maker's words.
    pub model: Option<String>,
    /// The version of the firmware that it left the factory with, in the maker's words: mostly `id:` and digits.
    pub version: Option<String>,
    /// The specification that it keeps.
    pub specification: Option<Specification>,
}

/// A maker's identifier: four bytes, of which the TCG keeps a list (TCG Vendor ID Registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Manufacturer([u8; 4]);

/// `TPMSpecification`: family, level and revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specification {
    /// `2.0`, or `1.2`.
    pub family: String,
    /// Level.
    pub level: u32,
    /// Revision, in hundredths: 138 is 1.38.
    pub revision: u32,
}

impl Manufacturer {
    const NAMES: [([u8; 4], &'static str); 27] = [
        (*b"AMD\0", "AMD"),
        (*b"ANT\0", "Ant Group"),
        (*b"ATML", "Atmel"),
        (*b"BRCM", "Broadcom"),
        (*b"CSCO", "Cisco"),
        (*b"FLYS", "Flyslice Technologies"),
        (*b"GOOG", "Google"),
        (*b"HISI", "Huawei"),
        (*b"HPE\0", "Hewlett Packard Enterprise"),
        (*b"HPI\0", "HP Inc."),
        (*b"IBM\0", "IBM"),
        (*b"IFX\0", "Infineon"),
        (*b"INTC", "Intel"),
        (*b"LEN\0", "Lenovo"),
        (*b"MSFT", "Microsoft"),
        (*b"NSG\0", "NSING"),
        (*b"NSM ", "National Semiconductor"),
        (*b"NTC\0", "Nuvoton"),
        (*b"NTZ\0", "Nationz"),
        (*b"QCOM", "Qualcomm"),
        (*b"ROCC", "Rockchip"),
        (*b"SEAL", "Wisekey"),
        (*b"SECE", "SecEdge"),
        (*b"SMSN", "Samsung"),
        (*b"STM ", "STMicroelectronics"),
        (*b"TXN\0", "Texas Instruments"),
        (*b"WEC\0", "Winbond"),
    ];

    /// Reads `id:` and eight hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix("id:")?;
        let bytes = data_encoding::HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The four bytes.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    /// The name on the TCG's list.
    pub fn name(&self) -> Option<&'static str> {
        let trimmed = |id: &[u8; 4]| id.trim_ascii_end().iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>();
        Self::NAMES.iter().find(|(id, _)| trimmed(id) == trimmed(&self.0)).map(|(_, name)| *name)
    }
}

/// As it stands in certificates.
impl fmt::Display for Manufacturer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "id:{}", data_encoding::HEXUPPER.encode(&self.0))
    }
}

impl fmt::Display for Specification {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TPM {} level {} revision {}", self.family, self.level, self.revision)
    }
}

impl TpmDescription {
    /// From the subject's alternative name, where the profile wants it, or else from the subject. The three attributes
    /// may be one RDN or three, in any order.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let directories = alternative
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DirectoryName(name) => Some(name),
                _ => None,
            })
            .chain(std::iter::once(certificate.subject()));
        let mut description = Self { specification: specification(certificate), ..Self::default() };
        for name in directories {
            let Self { manufacturer, model, version, .. } = &mut description;
            *manufacturer = manufacturer.or_else(|| Manufacturer::parse(&attribute(name, &TPM_MANUFACTURER)?));
            *model = model.take().or_else(|| attribute(name, &TPM_MODEL));
            *version = version.take().or_else(|| attribute(name, &TPM_VERSION));
        }
        description
    }
}

fn attribute(name: &X509Name<'_>, kind: &Oid<'_>) -> Option<String> {
    name.iter_attributes()
        .find(|attribute| attribute.attr_type() == kind)
        .filter(|attribute| attribute.as_slice().len() <= LONGEST_TEXT)
        .and_then(text)
}

/// `Attributes ::= SEQUENCE OF SEQUENCE { type, SET OF value }`, in which one is
/// `SEQUENCE { family UTF8String, level INTEGER, revision INTEGER }`.
fn specification(certificate: &X509Certificate<'_>) -> Option<Specification> {
    let extension = certificate.get_extension_unique(&DIRECTORY_ATTRIBUTES).ok()??;
    let values = der::elements(der::only(SEQUENCE, extension.value)?).flatten().find_map(|attribute| {
        let mut parts = der::elements(attribute.content);
        let (kind, values) = (parts.next()??, parts.next()??);
        let wanted = kind.tag == OBJECT_IDENTIFIER && kind.content == TPM_SPECIFICATION.as_bytes();
        (wanted && values.tag == SET).then_some(values.content)
    })?;
    let mut parts = der::elements(der::only(SEQUENCE, values)?);
    let (family, level, revision) = (parts.next()??, parts.next()??, parts.next()??);
    let family = std::str::from_utf8(family.content).ok().filter(|family| family.len() <= LONGEST_TEXT)?.to_owned();
    Some(Specification { family, level: number(level)?, revision: number(revision)? })
}

fn number(element: der::Element<'_>) -> Option<u32> {
    let usable = element.tag == INTEGER && (1..=4).contains(&element.content.len());
    usable.then(|| element.content.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}
