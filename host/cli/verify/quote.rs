//! `verify quote`: a quote in files, as `attest-run quote` and tpm2-tools write them.

use crate::Global;
use crate::output::{self, answer_is_no, in_file, read_list, read_log, read_small};
use attest_appraisal::{Accounted, HashPolicy, KeyRefused, LoneQuote, QuoteRefused, QuotingKey, VerifiedLoneQuote};
use attest_evidence::HashAlgorithm;
use attest_evidence::digest::to_hex;
use attest_evidence::ima::Extension;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::tpm::{Attest, PcrBanks, PcrIndex, Signature};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files of keys, messages, signatures and PCR values are far smaller.
const LARGEST_FILE: usize = 1 << 20;

/// `verify quote`.
#[derive(Debug, Args)]
pub(crate) struct Quote {
    /// TPMS_ATTEST, as the TPM made it: `tpm2_quote -m`
    #[arg(long, value_name = "FILE")]
    message: PathBuf,
    /// TPMT_SIGNATURE: `tpm2_quote -s`
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// The attestation key: PEM, a certificate, TPMT_PUBLIC or TPM2B_PUBLIC
    #[arg(long, value_name = "FILE")]
    ak: PathBuf,
    /// The qualifying data that the quote must hold
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// The PCR values that it must cover: {"sha256":{"0":"hex",…}}, `tpm2_quote -o`, or what `tpm2_pcrread` prints
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    /// The event log that must lead to these values
    #[arg(long, value_name = "FILE", requires = "pcrs")]
    eventlog: Option<PathBuf>,
    /// The kernel's measurement list, a beginning of which must lead to PCR 10
    #[arg(long, value_name = "FILE", requires = "pcrs")]
    ima: Option<PathBuf>,
    /// Whether SHA-1 may be rested on
    #[arg(long, value_name = "POLICY", default_value = "strict")]
    hash_policy: Policy,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    /// Never
    Strict,
    /// For old machines, where you know what it is worth
    Legacy,
}

#[derive(Serialize)]
struct Facts {
    key: Key,
    scheme: String,
    nonce: String,
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    safe: bool,
    firmware_version: String,
    pcr_digest: String,
    selection: BTreeMap<&'static str, Vec<u8>>,
    /// What the quote was held against, and what of it.
    checked: Checked,
}

#[derive(Serialize)]
struct Key {
    kind: String,
    /// The Name, where a public area was given; of a bare key nobody knows whether it signs only what its TPM made.
    name: Option<String>,
}

#[derive(Serialize)]
struct Checked {
    nonce: bool,
    pcrs: bool,
    /// PCRs that the event log leads to.
    eventlog: Option<BTreeMap<&'static str, Vec<u8>>>,
    /// PCRs that were extended, and of which the event log says nothing.
    eventlog_silent: Option<BTreeMap<&'static str, Vec<u8>>>,
    ima: Option<BTreeMap<&'static str, List>>,
}

#[derive(Serialize)]
struct List {
    covered: u64,
    behind: u64,
    violations: u64,
    extension: &'static str,
}

impl Quote {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let policy = match self.hash_policy {
            Policy::Strict => HashPolicy::Strict,
            Policy::Legacy => HashPolicy::Legacy,
        };
        let nonce = self.nonce.as_deref().map(nonce).transpose()?;
        let (message, signature) =
            (read_small(&self.message, LARGEST_FILE)?, read_small(&self.signature, LARGEST_FILE)?);
        let key =
            QuotingKey::read(&read_small(&self.ak, LARGEST_FILE)?, policy).map_err(|refused| self.no_key(&refused))?;
        let pcrs = self.pcrs.as_deref().map(pcr_file).transpose()?;
        let log = self.eventlog.as_deref().map(|path| Ok((path, read_log(path)?))).transpose()?;
        let log = log.as_ref().map(|(path, bytes)| output::parse_log(bytes, path)).transpose()?;
        let list = self.ima.as_deref().map(read_list).transpose()?;
        let quote = LoneQuote {
            message: &message,
            signature: &signature,
            nonce: nonce.as_deref(),
            pcrs: pcrs.as_ref(),
            log: log.as_ref(),
            measurements: list.as_deref(),
            policy,
        };
        let verified = quote.verify(&key).map_err(|refused| self.said_no(&quote, &refused))?;
        let facts = facts(&key, &quote, &verified);
        output::print(global, "attest-run/verify-quote/v1", &facts, || in_words(&facts));
        Ok(())
    }

    /// The file of the key is none, or not of a key that may attest.
    fn no_key(&self, refused: &KeyRefused) -> Report {
        let report = in_file(answer_is_no(refused.report()), &self.ak);
        match refused {
            KeyRefused::File | KeyRefused::Malformed(_) => report.hint(
                "read are: a public key or a certificate in PEM or DER; TPMT_PUBLIC; TPM2B_PUBLIC, as tpm2-tools write it",
            ),
            _ => report,
        }
    }

    /// The answer is no, with the file that shows it.
    fn said_no(&self, quote: &LoneQuote<'_>, refused: &QuoteRefused) -> Report {
        let report = in_file(answer_is_no(refused.report()), self.file_of(refused));
        let swapped = Attest::parse(quote.signature).is_ok() || Signature::parse(quote.message).is_ok();
        match refused {
            QuoteRefused::Malformed(_) if swapped => report.hint("are --message and --signature swapped?"),
            QuoteRefused::Signature => {
                report.hint("is this the key that made it, and were message and signature made together?")
            }
            _ => report,
        }
    }

    fn file_of(&self, refused: &QuoteRefused) -> &Path {
        let file = match refused {
            QuoteRefused::Malformed(malformed) if malformed.structure == "TPMT_SIGNATURE" => Some(&self.signature),
            QuoteRefused::Scheme { .. } | QuoteRefused::Signature => Some(&self.signature),
            QuoteRefused::Key => Some(&self.ak),
            QuoteRefused::NoValue { .. } | QuoteRefused::ExtraValue { .. } | QuoteRefused::Values { .. } => {
                self.pcrs.as_ref()
            }
            QuoteRefused::Log(_) => self.eventlog.as_ref(),
            QuoteRefused::Measurements(_) | QuoteRefused::NotCovered { .. } => self.ima.as_ref(),
            QuoteRefused::WeakHash { what: "measurement list", .. } => self.ima.as_ref(),
            _ => None,
        };
        file.unwrap_or(&self.message)
    }
}

