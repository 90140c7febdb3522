//! The agent's side of an exchange: challenge, quote, request; and a grant that is believed only if it is the
//! pinned broker's, for this very request.

use crate::agent::{Agent, AgentError};
use crate::broker::BrokerError;
use crate::measured::Unsent;
use attest_evidence::exchange::{
    GRANT_DOMAIN, GrantBody, GrantedSecret, GrantedToken, HPKE_INFO, LEASE_EXPORT, LeaseClose, RawEvidence, Request,
    SealedSecret, SignedGrant, lease_end_qualifying_data, qualifying_data, write_bound, write_exchange,
    write_lease_close_bound,
};
use attest_evidence::name::SecretName;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::{Malformed, SecretBytes, Sha256Digest};
use attest_tpm::QuoteOutput;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, Serializable as _, setup_receiver};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use std::time::{Duration, Instant};

/// The broker does not have the event log that it was sent the digest of.
const LOG_NOT_THERE: &str = "AR-X107";
/// The broker knows less of what the kernel measured than was thought.
const NOT_JOINED: &str = "AR-X108";

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// A fresh key, to which one grant's secrets are sealed.
pub(crate) struct Recipient {
    private: PrivateKey,
    public: [u8; 32],
}

impl Recipient {
    pub(crate) fn generate() -> Self {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        Self { private, public: public.to_bytes().into() }
    }

    pub(crate) const fn public(&self) -> [u8; 32] {
        self.public
    }
}

/// A grant whose signature, broker and request have been checked, with its secrets opened.
pub(crate) struct VerifiedGrant {
    pub(crate) body: GrantBody,
    /// Secrets, then tokens: from here on they are alike.
    pub(crate) secrets: Vec<(SecretName, SecretBytes)>,
    pub(crate) lease_key: SecretBytes,
}

/// Why a grant is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefused {
    /// Not of a grant's form.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Signed by another key than the pinned one.
    #[error("the grant is not signed by the broker that this runner enrolled with")]
    Signature,
    /// For another request: a replay.
    #[error("the grant is for another request")]
    OtherRequest {
        /// The digest of ours.
        wanted: Sha256Digest,
        /// The digest in the grant.
        found: Sha256Digest,
    },
    /// From another broker than the challenge.
    #[error("the grant is another broker's")]
    OtherBroker,
    /// Its secrets don't open.
    #[error("the grant's secrets don't open with the key of this request")]
    Sealed,
    /// It grants less, or other things, than were asked for.
    #[error("the grant is not for what was asked")]
    OtherHandles,
}

/// Times of the parts of an exchange.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExchangeTimes {
    pub(crate) challenge: Duration,
    pub(crate) quote: Duration,
    pub(crate) exchange: Duration,
    pub(crate) verify: Duration,
}

impl Agent {
    /// Asks the broker for what `request` says.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        recipient: &Recipient,
    ) -> Result<(VerifiedGrant, ExchangeTimes), AgentError> {
        let mut result = self.exchange_once(request, recipient).await;
        for _ in 0..2 {
            // The broker has lost what it had, or is another.
            match &result {
                Err(AgentError::Broker(BrokerError::Refused(report, _))) if self.forgets(report) => {}
                _ => break,
            }
            result = self.exchange_once(request, recipient).await;
        }
        result
    }

    /// Whether the broker asks for something that it was thought to have. From now on it is sent.
    fn forgets(&self, refused: &Report) -> bool {
        match refused.code.as_str() {
            LOG_NOT_THERE => self.boot().set_known(false),
            NOT_JOINED => self.measured().forget(),
            _ => return false,
        }
        true
    }

    /// What goes along with a quote: what was booted, and what the kernel has measured.
    async fn logs(&self, quote: &QuoteOutput) -> (Vec<(u16, Vec<u8>)>, Option<Unsent>) {
        let mut logs = self.boot().to_send();
        let mut unsent = self.measured().unsent(&quote.pcrs).await;
        logs.extend(unsent.as_mut().map(|unsent| std::mem::take(&mut unsent.log)));
        (logs, unsent)
    }

    /// The broker has taken the logs that came with a quote.
    fn told(&self, unsent: Option<&Unsent>) {
        self.boot().set_known(true);
        if let Some(unsent) = unsent {
            self.measured().has_been_told(unsent);
        }
    }

    /// Ends a lease by a sealed message, and shows by a quote what the machine is now. The quote vouches for the ledger, too.
    pub(crate) async fn close_lease(&self, release: Vec<u8>, ledger: Option<String>) -> Result<(), AgentError> {
        let mut result = self.close_lease_once(release.clone(), ledger.clone()).await;
        for _ in 0..2 {
            match &result {
                Err(AgentError::Broker(BrokerError::Refused(report, _))) if self.forgets(report) => {}
                _ => break,
            }
            result = self.close_lease_once(release.clone(), ledger.clone()).await;
        }
        result
    }

    async fn close_lease_once(&self, release: Vec<u8>, ledger: Option<String>) -> Result<(), AgentError> {
        let link = self.link().await?;
        let challenge = link.client.challenge(&link.ak_name).await?;
        let close = LeaseClose { isolation: self.isolation(), release, ledger };
        let bound = write_lease_close_bound(&challenge, &close).map_err(GrantRefused::Malformed)?;
        let qualifying = lease_end_qualifying_data(&Sha256Digest::of(&bound));
        let selection = challenge.selection;
        let quote = self.tpm().run(move |device| device.quote(selection, &qualifying)).await?;
        let (logs, unsent) = self.logs(&quote).await;
        link.client.close_lease(assemble(&bound, &quote, &logs)?).await?;
        self.told(unsent.as_ref());
        Ok(())
    }

    async fn exchange_once(
        &self,
        request: &Request,
        recipient: &Recipient,
    ) -> Result<(VerifiedGrant, ExchangeTimes), AgentError> {
        let link = self.link().await?;
        let mut times = ExchangeTimes::default();

        let began = Instant::now();
        let challenge = link.client.challenge(&link.ak_name).await?;
        times.challenge = began.elapsed();

        let began = Instant::now();
        let bound = write_bound(&challenge, request).map_err(GrantRefused::Malformed)?;
        let digest = Sha256Digest::of(&bound);
        let qualifying = qualifying_data(&digest);
        let selection = challenge.selection;
        let quote = self.tpm().run(move |device| device.quote(selection, &qualifying)).await?;
        times.quote = began.elapsed();

        let began = Instant::now();
        let (logs, unsent) = self.logs(&quote).await;
        let answer = link.client.exchange(assemble(&bound, &quote, &logs)?).await?;
        self.told(unsent.as_ref());
        times.exchange = began.elapsed();

        let began = Instant::now();
        let grant = verify(&answer, &digest, &link.grant_key, request, recipient)?;
        if grant.body.broker != link.broker {
            return Err(GrantRefused::OtherBroker.into());
        }
        times.verify = began.elapsed();
        Ok((grant, times))
    }
}

