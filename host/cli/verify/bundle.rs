//! `verify bundle`: a Sigstore bundle over a file, whoever made it.

use crate::Global;
use crate::output::{self, answer_is_no, in_file, read_small};
use attest_appraisal::boot::moment_text;
use attest_evidence::Digest;
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use attest_sigstore::{
    Artifact, Bundle as SigstoreBundle, Expected, Instance, LARGEST_BUNDLE, Logged, ManagedKey, Refused, Trust,
    Verified,
};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Most bytes of a trusted root and of a key.
const LARGEST_ROOT: usize = 4 << 20;
/// Most bytes of what a key that signs messages whole has signed.
const LARGEST_WHOLE: u64 = 256 << 20;

/// Check a Sigstore bundle over a file. Needs no network.
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The file that was signed, or its digest as `sha256:HEX` or `sha512:HEX`
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    signer: SignerOptions,
    #[command(flatten)]
    trust: TrustOptions,
}

/// Who has to have signed.
#[derive(Debug, Args)]
pub(crate) struct SignerOptions {
    /// Who has to have signed: the subject of the certificate, a URL of a workflow or an e-mail address. Exact
    #[arg(long, value_name = "IDENTITY", conflicts_with = "key")]
    identity: Option<String>,
    /// Who has to have vouched for the identity. Default: the forge that an identity on github.com or gitlab.com is of
    #[arg(long, value_name = "URL", requires = "identity")]
    issuer: Option<String>,
    /// The key that has to have signed, where the bundle has no certificate: PEM or DER
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Whom to believe.
#[derive(Debug, Args)]
pub(crate) struct TrustOptions {
    /// The Sigstore instance whose trusted root is built in
    #[arg(long, value_name = "INSTANCE", default_value = "public-good", conflicts_with = "trusted_root")]
    instance: KnownInstance,
    /// The trusted root of a private instance
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

/// Instances by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KnownInstance {
    /// The public good instance
    PublicGood,
    /// Its staging
    Staging,
    /// GitHub's own, of private repositories
    Github,
}

/// Whose tokens name what is on a forge.
const FORGES: [(&str, &str); 2] = [
    ("https://github.com/", "https://token.actions.githubusercontent.com"),
    ("https://gitlab.com/", "https://gitlab.com"),
];

impl SignerOptions {
    pub(crate) const fn of(identity: Option<String>, issuer: Option<String>, key: Option<PathBuf>) -> Self {
        Self { identity, issuer, key }
    }

    /// Whom these options want.
    pub(crate) fn expected(&self) -> Result<Expected, Report> {
        if let Some(path) = &self.key {
            let key = read_small(path, LARGEST_ROOT)?;
            return Ok(Expected::Key(ManagedKey::parse(&key).map_err(|error| in_file(error.report(), path))?));
        }
        let Some(identity) = self.identity.clone() else { return Err(nobody()) };
        let forge =
            || FORGES.iter().find(|(host, _)| identity.starts_with(host)).map(|(_, issuer)| (*issuer).to_owned());
        let Some(issuer) = self.issuer.clone().or_else(forge) else {
            let what = format!("nothing says who has to have vouched for `{}`", Escaped(&identity));
            return Err(Report::new("AR-V002", Fault::Usage, what)
                .hint("--issuer names the issuer of its token: anybody may be called so by another"));
        };
        Ok(Expected::Identity { identity, issuer })
    }
}

/// Nobody was expected.
fn nobody() -> Report {
    Report::new("AR-V001", Fault::Usage, "nothing says who has to have signed")
        .hint("--identity (and --issuer) or --key: that somebody signed proves nothing")
}

impl TrustOptions {
    pub(crate) const fn of(staging: bool, trusted_root: Option<PathBuf>) -> Self {
        let instance = if staging { KnownInstance::Staging } else { KnownInstance::PublicGood };
        Self { instance, trusted_root }
    }

