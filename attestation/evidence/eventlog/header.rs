//! The first event, which says how the others are to be read (`TCG_EfiSpecIdEvent`, §10.4.5.1).

use super::{Event, EventLogRefused, EventType};
use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::HashAlgorithm;

/// How events are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `TCG_PCR_EVENT`: one SHA-1 digest each.
    Sha1,
    /// `TCG_PCR_EVENT2`: a digest for each bank.
    CryptoAgile,
}

/// An algorithm of a crypto-agile log (`TCG_EfiSpecIdEventAlgorithmSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogAlgorithm {
    /// `TPM_ALG_ID`.
    pub id: u16,
    /// Bytes of its digests.
    pub size: u16,
}

/// Most banks: the registry of the TCG lists nine hash algorithms.
const MOST_ALGORITHMS: u32 = 16;
/// Signature of the header of a crypto-agile log.
const CRYPTO_AGILE: &[u8; 16] = b"Spec ID Event03\0";

/// Reads the first event. A log without a header is of the SHA-1 format.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<(Format, Vec<LogAlgorithm>, Event<'a>), EventLogRefused> {
    let first = Event::read_sha1(reader, 0)?;
    if first.kind == EventType::NO_ACTION && first.data.starts_with(CRYPTO_AGILE) {
        let at = first.data.len();
        let algorithms = algorithms(first.data)
            .map_err(|malformed| Malformed { offset: reader.offset() - at + malformed.offset, ..malformed })?;
        return Ok((Format::CryptoAgile, algorithms, Event { digests: Default::default(), ..first }));
    }
    let sha1 = LogAlgorithm { id: HashAlgorithm::Sha1.id(), size: 20 };
    Ok((Format::Sha1, vec![sha1], first))
}

fn algorithms(data: &[u8]) -> Result<Vec<LogAlgorithm>, Malformed> {
    let mut reader = Reader::new("TCG_EfiSpecIdEvent", data);
    reader.take(CRYPTO_AGILE.len())?;
    reader.u32_le()?; // platformClass
    reader.take(4)?; // specVersionMinor, specVersionMajor, specErrata, uintnSize
    let at_count = reader.clone();
    let count = reader.u32_le()?;
    if !(1..=MOST_ALGORITHMS).contains(&count) {
        let problem =
            Problem::TooMany { field: "numberOfAlgorithms", value: count.into(), most: MOST_ALGORITHMS.into() };
        return Err(at_count.malformed(problem));
    }
    let mut algorithms: Vec<LogAlgorithm> = Vec::new();
    for _ in 0..count {
        let at_algorithm = reader.clone();
        let algorithm = LogAlgorithm { id: reader.u16_le()?, size: reader.u16_le()? };
        let wanted = match HashAlgorithm::from_id(algorithm.id) {
            Some(known) if usize::from(algorithm.size) != known.size() => {
                Some("is another size than that of its digests")
            }
            None if usize::from(algorithm.size) > HashAlgorithm::LARGEST => Some("is larger than any digest"),
            _ if algorithms.iter().any(|other| other.id == algorithm.id) => {
                Some("belongs to an algorithm listed twice")
            }
            _ => None,
        };
        if let Some(wanted) = wanted {
            let problem = Problem::Value { field: "digestSize", value: algorithm.size.into(), wanted };
            return Err(at_algorithm.malformed(problem));
        }
        algorithms.push(algorithm);
    }
    let vendor = reader.u8()?;
    reader.take(vendor.into())?;
    reader.end()?;
    Ok(algorithms)
}
