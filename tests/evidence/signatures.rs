//! Two verifiers of signatures, one answer: whatever is claimed, pure Rust and aws-lc say the same of it.

use super::corpus::case::{MESSAGE, PEM, PUBLIC, SIGNATURE};
use super::corpus::keys::{TestKey, digest_info, emsa_pkcs1};
use super::corpus::{evidence, parents};
use super::pem;
use attest_appraisal::signature::{PureRust, SignatureRefused, verify};
use attest_broker::signatures::AwsLc;
use attest_evidence::HashAlgorithm;
use attest_evidence::tpm::{
    Public, PublicKey, Signature, SignatureValue, SigningAlgorithm, SigningScheme, algorithm, fixed,
};
use p256::elliptic_curve::ff::PrimeField as _;
use p256::elliptic_curve::ops::Reduce as _;
use p256::elliptic_curve::point::{AffineCoordinates as _, DecompressPoint as _};
use p256::{AffinePoint, ProjectivePoint, Scalar};
use proptest::collection::vec;
use proptest::prelude::*;
use rsa::BigUint;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use std::sync::LazyLock;

type Answer = Result<(), SignatureRefused>;

const HASHES: [HashAlgorithm; 4] =
    [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
const TEXT: &[u8] = b"what was signed";

/// What both say.
fn both(key: &PublicKey, scheme: SigningScheme, message: &[u8], value: &SignatureValue<'_>) -> Answer {
    let pure = verify(&PureRust, key, scheme, message, value);
    let aws_lc = verify(&AwsLc, key, scheme, message, value);
    assert_eq!(pure, aws_lc, "{key:?}, {scheme}, {value:?}");
    pure
}

fn ecdsa(key: &PublicKey, hash: HashAlgorithm, message: &[u8], r: &[u8], s: &[u8]) -> Answer {
    both(key, SigningScheme::new(SigningAlgorithm::Ecdsa, hash), message, &SignatureValue::Ecdsa { r, s })
}

fn rsa(key: &PublicKey, algorithm: SigningAlgorithm, hash: HashAlgorithm, signature: &[u8]) -> Answer {
    both(key, SigningScheme::new(algorithm, hash), TEXT, &SignatureValue::Rsa(signature))
}

fn public(key: &TestKey) -> PublicKey {
    Public::parse(&key.area().bytes()).unwrap().key
}

fn number(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).unwrap()
}

