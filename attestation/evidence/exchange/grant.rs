//! What the broker answers with: a signed grant, the secrets sealed beside it.

use crate::bytes::{Malformed, Reader, put_sized_u32, read_json};
use crate::digest::{Sha256Digest, base64, hex};
use crate::exchange::{Audience, Destination, GrantedOrigin, KeyFormat, KeyUse, SecretUse, StepIdentity};
use crate::name::{AuditId, BrokerId, KeyName, LeaseId, RunnerName, SecretName};
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};

/// Stands before the bytes that the grant key signs.
pub const GRANT_DOMAIN: &[u8] = b"attest-run/grant/v1";
/// Stands before the digest of `bound` in the `info` of the HPKE context (RFC 9180 §5.1).
pub const HPKE_INFO: &[u8] = b"attest-run/secrets/v1";
const GRANT_VERSION: u16 = 1;
/// Most bytes of a grant, sealed secrets included.
const LONGEST_GRANT: u32 = 4 * 1024 * 1024;

/// What a step was granted, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// Digest of the `bound` that was granted. A grant for another request is none.
    pub bound: Sha256Digest,
    /// Who granted.
    pub broker: BrokerId,
    /// Where the decision stands in the audit log.
    pub audit: AuditId,
    /// The rules that permitted it, by their ids, and the version of the policy that has them.
    pub rules: Vec<String>,
    /// See [`GrantBody::rules`].
    pub policy_version: i64,
    /// Where people find the CI job; empty outside of one.
    pub run_url: String,
    /// What the step holds from now on.
    pub lease: LeaseId,
    /// Whom it was granted to.
    pub runner: RunnerName,
    /// The step, as asked.
    pub step: StepIdentity,
    /// By the broker's clock.
    pub issued: UnixSeconds,
    /// By the broker's clock; the lease ends then at the latest.
    pub expires: UnixSeconds,
    /// Seconds between heartbeats. Two missed ones end the lease.
    pub heartbeat_seconds: u32,
    /// Encapsulated key of the HPKE context (RFC 9180 §4.1).
    #[serde(with = "hex")]
    pub encapsulated_key: [u8; 32],
    /// The secrets granted, in the order in which they were sealed.
    pub secrets: Vec<GrantedSecret>,
    /// The tokens granted, in the order in which they were sealed, behind the secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<GrantedToken>,
    /// The keys granted.
    pub keys: Vec<GrantedKey>,
    /// Where the step may send requests.
    pub http: Vec<GrantedOrigin>,
    /// What happens if the step writes what looks like a secret that nobody declared.
    pub undeclared: Undeclared,
}

/// What happens if a step writes what looks like a secret that nobody declared: a private key, a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undeclared {
    /// It is told.
    Report,
    /// The step fails.
    Block,
}

/// One granted secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedSecret {
    /// Which.
    pub name: SecretName,
    /// Which version of it.
    pub version: u64,
    /// How it may be used.
    #[serde(rename = "use")]
    pub usage: SecretUse,
    /// Where it may go, in requests.
    pub destinations: Vec<Destination>,
    /// Its value, sealed.
    pub sealed: SealedSecret,
}

/// One granted token: used in requests, never seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedToken {
    /// Which.
    pub name: SecretName,
    /// Whom it is for.
    pub audience: Audience,
    /// Where it may go, in requests.
    pub destinations: Vec<Destination>,
    /// The token (RFC 7519), sealed: the additional data is [`SealedSecret::token_data`].
    pub sealed: SealedSecret,
}

/// A value sealed in the HPKE context of the grant; the additional data is [`SealedSecret::associated_data`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedSecret(#[serde(with = "base64")] pub Vec<u8>);

impl SealedSecret {
    /// What a sealed value is bound to beside the request: the lease, its name and its version.
    pub fn associated_data(lease: &LeaseId, name: &SecretName, version: u64) -> Vec<u8> {
        format!("{lease}\n{name}\n{version}").into_bytes()
    }

    /// The same for a token: none is taken for a secret, whose version is a number.
    pub fn token_data(lease: &LeaseId, name: &SecretName, audience: &Audience) -> Vec<u8> {
        format!("{lease}\n{name}\ntoken\n{audience}").into_bytes()
    }
}

/// One granted key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedKey {
    /// Which.
    pub name: KeyName,
    /// How it may be used.
    #[serde(rename = "use")]
    pub usage: KeyUse,
    /// SHA-256 of its public key, as asked.
    pub public_key: Sha256Digest,
    /// The formats it may sign in.
    pub formats: Vec<KeyFormat>,
    /// What opens it in the TPM, if it obeys its lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<KeyOpening>,
}

/// The broker's word to a TPM: the key named by the reference may be used in the session of the nonce, and in others by a
/// ticket, until so many seconds after that session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyOpening {
    /// For how long.
    pub seconds: u32,
    /// By the grant key over [`authorization`](crate::tpm::authorization): ECDSA over P-256 with SHA-256, r then s.
    #[serde(with = "hex")]
    pub signature: [u8; 64],
}

/// A grant with its signature, as it travels.
///
/// ```text
/// grant := version:u16 ‖ len:u32 ‖ body ‖ signature:64
/// ```
///
/// The signature is ECDSA over P-256 with SHA-256, r then s, of [`GRANT_DOMAIN`] ‖ body. P-256, because a TPM
/// can check it too (`TPM2_PolicySigned`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedGrant<'a> {
    /// The signed bytes: JSON of a [`GrantBody`].
    pub body: &'a [u8],
    /// r, then s.
    pub signature: [u8; 64],
}

impl<'a> SignedGrant<'a> {
    /// Takes one whole signed grant apart.
    ///
    /// # Errors
    /// Refuses other versions, and bytes missing or left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("grant", bytes);
        reader.expect_u16("version", GRANT_VERSION, "1 is wanted: agent and broker speak different versions")?;
        let body = reader.sized_u32("body", LONGEST_GRANT)?;
        let signature = reader.array()?;
        reader.end()?;
        Ok(Self { body, signature })
    }

    /// The inverse of [`SignedGrant::parse`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = GRANT_VERSION.to_be_bytes().to_vec();
        // A body above 4 GiB can't have been signed: its bytes would not fit the store.
        let _ = put_sized_u32(&mut out, self.body);
        out.extend(self.signature);
        out
    }
}

impl GrantBody {
    /// How a secret of this name may be used. A token is used as a secret for requests.
    pub fn usage(&self, name: &SecretName) -> Option<SecretUse> {
        let secret = self.secrets.iter().find(|secret| secret.name == *name).map(|secret| secret.usage);
        secret.or_else(|| self.tokens.iter().any(|token| token.name == *name).then_some(SecretUse::Http))
    }

    /// Where a secret, or a token, of this name may go.
    pub fn destinations(&self, name: &SecretName) -> &[Destination] {
        let secret = self.secrets.iter().find(|secret| secret.name == *name).map(|secret| &secret.destinations);
        let token = || self.tokens.iter().find(|token| token.name == *name).map(|token| &token.destinations);
        secret.or_else(token).map(Vec::as_slice).unwrap_or_default()
    }

    /// Reads the body. Call it on bytes whose signature has been verified.
    ///
    /// # Errors
    /// Refuses what is not exactly this structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        read_json("grant", bytes, "not the JSON of a grant")
    }

    /// The bytes to sign.
    #[expect(clippy::expect_used, reason = "plain structures with text keys always serialize")]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain structures with text keys always serialize")
    }
}
