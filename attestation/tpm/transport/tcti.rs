//! Our transports as a TCTI, the interface by which libtss2 reaches a TPM (TCG TCTI API 1.0 §3).
//!
//! The library's loader knows its own transports only, and the Rust crate knows only the loader. So this
//! module defines the loader's two functions itself. They win over those of `libtss2-tctildr`, which is a
//! shared library, when a program is linked.
#![expect(unsafe_code, reason = "implements a C interface that hands out raw pointers")]

use super::Channel;
use crate::error::TpmError;
use std::cell::RefCell;
use std::os::raw::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use tss_esapi::Context;
use tss_esapi::tcti_ldr::{DeviceConfig, TctiNameConf};
use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, size_t};

/// Says which of the library's contexts are ours: `attestRN`.
const MAGIC: u64 = u64::from_be_bytes(*b"attestRN");
const RC_BAD_CONTEXT: TSS2_RC = 0x000a_0003;
const RC_INSUFFICIENT_BUFFER: TSS2_RC = 0x000a_0006;
const RC_BAD_SEQUENCE: TSS2_RC = 0x000a_0007;
const RC_BAD_REFERENCE: TSS2_RC = 0x000a_0005;
const RC_IO_ERROR: TSS2_RC = 0x000a_000a;

/// What the transport said when it broke. The library makes one number of it.
pub(crate) type LastFailure = Arc<Mutex<Option<String>>>;

/// The C structure first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct Tcti {
    common: TSS2_TCTI_CONTEXT_COMMON_V1,
    channel: Box<dyn Channel>,
    response: Option<Vec<u8>>,
    failure: LastFailure,
}

thread_local! {
    /// The channel for the next context that this thread opens.
    static NEXT: RefCell<Option<(Box<dyn Channel>, LastFailure)>> = const { RefCell::new(None) };
}

/// A context of the library that speaks through `channel`.
pub(crate) fn open_context(channel: Box<dyn Channel>) -> Result<(Context, LastFailure), TpmError> {
    let failure = LastFailure::default();
    NEXT.set(Some((channel, Arc::clone(&failure))));
    let context = Context::new(TctiNameConf::Device(DeviceConfig::default()));
    NEXT.set(None);
    let context = context.map_err(|error| TpmError::from_tss("Esys_Initialize", error, None))?;
    Ok((context, failure))
}

/// Takes the place of the loader's function. The name of the transport is ignored: the thread that calls has
/// laid the channel ready.
///
/// # Safety
/// `context` must point to a place for a pointer, as the C interface has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn Tss2_TctiLdr_Initialize(_name: *const c_char, context: *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    let Some((channel, failure)) = NEXT.take() else { return RC_BAD_CONTEXT };
    if context.is_null() {
        return RC_BAD_REFERENCE;
    }
    let common = TSS2_TCTI_CONTEXT_COMMON_V1 {
        magic: MAGIC,
        version: 1,
        transmit: Some(transmit),
        receive: Some(receive),
        finalize: None,
        cancel: None,
        getPollHandles: None,
        setLocality: None,
    };
    let tcti = Box::new(Tcti { common, channel, response: None, failure });
    // SAFETY: `context` is not null and points to a place for a pointer, as the caller promises. `Tcti` is
    // `repr(C)` and starts with the common part, so that the library may read it through this pointer. The
    // box is taken back in `Tss2_TctiLdr_Finalize`, once.
    unsafe { *context = Box::into_raw(tcti).cast() };
    0
}

/// Takes the place of the loader's function: the other end of [`Tss2_TctiLdr_Initialize`].
///
/// # Safety
/// `context` must be null or point to null or to what [`Tss2_TctiLdr_Initialize`] gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn Tss2_TctiLdr_Finalize(context: *mut *mut TSS2_TCTI_CONTEXT) {
    if context.is_null() {
        return;
    }
    // SAFETY: not null, and by the caller's promise a pointer of ours or null.
    let tcti = unsafe { *context }.cast::<Tcti>();
    if tcti.is_null() {
        return;
    }
    // SAFETY: it came from `Box::into_raw` in `Tss2_TctiLdr_Initialize` and is taken back once, since the
    // caller's pointer is set to null here.
    unsafe {
        *context = std::ptr::null_mut();
        drop(Box::from_raw(tcti));
    }
}

/// # Safety
/// Called by the library alone, with a context of ours and `size` readable bytes at `command`.
unsafe extern "C" fn transmit(context: *mut TSS2_TCTI_CONTEXT, size: size_t, command: *const u8) -> TSS2_RC {
    let Ok(size) = usize::try_from(size) else { return RC_BAD_REFERENCE };
    if context.is_null() || command.is_null() {
        return RC_BAD_REFERENCE;
    }
    // SAFETY: the library passes back the context that it was given, from one thread at a time, and the
    // command's bytes live until this function returns.
    let (tcti, command) = unsafe { (&mut *context.cast::<Tcti>(), std::slice::from_raw_parts(command, size)) };
    match tcti.channel.exchange(command) {
        Ok(response) => {
            tcti.response = Some(response);
            0
        }
        Err(error) => {
            *tcti.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            RC_IO_ERROR
        }
    }
}

/// # Safety
/// Called by the library alone, with a context of ours, and `*size` writable bytes at `response` unless that
/// is null.
unsafe extern "C" fn receive(
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    response: *mut u8,
    _timeout: i32,
) -> TSS2_RC {
    if context.is_null() || size.is_null() {
        return RC_BAD_REFERENCE;
    }
    // SAFETY: the library passes back the context that it was given, from one thread at a time; `size` is
    // not null and points to its own variable.
    let (tcti, room) = unsafe { (&mut *context.cast::<Tcti>(), &mut *size) };
    let Some(bytes) = tcti.response.as_ref() else { return RC_BAD_SEQUENCE };
    let length = bytes.len() as size_t;
    if response.is_null() || *room < length {
        *room = length;
        return if response.is_null() { 0 } else { RC_INSUFFICIENT_BUFFER };
    }
    // SAFETY: there is room for all of `bytes` at `response`, and the two can't overlap: one is ours.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), response, bytes.len()) };
    *room = length;
    tcti.response = None;
    0
}
