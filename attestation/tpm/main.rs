//! `attest-embedded-tpm DIR`: a TPM in software on its standard input, for as long as that lasts.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("attest-embedded-tpm: it is started by attest-agent, not by hand");
        return ExitCode::from(2);
    };
    match attest_tpm::serve_embedded(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attest-embedded-tpm: {error}");
            ExitCode::FAILURE
        }
    }
}
