//! Policies of keys that obey their lease: what a TPM asks for before it uses one (Part 1 §19.7, enhanced authorization).

use super::{CURVE_P256, PcrSelection, TpmName, algorithm};
use crate::digest::Sha256Digest;
use crate::name::{KeyName, Stage};
use serde::{Deserialize, Serialize};

/// `TPM_CC_PolicySigned` (Part 2 §6.5.2).
const CC_POLICY_SIGNED: u32 = 0x0000_0160;
/// `TPM_CC_PolicyPCR`.
const CC_POLICY_PCR: u32 = 0x0000_017f;
/// `TPMA_OBJECT` of a public key from outside: it signs, and by no policy (Part 2 §8.3). What else a key may be that only the
/// TPM can vouch for, a key from outside may not say of itself.
const OUTSIDE_ATTRIBUTES: u32 = 1 << 18 | 1 << 6;

/// What a TPM asks for before it uses a key: a fresh signature by a broker over a name of the key's own and, for keys bound to
/// a boot state, that PCRs have their values.
///
/// ```text
/// reference := SHA-256("attest-run/key/v1\n" ‖ stage ‖ "\n" ‖ name ‖ "\n" ‖ id)
/// policy    := PolicySigned(authority, reference) [ , PolicyPCR(selection, digest) ]
/// ```
///
/// The stage and the name are in the policy, so that the TPM itself tells `dev/release` from `prod/release`. The id tells a key
/// from others that had its name before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Name of the broker's grant key, as [`authority_public`] writes it.
    pub authority: TpmName,
    /// Which key it is. A broker's signature is for this one alone.
    pub reference: Sha256Digest,
    /// In which boot state it can be used, if not in every one.
    pub boot_state: Option<PcrState>,
}

/// PCRs of the SHA-256 bank, and the digest over their values (`TPM2_PolicyPCR`, Part 3 §23.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrState {
    /// Which.
    #[serde(rename = "pcrs")]
    pub selection: PcrSelection,
    /// As [`PcrValues::digest`](super::PcrValues::digest) computes it.
    pub digest: Sha256Digest,
}

impl KeyPolicy {
    /// By which a broker's signature names a key.
    pub fn reference(stage: Stage, name: &KeyName, id: &[u8; 16]) -> Sha256Digest {
        let head = format!("attest-run/key/v1\n{stage}\n{name}\n");
        Sha256Digest::of_parts([head.as_bytes(), id])
    }

    /// `authPolicy` of a key with this policy (Part 3 §23.3.1 and §23.7.1).
    pub fn digest(&self) -> Sha256Digest {
        let start = [0_u8; 32];
        let signed = Sha256Digest::of_parts([
            start.as_slice(),
            CC_POLICY_SIGNED.to_be_bytes().as_slice(),
            self.authority.as_bytes().as_slice(),
        ]);
        let signed = Sha256Digest::of_parts([signed.as_bytes().as_slice(), self.reference.as_bytes()]);
        match &self.boot_state {
            None => signed,
            Some(PcrState { selection, digest }) => Sha256Digest::of_parts([
                signed.as_bytes().as_slice(),
                CC_POLICY_PCR.to_be_bytes().as_slice(),
                selection.to_tpml().as_slice(),
                digest.as_bytes().as_slice(),
            ]),
        }
    }
}

/// Bytes of nonceTPM in sessions of keys that obey their lease.
///
/// `aHash` has its parts without their lengths: nonce, expiration, `cpHashA` (none, or 32 bytes), `policyRef`. With a nonce of 32
/// bytes the same bytes would also be an empty nonce, an expiration that the requester chose, and a `cpHashA`. With 24 no other
/// division leaves 32 bytes for the reference.
pub const NONCE: usize = 24;

/// What the authority signs so that a TPM opens a policy session: `aHash` before it is hashed (Part 3 §23.3.1).
///
/// 60 bytes. `nonce` is the TPM's for that session. `seconds`, one at least, count from when the session was started; they stand
/// negative, by which the TPM also gives a ticket for the sessions that follow.
pub fn authorization(nonce: &[u8; NONCE], seconds: u32, reference: &Sha256Digest) -> Vec<u8> {
    [&nonce[..], &expiration(seconds).to_be_bytes(), reference.as_bytes()].concat()
}

