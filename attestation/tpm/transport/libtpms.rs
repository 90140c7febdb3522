//! The embedded TPM, from inside: libtpms, one TPM per process, its state in one directory.
//!
//! State is written to a temporary file, synced and renamed, behind a header with its digest. Whoever finds
//! it damaged, empty or gone is told so: a TPM made anew is another identity, and nobody asked for one.
#![expect(unsafe_code, reason = "libtpms is a C library with callbacks")]

use super::{LONGEST_MESSAGE, STARTUP, read_message};
use attest_evidence::Sha256Digest;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::raw::{c_char, c_int};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) const READY: u8 = 0;
pub(super) const IN_USE: u8 = 1;
pub(super) const LOST: u8 = 2;
pub(super) const DAMAGED: u8 = 3;
const FAILED: u8 = 4;

/// Stands before every state file: a name, a version, and the SHA-256 of what follows it.
const STATE_MAGIC: &[u8; 8] = b"ARTPM\0\0\x01";
/// Written once the TPM has been made. Where it stands, missing state is lost state.
const MADE: &str = "made";

/// How long a TPM that is being shut down may take to write its state.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(5);

/// `TPM_RETRY`: the answer for state that is not there yet (libtpms `tpm_error.h`).
const TPM_RETRY: u32 = 0x800;
/// `TPM_FAIL`.
const TPM_FAIL: u32 = 9;

/// `struct libtpms_callbacks` (libtpms `tpm_library.h`, `TPMLIB_RegisterCallbacks(3)`).
#[repr(C)]
struct Callbacks {
    size: c_int,
    nvram_init: Option<unsafe extern "C" fn() -> u32>,
    nvram_load: Option<unsafe extern "C" fn(*mut *mut u8, *mut u32, u32, *const c_char) -> u32>,
    nvram_store: Option<unsafe extern "C" fn(*const u8, u32, u32, *const c_char) -> u32>,
    nvram_delete: Option<unsafe extern "C" fn(u32, *const c_char, u8) -> u32>,
    io_init: Option<unsafe extern "C" fn() -> u32>,
    io_get_locality: Option<unsafe extern "C" fn(*mut u32, u32) -> u32>,
    io_get_physical_presence: Option<unsafe extern "C" fn(*mut u8, u32) -> u32>,
}

unsafe extern "C" {
    fn TPMLIB_ChooseTPMVersion(version: c_int) -> u32;
    fn TPMLIB_RegisterCallbacks(callbacks: *mut Callbacks) -> u32;
    fn TPMLIB_MainInit() -> u32;
    fn TPMLIB_Terminate();
    fn TPMLIB_Process(
        response: *mut *mut u8,
        response_length: *mut u32,
        response_room: *mut u32,
        command: *mut u8,
        command_length: u32,
    ) -> u32;
    fn TPM_Malloc(pointer: *mut *mut u8, length: u32) -> u32;
}

/// `TPMLIB_TPM_VERSION_2`.
const VERSION_2: c_int = 1;

/// Where the callbacks find the state: libtpms passes them no pointer of ours.
static STATE: Mutex<Option<State>> = Mutex::new(None);

struct State {
    directory: PathBuf,
    /// What was wrong with a file that a callback could not load.
    damage: Option<String>,
}

/// Why there is no TPM.
struct Refusal(u8, String);

/// The helper process: a TPM on the Unix socket that is its standard input, until the socket ends.
///
/// The first byte it writes tells whether there is a TPM; a reason in words follows if not.
///
/// # Errors
/// Reports what the socket reports.
pub fn serve(directory: &Path) -> io::Result<()> {
    let stdin = io::stdin();
    let mut stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    seclude();
    let lock = match start(directory) {
        Ok(lock) => lock,
        Err(Refusal(status, reason)) => {
            stream.write_all(&[status])?;
            return stream.write_all(reason.as_bytes());
        }
    };
    let mut tpm = Running { response: std::ptr::null_mut(), room: 0 };
    stream.write_all(&[READY])?;
    while let Ok(command) = read_message(&mut stream) {
        let Some(response) = tpm.process(&command) else { break };
        if stream.write_all(response).is_err() {
            break;
        }
    }
    drop(tpm);
    drop(lock);
    // Nothing is said any more, but whoever waits for the state knows by it.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    Ok(())
}

