//! Keys that obey their lease: what a broker signs for, and what a runner says of its keys in vain.

use crate::support::{Broker, Rig, refusal};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    GrantedKey, KeyFormat, KeyRequest, KeyUse, LeasedKey, Request, key_certification_data,
};
use attest_evidence::name::Stage;
use attest_evidence::tpm::{KeyPolicy, NONCE, PublicKey, TpmName, authority_public};
use attest_tpm::{Opening, SigningKey, TpmError};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::DecodePublicKey as _;

const ID: [u8; 16] = [3; 16];

/// What the attestation key signs beside the Name of `dev/release`.
fn data() -> Sha256Digest {
    key_certification_data(Stage::Dev, &"release".parse().unwrap())
}

/// The broker's key as a TPM loads it.
fn authority(rig: &Rig) -> Vec<u8> {
    let point = p256::PublicKey::from_public_key_der(&rig.outcome.grant_key).unwrap().to_sec1_point(false);
    authority_public(&(*point.x().unwrap()).into(), &(*point.y().unwrap()).into())
}

fn policy(rig: &Rig, stage: Stage, name: &str) -> KeyPolicy {
    KeyPolicy {
        authority: TpmName::of(&authority(rig)),
        reference: KeyPolicy::reference(stage, &name.parse().unwrap(), &ID),
        boot_state: None,
    }
}

fn fingerprint(key: &SigningKey) -> Sha256Digest {
    let (x, y) = key.point().unwrap();
    Sha256Digest::of(&PublicKey::P256 { x, y }.to_spki().unwrap())
}

/// The attestation key's word for a key, with this qualifying data.
async fn certify(rig: &Rig, key: &SigningKey, data: Sha256Digest) -> (Vec<u8>, Vec<u8>) {
    let key = key.clone();
    rig.tpm.run(move |device| device.certify(key.stored(), &data)).await.unwrap()
}

/// A request for a key, with all that the broker wants to know of it.
async fn asking(rig: &Rig, key: &SigningKey, nonce: [u8; NONCE]) -> Request {
    let (certification, signature) = certify(rig, key, data()).await;
    let public = key.stored().public().to_vec();
    let lease = LeasedKey { public, id: ID, boot_state: None, certification, signature, nonce };
    let asked = KeyRequest {
        name: "release".parse().unwrap(),
        usage: KeyUse::Sign,
        formats: vec![KeyFormat::Raw],
        public_key: fingerprint(key),
        lease: Some(lease),
        why: "for the test".to_owned(),
    };
    Request { keys: vec![asked], ..rig.request() }
}

#[tokio::test]
async fn the_grant_opens_the_key_in_the_tpm_for_as_long_as_the_lease_lasts() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let obeys = policy(&rig, Stage::Dev, "release");
    let made = obeys.clone();
    let key = rig.tpm.run(move |device| device.create_leased_key(&made)).await.unwrap();
    let session = rig.tpm.run(attest_tpm::Device::begin_lease).await.unwrap();
    let grant = rig.send(rig.exchange(&asking(&rig, &key, *session.nonce()).await).await).await.unwrap();
    let [GrantedKey { opening: Some(opening), .. }] = grant.keys.as_slice() else { panic!("{grant:?}") };
    assert_eq!(u64::from(opening.seconds), grant.expires.0 - grant.issued.0);
    let opening = Opening { seconds: opening.seconds, signature: opening.signature };
    let (public, reference) = (authority(&rig), obeys.reference);
    let digest = Sha256Digest::of(b"a file");
    let signed = rig.tpm.run(move |device| {
        let ticket = device.open_lease(session, &public, &reference, &opening)?;
        device.sign_leased(&key, &obeys, &ticket, &digest)
    });
    signed.await.unwrap();

    // Another session is not opened by it.
    let public = authority(&rig);
    let refused = rig.tpm.run(move |device| {
        let session = device.begin_lease()?;
        device.open_lease(session, &public, &reference, &opening)
    });
    assert_eq!(refused.await.unwrap_err(), TpmError::NotAuthorized);
}

type Change = fn(&mut KeyRequest);

#[tokio::test]
async fn k01_what_is_said_of_a_key_is_certified_or_refused() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let stranger = Rig::enrolled(&broker, "s").await;
    let make = async |rig: &Rig, policy: KeyPolicy| {
        rig.tpm.run(move |device| device.create_leased_key(&policy)).await.unwrap()
    };
    let key = make(&rig, policy(&rig, Stage::Dev, "release")).await;
    let good = asking(&rig, &key, [5; NONCE]).await;
    rig.send(rig.exchange(&good).await).await.unwrap();

    // Said of the same key, with the same certification.
    let changes: [(&str, &str, Change); 10] = [
        ("AR-K301", "a certification that is none", |key| key.lease.as_mut().unwrap().certification.truncate(9)),
        ("AR-K303", "a signature that is another's", |key| {
            *key.lease.as_mut().unwrap().signature.last_mut().unwrap() ^= 1
        }),
        ("AR-K303", "a certification changed", |key| key.lease.as_mut().unwrap().certification[20] ^= 1),
        ("AR-K305", "another key", |key| *key.lease.as_mut().unwrap().public.last_mut().unwrap() ^= 1),
        ("AR-K309", "another id", |key| key.lease.as_mut().unwrap().id[0] ^= 1),
        ("AR-K304", "another name", |key| key.name = "other".parse().unwrap()),
        ("AR-K315", "another use", |key| (key.usage, key.formats) = (KeyUse::Derive, Vec::new())),
        ("AR-K309", "a boot state", |key| {
            let digest = Sha256Digest::of(b"pcrs");
            let selection = "0,7".parse().unwrap();
            key.lease.as_mut().unwrap().boot_state = Some(attest_evidence::tpm::PcrState { selection, digest });
        }),
        ("AR-K310", "another fingerprint", |key| key.public_key = Sha256Digest::of(b"another")),
        ("AR-K301", "no key at all", |key| key.lease.as_mut().unwrap().signature.clear()),
    ];
    for (code, what, change) in changes {
        let mut request = good.clone();
        change(&mut request.keys[0]);
        assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), code, "{what}");
    }
    let mut request = good.clone();
    request.step.stage = Stage::Prod;
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-K304", "another stage");

    // Keys that are not what they should be, certified all the same.
    let by_hand = rig.tpm.run(attest_tpm::Device::create_signing_key).await.unwrap();
    let request = asking(&rig, &by_hand, [5; NONCE]).await;
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-K308", "it needs no lease");
    let mut other_broker = policy(&rig, Stage::Dev, "release");
    other_broker.authority = TpmName::of(b"another broker");
    let key_of_another = make(&rig, other_broker).await;
    let request = asking(&rig, &key_of_another, [5; NONCE]).await;
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-K309", "another broker's");

    // A quote in the certification's place; a certification for something else; one by another machine's key.
    let quote = rig.tpm.run(|device| device.quote("0".parse().unwrap(), &data())).await.unwrap();
    let mut request = good.clone();
    let lease = request.keys[0].lease.as_mut().unwrap();
    (lease.certification, lease.signature) = (quote.message, quote.signature);
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-K302");
    let mut request = good.clone();
    let lease = request.keys[0].lease.as_mut().unwrap();
    (lease.certification, lease.signature) = certify(&rig, &key, Sha256Digest::of(b"something else")).await;
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-K304");
    let key_of_stranger = make(&stranger, policy(&stranger, Stage::Dev, "release")).await;
    let request = asking(&stranger, &key_of_stranger, [5; NONCE]).await;
    stranger.send(stranger.exchange(&request).await).await.unwrap();
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-K303");
}
