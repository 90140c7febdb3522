//! Secrets, and the bytes of those that may be seen.

use super::lines;
use crate::bindings::attest::step::{reveal, secrets, types};
use crate::handles::Secret;
use crate::state::{SecretHandle, State};
use attest_evidence::name::SecretName;
use wasmtime::Result;
use wasmtime::component::Resource;

impl secrets::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<SecretHandle>, types::OpenError>> {
        let declared = name.parse::<SecretName>().ok().filter(|name| self.handles.secrets.contains_key(name));
        match declared {
            Some(name) => Ok(Ok(self.table.push(SecretHandle(name))?)),
            None => Ok(Err(types::OpenError::NotDeclared(lines("secrets", &name, "")))),
        }
    }
}

impl secrets::HostSecret for State {
    async fn name(&mut self, secret: Resource<SecretHandle>) -> Result<String> {
        Ok(self.table.get(&secret)?.0.to_string())
    }

    async fn drop(&mut self, secret: Resource<SecretHandle>) -> Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl reveal::Host for State {
    async fn reveal(&mut self, secret: Resource<SecretHandle>) -> Result<Result<Vec<u8>, reveal::RevealError>> {
        let SecretHandle(name) = self.table.delete(secret)?;
        let Some(secret) = self.handles.secrets.get_mut(&name) else {
            return Ok(Err(reveal::RevealError::NotRevealable));
        };
        match secret {
            Secret::Opaque => Ok(Err(reveal::RevealError::NotRevealable)),
            Secret::Revealed => Ok(Err(reveal::RevealError::RevealedAlready)),
            Secret::Revealable(value) => {
                self.host.revealed(&name)?;
                let bytes = value.expose(<[u8]>::to_vec);
                *secret = Secret::Revealed;
                Ok(Ok(bytes))
            }
        }
    }
}
