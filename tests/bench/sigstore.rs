//! One Sigstore bundle, verified in process, beside what no verifier can do without: its public-key operations.

use crate::{ROUNDS, in_turn_by_the_hundred, row};
use attest_sigstore::{Artifact, Bundle, Expected, Instance, Trust};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, ParsedPublicKey,
};
use std::hint::black_box;
use std::path::Path;

/// The certificate, by an authority of the trusted root.
const P384: usize = 1;
/// The mark of the log of certificates, the log's promise, its checkpoint, and the artifact's signature.
const P256: usize = 4;

const MESSAGE: &[u8] = &[7; 256];

/// A key and its signature over [`MESSAGE`].
fn signed(
    signs: &'static EcdsaSigningAlgorithm,
    verifies: &'static EcdsaVerificationAlgorithm,
) -> (ParsedPublicKey, Vec<u8>) {
    let key = EcdsaKeyPair::generate(signs).unwrap();
    let signature = key.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
    (ParsedPublicKey::new(verifies, key.public_key().as_ref()).unwrap(), signature)
}

/// A keyless bundle with an entry of Rekor's first version.
pub(crate) fn bundles() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/sigstore/conformance/bundle-verify");
    let bytes = std::fs::read(data.join("happy-path-v0.3/bundle.sigstore.json")).unwrap();
    let artifact = std::fs::read(data.join("a.txt")).unwrap();
    let identity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/\
                    extremely-dangerous-oidc-beacon.yml@refs/heads/main";
    let issuer = "https://token.actions.githubusercontent.com".to_owned();
    let expected = Expected::Identity { identity: identity.to_owned(), issuer };
    let trust = Trust::of(Instance::PublicGood).unwrap();
    let bundle = Bundle::parse(&bytes).unwrap();
    let verify = || drop(black_box(trust.verify(&bundle, Artifact::Bytes(&artifact), &expected).unwrap()));
    let (large, small) = (
        signed(&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1),
        signed(&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1),
    );
    let floor = || {
        for _ in 0..P384 {
            large.0.verify_sig(MESSAGE, &large.1).unwrap();
        }
        for _ in 0..P256 {
            small.0.verify_sig(MESSAGE, &small.1).unwrap();
        }
    };
    let (ours, theirs) = in_turn_by_the_hundred(ROUNDS, verify, floor);
    row("a Sigstore bundle verified in process", ours, "its P-384 and 4 P-256 operations", theirs);
    let whole = || {
        let bundle = Bundle::parse(&bytes).unwrap();
        drop(black_box(trust.verify(&bundle, Artifact::Bytes(&artifact), &expected).unwrap()));
    };
    let (ours, theirs) = in_turn_by_the_hundred(ROUNDS, whole, floor);
    row("the same, read from its JSON", ours, "the same operations", theirs);
}
