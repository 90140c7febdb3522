//! Keys that obey their lease: the TPM uses one only in a session that a broker has signed for (Part 3 §23.3).
//!
//! A session is begun, and its nonce goes to the broker. The broker's signature over it opens the session and gives a ticket, by
//! which further sessions are opened until its time is up (§23.5). What a ticket is worth is the TPM's to say: it made it, by a
//! key of its own, and counts the time itself.

use super::Device;
use super::command::{Authorization, Code, Command};
use super::keys::{STORAGE_ROOT, SigningKey, StoredKey};
use crate::error::TpmError;
use attest_evidence::Sha256Digest;
use attest_evidence::tpm::{
    KeyPolicy, NONCE, PcrSelection, PcrState, Signature, SignatureValue, algorithm, expiration, fixed,
};
use std::sync::Arc;

const START_AUTH_SESSION: Code = ("TPM2_StartAuthSession", 0x176);
const CONTEXT_SAVE: Code = ("TPM2_ContextSave", 0x162);
const CONTEXT_LOAD: Code = ("TPM2_ContextLoad", 0x161);
const FLUSH_CONTEXT: Code = ("TPM2_FlushContext", 0x165);
const LOAD: Code = ("TPM2_Load", 0x157);
const LOAD_EXTERNAL: Code = ("TPM2_LoadExternal", 0x167);
const POLICY_SIGNED: Code = ("TPM2_PolicySigned", 0x160);
const POLICY_TICKET: Code = ("TPM2_PolicyTicket", 0x172);
const POLICY_PCR: Code = ("TPM2_PolicyPCR", 0x17f);
const SIGN: Code = ("TPM2_Sign", 0x15d);

/// `TPM_RH_NULL` and `TPM_RH_OWNER` (Part 2 §7.4).
const NULL: u32 = 0x4000_0007;
const OWNER: u32 = 0x4000_0001;
/// `TPM_SE_POLICY` (Part 2 §6.11).
const POLICY_SESSION: u8 = 1;
/// `TPM_ST_HASHCHECK` (Part 2 §6.9).
const ST_HASHCHECK: u16 = 0x8024;
/// `TPM2B_TIMEOUT` is of eight bytes (Part 2 §10.4.10), and a bit more in TPMs that say by it when a reset ends it.
const LONGEST_TIMEOUT: u16 = 64;
/// The caller's nonce counts where there is an HMAC: here is none. The TPM's is as long.
const CALLERS_NONCE: [u8; NONCE] = [0; NONCE];
#[expect(clippy::cast_possible_truncation, reason = "it is 24")]
const NONCE_LENGTH: u16 = NONCE as u16;

/// A session that waits for a broker's signature. It takes one of the 64 that a TPM can have, and none of the 3 that it can
/// have loaded. It ends in [`Device::open_lease`]; one that is dropped the device flushes when it is used next, at the latest when
/// it is closed: nobody else would, for a session that is saved belongs to no connection any more.
#[derive(Debug)]
pub struct AwaitingSession {
    handle: Arc<u32>,
    /// `TPMS_CONTEXT`.
    context: Vec<u8>,
    nonce: [u8; NONCE],
}

impl AwaitingSession {
    /// nonceTPM: what the broker signs.
    pub const fn nonce(&self) -> &[u8; NONCE] {
        &self.nonce
    }
}

/// What a broker signed: see [`authorization`](attest_evidence::tpm::authorization).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// For how long, from when the session was begun.
    pub seconds: u32,
    /// ECDSA over P-256: r, then s.
    pub signature: [u8; 64],
}

/// The TPM's word that a broker has signed for a key, until a time (`TPMT_TK_AUTH`, Part 2 §10.7.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTicket {
    timeout: Vec<u8>,
    ticket: Vec<u8>,
}

