//! The broker's keys. One root key, which is never in the database, opens the others, which are.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce};
use attest_appraisal::ear::{Ear, EarAlgorithm};
use attest_appraisal::{AttestationKey, TpmClass};
use attest_evidence::exchange::{ChallengeKey, GRANT_DOMAIN, GrantBody, KeyOpening, Pins, SignedGrant};
use attest_evidence::name::{BrokerId, RunnerName, Stage};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{NONCE, TpmName, authority_public, authorization};
use attest_evidence::{SecretBytes, Sha256Digest, UnixSeconds};
use data_encoding::BASE64URL_NOPAD;
use hkdf::Hkdf;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// What can go wrong with keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The root key can't be read.
    #[error("the root key can't be read from {}: {reason}", path.display())]
    RootKey {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something sealed does not open: another root key, or somebody changed it.
    #[error("the {0} does not open with this root key")]
    DoesNotOpen(&'static str),
    /// A key or certificate could not be made.
    #[error("can't make the {what}: {reason}")]
    Making {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl Explain for KeyError {
    fn report(&self) -> Report {
        match self {
            Self::RootKey { .. } => Report::new("AR-B401", Fault::Environment, self.to_string())
                .hint("it is 32 bytes as 64 hexadecimal digits, readable by the broker's user alone. `attest-broker init` makes one"),
            Self::DoesNotOpen(_) => Report::new("AR-B402", Fault::Environment, self.to_string())
                .hint("database and root key belong together: restore the one that fits"),
            Self::Making { .. } => Report::new("AR-B403", Fault::Bug, self.to_string()),
        }
    }
}

/// The key that all others are sealed with: 32 bytes.
pub struct RootKey(SecretBytes);

impl RootKey {
    /// A new root key.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let key = SecretBytes::random(32)
            .map_err(|error| KeyError::Making { what: "root key", reason: error.to_string() })?;
        Ok(Self(key))
    }

    /// Reads the key from a file that nobody else may read: 64 hexadecimal digits.
    ///
    /// # Errors
    /// The file is not there, not private or holds something else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt as _;
        let refuse = |reason: String| KeyError::RootKey { path: path.to_owned(), reason };
        let mode = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(refuse(format!("its mode is {:o}, and others must have no rights", mode & 0o777)));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?);
        let mut bytes =
            attest_evidence::digest::hex_array::<32>(text.trim_end()).map_err(|error| refuse(error.to_string()))?;
        let key = Self(SecretBytes::new(bytes.to_vec()));
        bytes.zeroize();
        Ok(key)
    }

    /// The text for such a file.
    pub fn to_text(&self) -> SecretBytes {
        SecretBytes::new(self.0.expose(attest_evidence::digest::to_hex).into_bytes())
    }

    /// The key for one purpose.
    #[expect(clippy::expect_used, reason = "32 bytes are a length that HKDF-SHA-256 can give (RFC 5869 §2.3)")]
    fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        self.0.expose(|root| {
            Hkdf::<Sha256>::new(Some(b"attest-run/root-key/v1"), root)
                .expand(purpose, key.as_mut_slice())
                .expect("32 bytes are a length that HKDF-SHA-256 can give");
        });
        key
    }

    /// Seals `plaintext` for a purpose, bound to `associated_data`: AES-256-GCM, a random nonce in front.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub fn seal(&self, purpose: Purpose, plaintext: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |reason: &str| KeyError::Making { what: "sealed value", reason: reason.to_owned() };
        let key = self.derive(purpose.label().as_bytes());
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(|_| failed("no randomness"))?;
        let payload = Payload { msg: plaintext, aad: associated_data };
        let sealed =
            Aes256Gcm::new((&*key).into()).encrypt(&GcmNonce::from(nonce), payload).map_err(|_| failed("too long"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`RootKey::seal`] sealed for the same purpose with the same associated data.
    ///
    /// # Errors
    /// [`KeyError::DoesNotOpen`].
    pub fn open(&self, purpose: Purpose, sealed: &[u8], associated_data: &[u8]) -> Result<SecretBytes, KeyError> {
        let refused = KeyError::DoesNotOpen(purpose.name());
        let key = self.derive(purpose.label().as_bytes());
        let Some((nonce, sealed)) = sealed.split_first_chunk::<12>() else { return Err(refused) };
        let payload = Payload { msg: sealed, aad: associated_data };
        Aes256Gcm::new((&*key).into())
            .decrypt(&GcmNonce::from(*nonce), payload)
            .map(SecretBytes::new)
            .map_err(|_| refused)
    }
}

