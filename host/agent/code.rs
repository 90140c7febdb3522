//! Compiled components, kept: loading machine code that somebody else wrote would be the end of the sandbox.
//!
//! Only a compiler fills the cache, a process that is given a component and nothing else (row G10). What it made is kept in
//! the agent's own directory with a message authentication code, under a key that the TPM derives. What is read back is
//! copied into a file in memory that nobody can change any more, and its code is checked *there*: what was checked is what
//! runs. An entry that fails is made anew, and told.
//!
//! ```text
//! entry := "attest-run/code/v1\n" ‖ HMAC-SHA-256(key, "attest-run/code/v1\n" ‖ SHA-256(component) ‖ code) ‖ code
//! ```
//!
//! Entries are named by the component and by the worker's program: a new version of that makes its own. For another
//! processor the engine refuses what was made for this one.

use crate::agent::{Agent, AgentError};
use crate::process::Process;
use crate::programs::FileState;
use crate::state::StateError;
use crate::step::StepError;
use attest_evidence::{SecretBytes, Sha256Digest};
use attest_spawner::Spawner;
use attest_wire::compiler::{Compile, FromCompiler};
use attest_wire::spawner::Spawn;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::Sha256;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Stands at the beginning of an entry, and before what is authenticated.
const DOMAIN: &[u8] = b"attest-run/code/v1\n";
const MAC: usize = 32;
/// What the key is derived for.
pub(crate) const LABEL: &str = "attest-run/code-cache/v1";
/// Most entries that are kept, and their bytes: a runner's jobs use a handful of components.
const MOST_ENTRIES: usize = 64;
const MOST_BYTES: u64 = 1 << 30;
/// Entries whose file in memory is kept open, and their bytes: those of a job's steps.
const MOST_RECENT: usize = 16;
const MOST_RECENT_BYTES: u64 = 64 << 20;
/// The largest code: some ten times the largest component would be a defect of the compiler.
const LARGEST_CODE: u64 = 1 << 30;
/// Bytes copied and checked at once.
const CHUNK: usize = 256 * 1024;
/// Compilers at once: each takes a processor, and up to a gigabyte. Whoever comes when they are busy waits.
const MOST_COMPILERS: usize = 2;
/// The longest that compiling may take.
const LONGEST: Duration = Duration::from_secs(120);

/// Where code is kept.
pub(crate) struct CodeCache {
    folder: PathBuf,
    key: SecretBytes,
    /// What tells one version of the worker's program from another.
    program: String,
    recent: Mutex<VecDeque<Recent>>,
    /// One of each component that is compiled, held meanwhile: two steps that begin at once compile it once.
    compiling: Mutex<HashMap<Sha256Digest, Weak<tokio::sync::Mutex<()>>>>,
    /// Compilers that may work at once.
    compilers: Semaphore,
    writes: AtomicU64,
}

#[derive(Clone)]
struct Recent {
    component: Sha256Digest,
    code: Arc<OwnedFd>,
    bytes: u64,
}

/// Code, ready to be loaded, and what it took to get it.
pub(crate) struct Code {
    /// A file in memory, sealed.
    pub(crate) file: Arc<OwnedFd>,
    /// How long it was compiled, if it was.
    pub(crate) compiled: Option<Duration>,
}

/// An entry that is not what was written.
#[derive(Debug, thiserror::Error)]
enum BadEntry {
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no entry of a code cache")]
    Form,
    #[error("its authentication code is not by this agent's TPM, or not of this component's code")]
    Mac,
}

impl From<rustix::io::Errno> for BadEntry {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

impl CodeCache {
    /// The cache in `folder`, which is made if it is not there, for this program of workers.
    pub(crate) fn open(folder: PathBuf, worker: &Path, key: SecretBytes) -> Result<Self, StateError> {
        let failed =
            |error: io::Error| StateError::Io { what: "open", path: folder.clone(), reason: error.to_string() };
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700).create(&folder).map_err(failed)?;
        let program = FileState::of(worker)
            .map_err(|error| StateError::Io { what: "look at", path: worker.to_owned(), reason: error.to_string() })?
            .to_string();
        let compilers = Semaphore::new(MOST_COMPILERS);
        let (recent, compiling, writes) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Ok(Self { folder, key, program, recent, compiling, compilers, writes })
    }

    fn path(&self, component: &Sha256Digest) -> PathBuf {
        let name = Sha256Digest::of_parts([component.as_bytes().as_slice(), self.program.as_bytes()]);
        self.folder.join(name.to_string())
    }

