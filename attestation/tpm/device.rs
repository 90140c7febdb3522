//! The TPM itself, as the thread that owns it sees it.

mod attestation;
mod command;
mod endorsement;
mod keys;
mod leased;
mod seal;

pub use attestation::{AttestationKey, Credentials, QuoteOutput};
pub use endorsement::Endorsed;
pub use keys::{DerivationKey, SigningKey, StoredKey};
pub use leased::{AwaitingSession, KeyTicket, Opening};
pub use seal::Sealed;

use crate::error::TpmError;
use crate::transport::{Channel, Counted, Lent, SessionProtection, Transport, open_context};
use attest_evidence::tpm::{PcrValues, TpmName};
use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{CapabilityType, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{CapabilityData, SymmetricDefinition};
use tss_esapi::traits::Marshall as _;

/// An open TPM. Used by one thread; see [`Tpm`](crate::Tpm) for the handle that others hold.
pub struct Device {
    context: Context,
    /// The same way to the TPM, for commands that the library does not know.
    raw: Counted,
    /// The way to the TPM, to be lent.
    spare: Lent,
    guard: Guard,
    failure: Arc<Mutex<Option<String>>>,
    /// Whether the way to the TPM has broken: what comes over it from now on may be the answer to something else.
    broken: Cell<bool>,
    commands: Arc<AtomicU64>,
    /// The Name of the EK with which the session was salted.
    salted_with: Option<TpmName>,
    attestation_key: Option<attestation::Loaded>,
    storage_root: Option<KeyHandle>,
    /// The key used last, still loaded: a step signs many files with one key.
    loaded: Option<(TpmName, KeyHandle)>,
    /// The same of keys that obey their lease, which the library does not know of. There is one of either.
    leased: Option<(TpmName, u32)>,
    /// The session in which these sign.
    policy_session: Option<u32>,
    /// Sessions that wait for a broker's signature.
    awaiting: Vec<Arc<u32>>,
    /// Values that the last quote agreed with.
    pcrs: Option<PcrValues>,
}

/// How commands are authorized and protected.
#[derive(Clone, Copy)]
enum Guard {
    /// Authorization values as they are.
    Password,
    /// A salted HMAC session that encrypts first parameters, open for the life of the context.
    Salted(AuthSession),
}

/// Handles that are in use in the TPM, for `doctor` and to show that none leaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handles {
    /// Transient objects.
    pub transient: Vec<u32>,
    /// Loaded sessions.
    pub sessions: Vec<u32>,
    /// Sessions that are saved outside, of everybody on this machine.
    pub saved_sessions: Vec<u32>,
    /// Persistent objects.
    pub persistent: Vec<u32>,
}

/// `TPM_HT_*` in the most significant octet (Part 2 §7.2).
const LOADED_SESSION_FIRST: u32 = 0x0200_0000;
const SAVED_SESSION_FIRST: u32 = 0x0300_0000;
const TRANSIENT_FIRST: u32 = 0x8000_0000;
const PERSISTENT_FIRST: u32 = 0x8100_0000;

impl Device {
    /// Opens the TPM at `transport`.
    ///
    /// # Errors
    /// Whatever keeps it from being opened; [`TpmError::Busy`] if somebody else has it.
    pub fn open(transport: &Transport, protection: SessionProtection) -> Result<Self, TpmError> {
        Self::on_channel(transport.open()?, protection, Arc::default())
    }

    /// The same TPM over a new connection, after the old one has been closed. `commands` goes on counting.
    ///
    /// # Errors
    /// Whatever keeps it from being opened, or from using `key` again.
    pub(crate) fn reopen(
        transport: &Transport,
        protection: SessionProtection,
        commands: Arc<AtomicU64>,
        key: Option<&Credentials>,
    ) -> Result<Self, TpmError> {
        let mut device = Self::on_channel(transport.open()?, protection, commands)?;
        if let Some(key) = key {
            device.use_attestation_key(key)?;
        }
        Ok(device)
    }

    /// The TPM behind a descriptor that another process has lent.
    ///
    /// # Errors
    /// Whatever keeps it from being used; [`TpmError::OtherEndorsementKey`] if it shows another EK than to the lender.
    pub fn borrowed(lent: Lent) -> Result<Self, TpmError> {
        let (protection, wanted) = (lent.protection, lent.ek.clone());
        let device = Self::on_channel(lent.channel(), protection, Arc::default())?;
        match (wanted, &device.salted_with) {
            (Some(wanted), Some(found)) if wanted != *found => {
                Err(TpmError::OtherEndorsementKey { wanted, found: found.clone() })
            }
            _ => Ok(device),
        }
    }

