//! Quotes, from bytes to belief.

mod key_file;
mod lone;

pub use lone::{LoneQuote, MeasuredList, QuotingKey, VerifiedLoneQuote};

use crate::key::AttestationKey;
use crate::log::LogRefused;
use crate::signature::{SignatureRefused, SignatureVerifier, verify};
use attest_evidence::ima::ImaRefused;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{
    Attest, Attested, ClockInfo, PcrIndex, PcrSelection, PcrValues, QuoteInfo, Signature, SigningScheme,
};
use attest_evidence::{Digest, HashAlgorithm, Malformed, Sha256Digest};

/// A quote as it came: two byte strings and the values it is said to cover.
#[derive(Debug, Clone, Copy)]
pub struct RawQuote<'a> {
    /// `TPMS_ATTEST`.
    pub message: &'a [u8],
    /// `TPMT_SIGNATURE`.
    pub signature: &'a [u8],
    /// Values of the selected PCRs, 32 bytes each, ascending.
    pub pcrs: &'a [u8],
}

/// A quote whose form is right. Nothing in it is believed.
#[derive(Debug, Clone)]
pub struct ParsedQuote<'a> {
    message: &'a [u8],
    signature: Signature<'a>,
    attest: Attest<'a>,
    quote: QuoteInfo<'a>,
    pcrs: &'a [u8],
}

/// A quote by the right key, fresh for the right request, over the right PCRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedQuote {
    pcrs: PcrValues,
    clock: ClockInfo,
    firmware_version: u64,
}

/// Why a quote is not believed. The first thing wrong, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteRefused {
    /// The quote, its signature or the PCR values are not of their form.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The key signed something that is no quote.
    #[error("the attestation key signed the output of {0}, not a quote")]
    NotAQuote(&'static str),
    /// The signature says it is of another scheme than the key's.
    #[error("the quote is signed by {found}, the attestation key signs by {wanted}")]
    Scheme {
        /// The key's.
        wanted: SigningScheme,
        /// The signature's.
        found: SigningScheme,
    },
    /// The key itself can't be used: a point off the curve.
    #[error("the attestation key is not a valid key")]
    Key,
    /// The signature is not that key's over these bytes.
    #[error("the quote's signature is not that of the enrolled attestation key")]
    Signature,
    /// The quote was made for another request.
    #[error("the quote was not made for this request: something in it was changed, or the quote is another's")]
    Binding {
        /// What the request calls for.
        wanted: Sha256Digest,
        /// What the quote holds.
        found: String,
    },
    /// Other PCRs, another bank, another order.
    #[error("the quote covers other PCRs than the broker asked for")]
    Selection {
        /// What was asked for.
        wanted: PcrSelection,
        /// `TPML_PCR_SELECTION` in the quote.
        found: String,
    },
    /// The quote holds other qualifying data.
    #[error("the quote holds another nonce")]
    Nonce {
        /// What it must hold, hexadecimal.
        wanted: String,
        /// What it holds.
        found: String,
    },
    /// It rests on a hash whose collisions can be made.
    #[error("the quote's {what} is of {hash}, which is not to be trusted")]
    WeakHash {
        /// What of it.
        what: &'static str,
        /// The hash.
        hash: HashAlgorithm,
    },
    /// It covers a bank that is not known here.
    #[error("the quote covers the PCR bank of algorithm {0:#06x}, which is not known")]
    UnknownBank(u16),
    /// It covers a bank in two places.
    #[error("the quote lists the {0} bank twice")]
    BankTwice(HashAlgorithm),
    /// It covers no PCR at all.
    #[error("the quote covers no PCR: the TPM has no such bank")]
    Nothing,
    /// A PCR that it covers has no value beside it.
    #[error("the quote covers {}, and no value came for it", covered(*bank, *pcr))]
    NoValue {
        /// Which bank.
        bank: HashAlgorithm,
        /// Which PCR; none where the whole bank is missing.
        pcr: Option<PcrIndex>,
    },
    /// A value of a PCR that it does not cover.
    #[error("a value came for PCR {pcr} of {bank}, and the quote does not cover it")]
    ExtraValue {
        /// Which bank.
        bank: HashAlgorithm,
        /// Which PCR.
        pcr: PcrIndex,
    },
    /// A measurement list came with it, and it covers no PCR that the list leads to.
    #[error("the quote does not cover PCR {pcr} of {bank}, which the measurement list leads to")]
    NotCovered {
        /// Which bank.
        bank: HashAlgorithm,
        /// Which PCR.
        pcr: PcrIndex,
    },
    /// The event log is not what was booted.
    #[error(transparent)]
    Log(#[from] LogRefused),
    /// The measurement list is not what the kernel measured.
    #[error(transparent)]
    Measurements(#[from] ImaRefused),
    /// The values beside the quote are not those that it covers.
    #[error("the PCR values are not those that the quote covers")]
    Values {
        /// The digest in the quote.
        quoted: String,
        /// The digest of the values.
        computed: Digest,
    },
}

impl From<SignatureRefused> for QuoteRefused {
    fn from(refused: SignatureRefused) -> Self {
        match refused {
            SignatureRefused::Key => Self::Key,
            SignatureRefused::Wrong => Self::Signature,
        }
    }
}

fn covered(bank: HashAlgorithm, pcr: Option<PcrIndex>) -> String {
    pcr.map_or_else(|| format!("the {bank} bank"), |pcr| format!("PCR {pcr} of {bank}"))
}

/// Adds which bank and PCR a report is about.
fn of_pcr(report: Report, bank: HashAlgorithm, pcr: Option<PcrIndex>) -> Report {
    let report = report.fact("bank", bank);
    match pcr {
        Some(pcr) => report.fact("pcr", pcr),
        None => report,
    }
}

impl<'a> RawQuote<'a> {
    /// Checks the form of message and signature.
    ///
    /// # Errors
    /// [`QuoteRefused::Malformed`] and [`QuoteRefused::NotAQuote`].
    pub fn parse(self) -> Result<ParsedQuote<'a>, QuoteRefused> {
        let attest = Attest::parse(self.message)?;
        let Attested::Quote(quote) = attest.attested else {
            return Err(QuoteRefused::NotAQuote(attest.attested.command()));
        };
        let signature = Signature::parse(self.signature)?;
        Ok(ParsedQuote { message: self.message, signature, attest, quote, pcrs: self.pcrs })
    }
}

impl ParsedQuote<'_> {
    /// Checks that `key` made this quote, with `qualifying_data`, over `selection`, and that the values are
    /// those that it covers. `verifier` computes the signature.
    ///
    /// The caller must have taken the nonce behind `qualifying_data` out of use.
    ///
    /// # Errors
    /// See [`QuoteRefused`].
    pub fn verify(
        &self,
        key: &AttestationKey,
        qualifying_data: &Sha256Digest,
        selection: PcrSelection,
        verifier: &dyn SignatureVerifier,
    ) -> Result<VerifiedQuote, QuoteRefused> {
        let (wanted, found) = (key.scheme(), self.signature.scheme);
        if wanted != found {
            return Err(QuoteRefused::Scheme { wanted, found });
        }
        verify(verifier, key.key(), wanted, self.message, &self.signature.value)?;
        if self.attest.extra_data != qualifying_data.as_bytes() {
            let found = attest_evidence::digest::to_hex(self.attest.extra_data);
            return Err(QuoteRefused::Binding { wanted: *qualifying_data, found });
        }
        if self.quote.selection != selection.to_tpml() {
            let found = attest_evidence::digest::to_hex(self.quote.selection);
            return Err(QuoteRefused::Selection { wanted: selection, found });
        }
        let pcrs = PcrValues::parse(selection, self.pcrs)?;
        let computed = wanted.hash.hash_parts(pcrs.iter().map(|(_, value)| value.as_slice()));
        if self.quote.pcr_digest != computed.as_bytes() {
            let quoted = attest_evidence::digest::to_hex(self.quote.pcr_digest);
            return Err(QuoteRefused::Values { quoted, computed });
        }
        Ok(VerifiedQuote { pcrs, clock: self.attest.clock, firmware_version: self.attest.firmware_version })
    }
}

