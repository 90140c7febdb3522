//! `TPMS_ATTEST`: what an attestation key signed (Part 2 §10.12.12).

use crate::bytes::{Malformed, Problem, Reader};
use crate::tpm::PcrIndex;

/// `TPM_GENERATED_VALUE`: no restricted key signs outside data that starts so (Part 2 §6.2).
const TPM_GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_CERTIFY` (Part 2 §6.9).
const ST_ATTEST_CERTIFY: u16 = 0x8017;
/// `TPM_ST_ATTEST_TIME`.
const ST_ATTEST_TIME: u16 = 0x8019;
/// `TPM_ST_ATTEST_QUOTE`.
const ST_ATTEST_QUOTE: u16 = 0x8018;
/// Largest `TPM2B_NAME` and `TPM2B_DATA`: a 64-byte digest and its algorithm.
const LONGEST_NAME: u16 = 66;
/// Largest digest, SHA-512.
const LONGEST_DIGEST: u16 = 64;
/// Most banks in one selection; there are seven hash algorithms.
const MOST_SELECTIONS: u32 = 16;

/// A structure that a TPM generated and an attestation key may have signed. Nothing in it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest<'a> {
    /// Qualified Name of the signing key (Part 1 §16.6).
    pub qualified_signer: &'a [u8],
    /// The qualifying data of the command, up to 64 bytes.
    pub extra_data: &'a [u8],
    /// Clock, reset and restart counts at that moment.
    pub clock: ClockInfo,
    /// Vendor-specific firmware version.
    pub firmware_version: u64,
    /// What it is about.
    pub attested: Attested<'a>,
}

/// `TPMS_CLOCK_INFO` (Part 2 §10.11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds for which the TPM has been powered, over its life.
    pub clock: u64,
    /// Number of TPM resets, that is of reboots.
    pub reset_count: u32,
    /// Number of restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no higher clock value can have been given out before.
    pub safe: bool,
}

/// `TPMU_ATTEST`, as far as this project asks for it (Part 2 §10.12.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested<'a> {
    /// The output of `TPM2_Quote`.
    Quote(QuoteInfo<'a>),
    /// The output of `TPM2_Certify`.
    Certify(Certified<'a>),
    /// The output of `TPM2_GetTime`.
    Time(TimeInfo),
}

impl Attested<'_> {
    /// The command whose output it is.
    pub const fn command(&self) -> &'static str {
        match self {
            Self::Quote(_) => "TPM2_Quote",
            Self::Certify(_) => "TPM2_Certify",
            Self::Time(_) => "TPM2_GetTime",
        }
    }
}

/// `TPMS_TIME_ATTEST_INFO` (Part 2 §10.12.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeInfo {
    /// Milliseconds since the TPM was powered on.
    pub time: u64,
    /// Clock and counts, not obfuscated.
    pub clock: ClockInfo,
    /// Vendor-specific firmware version.
    pub firmware_version: u64,
}

/// `TPMS_QUOTE_INFO` (Part 2 §10.12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteInfo<'a> {
    /// The bytes of `TPML_PCR_SELECTION`, for comparison bit by bit. Their structure has been checked.
    pub selection: &'a [u8],
    /// Digest over the selected values, by the hash of the signing scheme.
    pub pcr_digest: &'a [u8],
}

/// `TPMS_CERTIFY_INFO` (Part 2 §10.12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certified<'a> {
    /// Name of the certified object.
    pub name: &'a [u8],
    /// Its qualified Name.
    pub qualified_name: &'a [u8],
}

impl<'a> Attest<'a> {
    /// Reads one whole `TPMS_ATTEST`.
    ///
    /// # Errors
    /// Refuses a wrong magic, every type but quote, certify and time, a `safe` that is neither YES nor NO, and
    /// bytes that are missing or left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMS_ATTEST", bytes);
        let at_magic = reader.clone();
        let magic = reader.u32()?;
        if magic != TPM_GENERATED {
            return Err(at_magic.malformed(Problem::Value {
                field: "magic",
                value: magic.into(),
                wanted: "TPM_GENERATED_VALUE (0xff544347) is wanted: this was not made by a TPM",
            }));
        }
        let at_type = reader.clone();
        let kind = reader.u16()?;
        let qualified_signer = reader.sized_u16("qualifiedSigner", LONGEST_NAME)?;
        let extra_data = reader.sized_u16("extraData", LONGEST_NAME)?;
        let clock = ClockInfo::read(&mut reader)?;
        let firmware_version = reader.u64()?;
        let attested = match kind {
            ST_ATTEST_QUOTE => Attested::Quote(QuoteInfo::read(&mut reader)?),
            ST_ATTEST_CERTIFY => Attested::Certify(Certified {
                name: reader.sized_u16("name", LONGEST_NAME)?,
                qualified_name: reader.sized_u16("qualifiedName", LONGEST_NAME)?,
            }),
            ST_ATTEST_TIME => Attested::Time(TimeInfo {
                time: reader.u64()?,
                clock: ClockInfo::read(&mut reader)?,
                firmware_version: reader.u64()?,
            }),
            other => {
                return Err(at_type.malformed(Problem::Value {
                    field: "type",
                    value: other.into(),
                    wanted: "of quote (0x8018), certify (0x8017) or time (0x8019) is wanted",
                }));
            }
        };
        reader.end()?;
        Ok(Self { qualified_signer, extra_data, clock, firmware_version, attested })
    }
}

impl ClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let clock = reader.u64()?;
        let reset_count = reader.u32()?;
        let restart_count = reader.u32()?;
        let at_safe = reader.clone();
        let safe = match reader.u8()? {
            0 => false,
            1 => true,
            other => {
                let problem =
                    Problem::Value { field: "safe", value: other.into(), wanted: "YES (1) or NO (0) is wanted" };
                return Err(at_safe.malformed(problem));
            }
        };
        Ok(Self { clock, reset_count, restart_count, safe })
    }
}

/// One entry of a `TPML_PCR_SELECTION`: PCRs of one bank (Part 2 §10.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankSelection {
    /// `TPM_ALG_ID` of the bank.
    pub algorithm: u16,
    /// The PCRs, ascending.
    pub pcrs: Vec<PcrIndex>,
}

/// How many entries a `TPML_PCR_SELECTION` has.
fn read_count(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let at_count = reader.clone();
    let count = reader.u32()?;
    let most = MOST_SELECTIONS;
    if count > most {
        let problem = Problem::TooMany { field: "pcrSelect.count", value: count.into(), most: most.into() };
        return Err(at_count.malformed(problem));
    }
    Ok(count)
}

/// Of how many bytes a selection is: four at most, so that its PCRs are 0 to 31.
fn read_size(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    let at_size = reader.clone();
    let size = reader.u8()?;
    if size > 4 {
        return Err(at_size.malformed(Problem::TooMany { field: "sizeofSelect", value: size.into(), most: 4 }));
    }
    Ok(size)
}

impl<'a> QuoteInfo<'a> {
    /// The selection, read: its entries in their order, which is the order in which their values were hashed.
    ///
    /// # Errors
    /// A selected PCR that no TPM has, and, where nobody has checked the bytes, what [`Attest::parse`] refuses.
    pub fn selections(&self) -> Result<Vec<BankSelection>, Malformed> {
        let mut reader = Reader::new("TPML_PCR_SELECTION", self.selection);
        let mut all = Vec::new();
        for _ in 0..read_count(&mut reader)? {
            let algorithm = reader.u16()?;
            let size = read_size(&mut reader)?;
            let at_bits = reader.clone();
            let mut pcrs = Vec::new();
            for (byte, bits) in (0_u8..).zip(reader.take(size.into())?) {
                for bit in (0..8).filter(|bit| bits & (1 << bit) != 0) {
                    let number = byte * 8 + bit;
                    let index = PcrIndex::new(number).ok_or_else(|| {
                        let wanted = "is no PCR: there are 0 to 23";
                        at_bits.malformed(Problem::Value { field: "pcrSelect", value: number.into(), wanted })
                    })?;
                    pcrs.push(index);
                }
            }
            all.push(BankSelection { algorithm, pcrs });
        }
        reader.end()?;
        Ok(all)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut look = reader.clone();
        let start = look.offset();
        for _ in 0..read_count(&mut look)? {
            look.u16()?;
            let size = read_size(&mut look)?;
            look.take(size.into())?;
        }
        let selection = reader.take(look.offset() - start)?;
        let pcr_digest = reader.sized_u16("pcrDigest", LONGEST_DIGEST)?;
        Ok(Self { selection, pcr_digest })
    }
}

#[cfg(test)]
mod tests {
    use super::QuoteInfo;

    #[test]
    fn a_selection_that_nobody_checked_is_refused_and_not_counted_over() {
        for size in [4, 5, 33, 255] {
            let selection = [&[0, 0, 0, 1, 0, 0x0b, size][..], &vec![0xff; size.into()]].concat();
            assert!(QuoteInfo { selection: &selection, pcr_digest: &[] }.selections().is_err(), "{size}");
        }
    }
}
