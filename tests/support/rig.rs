//! An agent taken apart: a real TPM and a real connection, and everything between them in the test's hands.

use super::{Broker, Directory, embedded};
use attest_agent::{BrokerClient, BrokerError};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    ActivationRequest, Challenge, Endorsement, EnrolmentChallenge, EnrolmentOutcome, EnrolmentRequest, EnrolmentToken,
    GrantBody, Isolation, RawEvidence, Request, SessionEnd, SessionOpened, SessionRequest, SignedGrant, StepIdentity,
    enrolment_qualifying_data, qualifying_data, session_end_qualifying_data, session_qualifying_data, write_bound,
    write_exchange, write_session_bound, write_session_end_bound,
};
use attest_evidence::name::{JobSessionId, Stage};
use attest_evidence::tpm::{Credential, PcrSelection};
use attest_tpm::{AttestationKey, Endorsed, QuoteOutput, Tpm, Transport};
use hpke::kem::X25519HkdfSha256;
use hpke::{Kem, Serializable as _};

/// A runner that is enrolled, and can misbehave.
pub(crate) struct Rig {
    pub(crate) tpm: Tpm,
    pub(crate) key: AttestationKey,
    pub(crate) client: BrokerClient,
    pub(crate) outcome: EnrolmentOutcome,
    pub(crate) private: <X25519HkdfSha256 as Kem>::PrivateKey,
    pub(crate) public: [u8; 32],
    _directory: Directory,
}

impl Rig {
    /// A runner with a TPM of its own, enrolled and approved.
    pub(crate) async fn enrolled(broker: &Broker, name: &str) -> Self {
        let directory = super::directory();
        let tpm = Tpm::open(embedded(&directory.path().join("tpm"))).await.unwrap();
        Self::enrol(broker, name, tpm, directory).await.unwrap()
    }

    /// The same with a given TPM.
    pub(crate) async fn with_tpm(broker: &Broker, name: &str, transport: Transport) -> Result<Self, BrokerError> {
        Self::enrol(broker, name, Tpm::open(transport).await.unwrap(), super::directory()).await
    }

    async fn enrol(broker: &Broker, name: &str, tpm: Tpm, directory: Directory) -> Result<Self, BrokerError> {
        Self::enrol_with(broker, broker.token(name, "direct", true), tpm, directory).await
    }

    /// A runner with a TPM of its own, enrolled by this token.
    pub(crate) async fn with_token(broker: &Broker, token: EnrolmentToken) -> Result<Self, BrokerError> {
        let directory = super::directory();
        let tpm = Tpm::open(embedded(&directory.path().join("tpm"))).await.unwrap();
        Self::enrol_with(broker, token, tpm, directory).await
    }

    async fn enrol_with(
        broker: &Broker,
        token: EnrolmentToken,
        tpm: Tpm,
        directory: Directory,
    ) -> Result<Self, BrokerError> {
        let client = BrokerClient::at_first_contact(broker.url().parse().unwrap(), token.pins).unwrap();
        let (key, endorsed) = attesting(&tpm).await;
        let endorsement = match endorsed.certificate {
            Some(certificate) => Endorsement::EkCertificate { certificate, ek: endorsed.public },
            None => Endorsement::EkPublic { ek: endorsed.public },
        };
        let request = EnrolmentRequest {
            token: token.id,
            secret: token.secret.expose(<[u8]>::to_vec),
            isolation: Isolation::Direct,
            endorsement,
            ak: key.public.clone(),
        };
        let challenge = client.begin_enrolment(&request).await?;
        let EnrolmentChallenge::Activate { enrolment, id_object, encrypted_secret } = challenge else {
            panic!("{challenge:?}")
        };
        let credential = Credential { id_object, encrypted_secret };
        let proof = tpm.run(move |device| device.activate(&credential)).await.unwrap();
        let qualifying = enrolment_qualifying_data(&proof.expose(Sha256Digest::of));
        let nothing = PcrSelection::from_bits([0; 3]);
        let quote = tpm.run(move |device| device.quote(nothing, &qualifying)).await.unwrap();
        let (proof, signature) = (proof.expose(<[u8]>::to_vec), quote.signature);
        let activation = ActivationRequest { enrolment, proof, signature, quote: quote.message };
        let outcome = client.finish_enrolment(&activation).await?;
        let client = BrokerClient::new(broker.url().parse().unwrap(), &outcome.tls_root).unwrap();
        let (private, public) = X25519HkdfSha256::gen_keypair();
        Ok(Self { tpm, key, client, outcome, private, public: public.to_bytes().into(), _directory: directory })
    }