    fn recent(&self, component: &Sha256Digest) -> Option<Arc<OwnedFd>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|known| known.component == *component).map(|known| Arc::clone(&known.code))
    }

    /// What is held while this component is compiled.
    fn compiling(&self, component: Sha256Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut compiling = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        compiling.retain(|_, held| held.strong_count() > 0);
        if let Some(held) = compiling.get(&component).and_then(Weak::upgrade) {
            return held;
        }
        let held = Arc::default();
        compiling.insert(component, Arc::downgrade(&held));
        held
    }

    fn remember(&self, component: Sha256Digest, code: &Arc<OwnedFd>, bytes: u64) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|known| known.component != component);
        recent.push_front(Recent { component, code: Arc::clone(code), bytes });
        while recent.len() > MOST_RECENT || recent.iter().map(|known| known.bytes).sum::<u64>() > MOST_RECENT_BYTES {
            recent.pop_back();
        }
    }

    /// Forgets code that the engine did not take.
    pub(crate) fn forget(&self, component: &Sha256Digest) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known.component != *component);
        let _ = std::fs::remove_file(self.path(component));
    }

    /// What is kept of a component, checked. None if nothing is.
    fn read(&self, component: &Sha256Digest) -> Result<Option<Arc<OwnedFd>>, BadEntry> {
        let mut file = match File::open(self.path(component)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut head = [0; DOMAIN.len() + MAC];
        file.read_exact(&mut head).map_err(|_| BadEntry::Form)?;
        let (domain, tag) = head.split_at(DOMAIN.len());
        if domain != DOMAIN {
            return Err(BadEntry::Form);
        }
        let mut memory = File::from(in_memory("code")?);
        let bytes = io::copy(&mut file.take(LARGEST_CODE + 1), &mut memory)?;
        if bytes > LARGEST_CODE {
            return Err(BadEntry::Form);
        }
        seal(&memory)?;
        // Only now: nobody can change what is checked.
        self.mac(component, &memory, bytes)?.verify_slice(tag).map_err(|_| BadEntry::Mac)?;
        let code = Arc::new(OwnedFd::from(memory));
        self.remember(*component, &code, bytes);
        Ok(Some(code))
    }

    fn mac(&self, component: &Sha256Digest, code: &File, bytes: u64) -> io::Result<Hmac<Sha256>> {
        let mac = self.key.expose(Hmac::<Sha256>::new_from_slice).map_err(io::Error::other)?;
        let mut mac = mac.chain_update(DOMAIN).chain_update(component.as_bytes());
        let (mut buffer, mut offset) = (vec![0; CHUNK], 0);
        while offset < bytes {
            let count = code.read_at(&mut buffer, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            mac.update(buffer.get(..count).unwrap_or_default());
            offset += count as u64;
        }
        Ok(mac)
    }

    /// Keeps code that a compiler made, and that has been sealed.
    fn write(&self, component: &Sha256Digest, code: &File, bytes: u64) -> io::Result<()> {
        let tag = self.mac(component, code, bytes)?.finalize().into_bytes();
        let path = self.path(component);
        let temporary = path.with_extension(format!("{}.new", self.writes.fetch_add(1, Ordering::Relaxed)));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let written = (|| {
            file.write_all(DOMAIN)?;
            file.write_all(&tag)?;
            let mut code = code.try_clone()?;
            code.rewind()?;
            io::copy(&mut code, &mut file)?;
            std::fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        self.make_room(&path)?;
        written
    }

    /// Removes the oldest entries, but never `newest`.
    fn make_room(&self, newest: &Path) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another write may have finished it, or made room of it.
            if let Some(metadata) = if_there(entry.metadata())? {
                entries.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = entries.len();
        for (_, size, path) in entries.iter().filter(|(_, _, path)| path != newest) {
            if count <= MOST_ENTRIES && bytes <= MOST_BYTES {
                break;
            }
            if_there(std::fs::remove_file(path))?;
            (count, bytes) = (count - 1, bytes.saturating_sub(*size));
        }
        Ok(())
    }
}

impl Agent {
    /// The machine code of a component: kept, or made now. What is kept is found while others are compiled.
    pub(crate) async fn code(&self, component: Sha256Digest, bytes: &Arc<[u8]>) -> Result<Code, AgentError> {
        let cache = self.code_cache();
        if let Some(file) = cache.recent(&component) {
            return Ok(Code { file, compiled: None });
        }
        let compiling = cache.compiling(component);
        let _compiling = compiling.lock().await;
        if let Some(file) = kept(cache, component).await? {
            return Ok(Code { file, compiled: None });
        }
        let compiler = cache.compilers.acquire().await.map_err(not_begun)?;
        let (file, took) = compile(self.spawner(), Arc::clone(bytes)).await?;
        drop(compiler);
        let writing = Arc::clone(cache);
        let file = blocking(move || {
            let bytes = file.metadata().map_err(not_begun)?.len();
            // Without the cache the step runs as well; the next one waits longer.
            if let Err(error) = writing.write(&component, &file, bytes) {
                tracing::warn!(%component, %error, "code could not be kept");
            }
            let file = Arc::new(OwnedFd::from(file));
            writing.remember(component, &file, bytes);
            Ok(file)
        });
        Ok(Code { file: file.await?, compiled: Some(took) })
    }
}

/// What is kept of a component. What is not believed is as if it were not there.
async fn kept(cache: &Arc<CodeCache>, component: Sha256Digest) -> Result<Option<Arc<OwnedFd>>, AgentError> {
    if let Some(file) = cache.recent(&component) {
        return Ok(Some(file));
    }
    let cache = Arc::clone(cache);
    blocking(move || {
        Ok(cache.read(&component).unwrap_or_else(|error| {
            tracing::warn!(%component, %error, "an entry of the code cache is not believed: it is compiled anew");
            None
        }))
    })
    .await
}

/// Files of up to a gigabyte are no work for a thread that others wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    tokio::task::spawn_blocking(work).await.map_err(not_begun)?
}

/// Has a component compiled, into a file in memory that nobody can change any more.
pub(crate) async fn compile(spawner: &Spawner, bytes: Arc<[u8]>) -> Result<(File, Duration), AgentError> {
    let component = blocking(move || {
        let mut component = File::from(in_memory("component").map_err(not_begun)?);
        component.write_all(&bytes).and_then(|()| component.rewind()).map_err(not_begun)?;
        seal(&component).map_err(not_begun)?;
        Ok(component)
    });
    let component = component.await?;
    let code = File::from(in_memory("code").map_err(not_begun)?);
    let started = spawner.spawn(Spawn::Compiler)?;
    let mut process =
        Process::<FromCompiler>::begin(started, &Compile, &[component.as_fd(), code.as_fd()]).map_err(not_begun)?;
    let answer = tokio::time::timeout(LONGEST, process.hear()).await;
    // It has to be gone before its work is sealed: nobody else can write then.
    process.end().await;
    let took = match answer {
        Ok(Ok(FromCompiler::Compiled { took })) => Duration::from_micros(took),
        Ok(Ok(FromCompiler::NotCompiled { reason })) => return Err(StepError::NotStarted(reason).into()),
        Ok(Ok(FromCompiler::NoWalls { reason })) => return Err(StepError::NoWalls(reason).into()),
        Ok(Err(death)) => return Err(not_begun(format!("the compiler died: {death}"))),
        Err(_) => return Err(not_begun(format!("it could not be compiled within {} s", LONGEST.as_secs()))),
    };
    seal(&code).map_err(not_begun)?;
    let bytes = code.metadata().map_err(not_begun)?.len();
    if bytes > LARGEST_CODE {
        return Err(not_begun(format!("its code has {bytes} bytes, and {LARGEST_CODE} are the most")));
    }
    Ok((code, took))
}

fn not_begun(error: impl ToString) -> AgentError {
    StepError::NotBegun(error.to_string()).into()
}

/// What came of something that may be gone.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// A file in memory that can be sealed.
fn in_memory(name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
}

/// From now on nobody can change it.
fn seal(file: &File) -> rustix::io::Result<()> {
    rustix::fs::fcntl_add_seals(file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> File {
        let mut file = File::from(in_memory("test").unwrap());
        file.write_all(bytes).unwrap();
        seal(&file).unwrap();
        file
    }

    fn cache(folder: &Path, key: u8) -> CodeCache {
        CodeCache::open(folder.to_owned(), Path::new("/proc/self/exe"), SecretBytes::new(vec![key; 32])).unwrap()
    }

    #[test]
    fn g10_an_entry_that_was_changed_moved_or_made_elsewhere_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Sha256Digest::of(b"one"), Sha256Digest::of(b"other"));
        let code: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let written = cache(folder.path(), 7);
        written.write(&one, &sealed(&code), code.len() as u64).unwrap();

        // The control: whoever wrote it reads it, and can't change it any more.
        let read = cache(folder.path(), 7).read(&one).unwrap().unwrap();
        let read = File::from(read.try_clone().unwrap());
        let mut found = vec![0; code.len()];
        read.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, code);
        assert!(read.write_at(b"x", 0).is_err());

        let path = written.path(&one);
        let good = std::fs::read(&path).unwrap();
        for at in [DOMAIN.len(), DOMAIN.len() + MAC, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(cache(folder.path(), 7).read(&one), Err(BadEntry::Mac)), "{at}");
        }
        for (bad, what) in [(good[..good.len() - 1].to_vec(), "shorter"), ([&good[..], b"x"].concat(), "longer")] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(cache(folder.path(), 7).read(&one), Err(BadEntry::Mac)), "{what}");
        }
        for bad in [Vec::new(), good[..10].to_vec(), vec![0; 4096]] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(cache(folder.path(), 7).read(&one), Err(BadEntry::Form)));
        }
        std::fs::write(&path, &good).unwrap();
        assert!(matches!(cache(folder.path(), 8).read(&one), Err(BadEntry::Mac)), "another TPM's");
        std::fs::copy(&path, written.path(&other)).unwrap();
        assert!(matches!(cache(folder.path(), 7).read(&other), Err(BadEntry::Mac)), "another component's");
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 7);
        let digest = |number: usize| Sha256Digest::of(number.to_string().as_bytes());
        for number in 0..=MOST_ENTRIES {
            cache.write(&digest(number), &sealed(b"code"), 4).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(number as u64);
            File::options().write(true).open(cache.path(&digest(number))).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), MOST_ENTRIES);
        assert!(cache.read(&digest(0)).unwrap().is_none());
        assert!(cache.read(&digest(MOST_ENTRIES)).unwrap().is_some());
    }
}
