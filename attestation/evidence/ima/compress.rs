//! The digests that a replay needs of one entry.
//!
//! Entries are short: two blocks of data, one of two digests. The usual way, a buffered hash for each digest, costs as
//! much around the blocks as half of them do. So the data are padded once, for SHA-1 and SHA-256 both, and each block
//! goes through both compressions before the next: neither waits for the other, and the processor overlaps them.

use sha2::Digest as _;

/// A bank's digests, of `N` bytes.
pub(super) trait Bank<const N: usize> {
    /// SHA-1 of `data`, and the bank's digest of it.
    fn digests(data: &[u8]) -> ([u8; 20], [u8; N]);
    /// The PCR's next value.
    fn extended(value: &[u8; N], digest: &[u8; N]) -> [u8; N];
}

pub(super) struct Sha1Bank;
pub(super) struct Sha256Bank;
pub(super) struct Sha384Bank;
pub(super) struct Sha512Bank;

impl Bank<20> for Sha1Bank {
    #[inline]
    fn digests(data: &[u8]) -> ([u8; 20], [u8; 20]) {
        let digest = sha1(data);
        (digest, digest)
    }

    #[inline]
    fn extended(value: &[u8; 20], digest: &[u8; 20]) -> [u8; 20] {
        sha1([*value, *digest].as_flattened())
    }
}

impl Bank<32> for Sha256Bank {
    #[inline]
    fn digests(data: &[u8]) -> ([u8; 20], [u8; 32]) {
        let mut sha1 = SHA1;
        let mut sha256 = SHA256;
        for_each_block(data, |block| {
            sha1::block_api::compress(&mut sha1, std::slice::from_ref(block));
            sha2::block_api::compress256(&mut sha256, std::slice::from_ref(block));
        });
        (to_bytes(sha1), to_bytes(sha256))
    }

    #[inline]
    fn extended(value: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
        let mut state = SHA256;
        let mut block = [0; 64];
        for (place, half) in block.as_chunks_mut::<32>().0.iter_mut().zip([value, digest]) {
            *place = *half;
        }
        sha2::block_api::compress256(&mut state, &[block, PADDING_OF_64]);
        to_bytes(state)
    }
}

impl Bank<48> for Sha384Bank {
    fn digests(data: &[u8]) -> ([u8; 20], [u8; 48]) {
        (sha1(data), sha2::Sha384::digest(data).into())
    }

    fn extended(value: &[u8; 48], digest: &[u8; 48]) -> [u8; 48] {
        sha2::Sha384::digest([*value, *digest].as_flattened()).into()
    }
}

impl Bank<64> for Sha512Bank {
    fn digests(data: &[u8]) -> ([u8; 20], [u8; 64]) {
        (sha1(data), sha2::Sha512::digest(data).into())
    }

    fn extended(value: &[u8; 64], digest: &[u8; 64]) -> [u8; 64] {
        sha2::Sha512::digest([*value, *digest].as_flattened()).into()
    }
}

/// What pads a message of one whole block: a one bit, zeros, and its 512 bits.
const PADDING_OF_64: [u8; 64] = {
    let mut block = [0; 64];
    block[0] = 0x80;
    block[62] = 2;
    block
};
/// FIPS 180-4 §5.3.1.
const SHA1: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
/// FIPS 180-4 §5.3.3.
const SHA256: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[inline]
pub(super) fn sha1(data: &[u8]) -> [u8; 20] {
    let mut state = SHA1;
    for_each_block(data, |block| sha1::block_api::compress(&mut state, std::slice::from_ref(block)));
    to_bytes(state)
}

/// The blocks of `data`, padded as SHA-1 and SHA-256 both want it (FIPS 180-4 §5.1.1): a one bit, zeros, and the number
/// of bits in the last eight bytes.
#[inline]
fn for_each_block(data: &[u8], mut compress: impl FnMut(&[u8; 64])) {
    let (blocks, rest) = data.as_chunks::<64>();
    for block in blocks {
        compress(block);
    }
    let mut padded = [0; 128];
    if let Some((head, tail)) = padded.split_at_mut_checked(rest.len()) {
        head.copy_from_slice(rest);
        if let Some(byte) = tail.first_mut() {
            *byte = 0x80;
        }
    }
    let bits = (data.len() as u64) * 8;
    let (blocks, _) = padded.as_chunks_mut::<64>();
    let wanted = if rest.len() < 56 { 1 } else { 2 };
    if let Some(length) = blocks.get_mut(wanted - 1).and_then(|block| block.last_chunk_mut()) {
        *length = bits.to_be_bytes();
    }
    for block in blocks.iter().take(wanted) {
        compress(block);
    }
}

#[inline]
fn to_bytes<const WORDS: usize, const N: usize>(words: [u32; WORDS]) -> [u8; N] {
    let mut bytes = [0; N];
    let (places, _) = bytes.as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_length_the_digests_are_those_of_the_hash_functions() {
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..bytes.len() {
            let data = &bytes[..length];
            let first: [u8; 20] = sha1::Sha1::digest(data).into();
            assert_eq!(Sha1Bank::digests(data), (first, first));
            assert_eq!(Sha256Bank::digests(data), (first, sha2::Sha256::digest(data).into()));
            assert_eq!(Sha384Bank::digests(data), (first, sha2::Sha384::digest(data).into()));
            assert_eq!(Sha512Bank::digests(data), (first, sha2::Sha512::digest(data).into()));
        }
    }
}