    fn on_channel(
        channel: Box<dyn Channel>,
        protection: SessionProtection,
        commands: Arc<AtomicU64>,
    ) -> Result<Self, TpmError> {
        let broken = |error: std::io::Error| TpmError::Broken { command: "opening", reason: error.to_string() };
        let mut spare = channel.lend().map_err(broken)?;
        spare.protection = protection;
        let raw = channel.lend().map_err(broken)?.channel();
        let raw = Counted { channel: raw, commands: Arc::clone(&commands) };
        let channel = Box::new(Counted { channel, commands: Arc::clone(&commands) });
        let (context, failure) = open_context(channel)?;
        let mut device = Self {
            context,
            raw,
            spare,
            guard: Guard::Password,
            failure,
            broken: Cell::new(false),
            commands,
            salted_with: None,
            attestation_key: None,
            storage_root: None,
            loaded: None,
            leased: None,
            policy_session: None,
            awaiting: Vec::new(),
            pcrs: None,
        };
        if protection == SessionProtection::Salted {
            device.guard = Guard::Salted(device.start_salted_session()?);
        }
        Ok(device)
    }

    /// Whether the connection has broken, so that nothing that comes over it can be believed.
    pub const fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Lets `borrower` use the TPM in another process while this thread waits: [`Device::borrowed`] opens what
    /// it gets. The borrower must have closed its device when `borrower` returns `Some`; after `None`, which says
    /// that it may have left an answer unread, this connection is closed, and [`Tpm`](crate::Tpm) opens another.
    ///
    /// # Errors
    /// The descriptor can't be duplicated, or `borrower` gave `None`.
    pub fn lend<T>(&mut self, borrower: impl FnOnce(Lent) -> Option<T>) -> Result<T, TpmError> {
        let broken = |reason: String| TpmError::Broken { command: "lending", reason };
        // Room for the borrower: a TPM has three keys and three sessions loaded.
        self.unload();
        self.close_policy_session();
        let descriptor = self.spare.descriptor.try_clone().map_err(|error| broken(error.to_string()))?;
        let Lent { kind, protection, .. } = self.spare;
        let lent = Lent { descriptor, kind, protection, ek: self.salted_with.clone() };
        borrower(lent).ok_or_else(|| {
            self.spare.sever();
            self.broken.set(true);
            broken("the process that had borrowed the TPM did not end in good order".to_owned())
        })
    }