/// Order and prime of the curves (SP 800-186 §3.2.1).
static P256: LazyLock<[BigUint; 2]> = LazyLock::new(|| {
    [
        number("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    ]
});
static P384: LazyLock<[BigUint; 2]> = LazyLock::new(|| {
    [
        number("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"),
        number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff"),
    ]
});

#[test]
fn all_quotes_of_the_corpus() {
    let (mut right, mut wrong) = (0, 0);
    for case in evidence() {
        let (Some(message), Some(signature)) = (case.files.get(MESSAGE), case.files.get(SIGNATURE)) else { continue };
        let of_area = case.files.get(PUBLIC).map(|area| Public::parse(area).ok().map(|public| public.key));
        let Some(key) = of_area.unwrap_or_else(|| case.files.get(PEM).map(|text| pem(text))) else { continue };
        let Ok(signature) = Signature::parse(signature) else { continue };
        // As it says of itself, and as it might have said.
        for algorithm in [SigningAlgorithm::Ecdsa, SigningAlgorithm::RsaSsa, SigningAlgorithm::RsaPss] {
            for hash in HASHES {
                match both(&key, SigningScheme::new(algorithm, hash), message, &signature.value) {
                    Ok(()) => right += 1,
                    Err(_) => wrong += 1,
                }
            }
        }
    }
    assert!(right > 100 && wrong > 500, "the control: {right} right, {wrong} wrong");
}

#[test]
fn numbers_at_the_edges_of_a_curve() {
    let (p256, p384) = (TestKey::p256("p256"), TestKey::p384("p384"));
    for (key, [order, prime], size) in [(&p256, &*P256, 32), (&p384, &*P384, 48)] {
        let public = public(key);
        let one = BigUint::from(1_u8);
        let largest = (one.clone() << (size * 8)) - &one;
        for hash in HASHES {
            let good = key.sign_by(hash, TEXT).values;
            let [r, s] = good.as_slice() else { panic!("two scalars") };
            let short = hash.size() * 2 < size;
            let expected = if short { Err(SignatureRefused::Wrong) } else { Ok(()) };
            assert_eq!(ecdsa(&public, hash, TEXT, r, s), expected, "{hash}");
            // n - s is as good as s, whichever is the higher.
            let (r, s) = (BigUint::from_bytes_be(r), BigUint::from_bytes_be(s));
            assert_eq!(ecdsa(&public, hash, TEXT, &r.to_bytes_be(), &(order - &s).to_bytes_be()), expected, "{hash}");
            let edges = [
                BigUint::from(0_u8),
                one.clone(),
                BigUint::from(2_u8),
                order / &BigUint::from(2_u8),
                order - &one,
                order.clone(),
                order + &one,
                prime - &one,
                prime.clone(),
                largest.clone(),
                &r + order,
                &s + order,
                r.clone(),
                s.clone(),
            ];
            for first in &edges {
                for second in &edges {
                    let (first, second) = (first.to_bytes_be(), second.to_bytes_be());
                    for (first, second) in [
                        (first.clone(), second.clone()),
                        ([&[0; 3], first.as_slice()].concat(), second.clone()),
                        (first.clone(), [vec![0; size.saturating_sub(second.len())], second.clone()].concat()),
                        ([&first, [0].as_slice()].concat(), second),
                    ] {
                        let _ = ecdsa(&public, hash, TEXT, &first, &second);
                    }
                }
            }
        }
        assert_eq!(ecdsa(&public, HashAlgorithm::Sha256, TEXT, &[], &[]), Err(SignatureRefused::Wrong));
    }
}

/// A key of P-256 with a signature over [`TEXT`] that goes through a corner of the arithmetic.
struct Corner {
    what: &'static str,
    key: PublicKey,
    r: BigUint,
    s: BigUint,
    good: bool,
}

fn corner(what: &'static str, key: &ProjectivePoint, r: &Scalar, s: &Scalar, good: bool) -> Corner {
    let key = key.to_affine();
    let key = PublicKey::P256 { x: key.x().into(), y: key.y().into() };
    let number = |scalar: &Scalar| BigUint::from_bytes_be(&scalar.to_repr());
    Corner { what, key, r: number(r), s: number(s), good }
}

fn corners() -> Vec<Corner> {
    let digest: [u8; 32] = HashAlgorithm::Sha256.hash(TEXT).as_bytes().try_into().unwrap();
    let z = <Scalar as p256::elliptic_curve::ops::Reduce<p256::FieldBytes>>::reduce(&digest.into());
    let g = ProjectivePoint::GENERATOR;
    let inverse = |scalar: &Scalar| scalar.invert().unwrap();
    let abscissa = |point: &ProjectivePoint| Scalar::reduce(&point.to_affine().x());
    // The signature's point R has an abscissa of n or more: r is that less n.
    let [order, _] = &*P256;
    let (large, distance) = (0_u8..=255)
        .find_map(|distance| {
            let x: [u8; 32] = fixed(&(order + BigUint::from(distance)).to_bytes_be())?;
            let point = Option::<AffinePoint>::from(AffinePoint::decompress(&x.into(), 0.into()))?;
            (distance > 0).then_some((ProjectivePoint::from(point), distance))
        })
        .unwrap();
    let (r, s) = (Scalar::from(u64::from(distance)), Scalar::from(7_u64));
    let of_large = corner("R is above the order", &((large * s - g * z) * inverse(&r)), &r, &s, true);
    let unreduced = Corner {
        what: "r is above the order",
        r: order + &of_large.r,
        key: of_large.key.clone(),
        s: of_large.s.clone(),
        good: false,
    };
    // Both halves of the sum are one point: a doubling where an addition is expected.
    let k = Scalar::from(12345_u64);
    let r = abscissa(&(g * k));
    let s = (z + z) * inverse(&k);
    let doubled = corner("u1 G = u2 Q", &(g * (z * inverse(&r))), &r, &s, true);
    // They cancel out: there is no R.
    let nowhere = corner("u1 G = -u2 Q", &g, &-z, &Scalar::from(5_u64), false);
    // The key is the generator, or its inverse.
    let honest = |d: Scalar, what| {
        let r = abscissa(&(g * k));
        corner(what, &(g * d), &r, &(inverse(&k) * (z + r * d)), true)
    };
    vec![
        of_large,
        unreduced,
        doubled,
        nowhere,
        honest(Scalar::ONE, "Q = G"),
        honest(-Scalar::ONE, "Q = -G"),
        honest(Scalar::from(2_u64), "Q = 2 G"),
        honest(k, "Q = R"),
        honest(-k, "Q = -R"),
    ]
}

#[test]
fn corners_of_the_arithmetic() {
    for Corner { what, key, r, s, good } in corners() {
        let answer = ecdsa(&key, HashAlgorithm::Sha256, TEXT, &r.to_bytes_be(), &s.to_bytes_be());
        assert_eq!(answer.is_ok(), good, "{what}");
    }
}

#[test]
fn points_that_are_no_keys() {
    let made = parents::made_p256();
    let good = made.key.sign(TEXT).values;
    let PublicKey::P256 { x, y } = public(&made.key) else { panic!("P-256") };
    let [_, prime] = &*P256;
    let prime: [u8; 32] = fixed(&prime.to_bytes_be()).unwrap();
    let mut beside = y;
    beside[31] ^= 1;
    for (x, y) in [([0; 32], [0; 32]), (x, beside), (y, x), (prime, y), (x, prime), ([0xff; 32], [0xff; 32])] {
        let answer = ecdsa(&PublicKey::P256 { x, y }, HashAlgorithm::Sha256, TEXT, &good[0], &good[1]);
        assert_eq!(answer, Err(SignatureRefused::Key));
    }
    // Points of the curve, of which the signature is not.
    let negative = BigUint::from_bytes_be(&prime) - BigUint::from_bytes_be(&y);
    let negative = PublicKey::P256 { x, y: fixed(&negative.to_bytes_be()).unwrap() };
    let answer = ecdsa(&negative, HashAlgorithm::Sha256, TEXT, &good[0], &good[1]);
    assert_eq!(answer, Err(SignatureRefused::Wrong));
    let answer = ecdsa(&PublicKey::P384 { x: [0; 48], y: [1; 48] }, HashAlgorithm::Sha384, TEXT, &[1], &[1]);
    assert_eq!(answer, Err(SignatureRefused::Key));
}

/// An RSA key whose factors are Mersenne primes: any size is had at once, and its arithmetic is all carries.
struct RsaKey {
    modulus: BigUint,
    phi: BigUint,
}

impl RsaKey {
    /// The product of 2^p - 1: as many bits as the sum of all p.
    fn mersenne(exponents: &[usize]) -> Self {
        let one = BigUint::from(1_u8);
        let primes = || exponents.iter().map(|exponent| (one.clone() << *exponent) - &one);
        let modulus = primes().fold(one.clone(), |product, prime| product * prime);
        assert_eq!(modulus.bits(), exponents.iter().sum::<usize>());
        Self { modulus, phi: primes().fold(one.clone(), |product, prime| product * (prime - &one)) }
    }

    /// The key of the corpus.
    fn real() -> Self {
        let TestKey::Rsa(key, _) = TestKey::rsa("rsa2048", algorithm::RSASSA) else { panic!("RSA") };
        let one = BigUint::from(1_u8);
        Self { modulus: key.n().clone(), phi: key.primes().iter().fold(one.clone(), |phi, prime| phi * (prime - &one)) }
    }

    fn public(&self, exponent: u32) -> PublicKey {
        PublicKey::Rsa { bits: self.modulus.bits().try_into().unwrap(), exponent, modulus: self.modulus.to_bytes_be() }
    }

    fn size(&self) -> usize {
        self.modulus.bits().div_ceil(8)
    }

    /// RSASP1 (RFC 8017 §5.2.1), by a public exponent that is prime. `None` where it has no inverse.
    fn sign(&self, exponent: u32, encoded: &[u8]) -> Option<Vec<u8>> {
        let e = BigUint::from(exponent);
        // d = (1 + k phi) / e, with k = -1 / phi modulo e (Fermat).
        let rest = &self.phi % &e;
        if rest == BigUint::from(0_u8) {
            return None;
        }
        let k = (&e - rest).modpow(&(&e - BigUint::from(2_u8)), &e);
        let d = (BigUint::from(1_u8) + k * &self.phi) / &e;
        let signature = BigUint::from_bytes_be(encoded).modpow(&d, &self.modulus).to_bytes_be();
        Some([vec![0; self.size() - signature.len()], signature].concat())
    }

    /// EMSA-PSS (RFC 8017 §9.1.1), with a salt of this length.
    fn encode_pss(&self, hash: HashAlgorithm, salt: usize) -> Vec<u8> {
        let bits = self.modulus.bits() - 1;
        let size = bits.div_ceil(8);
        let salt = vec![0xa5; salt];
        let digest = hash.hash(TEXT);
        let digest = hash.hash_parts([&[0; 8], digest.as_bytes(), &salt]);
        let block = size - digest.as_bytes().len() - 1;
        let mut masked = [vec![0; block - salt.len() - 1], vec![1], salt].concat();
        let mask = (0_u32..)
            .flat_map(|counter| hash.hash_parts([digest.as_bytes(), &counter.to_be_bytes()]).as_bytes().to_vec());
        masked.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        masked[0] &= 0xff >> (8 * size - bits);
        [&masked, digest.as_bytes(), &[0xbc]].concat()
    }
}

const SHA2: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

#[test]
fn rsa_of_all_sizes_and_exponents() {
    let keys = [
        (RsaKey::real(), &[3, 5, 7, 11, 13, 17, 257, 65537, 0xffff_fffb][..]),
        (RsaKey::mersenne(&[1279, 607, 107, 31, 19, 5]), &[65537][..]), // 2048
        (RsaKey::mersenne(&[2203]), &[65537][..]),
        (RsaKey::mersenne(&[2281, 521, 127, 107, 31, 5]), &[65537][..]), // 3072
        (RsaKey::mersenne(&[2203, 1279, 607]), &[65537][..]),            // 4089: PSS is over 511 bytes
        (RsaKey::mersenne(&[2203, 1279, 607, 7]), &[65537, 0xffff_fffb][..]), // 4096
    ];
    let mut exponents_of_the_real = 0;
    for (key, exponents) in &keys {
        for &exponent in *exponents {
            let public = key.public(exponent);
            if key.sign(exponent, &[1]).is_none() {
                continue;
            }
            exponents_of_the_real += usize::from(key.size() == 256);
            for hash in HASHES {
                let encoded = emsa_pkcs1(&digest_info(hash), hash.hash(TEXT).as_bytes(), key.size());
                let signature = key.sign(exponent, &encoded).unwrap();
                let bits = key.modulus.bits();
                let of = |signature: &[u8]| rsa(&public, SigningAlgorithm::RsaSsa, hash, signature);
                assert_eq!(of(&signature), Ok(()), "{bits} bits, {exponent}, {hash}");
                assert_eq!(of(&[&[0], signature.as_slice()].concat()), Err(SignatureRefused::Wrong));
                assert_eq!(of(&signature[1..]), Err(SignatureRefused::Wrong));
                // The same number once more around.
                let around = (BigUint::from_bytes_be(&signature) + &key.modulus).to_bytes_be();
                assert_eq!(of(&around), Err(SignatureRefused::Wrong));
                assert!(rsa(&public, SigningAlgorithm::RsaPss, hash, &signature).is_err());
            }
            for hash in SHA2 {
                let longest = (key.modulus.bits() - 1).div_ceil(8) - hash.size() - 2;
                for salt in [0, 1, hash.size() - 1, hash.size(), hash.size() + 1, longest - 1, longest] {
                    let signature = key.sign(exponent, &key.encode_pss(hash, salt)).unwrap();
                    let answer = rsa(&public, SigningAlgorithm::RsaPss, hash, &signature);
                    assert_eq!(answer.is_ok(), salt == hash.size() || salt == longest, "{hash}, salt {salt}");
                }
            }
            let signature = key.sign(exponent, &key.encode_pss(HashAlgorithm::Sha1, 20)).unwrap();
            let answer = rsa(&public, SigningAlgorithm::RsaPss, HashAlgorithm::Sha1, &signature);
            assert_eq!(answer, Err(SignatureRefused::Wrong));
        }
    }
    assert!(exponents_of_the_real >= 4, "{exponents_of_the_real}");
}

#[test]
fn moduli_and_exponents_that_are_none() {
    let key = RsaKey::real();
    let modulus = key.modulus.to_bytes_be();
    let public = |modulus: Vec<u8>, exponent| PublicKey::Rsa { bits: 2048, exponent, modulus };
    let small = RsaKey::mersenne(&[1279, 607, 127, 19, 5, 3, 7]).modulus; // 2047 bits in 256 bytes
    let even = &key.modulus - BigUint::from(1_u8);
    let large = RsaKey::mersenne(&[2281, 1279, 521, 13, 3]).modulus; // 4097 bits
    for (modulus, exponent) in [
        (modulus.clone(), 1),
        (modulus.clone(), 2),
        (modulus.clone(), 65536),
        ([&[0], modulus.as_slice()].concat(), 65537),
        (modulus[1..].to_vec(), 65537),
        (small.to_bytes_be(), 65537),
        (even.to_bytes_be(), 65537),
        (large.to_bytes_be(), 65537),
        (vec![0; 256], 65537),
        (Vec::new(), 65537),
    ] {
        let signature = vec![1; modulus.len()];
        for algorithm in [SigningAlgorithm::RsaSsa, SigningAlgorithm::RsaPss] {
            let answer = rsa(&public(modulus.clone(), exponent), algorithm, HashAlgorithm::Sha256, &signature);
            assert_eq!(answer, Err(SignatureRefused::Key), "{} bytes, {exponent}", modulus.len());
        }
    }
}

/// Bytes that are spoilt in one of the ways in which signatures are.
fn spoilt(bytes: &[u8], how: u8, place: prop::sample::Index, by: u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    match how {
        0 => {}
        1 => out[place.index(bytes.len())] ^= by,
        2 => out.truncate(place.index(bytes.len())),
        3 => out.insert(place.index(bytes.len() + 1), by),
        4 => out.fill(by),
        5 => out = out.into_iter().skip_while(|byte| *byte == 0).collect(),
        _ => out.splice(0..0, vec![0; usize::from(by % 20)]).for_each(drop),
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn signatures_of_curves_however_spoilt(
        message in vec(any::<u8>(), 0..200),
        (hash, negated) in (0..HASHES.len(), any::<bool>()),
        (r_how, r_place, r_by) in (0..7_u8, any::<prop::sample::Index>(), any::<u8>()),
        (s_how, s_place, s_by) in (0..7_u8, any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let hash = HASHES[hash];
        for (key, [order, _]) in [(TestKey::p256("p256"), &*P256), (TestKey::p384("p384"), &*P384)] {
            let mut good = key.sign_by(hash, &message).values;
            if negated {
                good[1] = (order - BigUint::from_bytes_be(&good[1])).to_bytes_be();
            }
            let (r, s) = (spoilt(&good[0], r_how, r_place, r_by), spoilt(&good[1], s_how, s_place, s_by));
            let _ = ecdsa(&public(&key), hash, &message, &r, &s);
        }
    }

    #[test]
    fn any_two_numbers(r in vec(any::<u8>(), 0..66), s in vec(any::<u8>(), 0..66)) {
        for key in [TestKey::p256("p256"), TestKey::p384("p384")] {
            for hash in HASHES {
                let _ = ecdsa(&public(&key), hash, TEXT, &r, &s);
            }
        }
    }

    /// The encoded message is spoilt, and signed as it is: past the arithmetic, the padding is what has to be looked at.
    #[test]
    fn padding_however_spoilt(
        hash in 0..SHA2.len(),
        (salt, longest) in (0..70_usize, any::<bool>()),
        (how, place, by) in (0..7_u8, any::<prop::sample::Index>(), any::<u8>()),
        (then, then_place, then_by) in (0..4_u8, any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let (key, hash) = (RsaKey::real(), SHA2[hash]);
        let salt = if longest { key.size() - hash.size() - 2 } else { salt };
        let encoded = [
            emsa_pkcs1(&digest_info(hash), hash.hash(TEXT).as_bytes(), key.size()),
            key.encode_pss(hash, salt),
        ];
        for encoded in encoded {
            let signature = key.sign(65537, &spoilt(&encoded, how, place, by)).unwrap();
            for algorithm in [SigningAlgorithm::RsaSsa, SigningAlgorithm::RsaPss] {
                let _ = rsa(&key.public(65537), algorithm, hash, &signature);
                let _ = rsa(&key.public(65537), algorithm, hash, &spoilt(&signature, then, then_place, then_by));
            }
        }
    }
}
