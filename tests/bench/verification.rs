//! One exchange, verified in process, beside what no verifier can do without: its public-key operation.

use crate::support::SoftAk;
use crate::{ROUNDS, in_turn_by_the_hundred, median, row, timed};
use attest_appraisal::boot::{References, ReplayedLog};
use attest_appraisal::signature::{PureRust, SignatureVerifier};
use attest_appraisal::{
    AppraisedHost, AttestationKey, Continuity, EnrolledRunner, HostEvidence, Purpose, QuotedHost, TpmClass,
};
use attest_broker::signatures::AwsLc;
use attest_evidence::bytes::put_sized_u16;
use attest_evidence::eventlog::EventLog;
use attest_evidence::exchange::logs::{EventLogSent, Logs, decompress_event_log, event_log, known_event_log};
use attest_evidence::exchange::{
    ChallengeKey, Exchange, Isolation, Nonce, RawEvidence, Request, RunnerState, StepIdentity, qualifying_data,
    write_bound, write_exchange,
};
use attest_evidence::tpm::{PcrSelection, PcrValues, PublicKey, Signature, SignatureValue, fixed};
use attest_evidence::{HashAlgorithm, Sha256Digest, UnixSeconds};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

/// What a broker asks for, unless told otherwise.
const SELECTION: &str = "0,1,2,3,4,5,6,7,8,9,14";
/// How fast an exchange has to be verified, in per cent of the floor's speed.
const LEAST_OF_FLOOR: f64 = 80.0;

/// A runner that booted what the log says, what an admin allowed it, and the logs that the broker has at hand.
struct Scene {
    runner: EnrolledRunner,
    references: References,
    last: Continuity,
    at_hand: HashMap<Sha256Digest, Arc<ReplayedLog>>,
    challenges: ChallengeKey,
    /// With the log by its digest, and whole.
    known: Vec<u8>,
    whole: Vec<u8>,
    /// What the floor is over.
    statement: Vec<u8>,
    signature: [u8; 64],
    point: Vec<u8>,
}

impl Scene {
    fn set(log: &[u8]) -> Self {
        let key = SoftAk::p256();
        let selection: PcrSelection = SELECTION.parse().unwrap();
        let replayed = ReplayedLog::of(&EventLog::parse(log).unwrap());
        let values = PcrValues::new(selection.indexes().map(|index| {
            let value = replayed.values().get(&index).copied().unwrap_or(index.at_reset(HashAlgorithm::Sha256));
            (index, value.as_bytes().try_into().unwrap())
        }));
        let mut references = "[[boot]]\nname = \"builders\"\nrunners = [\"r\"]\n\n[boot.pcrs]\n".to_owned();
        for (index, value) in values.iter() {
            writeln!(references, "{index} = [\"{}\"]", attest_evidence::digest::to_hex(value)).unwrap();
        }
        let attestation_key = AttestationKey::check(&key.public()).unwrap();
        let challenges = ChallengeKey::new([7; 32]);
        let challenge = challenges.challenge(
            Nonce::from_bytes([1; 32]),
            "brk_aaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
            key.name(),
            selection,
            UnixSeconds(1000),
        );
        let request = Request {
            isolation: Isolation::Agent,
            session: None,
            step: StepIdentity { name: "release-sign".parse().unwrap(), stage: "prod".parse().unwrap() },
            component: Sha256Digest::of(b"component"),
            manifest: Sha256Digest::of(b"manifest"),
            arguments: vec!["v1.0.0".to_owned()],
            directories: Vec::new(),
            measurement: None,
            hpke_public_key: [9; 32],
            secrets: Vec::new(),
            tokens: Vec::new(),
            keys: Vec::new(),
            http: Vec::new(),
        };
        let bound = write_bound(&challenge, &request).unwrap();
        let statement = statement(&qualifying_data(&Sha256Digest::of(&bound)), selection, &values.digest());
        let signature = key.sign(&statement);
        let exchange = |(kind, log): (u16, Vec<u8>)| {
            let logs = vec![(kind, log.as_slice())];
            let (quote, pcrs) = (&*statement, &*values.to_bytes());
            write_exchange(&bound, &RawEvidence { quote, signature: &signature, pcrs, logs }).unwrap()
        };
        let digest = Sha256Digest::of(log);
        let SignatureValue::Ecdsa { r, s } = Signature::parse(&signature).unwrap().value else { panic!("ECDSA") };
        let PublicKey::P256 { x, y } = attestation_key.key() else { panic!("P-256") };
        let point = [&[4], x.as_slice(), y].concat();
        let (r, s): ([u8; 32], [u8; 32]) = (fixed(r).unwrap(), fixed(s).unwrap());
        Self {
            known: exchange(known_event_log(&digest)),
            whole: exchange(event_log(log)),
            signature: [r, s].concat().try_into().unwrap(),
            statement: statement.clone(),
            point,
            at_hand: [(digest, Arc::new(replayed))].into(),
            references: References::parse(&references).unwrap(),
            last: Continuity { clock: 1, reset_count: 0, restart_count: 0 },
            challenges,
            runner: EnrolledRunner {
                name: "r".parse().unwrap(),
                key: attestation_key,
                class: TpmClass::Software,
                isolation: Isolation::Agent,
                state: RunnerState::Approved,
            },
        }
    }

