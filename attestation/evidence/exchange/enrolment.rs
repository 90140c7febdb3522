//! Enrolment: how a broker gets to know a runner, and the runner its broker.

use crate::bytes::Reader;
use crate::digest::{Sha256Digest, base64};
use crate::exchange::Isolation;
use crate::name::{BrokerId, EnrolmentId, RunnerName};
use crate::secret::SecretBytes;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

/// The digests of a broker's keys. Whoever has them from a trusted place knows the broker at first contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// SHA-256 of the DER certificate of the broker's TLS root.
    pub tls_root: Sha256Digest,
    /// SHA-256 of the DER `SubjectPublicKeyInfo` of its grant-signing key.
    pub grant_key: Sha256Digest,
}

/// A one-time token by which an admin lets one runner enrol.
///
/// As text: `aet1_` and base64url of id ‖ secret ‖ both pins. It authenticates both sides: the runner to the
/// broker by the secret, the broker to the runner by the pins.
#[derive(Debug, PartialEq)]
pub struct EnrolmentToken {
    /// Which token; the broker's key to what the admin decided when making it.
    pub id: [u8; 16],
    /// Proves that it is the token and not just its id.
    pub secret: SecretBytes,
    /// Whom the runner may take for the broker.
    pub pins: Pins,
}

const TOKEN_PREFIX: &str = "aet1_";

/// Text that is no enrolment token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enrolment token (`aet1_…`, 155 characters): was it copied whole?")]
pub struct TokenError;

impl EnrolmentToken {
    /// The text to hand to the runner's admin.
    pub fn to_text(&self) -> SecretBytes {
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(112));
        bytes.extend(self.id);
        self.secret.expose(|secret| bytes.extend(secret));
        bytes.extend(self.pins.tls_root.as_bytes());
        bytes.extend(self.pins.grant_key.as_bytes());
        let mut text = TOKEN_PREFIX.to_owned();
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        SecretBytes::new(text.into_bytes())
    }

    /// Reads a token's text.
    ///
    /// # Errors
    /// Refuses everything that is not exactly a token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(TOKEN_PREFIX).ok_or(TokenError)?;
        let bytes = zeroize::Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TokenError)?);
        let mut reader = Reader::new("enrolment token", &bytes);
        let mut read = || {
            let id = reader.array()?;
            let secret = SecretBytes::new(reader.take(32)?.to_vec());
            let tls_root = Sha256Digest::from_bytes(reader.array()?);
            let grant_key = Sha256Digest::from_bytes(reader.array()?);
            reader.clone().end()?;
            Ok(Self { id, secret, pins: Pins { tls_root, grant_key } })
        };
        read().map_err(|_: crate::Malformed| TokenError)
    }
}

/// The body of `POST /v1/enrolment`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// The id of the token.
    #[serde(with = "crate::digest::hex")]
    pub token: [u8; 16],
    /// The token's secret, base64. It travels inside TLS to the pinned broker.
    #[serde(with = "base64")]
    pub secret: Vec<u8>,
    /// What the agent says of the walls around it. The token says what was approved.
    pub isolation: Isolation,
    /// Why the TPM should be believed.
    pub endorsement: Endorsement,
    /// `TPMT_PUBLIC` of the attestation key.
    #[serde(with = "base64")]
    pub ak: Vec<u8>,
}

/// Why a TPM should be believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Endorsement {
    /// An endorsement key with its maker's certificate.
    EkCertificate {
        /// X.509, DER, as it lies in the TPM.
        #[serde(with = "base64")]
        certificate: Vec<u8>,
        /// `TPMT_PUBLIC` of the same key.
        #[serde(with = "base64")]
        ek: Vec<u8>,
    },
    /// An endorsement key without a certificate, which an admin has to approve.
    EkPublic {
        /// `TPMT_PUBLIC`.
        #[serde(with = "base64")]
        ek: Vec<u8>,
    },
    /// An attestation key with a certificate of its cloud.
    AkCertificate {
        /// X.509, DER, as it lies in the vTPM.
        #[serde(with = "base64")]
        certificate: Vec<u8>,
    },
}

/// The answer to it: what the TPM has to prove.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EnrolmentChallenge {
    /// Activate this credential.
    #[serde(rename = "activate")]
    Activate {
        /// To be named in the answer.
        enrolment: EnrolmentId,
        /// Contents of `TPM2B_ID_OBJECT`.
        #[serde(with = "base64")]
        id_object: Vec<u8>,
        /// Contents of `TPM2B_ENCRYPTED_SECRET`.
        #[serde(with = "base64")]
        encrypted_secret: Vec<u8>,
    },
    /// Quote with this qualifying data, over no PCR in particular: shows possession of a certified AK.
    #[serde(rename = "quote")]
    Quote {
        /// To be named in the answer.
        enrolment: EnrolmentId,
        /// 32 bytes of qualifying data.
        qualifying_data: Sha256Digest,
    },
}

/// The body of `POST /v1/enrolment/activation`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationRequest {
    /// Which enrolment.
    pub enrolment: EnrolmentId,
    /// The activated secret, or `TPMS_ATTEST` of the quote.
    #[serde(with = "base64")]
    pub proof: Vec<u8>,
    /// `TPMT_SIGNATURE` of the quote; empty where there is none.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
    /// After an activation: `TPMS_ATTEST` of a quote by the new key, over no PCR, with the activated secret's digest as
    /// qualifying data. It tells where the TPM's clock and counts are. Empty where there is none.
    #[serde(default, with = "base64")]
    pub quote: Vec<u8>,
}

/// What the runner has after an enrolment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentOutcome {
    /// The name that the admin gave it.
    pub runner: RunnerName,
    /// Whether it may already ask for something.
    pub state: RunnerState,
    /// What the broker takes its TPM for.
    pub class: String,
    /// The isolation that was approved.
    pub isolation: Isolation,
    /// The broker's certificate for the AK, PEM.
    pub ak_certificate: String,
    /// The broker.
    pub broker: BrokerId,
    /// The broker's TLS root, PEM. The runner compares it with its pin.
    pub tls_root: String,
    /// The broker's grant key, DER `SubjectPublicKeyInfo`. The runner compares it with its pin.
    #[serde(with = "base64")]
    pub grant_key: Vec<u8>,
}

/// Whether a runner may ask for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunnerState {
    /// An admin has to approve it first.
    Pending,
    /// It may.
    Approved,
    /// It may not, until an admin approves it again.
    Suspended,
    /// It may not, ever. Its name can be given to another.
    Retired,
}

impl RunnerState {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }
}

impl std::str::FromStr for RunnerState {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Pending, Self::Approved, Self::Suspended, Self::Retired]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or("not the state of a runner")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_text_and_nothing_else_does() {
        let pins = Pins { tls_root: Sha256Digest::of(b"root"), grant_key: Sha256Digest::of(b"grant") };
        let token = EnrolmentToken { id: [1; 16], secret: SecretBytes::new(vec![2; 32]), pins };
        let text = token.to_text().expose(|text| String::from_utf8(text.to_vec()).unwrap());
        assert_eq!(text.len(), 155);
        assert_eq!(EnrolmentToken::parse(&text), Ok(token));
        assert_eq!(EnrolmentToken::parse(&text[..154]), Err(TokenError));
        assert_eq!(EnrolmentToken::parse(&format!("{text}A")), Err(TokenError));
        assert_eq!(EnrolmentToken::parse("aet1_"), Err(TokenError));
    }
}
