//! Enrolment: a token lets a runner in, its TPM's proof makes it the runner.

use crate::audit::{Entry, Kind};
use crate::broker::Broker;
use crate::server::Refusal;
use crate::signatures::AwsLc;
use crate::store::{AddEnrolment, EnrolmentRow, FinishEnrolment, Finished, Record, TokenRow};
use attest_appraisal::{AttestationKey, ProvenEndorsement, RawQuote};
use attest_evidence::exchange::{
    ActivationRequest, EnrolmentChallenge, EnrolmentOutcome, EnrolmentRequest, RunnerState, enrolment_qualifying_data,
};
use attest_evidence::name::EnrolmentId;
use attest_evidence::report::{Escaped, Explain, Fault, Report};
use attest_evidence::tpm::{PcrSelection, make_credential};
use attest_evidence::{SecretBytes, Sha256Digest};
use serde_json::json;
use subtle::ConstantTimeEq as _;

/// Seconds between the two requests of an enrolment: making an RSA key takes a slow TPM half a minute.
const ENROLMENT_SECONDS: u64 = 120;

impl Broker {
    /// Begins an enrolment: what the TPM has to prove.
    ///
    /// # Errors
    /// The token is unknown, used or expired; the attestation key or its endorsement is not believed.
    pub(crate) async fn begin_enrolment(&self, request: EnrolmentRequest) -> Result<EnrolmentChallenge, Refusal> {
        let EnrolmentRequest { token, secret, isolation, endorsement, ak } = request;
        let secret = SecretBytes::new(secret);
        let token = self.token(&token, &secret).await?;
        let key = match AttestationKey::check(&ak) {
            Ok(key) => key,
            Err(refused) => return Err(self.refuse_enrolment(&token, &refused.report()).await),
        };
        if isolation != token.isolation {
            let report = Report::new("AR-N104", Fault::Identity, "the token approves another isolation")
                .fact("approved", token.isolation)
                .fact("claimed", isolation)
                .hint("enroll through the agent for `agent`, without one for `direct`, or ask for another token");
            return Err(self.refuse_enrolment(&token, &report).await);
        }
        let roots = self.store.roots().await?;
        let endorsement = match ProvenEndorsement::check(&endorsement, &key, &roots, self.wall()) {
            Ok(endorsement) => endorsement,
            Err(refused) => return Err(self.refuse_enrolment(&token, &refused.report()).await),
        };
        let id = EnrolmentId::random().map_err(|_| Refusal::internal("no randomness"))?;
        let proof = SecretBytes::random(32).map_err(|_| Refusal::internal("no randomness"))?;
        let proof_digest = proof.expose(Sha256Digest::of);
        let challenge = match &endorsement.ek {
            Some(ek) => match make_credential(ek, key.name(), &proof) {
                Ok(credential) => EnrolmentChallenge::Activate {
                    enrolment: id.clone(),
                    id_object: credential.id_object,
                    encrypted_secret: credential.encrypted_secret,
                },
                Err(error) => {
                    let report = Report::new("AR-N105", Fault::Identity, error.to_string());
                    return Err(self.refuse_enrolment(&token, &report).await);
                }
            },
            None => EnrolmentChallenge::Quote { enrolment: id.clone(), qualifying_data: proof_digest },
        };
        let row = EnrolmentRow {
            id,
            token: token.id,
            endorsed: endorsement.identity,
            certified: endorsement.certified,
            ak,
            class: endorsement.class,
            isolation: token.isolation,
            proof: proof_digest,
            by_quote: endorsement.ek.is_none(),
            expires: self.wall().plus(ENROLMENT_SECONDS),
        };
        self.store.commit(AddEnrolment(row)).await?;
        Ok(challenge)
    }

