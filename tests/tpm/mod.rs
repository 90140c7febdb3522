//! The TPM crate on real TPMs: libtpms in its helper process, and swtpm.

use attest_evidence::SecretBytes;
use attest_evidence::Sha256Digest;
use attest_evidence::tpm::{Attest, Attested, PcrSelection, Public, make_credential};
use attest_tpm::{Device, Embedded, SessionProtection, TpmError, Transport};

const ATTEST_RUN: &str = env!("CARGO_BIN_EXE_attest-run");

fn embedded(directory: &std::path::Path) -> Transport {
    Transport::Embedded(Embedded::new(directory).with_helper(ATTEST_RUN))
}

#[test]
fn smoke() {
    let d = tempfile::tempdir().unwrap();
    for protection in [SessionProtection::Private, SessionProtection::Salted] {
        let mut tpm = Device::open(&embedded(d.path()), protection).unwrap();
        let before = tpm.handles().unwrap();
        println!("{before:x?}");
        let ek = tpm.endorsement().unwrap();
        let t = std::time::Instant::now();
        let ak = tpm.create_attestation_key().unwrap();
        println!("ak {:?}", t.elapsed());
        tpm.use_attestation_key(&ak.credentials).unwrap();
        let secret = SecretBytes::random(32).unwrap();
        let c = make_credential(&Public::parse(&ek.public).unwrap(), &ak.credentials.name, &secret).unwrap();
        assert!(tpm.activate(&c).unwrap() == secret);
        let sel: PcrSelection = "0,1,2,3,4,5,6,7,8,9,14".parse().unwrap();
        let q = tpm.quote(sel, &Sha256Digest::of(b"x")).unwrap();
        let t = std::time::Instant::now();
        for _ in 0..100 {
            tpm.quote(sel, &Sha256Digest::of(b"x")).unwrap();
        }
        println!("quote {:?}", t.elapsed() / 100);
        println!("{:?}", Attest::parse(&q.message));
        let k = tpm.create_signing_key().unwrap();
        tpm.sign(&k, &Sha256Digest::of(b"x")).unwrap();
        let t = std::time::Instant::now();
        for _ in 0..100 {
            tpm.sign(&k, &Sha256Digest::of(b"x")).unwrap();
        }
        println!("sign {:?}", t.elapsed() / 100);
        tpm.certify(k.stored(), &Sha256Digest::of(b"y")).unwrap();
        let h = tpm.create_derivation_key().unwrap();
        assert!(tpm.derive(&h, b"a").unwrap() == tpm.derive(&h, b"a").unwrap());
        let s = tpm.seal(&secret, sel).unwrap();
        assert!(tpm.unseal(&s).unwrap() == secret);
        println!("{:x?}", tpm.handles().unwrap());
    }
}