    /// From the bytes of an exchange to a machine that is believed: what the broker does, without its database.
    fn verify(&self, bytes: &[u8], verifier: &dyn SignatureVerifier) -> AppraisedHost {
        let challenge = Exchange::challenge_of(bytes).unwrap();
        self.challenges.check(&challenge, UnixSeconds(900)).unwrap();
        let exchange = Exchange::parse(bytes).unwrap();
        let request = Request::parse(exchange.request).unwrap();
        let host = QuotedHost::verify(&exchange, Purpose::Grant, request.isolation, &self.runner, verifier).unwrap();
        let (digest, replayed) = self.log(&exchange);
        let evidence = HostEvidence {
            event_log: Some((digest, &*replayed)),
            references: &self.references,
            measurements: None,
            last: Some(self.last),
        };
        host.appraise(evidence, UnixSeconds(900)).unwrap()
    }

    fn log(&self, exchange: &Exchange<'_>) -> (Sha256Digest, Arc<ReplayedLog>) {
        match Logs::read(&exchange.evidence.logs).unwrap().event_log.unwrap() {
            EventLogSent::Known(digest) => (digest, Arc::clone(&self.at_hand[&digest])),
            EventLogSent::Whole(compressed) => {
                let log = decompress_event_log(compressed).unwrap();
                (Sha256Digest::of(&log), Arc::new(ReplayedLog::of(&EventLog::parse(&log).unwrap())))
            }
        }
    }
}

/// `TPMS_ATTEST`, as a TPM makes it.
fn statement(qualifying: &Sha256Digest, selection: PcrSelection, pcrs: &Sha256Digest) -> Vec<u8> {
    let mut out = 0xff54_4347_u32.to_be_bytes().to_vec();
    out.extend(0x8018_u16.to_be_bytes());
    put_sized_u16(&mut out, &[0; 34]).unwrap();
    put_sized_u16(&mut out, qualifying.as_bytes()).unwrap();
    out.extend(1000_u64.to_be_bytes());
    out.extend([0; 8]);
    out.push(1);
    out.extend([0; 8]);
    out.extend(selection.to_tpml());
    put_sized_u16(&mut out, pcrs.as_bytes()).unwrap();
    out
}

/// An exchange with an event log of 64 KiB, beside its one public-key operation by the fastest library that is linked.
pub(crate) fn exchange(log: &[u8]) {
    let scene = Scene::set(log);
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &scene.point).unwrap();
    let mut floor = || key.verify_sig(black_box(&scene.statement), black_box(&scene.signature)).unwrap();
    let beside = "ECDSA P-256 verified by aws-lc alone";
    let size = log.len() / 1024;
    for (what, bytes, verifier) in [
        ("log by its digest", &scene.known, &AwsLc as &dyn SignatureVerifier),
        ("log sent whole", &scene.whole, &AwsLc),
        ("the same, pure Rust", &scene.known, &PureRust),
    ] {
        let verify = || drop(black_box(scene.verify(black_box(bytes), verifier)));
        let (ours, theirs) = in_turn_by_the_hundred(ROUNDS, verify, &mut floor);
        row(&format!("exchange, {size} KiB {what}"), ours, beside, theirs);
        let percent = theirs.as_secs_f64() / ours.as_secs_f64() * 100.0;
        let met = if percent >= LEAST_OF_FLOOR { "met" } else { "missed" };
        println!("  of the floor's speed; {LEAST_OF_FLOOR:.0} % are wanted {:>12} {percent:>9.0} %    {met}", "");
    }
    parts(&scene, log);
}

/// What an exchange's time goes to.
fn parts(scene: &Scene, log: &[u8]) {
    let exchange = Exchange::parse(&scene.known).unwrap();
    let (_, compressed) = event_log(log);
    let parsed = EventLog::parse(log).unwrap();
    let host = QuotedHost::verify(&exchange, Purpose::Grant, Isolation::Agent, &scene.runner, &AwsLc).unwrap();
    let (digest, replayed) = scene.log(&exchange);
    let (references, last) = (&scene.references, Some(scene.last));
    let part = |what: &str, work: &mut dyn FnMut()| {
        let time = median((0..ROUNDS).map(|_| timed(&mut || (0..100).for_each(|_| work())) / 100).collect());
        println!("  of it: {what:37} {:>9.4} ms", time.as_secs_f64() * 1000.0);
    };
    part("challenge read and checked", &mut || {
        let challenge = Exchange::challenge_of(black_box(&scene.known)).unwrap();
        scene.challenges.check(&challenge, UnixSeconds(900)).unwrap();
    });
    part("exchange and request read", &mut || {
        let exchange = Exchange::parse(black_box(&scene.known)).unwrap();
        black_box(Request::parse(exchange.request).unwrap());
    });
    part("the quote", &mut || {
        let (isolation, runner) = (Isolation::Agent, &scene.runner);
        black_box(QuotedHost::verify(&exchange, Purpose::Grant, isolation, runner, &AwsLc).unwrap());
    });
    part("machine appraised, log at hand", &mut || {
        let evidence = HostEvidence { event_log: Some((digest, &*replayed)), references, measurements: None, last };
        black_box(host.clone().appraise(evidence, UnixSeconds(900)).unwrap());
    });
    part("a log sent whole: decompressed", &mut || drop(decompress_event_log(black_box(&compressed)).unwrap()));
    part("a log sent whole: hashed", &mut || {
        black_box(Sha256Digest::of(black_box(log)));
    });
    part("a log sent whole: parsed", &mut || drop(EventLog::parse(black_box(log)).unwrap()));
    part("a log sent whole: replayed and read", &mut || drop(black_box(ReplayedLog::of(&parsed))));
}
