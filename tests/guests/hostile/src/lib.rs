//! A step that tries what a step must not be able to do. Its first argument says what.

use attest_sdk::bindings::wasi::filesystem::types::{
    Advice, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};
use attest_sdk::{Directory, Error, Key, Result, Secret, SignatureFormat, info};

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let mut args = args.iter().map(String::as_str);
    match args.next().unwrap_or_default() {
        "memory" => {
            let mut held = Vec::new();
            for _ in 0..how_many(args.next()) {
                held.push(vec![1u8; 1 << 20]);
                std::hint::black_box(&held);
            }
            Ok(())
        }
        "loop" => {
            let mut value = 1u64;
            for _ in 0..how_many(args.next()) {
                value = std::hint::black_box(value);
            }
            Ok(())
        }
        "output" => {
            for _ in 0..how_many(args.next()) {
                info(&"x".repeat(60_000));
            }
            Ok(())
        }
        "calls" => {
            for _ in 0..how_many(args.next()) {
                info("");
            }
            Ok(())
        }
        "recursion" => {
            info(&format!("{}", recurse(how_many(args.next()))));
            Ok(())
        }
        "panic" => panic!("as asked"),
        "fail" => {
            Err(Error::new("failed as asked").with_code(args.next().and_then(|code| code.parse().ok()).unwrap_or(7)))
        }
        "long-error" => Err(Error::new("x".repeat(2 << 20))),
        "table" => {
            // Handles that are kept for ever.
            let mut held = Vec::new();
            for _ in 0..how_many(args.next()) {
                held.push(Directory::open("work")?);
            }
            Ok(())
        }
        "escape" => escape(args.next().unwrap_or_default()),
        "secret" => {
            let name = args.next().unwrap_or("release/npm-token");
            let value = Secret::open(name)?.reveal()?;
            info(&format!("{name} has {} bytes", value.len()));
            Ok(())
        }
        "secret-and-trap" => {
            let value = Secret::open(args.next().unwrap_or_default())?.reveal()?;
            std::hint::black_box(&value);
            panic!("with {} bytes in hand", value.len());
        }
        "secret-and-wait" => {
            let value = Secret::open(args.next().unwrap_or_default())?.reveal()?;
            Directory::open("work")?.write("started", b"")?;
            loop {
                std::hint::black_box(&value);
            }
        }
        "secret-to-file" => {
            let name = args.next().unwrap_or_default();
            let value = Secret::open(name)?.reveal()?;
            Directory::open("work")?.write("stolen", &value)
        }
        "files" => files().map_err(|error| Error::new(error.name())),
        "undeclared-key" => Key::open(args.next().unwrap_or("other")).map(drop),
        "undeclared-dir" => Directory::open(args.next().unwrap_or("other")).map(drop),
        "sign" => {
            let message = args.next().unwrap_or_default().as_bytes();
            let format = match args.next() {
                Some("minisign") => SignatureFormat::Minisign,
                Some("ssh") => SignatureFormat::Ssh,
                Some("sigstore") => SignatureFormat::Sigstore,
                _ => SignatureFormat::Raw,
            };
            let signature = Key::open("release")?.sign_message_as(format, message)?;
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

/// How often to do something: as often as the argument says, or without end.
fn how_many(argument: Option<&str>) -> u64 {
    argument.map_or(u64::MAX, |count| count.parse().expect("a number"))
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == 0 { 0 } else { recurse(depth - 1) + std::hint::black_box(1) }
}

/// Everything that a step may do with the files of a directory that it may write.
fn files() -> std::result::Result<(), ErrorCode> {
    let work = attest_sdk::bindings::attest::step::directories::open("work").map_err(|_| ErrorCode::NoEntry)?;
    let (none, follow) = (PathFlags::empty(), PathFlags::SYMLINK_FOLLOW);
    work.create_directory_at("folder")?;
    let folder =
        work.open_at(none, "folder", OpenFlags::DIRECTORY, DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY)?;
    let file = folder.open_at(
        none,
        "file",
        OpenFlags::CREATE | OpenFlags::EXCLUSIVE,
        DescriptorFlags::READ | DescriptorFlags::WRITE,
    )?;
    file.write(b"some contents", 0)?;
    let streamed =
        file.write_via_stream(4).and_then(|stream| stream.blocking_write_and_flush(b"more").map_err(|_| ErrorCode::Io));
    streamed?;
    let appended =
        file.append_via_stream().and_then(|stream| stream.blocking_write_and_flush(b"!").map_err(|_| ErrorCode::Io));
    appended?;
    file.read(100, 2)?;
    file.read_via_stream(0).and_then(|stream| stream.blocking_read(100).map_err(|_| ErrorCode::Io))?;
    file.advise(0, 4, Advice::Sequential)?;
    file.set_size(6)?;
    file.set_times(NewTimestamp::Now, NewTimestamp::NoChange)?;
    file.sync_data()?;
    file.sync()?;
    file.stat()?;
    file.get_flags()?;
    file.get_type()?;
    file.metadata_hash()?;
    folder.set_times_at(follow, "file", NewTimestamp::NoChange, NewTimestamp::Now)?;
    folder.link_at(none, "file", &folder, "linked")?;
    folder.symlink_at("file", "link")?;
    folder.readlink_at("link")?;
    folder.stat_at(follow, "link")?;
    folder.metadata_hash_at(none, "link")?;
    folder.rename_at("linked", &work, "moved")?;
    let entries = folder.read_directory()?;
    while entries.read_directory_entry()?.is_some() {}
    drop(entries);
    folder.sync()?;
    for name in ["link", "file"] {
        folder.unlink_file_at(name)?;
    }
    work.unlink_file_at("moved")?;
    drop(folder);
    work.remove_directory_at("folder")
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
