//! A quote on its own: from files, without an exchange. What `attest-run verify quote` looks at.

use super::QuoteRefused;
use crate::key::{AttestationKey, HashPolicy};
use crate::log::{Accounted, LogValues};
use crate::signature::{PureRust, verify};
use attest_evidence::eventlog::EventLog;
use attest_evidence::ima::{Entries, Entry, Extension, ImaRefused, Replay};
use attest_evidence::tpm::{
    Attest, Attested, BankSelection, ClockInfo, PcrBanks, PcrIndex, PublicKey, Signature, SigningAlgorithm,
    SigningScheme,
};
use attest_evidence::{Digest, HashAlgorithm};
use std::collections::BTreeMap;

/// A key that is said to have made a quote.
#[derive(Debug, Clone)]
pub enum QuotingKey {
    /// One whose public area says that it signs only what its TPM generated.
    Restricted(AttestationKey),
    /// One of which nothing but the key itself is known, out of a certificate or a PEM file. Whoever hands it over
    /// vouches for its being restricted, and its scheme is the one of its kind that the signature names.
    Bare(PublicKey),
}

/// What a quote is held against.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoneQuote<'a> {
    /// `TPMS_ATTEST`.
    pub message: &'a [u8],
    /// `TPMT_SIGNATURE`.
    pub signature: &'a [u8],
    /// The qualifying data that it must hold.
    pub nonce: Option<&'a [u8]>,
    /// The values that it must cover: all of them, and no others.
    pub pcrs: Option<&'a PcrBanks>,
    /// The event log that must lead to these values. Only together with `pcrs`.
    pub log: Option<&'a EventLog<'a>>,
    /// The measurement list of the kernel, a beginning of which must lead to the quoted PCR 10. Only together with
    /// `pcrs`.
    pub measurements: Option<&'a [u8]>,
    /// Whether SHA-1 may be rested on.
    pub policy: HashPolicy,
}

/// A quote that is that key's, and holds what it was held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLoneQuote {
    /// What it was signed by.
    pub scheme: SigningScheme,
    /// Its qualifying data.
    pub extra_data: Vec<u8>,
    /// Clock and reset counts at that moment.
    pub clock: ClockInfo,
    /// The TPM's firmware version, vendor-specific.
    pub firmware_version: u64,
    /// The PCRs that it covers, in its order.
    pub selection: Vec<(HashAlgorithm, Vec<PcrIndex>)>,
    /// Digest over their values.
    pub pcr_digest: Vec<u8>,
    /// Quoted PCRs that the event log accounts for, by bank. Empty without a log.
    pub replayed: BTreeMap<HashAlgorithm, Accounted>,
    /// How far the measurement list is covered, by bank. Empty without a list.
    pub measured: BTreeMap<HashAlgorithm, MeasuredList>,
}

/// A measurement list, as far as a quote covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredList {
    /// The entries that the quote covers.
    pub covered: u64,
    /// Entries behind them, which came after the quote.
    pub behind: u64,
    /// Violations among the covered ones: files that changed while they were measured.
    pub violations: u64,
    /// How the kernel extended this bank.
    pub extension: Extension,
}

impl QuotingKey {
    /// The scheme that a signature must be of: the key's own, or the one of its kind that `found` names.
    fn scheme(&self, found: SigningScheme) -> SigningScheme {
        match self {
            Self::Restricted(key) => key.scheme(),
            Self::Bare(key) => {
                let algorithm = match (key, found.algorithm) {
                    (PublicKey::P256 { .. } | PublicKey::P384 { .. }, _) => SigningAlgorithm::Ecdsa,
                    (PublicKey::Rsa { .. }, SigningAlgorithm::RsaPss) => SigningAlgorithm::RsaPss,
                    (PublicKey::Rsa { .. }, _) => SigningAlgorithm::RsaSsa,
                };
                SigningScheme::new(algorithm, found.hash)
            }
        }
    }

    /// Curve point or modulus.
    pub const fn key(&self) -> &PublicKey {
        match self {
            Self::Restricted(key) => key.key(),
            Self::Bare(key) => key,
        }
    }
}

