//! The contract of `wit/`, as Rust.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "attest:step/step",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "attest:step/secrets.secret": crate::state::SecretHandle,
        "attest:step/signing.key": crate::state::KeyHandle,
        "attest:step/derive.derivation-key": crate::state::KeyHandle,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
        "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
        "wasi:random": wasmtime_wasi::p2::bindings::random,
    },
    require_store_data_send: true,
});
