//! `ima`: what the kernel measured, by its own list.

use crate::Global;
use crate::output::{self, answer_is_no, in_file, read_list};
use attest_evidence::HashAlgorithm;
use attest_evidence::ima::{Entries, Extension, Replay as ListReplay};
use attest_evidence::report::{Explain as _, Report};
use attest_evidence::tpm::PcrBanks;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Read measurement lists of the kernel.
#[derive(Debug, Subcommand)]
pub(crate) enum Ima {
    /// Compute the PCR values that a list leads to
    Replay(Replay),
}

/// `ima replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The list: a copy of /sys/kernel/security/ima/binary_runtime_measurements
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One bank only: sha1, sha256, sha384 or sha512
    #[arg(long, value_name = "BANK")]
    bank: Option<HashAlgorithm>,
}

#[derive(Serialize)]
struct Replayed {
    entries: usize,
    violations: usize,
    templates: BTreeSet<String>,
    banks: PcrBanks,
    /// The same for kernels that extend a bank with the SHA-1 digest and zeros.
    padded: PcrBanks,
}

impl Ima {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Replay(replay) => replay.execute(global),
        }
    }
}

impl Replay {
    fn execute(self, global: &Global) -> Result<(), Report> {
        let list = read_list(&self.file)?;
        let refused = |error: attest_evidence::ima::ImaRefused| in_file(answer_is_no(error.report()), &self.file);
        let (mut entries, mut violations) = (0, 0);
        let (mut templates, mut pcrs) = (BTreeSet::new(), BTreeSet::new());
        for entry in Entries::of(&list).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            entries += 1;
            violations += usize::from(entry.is_violation());
            templates.insert(entry.template.to_string());
            pcrs.insert(entry.pcr);
        }
        let replay = |extension| -> Result<PcrBanks, Report> {
            let mut banks = PcrBanks::default();
            for bank in HashAlgorithm::ALL.into_iter().filter(|bank| self.bank.is_none_or(|asked| asked == *bank)) {
                let mut values = BTreeMap::new();
                for pcr in &pcrs {
                    let state = ListReplay::from_boot(*pcr, bank, extension).replayed(&list).map_err(refused)?;
                    values.insert(*pcr, *state.value());
                }
                banks.insert(bank, values);
            }
            Ok(banks)
        };
        let replayed = Replayed {
            entries,
            violations,
            templates,
            banks: replay(Extension::Hashed)?,
            padded: replay(Extension::Padded)?,
        };
        output::print(global, "attest-run/ima/v1", &replayed, || {
            let mut text = format!(
                "entries     {}\nviolations  {}\ntemplates   {}\n",
                replayed.entries,
                replayed.violations,
                replayed.templates.iter().cloned().collect::<Vec<_>>().join(", ")
            );
            for (bank, values) in replayed.banks.iter() {
                text += &format!("{bank}\n");
                for (pcr, value) in values {
                    text += &format!("  {:>2}  {value}\n", pcr.get());
                    let padded = replayed.padded.bank(bank).and_then(|values| values.get(pcr));
                    if let Some(padded) = padded.filter(|padded| *padded != value) {
                        text += &format!("      {padded}  where the kernel extends SHA-1 and zeros\n");
                    }
                }
            }
            text
        });
        Ok(())
    }
}
