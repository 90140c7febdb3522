//! K02: a derived key is in the memory of a process that lives for one signature, and of no other.

use crate::support::{Broker, Runner, embedded, run};
use attest_tpm::{DerivationKey, Device, SessionProtection};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

/// All that a process has written or may write in its memory.
fn memory(pid: u32) -> Vec<u8> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let file = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut memory = Vec::new();
    for line in maps.lines().filter(|line| line.split_whitespace().nth(1).unwrap().starts_with("rw")) {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut part = vec![0; usize::try_from(end - start).unwrap()];
        if file.read_exact_at(&mut part, start).is_ok() {
            memory.extend(part);
        }
    }
    memory
}

/// All from which the key could be computed, and the key in the forms in which it signs.
fn secrets(hmac: &[u8]) -> [(&'static str, Vec<u8>); 5] {
    let (extracted, hkdf) = Hkdf::<Sha256>::extract(None, hmac);
    let mut seed = [0; 32];
    hkdf.expand(b"attest-run/ed25519/v1", &mut seed).unwrap();
    let expanded = Sha512::digest(seed);
    let mut scalar: [u8; 32] = expanded[..32].try_into().unwrap();
    scalar[0] &= 248;
    scalar[31] = scalar[31] & 127 | 64;
    [
        ("HMAC", hmac.to_vec()),
        ("HKDF's key", extracted.to_vec()),
        ("seed", seed.to_vec()),
        ("expanded key", expanded.to_vec()),
        ("scalar", scalar.to_vec()),
    ]
}

/// Which secrets are there, if only with eight bytes of theirs.
fn found(memory: &[u8], secrets: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let pieces: HashMap<&[u8], &'static str> =
        secrets.iter().flat_map(|(name, bytes)| bytes.chunks(8).map(|piece| (piece, *name))).collect();
    let firsts: [bool; 256] = std::array::from_fn(|byte| pieces.keys().any(|piece| usize::from(piece[0]) == byte));
    let mut found: Vec<_> = memory
        .windows(8)
        .filter(|window| firsts[usize::from(window[0])])
        .filter_map(|window| pieces.get(window).copied())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn k02_a_derived_key_stays_in_no_memory() {
    let broker = Broker::start();
    let mut runner = Runner::enrolled(&broker, "builder");
    let created = runner.as_user(0, &["keys", "create", "release", "--algorithm", "ed25519"]).ok();
    assert!(created.stdout.contains("host-memory"), "{}", created.stdout);
    let file = runner.path("home").join("file");
    std::fs::write(&file, "contents\n").unwrap();
    for _ in 0..20 {
        runner.as_user(0, &["sign", "--key", "release", file.to_str().unwrap()]).ok();
    }
    let public = runner.as_user(0, &["keys", "public", "release"]).ok().stdout;
    std::fs::write(runner.path("home").join("key.pem"), &public).unwrap();
    let verify = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-sigfile", "file.sig", "-in", "file"];
    run(Command::new("openssl").args(verify).current_dir(runner.path("home"))).ok();

    // The agent and its spawner; not the TPM, which is where the key may be.
    let agent = runner.agent_pid();
    let of_thread = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{agent}/task")).unwrap();
    let children: Vec<_> = tasks.map(|task| of_thread(task.unwrap())).collect();
    assert_eq!(children.concat().split_whitespace().count(), 2, "TPM and spawner: the process that derives has ended");
    let memories = [agent, runner.spawner_pid()].map(memory);
    runner.stop_agent();

    let state = runner.path("state");
    let key: DerivationKey = serde_json::from_slice(&std::fs::read(state.join("derivation.json")).unwrap()).unwrap();
    let mut tpm = Device::open(&embedded(&state.join("tpm")), SessionProtection::Private).unwrap();
    let hmac = tpm.derive(&key, b"attest-run/ed25519/v1\ndev\nrelease\n1").unwrap();
    let secrets = hmac.expose(secrets);
    let signing = ed25519_dalek::SigningKey::from_bytes(secrets[2].1.as_slice().try_into().unwrap());
    // The control: this is the key, and a process that has it in its memory is found out.
    let point = signing.verifying_key().to_bytes();
    let der = data_encoding::BASE64.decode(public.lines().nth(1).unwrap().as_bytes()).unwrap();
    assert!(der.ends_with(&point));
    let names: Vec<_> = found(&memory(std::process::id()), &secrets);
    assert_eq!(names, ["HKDF's key", "HMAC", "expanded key", "scalar", "seed"]);
    // And the memory that was read is the agent's: it has the public key, which it has compared.
    assert_eq!(found(&memories[0], &[("public key", point.to_vec())]), ["public key"]);
    for memory in &memories {
        assert_eq!(found(memory, &secrets), Vec::<&str>::new());
    }
}
