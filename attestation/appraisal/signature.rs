//! Signatures: the key says by which scheme, never the signature.
//!
//! The arithmetic is behind [`SignatureVerifier`], which has two implementations: [`PureRust`], here, and one on a faster
//! library, where that may be linked. Whatever they could answer differently is decided here, before they are asked, so that
//! evidence gets one verdict wherever it is looked at:
//!
//! * ECDSA (FIPS 186-5 §6.4.2): r and s as numbers, so that leading zeros may be missing or be there, as long as they fit the
//!   curve. Both s and n - s are the key's: TPMs make either. A hash of less than half the curve's order is none for it.
//! * RSA (RFC 8017 §3.1): a modulus of 2048 to 4096 bits, odd, without leading zeros; an exponent of 3 or more, odd. The
//!   signature is exactly as long as the modulus (§8.1.2, §8.2.2).
//! * RSASSA-PSS: a salt as long as the hash, or the longest that fits. TPMs before revision 1.38 take the longest, later ones
//!   the other (Part 1 §B.7). Nothing is signed by PSS and SHA-1.
//!
//! What is left is defined by the standards to the bit: whether a point is on its curve, r and s are in 1..n, a signature is
//! below its modulus, and the equation holds.

mod pure_rust;

pub use pure_rust::PureRust;

use attest_evidence::HashAlgorithm;
use attest_evidence::tpm::{PublicKey, SignatureValue, SigningAlgorithm, SigningScheme, fixed};
use std::fmt;

/// The smallest modulus that is believed, in bits.
pub(crate) const SMALLEST_RSA: u16 = 2048;
/// The largest modulus, in bits.
const LARGEST_RSA: usize = 4096;

/// Computes whether a signature is a key's.
///
/// An implementation answers by the standard and by nothing of its own: what is believed at all has been decided when it
/// gets a [`SignatureClaim`].
pub trait SignatureVerifier: fmt::Debug + Send + Sync {
    /// Whether the claim is true.
    ///
    /// # Errors
    /// [`SignatureRefused::Key`] for a point off its curve, [`SignatureRefused::Wrong`] for everything else.
    fn verify(&self, claim: &SignatureClaim<'_>) -> Result<(), SignatureRefused>;
}

/// That a key has signed a message: all that was checked of it is its form.
///
/// Only [`verify`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct SignatureClaim<'a> {
    operation: Operation<'a>,
    hash: HashAlgorithm,
    message: &'a [u8],
}

/// The operation that shows whether a claim is true.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// ECDSA over P-256.
    EcdsaP256 {
        /// The key: SEC 1 §2.3.3, not compressed.
        point: [u8; 65],
        /// r ‖ s, big-endian.
        signature: [u8; 64],
    },
    /// ECDSA over P-384.
    EcdsaP384 {
        /// The key: SEC 1 §2.3.3, not compressed.
        point: [u8; 97],
        /// r ‖ s, big-endian.
        signature: [u8; 96],
    },
    /// RSASSA-PKCS1-v1_5.
    RsaSsa {
        /// The key.
        key: RsaKey<'a>,
        /// As long as the modulus.
        signature: &'a [u8],
    },
    /// RSASSA-PSS, with one hash for the message and for the mask.
    RsaPss {
        /// The key.
        key: RsaKey<'a>,
        /// As long as the modulus.
        signature: &'a [u8],
        /// Bytes of the salt: so many, and neither more nor fewer.
        salt: u16,
    },
}

/// An RSA key of a size and form that is believed.
#[derive(Debug, Clone, Copy)]
pub struct RsaKey<'a> {
    modulus: &'a [u8],
    exponent: u32,
}

/// Why a signature is not a key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureRefused {
    /// The key is none: off its curve, too short a modulus.
    Key,
    /// It is not that key's over these bytes.
    Wrong,
}