    /// Whom these options believe.
    pub(crate) fn trust(&self) -> Result<Trust, Report> {
        match &self.trusted_root {
            Some(path) => Trust::parse(&read_small(path, LARGEST_ROOT)?).map_err(|error| in_file(error.report(), path)),
            None => Trust::of(match self.instance {
                KnownInstance::PublicGood => Instance::PublicGood,
                KnownInstance::Staging => Instance::Staging,
                KnownInstance::Github => Instance::GitHub,
            })
            .map_err(|error| error.report()),
        }
    }
}

impl Bundle {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let expected = self.signer.expected()?;
        let verified = verify(&self.artifact, &self.bundle, &expected, &self.trust.trust()?)?;
        let signer = verified.signer();
        let data = json!({
            "identity": signer.and_then(|signer| signer.identity.clone()),
            "issuer": signer.and_then(|signer| signer.issuer.clone()),
            "key": self.signer.key,
            "claims": verified.claims().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "logged": match verified.logged() {
                Logged::Proved => "proved",
                Logged::Promised => "promised",
                Logged::No => "no",
            },
            "times": verified.times(),
            "predicate_type": predicate_type(&verified),
        });
        output::print(global, "attest-run/verify-bundle/v1", &data, || in_words(&self.artifact, &verified));
        Ok(())
    }
}

/// Verifies a bundle over a file or a digest. A refusal is the answer no.
pub(crate) fn verify(artifact: &Path, bundle: &Path, expected: &Expected, trust: &Trust) -> Result<Verified, Report> {
    let bytes = read_small(bundle, LARGEST_BUNDLE)?;
    let parsed = SigstoreBundle::parse(&bytes).map_err(|error| answer_is_no(in_file(error.report(), bundle)))?;
    let no = |refused: Refused| {
        let subject = if matches!(refused, Refused::Artifact(_) | Refused::Unreadable(_)) { artifact } else { bundle };
        answer_is_no(in_file(refused.report(), subject))
    };
    let digest = artifact.to_str().and_then(|text| text.parse::<Digest>().ok());
    match digest.filter(|_| !artifact.exists()) {
        Some(digest) => trust.verify(&parsed, Artifact::Digest(digest), expected).map_err(no),
        None => {
            let mut file = File::open(artifact).map_err(|error| no(Refused::Unreadable(error)))?;
            match expected {
                Expected::Key(key) if key.signs_whole() => {
                    let mut whole = Vec::new();
                    let read = file.take(LARGEST_WHOLE + 1).read_to_end(&mut whole);
                    let read = read.map_err(|error| no(Refused::Unreadable(error)))?;
                    if read as u64 > LARGEST_WHOLE {
                        let what =
                            format!("the key signs messages whole, and this has more than {LARGEST_WHOLE} bytes");
                        return Err(no(Refused::Unsupported(what)));
                    }
                    trust.verify(&parsed, Artifact::Bytes(&whole), expected).map_err(no)
                }
                _ => trust.verify(&parsed, Artifact::Reader(&mut file), expected).map_err(no),
            }
        }
    }
}

fn predicate_type(verified: &Verified) -> Option<String> {
    let statement: serde_json::Value = serde_json::from_slice(verified.statement()?).ok()?;
    statement["predicateType"].as_str().map(str::to_owned)
}

fn in_words(artifact: &Path, verified: &Verified) -> String {
    let mut text = format!("{}: the signature is good\n", Escaped(&artifact.to_string_lossy()));
    let _ = match verified.signer() {
        Some(signer) => {
            let or_none = |claim: &Option<String>| claim.clone().unwrap_or_default();
            let _ = writeln!(text, "signed by  {}", Escaped(&or_none(&signer.identity)));
            writeln!(text, "issuer     {}", Escaped(&or_none(&signer.issuer)))
        }
        None => writeln!(text, "signed by  the key that was given"),
    };
    for (name, claim) in verified.claims() {
        let _ = writeln!(text, "{name:<10} {}", Escaped(claim));
    }
    for time in verified.times() {
        let time = moment_text(*time).unwrap_or_else(|| time.to_string());
        let _ = writeln!(text, "time       {time}");
    }
    let _ = writeln!(
        text,
        "log        {}",
        match verified.logged() {
            Logged::Proved => "it stands in one",
            Logged::Promised => "one has promised to take it up",
            Logged::No => "none: the instance has none",
        }
    );
    if let Some(predicate) = predicate_type(verified) {
        let _ = writeln!(text, "statement  {}", Escaped(&predicate));
    }
    text
}
