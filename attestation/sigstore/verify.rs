//! Whether a bundle is a signature over this artifact, by whom it was wanted.

use crate::bundle::Bundle;
use crate::refused::{Refused, Signer};
use crate::trust::Trust;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::{Digest, HashAlgorithm, UnixSeconds};
use sigstore_verify::crypto::{FulcioCiClaims, KeyAlgorithm};
use sigstore_verify::types::{self, DerPublicKey};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};
use std::io::Read;

/// Who has to have signed. There is no anybody.
#[derive(Debug, Clone)]
pub enum Expected {
    /// The subject of a certificate and who vouched for it, both exact.
    Identity {
        /// A URL or an e-mail address.
        identity: String,
        /// The issuer of the token, such as `https://token.actions.githubusercontent.com`.
        issuer: String,
    },
    /// A key that is known.
    Key(ManagedKey),
}

/// A public key that somebody manages.
#[derive(Debug, Clone)]
pub struct ManagedKey(DerPublicKey);

/// Not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no public key in PEM or DER that signatures can be verified with: {0}")]
pub struct KeyMalformed(String);

impl Explain for KeyMalformed {
    fn report(&self) -> Report {
        Report::new("AR-V103", Fault::Environment, self.to_string()).hint(
            "the file begins with `-----BEGIN PUBLIC KEY-----`; `openssl pkey -pubin -in FILE -text -noout` reads it",
        )
    }
}

impl ManagedKey {
    /// Reads a key: PEM or DER of a `SubjectPublicKeyInfo` (RFC 5280 §4.1).
    ///
    /// # Errors
    /// It is none, or of an algorithm that is not verified here.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyMalformed> {
        let key = match std::str::from_utf8(bytes) {
            Ok(text) if text.trim_start().starts_with("-----BEGIN") => {
                DerPublicKey::from_pem(text).map_err(|error| KeyMalformed(error.to_string()))?
            }
            _ => DerPublicKey::from_bytes(bytes),
        };
        sigstore_verify::crypto::VerificationKey::from_spki(&key).map_err(|error| KeyMalformed(error.to_string()))?;
        Ok(Self(key))
    }

    /// Its `SubjectPublicKeyInfo`, DER.
    pub fn spki(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether messages are signed whole by it, so that a digest or a stream of one can't be verified.
    pub fn signs_whole(&self) -> bool {
        sigstore_verify::crypto::VerificationKey::from_spki(&self.0)
            .is_ok_and(|key| key.scheme().key_algorithm() == KeyAlgorithm::Ed25519)
    }
}

/// What was signed.
pub enum Artifact<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A file, read once, from where it stands to its end.
    Reader(&'a mut dyn Read),
    /// The digest of one that is not here.
    Digest(Digest),
}

/// Whether a signature stands in a log that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// A proof of inclusion shows it, under a checkpoint that the log has signed.
    Proved,
    /// The log has promised to take it up, as bundles of version 0.1 have it.
    Promised,
    /// The instance has no log.
    No,
}

/// A bundle that is a signature over an artifact by whom it was wanted.
#[derive(Debug)]
pub struct Verified {
    signer: Option<Signer>,
    claims: FulcioCiClaims,
    times: Vec<UnixSeconds>,
    logged: Logged,
    statement: Option<Vec<u8>>,
}

impl Verified {
    /// Who signed, if a certificate says it. None for a key.
    pub const fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// What the certificate says of the CI job that signed, by the names of Fulcio's extensions, of those that it has.
    pub fn claims(&self) -> Vec<(&'static str, &str)> {
        let claims = &self.claims;
        let all = [
            ("workflow", &claims.build_signer_uri),
            ("repository", &claims.source_repository_uri),
            ("repository id", &claims.source_repository_identifier),
            ("commit", &claims.source_repository_digest),
            ("ref", &claims.source_repository_ref),
            ("trigger", &claims.build_trigger),
            ("runner", &claims.runner_environment),
            ("run", &claims.run_invocation_uri),
        ];
        all.into_iter().filter_map(|(name, claim)| Some((name, claim.as_deref()?))).collect()
    }

    /// When it was signed, by each log or timestamp authority that says so.
    pub fn times(&self) -> &[UnixSeconds] {
        &self.times
    }

    /// Whether it stands in a log.
    pub const fn logged(&self) -> Logged {
        self.logged
    }

    /// The in-toto statement that was signed, if it is one.
    pub fn statement(&self) -> Option<&[u8]> {
        self.statement.as_deref()
    }
}

