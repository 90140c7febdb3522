//! Keys that obey their lease: what a runner says of one is verified, and what opens it is signed.

use crate::keys::BrokerKeys;
use crate::signatures::AwsLc;
use attest_appraisal::{AttestationKey, CertificationRefused, CertifiedKey, RawCertification};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{KeyOpening, KeyRequest, KeyUse, Request};
use attest_evidence::tpm::{KeyPolicy, NONCE};

/// The keys of one request that its runner's TPM uses only by this broker's signature.
///
/// Its one constructor is [`LeasedKeys::verify`].
pub(crate) struct LeasedKeys(Vec<Option<Waiting>>);

/// A session that waits for a signature, and the key that it is for.
struct Waiting {
    nonce: [u8; NONCE],
    reference: Sha256Digest,
}

impl LeasedKeys {
    /// Verifies what the request says of its keys: each is in the TPM of `ak`, and obeys this broker for its stage and name.
    ///
    /// # Errors
    /// See [`CertificationRefused`].
    pub(super) fn verify(
        request: &Request,
        ak: &AttestationKey,
        keys: &BrokerKeys,
    ) -> Result<Self, CertificationRefused> {
        let verified = |asked: &KeyRequest| {
            let Some(leased) = &asked.lease else { return Ok(None) };
            // Policy was asked about what the request says: what is opened is a key that signs.
            if asked.usage != KeyUse::Sign {
                return Err(CertificationRefused::Use);
            }
            let reference = KeyPolicy::reference(request.step.stage, &asked.name, &leased.id);
            let policy = KeyPolicy { authority: keys.authority().clone(), reference, boot_state: leased.boot_state };
            let key =
                CertifiedKey::verify(RawCertification::from(leased), (request.step.stage, &asked.name), ak, &AwsLc)?;
            key.obeys(&policy)?;
            key.is(&asked.public_key)?;
            Ok(Some(Waiting { nonce: leased.nonce, reference }))
        };
        request.keys.iter().map(verified).collect::<Result<_, _>>().map(Self)
    }

    /// For each key of the request, in its order, what opens it for so many seconds.
    pub(super) fn open(&self, keys: &BrokerKeys, seconds: u32) -> impl Iterator<Item = Option<KeyOpening>> {
        self.0.iter().map(move |waiting| {
            let Waiting { nonce, reference } = waiting.as_ref()?;
            Some(keys.sign_opening(nonce, seconds, reference))
        })
    }
}