    /// Ends an enrolment: the proof is there, and with it the runner.
    ///
    /// # Errors
    /// The proof is wrong or late; the name or the key is another runner's.
    pub(crate) async fn finish_enrolment(&self, request: ActivationRequest) -> Result<EnrolmentOutcome, Refusal> {
        let now = self.wall();
        let gone = || Refusal::of(&unknown_token());
        let row = self.store.enrolment(&request.enrolment).await?.filter(|row| now < row.expires).ok_or_else(gone)?;
        let token = self.store.token(&row.token).await?.filter(|token| now < token.expires).ok_or_else(gone)?;
        let key = AttestationKey::check(&row.ak).map_err(|refused| Refusal::of(&refused.report()))?;
        let quoted = |message| {
            let raw = RawQuote { message, signature: &request.signature, pcrs: &[] };
            let (expected, selection) = (enrolment_qualifying_data(&row.proof), PcrSelection::from_bits([0; 3]));
            raw.parse().and_then(|quote| quote.verify(&key, &expected, selection, &AwsLc))
        };
        let quote = match (row.by_quote, request.quote.is_empty()) {
            (true, _) => Some(quoted(&request.proof)),
            (false, false) => Some(quoted(&request.quote)),
            (false, true) => None,
        };
        let quote = match quote.transpose() {
            Ok(quote) => quote,
            Err(refused) => return Err(self.refuse_enrolment(&token, &refused.report()).await),
        };
        if !row.by_quote {
            let proof = Sha256Digest::of(&request.proof);
            if !bool::from(proof.as_bytes().ct_eq(row.proof.as_bytes())) {
                let report = Report::new("AR-N103", Fault::Identity, "the TPM did not activate the credential")
                    .hint("the attestation key is not in the TPM of that endorsement key");
                return Err(self.refuse_enrolment(&token, &report).await);
            }
        }
        let ak_certificate = self
            .keys
            .certify(&token.runner, &key, row.class, now)
            .map_err(|error| Refusal::internal(&error.to_string()))?;
        let state =
            if row.certified || token.uncertified_is_approved { RunnerState::Approved } else { RunnerState::Pending };
        let body = json!({
            "runner": token.runner, "ak": key.name(), "endorsed": row.endorsed, "certified": row.certified,
            "class": row.class.as_str(), "isolation": row.isolation, "state": state,
        });
        let finish = FinishEnrolment {
            ak_name: key.name().clone(),
            runner: token.runner.clone(),
            state,
            audit: Entry::new(now, Kind::Enrolment, &body)?,
            enrolment: row.clone(),
            clock: quote.map(|quote| quote.clock()),
        };
        match self.store.commit(finish).await? {
            Finished::Enrolled => {}
            Finished::TokenGone => return Err(gone()),
            Finished::Taken => {
                let report = Report::new(
                    "AR-N102",
                    Fault::Identity,
                    format!("`{}`, or this attestation key, is enrolled already", token.runner),
                )
                .hint("nobody takes a runner's name over by enrolling again. An admin may `attest-broker runner retire` it");
                return Err(self.refuse_enrolment(&token, &report).await);
            }
        }
        tracing::info!(runner = %token.runner, class = %row.class, isolation = %row.isolation, state = state.as_str(), "enrolled");
        Ok(EnrolmentOutcome {
            runner: token.runner,
            state,
            class: row.class.to_string(),
            isolation: row.isolation,
            ak_certificate,
            broker: self.keys.id().clone(),
            tls_root: self.keys.tls_root_pem(),
            grant_key: self.keys.grant_key().to_vec(),
        })
    }

    /// The token, if it is one, unused, in time.
    async fn token(&self, id: &[u8; 16], secret: &SecretBytes) -> Result<TokenRow, Refusal> {
        let now = self.wall();
        let digest = secret.expose(Sha256Digest::of);
        let token = self.store.token(id).await?;
        token
            .filter(|token| bool::from(token.secret.as_bytes().ct_eq(digest.as_bytes())) && now < token.expires)
            .ok_or_else(|| Refusal::of(&unknown_token()))
    }

    async fn refuse_enrolment(&self, token: &TokenRow, report: &Report) -> Refusal {
        tracing::warn!(runner = %token.runner, code = %report.code, what = %Escaped(&report.what), "enrolment refused");
        let entry = Entry::new(self.wall(), Kind::Enrolment, &json!({ "runner": token.runner, "refused": report }));
        match entry {
            Ok(entry) => {
                let audit = entry.id.clone();
                match self.store.commit(Record(entry)).await {
                    Ok(()) => Refusal::recorded(report, audit),
                    Err(error) => error.into(),
                }
            }
            Err(error) => error.into(),
        }
    }
}

fn unknown_token() -> Report {
    Report::new("AR-N101", Fault::Identity, "the enrolment token is unknown, used or expired")
        .hint("ask the broker's admin for a new one: `attest-broker runner token NAME`")
}
