//! Quotes that are not what they should be.

use crate::support::{Broker, Forged, Rig, SoftAk, assemble, refusal};
use attest_agent::BrokerError;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{Isolation, RawEvidence, qualifying_data, write_bound, write_exchange};
use attest_evidence::tpm::{PcrSelection, PcrValues};

/// What a forger may spoil: the statement, the signature, the values.
struct Parts {
    attest: Forged,
    signature: fn(&SoftAk, &[u8]) -> Vec<u8>,
    pcrs: Vec<u8>,
}

/// Sends an exchange whose quote is `key`'s, after `spoil` has had its way with the parts.
async fn forged(rig: &Rig, key: &SoftAk, spoil: impl FnOnce(&mut Parts)) -> Result<(), BrokerError> {
    let challenge = rig.client.challenge(&key.name()).await?;
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let values = PcrValues::new(challenge.selection.indexes().map(|index| (index, [0; 32])));
    let qualifying = qualifying_data(&Sha256Digest::of(&bound));
    let mut parts = Parts {
        attest: Forged::quote(&qualifying, &challenge.selection.to_tpml(), &values.digest()),
        signature: SoftAk::sign,
        pcrs: values.to_bytes(),
    };
    spoil(&mut parts);
    let quote = parts.attest.bytes();
    let signature = (parts.signature)(key, &quote);
    let evidence = RawEvidence { quote: &quote, signature: &signature, pcrs: &parts.pcrs, logs: Vec::new() };
    rig.send(write_exchange(&bound, &evidence).unwrap()).await.map(drop)
}

#[tokio::test]
async fn q03_another_selection_bank_count_or_order_is_refused() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;

    // The real TPM: PCR 15 for PCR 14. All are zero, so that the digest is the honest one.
    let challenge = rig.challenge().await;
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let qualifying = qualifying_data(&Sha256Digest::of(&bound));
    let relabelled: PcrSelection = "0,1,2,3,4,5,6,7,8,9,15".parse().unwrap();
    let quote = rig.tpm.run(move |device| device.quote(relabelled, &qualifying)).await.unwrap();
    assert_eq!(refusal(rig.send(assemble(&bound, &quote)).await), "AR-E207");

    let key = SoftAk::p256();
    key.insert(&broker, "soft").await;
    forged(&rig, &key, |_| {}).await.unwrap();
    let sha384_bank = |parts: &mut Parts| parts.attest.selection[5] = 0x0c;
    assert_eq!(refusal(forged(&rig, &key, sha384_bank).await), "AR-E207");
    let two_banks = |parts: &mut Parts| {
        let again = parts.attest.selection[4..].to_vec();
        parts.attest.selection[3] = 2;
        parts.attest.selection.extend(again);
    };
    assert_eq!(refusal(forged(&rig, &key, two_banks).await), "AR-E207");
    let no_bank = |parts: &mut Parts| parts.attest.selection = vec![0; 4];
    assert_eq!(refusal(forged(&rig, &key, no_bank).await), "AR-E207");
    let wider_mask = |parts: &mut Parts| {
        parts.attest.selection[6] = 4;
        parts.attest.selection.push(0);
    };
    assert_eq!(refusal(forged(&rig, &key, wider_mask).await), "AR-E207");

    let too_few = |parts: &mut Parts| parts.pcrs.truncate(10 * 32);
    assert_eq!(refusal(forged(&rig, &key, too_few).await), "AR-E201");
    let too_many = |parts: &mut Parts| parts.pcrs.extend([0; 32]);
    assert_eq!(refusal(forged(&rig, &key, too_many).await), "AR-E201");
    let other_values = |parts: &mut Parts| parts.pcrs[0] = 1;
    assert_eq!(refusal(forged(&rig, &key, other_values).await), "AR-E208");
    // Two different values, quoted in one order and sent in the other.
    let other_order = |parts: &mut Parts| {
        parts.pcrs[0] = 1;
        parts.attest.pcr_digest = Sha256Digest::of(&parts.pcrs).as_bytes().to_vec();
        let (first, second) = parts.pcrs.split_at_mut(32);
        first.swap_with_slice(&mut second[..32]);
    };
    assert_eq!(refusal(forged(&rig, &key, other_order).await), "AR-E208");
}

#[tokio::test]
async fn q04_what_is_no_quote_is_none() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;

    // The real attestation key signed this: TPM2_Certify, with the exchange's qualifying data.
    let challenge = rig.challenge().await;
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let qualifying = qualifying_data(&Sha256Digest::of(&bound));
    let mut quote = rig.quote(&challenge, &bound).await;
    (quote.message, quote.signature) = rig
        .tpm
        .run(move |device| {
            let key = device.create_signing_key()?;
            device.certify(key.stored(), &qualifying)
        })
        .await
        .unwrap();
    assert_eq!(refusal(rig.send(assemble(&bound, &quote)).await), "AR-E202");

    let key = SoftAk::p256();
    key.insert(&broker, "soft").await;
    forged(&rig, &key, |_| {}).await.unwrap();
    assert_eq!(refusal(forged(&rig, &key, |parts| parts.attest.magic = 0xff54_4348).await), "AR-E201");
    for kind in [0x8019, 0x801a, 0x8014, 0] {
        assert_eq!(refusal(forged(&rig, &key, |parts| parts.attest.kind = kind).await), "AR-E201");
    }
}