/// `expiration` of `TPM2_PolicySigned` for a ticket that is good for so many seconds. None at all would be for ever, to a TPM.
pub fn expiration(seconds: u32) -> i32 {
    i32::try_from(seconds.max(1)).map_or(i32::MIN, |seconds| -seconds)
}

/// `TPMT_PUBLIC` of a P-256 key as `TPM2_LoadExternal` takes it: ECDSA with SHA-256. Its Name stands in policies.
pub fn authority_public(x: &[u8; 32], y: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(90);
    for part in [algorithm::ECC, algorithm::SHA256] {
        out.extend(part.to_be_bytes());
    }
    out.extend(OUTSIDE_ATTRIBUTES.to_be_bytes());
    let no_policy = 0_u16;
    let [none, ecdsa, sha256] = [algorithm::NULL, algorithm::ECDSA, algorithm::SHA256];
    let length_of_a_coordinate = 32_u16;
    for part in [no_policy, none, ecdsa, sha256, CURVE_P256, none] {
        out.extend(part.to_be_bytes());
    }
    for coordinate in [x, y] {
        out.extend(length_of_a_coordinate.to_be_bytes());
        out.extend(coordinate);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::{Attributes, Public, PublicKey, SigningScheme};

    #[test]
    fn the_authority_is_a_key_that_signs_and_nothing_else() {
        let public = Public::parse(&authority_public(&[3; 32], &[4; 32])).unwrap();
        assert_eq!(public.attributes, Attributes::SIGN.and(Attributes::USER_WITH_AUTH));
        assert_eq!(public.scheme, Some(SigningScheme::ECDSA_SHA256));
        assert_eq!(public.key, PublicKey::P256 { x: [3; 32], y: [4; 32] });
        assert!(public.policy.is_empty());
    }

    #[test]
    fn every_part_of_a_policy_counts() {
        let state = PcrState { selection: "0,7".parse().unwrap(), digest: Sha256Digest::of(b"pcrs") };
        let base = KeyPolicy {
            authority: TpmName::of(b"broker"),
            reference: KeyPolicy::reference(Stage::Dev, &"release".parse().unwrap(), &[1; 16]),
            boot_state: Some(state),
        };
        let others = [
            KeyPolicy { authority: TpmName::of(b"another"), ..base.clone() },
            KeyPolicy {
                reference: KeyPolicy::reference(Stage::Prod, &"release".parse().unwrap(), &[1; 16]),
                ..base.clone()
            },
            KeyPolicy {
                reference: KeyPolicy::reference(Stage::Dev, &"other".parse().unwrap(), &[1; 16]),
                ..base.clone()
            },
            KeyPolicy {
                reference: KeyPolicy::reference(Stage::Dev, &"release".parse().unwrap(), &[2; 16]),
                ..base.clone()
            },
            KeyPolicy { boot_state: None, ..base.clone() },
            KeyPolicy { boot_state: Some(PcrState { selection: "0".parse().unwrap(), ..state }), ..base.clone() },
            KeyPolicy { boot_state: Some(PcrState { digest: Sha256Digest::of(b"more"), ..state }), ..base.clone() },
        ];
        let mut digests: Vec<_> = others.iter().map(KeyPolicy::digest).collect();
        digests.push(base.digest());
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 1);
    }

    #[test]
    fn a_state_has_one_spelling() {
        let state = PcrState { selection: "0,7".parse().unwrap(), digest: Sha256Digest::of(b"pcrs") };
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.starts_with("{\"pcrs\":[0,7],"), "{text}");
        assert_eq!(serde_json::from_str::<PcrState>(&text).unwrap(), state);
        for other in ["[7,0]", "[0,0,7]", "[0,7,24]", "[]", "[0.0,7]", "\"0,7\""] {
            let error = serde_json::from_str::<PcrState>(&text.replace("[0,7]", other)).unwrap_err();
            assert!(error.is_data(), "{other}: {error}");
        }
    }

    #[test]
    fn a_ticket_needs_a_negative_expiration() {
        assert_eq!(expiration(600), -600);
        assert_eq!(expiration(u32::MAX), i32::MIN);
        assert_eq!(expiration(0), -1);
        let signed = authorization(&[1; NONCE], 600, &Sha256Digest::of(b"key"));
        assert_eq!(signed.len(), 60);
        assert_eq!(signed[24..28], (-600_i32).to_be_bytes());
    }
}
