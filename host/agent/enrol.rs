//! Enrolment: an attestation key is made, and a broker gets to know it.

use crate::agent::{Agent, AgentError};
use crate::broker::{BrokerClient, BrokerError, BrokerUrl, secret_of};
use crate::state::Enrolment;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    ActivationRequest, Endorsement, EnrolmentChallenge, EnrolmentOutcome, EnrolmentRequest, EnrolmentToken,
    RunnerState, enrolment_qualifying_data,
};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{Credential, PcrSelection, TpmName};
use attest_tpm::{AttestationKey, TpmError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Why an enrolment failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// The runner has a broker already.
    #[error("this runner is enrolled already, as `{runner}` with {broker}")]
    Already {
        /// Its name.
        runner: String,
        /// Its broker.
        broker: String,
    },
    /// The token is none.
    #[error(transparent)]
    Token(#[from] attest_evidence::exchange::TokenError),
    /// The broker's grant key is not the one that the token names.
    #[error("the broker's grant key is not the one that the token names")]
    OtherGrantKey,
    /// The broker's TLS root is not the one that the token names.
    #[error("the broker's TLS root is not the one that the token names")]
    OtherTlsRoot,
}

impl Explain for EnrolError {
    fn report(&self) -> Report {
        match self {
            Self::Already { .. } => Report::new("AR-N201", Fault::Refused, self.to_string())
                .hint("to enrol anew, delete enrolment.json in the state directory first"),
            Self::Token(_) => Report::new("AR-N202", Fault::Usage, self.to_string()),
            Self::OtherGrantKey | Self::OtherTlsRoot => Report::new("AR-N203", Fault::Identity, self.to_string())
                .hint("nothing was enrolled. Is the token from this broker's admin?"),
        }
    }
}

impl Agent {
    /// Enrols with the broker at `url`, known by the pins in `token`.
    ///
    /// # Errors
    /// See [`AgentError`]; the attestation key made for it is removed again.
    pub async fn enrol(&self, url: &str, token: &str) -> Result<(EnrolmentOutcome, String), AgentError> {
        if let Some(enrolment) = self.state().enrolment()? {
            let (runner, broker) = (enrolment.runner.to_string(), enrolment.broker_url);
            return Err(EnrolError::Already { runner, broker }.into());
        }
        let token = EnrolmentToken::parse(token).map_err(EnrolError::Token)?;
        let location: BrokerUrl = self.resolve(url).await?;
        let client = BrokerClient::at_first_contact(location, token.pins)?;
        // An EK certificate first: the key made under it has an authorization value of its own. Then a certificate for
        // an attestation key, as clouds have. Then whatever an admin of the broker makes of the bare EK.
        let (key, endorsement) = self
            .tpm()
            .run(|device| {
                let endorsed = device.endorsement()?;
                if endorsed.certificate.is_none()
                    && let Some((key, certificate)) = device.certified_attestation_key()?
                {
                    return Ok((key, Endorsement::AkCertificate { certificate }));
                }
                let key = device.create_attestation_key()?;
                let found = TpmName::of(&endorsed.public);
                if found != key.credentials.ek {
                    // The broker checks this EK; it has to be the one that the key was made under.
                    device.remove_attestation_key(&key.credentials)?;
                    return Err(TpmError::OtherEndorsementKey { wanted: key.credentials.ek, found });
                }
                let ek = endorsed.public;
                Ok((
                    key,
                    match endorsed.certificate {
                        Some(certificate) => Endorsement::EkCertificate { certificate, ek },
                        None => Endorsement::EkPublic { ek },
                    },
                ))
            })
            .await?;
        let remembered = key.credentials.duplicate();
        let enrolled = match self.enrol_key(&client, &token, &key, endorsement).await {
            Ok(outcome) => {
                let enrolment = Enrolment {
                    runner: outcome.runner.clone(),
                    isolation: self.isolation(),
                    broker_url: url.to_owned(),
                    broker: outcome.broker.clone(),
                    tls_root: outcome.tls_root.clone(),
                    grant_key: outcome.grant_key.clone(),
                    ak: key.public.clone(),
                    ak_certificate: outcome.ak_certificate.clone(),
                    credentials: key.credentials,
                };
                self.state().set_enrolment(&enrolment).map(|()| (outcome, enrolment)).map_err(AgentError::State)
            }
            Err(error) => Err(error),
        };
        let (outcome, enrolment) = match enrolled {
            Ok(enrolled) => enrolled,
            Err(error) => {
                if let Err(error) = self.tpm().run(move |device| device.remove_attestation_key(&remembered)).await {
                    tracing::warn!(%error, "the attestation key of a failed enrolment stays in the TPM");
                }
                return Err(error);
            }
        };
        self.take_enrolment(enrolment).await?;
        Ok((outcome, client.url().to_string()))
    }

    async fn enrol_key(
        &self,
        client: &BrokerClient,
        token: &EnrolmentToken,
        key: &AttestationKey,
        endorsement: Endorsement,
    ) -> Result<EnrolmentOutcome, AgentError> {
        let request = EnrolmentRequest {
            token: token.id,
            secret: secret_of(&token.secret),
            isolation: self.isolation(),
            endorsement,
            ak: key.public.clone(),
        };
        let challenge = client.begin_enrolment(&request).await?;
        let credentials = key.credentials.duplicate();
        let activation = match challenge {
            EnrolmentChallenge::Activate { enrolment, id_object, encrypted_secret } => {
                let credential = Credential { id_object, encrypted_secret };
                let (proof, quote) = self
                    .tpm()
                    .run(move |device| {
                        device.use_attestation_key(&credentials)?;
                        let proof = device.activate(&credential)?;
                        let qualifying_data = enrolment_qualifying_data(&proof.expose(Sha256Digest::of));
                        let quote = device.quote(PcrSelection::from_bits([0; 3]), &qualifying_data)?;
                        Ok((proof, quote))
                    })
                    .await?;
                let (proof, signature) = (secret_of(&proof), quote.signature);
                ActivationRequest { enrolment, proof, signature, quote: quote.message }
            }
            EnrolmentChallenge::Quote { enrolment, qualifying_data } => {
                let qualifying_data = enrolment_qualifying_data(&qualifying_data);
                let quote = self
                    .tpm()
                    .run(move |device| {
                        device.use_attestation_key(&credentials)?;
                        device.quote(PcrSelection::from_bits([0; 3]), &qualifying_data)
                    })
                    .await?;
                ActivationRequest { enrolment, proof: quote.message, signature: quote.signature, quote: Vec::new() }
            }
        };
        let outcome = client.finish_enrolment(&activation).await?;
        if Sha256Digest::of(&outcome.grant_key) != token.pins.grant_key {
            return Err(EnrolError::OtherGrantKey.into());
        }
        let root = CertificateDer::from_pem_slice(outcome.tls_root.as_bytes()).map_err(|_| EnrolError::OtherTlsRoot)?;
        if Sha256Digest::of(&root) != token.pins.tls_root {
            return Err(EnrolError::OtherTlsRoot.into());
        }
        if outcome.state != RunnerState::Approved {
            tracing::warn!(runner = %outcome.runner, "enrolled; an admin of the broker has to approve it");
        }
        Ok(outcome)
    }
}

impl From<EnrolError> for AgentError {
    fn from(error: EnrolError) -> Self {
        Self::Enrol(error)
    }
}

impl From<BrokerError> for AgentError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl From<TpmError> for AgentError {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}
