//! What the broker is asked for a step, and what it granted in words.

use super::prepare::Prepared;
use crate::agent::{Agent, AgentError};
use crate::exchange::Recipient;
use crate::leased::Waiting;
use crate::signing::{Timestamps, fits};
use crate::worker::Served;
use attest_evidence::exchange::{
    BoundDirectory, DirectoryMode, GrantBody, KeyRequest, KeyUse, OriginRequest, Request, SecretRequest, SecretUse,
    StepIdentity, TokenRequest,
};
use attest_evidence::name::{JobSessionId, KeyName, Stage};
use std::collections::BTreeMap;

/// What the broker is asked, and what waits for its answer.
pub(super) struct Asked {
    pub(super) request: Request,
    /// What the worker may ask for if all of it is granted.
    pub(super) served: Served,
    /// A session in the TPM for each key that obeys its lease.
    pub(super) waiting: BTreeMap<KeyName, Waiting>,
}

impl Agent {
    /// What the broker is asked, and what the worker may ask for if all of it is granted.
    pub(super) async fn request(
        &self,
        prepared: &Prepared,
        arguments: &[String],
        stage: Stage,
        session: Option<JobSessionId>,
        recipient: &Recipient,
    ) -> Result<Asked, AgentError> {
        let manifest = prepared.step.manifest();
        let mut served = Served {
            outputs: manifest.outputs.keys().cloned().collect(),
            summary: manifest.summary.is_some(),
            annotations: manifest.annotations.is_some(),
            timestamps: Timestamps::Broker(self.link().await?),
            ..Served::default()
        };
        let (mut asked_keys, mut waiting) = (Vec::with_capacity(manifest.keys.len()), BTreeMap::new());
        for (name, declared) in &manifest.keys {
            let (public_key, lease) = match declared.usage {
                KeyUse::Sign => {
                    let key = self.keys().usable(stage, name).await?;
                    declared.formats.iter().try_for_each(|format| fits(&key.public, *format))?;
                    let lease = self.await_lease(&key).await?.map(|(lease, session)| {
                        waiting.insert(name.clone(), session);
                        lease
                    });
                    let fingerprint = key.public.fingerprint;
                    served.signing.insert(name.clone(), (key, declared.formats.iter().copied().collect()));
                    (fingerprint, lease)
                }
                KeyUse::Derive => {
                    let key = self.keys().derives(stage, name).await?;
                    let fingerprint = key.fingerprint;
                    served.derivation.insert(name.clone(), key);
                    (fingerprint, None)
                }
            };
            asked_keys.push(KeyRequest {
                name: name.clone(),
                usage: declared.usage,
                formats: declared.formats.clone(),
                public_key,
                lease,
                why: declared.why.clone(),
            });
        }
        let secrets = manifest.secrets.iter().map(|(name, declared)| {
            if declared.usage == SecretUse::Reveal {
                served.revealed.insert(name.clone());
            }
            SecretRequest { name: name.clone(), usage: declared.usage, why: declared.why.clone() }
        });
        let secrets = secrets.collect();
        let tokens = manifest.tokens.iter().map(|(name, declared)| TokenRequest {
            name: name.clone(),
            audience: declared.audience.clone(),
            why: declared.why.clone(),
        });
        let http = manifest.http.origins().map(|(origin, private)| OriginRequest {
            origin: origin.clone(),
            private,
            why: manifest.http.why.clone(),
        });
        let directories = prepared.directories.iter().map(|(directory, _)| BoundDirectory {
            name: directory.name.clone(),
            mode: directory.mode,
            why: manifest.dirs.get(&directory.name).map(|declared| declared.why.clone()).unwrap_or_default(),
        });
        let request = Request {
            isolation: self.isolation(),
            session,
            step: StepIdentity { name: manifest.step.name.clone(), stage },
            component: prepared.step.component().digest,
            manifest: manifest.digest(),
            arguments: arguments.to_vec(),
            directories: directories.collect(),
            measurement: None,
            hpke_public_key: recipient.public(),
            secrets,
            tokens: tokens.collect(),
            keys: asked_keys,
            http: http.collect(),
        };
        Ok(Asked { request, served, waiting })
    }
}

/// What was granted, for the job's log.
pub(super) fn in_words(grant: &GrantBody, asked: &Request) -> Vec<String> {
    let stage = grant.step.stage;
    let secrets = grant.secrets.iter().map(|secret| {
        let how = match secret.usage {
            SecretUse::Http => "send",
            SecretUse::Reveal => "reveal",
            SecretUse::Env => "set in the environment",
        };
        format!("{how} {stage}/{} v{}", secret.name, secret.version)
    });
    let tokens =
        grant.tokens.iter().map(|token| format!("send a token for {} ({stage}/{})", token.audience, token.name));
    let keys = grant.keys.iter().map(|key| match key.usage {
        KeyUse::Sign => format!("sign with {stage}/{}", key.name),
        KeyUse::Derive => format!("derive from {stage}/{}", key.name),
    });
    let directories = asked.directories.iter().map(|directory| match directory.mode {
        DirectoryMode::Read => format!("read directory {}", directory.name),
        DirectoryMode::Write => format!("write directory {}", directory.name),
    });
    let http = grant.http.iter().map(|http| match http.private {
        true => format!("requests to {}, also in a private network", http.origin),
        false => format!("requests to {}", http.origin),
    });
    secrets.chain(tokens).chain(keys).chain(directories).chain(http).collect()
}
