//! The exchange: what the agent sends for a grant, and what it gets.
//!
//! ```text
//! exchange := version:u16 ‖ len:u32 ‖ bound ‖ evidence
//! bound    := len:u16 ‖ challenge ‖ request
//! request  := JSON, strict
//! evidence := len:u32 ‖ TPMS_ATTEST ‖ len:u32 ‖ TPMT_SIGNATURE ‖ len:u32 ‖ PCR values ‖ count:u32 ‖ log*
//! log      := kind:u16 ‖ len:u32 ‖ bytes
//! ```
//!
//! The quote's qualifying data is [`qualifying_data`] over the bytes of `bound`. There is no canonical form:
//! the bytes that were hashed are the bytes that are parsed. What is not in `bound` is not attested.
//!
//! The challenge stands first, so that the broker can take its nonce out of use before it looks at anything
//! else.

mod audience;
mod challenge;
mod destination;
mod enrolment;
mod grant;
mod lease;
mod ledger;
pub mod logs;
mod request;
mod session;

pub use audience::{Audience, BadAudience};
pub use challenge::{Challenge, ChallengeKey, ChallengeRefused, ChallengeRequest, Nonce};
pub use destination::{BadDestination, Destination, GrantedOrigin, Host, Method, Origin, PathPrefix, Place, Scheme};
pub use enrolment::{
    ActivationRequest, Endorsement, EnrolmentChallenge, EnrolmentOutcome, EnrolmentRequest, EnrolmentToken, Pins,
    RunnerState, TokenError,
};
pub use grant::{
    GRANT_DOMAIN, GrantBody, GrantedKey, GrantedSecret, GrantedToken, HPKE_INFO, KeyOpening, SealedSecret, SignedGrant,
    Undeclared,
};
pub use lease::{
    EndedLease, LEASE_EXPORT, LeaseClose, LeaseMessage, LeaseSignal, LeaseWatch, LeaseWords, LeasesEnded, MOST_LEASES,
    Sealed, lease_end_qualifying_data, seal,
};
pub use ledger::{
    FileDigest, FilesSeen, KeyLedger, Ledger, LedgerRequest, LedgerSecretUse, OriginLedger, OutputLedger, SecretLedger,
    TokenLedger, UndeclaredFinding,
};
pub use request::{
    BoundDirectory, DirectoryMode, Isolation, KeyFormat, KeyRequest, KeyUse, LeasedKey, OriginRequest, Request,
    SecretRequest, SecretUse, StepIdentity, TokenRequest, key_certification_data,
};
pub use session::{SessionEnd, SessionOpened, SessionRequest, session_end_qualifying_data, session_qualifying_data};

use crate::bytes::{Malformed, Problem, Reader, put_sized_u16, put_sized_u32};
use crate::digest::Sha256Digest;

/// The version of the exchange that this crate speaks.
pub const VERSION: u16 = 1;
const VERSION_WANTED: &str = "1 is wanted: agent and broker speak different versions";
/// Most bytes of `bound`: a request with some hundred handles and arguments is under 64 KiB.
pub const LONGEST_BOUND: u32 = 128 * 1024;
/// Most bytes of one log, compressed: an event log of 67 KiB comes to 24, and the largest that firmware has room for to
/// some 200.
pub const LONGEST_LOG: u32 = 512 * 1024;
/// Most bytes of what a kernel measured, compressed: some 60,000 entries, of which half is digests.
pub const LONGEST_MEASUREMENTS: u32 = 4 * 1024 * 1024;
/// Most bytes of an exchange that brings an event log, and of measurements no more than are made from one step to the next.
pub const USUAL_EXCHANGE: usize = 768 * 1024;
/// Most bytes of one exchange: `bound`, a quote, and logs as long as may be.
pub const LONGEST_EXCHANGE: usize = USUAL_EXCHANGE + LONGEST_MEASUREMENTS as usize;
/// Most logs.
const MOST_LOGS: u32 = 4;

/// An exchange taken apart, nothing in it checked but its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The challenge that it answers.
    pub challenge: Challenge,
    /// What it asks for, still as bytes: [`Request::parse`] reads them once the nonce is used up.
    pub request: &'a [u8],
    /// Digest of `bound`, for the qualifying data and the grant.
    pub bound: Sha256Digest,
    /// `bound` itself, for whoever checks the quote again later.
    pub bound_bytes: &'a [u8],
    /// What should prove it.
    pub evidence: RawEvidence<'a>,
}