    /// Counts the commands that were sent.
    pub fn commands(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.commands)
    }

    /// The handles in use.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn handles(&mut self) -> Result<Handles, TpmError> {
        Ok(Handles {
            transient: self.handles_from(TRANSIENT_FIRST)?,
            sessions: self.handles_from(LOADED_SESSION_FIRST)?,
            saved_sessions: self.handles_from(SAVED_SESSION_FIRST)?,
            persistent: self.handles_from(PERSISTENT_FIRST)?,
        })
    }

    fn handles_from(&mut self, first: u32) -> Result<Vec<u32>, TpmError> {
        let (data, _more) =
            self.plain("TPM2_GetCapability", |context| context.get_capability(CapabilityType::Handles, first, 254))?;
        match data {
            CapabilityData::Handles(handles) => Ok(handles.iter().map(|handle| u32::from(*handle)).collect()),
            _ => Err(TpmError::Command { command: "TPM2_GetCapability", reason: "another capability came".to_owned() }),
        }
    }

    /// An HMAC session salted with the EK, so that who listens on the bus can't compute its key.
    fn start_salted_session(&mut self) -> Result<AuthSession, TpmError> {
        let ek = self.load_endorsement_key()?;
        let session = self.plain("TPM2_StartAuthSession", |context| {
            context.start_auth_session(
                Some(ek.handle),
                None,
                None,
                SessionType::Hmac,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        });
        self.flush(ek.handle.into());
        self.salted_with = Some(ek.name());
        let session = session?.ok_or_else(no_session)?;
        let (attributes, mask) =
            SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).with_continue_session(true).build();
        self.plain("session attributes", |context| context.tr_sess_set_attributes(session, attributes, mask))?;
        Ok(session)
    }

    /// Runs a command that needs no authorization.
    fn plain<T>(
        &mut self,
        command: &'static str,
        run: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        let result = self.context.execute_without_session(run);
        result.map_err(|error| self.error(command, error))
    }

    /// Runs a command whose first handle needs authorization, or which should be encrypted on its way.
    fn guarded<T>(
        &mut self,
        command: &'static str,
        run: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        let result = self.context.execute_with_session(Some(self.guard()), run);
        result.map_err(|error| self.error(command, error))
    }

    /// Runs a command with one session for each of its two handles.
    fn guarded_twice<T>(
        &mut self,
        command: &'static str,
        (first, second): (AuthSession, AuthSession),
        run: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        let result = self.context.execute_with_sessions((Some(first), Some(second), None), run);
        result.map_err(|error| self.error(command, error))
    }

    const fn guard(&self) -> AuthSession {
        match self.guard {
            Guard::Password => AuthSession::Password,
            Guard::Salted(session) => session,
        }
    }

    /// Runs `run` with a fresh policy session, which is gone afterwards in any case.
    fn with_policy_session<T>(
        &mut self,
        kind: SessionType,
        run: impl FnOnce(&mut Self, AuthSession, PolicySession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let session = self
            .plain("TPM2_StartAuthSession", |context| {
                context.start_auth_session(
                    None,
                    None,
                    None,
                    kind,
                    SymmetricDefinition::AES_128_CFB,
                    HashingAlgorithm::Sha256,
                )
            })?
            .ok_or_else(no_session)?;
        let result = match PolicySession::try_from(session) {
            Ok(policy) => run(self, session, policy),
            Err(error) => Err(self.error("TPM2_StartAuthSession", error)),
        };
        self.flush(SessionHandle::from(session).into());
        result
    }

    /// Runs `run` with the object at `handle`, which is gone afterwards in any case.
    fn with_transient<T>(
        &mut self,
        handle: KeyHandle,
        run: impl FnOnce(&mut Self, KeyHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let result = run(self, handle);
        self.flush(handle.into());
        result
    }

    /// Closes a session or transient object. One that the TPM has already forgotten is closed.
    fn flush(&mut self, handle: ObjectHandle) {
        if let Err(error) = self.plain("TPM2_FlushContext", |context| context.flush_context(handle)) {
            tracing::debug!(%error, "nothing to flush");
        }
    }

    /// The persistent object at `handle`, or `None` if there is none.
    fn persistent(&mut self, handle: u32) -> Result<Option<(KeyHandle, TpmName)>, TpmError> {
        if !self.handles_from(handle)?.contains(&handle) {
            return Ok(None);
        }
        let tpm_handle = TpmHandle::Persistent(self.persistent_handle(handle)?);
        let object = self.plain("TPM2_ReadPublic", |context| context.tr_from_tpm_public(tpm_handle))?;
        let name = self.plain("object name", |context| context.tr_get_name(object))?;
        let name = TpmName::from_bytes(name.value()).ok_or_else(|| TpmError::Command {
            command: "TPM2_ReadPublic",
            reason: format!("the key at {handle:#010x} has no SHA-256 Name"),
        })?;
        Ok(Some((object.into(), name)))
    }

    fn persistent_handle(&self, handle: u32) -> Result<PersistentTpmHandle, TpmError> {
        PersistentTpmHandle::new(handle).map_err(|error| self.error("persistent handle", error))
    }

    fn error(&self, command: &'static str, error: tss_esapi::Error) -> TpmError {
        let broke = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if broke.is_some() {
            self.broken.set(true);
        }
        TpmError::from_tss(command, error, broke)
    }

    /// `TPMT_PUBLIC` of a key.
    fn marshal(&self, public: &tss_esapi::structures::Public) -> Result<Vec<u8>, TpmError> {
        public.marshall().map_err(|error| self.error("TPMT_PUBLIC", error))
    }
}

/// Sessions that stay open are closed while there is still a context to close them with.
impl Drop for Device {
    fn drop(&mut self) {
        self.unload();
        self.close_policy_session();
        self.flush_awaiting();
        if let Guard::Salted(session) = std::mem::replace(&mut self.guard, Guard::Password) {
            self.flush(SessionHandle::from(session).into());
        }
    }
}

fn no_session() -> TpmError {
    TpmError::Command { command: "TPM2_StartAuthSession", reason: "the TPM gave no session".to_owned() }
}
