//! Keys: those that sign, and those that others are derived from.

use super::lines;
use crate::bindings::attest::step::{derive, signing, types};
use crate::handles::Key;
use crate::state::{KeyHandle, LONGEST_TEXT, State};
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::KeyName;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, OpenMode};

/// Bytes read at once from a file that is to be signed.
const CHUNK: usize = 256 * 1024;
/// The longest name of a purpose.
const LONGEST_PURPOSE: usize = 64;

impl signing::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<KeyHandle>, types::OpenError>> {
        let signs = |name: &KeyName| matches!(self.handles.keys.get(name), Some(Key::Signs(_)));
        match name.parse::<KeyName>().ok().filter(signs) {
            Some(name) => Ok(Ok(self.table.push(KeyHandle(name))?)),
            None => {
                let rest = "use = \"sign\"\nformats = [\"raw\"]\n";
                Ok(Err(types::OpenError::NotDeclared(lines("keys", &name, rest))))
            }
        }
    }
}

/// A key that may sign in the format asked for.
struct Usable {
    name: KeyName,
    format: KeyFormat,
    longest: Option<u64>,
}

impl State {
    /// The key behind a handle, if it may sign in this format.
    fn key(&self, key: &Resource<KeyHandle>, format: signing::Format) -> Result<Result<Usable, signing::SignError>> {
        let format = match format {
            signing::Format::Raw => KeyFormat::Raw,
            signing::Format::Minisign => KeyFormat::Minisign,
            signing::Format::Ssh => KeyFormat::Ssh,
            signing::Format::Sigstore => KeyFormat::Sigstore,
        };
        let name = self.table.get(key)?.0.clone();
        Ok(match self.handles.keys.get(&name) {
            Some(Key::Signs(key)) if key.formats.contains(&format) => {
                // The other formats sign a hash.
                let longest = key.longest_message.filter(|_| format == KeyFormat::Raw);
                Ok(Usable { name, format, longest })
            }
            _ => Err(signing::SignError::FormatNotGranted),
        })
    }
}

impl signing::HostKey for State {
    async fn name(&mut self, key: Resource<KeyHandle>) -> Result<String> {
        Ok(self.table.get(&key)?.0.to_string())
    }

    async fn public_key(&mut self, key: Resource<KeyHandle>) -> Result<String> {
        let name = &self.table.get(&key)?.0;
        Ok(match self.handles.keys.get(name) {
            Some(Key::Signs(key)) => key.public_key.clone(),
            Some(Key::Derives) | None => String::new(),
        })
    }

    async fn sign_message(
        &mut self,
        key: Resource<KeyHandle>,
        message: Vec<u8>,
        format: signing::Format,
    ) -> Result<Result<Vec<u8>, signing::SignError>> {
        let Usable { name, format, longest } = match self.key(&key, format)? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(longest) = longest.filter(|longest| message.len() as u64 > *longest) {
            return Ok(Err(signing::SignError::TooLong(longest)));
        }
        let mut signer = self.host.sign(&name, format)?;
        for part in message.chunks(CHUNK) {
            signer.update(part)?;
        }
        Ok(signer.finish()?.map_err(|failed| signing::SignError::Failed(failed.0)))
    }

    async fn sign_file(
        &mut self,
        key: Resource<KeyHandle>,
        file: Resource<Descriptor>,
        format: signing::Format,
    ) -> Result<Result<Vec<u8>, signing::SignError>> {
        let Usable { name, format, longest } = match self.key(&key, format)? {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        let unreadable = |reason: String| Ok(Err(signing::SignError::Unreadable(reason)));
        let file = match self.table.get(&file)? {
            Descriptor::File(file) if file.open_mode.contains(OpenMode::READ) => Arc::clone(&file.file),
            Descriptor::File(_) => return unreadable("it was not opened for reading".to_owned()),
            Descriptor::Dir(_) => return unreadable("it is a directory".to_owned()),
        };
        let mut file = file.as_ref();
        if let Err(error) = file.seek(SeekFrom::Start(0)) {
            return unreadable(error.to_string());
        }
        let mut buffer = vec![0; CHUNK];
        let mut length = 0u64;
        // Nothing is asked of the host before there is something to sign: a file too long for the key would
        // leave it waiting.
        if let (Some(longest), Ok(metadata)) = (longest, file.metadata())
            && metadata.len() > longest
        {
            return Ok(Err(signing::SignError::TooLong(longest)));
        }
        let mut signer = self.host.sign(&name, format)?;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return unreadable(error.to_string()),
            };
            length += count as u64;
            if let Some(longest) = longest.filter(|longest| length > *longest) {
                return Ok(Err(signing::SignError::TooLong(longest)));
            }
            signer.update(buffer.get(..count).unwrap_or_default())?;
        }
        Ok(signer.finish()?.map_err(|failed| signing::SignError::Failed(failed.0)))
    }

    async fn drop(&mut self, key: Resource<KeyHandle>) -> Result<()> {
        self.table.delete(key)?;
        Ok(())
    }
}

impl derive::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<KeyHandle>, types::OpenError>> {
        let derives = |name: &KeyName| matches!(self.handles.keys.get(name), Some(Key::Derives));
        match name.parse::<KeyName>().ok().filter(derives) {
            Some(name) => Ok(Ok(self.table.push(KeyHandle(name))?)),
            None => Ok(Err(types::OpenError::NotDeclared(lines("keys", &name, "use = \"derive\"\n")))),
        }
    }
}

impl State {
    fn derived(
        &self,
        key: &Resource<KeyHandle>,
        purpose: String,
        message: Option<Vec<u8>>,
    ) -> Result<Result<Vec<u8>, derive::DeriveError>> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if purpose.is_empty() || purpose.len() > LONGEST_PURPOSE || !purpose.chars().all(plain) {
            return Ok(Err(derive::DeriveError::BadPurpose));
        }
        if message.as_ref().is_some_and(|message| message.len() > LONGEST_TEXT) {
            return Ok(Err(derive::DeriveError::TooLong(LONGEST_TEXT as u64)));
        }
        let derived = self.host.derive(&self.table.get(key)?.0, purpose, message)?;
        Ok(match derived {
            Ok(bytes) => Ok(bytes.expose(<[u8]>::to_vec)),
            Err(failed) => Err(derive::DeriveError::Failed(failed.0)),
        })
    }
}

impl derive::HostDerivationKey for State {
    async fn name(&mut self, key: Resource<KeyHandle>) -> Result<String> {
        Ok(self.table.get(&key)?.0.to_string())
    }

    async fn derive(
        &mut self,
        key: Resource<KeyHandle>,
        purpose: String,
    ) -> Result<Result<Vec<u8>, derive::DeriveError>> {
        self.derived(&key, purpose, None)
    }

    async fn mac(
        &mut self,
        key: Resource<KeyHandle>,
        purpose: String,
        message: Vec<u8>,
    ) -> Result<Result<Vec<u8>, derive::DeriveError>> {
        self.derived(&key, purpose, Some(message))
    }

    async fn drop(&mut self, key: Resource<KeyHandle>) -> Result<()> {
        self.table.delete(key)?;
        Ok(())
    }
}
