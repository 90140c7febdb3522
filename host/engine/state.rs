//! The state of a running step, and what its imports do.

use crate::bindings::attest::step::{directories, log, outputs, reveal, secrets, signing, types};
use crate::bindings::wasi::filesystem::types::Descriptor as WasiDescriptor;
use crate::handles::{Handles, Host, Level, LogLimit, Secret};
use crate::limits::Consumption;
use attest_evidence::exchange::{DirectoryMode, KeyFormat};
use attest_evidence::name::{KeyName, OutputName, SecretName};
use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, Dir, FsPerms, OpenMode};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Most handles that a step may hold at once: a thousand open files are a defect.
pub(crate) const MOST_HANDLES: usize = 1024;
/// Bytes read at once from a file that is to be signed.
const CHUNK: usize = 256 * 1024;

/// A step's handle of a secret.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct SecretHandle(SecretName);

/// A step's handle of a key.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct KeyHandle(KeyName);

/// A running step.
pub(crate) struct State {
    pub(crate) handles: Handles,
    pub(crate) host: Box<dyn Host>,
    pub(crate) consumption: Consumption,
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) outputs_set: BTreeSet<OutputName>,
}

/// Tells the linker that a step's imports work on [`State`].
pub(crate) struct Step;

impl HasData for Step {
    type Data<'a> = &'a mut State;
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl wasmtime_wasi_io::IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl types::Host for State {}

impl log::Host for State {
    async fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        self.consumption.write(message.len())?;
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        let mut rest = message.as_str();
        loop {
            let (part, after) = rest.split_at(rest.floor_char_boundary(LogLimit::BYTES));
            self.host.log(level, part.to_owned())?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }
}

/// What to add to `step.toml` for a name that it doesn't declare. The name is the step's: shown as TOML text.
fn lines(section: &str, name: &str, rest: &str) -> String {
    let name: String = name.chars().take(80).flat_map(char::escape_default).collect();
    format!("[{section}.\"{name}\"]\n{rest}why = \"…\"")
}

impl secrets::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<SecretHandle>, types::OpenError>> {
        let declared = name.parse::<SecretName>().ok().filter(|name| self.handles.secrets.contains_key(name));
        match declared {
            Some(name) => Ok(Ok(self.table.push(SecretHandle(name))?)),
            None => Ok(Err(types::OpenError::NotDeclared(lines("secrets", &name, "use = \"reveal\"\n")))),
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
        Ok(match secret {
            Secret::Opaque => Err(reveal::RevealError::NotRevealable),
            Secret::Revealed => Err(reveal::RevealError::RevealedAlready),
            Secret::Revealable(value) => {
                let bytes = value.expose(<[u8]>::to_vec);
                *secret = Secret::Revealed;
                Ok(bytes)
            }
        })
    }
}

impl signing::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<KeyHandle>, types::OpenError>> {
        let declared = name.parse::<KeyName>().ok().filter(|name| self.handles.keys.contains_key(name));
        match declared {
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
        };
        let name = self.table.get(key)?.0.clone();
        Ok(match self.handles.keys.get(&name) {
            Some(key) if key.formats.contains(&format) => Ok(Usable { name, format, longest: key.longest_message }),
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
        Ok(self.handles.keys.get(name).map(|key| key.public_key.clone()).unwrap_or_default())
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
        file: Resource<WasiDescriptor>,
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

impl directories::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<WasiDescriptor>, types::OpenError>> {
        let declared = name.parse().ok().and_then(|name| self.handles.directories.get(&name));
        let Some(granted) = declared else {
            return Ok(Err(types::OpenError::NotDeclared(lines("dirs", &name, "mode = \"read\"\n"))));
        };
        let (perms, mode) = match granted.mode {
            DirectoryMode::Read => (FsPerms::ReadOnly, OpenMode::READ),
            DirectoryMode::Write => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        };
        let directory = granted.directory.try_clone()?;
        Ok(Ok(self.table.push(Descriptor::Dir(Dir::new(directory, perms, mode, true)))?))
    }
}

impl outputs::Host for State {
    async fn set(&mut self, name: String, value: String) -> Result<Result<(), outputs::OutputError>> {
        let declared = name.parse::<OutputName>().ok().filter(|name| self.handles.outputs.contains(name));
        let Some(declared) = declared else {
            return Ok(Err(outputs::OutputError::NotDeclared(lines("outputs", &name, ""))));
        };
        if value.len() > LogLimit::BYTES {
            return Ok(Err(outputs::OutputError::TooLong(LogLimit::BYTES as u64)));
        }
        self.consumption.write(value.len())?;
        if !self.outputs_set.insert(declared.clone()) {
            return Ok(Err(outputs::OutputError::SetAlready));
        }
        self.host.output(&declared, value)?;
        Ok(Ok(()))
    }
}
