//! A program of the command line as there are many: nothing in it but Rust's standard library and a call to the C library,
//! and nothing of attest-run. `cli COMMAND [ARGUMENT…]` does one thing, so that a test can look at one at a time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

const USAGE: &str = "usage: cli args [ARGUMENT…] | env [NAME] | cat FILE | write FILE TEXT | remove FILE | ls DIRECTORY | \
    stdin | stderr TEXT | spam MIB | clock | sleep MILLISECONDS | random | seed | exit STATUS | panic";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cli: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> io::Result<ExitCode> {
    match arguments {
        ["args", rest @ ..] => println!("{rest:?}"),
        ["env"] => {
            let mut variables: Vec<_> = env::vars().collect();
            variables.sort();
            for (name, value) in variables {
                println!("{name}={value}");
            }
        }
        ["env", name] => match env::var(name) {
            Ok(value) => println!("{value}"),
            Err(_) => return Ok(ExitCode::FAILURE),
        },
        ["cat", file] => io::stdout().write_all(&fs::read(file)?)?,
        ["write", file, text] => fs::write(file, text)?,
        ["remove", file] => fs::remove_file(file)?,
        ["ls", directory] => {
            let mut names = fs::read_dir(directory)?
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort();
            println!("{}", names.join("\n"));
        }
        ["stdin"] => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            println!("{} bytes, {} lines", text.len(), text.lines().count());
            print!("{text}");
        }
        ["stderr", text] => eprintln!("{text}"),
        ["spam", mebibytes] => {
            let line = [b"x".repeat(1023).as_slice(), b"\n"].concat();
            for _ in 0..1024 * mebibytes.parse::<u32>().map_err(io::Error::other)? {
                io::stdout().write_all(&line)?;
            }
        }
        ["clock"] => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
            println!("{}", now.as_secs());
        }
        ["sleep", milliseconds] => {
            let wanted = Duration::from_millis(milliseconds.parse().map_err(io::Error::other)?);
            let start = Instant::now();
            thread::sleep(wanted);
            println!("{}", start.elapsed() >= wanted);
        }
        ["random"] => {
            let mut bytes = [0; 16];
            // SAFETY: the pointer and the length are those of `bytes`.
            if unsafe { getentropy(bytes.as_mut_ptr(), bytes.len()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            println!("{:032x}", u128::from_le_bytes(bytes));
        }
        // What hash maps are seeded with is all the randomness that the standard library has.
        ["seed"] => println!("{:016x}", RandomState::new().build_hasher().finish()),
        // WASI 0.2 knows success and failure: whatever is not 0 arrives as 1.
        ["exit", code] => return Ok(ExitCode::from(code.parse::<u8>().map_err(io::Error::other)?)),
        ["panic"] => panic!("as was asked for"),
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

unsafe extern "C" {
    /// POSIX.1-2024, of the C library that the standard library is linked with.
    fn getentropy(buffer: *mut u8, length: usize) -> i32;
}
