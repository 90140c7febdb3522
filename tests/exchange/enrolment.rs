//! Enrolment by those who should not.

use crate::support::{Broker, Directory, Rig, SoftAk, attesting, directory, embedded, refusal};
use attest_agent::{BrokerClient, BrokerError};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    ActivationRequest, Endorsement, EnrolmentChallenge, EnrolmentRequest, EnrolmentToken, Isolation, Pins, RunnerState,
    enrolment_qualifying_data,
};
use attest_evidence::tpm::{Credential, PcrSelection};
use attest_tpm::{AttestationKey, Endorsed, Tpm};

/// A TPM with an attestation key, ready to quote.
async fn tpm() -> (Tpm, AttestationKey, Endorsed, Directory) {
    let directory = directory();
    let tpm = Tpm::open(embedded(&directory.path().join("tpm"))).await.unwrap();
    let (key, endorsed) = attesting(&tpm).await;
    (tpm, key, endorsed, directory)
}

fn client(broker: &Broker, token: &EnrolmentToken) -> BrokerClient {
    BrokerClient::at_first_contact(broker.url().parse().unwrap(), token.pins).unwrap()
}

fn request(token: &EnrolmentToken, ek: &[u8], ak: &[u8]) -> EnrolmentRequest {
    EnrolmentRequest {
        token: token.id,
        secret: token.secret.expose(<[u8]>::to_vec),
        isolation: Isolation::Direct,
        endorsement: Endorsement::EkPublic { ek: ek.to_vec() },
        ak: ak.to_vec(),
    }
}

#[tokio::test]
async fn q05_a_key_that_signs_anything_does_not_attest() {
    let broker = Broker::start();
    let (_tpm, key, endorsed, _directory) = tpm().await;
    let token = broker.token("r", "direct", true);
    let client = client(&broker, &token);
    // restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin: each cleared; decrypt: set.
    for bit in [16, 18, 1, 4, 5, 17] {
        let mut ak = key.public.clone();
        let attributes = u32::from_be_bytes(ak[4..8].try_into().unwrap()) ^ (1 << bit);
        ak[4..8].copy_from_slice(&attributes.to_be_bytes());
        let refused = client.begin_enrolment(&request(&token, &endorsed.public, &ak)).await;
        assert_eq!(refusal(refused), "AR-E101", "bit {bit}");
    }
    // A real key of this TPM that is not restricted.
    let signing = _tpm.run(|device| device.create_signing_key()).await.unwrap();
    let refused = client.begin_enrolment(&request(&token, &endorsed.public, signing.stored().public())).await;
    assert_eq!(refusal(refused), "AR-E101");
    // A weak one.
    let weak = SoftAk::rsa(1024, 0x14);
    let refused = client.begin_enrolment(&request(&token, &endorsed.public, &weak.public())).await;
    assert_eq!(refusal(refused), "AR-E101");
    // An EK that is no EK: it would decrypt for anybody.
    let refused = client.begin_enrolment(&request(&token, &key.public, &key.public)).await;
    assert_eq!(refusal(refused), "AR-N105");
}

#[tokio::test]
async fn q06_an_attestation_key_of_another_tpm_is_not_activated() {
    let broker = Broker::start();
    let (tpm_a, _key_a, endorsed_a, _directory_a) = tpm().await;
    let (tpm_b, key_b, _endorsed_b, _directory_b) = tpm().await;
    let token = broker.token("r", "direct", true);
    let client = client(&broker, &token);
    let challenge = client.begin_enrolment(&request(&token, &endorsed_a.public, &key_b.public)).await.unwrap();
    let EnrolmentChallenge::Activate { enrolment, id_object, encrypted_secret } = challenge else { panic!() };
    // Neither TPM holds both keys.
    let credential = Credential { id_object, encrypted_secret };
    for tpm in [&tpm_a, &tpm_b] {
        let credential = credential.clone();
        assert!(tpm.run(move |device| device.activate(&credential)).await.is_err());
    }
    let guess = ActivationRequest { enrolment, proof: vec![0; 32], signature: Vec::new(), quote: Vec::new() };
    assert_eq!(refusal(client.finish_enrolment(&guess).await), "AR-N103");
    assert!(broker.rows("SELECT name FROM runners").await.is_empty());
}

