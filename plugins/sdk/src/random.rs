//! Random numbers.

use crate::bindings::wasi::random::random::get_random_bytes;

/// Random bytes of the kernel, fit for keys.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    // The host may give fewer than it is asked for only by breaking the contract; then it is asked again.
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let given = get_random_bytes(rest.len() as u64);
        let count = given.len().min(rest.len());
        for (to, from) in rest.iter_mut().zip(given) {
            *to = from;
        }
        filled += count;
    }
    bytes
}
