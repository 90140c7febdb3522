//! What a step was granted, as its worker and egress get it.

use super::StepError;
use crate::boottime::BootInstant;
use crate::worker::Served;
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{Destination, DirectoryMode, GrantedOrigin, SecretUse, Undeclared};
use attest_evidence::name::{DirectoryName, SecretName};
use attest_spawner::User;
use attest_step::Manifest;
use attest_wire::Revealed;
use attest_wire::worker::{GrantedDirectory, GrantedKey, GrantedKeyUse, GrantedSecret, Variable};
use std::os::fd::OwnedFd;

/// What a step was granted, and until when it may have it.
pub(crate) struct Granted {
    pub(crate) secrets: Vec<HeldSecret>,
    pub(crate) http: Vec<GrantedOrigin>,
    pub(crate) undeclared: Undeclared,
    pub(crate) served: Served,
    pub(crate) files_of: User,
    pub(crate) expires: BootInstant,
}

/// A secret that was granted, and how it may be used.
pub(crate) struct HeldSecret {
    pub(crate) name: SecretName,
    pub(crate) usage: SecretUse,
    /// Where it may go, in requests.
    pub(crate) destinations: Vec<Destination>,
    pub(crate) value: SecretBytes,
}

/// A directory that a step gets, and where it is.
pub(crate) type Directories = Vec<(GrantedDirectory, OwnedFd)>;

/// The secrets of a grant, by where they go.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) http: Vec<HeldSecret>,
    pub(super) worker: Vec<GrantedSecret>,
    pub(super) environment: Vec<Variable>,
}

impl Secrets {
    pub(super) fn part(all: Vec<HeldSecret>, manifest: &Manifest) -> Result<Self, StepError> {
        let mut parted = Self::default();
        for secret in all {
            match secret.usage {
                SecretUse::Reveal => {
                    let HeldSecret { name, value, .. } = secret;
                    parted.worker.push(GrantedSecret { name, revealed: Some(Revealed::new(value)) });
                }
                SecretUse::Env => {
                    let HeldSecret { name, value, .. } = secret;
                    if value.expose(|value| std::str::from_utf8(value).is_err()) {
                        return Err(StepError::NotText(name));
                    }
                    let variable = manifest.secrets.get(&name).and_then(|declared| declared.variable.clone());
                    let variable = variable.unwrap_or_default();
                    parted.environment.push(Variable { name: variable, value: Revealed::new(value) });
                }
                SecretUse::Http => {
                    parted.worker.push(GrantedSecret { name: secret.name.clone(), revealed: None });
                    parted.http.push(secret);
                }
            }
        }
        Ok(parted)
    }
}

/// Copies for the search of what the step writes: the others are given away.
pub(super) fn copies(secrets: &[HeldSecret]) -> Vec<(SecretName, SecretBytes)> {
    let copy = |value: &SecretBytes| SecretBytes::new(value.expose(<[u8]>::to_vec));
    secrets.iter().map(|secret| (secret.name.clone(), copy(&secret.value))).collect()
}

/// The directories that the step may write to, with descriptors of their own.
pub(super) fn writable(
    directories: &[GrantedDirectory],
    descriptors: &[OwnedFd],
) -> std::io::Result<Vec<(DirectoryName, OwnedFd)>> {
    let all = directories.iter().zip(descriptors);
    all.filter(|(directory, _)| directory.mode == DirectoryMode::Write)
        .map(|(directory, descriptor)| Ok((directory.name.clone(), descriptor.try_clone()?)))
        .collect()
}

/// The keys that a worker may ask for, as it is told.
pub(super) fn granted_keys(served: &Served) -> Vec<GrantedKey> {
    let signing = served.signing.iter().map(|(name, (key, formats))| GrantedKey {
        name: name.clone(),
        usage: GrantedKeyUse::Sign {
            public_key: key.public.public_key.clone(),
            formats: formats.iter().copied().collect(),
            longest_message: key.longest_message(),
        },
    });
    let derivation =
        served.derivation.keys().map(|name| GrantedKey { name: name.clone(), usage: GrantedKeyUse::Derive });
    signing.chain(derivation).collect()
}