#[tokio::test]
async fn q09_truncated_extended_or_flipped_it_is_refused() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let mut flips = 0;
    // Values, which may be anything: only the signature tells that they were changed. extraData; clock and counts;
    // firmware version; the PCR digest. And r and s.
    let values = [&[44..92, 93..101, 113..145][..], &[6..38, 40..72]];
    for (part, values) in values.into_iter().enumerate() {
        let template = {
            let challenge = rig.challenge().await;
            let bound = write_bound(&challenge, &rig.request()).unwrap();
            rig.quote(&challenge, &bound).await
        };
        let length = if part == 0 { template.message.len() } else { template.signature.len() };
        // Every length, and one byte more.
        let cuts = (0..length).chain([length + 1]).map(|to| (Some(to), 0));
        let bits = (0..length * 8).map(|bit| (None, bit));
        for (to, bit) in cuts.chain(bits) {
            let challenge = rig.challenge().await;
            let bound = write_bound(&challenge, &rig.request()).unwrap();
            let mut quote = rig.quote(&challenge, &bound).await;
            let bytes = if part == 0 { &mut quote.message } else { &mut quote.signature };
            match to {
                Some(to) => bytes.resize(to.min(bytes.len() + 1), 0),
                None if bit / 8 < bytes.len() => bytes[bit / 8] ^= 1 << (bit % 8),
                None => continue,
            }
            let changed = quote.clone();
            let code = refusal(rig.send(assemble(&bound, &changed)).await);
            let value = values.iter().any(|range| range.contains(&(bit / 8)));
            match (to, value) {
                (Some(_), _) => assert_eq!(code, "AR-E201", "part {part}, to {to:?}"),
                (None, true) => assert_eq!(code, "AR-E205", "part {part}, bit {bit}"),
                // Names of algorithms, lengths, types: another one is no quote, or not what was signed.
                (None, false) => assert!(["AR-E201", "AR-E205"].contains(&code.as_str()), "bit {bit}: {code}"),
            }
            flips += 1;
        }
    }
    assert!(flips > 1800, "{flips}");
    rig.send(rig.exchange(&rig.request()).await).await.unwrap();
}

#[tokio::test]
async fn q10_the_key_chooses_the_algorithm() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let key = SoftAk::p256();
    key.insert(&broker, "soft").await;
    let sha1 = |parts: &mut Parts| {
        parts.signature = |key, message| {
            let mut signature = key.sign(message);
            signature[3] = 0x04;
            signature
        };
    };
    assert_eq!(refusal(forged(&rig, &key, sha1).await), "AR-E203");

    let key = SoftAk::rsa(2048, 0x14);
    key.insert(&broker, "rsa").await;
    forged(&rig, &key, |_| {}).await.unwrap();
    let as_pss = |parts: &mut Parts| {
        parts.signature = |key, message| {
            let mut signature = key.sign(message);
            signature[1] = 0x16;
            signature
        };
    };
    assert_eq!(refusal(forged(&rig, &key, as_pss).await), "AR-E203");
    let as_ecdsa = |parts: &mut Parts| parts.signature = |_, message| SoftAk::p256().sign(message);
    assert_eq!(refusal(forged(&rig, &key, as_ecdsa).await), "AR-E203");
    // A signature of the other padding under the key's own label.
    let other_padding = |parts: &mut Parts| {
        parts.signature = |key, message| {
            let SoftAk::Rsa(private, _) = key else { panic!() };
            let mut signature = SoftAk::Rsa(private.clone(), 0x16).sign(message);
            signature[1] = 0x14;
            signature
        };
    };
    assert_eq!(refusal(forged(&rig, &key, other_padding).await), "AR-E205");
    let pss = SoftAk::rsa(2048, 0x16);
    pss.insert(&broker, "pss").await;
    forged(&rig, &pss, |_| {}).await.unwrap();
}

#[tokio::test]
async fn q15_isolation_is_what_was_approved() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let mut request = rig.request();
    request.isolation = Isolation::Agent;
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-E303");
}

#[tokio::test]
async fn a_runner_that_is_not_approved_gets_nothing() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    broker.admin(&["runner", "suspend", "r"]).ok();
    assert_eq!(refusal(rig.send(rig.exchange(&rig.request()).await).await), "AR-E301");
    broker.admin(&["runner", "approve", "r"]).ok();
    rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    broker.admin(&["runner", "retire", "r"]).ok();
    assert_eq!(refusal(rig.send(rig.exchange(&rig.request()).await).await), "AR-E301");
    broker.admin(&["runner", "approve", "r"]).refused(1, "AR-B305");
}

#[tokio::test]
async fn a_log_that_nobody_can_appraise_is_refused() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let challenge = rig.challenge().await;
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let quote = rig.quote(&challenge, &bound).await;
    let pcrs = quote.pcrs.to_bytes();
    let logs = vec![(9, b"a log of tomorrow".as_slice())];
    let evidence = RawEvidence { quote: &quote.message, signature: &quote.signature, pcrs: &pcrs, logs };
    assert_eq!(refusal(rig.send(write_exchange(&bound, &evidence).unwrap()).await), "AR-E304");
}
