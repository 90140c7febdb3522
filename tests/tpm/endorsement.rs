//! Endorsement certificates: what a TPM is follows from who vouches for it.

use crate::support::{Broker, Rig, Swtpm, refusal};
use attest_evidence::exchange::{Endorsement, EnrolmentRequest, Isolation};
use attest_tpm::Tpm;

#[tokio::test]
async fn a_certified_tpm_is_what_its_root_stands_for() {
    let broker = Broker::start();
    let swtpm = Swtpm::certified();
    // Nobody vouches for its CA yet.
    let refused = Rig::with_tpm(&broker, "r", swtpm.transport()).await;
    assert_eq!(refusal(refused.map(drop)), "AR-E403");
    let (root, issuer) = swtpm.authority();
    broker.admin(&["root", "add", "--class", "virtual", root.to_str().unwrap()]).ok();
    broker.admin(&["root", "add", "--intermediate", issuer.to_str().unwrap()]).ok();
    let again = broker.admin(&["root", "add", "--class", "discrete", root.to_str().unwrap()]);
    again.refused(1, "AR-B304");
    let rig = Rig::with_tpm(&broker, "r2", swtpm.transport()).await.unwrap();
    assert_eq!(rig.outcome.class, "virtual");
    let grant = rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    assert_eq!(grant.runner.as_str(), "r2");
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["tpm_class"], "virtual");
    // The AK certificate leads to the broker's authority.
    assert!(rig.outcome.ak_certificate.matches("BEGIN CERTIFICATE").count() == 2);
}

#[tokio::test]
async fn q06_the_certificate_of_a_third_tpm_is_refused() {
    let broker = Broker::start();
    let (one, third) = (Swtpm::certified(), Swtpm::certified());
    for swtpm in [&one, &third] {
        let (root, issuer) = swtpm.authority();
        broker.admin(&["root", "add", "--class", "virtual", root.to_str().unwrap()]).ok();
        broker.admin(&["root", "add", "--intermediate", issuer.to_str().unwrap()]).ok();
    }
    let endorsed = |tpm: Tpm| async move { tpm.run(|device| device.endorsement()).await.unwrap() };
    let tpm = Tpm::open(one.transport()).await.unwrap();
    let key = tpm.run(|device| device.create_attestation_key()).await.unwrap();
    let own = endorsed(tpm).await;
    let other = endorsed(Tpm::open(third.transport()).await.unwrap()).await;
    let token = broker.token("r", "direct", true);
    let client = attest_agent::BrokerClient::at_first_contact(broker.url().parse().unwrap(), token.pins).unwrap();
    let request = |certificate: &Option<Vec<u8>>| EnrolmentRequest {
        token: token.id,
        secret: token.secret.expose(<[u8]>::to_vec),
        isolation: Isolation::Direct,
        endorsement: Endorsement::EkCertificate { certificate: certificate.clone().unwrap(), ek: own.public.clone() },
        ak: key.public.clone(),
    };
    assert_eq!(refusal(client.begin_enrolment(&request(&other.certificate)).await), "AR-E408");
    client.begin_enrolment(&request(&own.certificate)).await.unwrap();
}
