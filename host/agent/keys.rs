//! Keys of this runner: what they are and where their files lie. No private key is ever in one.

use crate::derived;
use crate::leased::{Certification, ObedientKey, StoredLease};
use crate::state::{State, StateError};
use attest_evidence::digest::base64;
use attest_evidence::exchange::{Isolation, KeyFormat};
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{KeyPolicy, PcrSelection, TpmName};
use attest_evidence::{SecretBytes, Sha256Digest};
use attest_tpm::{DerivationKey, SigningKey, Tpm, TpmError};
use attest_wire::client::{Key, KeyAlgorithm, KeyLease};
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::pkcs8::LineEnding;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The file of the key from which Ed25519 keys are derived.
const DERIVATION: &str = "derivation.json";

/// The file of the key that authenticates compiled components, in direct mode.
const CODE_KEY: &str = "code-key.json";

/// The form of that file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeKey {
    #[serde(with = "base64")]
    key: Vec<u8>,
}

/// Why a key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no key `{name}` of stage {stage} on this runner")]
    Missing {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// There is one already.
    #[error("there is a key `{name}` of stage {stage} already")]
    Exists {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// Its file does not hold a key.
    #[error("the file of key `{name}` of stage {stage} does not hold a key")]
    Damaged {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// The file can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The TPM says no.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// It is not of an algorithm that the format is for.
    #[error("key `{name}` of stage {stage} is {algorithm}: it can't sign as {format}", format = .format.as_str())]
    Format {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
        /// Its algorithm.
        algorithm: KeyAlgorithm,
        /// In which format it was to sign.
        format: KeyFormat,
    },
    /// It obeys another broker.
    #[error("key `{name}` of stage {stage} obeys another broker than the one that this runner has enrolled with")]
    OtherBroker {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// No TPM vouches for it.
    #[error("key `{name}` of stage {stage} is in the host's memory when it signs: no TPM vouches for it")]
    NotInTpm {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// It obeys a lease, and there is none.
    #[error("key `{name}` of stage {stage} obeys its lease: nothing but a granted step signs with it")]
    NoLease {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// The process that derives keys says no.
    #[error("{}", .0.what)]
    Derived(Box<Report>),
}

/// The form of a key's file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "algorithm", rename_all = "lowercase")]
enum KeyFile {
    P256 {
        key: SigningKey,
        /// What it obeys; a key without one signs by hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<StoredLease>,
        /// The public keys of those that had its name before, PEM, the last one first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        former: Vec<String>,
    },
    Ed25519 {
        version: u32,
        public_key: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        former: Vec<String>,
    },
    /// There was an Ed25519 key, up to this version. A key of this name made again is of the next: the TPM would
    /// derive a deleted one anew.
    Deleted { version: u32 },
}

/// What kind of key is to be made.
pub(crate) enum NewKey {
    /// P-256 in the TPM, which uses it only while a broker has signed for it.
    Leased {
        /// The broker's key.
        authority: TpmName,
        /// The attestation key that certifies it.
        ak: TpmName,
        /// The PCRs that have to be as they are now, if any.
        pcrs: Option<PcrSelection>,
    },
    /// P-256 in the TPM, for whoever may ask the agent.
    ByHand,
    /// Ed25519, derived.
    Ed25519,
}

/// A key that can sign.
#[derive(Clone)]
pub(crate) struct UsableKey {
    pub(crate) public: Key,
    pub(crate) secret: KeySecret,
}

impl UsableKey {
    /// Most bytes of a message that is signed as it is, if the key can't take any length.
    pub(crate) const fn longest_message(&self) -> Option<u64> {
        match self.secret {
            KeySecret::P256 { .. } | KeySecret::Obedient(_) | KeySecret::Rehearsed(RehearsedKey::P256(_)) => None,
            KeySecret::Ed25519 { .. } | KeySecret::Rehearsed(RehearsedKey::Ed25519(_)) => {
                Some(crate::signing::LONGEST_ED25519_MESSAGE)
            }
        }
    }
}

/// How a key signs.
#[derive(Clone)]
pub(crate) enum KeySecret {
    /// In the TPM.
    P256 { tpm: Tpm, key: SigningKey },
    /// The same, while a lease lasts.
    Obedient(Box<ObedientKey>),
    /// Derived by the TPM, in memory for one signature.
    Ed25519 { tpm: Tpm, derivation: DerivationKey, label: String },
    /// In memory, and of no worth: made for a rehearsal.
    Rehearsed(RehearsedKey),
}

/// A key of a rehearsal. No [`KeyStore`] has one.
#[derive(Clone)]
pub(crate) enum RehearsedKey {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

/// A key that symmetric keys are derived from.
pub(crate) struct DerivedKey {
    /// SHA-256 of the Name of the key in the TPM.
    pub(crate) fingerprint: Sha256Digest,
    base: Base,
}

/// What symmetric keys are an expansion of.
enum Base {
    /// In the TPM: it comes from there with the first key that is derived, and is kept for as long as this.
    InTpm {
        tpm: Tpm,
        derivation: DerivationKey,
        label: String,
    },
    Here(SecretBytes),
}

impl DerivedKey {
    /// A key that does not come from a TPM: of a rehearsal.
    pub(crate) fn rehearsed(base: SecretBytes) -> Self {
        Self { fingerprint: Sha256Digest::of(b""), base: Base::Here(base) }
    }

    /// The key for a purpose or, given a message, that message's code with it (HMAC-SHA-256). 32 bytes.
    pub(crate) async fn derive(&mut self, purpose: &str, message: Option<&[u8]>) -> Result<SecretBytes, KeyError> {
        if let Base::InTpm { tpm, derivation, label } = &self.base {
            self.base = Base::Here(derived::base(tpm, derivation.clone(), label.clone()).await?);
        }
        let not_derived = || KeyError::Derived(Box::new(Report::new("AR-K104", Fault::Bug, "HKDF gave no key")));
        let Base::Here(base) = &self.base else { return Err(not_derived()) };
        let info = [b"attest-run/derive/v1\n".as_slice(), purpose.as_bytes()].concat();
        let key = SecretBytes::fill(32, |key| {
            base.expose(|base| Hkdf::<Sha256>::from_prk(base).map_err(|_| ())?.expand(&info, key).map_err(|_| ()))
        })
        .map_err(|()| not_derived())?;
        let Some(message) = message else { return Ok(key) };
        let mac = key.expose(|key| Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(message).finalize()));
        let mac = mac.map_err(|_| not_derived())?;
        Ok(SecretBytes::new(mac.into_bytes().to_vec()))
    }
}

/// The keys of a runner.
#[derive(Clone)]
pub struct KeyStore {
    state: Arc<State>,
    tpm: Tpm,
    /// Held while files change: what was looked up is still so when it is written.
    changing: Arc<Mutex<()>>,
}

impl KeyStore {
    /// The keys whose files lie in `state`.
    pub fn new(state: Arc<State>, tpm: Tpm) -> Self {
        Self { state, tpm, changing: Arc::default() }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// There is one of that name, or the TPM says no.
    pub(crate) async fn create(&self, stage: Stage, name: &KeyName, kind: NewKey) -> Result<Key, KeyError> {
        let _changing = self.changing.lock().await;
        let version = match self.state.read::<KeyFile>(&file(stage, name))? {
            None => 1,
            Some(KeyFile::Deleted { version }) => version.saturating_add(1),
            Some(_) => return Err(KeyError::Exists { stage, name: name.clone() }),
        };
        self.make(stage, name, kind, version, Vec::new()).await
    }

    /// Makes another key in the place of one, whose public key is remembered.
    ///
    /// # Errors
    /// There is none of that name, or the TPM says no.
    pub(crate) async fn rotate(&self, stage: Stage, name: &KeyName, kind: NewKey) -> Result<Key, KeyError> {
        let _changing = self.changing.lock().await;
        let missing = || KeyError::Missing { stage, name: name.clone() };
        let (version, former) = match self.state.read::<KeyFile>(&file(stage, name))?.ok_or_else(missing)? {
            KeyFile::Deleted { .. } => return Err(missing()),
            KeyFile::Ed25519 { version, former, .. } => (version.saturating_add(1), former),
            KeyFile::P256 { former, .. } => (1, former),
        };
        let mut all = vec![self.public(stage, name)?.public_key];
        all.extend(former);
        self.make(stage, name, kind, version, all).await
    }

    async fn make(
        &self,
        stage: Stage,
        name: &KeyName,
        kind: NewKey,
        version: u32,
        former: Vec<String>,
    ) -> Result<Key, KeyError> {
        let made = match kind {
            NewKey::ByHand => {
                let key = self.tpm.run(|device| device.create_signing_key()).await?;
                KeyFile::P256 { key, lease: None, former }
            }
            NewKey::Leased { authority, ak, pcrs } => {
                let mut id = [0; 16];
                getrandom::fill(&mut id).map_err(|error| no_random_numbers(&error))?;
                let reference = KeyPolicy::reference(stage, name, &id);
                let policy = |boot_state| KeyPolicy { authority: authority.clone(), reference, boot_state };
                let state = match pcrs {
                    Some(pcrs) => Some(self.tpm.run(move |device| device.pcr_state(pcrs)).await?),
                    None => None,
                };
                let policy = policy(state);
                let key = self.tpm.run(move |device| device.create_leased_key(&policy)).await?;
                let certification = Certification::of(&self.tpm, &key, (stage, name), &ak).await?;
                let lease = StoredLease { authority, id, boot_state: state, certification };
                KeyFile::P256 { key, lease: Some(lease), former }
            }
            NewKey::Ed25519 => {
                let derivation = self.derivation_key().await?;
                let key = derived::public_key(&self.tpm, derivation, label(stage, name, version)).await?;
                let public_key = key
                    .to_public_key_pem(LineEnding::LF)
                    .map_err(|_| KeyError::Damaged { stage, name: name.clone() })?;
                KeyFile::Ed25519 { version, public_key, former }
            }
        };
        let key = public(stage, name, &made)?;
        self.state.write(&file(stage, name), &made)?;
        Ok(key)
    }

    /// Deletes a key. Of a P-256 key the file is removed, without which the TPM can't use it. An Ed25519 key of the
    /// same name will be another one; the deleted one signs nothing for this runner any more.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete(&self, stage: Stage, name: &KeyName) -> Result<(), KeyError> {
        let _changing = self.changing.lock().await;
        match self.state.read::<KeyFile>(&file(stage, name))? {
            None | Some(KeyFile::Deleted { .. }) => Err(KeyError::Missing { stage, name: name.clone() }),
            Some(KeyFile::Ed25519 { version, .. }) => {
                Ok(self.state.write(&file(stage, name), &KeyFile::Deleted { version })?)
            }
            Some(KeyFile::P256 { .. }) => self.state.remove(&file(stage, name)).map(drop).map_err(KeyError::State),
        }
    }

    /// All keys.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn list(&self) -> Result<Vec<Key>, KeyError> {
        let mut keys = Vec::new();
        for stage in Stage::ALL {
            for entry in self.state.list(&format!("keys/{stage}"))? {
                let Some(name) = entry.strip_suffix(".json").and_then(|name| name.parse().ok()) else { continue };
                match self.public(stage, &name) {
                    Err(KeyError::Missing { .. }) => {}
                    key => keys.push(key?),
                }
            }
        }
        Ok(keys)
    }

    /// What may be known of a key.
    ///
    /// # Errors
    /// There is none, or its file is damaged.
    pub fn public(&self, stage: Stage, name: &KeyName) -> Result<Key, KeyError> {
        let missing = || KeyError::Missing { stage, name: name.clone() };
        public(stage, name, &self.state.read(&file(stage, name))?.ok_or_else(missing)?)
    }

    /// A key, ready to sign. Whether it may is the caller's business.
    pub(crate) async fn usable(&self, stage: Stage, name: &KeyName) -> Result<UsableKey, KeyError> {
        let missing = || KeyError::Missing { stage, name: name.clone() };
        let file: KeyFile = self.state.read(&file(stage, name))?.ok_or_else(missing)?;
        let public = public(stage, name, &file)?;
        let secret = match file {
            KeyFile::P256 { key, lease: None, .. } => KeySecret::P256 { tpm: self.tpm.clone(), key },
            KeyFile::P256 { key, lease: Some(lease), .. } => {
                let policy = lease.policy(stage, name);
                KeySecret::Obedient(Box::new(ObedientKey::new(self.tpm.clone(), key, lease, policy)))
            }
            KeyFile::Ed25519 { version, .. } => KeySecret::Ed25519 {
                tpm: self.tpm.clone(),
                derivation: self.derivation_key().await?,
                label: label(stage, name, version),
            },
            KeyFile::Deleted { .. } => return Err(missing()),
        };
        Ok(UsableKey { public, secret })
    }

    /// A key of this stage and name to derive others from. There is always one: it is made by its name.
    pub(crate) async fn derives(&self, stage: Stage, name: &KeyName) -> Result<DerivedKey, KeyError> {
        let derivation = self.derivation_key().await?;
        let fingerprint = Sha256Digest::of(derivation.stored().name().as_bytes());
        let label = format!("attest-run/derive/v1\n{stage}\n{name}");
        Ok(DerivedKey { fingerprint, base: Base::InTpm { tpm: self.tpm.clone(), derivation, label } })
    }

    /// The key that authenticates compiled components. The TPM derives it. In direct mode, where whoever could read a file
    /// of it could as well run what they like as the same user, it is a random one in the state: each run of a step would
    /// have to ask the TPM for it otherwise.
    pub(crate) async fn code_key(&self, isolation: Isolation) -> Result<SecretBytes, KeyError> {
        if isolation == Isolation::Agent {
            return derived::base(&self.tpm, self.derivation_key().await?, crate::code::LABEL.to_owned()).await;
        }
        if let Some(CodeKey { key }) = self.state.read(CODE_KEY)? {
            return Ok(SecretBytes::new(key));
        }
        let key = SecretBytes::random(32).map_err(|error| no_random_numbers(&error))?;
        self.state.write(CODE_KEY, &CodeKey { key: key.expose(<[u8]>::to_vec) })?;
        Ok(key)
    }

    /// The key from which others are derived, made with the first that needs it.
    async fn derivation_key(&self) -> Result<DerivationKey, KeyError> {
        if let Some(key) = self.state.read(DERIVATION)? {
            return Ok(key);
        }
        let key = self.tpm.run(|device| device.create_derivation_key()).await?;
        self.state.write(DERIVATION, &key)?;
        Ok(key)
    }
}

fn no_random_numbers(error: &dyn std::fmt::Display) -> KeyError {
    KeyError::Derived(Box::new(Report::new("AR-K106", Fault::Environment, format!("no random numbers: {error}"))))
}

fn file(stage: Stage, name: &KeyName) -> String {
    format!("keys/{stage}/{name}.json")
}

/// What an Ed25519 key is derived from. Names have no newline, so that the parts can't be shifted.
fn label(stage: Stage, name: &KeyName, version: u32) -> String {
    format!("attest-run/ed25519/v1\n{stage}\n{name}\n{version}")
}

fn public(stage: Stage, name: &KeyName, file: &KeyFile) -> Result<Key, KeyError> {
    let damaged = || KeyError::Damaged { stage, name: name.clone() };
    let (algorithm, lease, former, public_key, der) = match file {
        KeyFile::P256 { key, lease, former } => {
            let (x, y) = key.point().ok_or_else(damaged)?;
            let point = p256::Sec1Point::from_affine_coordinates(&x.into(), &y.into(), false);
            let key = p256::PublicKey::from_sec1_bytes(point.as_bytes()).map_err(|_| damaged())?;
            let pem = key.to_public_key_pem(LineEnding::LF).map_err(|_| damaged())?;
            let der = key.to_public_key_der().map_err(|_| damaged())?.into_vec();
            (KeyAlgorithm::P256, lease.as_ref(), former, pem, der)
        }
        KeyFile::Ed25519 { public_key, former, .. } => {
            use ed25519_dalek::pkcs8::DecodePublicKey as _;
            let key = ed25519_dalek::VerifyingKey::from_public_key_pem(public_key).map_err(|_| damaged())?;
            let der = key.to_public_key_der().map_err(|_| damaged())?.into_vec();
            (KeyAlgorithm::Ed25519, None, former, public_key.clone(), der)
        }
        KeyFile::Deleted { .. } => return Err(KeyError::Missing { stage, name: name.clone() }),
    };
    let lease = lease.map(|lease| KeyLease { boot_state: lease.boot_state });
    let (name, fingerprint) = (name.clone(), Sha256Digest::of(&der));
    Ok(Key { stage, name, algorithm, lease, public_key, fingerprint, former: former.clone() })
}

impl Explain for KeyError {
    fn report(&self) -> Report {
        match self {
            Self::Missing { stage, name } => Report::new("AR-K101", Fault::Refused, self.to_string())
                .hint(format!("an admin of the runner makes it: `attest-run keys create {name} --stage {stage}`")),
            Self::Exists { .. } => Report::new("AR-K102", Fault::Refused, self.to_string())
                .hint("a key that exists has signed things: choose another name, or delete it"),
            Self::Damaged { .. } => Report::new("AR-K103", Fault::Environment, self.to_string())
                .hint("restore its file from a copy, or delete the key and create another"),
            Self::State(error) => error.report(),
            Self::Tpm(error) => error.report(),
            Self::Format { stage, format: KeyFormat::Sigstore, .. } => Report::new("AR-K107", Fault::Refused, self.to_string()).hint(
                format!("bundles are signed by P-256 keys: `attest-run keys create NAME --stage {stage}` makes one; or ask for other formats"),
            ),
            Self::Format { name, stage, .. } => Report::new("AR-K107", Fault::Refused, self.to_string()).hint(format!(
                "minisign knows Ed25519 alone: `attest-run keys create NAME --stage {stage} --algorithm ed25519` makes such a key \
                 beside `{name}`; or ask for other formats"
            )),
            Self::OtherBroker { stage, name } => Report::new("AR-K108", Fault::Refused, self.to_string()).hint(format!(
                "`attest-run keys rotate {name} --stage {stage}` makes another in its place, which obeys this one"
            )),
            Self::NotInTpm { .. } => Report::new("AR-K111", Fault::Refused, self.to_string())
                .hint("make a key in the TPM, under a name of its own: `attest-run keys create NAME`"),
            Self::NoLease { .. } => Report::new("AR-K109", Fault::Refused, self.to_string()).hint(
                "run a step that declares it, or make a key for this: `attest-run keys create NAME --by-hand`",
            ),
            Self::Derived(report) => (**report).clone(),
        }
    }
}