/// No core dump, no debugger of the same user, and no signal that would skip the shutdown.
fn seclude() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler; no other thread runs yet.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn start(directory: &Path) -> Result<File, Refusal> {
    let failed = |what: &str, error: io::Error| Refusal(FAILED, format!("{what}: {error}"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| failed("its directory can't be made", error))?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))
        .map_err(|error| failed("its lock can't be opened", error))?;
    lock_in_time(&lock).map_err(|_| Refusal(IN_USE, "another process holds its lock".to_owned()))?;
    if directory.join(MADE).exists() && !directory.join("permall").exists() {
        return Err(Refusal(LOST, String::new()));
    }
    *STATE.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(State { directory: directory.to_owned(), damage: None });

    let mut callbacks = Callbacks {
        size: c_int::try_from(size_of::<Callbacks>()).unwrap_or(0),
        nvram_init: Some(nothing),
        nvram_load: Some(load),
        nvram_store: Some(store),
        nvram_delete: Some(delete),
        io_init: Some(nothing),
        io_get_locality: Some(locality_zero),
        io_get_physical_presence: Some(no_physical_presence),
    };
    // SAFETY: called once, before any other call, from the only thread; libtpms copies the callbacks.
    let codes = unsafe {
        (TPMLIB_ChooseTPMVersion(VERSION_2), TPMLIB_RegisterCallbacks(&raw mut callbacks), TPMLIB_MainInit())
    };
    let damage = STATE.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|state| state.damage.clone());
    if let Some(damage) = damage {
        return Err(Refusal(DAMAGED, damage));
    }
    if codes != (0, 0, 0) {
        return Err(Refusal(DAMAGED, format!("libtpms refuses it: {codes:x?}")));
    }
    let mut tpm = Running { response: std::ptr::null_mut(), room: 0 };
    let started = tpm.process(&STARTUP).is_some_and(|response| response.get(6..10) == Some(&[0; 4]));
    std::mem::forget(tpm);
    if !started {
        return Err(Refusal(FAILED, "TPM2_Startup failed".to_owned()));
    }
    if !directory.join(MADE).exists() {
        write_synced(directory, MADE, &[b"a TPM was made here\n"])
            .map_err(|error| failed("its state can't be written", error))?;
    }
    Ok(lock)
}

/// Takes the lock. Whoever has it may be about to end: a command that has done its work lets its helper shut down
/// by itself.
fn lock_in_time(lock: &File) -> rustix::io::Result<()> {
    let deadline = Instant::now() + LONGEST_SHUTDOWN;
    loop {
        match rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// The TPM after `TPMLIB_MainInit`; dropped, it shuts down in good order.
struct Running {
    response: *mut u8,
    room: u32,
}

impl Running {
    fn process(&mut self, command: &[u8]) -> Option<&[u8]> {
        let mut command = command.to_vec();
        let command_length = u32::try_from(command.len()).ok()?;
        let mut length = 0;
        // SAFETY: the command is a copy of our own that lives through the call. libtpms reallocates
        // `response` as it needs and keeps `room` in step; both start as null and zero.
        let code = unsafe {
            TPMLIB_Process(
                &raw mut self.response,
                &raw mut length,
                &raw mut self.room,
                command.as_mut_ptr(),
                command_length,
            )
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_MESSAGE)?;
        if code != 0 || self.response.is_null() {
            return None;
        }
        // SAFETY: after success `response` holds `length` bytes, until the next call of this method.
        Some(unsafe { std::slice::from_raw_parts(self.response, length) })
    }
}

/// `TPM2_Shutdown(CLEAR)` (Part 3 §9.4): without it the next start would count as an unclean one.
const SHUTDOWN: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0];

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process(&SHUTDOWN);
        // SAFETY: nothing calls libtpms after this; the buffer was allocated by it with malloc.
        unsafe {
            TPMLIB_Terminate();
            libc::free(self.response.cast());
        }
    }
}

unsafe extern "C" fn nothing() -> u32 {
    0
}