fn assemble(bound: &[u8], quote: &QuoteOutput, logs: &[(u16, Vec<u8>)]) -> Result<Vec<u8>, GrantRefused> {
    let pcrs = quote.pcrs.to_bytes();
    let logs = logs.iter().map(|(kind, bytes)| (*kind, bytes.as_slice())).collect();
    let evidence = RawEvidence { quote: &quote.message, signature: &quote.signature, pcrs: &pcrs, logs };
    Ok(write_exchange(bound, &evidence)?)
}

/// Checks signature first, then that it is for this request, then opens what is sealed.
fn verify(
    bytes: &[u8],
    bound: &Sha256Digest,
    grant_key: &[u8],
    request: &Request,
    recipient: &Recipient,
) -> Result<VerifiedGrant, GrantRefused> {
    let signed = SignedGrant::parse(bytes)?;
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(grant_key).map_err(|_| GrantRefused::Signature)?;
    let signature = p256::ecdsa::Signature::from_slice(&signed.signature).map_err(|_| GrantRefused::Signature)?;
    key.verify(&[GRANT_DOMAIN, signed.body].concat(), &signature).map_err(|_| GrantRefused::Signature)?;
    let body = GrantBody::parse(signed.body)?;
    if body.bound != *bound {
        return Err(GrantRefused::OtherRequest { wanted: *bound, found: body.bound });
    }

    let asked = request.secrets.iter().map(|secret| (&secret.name, secret.usage));
    let granted = body.secrets.iter().map(|secret| (&secret.name, secret.usage));
    let asked_tokens = request.tokens.iter().map(|token| (&token.name, &token.audience));
    let granted_tokens = body.tokens.iter().map(|token| (&token.name, &token.audience));
    let asked_keys =
        request.keys.iter().map(|key| (&key.name, key.usage, key.public_key, &key.formats, key.lease.is_some()));
    let granted_keys =
        body.keys.iter().map(|key| (&key.name, key.usage, key.public_key, &key.formats, key.opening.is_some()));
    let asked_http = request.http.iter().map(|http| (&http.origin, http.private));
    let granted_http = body.http.iter().map(|http| (&http.origin, http.private));
    let same_secrets = asked.eq(granted) && asked_tokens.eq(granted_tokens);
    if !same_secrets || !asked_keys.eq(granted_keys) || !asked_http.eq(granted_http) {
        return Err(GrantRefused::OtherHandles);
    }

    let encapsulated =
        <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&body.encapsulated_key).map_err(|_| GrantRefused::Sealed)?;
    let info = [HPKE_INFO, bound.as_bytes()].concat();
    let mut context = setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &recipient.private,
        &encapsulated,
        &info,
    )
    .map_err(|_| GrantRefused::Sealed)?;
    let secrets = body.secrets.iter().map(|GrantedSecret { name, version, sealed, .. }| {
        (name, SealedSecret::associated_data(&body.lease, name, *version), sealed)
    });
    let tokens = body.tokens.iter().map(|GrantedToken { name, audience, sealed, .. }| {
        (name, SealedSecret::token_data(&body.lease, name, audience), sealed)
    });
    let secrets = secrets
        .chain(tokens)
        .map(|(name, data, sealed)| {
            let value = context.open(&sealed.0, &data).map_err(|_| GrantRefused::Sealed)?;
            Ok((name.clone(), SecretBytes::new(value)))
        })
        .collect::<Result<_, GrantRefused>>()?;
    let lease_key = SecretBytes::fill(32, |key| context.export(LEASE_EXPORT, key)).map_err(|_| GrantRefused::Sealed)?;
    Ok(VerifiedGrant { body, secrets, lease_key })
}

impl From<GrantRefused> for AgentError {
    fn from(error: GrantRefused) -> Self {
        Self::Grant(error)
    }
}

impl Explain for GrantRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(malformed) => {
                report("AR-X501").fact("structure", malformed.structure).fact("byte", malformed.offset)
            }
            Self::Signature => report("AR-X502").hint("the step did not start. Somebody answers in the broker's place"),
            Self::OtherRequest { wanted, found } => report("AR-X503")
                .fact("wanted", wanted)
                .fact("got", found)
                .hint("the step did not start. Somebody replays an older grant"),
            Self::OtherBroker => report("AR-X504"),
            Self::Sealed => report("AR-X505"),
            Self::OtherHandles => report("AR-X506"),
        }
    }
}