impl Trust {
    /// Verifies a bundle over an artifact.
    ///
    /// Certificate, log entry, timestamps and signature first, whoever it is; then whether it is whom was wanted, so that a
    /// refusal can say who did sign.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn verify(&self, bundle: &Bundle, artifact: Artifact<'_>, expected: &Expected) -> Result<Verified, Refused> {
        let result = match expected {
            Expected::Identity { .. } => {
                if !bundle.has_certificate() {
                    return Err(Refused::OtherMaterial("it is signed with a key, and an identity was wanted"));
                }
                if !self.has_authorities() {
                    return Err(Refused::NoAuthority);
                }
                let mut policy = VerificationPolicy::any_identity();
                if !self.has_logs() {
                    policy = policy.skip_tlog_unsafe();
                }
                if !self.has_certificate_logs {
                    policy = policy.skip_sct();
                }
                self.run(bundle, artifact, &policy)?
            }
            Expected::Key(key) => {
                if bundle.has_certificate() {
                    return Err(Refused::OtherMaterial("it is signed with a certificate, and a key was wanted"));
                }
                let mut policy = PublicKeyVerificationPolicy::new(key.0.clone());
                if !self.has_logs() {
                    policy = policy.skip_tlog_unsafe();
                }
                self.run(bundle, artifact, &policy)?
            }
        };
        self.shows_a_time(bundle, &result)?;
        let signer = result.certificate().map(|certificate| Signer {
            identity: certificate.identity.as_ref().map(ToString::to_string),
            issuer: certificate.issuer.clone(),
        });
        if let Expected::Identity { identity, issuer } = expected {
            let found = signer.clone().unwrap_or(Signer { identity: None, issuer: None });
            if found.identity.as_deref() != Some(identity) || found.issuer.as_deref() != Some(issuer) {
                return Err(Refused::OtherSigner { wanted: (identity.clone(), issuer.clone()), found });
            }
        }
        let times = result.verified_timestamps().iter();
        let times = times.map(|time| UnixSeconds(u64::try_from(time.as_second()).unwrap_or(0)));
        Ok(Verified {
            signer,
            claims: result.certificate().map(|certificate| certificate.ci_claims.clone()).unwrap_or_default(),
            times: times.collect(),
            logged: match bundle.entry().filter(|_| result.tlog_verified()) {
                Some(entry) if entry.inclusion_proof.is_some() => Logged::Proved,
                Some(_) => Logged::Promised,
                None => Logged::No,
            },
            statement: bundle.statement().map(<[u8]>::to_vec),
        })
    }

    fn run(
        &self,
        bundle: &Bundle,
        artifact: Artifact<'_>,
        policy: &dyn sigstore_verify::Policy,
    ) -> Result<VerificationResult, Refused> {
        let result = match artifact {
            Artifact::Bytes(bytes) => self.verifier.verify(bytes, bundle.inner(), policy),
            Artifact::Reader(reader) => self.verifier.verify_reader(reader, bundle.inner(), policy),
            Artifact::Digest(digest) => {
                self.verifier.verify(types::Artifact::from(theirs(&digest)?), bundle.inner(), policy)
            }
        };
        result.map_err(Refused::of)
    }

    /// Whether a log has it or, of an instance without one, a timestamp authority has seen it.
    fn shows_a_time(&self, bundle: &Bundle, result: &VerificationResult) -> Result<(), Refused> {
        if self.has_logs() {
            let entry = bundle.entry().filter(|_| result.tlog_verified());
            let entry = entry.ok_or_else(|| Refused::Log("it has none, and the trusted root has logs".to_owned()))?;
            if !self.knows_log(entry.log_id.key_id.as_bytes()) {
                return Err(Refused::Log(format!("log {} is not in the trusted root", entry.log_id.key_id)));
            }
            says_what_is_proved(entry)?;
        } else if result.verified_timestamps().is_empty() {
            return Err(Refused::Time("it has no timestamp, and the trusted root has no log".to_owned()));
        }
        Ok(())
    }
}

/// Whether an entry and its proof say of their place in the log what the signed checkpoint says.
///
/// Beyond the specification: of entries of Rekor's second version it takes what is signed and overlooks what stands beside
/// it, so that a changed copy would pass, and be told to people as if somebody vouched for it.
fn says_what_is_proved(entry: &types::TransparencyLogEntry) -> Result<(), Refused> {
    let Some(proof) = &entry.inclusion_proof else { return Ok(()) };
    let no = |what: &str| Err(Refused::Log(format!("its {what} is not what its checkpoint proves")));
    let Some(checkpoint) = proof.checkpoint.checkpoint() else { return no("proof") };
    if *checkpoint.root_hash() != proof.root_hash {
        return no("root hash");
    }
    if checkpoint.tree_size() != proof.tree_size {
        return no("tree size");
    }
    // A promise covers the index among all trees of a log, a proof that in its tree. Some clients leave out that of the proof,
    // which then reads as zero.
    if entry.inclusion_promise.is_none() && ![0, entry.log_index.get()].contains(&proof.log_index.get()) {
        return no("index");
    }
    Ok(())
}

fn theirs(digest: &Digest) -> Result<types::ArtifactDigest, Refused> {
    let algorithm = match digest.algorithm() {
        HashAlgorithm::Sha1 => return Err(Refused::Unsupported("a SHA-1 digest names no artifact".to_owned())),
        HashAlgorithm::Sha256 => types::HashAlgorithm::Sha2256,
        HashAlgorithm::Sha384 => types::HashAlgorithm::Sha2384,
        HashAlgorithm::Sha512 => types::HashAlgorithm::Sha2512,
    };
    let of_their_size = types::ArtifactDigest::new(algorithm, digest.as_bytes().to_vec());
    of_their_size.map_err(|error| Refused::Unsupported(error.to_string()))
}