/// What a sealing key is for. Each purpose, and each stage, has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The broker's own keys.
    BrokerKeys,
    /// Keys of leases.
    LeaseKeys,
    /// The secret of the webhook.
    Webhook,
    /// Registrations of audiences.
    Audiences,
    /// The keys that tokens are signed with.
    TokenKeys,
    /// The key that timestamps are signed with.
    TimestampKey,
    /// Secrets of one stage.
    Secrets(Stage),
}

impl Purpose {
    fn label(self) -> String {
        match self {
            Self::BrokerKeys => "broker-keys".to_owned(),
            Self::LeaseKeys => "lease-keys".to_owned(),
            Self::Webhook => "webhook".to_owned(),
            Self::Audiences => "audiences".to_owned(),
            Self::TokenKeys => "token-keys".to_owned(),
            Self::TimestampKey => "timestamp-key".to_owned(),
            Self::Secrets(stage) => format!("secrets/{stage}"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::BrokerKeys => "broker's keys",
            Self::LeaseKeys => "key of a lease",
            Self::Webhook => "webhook's secret",
            Self::Audiences => "registration of an audience",
            Self::TokenKeys => "token key",
            Self::TimestampKey => "timestamp key",
            Self::Secrets(_) => "secret",
        }
    }
}

/// The private keys, as they are sealed.
#[derive(Serialize, Deserialize, zeroize::ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct PrivateKeys {
    tls_root: Vec<u8>,
    grant: Vec<u8>,
    ak_authority: Vec<u8>,
    challenge: [u8; 32],
}

/// Everything the broker signs and seals with.
pub struct BrokerKeys {
    id: BrokerId,
    root: RootKey,
    tls_root: CertificateDer<'static>,
    tls_root_key: KeyPair,
    ak_authority: CertificateDer<'static>,
    ak_authority_key: KeyPair,
    grant: p256::ecdsa::SigningKey,
    grant_public: Vec<u8>,
    authority: TpmName,
    challenge: ChallengeKey,
}

/// What the store keeps of them.
#[derive(Debug, Clone)]
pub struct StoredKeys {
    /// The broker's id.
    pub id: BrokerId,
    /// The TLS root's certificate, DER.
    pub tls_root: Vec<u8>,
    /// The AK authority's certificate, DER.
    pub ak_authority: Vec<u8>,
    /// The private keys, sealed.
    pub sealed: Vec<u8>,
}

