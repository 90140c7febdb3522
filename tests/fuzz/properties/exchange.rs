//! What agents send to a broker, and what it answers.

use crate::{read, shown};
use attest_appraisal::{AttestationKey, ProvenEndorsement, RawQuote};
use attest_evidence::exchange::logs::{
    EventLogSent, LARGEST_MEASUREMENTS, Logs, compress, decompress_event_log, decompress_measurements, measurements,
};
use attest_evidence::exchange::{
    ActivationRequest, ChallengeKey, ChallengeRequest, EnrolmentChallenge, EnrolmentOutcome, EnrolmentRequest,
    EnrolmentToken, Exchange, GrantBody, LONGEST_EXCHANGE, LeaseClose, LeaseMessage, LeaseWatch, LeaseWords,
    LeasesEnded, MOST_LEASES, Request, Sealed, SessionEnd, SessionOpened, SessionRequest, SignedGrant, write_exchange,
};
use attest_evidence::report::Explain as _;
use attest_evidence::{Sha256Digest, UnixSeconds};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Everything that a broker reads of a runner, and a runner of its broker: what is read and written again is the same.
pub fn exchange(bytes: &[u8]) {
    let challenge = read(bytes, Exchange::challenge_of(bytes));
    if let Some(exchange) = read(bytes, Exchange::parse(bytes)) {
        assert_eq!(challenge.as_ref(), Some(&exchange.challenge));
        assert!(ChallengeKey::new([0; 32]).check(&exchange.challenge, UnixSeconds(0)).is_err());
        let challenge = exchange.challenge.to_bytes();
        let length = u16::try_from(challenge.len()).unwrap_or(u16::MAX);
        let bound = [&length.to_be_bytes(), challenge.as_slice(), exchange.request].concat();
        assert_eq!(exchange.bound, Sha256Digest::of(&bound));
        assert_eq!(write_exchange(&bound, &exchange.evidence).as_deref(), Ok(bytes));
        assert!(bytes.len() <= LONGEST_EXCHANGE);
        words(exchange.request);
        let evidence = &exchange.evidence;
        sent(&evidence.logs);
        let raw = RawQuote { message: evidence.quote, signature: evidence.signature, pcrs: evidence.pcrs };
        if let Err(refused) = raw.parse() {
            shown(&refused.report());
        }
    }
    if let Some(grant) = read(bytes, SignedGrant::parse(bytes)) {
        assert_eq!(grant.to_bytes(), bytes);
        body(grant.body);
    }
    words(bytes);
    body(bytes);
    sealed::<LeaseMessage>(bytes);
    sealed::<LeaseWatch>(bytes);
    json::<ChallengeRequest>(bytes);
    json::<LeasesEnded>(bytes);
    json::<SessionOpened>(bytes);
}

/// The logs that come along: never more of them than may be, whatever they were compressed from.
fn sent(raw: &[(u16, &[u8])]) {
    let Ok(logs) = Logs::read(raw) else { return };
    if let Some(EventLogSent::Whole(compressed)) = logs.event_log
        && let Ok(log) = decompress_event_log(compressed)
    {
        assert!(log.len() <= attest_evidence::eventlog::LARGEST_LOG);
        assert_eq!(decompress_event_log(&compress(&log)), Ok(log));
    }
    if let Some(sent) = logs.measurements
        && let Ok(list) = decompress_measurements(sent.compressed)
    {
        assert!(list.len() <= LARGEST_MEASUREMENTS);
        let (_, again) = measurements(sent.first, &list);
        assert!(again.starts_with(&sent.first.to_be_bytes()));
        assert_eq!(decompress_measurements(again.get(8..).unwrap_or_default()), Ok(list));
    }
}

/// What may stand behind the challenge.
fn words(bytes: &[u8]) {
    if let Some(request) = read(bytes, Request::parse(bytes)) {
        assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
    }
    if let Some(request) = read(bytes, SessionRequest::parse(bytes)) {
        assert_eq!(SessionRequest::parse(&request.to_bytes()), Ok(request));
    }
    if let Some(end) = read(bytes, SessionEnd::parse(bytes)) {
        assert_eq!(SessionEnd::parse(&end.to_bytes()), Ok(end));
    }
    if let Some(close) = read(bytes, LeaseClose::parse(bytes)) {
        sealed::<LeaseMessage>(&close.release);
        assert_eq!(LeaseClose::parse(&close.to_bytes()), Ok(close));
    }
}

fn body(bytes: &[u8]) {
    if let Some(body) = read(bytes, GrantBody::parse(bytes)) {
        assert_eq!(GrantBody::parse(&body.to_bytes()), Ok(body));
    }
}

fn sealed<T: LeaseWords + Clone + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    const KEY: &[u8] = b"the key of a lease";
    if let Some(one) = read(bytes, Sealed::<T>::parse(bytes)) {
        assert!(!one.authenticates(KEY), "nobody has this key");
        let written = attest_evidence::exchange::seal(&one.claimed, KEY);
        let again = Sealed::<T>::parse(&written).expect("it was sealed");
        assert!(again.authenticates(KEY) && again.claimed == one.claimed);
        assert_eq!(Sealed::<T>::parse_all(bytes).map(|all| all.len()), Ok(1));
    }
    if let Some(all) = read(bytes, Sealed::<T>::parse_all(bytes)) {
        assert!((1..=MOST_LEASES).contains(&all.len()));
    }
}

/// JSON, whose second writing is the first.
fn json<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&value).expect("it was JSON");
    let again: T = serde_json::from_slice(&written).expect("it was written");
    assert_eq!(serde_json::to_vec(&again).ok(), Some(written));
    Some(value)
}

/// The messages of an enrolment, and what the broker makes of the stranger's keys in them.
pub fn enrolment(bytes: &[u8]) {
    if let Some(request) = json::<EnrolmentRequest>(bytes) {
        match AttestationKey::check(&request.ak) {
            Ok(key) => {
                let roots = crate::results::roots();
                match ProvenEndorsement::check(&request.endorsement, &key, &roots, crate::results::NOW) {
                    Ok(proven) => assert!(proven.certified || proven.ek.is_some()),
                    Err(refused) => shown(&refused.report()),
                }
            }
            Err(refused) => shown(&refused.report()),
        }
    }
    json::<EnrolmentChallenge>(bytes);
    json::<EnrolmentOutcome>(bytes);
    if let Some(activation) = json::<ActivationRequest>(bytes) {
        let raw = RawQuote { message: &activation.proof, signature: &activation.signature, pcrs: &[] };
        if let Err(refused) = raw.parse() {
            shown(&refused.report());
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = EnrolmentToken::parse(text) {
        token.to_text().expose(|written| assert_eq!(written, text.trim().as_bytes()));
    }
}
