//! libtss2 writes to standard error by itself, in words of its own, what its callers get as errors anyway.
#![expect(unsafe_code, reason = "the library's log is switched by an environment variable alone")]

/// Keeps libtss2 from writing to standard error, unless somebody has set `TSS2_LOG`.
///
/// Call it first of all: it does nothing once there is a second thread, since the environment can't be changed
/// then.
pub fn silence_library_log() {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && std::env::var_os("TSS2_LOG").is_none() {
        // SAFETY: no other thread runs that could read the environment meanwhile.
        unsafe { std::env::set_var("TSS2_LOG", "all+none") };
    }
}