/// Whether `signature` is `key`'s over `message`, by `scheme`, as `verifier` computes it.
///
/// The caller must have taken `scheme` from the key, or have compared it with the key's.
///
/// # Errors
/// See [`SignatureRefused`].
pub fn verify(
    verifier: &dyn SignatureVerifier,
    key: &PublicKey,
    scheme: SigningScheme,
    message: &[u8],
    signature: &SignatureValue<'_>,
) -> Result<(), SignatureRefused> {
    let SigningScheme { algorithm, hash } = scheme;
    let holds = |operation| verifier.verify(&SignatureClaim { operation, hash, message });
    match (key, algorithm, signature) {
        (PublicKey::P256 { x, y }, SigningAlgorithm::Ecdsa, SignatureValue::Ecdsa { r, s }) => {
            holds(Operation::EcdsaP256 { point: point(x, y), signature: scalars::<32, 64>(hash, r, s)? })
        }
        (PublicKey::P384 { x, y }, SigningAlgorithm::Ecdsa, SignatureValue::Ecdsa { r, s }) => {
            holds(Operation::EcdsaP384 { point: point(x, y), signature: scalars::<48, 96>(hash, r, s)? })
        }
        (PublicKey::Rsa { exponent, modulus, .. }, SigningAlgorithm::RsaSsa, SignatureValue::Rsa(signature)) => {
            let key = RsaKey::check(modulus, *exponent)?;
            key.fits(signature)?;
            holds(Operation::RsaSsa { key, signature })
        }
        (PublicKey::Rsa { exponent, modulus, .. }, SigningAlgorithm::RsaPss, SignatureValue::Rsa(signature)) => {
            let key = RsaKey::check(modulus, *exponent)?;
            key.fits(signature)?;
            let [first, second] = key.salts(hash).ok_or(SignatureRefused::Wrong)?;
            let pss = |salt| holds(Operation::RsaPss { key, signature, salt });
            pss(first).or_else(|_| pss(second))
        }
        _ => Err(SignatureRefused::Wrong),
    }
}

/// SEC 1 §2.3.3, not compressed.
fn point<const N: usize, const POINT: usize>(x: &[u8; N], y: &[u8; N]) -> [u8; POINT] {
    const { assert!(POINT == 1 + 2 * N) };
    let mut point = [4; POINT];
    for (to, from) in point.iter_mut().skip(1).zip(x.iter().chain(y)) {
        *to = *from;
    }
    point
}

/// r ‖ s.
fn scalars<const N: usize, const BOTH: usize>(
    hash: HashAlgorithm,
    r: &[u8],
    s: &[u8],
) -> Result<[u8; BOTH], SignatureRefused> {
    const { assert!(BOTH == 2 * N) };
    if hash.size() * 2 < N {
        return Err(SignatureRefused::Wrong);
    }
    let (r, s) = fixed::<N>(r).zip(fixed::<N>(s)).ok_or(SignatureRefused::Wrong)?;
    let mut both = [0; BOTH];
    for (to, from) in both.iter_mut().zip(r.into_iter().chain(s)) {
        *to = from;
    }
    Ok(both)
}

impl<'a> RsaKey<'a> {
    fn check(modulus: &'a [u8], exponent: u32) -> Result<Self, SignatureRefused> {
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        let sound = (usize::from(SMALLEST_RSA)..=LARGEST_RSA).contains(&bits)
            && modulus.first().is_some_and(|first| *first != 0)
            && modulus.last().is_some_and(|last| last % 2 == 1)
            && exponent >= 3
            && exponent % 2 == 1;
        if sound { Ok(Self { modulus, exponent }) } else { Err(SignatureRefused::Key) }
    }

    /// Big-endian, without leading zeros.
    pub const fn modulus(&self) -> &'a [u8] {
        self.modulus
    }

    /// The public exponent.
    pub const fn exponent(&self) -> u32 {
        self.exponent
    }

    const fn fits(&self, signature: &[u8]) -> Result<(), SignatureRefused> {
        if signature.len() == self.modulus.len() { Ok(()) } else { Err(SignatureRefused::Wrong) }
    }

    /// The salts that a TPM may have taken, in bytes: as long as the hash, or as long as the modulus has room for
    /// (RFC 8017 §9.1.1). None for a hash that PSS is not believed with.
    fn salts(&self, hash: HashAlgorithm) -> Option<[u16; 2]> {
        if hash == HashAlgorithm::Sha1 {
            return None;
        }
        // EMSA-PSS is over one bit less than the modulus has: a byte less, where that bit was alone in its byte.
        let spare = usize::from(self.modulus.first() == Some(&1));
        let longest = self.modulus.len().checked_sub(spare + hash.size() + 2)?;
        Some([u16::try_from(hash.size()).ok()?, u16::try_from(longest).ok()?])
    }
}

impl<'a> SignatureClaim<'a> {
    /// What to compute.
    pub const fn operation(&self) -> &Operation<'a> {
        &self.operation
    }

    /// The hash of the message, and of the mask.
    pub const fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// What was signed, not hashed yet.
    pub const fn message(&self) -> &'a [u8] {
        self.message
    }
}