#[tokio::test]
async fn q08_nobody_takes_over_a_runner_s_name() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "builder").await;
    let directory = directory();
    let thief = Rig::with_tpm(&broker, "builder", embedded(&directory.path().join("tpm"))).await;
    assert_eq!(refusal(thief.map(|rig| rig.outcome.runner)), "AR-N102");
    rig.send(rig.exchange(&rig.request()).await).await.unwrap();

    // Two tokens for one name, finished at the same moment: the database decides.
    let tokens = [broker.token("other", "direct", true), broker.token("other", "direct", true)];
    let mut finished = Vec::new();
    for token in &tokens {
        let (tpm, key, endorsed, directory) = tpm().await;
        let client = client(&broker, token);
        let challenge = client.begin_enrolment(&request(token, &endorsed.public, &key.public)).await.unwrap();
        let EnrolmentChallenge::Activate { enrolment, id_object, encrypted_secret } = challenge else { panic!() };
        let credential = Credential { id_object, encrypted_secret };
        let proof = tpm.run(move |device| device.activate(&credential)).await.unwrap();
        let activation = ActivationRequest {
            enrolment,
            proof: proof.expose(<[u8]>::to_vec),
            signature: Vec::new(),
            quote: Vec::new(),
        };
        finished.push((client, activation, tpm, directory));
    }
    let (one, other) =
        tokio::join!(finished[0].0.finish_enrolment(&finished[0].1), finished[1].0.finish_enrolment(&finished[1].1));
    assert_eq!([&one, &other].into_iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(refusal(if one.is_ok() { other } else { one }), "AR-N102");

    // An admin may free the name.
    broker.admin(&["runner", "retire", "builder"]).ok();
    let heir = Rig::with_tpm(&broker, "builder", embedded(&directory.path().join("another"))).await.unwrap();
    heir.send(heir.exchange(&heir.request()).await).await.unwrap();
}

#[tokio::test]
async fn a_token_is_good_for_one_enrolment() {
    let broker = Broker::start();
    let token = broker.token("r", "direct", true);
    let (tpm, key, endorsed, _directory) = tpm().await;
    let client = client(&broker, &token);
    let mut wrong = request(&token, &endorsed.public, &key.public);
    wrong.secret[0] ^= 1;
    assert_eq!(refusal(client.begin_enrolment(&wrong).await), "AR-N101");
    let mut other_isolation = request(&token, &endorsed.public, &key.public);
    other_isolation.isolation = Isolation::Agent;
    assert_eq!(refusal(client.begin_enrolment(&other_isolation).await), "AR-N104");
    let good = request(&token, &endorsed.public, &key.public);
    let challenge = client.begin_enrolment(&good).await.unwrap();
    let EnrolmentChallenge::Activate { enrolment, id_object, encrypted_secret } = challenge else { panic!() };
    let credential = Credential { id_object, encrypted_secret };
    let proof = tpm.run(move |device| device.activate(&credential)).await.unwrap();
    // A quote beside it has to be one for this.
    let other = enrolment_qualifying_data(&Sha256Digest::of(b"another enrolment"));
    let quote = tpm.run(move |device| device.quote(PcrSelection::from_bits([0; 3]), &other)).await.unwrap();
    let proof = proof.expose(<[u8]>::to_vec);
    let (enrolment_id, signature) = (enrolment.clone(), quote.signature);
    let stale = ActivationRequest { enrolment: enrolment_id, proof: proof.clone(), signature, quote: quote.message };
    assert_eq!(refusal(client.finish_enrolment(&stale).await), "AR-E206");
    let activation = ActivationRequest { enrolment, proof, signature: Vec::new(), quote: Vec::new() };
    let outcome = client.finish_enrolment(&activation).await.unwrap();
    assert_eq!((outcome.state, outcome.class.as_str()), (RunnerState::Approved, "software"));
    assert_eq!(refusal(client.finish_enrolment(&activation).await), "AR-N101");
    assert_eq!(refusal(client.begin_enrolment(&good).await), "AR-N101");
}

#[tokio::test]
async fn r06_a_token_does_not_lead_to_another_broker() {
    let (broker, impostor) = (Broker::start(), Broker::start());
    let token = broker.token("r", "direct", true);
    let (_tpm, key, endorsed, _directory) = tpm().await;
    let client = BrokerClient::at_first_contact(impostor.url().parse().unwrap(), token.pins).unwrap();
    let refused = client.begin_enrolment(&request(&token, &endorsed.public, &key.public)).await;
    assert!(matches!(refused, Err(BrokerError::Impostor { .. })), "{refused:?}");
    // The root right, nothing right behind it: a digest of something that is in no chain.
    let pins = Pins { tls_root: Sha256Digest::of(b"root"), ..token.pins };
    let client = BrokerClient::at_first_contact(broker.url().parse().unwrap(), pins).unwrap();
    let refused = client.begin_enrolment(&request(&token, &endorsed.public, &key.public)).await;
    assert!(matches!(refused, Err(BrokerError::Impostor { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_tpm_that_nobody_vouches_for_waits_for_an_admin() {
    let broker = Broker::start();
    let token = broker.token("r", "direct", false);
    let rig = Rig::with_token(&broker, token).await.unwrap();
    assert_eq!((rig.outcome.state, rig.outcome.class.as_str()), (RunnerState::Pending, "software"));
    assert_eq!(refusal(rig.send(rig.exchange(&rig.request()).await).await), "AR-E301");
    broker.admin(&["runner", "approve", "r"]).ok();
    rig.send(rig.exchange(&rig.request()).await).await.unwrap();
}
