//! A step that tries what a step must not be able to do. Its first argument says what.

use attest_sdk::bindings::wasi::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use attest_sdk::{Directory, Error, Key, Result, Secret, info};

fn run(args: Vec<String>) -> Result {
    let mut args = args.iter().map(String::as_str);
    match args.next().unwrap_or_default() {
        "memory" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1u8; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        "loop" => loop {
            std::hint::black_box(0);
        },
        "output" => loop {
            info(&"x".repeat(60_000));
        },
        "calls" => loop {
            info("");
        },
        "recursion" => {
            info(&format!("{}", recurse(1)));
            Ok(())
        }
        "panic" => panic!("as asked"),
        "fail" => {
            Err(Error::new("failed as asked").with_code(args.next().and_then(|code| code.parse().ok()).unwrap_or(7)))
        }
        "table" => {
            // A handle kept for ever, a million times.
            let mut held = Vec::new();
            loop {
                held.push(Directory::open("work")?);
            }
        }
        "escape" => escape(args.next().unwrap_or_default()),
        "secret" => {
            let name = args.next().unwrap_or("release/npm-token");
            let value = Secret::open(name)?.reveal()?;
            info(&format!("{name} has {} bytes", value.len()));
            Ok(())
        }
        "secret-to-file" => {
            let name = args.next().unwrap_or_default();
            let value = Secret::open(name)?.reveal()?;
            Directory::open("work")?.write("stolen", &value)
        }
        "undeclared-key" => Key::open(args.next().unwrap_or("other")).map(drop),
        "undeclared-dir" => Directory::open(args.next().unwrap_or("other")).map(drop),
        "sign" => {
            let signature = Key::open("release")?.sign_message(args.next().unwrap_or_default().as_bytes())?;
            Directory::open("work")?.write("signature", &signature)
        }
        "read" => {
            let name = args.next().unwrap_or_default();
            let contents = Directory::open("work")?.read(name)?;
            info(&String::from_utf8_lossy(&contents));
            Ok(())
        }
        "write" => Directory::open("work")?.write(args.next().unwrap_or("written"), b"by the step\n"),
        "wait" => {
            Directory::open("work")?.write("started", b"")?;
            loop {
                std::hint::black_box(0);
            }
        }
        other => Err(Error::new(format!("no such trick: {other}"))),
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == 0 { 0 } else { recurse(depth + 1) + std::hint::black_box(1) }
}

/// Ways out of a directory. Says which one worked; failing is what is hoped for.
fn escape(way: &str) -> Result {
    let work = attest_sdk::bindings::attest::step::directories::open("work").map_err(|_| Error::new("no work"))?;
    let open =
        |path: &str| work.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ).map(drop);
    let result = match way {
        "parent" => open("../outside/file"),
        "deep" => open("sub/../../outside/file"),
        "absolute" => open("/etc/passwd"),
        "proc" => open("/proc/self/environ"),
        "symlink" => open("link-outside"),
        "symlink-absolute" => open("link-absolute"),
        "hard-link" => work.link_at(PathFlags::empty(), "../outside/file", &work, "linked"),
        "make-symlink" => work.symlink_at("../outside/file", "made").and_then(|()| open("made")),
        "rename-out" => work.rename_at("inside", &work, "../outside/renamed"),
        "rename-across" => {
            let other = attest_sdk::bindings::attest::step::directories::open("readonly")
                .map_err(|_| Error::new("no readonly"))?;
            work.rename_at("inside", &other, "moved")
        }
        "truncate-readonly" => {
            let readonly = attest_sdk::bindings::attest::step::directories::open("readonly")
                .map_err(|_| Error::new("no readonly"))?;
            readonly.open_at(PathFlags::empty(), "file", OpenFlags::TRUNCATE, DescriptorFlags::WRITE).map(drop)
        }
        "set-size-readonly" => {
            let readonly = attest_sdk::bindings::attest::step::directories::open("readonly")
                .map_err(|_| Error::new("no readonly"))?;
            readonly
                .open_at(PathFlags::empty(), "file", OpenFlags::empty(), DescriptorFlags::READ)
                .and_then(|file| file.set_size(0))
        }
        "remove-readonly" => {
            let readonly = attest_sdk::bindings::attest::step::directories::open("readonly")
                .map_err(|_| Error::new("no readonly"))?;
            readonly.unlink_file_at("file")
        }
        "inside" => open("inside"),
        other => return Err(Error::new(format!("no such way: {other}"))),
    };
    match result {
        Ok(()) => {
            info(&format!("{way}: got through"));
            Ok(())
        }
        Err(error) => Err(Error::new(format!("{way}: {}", error.name())).with_code(77)),
    }
}

attest_sdk::step!(run);
