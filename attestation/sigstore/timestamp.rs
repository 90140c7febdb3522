//! Timestamps (RFC 3161): asking for one, and holding the answer against what was asked.

use attest_evidence::{Sha256Digest, UnixSeconds};
use cms::cert::x509::spki::AlgorithmIdentifier;
use cms::signed_data::SignedData;
use der::asn1::{Int, ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _};
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion, TstInfo};

/// RFC 5754 §2.2.
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// Most bytes of an answer: one with certificates has some thousand.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How far an authority's clock may be from ours. A signature's time is compared with certificates' that are good for years.
const MOST_SKEW_SECONDS: u64 = 300;

/// A question for a timestamp over a signature.
#[derive(Debug)]
pub struct TimestampQuery {
    der: Vec<u8>,
    digest: Sha256Digest,
    nonce: Int,
}

/// A timestamp for the very signature that was asked about: `TimeStampResp`, as bundles hold it.
///
/// Whose it is shows by its own signature, which whoever verifies the bundle checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp(Vec<u8>);

/// Why an answer is no timestamp for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampRefused {
    /// The question could not be made.
    #[error("the question can't be made: {0}")]
    Question(String),
    /// The authority says no.
    #[error("the timestamp authority refuses, with status {0}")]
    Rejected(String),
    /// Not of an answer's form. A time with fractions of a second is none that verifiers of bundles take.
    #[error("its answer can't be read: {0}")]
    Malformed(String),
    /// It is about something else.
    #[error("its answer is for another {0}")]
    Other(&'static str),
    /// It says another time than it is.
    #[error("it says that it is {found}, and it is {now} here (seconds since 1970)")]
    Time {
        /// By the authority's clock.
        found: UnixSeconds,
        /// By ours.
        now: UnixSeconds,
    },
}

impl TimestampQuery {
    /// A question about a signature, with a nonce of its own, that wants the authority's certificates along.
    ///
    /// # Errors
    /// [`TimestampRefused::Question`]: the operating system gave no randomness.
    pub fn about(signature: &[u8]) -> Result<Self, TimestampRefused> {
        let failed = |error: der::Error| TimestampRefused::Question(error.to_string());
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| TimestampRefused::Question(error.to_string()))?;
        // Positive, and always as long.
        if let Some(first) = nonce.first_mut() {
            *first = (*first & 0x3f) | 0x40;
        }
        let digest = Sha256Digest::of(signature);
        let nonce = Int::new(&nonce).map_err(failed)?;
        let query = TimeStampReq {
            version: TspVersion::V1,
            message_imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifier { oid: SHA_256, parameters: None },
                hashed_message: OctetString::new(digest.as_bytes().as_slice()).map_err(failed)?,
            },
            req_policy: None,
            nonce: Some(nonce.clone()),
            cert_req: true,
            extensions: None,
        };
        Ok(Self { der: query.to_der().map_err(failed)?, digest, nonce })
    }

    /// `TimeStampReq`, DER.
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// Holds an answer against the question, at `now`.
    ///
    /// # Errors
    /// See [`TimestampRefused`].
    pub fn answer(&self, answer: &[u8], now: UnixSeconds) -> Result<Timestamp, TimestampRefused> {
        let malformed = |error: der::Error| TimestampRefused::Malformed(error.to_string());
        if answer.len() > LONGEST_ANSWER {
            return Err(TimestampRefused::Malformed(format!("it has {} bytes", answer.len())));
        }
        let response = TimeStampResp::from_der(answer).map_err(malformed)?;
        let Some(token) = response.time_stamp_token else {
            return Err(TimestampRefused::Rejected(format!("{:?}", response.status.status)));
        };
        let signed: SignedData = token.content.decode_as().map_err(malformed)?;
        let content = signed.encap_content_info.econtent.ok_or(TimestampRefused::Other("content"))?;
        let content: OctetString = content.decode_as().map_err(malformed)?;
        let info = TstInfo::from_der(content.as_bytes()).map_err(malformed)?;
        let imprint = info.message_imprint;
        if imprint.hash_algorithm.oid != SHA_256 || imprint.hashed_message.as_bytes() != self.digest.as_bytes() {
            return Err(TimestampRefused::Other("signature"));
        }
        if info.nonce.as_ref() != Some(&self.nonce) {
            return Err(TimestampRefused::Other("question"));
        }
        let found = UnixSeconds(info.gen_time.to_unix_duration().as_secs());
        if found.0.abs_diff(now.0) > MOST_SKEW_SECONDS {
            return Err(TimestampRefused::Time { found, now });
        }
        Ok(Timestamp(answer.to_vec()))
    }
}

impl Timestamp {
    /// `TimeStampResp`, DER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