impl BrokerKeys {
    /// Makes the keys of a new broker.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub fn generate(root: &RootKey, now: UnixSeconds) -> Result<StoredKeys, KeyError> {
        let id =
            BrokerId::random().map_err(|error| KeyError::Making { what: "broker id", reason: error.to_string() })?;
        let (tls_root, tls_root_key) = authority("attest-run broker TLS root", &id, now)?;
        let (ak_authority, ak_authority_key) = authority("attest-run AK authority", &id, now)?;
        let grant = p256::ecdsa::SigningKey::try_generate()
            .map_err(|_| KeyError::Making { what: "grant key", reason: "no randomness".to_owned() })?
            .to_pkcs8_der()
            .map_err(|error| KeyError::Making { what: "grant key", reason: error.to_string() })?;
        let mut challenge = [0; 32];
        getrandom::fill(&mut challenge)
            .map_err(|error| KeyError::Making { what: "challenge key", reason: error.to_string() })?;
        let keys = PrivateKeys {
            tls_root: tls_root_key.serialize_der(),
            grant: grant.as_bytes().to_vec(),
            ak_authority: ak_authority_key.serialize_der(),
            challenge,
        };
        let plaintext = Zeroizing::new(
            serde_json::to_vec(&keys).map_err(|error| KeyError::Making { what: "keys", reason: error.to_string() })?,
        );
        let sealed = root.seal(Purpose::BrokerKeys, &plaintext, id.as_str().as_bytes())?;
        Ok(StoredKeys { id, tls_root: tls_root.to_vec(), ak_authority: ak_authority.to_vec(), sealed })
    }

    /// Opens the keys of a broker.
    ///
    /// # Errors
    /// [`KeyError::DoesNotOpen`] with another broker's root key.
    pub fn open(root: RootKey, stored: StoredKeys) -> Result<Self, KeyError> {
        let refused = || KeyError::DoesNotOpen("broker's keys");
        let opened = root.open(Purpose::BrokerKeys, &stored.sealed, stored.id.as_str().as_bytes())?;
        let keys: PrivateKeys = opened.expose(|bytes| serde_json::from_slice(bytes)).map_err(|_| refused())?;
        let key_pair = |der: &[u8]| {
            KeyPair::from_pkcs8_der_and_sign_algo(
                &PrivatePkcs8KeyDer::from(der.to_vec()),
                &rcgen::PKCS_ECDSA_P256_SHA256,
            )
            .map_err(|_| refused())
        };
        let grant = p256::ecdsa::SigningKey::from_pkcs8_der(&keys.grant).map_err(|_| refused())?;
        let grant_public = grant.verifying_key().to_public_key_der().map_err(|_| refused())?.into_vec();
        let point = grant.verifying_key().to_sec1_point(false);
        let coordinate = |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| (*bytes).into()).ok_or_else(refused);
        let authority = TpmName::of(&authority_public(&coordinate(point.x())?, &coordinate(point.y())?));
        Ok(Self {
            id: stored.id,
            root,
            tls_root: CertificateDer::from(stored.tls_root),
            tls_root_key: key_pair(&keys.tls_root)?,
            ak_authority: CertificateDer::from(stored.ak_authority),
            ak_authority_key: key_pair(&keys.ak_authority)?,
            grant,
            grant_public,
            authority,
            challenge: ChallengeKey::new(keys.challenge),
        })
    }

    /// The broker's id.
    pub const fn id(&self) -> &BrokerId {
        &self.id
    }

    /// The root key, to seal secrets with.
    pub const fn root(&self) -> &RootKey {
        &self.root
    }

    /// By which a runner knows this broker.
    pub fn pins(&self) -> Pins {
        Pins { tls_root: Sha256Digest::of(&self.tls_root), grant_key: Sha256Digest::of(&self.grant_public) }
    }

    /// The TLS root's certificate, PEM.
    pub fn tls_root_pem(&self) -> String {
        pem("CERTIFICATE", &self.tls_root)
    }

    /// The certificate of the authority for attestation keys, PEM.
    pub fn ak_authority_pem(&self) -> String {
        pem("CERTIFICATE", &self.ak_authority)
    }

    /// The grant key, PEM.
    pub fn grant_key_pem(&self) -> String {
        pem("PUBLIC KEY", &self.grant_public)
    }

    /// The grant key, DER `SubjectPublicKeyInfo`.
    pub fn grant_key(&self) -> &[u8] {
        &self.grant_public
    }

    /// The grant key as TPMs name it: what policies of keys ask for.
    pub const fn authority(&self) -> &TpmName {
        &self.authority
    }

    /// The key of challenges.
    pub const fn challenge(&self) -> &ChallengeKey {
        &self.challenge
    }

    /// Signs a grant. [`exchange::Grant`](crate::exchange::Grant) is the only caller.
    pub(crate) fn sign_grant(&self, body: &GrantBody) -> Vec<u8> {
        let body = body.to_bytes();
        let signature: p256::ecdsa::Signature = self.grant.sign(&[GRANT_DOMAIN, &body].concat());
        SignedGrant { body: &body, signature: signature.to_bytes().into() }.to_bytes()
    }

    /// Signs what opens a key in a TPM, with the key that signs grants and verdicts. None is taken for another: these are 60
    /// bytes, the 25th of which is 0x80 or more, for the expiration is negative. A grant is longer, and a verdict is ASCII.
    pub(crate) fn sign_opening(&self, nonce: &[u8; NONCE], seconds: u32, reference: &Sha256Digest) -> KeyOpening {
        let signature: p256::ecdsa::Signature = self.grant.sign(&authorization(nonce, seconds, reference));
        KeyOpening { seconds, signature: signature.to_bytes().into() }
    }

    /// Signs an attestation result, with the key that signs grants. The two are never taken for each other: a grant's bytes
    /// begin with [`GRANT_DOMAIN`], a token's with base64url.
    pub(crate) fn sign_verdict(&self, verdict: &Ear) -> String {
        let sign = |bytes: &[u8]| {
            let signature: p256::ecdsa::Signature = self.grant.sign(bytes);
            Ok::<_, std::convert::Infallible>(signature.to_bytes().into())
        };
        let Ok(token) = verdict.sign(EarAlgorithm::Es256, Some(self.id.as_str()), sign);
        token
    }

    /// The key that signs verdicts, as a JWK (RFC 7517).
    pub(crate) fn verdict_key(&self) -> serde_json::Value {
        let point = self.grant.verifying_key().to_sec1_point(false);
        let text = |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| BASE64URL_NOPAD.encode(bytes));
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
            "x": text(point.x()), "y": text(point.y()),
        })
    }

    /// A certificate and key for the TLS server, valid for `days`, with the root behind it: a runner that
    /// has only the root's digest finds it there.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: UnixSeconds,
        days: i64,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), KeyError> {
        let failed = |error: rcgen::Error| KeyError::Making { what: "server certificate", reason: error.to_string() };
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "attest-run broker");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, days);
        let issuer = Issuer::from_ca_cert_der(&self.tls_root, &self.tls_root_key).map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        let chain = vec![certificate.der().clone(), self.tls_root.clone()];
        Ok((chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    }

    /// A certificate for an attestation key, PEM, with the authority's behind it: what third parties check. It names the runner
    /// (CN), the class of its TPM (OU) and the broker (O).
    ///
    /// # Errors
    /// A key that no certificate can hold.
    pub fn certify(
        &self,
        runner: &RunnerName,
        key: &AttestationKey,
        class: TpmClass,
        now: UnixSeconds,
    ) -> Result<String, KeyError> {
        let failed = |reason: String| KeyError::Making { what: "AK certificate", reason };
        let spki = key.key().to_spki().ok_or_else(|| failed("not a key".to_owned()))?;
        let spki = SubjectPublicKeyInfo::from_der(&spki).map_err(|error| failed(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, runner.as_str());
        params.distinguished_name.push(DnType::OrganizationalUnitName, format!("tpm {class}"));
        params.distinguished_name.push(DnType::OrganizationName, self.id.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, 10 * 365);
        let issuer = Issuer::from_ca_cert_der(&self.ak_authority, &self.ak_authority_key)
            .map_err(|error| failed(error.to_string()))?;
        let certificate = params.signed_by(&spki, &issuer).map_err(|error| failed(error.to_string()))?;
        Ok(pem("CERTIFICATE", certificate.der()) + &pem("CERTIFICATE", &self.ak_authority))
    }
}

pub(crate) fn authority(
    name: &str,
    id: &BrokerId,
    now: UnixSeconds,
) -> Result<(CertificateDer<'static>, KeyPair), KeyError> {
    let failed = |error: rcgen::Error| KeyError::Making { what: "authority", reason: error.to_string() };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, id.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, 20 * 365);
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.der().clone(), key))
}

