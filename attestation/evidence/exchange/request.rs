//! What an exchange asks for: the part of `bound` that is JSON.

use crate::bytes::{Malformed, Problem, json_offset};
use crate::digest::{Sha256Digest, base64, hex};
use crate::exchange::{Audience, Origin};
use crate::name::{DirectoryName, JobSessionId, KeyName, SecretName, Stage, StepName};
use crate::tpm::{NONCE, PcrState};
use serde::{Deserialize, Serialize};

/// Everything that the broker is told and the quote covers, beside the challenge.
///
/// Strict: unknown and repeated members, other types and trailing bytes are refused (row B02).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What the agent says of the walls around it. The broker knows better: it compares.
    pub isolation: Isolation,
    /// The job session, if the runner has redeemed a CI token.
    pub session: Option<JobSessionId>,
    /// Which step.
    pub step: StepIdentity,
    /// SHA-256 of the component that will run.
    pub component: Sha256Digest,
    /// SHA-256 of its manifest.
    pub manifest: Sha256Digest,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The directories it will get.
    pub directories: Vec<BoundDirectory>,
    /// SHA-256 of the measurement bundle, if there is one.
    pub measurement: Option<Sha256Digest>,
    /// X25519 public key to which the secrets are to be sealed (RFC 9180 §7.1).
    #[serde(with = "hex")]
    pub hpke_public_key: [u8; 32],
    /// The secrets it declares.
    pub secrets: Vec<SecretRequest>,
    /// The tokens it declares. Agents of before there were any send none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenRequest>,
    /// The keys it declares.
    pub keys: Vec<KeyRequest>,
    /// Where it will send requests.
    pub http: Vec<OriginRequest>,
}

/// Which step of which stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepIdentity {
    /// The name in its manifest. A claim: the digests are what counts.
    pub name: StepName,
    /// The stage whose secrets and keys it asks for.
    pub stage: Stage,
}

/// How the agent is separated from the jobs it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A process of its own user that alone may open the TPM.
    Agent,
    /// None: one process tree, one user.
    Direct,
}

impl Isolation {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Direct => "direct",
        }
    }
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

impl std::str::FromStr for Isolation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "agent" => Ok(Self::Agent),
            "direct" => Ok(Self::Direct),
            _ => Err("isolation is `agent` or `direct`"),
        }
    }
}

/// A directory that a step will get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundDirectory {
    /// Its name in the manifest.
    pub name: DirectoryName,
    /// What the step may do in it.
    pub mode: DirectoryMode,
    /// Why, in the words of the manifest.
    pub why: String,
}

/// What a step may do in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectoryMode {
    /// Read what is in it.
    Read,
    /// Read, create, change and remove.
    Write,
}

/// Where a step will send requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginRequest {
    /// To whom.
    pub origin: Origin,
    /// Whether it may lie in a private network.
    pub private: bool,
    /// Why, in the words of the manifest.
    pub why: String,
}

/// A secret that a step declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// Which, within the stage of the step.
    pub name: SecretName,
    /// How it will be used.
    #[serde(rename = "use")]
    pub usage: SecretUse,
    /// Why, in the words of the manifest.
    pub why: String,
}

/// How a secret may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretUse {
    /// The host puts it into requests to its destinations; the step never sees it.
    Http,
    /// The step sees the bytes, once.
    Reveal,
    /// The step finds the bytes in its environment: for programs that can't be changed. As good as `reveal`.
    Env,
}

impl SecretUse {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Reveal => "reveal",
            Self::Env => "env",
        }
    }

    /// Whether the step comes to see the bytes.
    pub const fn is_seen(self) -> bool {
        match self {
            Self::Http => false,
            Self::Reveal | Self::Env => true,
        }
    }
}

/// A token that a step declares: minted for its lease, and put into requests like a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Which, within the stage of the step. No secret of the same request has the name: to the step the two are alike.
    pub name: SecretName,
    /// Whom it shall be for. The broker holds it against what an admin has registered under the name.
    pub audience: Audience,
    /// Why, in the words of the manifest.
    pub why: String,
}

/// A key that a step declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Which, within the stage of the step.
    pub name: KeyName,
    /// How it will be used.
    #[serde(rename = "use")]
    pub usage: KeyUse,
    /// The formats it will sign in; none if it will not sign.
    pub formats: Vec<KeyFormat>,
    /// SHA-256 of its public key (DER `SubjectPublicKeyInfo`), so that the grant is for this key alone. For a key that
    /// others are derived from, which has none: of the name of the key in the TPM.
    pub public_key: Sha256Digest,
    /// For a key that the TPM uses only by a broker's signature: what this takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeasedKey>,
    /// Why, in the words of the manifest.
    pub why: String,
}

/// A key that obeys its lease: what it is, its attestation key's word for that, and the session that the broker shall open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasedKey {
    /// `TPMT_PUBLIC`.
    #[serde(with = "base64")]
    pub public: Vec<u8>,
    /// What tells it from other keys of its name: see [`KeyPolicy::reference`](crate::tpm::KeyPolicy::reference).
    #[serde(with = "hex")]
    pub id: [u8; 16],
    /// The boot state that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_state: Option<PcrState>,
    /// `TPMS_ATTEST` of `TPM2_Certify`, with [`key_certification_data`] as its qualifying data.
    #[serde(with = "base64")]
    pub certification: Vec<u8>,
    /// `TPMT_SIGNATURE` of the attestation key over it.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
    /// nonceTPM of the policy session that waits.
    #[serde(with = "hex")]
    pub nonce: [u8; NONCE],
}

