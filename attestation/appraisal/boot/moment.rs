//! Moments in reference values: TOML's own date-times with an offset, as in `2026-12-31T00:00:00Z`.

use attest_evidence::UnixSeconds;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::value::Datetime;

/// Reads a moment (RFC 3339).
pub(super) fn parse(text: &str) -> Option<UnixSeconds> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp()).ok().map(UnixSeconds)
}

/// A moment as text (RFC 3339), in UTC.
pub fn text(moment: UnixSeconds) -> Option<String> {
    let moment = i64::try_from(moment.0).ok().and_then(|moment| OffsetDateTime::from_unix_timestamp(moment).ok())?;
    moment.format(&Rfc3339).ok()
}

pub(super) fn serialize<S: Serializer>(moment: &Option<UnixSeconds>, serializer: S) -> Result<S::Ok, S::Error> {
    let moment = moment.and_then(text).and_then(|text| text.parse::<Datetime>().ok());
    moment.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixSeconds>, D::Error> {
    let moment = Datetime::deserialize(deserializer)?.to_string();
    let wanted = || D::Error::custom(format!("`{moment}` is no moment: 2026-12-31T00:00:00Z is one"));
    parse(&moment).map(Some).ok_or_else(wanted)
}
