//! Commands as bytes (Part 1 §18), for what the library does not offer: tickets, and a session's nonce.
//!
//! They go over the same connection as the library's, between two of those. Nothing in them has to be hidden: they carry no
//! authorization value and no secret.

use super::Device;
use crate::error::TpmError;
use crate::transport::Channel as _;
use attest_evidence::bytes::{Malformed, Reader, put_sized_u16};
use tss_esapi::constants::response_code::Tss2ResponseCode;

/// `TPM_ST_NO_SESSIONS` and `TPM_ST_SESSIONS` (Part 2 §6.9).
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// `TPM_RS_PW` (Part 2 §7.4): an authorization value as it is.
const PASSWORD: u32 = 0x4000_0009;
/// `TPMA_SESSION.continueSession` (Part 2 §8.4).
const CONTINUE: u8 = 1;

/// A command's name, for errors, and its `TPM_CC` (Part 2 §6.5.2).
pub(super) type Code = (&'static str, u32);

/// A command, part by part.
pub(super) struct Command {
    code: Code,
    handles: Vec<u8>,
    authorization: Option<Authorization>,
    parameters: Vec<u8>,
    /// Whether a part was longer than its length can say.
    too_long: bool,
}

/// By what the first handle may be used.
#[derive(Clone, Copy)]
pub(super) enum Authorization {
    /// An empty authorization value.
    Empty,
    /// A policy session, which stays, with its policy begun anew.
    Policy(u32),
}

/// What a command gave.
pub(super) struct Response {
    command: &'static str,
    /// The handle, for commands that give one.
    pub(super) handle: u32,
    parameters: Vec<u8>,
}

impl Command {
    pub(super) const fn new(code: Code) -> Self {
        Self { code, handles: Vec::new(), authorization: None, parameters: Vec::new(), too_long: false }
    }

    pub(super) fn handle(mut self, handle: u32) -> Self {
        self.handles.extend(handle.to_be_bytes());
        self
    }

    pub(super) const fn authorized(mut self, by: Authorization) -> Self {
        self.authorization = Some(by);
        self
    }

    /// Bytes as they are.
    pub(super) fn put(mut self, bytes: &[u8]) -> Self {
        self.parameters.extend(bytes);
        self
    }

    /// A `TPM2B`: bytes behind their length.
    pub(super) fn sized(mut self, bytes: &[u8]) -> Self {
        self.too_long |= put_sized_u16(&mut self.parameters, bytes).is_none();
        self
    }

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let authorization = self.authorization.map(|by| {
            let (session, attributes) = match by {
                Authorization::Empty => (PASSWORD, 0),
                Authorization::Policy(session) => (session, CONTINUE),
            };
            // Neither a nonce nor an HMAC.
            [&session.to_be_bytes()[..], &[0, 0, attributes, 0, 0]].concat()
        });
        let tag = if authorization.is_some() { SESSIONS } else { NO_SESSIONS };
        let mut body = self.handles.clone();
        if let Some(area) = authorization {
            body.extend(u32::try_from(area.len()).ok()?.to_be_bytes());
            body.extend(area);
        }
        body.extend(&self.parameters);
        let length = u32::try_from(body.len()).ok()?.checked_add(10)?;
        Some([&tag.to_be_bytes()[..], &length.to_be_bytes(), &self.code.1.to_be_bytes(), &body].concat())
    }
}

impl Response {
    /// All parameters.
    pub(super) fn parameters(&self) -> &[u8] {
        &self.parameters
    }

    /// Reads parameters, as `read` says.
    pub(super) fn read<'a, T>(&'a self, read: impl FnOnce(Reader<'a>) -> Result<T, Malformed>) -> Result<T, TpmError> {
        read(Reader::new("TPM response", &self.parameters))
            .map_err(|malformed| TpmError::Command { command: self.command, reason: malformed.to_string() })
    }
}

impl Device {
    /// Sends a command and takes its response apart. `gives_handle`: whether it gives one.
    pub(super) fn send(&mut self, command: &Command, gives_handle: bool) -> Result<Response, TpmError> {
        let (name, _) = command.code;
        let failed = |reason: String| TpmError::Command { command: name, reason };
        let bytes =
            command.to_bytes().filter(|_| !command.too_long).ok_or_else(|| failed("it is too long".to_owned()))?;
        if self.broken.get() {
            // What comes now may be the answer to something else.
            return Err(TpmError::Broken { command: name, reason: "it broke before".to_owned() });
        }
        let response = self.raw.exchange(&bytes).map_err(|error| {
            self.broken.set(true);
            self.spare.sever();
            TpmError::Broken { command: name, reason: error.to_string() }
        })?;
        let read = |reader: &mut Reader<'_>| {
            let (tag, _length, code) = (reader.u16()?, reader.u32()?, reader.u32()?);
            if code != 0 {
                return Ok(Err(code));
            }
            let handle = if gives_handle { reader.u32()? } else { 0 };
            // Behind the parameters stands what only an HMAC session has to say.
            let parameters = if tag == SESSIONS { reader.sized_u32("parameters", u32::MAX)? } else { reader.rest() };
            Ok::<_, Malformed>(Ok(Response { command: name, handle, parameters: parameters.to_vec() }))
        };
        let response =
            read(&mut Reader::new("TPM response", &response)).map_err(|malformed| failed(malformed.to_string()))?;
        response.map_err(|code| TpmError::from_code(name, Tss2ResponseCode::from(code)))
    }
}
