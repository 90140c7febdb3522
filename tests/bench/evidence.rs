//! Evidence: replaying logs and lists, beside what else does it.

use crate::support::programs;
use crate::{MANY_ROUNDS, ROUNDS, in_turn, row, timed, verification};
use attest_appraisal::boot::ReplayedLog;
use attest_evidence::eventlog::{EventLog, LARGEST_LOG};
use attest_evidence::ima::{Extension, Replay};
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{Digest, HashAlgorithm};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BANK: HashAlgorithm = HashAlgorithm::Sha256;
/// What a pipe holds, unless told otherwise (pipe(7)).
const PIPE: usize = 64 * 1024;
/// Entries of the measurement list, and of a delta.
const ENTRIES: usize = 100_000;
const DELTA: usize = 10;

pub(crate) fn evidence() {
    println!();
    verification::exchange(&std::fs::read(log_file()).unwrap());
    event_log();
    hostile_log();
    measurement_list();
}

/// A laptop's log of 67 KiB and 66 events.
fn log_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/eventlogs/real-machines/latitude-7520")
}

fn event_log() {
    let path = log_file();
    let bytes = std::fs::read(&path).unwrap();
    let mut theirs = || quietly(Command::new("tpm2_eventlog").arg(&path));
    let library = || drop(std::hint::black_box(EventLog::parse(&bytes).unwrap().replay(BANK)));
    let (ours, beside) = in_turn(ROUNDS, library, &mut theirs);
    row("event log of 67 KiB: replayed, library", ours, "tpm2_eventlog", beside);
    let read = || drop(std::hint::black_box(ReplayedLog::of(&EventLog::parse(&bytes).unwrap())));
    let (ours, beside) = in_turn(ROUNDS, read, &mut theirs);
    row("the same, and all of it read", ours, "tpm2_eventlog", beside);
    let program = programs().join("attest-run");
    let ours = || quietly(Command::new(&program).args(["eventlog", "replay", "--json"]).arg(&path));
    let (ours, beside) = in_turn(ROUNDS, ours, &mut theirs);
    row("the same, attest-run eventlog replay", ours, "tpm2_eventlog", beside);
}

fn quietly(command: &mut Command) {
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
}

/// Ten megabytes that begin as a log does, and the longest log that is read at all.
fn hostile_log() {
    let good = std::fs::read(log_file()).unwrap();
    let large: Vec<u8> = good.iter().copied().cycle().take(10_000_000).collect();
    let refused = timed(&mut || assert!(EventLog::parse(&large).is_err()));
    let longest: Vec<u8> = {
        let event =
            [&1_u32.to_le_bytes()[..], &5_u32.to_le_bytes(), &[7; 20], &256_u32.to_le_bytes(), &[1; 256]].concat();
        event.into_iter().cycle().take(LARGEST_LOG / 288 * 288).collect()
    };
    let read = timed(&mut || drop(std::hint::black_box(ReplayedLog::of(&EventLog::parse(&longest).unwrap()))));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &large).unwrap();
    let program = programs().join("attest-run");
    let mut process = || {
        let status = Command::new(&program)
            .args(["eventlog", "replay"])
            .arg(file.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(1));
    };
    let whole = timed(&mut process);
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    println!(
        "a hostile log of 10 MB: refused in {:.3} ms, as a process in {:.1} ms; the largest that is read takes {:.1} ms",
        milliseconds(refused),
        milliseconds(whole),
        milliseconds(read)
    );
    let peak = peak_memory(Command::new(&program).args(["eventlog", "replay"]).arg(file.path()));
    println!("{:44} {peak:>9.1} MiB", "the same, peak memory of the process");
}

/// Peak memory of a program that says something on standard error at its end, in MiB. It finds the pipe full, and is looked
/// at while it waits. What `wait4` reports would be no less than what the bench itself takes.
fn peak_memory(command: &mut Command) -> f64 {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[0; PIPE]).unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !file("wchan").ends_with("pipe_write") {
        assert!(Instant::now() < deadline, "it says nothing: {}", file("status"));
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = file("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak = peak.parse::<f64>().unwrap() / 1024.0;
    drop(reader);
    child.kill().unwrap();
    child.wait().unwrap();
    peak
}

/// `ima-ng`, as Linux writes it.
fn list(entries: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut list, mut all) = (Vec::new(), Vec::with_capacity(entries));
    for number in 0..entries {
        let digest = BANK.hash(&number.to_le_bytes());
        let name = format!("/usr/lib/x86_64-linux-gnu/libexample{number:07}.so\0");
        let algorithm = [&b"sha256:\0"[..], digest.as_bytes()].concat();
        let sized = |field: &[u8]| [&(field.len() as u32).to_le_bytes()[..], field].concat();
        let data = [sized(&algorithm), sized(name.as_bytes())].concat();
        list.extend(10_u32.to_le_bytes());
        list.extend(HashAlgorithm::Sha1.hash(&data).as_bytes());
        list.extend(sized(b"ima-ng"));
        list.extend(sized(&data));
        all.push(data);
    }
    (list, all)
}

fn measurement_list() {
    let (list, data) = list(ENTRIES);
    let start = || Replay::from_boot(PcrIndex::IMA, BANK, Extension::Hashed);
    let ours = || {
        std::hint::black_box(start().replayed(&list).unwrap());
    };
    // What no replay can do without: the digest of each entry, and the extend.
    let floor = || {
        let mut value = Digest::zero(BANK);
        for data in &data {
            value = value.extended(BANK.hash(data).as_bytes());
        }
        std::hint::black_box(value);
    };
    let (ours, floor) = in_turn(ROUNDS, ours, floor);
    row("IMA list of 100,000 entries: replayed", ours, "SHA-256 of entries and extends", floor);

    let whole = start().replayed(&list).unwrap();
    let (delta, _) = self::list(DELTA);
    let quoted = *whole.replayed(&delta).unwrap().value();
    let ours = || {
        std::hint::black_box(whole.cover(&delta, &quoted).unwrap());
    };
    let alone = *start().replayed(&delta).unwrap().value();
    let theirs = || {
        std::hint::black_box(start().cover(&delta, &alone).unwrap());
    };
    let (ours, theirs) = in_turn(MANY_ROUNDS, ours, theirs);
    row("a delta of 10 entries behind them", ours, "a list of 10 entries", theirs);
}
