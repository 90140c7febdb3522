//! How a program starts: `_start`, which `wasi:cli/run` becomes.
//!
//! Debian's C library has one as well, but leaves the constructors to the linker, which then calls them from every
//! export, `cabi_realloc` too; and in a component that may not call out.
#![no_std]

unsafe extern "C" {
    fn __wasm_call_ctors();
    fn __main_void() -> i32;
    fn __wasm_call_dtors();
    fn exit(status: i32) -> !;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _start() {
    // SAFETY: the host calls this once, before anything else. The linker and the C library define the four.
    unsafe {
        __wasm_call_ctors();
        let status = __main_void();
        __wasm_call_dtors();
        if status != 0 {
            exit(status);
        }
    }
}