/// The evidence of an exchange, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvidence<'a> {
    /// `TPMS_ATTEST`.
    pub quote: &'a [u8],
    /// `TPMT_SIGNATURE`.
    pub signature: &'a [u8],
    /// The values of the selected PCRs, 32 bytes each, ascending.
    pub pcrs: &'a [u8],
    /// Logs by kind: [`logs::Logs::read`] reads them.
    pub logs: Vec<(u16, &'a [u8])>,
}

/// `SHA-256("attest-run/exchange/v1" ‖ SHA-256(bound))`.
pub fn qualifying_data(bound: &Sha256Digest) -> Sha256Digest {
    Sha256Digest::of_parts([b"attest-run/exchange/v1".as_slice(), bound.as_bytes()])
}

/// Qualifying data of the quote by which a certified attestation key proves, at enrolment, that it is here:
/// SHA-256 over a domain of its own and what the broker chose. A broker can't have another's exchange quoted by it.
pub fn enrolment_qualifying_data(chosen: &Sha256Digest) -> Sha256Digest {
    Sha256Digest::of_parts([b"attest-run/enrolment/v1".as_slice(), chosen.as_bytes()])
}

/// The qualifying data of a quote that a user asked for, in a domain of its own: it is never that of an
/// exchange, whatever the nonce.
pub fn user_qualifying_data(nonce: &[u8]) -> Sha256Digest {
    Sha256Digest::of_parts([b"attest-run/user-quote/v1".as_slice(), nonce])
}

/// The bytes of `bound`.
///
/// # Errors
/// Refuses a request that makes it longer than [`LONGEST_BOUND`].
pub fn write_bound(challenge: &Challenge, request: &Request) -> Result<Vec<u8>, Malformed> {
    bind(challenge, &request.to_bytes())
}

/// The bytes of the `bound` of a redemption.
///
/// # Errors
/// Refuses a token that makes it longer than [`LONGEST_BOUND`].
pub fn write_session_bound(challenge: &Challenge, request: &SessionRequest) -> Result<Vec<u8>, Malformed> {
    bind(challenge, &request.to_bytes())
}

/// The bytes of the `bound` of a job's end.
///
/// # Errors
/// None that can come to pass: its words are few.
pub fn write_session_end_bound(challenge: &Challenge, end: &SessionEnd) -> Result<Vec<u8>, Malformed> {
    bind(challenge, &end.to_bytes())
}

/// The bytes of the `bound` of a lease's end.
///
/// # Errors
/// None that can come to pass: its words are few.
pub fn write_lease_close_bound(challenge: &Challenge, close: &LeaseClose) -> Result<Vec<u8>, Malformed> {
    bind(challenge, &close.to_bytes())
}

fn bind(challenge: &Challenge, request: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut bound = Vec::new();
    let too_long = |length: usize| Malformed {
        structure: "bound",
        offset: 0,
        problem: Problem::TooMany { field: "length", value: length as u64, most: LONGEST_BOUND.into() },
    };
    put_sized_u16(&mut bound, &challenge.to_bytes()).ok_or_else(|| too_long(0))?;
    bound.extend(request);
    if bound.len() as u64 > LONGEST_BOUND.into() { Err(too_long(bound.len())) } else { Ok(bound) }
}

/// The bytes of an exchange.
///
/// # Errors
/// Refuses parts above their bounds.
pub fn write_exchange(bound: &[u8], evidence: &RawEvidence<'_>) -> Result<Vec<u8>, Malformed> {
    let too_long = || Malformed {
        structure: "exchange",
        offset: 0,
        problem: Problem::TooMany { field: "length", value: u64::MAX, most: LONGEST_EXCHANGE as u64 },
    };
    let mut out = VERSION.to_be_bytes().to_vec();
    for part in [bound, evidence.quote, evidence.signature, evidence.pcrs] {
        put_sized_u32(&mut out, part).ok_or_else(too_long)?;
    }
    out.extend(u32::try_from(evidence.logs.len()).map_err(|_| too_long())?.to_be_bytes());
    for (kind, bytes) in &evidence.logs {
        out.extend(kind.to_be_bytes());
        put_sized_u32(&mut out, bytes).ok_or_else(too_long)?;
    }
    if out.len() > LONGEST_EXCHANGE { Err(too_long()) } else { Ok(out) }
}