/// # Safety
/// `locality` points to a place for the answer.
unsafe extern "C" fn locality_zero(locality: *mut u32, _tpm: u32) -> u32 {
    // SAFETY: as the callback's contract has it.
    unsafe { *locality = 0 };
    0
}

/// # Safety
/// `presence` points to a place for the answer.
unsafe extern "C" fn no_physical_presence(presence: *mut u8, _tpm: u32) -> u32 {
    // SAFETY: as the callback's contract has it.
    unsafe { *presence = 0 };
    0
}

/// The file of a blob. libtpms has three names for its blobs; anything else is not one.
///
/// # Safety
/// `name` is a C string.
unsafe fn blob(name: *const c_char) -> Option<(PathBuf, &'static str)> {
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    let name =
        ["permall", "volatilestate", "savestate"].into_iter().find(|known| known.as_bytes() == name.to_bytes())?;
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    Some((state.as_ref()?.directory.clone(), name))
}

/// # Safety
/// As `TPMLIB_RegisterCallbacks(3)` has it for `tpm_nvram_loaddata`.
unsafe extern "C" fn load(data: *mut *mut u8, length: *mut u32, _tpm: u32, name: *const c_char) -> u32 {
    // SAFETY: libtpms passes a C string.
    let Some((directory, name)) = (unsafe { blob(name) }) else { return TPM_FAIL };
    let contents = match fs::read(directory.join(name)) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return TPM_RETRY,
        Err(error) => return damaged(format!("{name} can't be read: {error}")),
    };
    let Some(state) = unwrap_state(&contents) else {
        return damaged(format!("{name} has {} bytes that are not what was written", contents.len()));
    };
    let Ok(size) = u32::try_from(state.len()) else { return TPM_FAIL };
    // SAFETY: `data` and `length` are places for the answer. The buffer must come from libtpms' own
    // allocator, since it frees it; it has room for all of `state`.
    unsafe {
        if TPM_Malloc(data, size) != 0 {
            return TPM_FAIL;
        }
        std::ptr::copy_nonoverlapping(state.as_ptr(), *data, state.len());
        *length = size;
    }
    0
}

fn damaged(reason: String) -> u32 {
    if let Some(state) = STATE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        state.damage = Some(reason);
    }
    TPM_FAIL
}

/// What stands behind a good header.
fn unwrap_state(contents: &[u8]) -> Option<&[u8]> {
    let (digest, state) = contents.strip_prefix(STATE_MAGIC)?.split_first_chunk::<32>()?;
    (Sha256Digest::of(state).as_bytes() == digest && !state.is_empty()).then_some(state)
}

/// # Safety
/// As `TPMLIB_RegisterCallbacks(3)` has it for `tpm_nvram_storedata`.
unsafe extern "C" fn store(data: *const u8, length: u32, _tpm: u32, name: *const c_char) -> u32 {
    // SAFETY: libtpms passes a C string.
    let Some((directory, name)) = (unsafe { blob(name) }) else { return TPM_FAIL };
    let Ok(length) = usize::try_from(length) else { return TPM_FAIL };
    if data.is_null() {
        return TPM_FAIL;
    }
    // SAFETY: `data` holds `length` bytes during the call.
    let state = unsafe { std::slice::from_raw_parts(data, length) };
    match write_synced(&directory, name, &[STATE_MAGIC, Sha256Digest::of(state).as_bytes(), state]) {
        Ok(()) => 0,
        Err(_) => TPM_FAIL,
    }
}

/// All of `parts`, or what was there before: temporary file, sync, rename, sync of the directory.
fn write_synced(directory: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_data()?;
    fs::rename(&temporary, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// # Safety
/// As `TPMLIB_RegisterCallbacks(3)` has it for `tpm_nvram_deletename`.
unsafe extern "C" fn delete(_tpm: u32, name: *const c_char, must_exist: u8) -> u32 {
    // SAFETY: libtpms passes a C string.
    let Some((directory, name)) = (unsafe { blob(name) }) else { return TPM_FAIL };
    match fs::remove_file(directory.join(name)) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::NotFound && must_exist == 0 => 0,
        Err(_) => TPM_FAIL,
    }
}