impl Device {
    /// Makes a signing key that only `policy` opens: P-256, not exportable.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn create_leased_key(&mut self, policy: &KeyPolicy) -> Result<SigningKey, TpmError> {
        self.create_signing_key_with(Some(&policy.digest()))
    }

    /// The state that the selected PCRs are in.
    ///
    /// # Errors
    /// Whatever the TPM reports, and PCRs that the bank doesn't have.
    pub fn pcr_state(&mut self, selection: PcrSelection) -> Result<PcrState, TpmError> {
        Ok(PcrState { selection, digest: self.read_pcrs(selection)?.digest() })
    }

    /// Begins a session for a broker to sign for.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn begin_lease(&mut self) -> Result<AwaitingSession, TpmError> {
        self.flush_abandoned();
        let (handle, nonce) = self.start_policy_session()?;
        let saved = self.send(&Command::new(CONTEXT_SAVE).handle(handle), false);
        match saved {
            Ok(saved) => {
                let (handle, context) = (Arc::new(handle), saved.parameters().to_vec());
                self.awaiting.push(Arc::clone(&handle));
                Ok(AwaitingSession { handle, context, nonce })
            }
            Err(error) => {
                self.flush_raw(handle);
                Err(error)
            }
        }
    }

    /// Ends the sessions that nobody waits for any more.
    pub fn flush_abandoned(&mut self) {
        let (held, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.awaiting).into_iter().partition(|handle| Arc::strong_count(handle) > 1);
        self.awaiting = held;
        for handle in gone {
            self.flush_raw(*handle);
        }
    }

    /// Ends all sessions that wait.
    pub(super) fn flush_awaiting(&mut self) {
        for handle in std::mem::take(&mut self.awaiting) {
            self.flush_raw(*handle);
        }
    }

    /// Shows the TPM that a broker has signed for a key, and gets a ticket for it. `authority` is the broker's
    /// [`authority_public`](attest_evidence::tpm::authority_public).
    ///
    /// # Errors
    /// [`TpmError::NotAuthorized`] for a signature that is another's, or for another session or key; whatever the TPM reports.
    pub fn open_lease(
        &mut self,
        session: AwaitingSession,
        authority: &[u8],
        reference: &Sha256Digest,
        opening: &Opening,
    ) -> Result<KeyTicket, TpmError> {
        let AwaitingSession { handle, context, nonce } = session;
        let ours = |known: &Arc<u32>| Arc::ptr_eq(known, &handle);
        if !self.awaiting.iter().any(ours) {
            // Of before the TPM was reset: its number may be another's by now.
            return Err(TpmError::LeaseOver);
        }
        self.awaiting.retain(|known| !ours(known));
        let opened = self.opened(*handle, &context, &nonce, authority, reference, opening);
        self.flush_raw(*handle);
        opened
    }

    fn opened(
        &mut self,
        handle: u32,
        context: &[u8],
        nonce: &[u8; NONCE],
        authority: &[u8],
        reference: &Sha256Digest,
        opening: &Opening,
    ) -> Result<KeyTicket, TpmError> {
        self.unload();
        self.send(&Command::new(CONTEXT_LOAD).put(context), true)?;
        let load = Command::new(LOAD_EXTERNAL).sized(&[]).sized(authority).put(&OWNER.to_be_bytes());
        let key = self.send(&load, true)?.handle;
        let (r, s) = opening.signature.split_at(32);
        let [ecdsa, sha256] = [algorithm::ECDSA, algorithm::SHA256].map(u16::to_be_bytes);
        let policy = Command::new(POLICY_SIGNED)
            .handle(key)
            .handle(handle)
            .sized(nonce)
            .sized(&[])
            .sized(reference.as_bytes())
            .put(&expiration(opening.seconds).to_be_bytes())
            .put(&ecdsa)
            .put(&sha256)
            .sized(r)
            .sized(s);
        let ticket = self.send(&policy, false).and_then(|response| {
            response.read(|mut reader| {
                let timeout = reader.sized_u16("timeout", LONGEST_TIMEOUT)?.to_vec();
                Ok(KeyTicket { timeout, ticket: reader.rest().to_vec() })
            })
        });
        self.flush_raw(key);
        ticket
    }

    /// Signs a SHA-256 digest with a key that obeys its lease: r then s, 32 bytes each. Two commands, three for a key that is
    /// bound to a boot state.
    ///
    /// The caller must have hashed and framed what is signed: a digest of unknown origin may be anything.
    ///
    /// # Errors
    /// [`TpmError::LeaseOver`] when the ticket's time is up, or the TPM was reset; [`TpmError::OtherBootState`] in another boot
    /// state; [`TpmError::PolicyFailed`] if the key obeys another policy; [`TpmError::ForeignKey`] for a key of another TPM;
    /// whatever else the TPM reports.
    pub fn sign_leased(
        &mut self,
        key: &SigningKey,
        policy: &KeyPolicy,
        ticket: &KeyTicket,
        digest: &Sha256Digest,
    ) -> Result<[u8; 64], TpmError> {
        let handle = self.load_leased(key.stored())?;
        let session = match self.policy_session {
            Some(session) => session,
            None => {
                let (session, _) = self.start_policy_session()?;
                self.policy_session = Some(session);
                session
            }
        };
        let signature = self.signed_in(session, handle, policy, ticket, digest);
        if signature.is_err() {
            // What its policy has become is of no use to the next.
            self.policy_session = None;
            self.flush_raw(session);
        }
        signature
    }

    fn signed_in(
        &mut self,
        session: u32,
        key: u32,
        policy: &KeyPolicy,
        ticket: &KeyTicket,
        digest: &Sha256Digest,
    ) -> Result<[u8; 64], TpmError> {
        let by_ticket = Command::new(POLICY_TICKET)
            .handle(session)
            .sized(&ticket.timeout)
            .sized(&[])
            .sized(policy.reference.as_bytes())
            .sized(policy.authority.as_bytes())
            .put(&ticket.ticket);
        self.send(&by_ticket, false)?;
        if let Some(PcrState { selection, digest }) = &policy.boot_state {
            let in_state = Command::new(POLICY_PCR).handle(session).sized(digest.as_bytes()).put(&selection.to_tpml());
            self.send(&in_state, false)?;
        }
        // No scheme but the key's own, and the ticket that says nothing (Part 2 §10.7.6).
        let sign = Command::new(SIGN)
            .handle(key)
            .authorized(Authorization::Policy(session))
            .sized(digest.as_bytes())
            .put(&algorithm::NULL.to_be_bytes())
            .put(&ST_HASHCHECK.to_be_bytes())
            .put(&NULL.to_be_bytes())
            .sized(&[]);
        let response = self.send(&sign, false)?;
        let another = || TpmError::Command { command: SIGN.0, reason: "another scheme came".to_owned() };
        let signature = Signature::parse(response.parameters()).map_err(|_| another())?;
        let SignatureValue::Ecdsa { r, s } = signature.value else { return Err(another()) };
        let (Some(r), Some(s)) = (fixed::<32>(r), fixed::<32>(s)) else { return Err(another()) };
        let mut r_s = [0; 64];
        let (first, second) = r_s.split_at_mut(32);
        first.copy_from_slice(&r);
        second.copy_from_slice(&s);
        Ok(r_s)
    }

    /// A policy session without salt, and its nonce. Nothing of it is protected but by what its policy asks for.
    fn start_policy_session(&mut self) -> Result<(u32, [u8; NONCE]), TpmError> {
        let start = Command::new(START_AUTH_SESSION)
            .handle(NULL)
            .handle(NULL)
            .sized(&CALLERS_NONCE)
            .sized(&[])
            .put(&[POLICY_SESSION])
            .put(&algorithm::NULL.to_be_bytes())
            .put(&algorithm::SHA256.to_be_bytes());
        let response = self.send(&start, true)?;
        let nonce = response.read(|mut reader| {
            reader.expect_u16("nonceTPM", NONCE_LENGTH, "as many bytes as the caller's are wanted")?;
            reader.array::<NONCE>()
        });
        match nonce {
            Ok(nonce) => Ok((response.handle, nonce)),
            Err(error) => {
                self.flush_raw(response.handle);
                Err(error)
            }
        }
    }

    /// Loads a key, or finds that it is the one loaded last.
    fn load_leased(&mut self, key: &StoredKey) -> Result<u32, TpmError> {
        let name = key.name();
        if let Some((loaded, handle)) = &self.leased
            && *loaded == name
        {
            return Ok(*handle);
        }
        self.unload();
        self.storage_root()?;
        let load = Command::new(LOAD)
            .handle(STORAGE_ROOT)
            .authorized(Authorization::Empty)
            .sized(key.private())
            .sized(key.public());
        let handle = self.send(&load, true)?.handle;
        self.leased = Some((name, handle));
        Ok(handle)
    }

    /// Closes the session in which keys sign.
    pub(super) fn close_policy_session(&mut self) {
        if let Some(session) = self.policy_session.take() {
            self.flush_raw(session);
        }
    }

    /// Lets go of the key that was used last: a TPM holds three.
    pub(super) fn unload(&mut self) {
        if let Some((_, handle)) = self.loaded.take() {
            self.flush(handle.into());
        }
        if let Some((_, handle)) = self.leased.take() {
            self.flush_raw(handle);
        }
    }

    /// Closes a session or object that the library does not know of.
    pub(super) fn flush_raw(&mut self, handle: u32) {
        if let Err(error) = self.send(&Command::new(FLUSH_CONTEXT).put(&handle.to_be_bytes()), false) {
            tracing::debug!(%error, "nothing to flush");
        }
    }
}