/// From a day ago, for clocks that lag or are set back, until `days` from now.
pub(crate) fn set_validity(params: &mut CertificateParams, now: UnixSeconds, days: i64) {
    let moment = time::OffsetDateTime::from(now.to_system_time());
    params.not_before = moment - time::Duration::days(1);
    params.not_after = moment + time::Duration::days(days);
}

/// RFC 7468.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = data_encoding::BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        text += line;
        text += "\n";
        rest = after;
    }
    if !rest.is_empty() {
        text += rest;
        text += "\n";
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_purpose_stage_and_data_alone() {
        let root = RootKey::generate().unwrap();
        let sealed = root.seal(Purpose::Secrets(Stage::Dev), b"value", b"dev/name/1").unwrap();
        let opened = root.open(Purpose::Secrets(Stage::Dev), &sealed, b"dev/name/1").unwrap();
        assert_eq!(opened, SecretBytes::new(b"value".to_vec()));
        let refused = Err(KeyError::DoesNotOpen("secret"));
        assert_eq!(root.open(Purpose::Secrets(Stage::Prod), &sealed, b"dev/name/1"), refused);
        assert_eq!(root.open(Purpose::Secrets(Stage::Dev), &sealed, b"dev/name/2"), refused);
        assert_eq!(RootKey::generate().unwrap().open(Purpose::Secrets(Stage::Dev), &sealed, b"dev/name/1"), refused);
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert_eq!(root.open(Purpose::Secrets(Stage::Dev), &changed, b"dev/name/1"), refused, "byte {byte}");
        }
    }
}