    /// A request for nothing but a lease.
    pub(crate) fn request(&self) -> Request {
        Request {
            isolation: Isolation::Direct,
            session: None,
            step: StepIdentity { name: "hello".parse().unwrap(), stage: Stage::Dev },
            component: Sha256Digest::of(b"component"),
            manifest: Sha256Digest::of(b"manifest"),
            arguments: vec!["v1.0.0".to_owned()],
            directories: Vec::new(),
            measurement: None,
            hpke_public_key: self.public,
            secrets: Vec::new(),
            tokens: Vec::new(),
            keys: Vec::new(),
            http: Vec::new(),
        }
    }

    pub(crate) async fn challenge(&self) -> Challenge {
        self.client.challenge(&self.key.credentials.name).await.unwrap()
    }

    /// A quote for these bytes of `bound`, over what the challenge selects.
    pub(crate) async fn quote(&self, challenge: &Challenge, bound: &[u8]) -> QuoteOutput {
        let qualifying = qualifying_data(&Sha256Digest::of(bound));
        let selection = challenge.selection;
        self.tpm.run(move |device| device.quote(selection, &qualifying)).await.unwrap()
    }

    /// The bytes of a good exchange for `request`.
    pub(crate) async fn exchange(&self, request: &Request) -> Vec<u8> {
        let challenge = self.challenge().await;
        let bound = write_bound(&challenge, request).unwrap();
        let quote = self.quote(&challenge, &bound).await;
        assemble(&bound, &quote)
    }

    /// The bytes of a good redemption of `token`.
    pub(crate) async fn redemption(&self, token: &str) -> Vec<u8> {
        let challenge = self.challenge().await;
        let request = SessionRequest { isolation: Isolation::Direct, held: None, token: token.to_owned() };
        let bound = write_session_bound(&challenge, &request).unwrap();
        let qualifying = session_qualifying_data(&Sha256Digest::of(&bound));
        let selection = challenge.selection;
        let quote = self.tpm.run(move |device| device.quote(selection, &qualifying)).await.unwrap();
        assemble(&bound, &quote)
    }

    /// The bytes of a good end of a session.
    pub(crate) async fn session_end(&self, session: &JobSessionId) -> Vec<u8> {
        let challenge = self.challenge().await;
        let end = SessionEnd { isolation: Isolation::Direct, session: session.clone() };
        let bound = write_session_end_bound(&challenge, &end).unwrap();
        let qualifying = session_end_qualifying_data(&Sha256Digest::of(&bound));
        let selection = challenge.selection;
        let quote = self.tpm.run(move |device| device.quote(selection, &qualifying)).await.unwrap();
        assemble(&bound, &quote)
    }

    /// Redeems a CI token.
    pub(crate) async fn redeem(&self, token: &str) -> Result<SessionOpened, BrokerError> {
        self.client.redeem(self.redemption(token).await).await
    }

    /// Sends bytes as an exchange.
    pub(crate) async fn send(&self, exchange: Vec<u8>) -> Result<GrantBody, BrokerError> {
        let answer = self.client.exchange(exchange).await?;
        Ok(GrantBody::parse(SignedGrant::parse(&answer).unwrap().body).unwrap())
    }
}

/// Makes an attestation key in a TPM, ready to quote.
pub(crate) async fn attesting(tpm: &Tpm) -> (AttestationKey, Endorsed) {
    let key = tpm.run(|device| device.create_attestation_key()).await.unwrap();
    let credentials = key.credentials.duplicate();
    let endorsed = tpm
        .run(move |device| {
            device.use_attestation_key(&credentials)?;
            device.endorsement()
        })
        .await
        .unwrap();
    (key, endorsed)
}

/// An exchange out of its parts.
pub(crate) fn assemble(bound: &[u8], quote: &QuoteOutput) -> Vec<u8> {
    let pcrs = quote.pcrs.to_bytes();
    let evidence = RawEvidence { quote: &quote.message, signature: &quote.signature, pcrs: &pcrs, logs: Vec::new() };
    write_exchange(bound, &evidence).unwrap()
}

/// The code with which the broker refused.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, BrokerError>) -> String {
    match result {
        Err(BrokerError::Refused(report, _)) => report.code.to_string(),
        other => panic!("wanted a refusal, got {other:?}"),
    }
}