impl<'a> Exchange<'a> {
    /// The challenge alone, whatever follows it: its nonce is to be taken out of use before anything else is
    /// looked at, so that a broken exchange uses it up too.
    ///
    /// # Errors
    /// Refuses bytes that don't start as an exchange does.
    pub fn challenge_of(bytes: &[u8]) -> Result<Challenge, Malformed> {
        let mut reader = Reader::new("exchange", bytes);
        reader.expect_u16("version", VERSION, VERSION_WANTED)?;
        let at_bound = reader.clone();
        let length = reader.u32()?;
        if length > LONGEST_BOUND {
            let problem = Problem::TooMany { field: "bound", value: length.into(), most: LONGEST_BOUND.into() };
            return Err(at_bound.malformed(problem));
        }
        Challenge::parse(reader.sized_u16("challenge", 256)?)
    }

    /// Takes one whole exchange apart, down to the challenge but not into the request.
    ///
    /// # Errors
    /// Refuses other versions, parts above their bounds, and bytes missing or left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("exchange", bytes);
        reader.expect_u16("version", VERSION, VERSION_WANTED)?;
        let bound = reader.sized_u32("bound", LONGEST_BOUND)?;
        let quote = reader.sized_u32("quote", 4096)?;
        let signature = reader.sized_u32("signature", 4096)?;
        let pcrs = reader.sized_u32("PCR values", 24 * 32)?;
        let at_count = reader.clone();
        let count = reader.u32()?;
        if count > MOST_LOGS {
            let problem = Problem::TooMany { field: "logs", value: count.into(), most: MOST_LOGS.into() };
            return Err(at_count.malformed(problem));
        }
        let logs = (0..count)
            .map(|_| {
                let kind = reader.u16()?;
                Ok((kind, reader.sized_u32("log", logs::longest(kind))?))
            })
            .collect::<Result<_, Malformed>>()?;
        reader.end()?;

        let mut inner = Reader::new("bound", bound);
        let challenge = Challenge::parse(inner.sized_u16("challenge", 256)?)?;
        let request = bound.get(inner.offset()..).unwrap_or_default();
        let evidence = RawEvidence { quote, signature, pcrs, logs };
        Ok(Self { challenge, request, bound: Sha256Digest::of(bound), bound_bytes: bound, evidence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn challenge() -> Challenge {
        let key = ChallengeKey::new([9; 32]);
        let ak = crate::tpm::TpmName::of(b"ak");
        let selection = "0,7".parse().unwrap();
        key.challenge(
            Nonce::from_bytes([1; 32]),
            crate::name::BrokerId::from_bytes([2; 16]),
            ak,
            selection,
            crate::UnixSeconds(60),
        )
    }

    fn exchange(request: &[u8]) -> Vec<u8> {
        let mut bound = Vec::new();
        put_sized_u16(&mut bound, &challenge().to_bytes()).unwrap();
        bound.extend(request);
        let evidence =
            RawEvidence { quote: b"quote", signature: b"signature", pcrs: &[0; 64], logs: vec![(1, b"log")] };
        write_exchange(&bound, &evidence).unwrap()
    }

    #[test]
    fn what_was_written_is_what_is_read() {
        let bytes = exchange(b"{}");
        let exchange = Exchange::parse(&bytes).unwrap();
        assert_eq!(exchange.challenge, challenge());
        assert_eq!(exchange.request, b"{}");
        assert_eq!(exchange.evidence.quote, b"quote");
        assert_eq!(exchange.evidence.logs, [(1, b"log".as_slice())]);
    }

    #[test]
    fn truncated_at_every_length_and_extended_by_a_byte_it_is_refused() {
        let bytes = exchange(b"{}");
        for length in 0..bytes.len() {
            assert!(matches!(
                Exchange::parse(&bytes[..length]),
                Err(Malformed { problem: Problem::Truncated { .. }, .. })
            ));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(Exchange::parse(&longer), Err(Malformed { problem: Problem::TrailingBytes(1), .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Exchange::parse(&bytes);
        }

        #[test]
        fn one_changed_byte_of_bound_changes_the_qualifying_data(at in 0usize..100, change in 1u8..) {
            let mut bound = write_bound_of(b"{\"a\":1}");
            let before = qualifying_data(&Sha256Digest::of(&bound));
            let at = at % bound.len();
            bound[at] ^= change;
            prop_assert_ne!(before, qualifying_data(&Sha256Digest::of(&bound)));
        }
    }

    fn write_bound_of(request: &[u8]) -> Vec<u8> {
        let mut bound = Vec::new();
        put_sized_u16(&mut bound, &challenge().to_bytes()).unwrap();
        bound.extend(request);
        bound
    }
}
