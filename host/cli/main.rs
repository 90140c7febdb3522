//! `attest-run`.
fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "__tpm") {
        let _ = attest_tpm::serve_embedded(std::path::Path::new(&arguments[2]));
    }
}
