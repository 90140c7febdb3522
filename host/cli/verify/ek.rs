//! `verify ek`: a TPM's certificate, up to its maker's root.

use crate::Global;
use crate::output::{self, answer_is_no, in_file, read_small};
use attest_appraisal::boot;
use attest_appraisal::{CertificateRefused, Manufacturer, Roots, StoredCertificate, TpmClass, VerifiedEndorsement};
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock, UnixSeconds};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Most bytes of a file: a TPM's certificate has two thousand, a bundle of a maker's some hundred thousand.
const LARGEST_FILE: usize = 4 << 20;

/// Check a certificate of an endorsement key.
#[derive(Debug, Args)]
pub(crate) struct Ek {
    /// The certificate: PEM, DER, or what the TPM's NV index holds. What follows it in PEM counts as `--chain`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Certificates that may lie between it and a root. They may come from anybody
    #[arg(long, value_name = "FILE", num_args = 1..)]
    chain: Vec<PathBuf>,
    /// Trust this root as well as the makers' that come with the program
    #[arg(long, value_name = "FILE", requires = "class")]
    root: Option<PathBuf>,
    /// What TPMs under that root are: `discrete`, `firmware`, `virtual` or `software`
    #[arg(long, value_name = "CLASS", requires = "root")]
    class: Option<TpmClass>,
    /// The moment to check for, as seconds since 1970 or as 2026-11-24T12:00:00Z. Default: now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<UnixSeconds>,
}

#[derive(Serialize)]
struct Verified {
    class: &'static str,
    manufacturer: Option<Maker>,
    model: Option<String>,
    version: Option<String>,
    specification: Option<Keeps>,
    key: String,
    sha256: String,
    valid_until: u64,
    chain: Vec<String>,
    tpm12_header: bool,
}

#[derive(Serialize)]
struct Maker {
    id: String,
    name: Option<&'static str>,
}

#[derive(Serialize)]
struct Keeps {
    family: String,
    level: u32,
    revision: u32,
}

impl Ek {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let refused = |refused: CertificateRefused| in_file(said_no(&refused), &self.file);
        let mut stored = StoredCertificate::read(&read_small(&self.file, LARGEST_FILE)?).map_err(refused)?.into_iter();
        let certificate = stored.next().ok_or_else(|| refused(CertificateRefused::Malformed("none".to_owned())))?;
        let mut roots = Roots::built_in();
        for known in stored {
            roots.add_intermediate(known.der).map_err(refused)?;
        }
        for chain in &self.chain {
            given(chain, |der| roots.add_intermediate(der))?;
        }
        if let (Some(root), Some(class)) = (&self.root, self.class) {
            given(root, |der| roots.add_root(class, der))?;
        }
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let verified = VerifiedEndorsement::verify_ek(&certificate.der, &roots, now).map_err(refused)?;
        let answer = Verified::of(&verified, certificate.tpm12_header);
        output::print(global, "attest-run/verify-ek/v1", &answer, || answer.text());
        Ok(())
    }
}

/// Adds what a file on the command line holds.
fn given(file: &Path, mut add: impl FnMut(Vec<u8>) -> Result<(), CertificateRefused>) -> Result<(), Report> {
    let unusable = |refused: CertificateRefused| {
        Report::new("AR-C704", Fault::Usage, format!("can't use {}: {refused}", file.display()))
    };
    for stored in StoredCertificate::read(&read_small(file, LARGEST_FILE)?).map_err(unusable)? {
        add(stored.der).map_err(unusable)?;
    }
    Ok(())
}

/// The answer is no: what somebody asked is answered, and nobody pretended to be somebody.
fn said_no(refused: &CertificateRefused) -> Report {
    let report = answer_is_no(refused.report());
    match refused {
        CertificateRefused::UnknownIssuer { .. } => report.hint(
            "an intermediate may be missing: `--chain FILE` adds some.\n\
             A maker that is not known here: `--root FILE --class CLASS` trusts its root",
        ),
        _ => report,
    }
}

impl Verified {
    fn of(verified: &VerifiedEndorsement, tpm12_header: bool) -> Self {
        let description = verified.description();
        let maker = |maker: Manufacturer| Maker { id: maker.to_string(), name: maker.name() };
        Self {
            class: verified.class().as_str(),
            manufacturer: description.manufacturer.map(maker),
            model: description.model.clone(),
            version: description.version.clone(),
            specification: description.specification.as_ref().map(|specification| Keeps {
                family: specification.family.clone(),
                level: specification.level,
                revision: specification.revision,
            }),
            key: verified.key().to_string(),
            sha256: verified.fingerprint().to_string(),
            valid_until: verified.valid_until().0,
            chain: verified.chain().to_vec(),
            tpm12_header,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:15}{}", Escaped(value));
        };
        let unsaid = "not said";
        let maker = self.manufacturer.as_ref().map_or_else(
            || unsaid.to_owned(),
            |maker| maker.name.map_or_else(|| maker.id.clone(), |name| format!("{name} ({})", maker.id)),
        );
        line("class", self.class);
        line("maker", &maker);
        line("model", self.model.as_deref().unwrap_or(unsaid));
        line("version", self.version.as_deref().unwrap_or(unsaid));
        if let Some(Keeps { family, level, revision }) = &self.specification {
            line("specification", &format!("TPM {family} level {level} revision {revision}"));
        }
        line("key", &self.key);
        let until = boot::moment_text(UnixSeconds(self.valid_until));
        line("valid until", &until.unwrap_or_else(|| self.valid_until.to_string()));
        line("sha256", &self.sha256);
        for (place, subject) in self.chain.iter().enumerate() {
            line(if place == 0 { "chain" } else { "" }, subject);
        }
        if self.tpm12_header {
            line("note", "it stood behind the header of a TPM 1.2, which was taken off");
        }
        text
    }
}

fn moment(text: &str) -> Result<UnixSeconds, &'static str> {
    let seconds = text.parse().ok().map(UnixSeconds);
    seconds.or_else(|| boot::moment(text)).ok_or("a moment is seconds since 1970, or like 2026-11-24T12:00:00Z")
}
