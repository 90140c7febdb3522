//! Distinguished names: as one compares them, and as one shows them.
//!
//! Makers write a name into the certificates they issue in another string type than into their own: ST's root calls
//! itself a `PrintableString`, and ST's intermediates call it a `UTF8String`. So names are compared as RFC 5280 §7.1
//! wants it: by attribute, in any string type, in any case, however the spaces are. A match only makes a candidate
//! of an authority. Its signature has to prove it.

use std::fmt::Write as _;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// `tcg-at-tpmManufacturer` (TCG EK Credential Profile §3.1.2).
pub(super) const TPM_MANUFACTURER: Oid<'static> = oid!(2.23.133.2.1);
/// `tcg-at-tpmModel`.
pub(super) const TPM_MODEL: Oid<'static> = oid!(2.23.133.2.2);
/// `tcg-at-tpmVersion`.
pub(super) const TPM_VERSION: Oid<'static> = oid!(2.23.133.2.3);

/// The most characters of a name that are shown.
const LONGEST_SHOWN: usize = 256;

/// A name to compare: its attributes, in the order of the name. The attributes of one multi-valued RDN are sorted:
/// they are a set, and some makers don't order it as DER would.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(Vec<Vec<Attribute>>);

type Attribute = (Vec<u8>, Value);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Other(u32, Vec<u8>),
}

impl Name {
    pub(crate) fn of(name: &X509Name<'_>) -> Self {
        let attribute =
            |attribute: &AttributeTypeAndValue<'_>| (attribute.attr_type().as_bytes().to_vec(), Value::of(attribute));
        Self(
            name.iter()
                .map(|rdn| {
                    let mut set: Vec<Attribute> = rdn.iter().map(attribute).collect();
                    set.sort();
                    set
                })
                .collect(),
        )
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the name lies in the subtree under `base` (RFC 5280 §4.2.1.10).
    pub(super) fn is_under(&self, base: &Self) -> bool {
        self.0.starts_with(&base.0)
    }
}

impl Value {
    fn of(attribute: &AttributeTypeAndValue<'_>) -> Self {
        text(attribute).map_or_else(
            || Self::Other(attribute.attr_value().tag().0, attribute.as_slice().to_vec()),
            |text| Self::Text(text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()),
        )
    }
}

/// An attribute's value, where it is text. `TeletexString` only as far as it is ASCII.
pub(super) fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let bytes = attribute.as_slice();
    match attribute.attr_value().tag() {
        Tag::BmpString => {
            let units =
                bytes.chunks(2).map(|unit| unit.try_into().map(u16::from_be_bytes)).collect::<Result<Vec<_>, _>>();
            String::from_utf16(&units.ok()?).ok()
        }
        Tag::T61String => bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned()),
        _ => attribute.as_str().ok().map(str::to_owned),
    }
}

/// A name as people read it.
pub(super) fn show(name: &X509Name<'_>) -> String {
    let mut shown = String::new();
    for attribute in name.iter_attributes() {
        let separator = if shown.is_empty() { "" } else { ", " };
        let value = text(attribute).unwrap_or_else(|| "…".to_owned());
        let _ = write!(shown, "{separator}{}={value}", label(attribute.attr_type()));
    }
    match shown.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown,
    }
}

fn label(kind: &Oid<'_>) -> String {
    const LABELS: [(Oid<'static>, &str); 11] = [
        (oid!(2.5.4.3), "CN"),
        (oid!(2.5.4.5), "serialNumber"),
        (oid!(2.5.4.6), "C"),
        (oid!(2.5.4.7), "L"),
        (oid!(2.5.4.8), "ST"),
        (oid!(2.5.4.10), "O"),
        (oid!(2.5.4.11), "OU"),
        (oid!(0.9.2342.19200300.100.1.25), "DC"),
        (TPM_MANUFACTURER, "TPMManufacturer"),
        (TPM_MODEL, "TPMModel"),
        (TPM_VERSION, "TPMVersion"),
    ];
    LABELS.iter().find(|(known, _)| known == kind).map_or_else(|| kind.to_id_string(), |(_, label)| (*label).to_owned())
}