fn nonce(text: &str) -> Result<Vec<u8>, Report> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|error| Report::new("AR-C102", Fault::Usage, format!("the nonce is not hexadecimal: {error}")))
}

/// PCR values in one of the three forms, told apart by how they begin.
fn pcr_file(path: &Path) -> Result<PcrBanks, Report> {
    let bytes = read_small(path, LARGEST_FILE)?;
    let wrong = |reason: String| {
        Report::new("AR-C702", Fault::Usage, format!("{} holds no PCR values: {reason}", path.display()))
            .hint("JSON as {\"sha256\":{\"0\":\"hex\"}}, the file of `tpm2_quote -o`, or what `tpm2_pcrread` prints")
    };
    match bytes.trim_ascii_start() {
        [b'{', ..] => serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string())),
        [b's', ..] => {
            let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
            PcrBanks::read_listing(text).map_err(|error| wrong(error.to_string()))
        }
        _ => PcrBanks::read_quote_file(&bytes).map_err(|error| wrong(error.to_string())),
    }
}

fn facts(key: &QuotingKey, quote: &LoneQuote<'_>, verified: &VerifiedLoneQuote) -> Facts {
    let numbers = |pcrs: &[PcrIndex]| pcrs.iter().map(|pcr| pcr.get()).collect::<Vec<_>>();
    let by_bank = |of: fn(&Accounted) -> &[PcrIndex]| {
        verified.replayed.iter().map(|(bank, accounted)| (bank.as_str(), numbers(of(accounted)))).collect()
    };
    let list = |(bank, list): (&HashAlgorithm, &attest_appraisal::MeasuredList)| {
        let extension = match list.extension {
            Extension::Hashed => "hashed",
            Extension::Padded => "padded",
        };
        (bank.as_str(), List { covered: list.covered, behind: list.behind, violations: list.violations, extension })
    };
    Facts {
        key: Key {
            kind: key.key().kind(),
            name: match key {
                QuotingKey::Restricted(key) => Some(key.name().to_string()),
                QuotingKey::Bare(_) => None,
            },
        },
        scheme: verified.scheme.to_string(),
        nonce: to_hex(&verified.extra_data),
        clock: verified.clock.clock,
        reset_count: verified.clock.reset_count,
        restart_count: verified.clock.restart_count,
        safe: verified.clock.safe,
        firmware_version: format!("{:016x}", verified.firmware_version),
        pcr_digest: to_hex(&verified.pcr_digest),
        selection: verified.selection.iter().map(|(bank, pcrs)| (bank.as_str(), numbers(pcrs))).collect(),
        checked: Checked {
            nonce: quote.nonce.is_some(),
            pcrs: quote.pcrs.is_some(),
            eventlog: quote.log.map(|_| by_bank(|accounted| &accounted.explained)),
            eventlog_silent: quote.log.map(|_| by_bank(|accounted| &accounted.unexplained)),
            ima: quote.measurements.map(|_| verified.measured.iter().map(list).collect()),
        },
    }
}

fn in_words(facts: &Facts) -> String {
    let join = |pcrs: &[u8]| pcrs.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let by_bank = |banks: &BTreeMap<&'static str, Vec<u8>>| {
        banks.iter().map(|(bank, pcrs)| format!("{bank}:{}", join(pcrs))).collect::<Vec<_>>().join(" ")
    };
    let key = match &facts.key.name {
        Some(name) => format!("{} named {name}", facts.key.kind),
        None => format!("{}, of which only the key is known, not that it signs nothing else", facts.key.kind),
    };
    let mut text = format!(
        "The quote is that key's.\n\nkey        {key}\nscheme     {}\nnonce      {}{}\ncovers     {}{}\n",
        facts.scheme,
        facts.nonce,
        if facts.checked.nonce { "" } else { "  (not compared: no --nonce)" },
        by_bank(&facts.selection),
        if facts.checked.pcrs { "" } else { "  (no values to compare: no --pcrs)" },
    );
    if let Some(log) = &facts.checked.eventlog {
        text += &format!("event log  leads to {}\n", by_bank(log));
    }
    for (bank, silent) in facts.checked.eventlog_silent.iter().flatten().filter(|(_, silent)| !silent.is_empty()) {
        text += &format!("           and is silent about {bank}:{}, which something extended\n", join(silent));
    }
    for (bank, list) in facts.checked.ima.iter().flatten() {
        text += &format!(
            "IMA        {} entries covered in {bank} ({}), {} violations, {} entries behind the quote\n",
            list.covered, list.extension, list.violations, list.behind
        );
    }
    text + &format!(
        "clock      {} ms{}, {} resets, {} restarts\nfirmware   {}\n",
        facts.clock,
        if facts.safe { "" } else { " (not safe: it may have been higher)" },
        facts.reset_count,
        facts.restart_count,
        facts.firmware_version
    )
}