impl LoneQuote<'_> {
    /// Checks the quote, in this order: form, scheme, hash, signature, qualifying data, selection, values, log,
    /// measurement list.
    ///
    /// # Errors
    /// See [`QuoteRefused`]: the first thing wrong.
    pub fn verify(&self, key: &QuotingKey) -> Result<VerifiedLoneQuote, QuoteRefused> {
        let attest = Attest::parse(self.message)?;
        let Attested::Quote(quote) = attest.attested else {
            return Err(QuoteRefused::NotAQuote(attest.attested.command()));
        };
        let selection = self.banks(&quote.selections()?)?;
        let signature = Signature::parse(self.signature)?;
        let scheme = key.scheme(signature.scheme);
        if scheme != signature.scheme {
            return Err(QuoteRefused::Scheme { wanted: scheme, found: signature.scheme });
        }
        if !self.policy.takes(scheme.hash) {
            return Err(QuoteRefused::WeakHash { what: "signature", hash: scheme.hash });
        }
        verify(&PureRust, key.key(), scheme, self.message, &signature.value)?;
        if let Some(nonce) = self.nonce
            && attest.extra_data != nonce
        {
            let hex = attest_evidence::digest::to_hex;
            return Err(QuoteRefused::Nonce { wanted: hex(nonce), found: hex(attest.extra_data) });
        }
        if let Some((bank, _)) = selection.iter().find(|(bank, _)| !self.policy.takes(*bank)) {
            return Err(QuoteRefused::WeakHash { what: "PCR bank", hash: *bank });
        }
        let (mut replayed, mut measured) = (BTreeMap::new(), BTreeMap::new());
        if let Some(pcrs) = self.pcrs {
            check_values(&selection, pcrs, scheme.hash, quote.pcr_digest)?;
            for (bank, _) in &selection {
                let values = pcrs.bank(*bank).ok_or(QuoteRefused::NoValue { bank: *bank, pcr: None })?;
                if let Some(log) = self.log {
                    let quoted = values.iter().map(|(pcr, value)| (*pcr, value.as_bytes()));
                    replayed.insert(*bank, LogValues::of(log, *bank).lead_to(quoted)?);
                }
                if let Some(list) = self.measurements {
                    let missing = QuoteRefused::NotCovered { bank: *bank, pcr: PcrIndex::IMA };
                    let quoted = values.get(&PcrIndex::IMA).ok_or(missing)?;
                    measured.insert(*bank, self.cover(list, quoted)?);
                }
            }
        }
        Ok(VerifiedLoneQuote {
            scheme,
            extra_data: attest.extra_data.to_vec(),
            clock: attest.clock,
            firmware_version: attest.firmware_version,
            selection,
            pcr_digest: quote.pcr_digest.to_vec(),
            replayed,
            measured,
        })
    }

    /// The beginning of `list` that the quoted value of PCR 10 covers. A kernel extends a bank with digests of the bank's
    /// own, or, where it doesn't know how, with the SHA-1 digest and zeros: that is worth what SHA-1 is.
    fn cover(&self, list: &[u8], quoted: &Digest) -> Result<MeasuredList, QuoteRefused> {
        let replay = |extension| Replay::from_boot(PcrIndex::IMA, quoted.algorithm(), extension);
        let covered = match replay(Extension::Hashed).cover(list, quoted) {
            Err(refused @ ImaRefused::NotQuoted { .. }) => {
                let padded = replay(Extension::Padded).cover(list, quoted).map_err(|_| refused)?;
                if padded.state().is_weak() && !self.policy.takes(HashAlgorithm::Sha1) {
                    return Err(QuoteRefused::WeakHash { what: "measurement list", hash: HashAlgorithm::Sha1 });
                }
                padded
            }
            other => other?,
        };
        let violations = covered.entries().filter(Entry::is_violation).count();
        let behind = Entries::of(covered.rest())?.try_fold(0, |count, entry| entry.map(|_| count + 1))?;
        let extension = covered.state().extension();
        if covered.state().count() == 0 && behind > 0 {
            // A PCR of zeros is that of a kernel that measured nothing, and every kernel that keeps a list measures its boot.
            let (quoted, value) = (*quoted, *quoted);
            return Err(ImaRefused::NotQuoted { quoted, entries: behind, value }.into());
        }
        let violations = u64::try_from(violations).unwrap_or(u64::MAX);
        Ok(MeasuredList { covered: covered.state().count(), behind, violations, extension })
    }

    /// The selection by banks. One that selects nothing attests nothing: a TPM quotes that, too, when it is asked for a
    /// bank that it does not have.
    fn banks(&self, selection: &[BankSelection]) -> Result<Vec<(HashAlgorithm, Vec<PcrIndex>)>, QuoteRefused> {
        let mut banks: Vec<(HashAlgorithm, Vec<PcrIndex>)> = Vec::new();
        for BankSelection { algorithm, pcrs } in selection {
            if pcrs.is_empty() {
                continue;
            }
            let bank = HashAlgorithm::from_id(*algorithm).ok_or(QuoteRefused::UnknownBank(*algorithm))?;
            if banks.iter().any(|(other, _)| *other == bank) {
                return Err(QuoteRefused::BankTwice(bank));
            }
            banks.push((bank, pcrs.clone()));
        }
        if banks.is_empty() { Err(QuoteRefused::Nothing) } else { Ok(banks) }
    }
}

/// Whether `pcrs` are the values of `selection`, no fewer and no more, and `quoted` is their digest.
fn check_values(
    selection: &[(HashAlgorithm, Vec<PcrIndex>)],
    pcrs: &PcrBanks,
    hash: HashAlgorithm,
    quoted: &[u8],
) -> Result<(), QuoteRefused> {
    let mut values: Vec<Digest> = Vec::new();
    for (bank, indexes) in selection {
        let given = pcrs.bank(*bank).ok_or(QuoteRefused::NoValue { bank: *bank, pcr: None })?;
        for pcr in indexes {
            values.push(*given.get(pcr).ok_or(QuoteRefused::NoValue { bank: *bank, pcr: Some(*pcr) })?);
        }
    }
    for (bank, given) in pcrs.iter() {
        let selected = selection.iter().find(|(selected, _)| *selected == bank);
        let extra = given.keys().find(|pcr| !selected.is_some_and(|(_, pcrs)| pcrs.contains(pcr)));
        if let Some(pcr) = extra {
            return Err(QuoteRefused::ExtraValue { bank, pcr: *pcr });
        }
    }
    let computed = hash.hash_parts(values.iter().map(Digest::as_bytes));
    if quoted != computed.as_bytes() {
        return Err(QuoteRefused::Values { quoted: attest_evidence::digest::to_hex(quoted), computed });
    }
    Ok(())
}
