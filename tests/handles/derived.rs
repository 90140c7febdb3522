//! Keys that the TPM derives for a step.

use super::Scene;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The 32 bytes that the step says it got.
fn bytes(scene: &Scene, arguments: &[&str]) -> Vec<u8> {
    let out = scene.run(&[], arguments).ok();
    let line = out.stderr.lines().find(|line| line.len() == 64).unwrap_or_else(|| panic!("{}", out.stderr));
    HEXLOWER.decode(line.as_bytes()).unwrap()
}

#[test]
fn derived_keys_are_the_same_on_the_same_tpm_and_others_everywhere_else() {
    let scene = Scene::new();
    let key = bytes(&scene, &["derive", "cache"]);
    assert_eq!(bytes(&scene, &["derive", "cache"]), key);
    assert_ne!(bytes(&scene, &["derive", "cache2"]), key);
    // The code of a message is made with the very key, which the step need not see.
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(b"a message").finalize().into_bytes();
    assert_eq!(bytes(&scene, &["mac", "cache", "a message"]), mac.to_vec());
    let other = Scene::new();
    assert_ne!(bytes(&other, &["derive", "cache"]), key, "another TPM's");
    for purpose in ["", "Cache", "a b", "../x"] {
        let out = scene.run(&[], &["derive", purpose]);
        assert_eq!(out.status, 1, "{purpose}: {}", out.stderr);
        assert!(out.stderr.contains("purpose"), "{purpose}: {}", out.stderr);
    }
}
