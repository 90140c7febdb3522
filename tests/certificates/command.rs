//! `attest-run verify ek`.

use super::file;
use super::maker::{Authority, plain};
use crate::support::{Output, directory, programs, run};
use std::process::Command;

fn verify(arguments: &[&str]) -> Output {
    run(Command::new(programs().join("attest-run")).args(["verify", "ek"]).args(arguments).env_clear())
}

/// At the tests' moment.
fn verify_file(name: &str, arguments: &[&str]) -> Output {
    verify(&[&[file(name).to_str().unwrap(), "--at", "2026-11-24T00:00:00Z"], arguments].concat())
}

#[test]
fn an_endorsed_tpm_is_described() {
    let output = verify_file("st-ek-rsa.nv", &[]).ok();
    assert_eq!(
        output.stdout,
        "\
class          discrete
maker          STMicroelectronics (id:53544D20)
model          ST33HTPHAHB4
version        id:00490004
specification  TPM 2.0 level 0 revision 116
key            RSA-2048
valid until    2028-07-11T00:00:00Z
sha256         73ffb9ae9dad04399421be4419a4e260a2f227a2c579c8d7c825c1e7b5d8b1a6
chain          TPMManufacturer=id:53544D20, TPMModel=ST33HTPHAHB4, TPMVersion=id:00490004
               C=CH, O=STMicroelectronics NV, CN=STM TPM EK Intermediate CA 05
               C=CH, O=STMicroelectronics NV, CN=STM TPM EK Root CA
               OU=GlobalSign Trusted Computing Certificate Authority, O=GlobalSign, \
CN=GlobalSign Trusted Platform Module Root CA
"
    );
    assert_eq!(output.stderr, "");
}

#[test]
fn programs_get_json() {
    let output = verify_file("google-uca-enc.pem", &["--json"]).ok();
    let answer: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(answer["schema"], "attest-run/verify-ek/v1");
    assert_eq!(answer["class"], "virtual");
    assert_eq!(answer["manufacturer"]["id"], "id:474F4F47");
    assert_eq!(answer["manufacturer"]["name"], "Google");
    assert_eq!(answer["model"], "vTPM");
    assert_eq!(answer["specification"]["family"], "2.0");
    assert_eq!(answer["valid_until"], 2_611_254_830_u64);
    assert_eq!(answer["chain"].as_array().unwrap().len(), 3);
    assert_eq!(answer["tpm12_header"], false);
}

#[test]
fn what_is_not_endorsed_is_answered_with_no() {
    verify_file("hpe-idevid.der", &[]).refused(1, "AR-E405");
    verify_file("google-uca-sign.pem", &[]).refused(1, "AR-E405");
    verify_file("st-ek-tpm12.nv", &[]).refused(1, "AR-E410");
    verify_file("no-der.pem", &[]).refused(1, "AR-E401");
    let early = verify(&[file("st-ek-rsa.nv").to_str().unwrap(), "--at", "0"]).refused(1, "AR-E402");
    assert!(early.stderr.contains("valid from   Jul 11 00:00:00 2018"), "{}", early.stderr);
    let json = verify_file("hpe-idevid.der", &["--json"]).refused(1, "AR-E405");
    assert!(json.stdout.contains("attest-run/error/v1"), "{}", json.stdout);
}

#[test]
fn a_maker_of_one_s_own_is_known_by_its_root_and_chain() {
    let folder = directory();
    let write = |name: &str, der: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, der).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let root = Authority::root("root", plain);
    let between = root.authority("between", plain);
    let tpm = write("tpm.der", &between.tpm(plain));
    let (between, root) = (write("between.der", &between.certificate), write("root.der", &root.certificate));
    let unknown = verify(&[&tpm]).refused(1, "AR-E403");
    assert!(unknown.stderr.contains("--root FILE --class CLASS"), "{}", unknown.stderr);
    verify(&[&tpm, "--chain", &between]).refused(1, "AR-E403");
    verify(&[&tpm, "--root", &root, "--class", "firmware"]).refused(1, "AR-E403");
    // An authority is not a root because somebody brings it along.
    verify(&[&tpm, "--chain", &between, &root]).refused(1, "AR-E403");
    let output = verify(&[&tpm, "--chain", &between, "--root", &root, "--class", "firmware"]).ok();
    assert!(output.stdout.starts_with("class          firmware\nmaker          not said\n"), "{}", output.stdout);
}

#[test]
fn wrong_commands_and_missing_files_are_told_apart() {
    let tpm = file("st-ek-rsa.nv");
    let tpm = tpm.to_str().unwrap();
    verify(&["/nonexistent"]).refused(3, "AR-C703");
    verify(&[tpm, "--chain", file("three-bytes.pem").to_str().unwrap()]).refused(2, "AR-C704");
    for wrong in [
        &[tpm, "--root", tpm][..],
        &[tpm, "--class", "discrete"],
        &[tpm, "--root", tpm, "--class", "real"],
        &[tpm, "--at", "yesterday"],
        &[tpm, "--at", "-1"],
        &[],
    ] {
        assert_eq!(verify(wrong).status, 2, "{wrong:?}");
    }
}