/// What an attestation key signs beside the Name of a key that it certifies: what the key is called. Nothing fresh, for a
/// certification says what is so for as long as both keys live.
pub fn key_certification_data(stage: Stage, name: &KeyName) -> Sha256Digest {
    Sha256Digest::of(format!("attest-run/key-certification/v1\n{stage}\n{name}").as_bytes())
}

/// How a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// To sign what the host hashes and frames.
    Sign,
    /// To derive symmetric keys from.
    Derive,
}

impl KeyUse {
    /// As text: also the name of policy's action.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Derive => "derive",
        }
    }
}

/// What a signature looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyFormat {
    /// The bare signature over the message: DER ECDSA-Sig-Value with SHA-256 (RFC 3279 §2.2.3), or the 64
    /// bytes of Ed25519 (RFC 8032). `openssl` verifies it with the PEM public key.
    Raw,
    /// The file of minisign (`FILE.minisig`), hashed, by Ed25519 alone. `minisign -V` verifies it.
    Minisign,
    /// An SSH signature (`PROTOCOL.sshsig`), armored, in the namespace `file`. `ssh-keygen -Y verify` verifies it.
    Ssh,
    /// A Sigstore bundle, version 0.3, of the message's signature by a known key, with the broker's timestamp. By P-256 alone.
    Sigstore,
}

impl KeyFormat {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Minisign, Self::Ssh, Self::Sigstore];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minisign => "minisign",
            Self::Ssh => "ssh",
            Self::Sigstore => "sigstore",
        }
    }
}

impl std::str::FromStr for KeyFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or("a format is `raw`, `minisign`, `ssh` or `sigstore`")
    }
}

impl Request {
    /// Reads one whole request.
    ///
    /// # Errors
    /// Refuses what is not exactly this structure; the offset is that of the line and column serde names.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(bytes).map_err(|error| Malformed {
            structure: "request",
            offset: json_offset(bytes, &error),
            problem: Problem::Text(match error.classify() {
                serde_json::error::Category::Syntax => "not JSON, or a value of another type",
                serde_json::error::Category::Eof => "JSON that ends too early",
                _ if error.to_string().starts_with("duplicate field") => "a member that stands there twice",
                _ if error.to_string().starts_with("unknown field") => "a member that is not known",
                _ => "a member that is missing or of another type",
            }),
        })
    }

    /// The bytes that are hashed and sent.
    #[expect(clippy::expect_used, reason = "plain structures with text keys always serialize")]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain structures with text keys always serialize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            isolation: Isolation::Agent,
            session: None,
            step: StepIdentity { name: "hello".parse().unwrap(), stage: Stage::Dev },
            component: Sha256Digest::of(b"component"),
            manifest: Sha256Digest::of(b"manifest"),
            arguments: vec!["v1".into()],
            directories: vec![BoundDirectory {
                name: "dist".parse().unwrap(),
                mode: DirectoryMode::Write,
                why: "writes".to_owned(),
            }],
            measurement: None,
            hpke_public_key: [7; 32],
            secrets: vec![SecretRequest { name: "a/b".parse().unwrap(), usage: SecretUse::Reveal, why: "w".into() }],
            tokens: vec![],
            keys: vec![],
            http: vec![],
        }
    }

    fn refusal(text: &str) -> Problem {
        Request::parse(text.as_bytes()).unwrap_err().problem
    }

    #[test]
    fn bytes_that_could_be_read_in_two_ways_are_refused() {
        let text = String::from_utf8(request().to_bytes()).unwrap();
        assert_eq!(Request::parse(text.as_bytes()), Ok(request()));
        assert_eq!(
            refusal(&text.replacen("\"isolation\":\"agent\"", "\"isolation\":\"agent\",\"isolation\":\"direct\"", 1)),
            Problem::Text("a member that stands there twice")
        );
        assert_eq!(
            refusal(&text.replacen("\"use\":\"reveal\"", "\"use\":\"reveal\",\"use\":\"http\"", 1)),
            Problem::Text("a member that stands there twice")
        );
        let tokens = format!("{{\"tokens\":[],{}", &text[1..]);
        assert_eq!(Request::parse(tokens.as_bytes()), Ok(request()));
        assert_eq!(
            refusal(&tokens.replacen('{', "{\"tokens\":[],", 1)),
            Problem::Text("a member that stands there twice")
        );
        assert_eq!(refusal(&text.replacen('{', "{\"admin\":true,", 1)), Problem::Text("a member that is not known"));
        assert_eq!(
            refusal(&text.replacen("\"stage\":\"dev\"", "\"stage\":1", 1)),
            Problem::Text("not JSON, or a value of another type")
        );
        assert_eq!(refusal(&format!("{text} {{}}")), Problem::Text("not JSON, or a value of another type"));
        assert_eq!(refusal(&text[..text.len() - 1]), Problem::Text("JSON that ends too early"));
    }
}