impl VerifiedQuote {
    /// The quoted values.
    pub const fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// The quoted values that a boot leaves as they are while it lasts: all but that of the kernel's measurements.
    pub fn boot_pcrs(&self) -> PcrValues {
        self.pcrs.without(PcrIndex::IMA)
    }

    /// Clock and reset counts at the moment of the quote.
    pub const fn clock(&self) -> ClockInfo {
        self.clock
    }

    /// The TPM's firmware version, vendor-specific.
    pub const fn firmware_version(&self) -> u64 {
        self.firmware_version
    }
}

impl Explain for QuoteRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(malformed) => {
                report("AR-E201").fact("structure", malformed.structure).fact("byte", malformed.offset)
            }
            Self::NotAQuote(_) => report("AR-E202"),
            Self::Scheme { wanted, found } => report("AR-E203").fact("wanted", wanted).fact("got", found),
            Self::Key => report("AR-E204"),
            Self::Signature => {
                report("AR-E205").hint("was the TPM cleared or replaced since enrolment? Enroll again with a new token")
            }
            Self::Binding { wanted, found } => report("AR-E206")
                .fact("wanted", wanted)
                .fact("got", found)
                .hint("nothing was released. If nobody tampers, agent and broker disagree on a version"),
            Self::Selection { wanted, found } => report("AR-E207")
                .fact("wanted", wanted)
                .fact("got", found)
                .hint("are agent and broker of one version? Has the TPM a SHA-256 bank: `tpm2_getcap pcrs`?"),
            Self::Nonce { wanted, found } => report("AR-E210").fact("wanted", wanted).fact("got", found),
            Self::WeakHash { what, hash } => report("AR-E209").fact("what", what).fact("hash", hash).hint(
                "have the TPM quote its sha256 bank with a key that signs by SHA-256; `--hash-policy legacy` takes it all the same",
            ),
            Self::UnknownBank(algorithm) => report("AR-E211").fact("algorithm", format!("{algorithm:#06x}")),
            Self::BankTwice(bank) => {
                report("AR-E212").fact("bank", bank).hint("no TPM writes a bank twice: this was put together by hand")
            }
            Self::Nothing => report("AR-E213").hint(
                "a TPM quotes nothing when it is asked for a bank that it does not have: `tpm2_getcap pcrs` shows its banks",
            ),
            Self::NoValue { bank, pcr } => of_pcr(report("AR-E214"), *bank, *pcr)
                .hint("give all values that are quoted, from the moment of the quote: `tpm2_quote -o` writes them"),
            Self::ExtraValue { bank, pcr } => of_pcr(report("AR-E215"), *bank, Some(*pcr))
                .hint("leave the value out, or quote this PCR as well: nothing vouches for it"),
            Self::NotCovered { bank, pcr } => {
                of_pcr(report("AR-E216"), *bank, Some(*pcr)).hint("quote this PCR as well, or leave the list out")
            }
            Self::Log(refused) => refused.report(),
            Self::Measurements(refused) => refused.report(),
            Self::Values { quoted, computed } => report("AR-E208").fact("quoted", quoted).fact("sent", computed),
        }
    }
}
