//! What a step asks `wasi:filesystem` for, passed on and written down.

use super::How;
use super::reading::{Read, Reading};
use crate::state::State;
use attest_evidence::exchange::DirectoryMode;
use attest_evidence::name::DirectoryName;
use std::sync::Arc;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, Dir, FsPerms, OpenMode, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, DescriptorFlags, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi_io::streams::DynInputStream;

impl State {
    /// A descriptor of a granted directory.
    pub(crate) fn open_granted(&mut self, name: &DirectoryName) -> Result<Option<Resource<Descriptor>>> {
        let Some(granted) = self.handles.directories.get(name) else { return Ok(None) };
        let (perms, mode) = match granted.mode {
            DirectoryMode::Read => (FsPerms::ReadOnly, OpenMode::READ),
            DirectoryMode::Write => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        };
        let directory = Dir::new(granted.directory.try_clone()?, perms, mode, true);
        let descriptor = self.table.push(Descriptor::Dir(directory))?;
        self.files.granted(&descriptor, name.clone());
        Ok(Some(descriptor))
    }

    async fn open_at(
        &mut self,
        directory: u32,
        flags: PathFlags,
        path: String,
        how: OpenFlags,
        mode: DescriptorFlags,
    ) -> Result<Result<Resource<Descriptor>, ErrorCode>> {
        let result = self.filesystem().open_at(Resource::new_borrow(directory), flags, path.clone(), how, mode).await;
        if let Ok(descriptor) = &result
            && let Some(place) = self.files.place(directory, &path)
        {
            match self.table.get(descriptor)? {
                Descriptor::Dir(_) => self.files.opened_directory(place, descriptor),
                Descriptor::File(file) => {
                    // Not what was asked for, but what came of it: to create a file is to open it for writing.
                    let how = How {
                        read: file.open_mode.contains(OpenMode::READ),
                        write: file.open_mode.contains(OpenMode::WRITE),
                    };
                    self.files.opened_file(place, descriptor, how, &file.file);
                }
            }
        }
        self.code(result)
    }

    async fn read(&mut self, file: u32, length: u64, at: u64) -> Result<Result<(Vec<u8>, bool), ErrorCode>> {
        let result = self.filesystem().read(Resource::new_borrow(file), length, at).await;
        if let (Ok((bytes, ended)), Some(reading)) = (&result, self.files.reading(file)) {
            Reading::bytes(&reading, at, bytes);
            // Of no bytes, the end is not told from its beginning.
            if *ended && length > 0 {
                Reading::nothing(&reading, at.saturating_add(bytes.len() as u64));
            }
        }
        self.code(result)
    }

    fn read_via_stream(&mut self, file: u32, at: u64) -> Result<Result<Resource<DynInputStream>, ErrorCode>> {
        let mut result = self.filesystem().read_via_stream(Resource::new_borrow(file), at);
        // Ours reads more at once, and sees what is read.
        if let Ok(plain) = result {
            drop(self.table.delete(plain)?);
            let Descriptor::File(open) = self.table.get(&Resource::<Descriptor>::new_borrow(file))? else {
                return Ok(Err(ErrorCode::IsDirectory));
            };
            let (open, reading) = (Arc::clone(&open.file), self.files.reading(file));
            let stream: DynInputStream = Box::new(Read { file: open, at, reading });
            result = Ok(self.table.push(stream)?);
        }
        self.code(result)
    }

    async fn rename_at(&mut self, from: (u32, String), to: (u32, String)) -> Result<Result<(), ErrorCode>> {
        let (old, new) = (Resource::new_borrow(from.0), Resource::new_borrow(to.0));
        let result = self.filesystem().rename_at(old, from.1.clone(), new, to.1.clone()).await;
        if result.is_ok() {
            self.files.rename((from.0, &from.1), (to.0, &to.1));
        }
        self.code(result)
    }

    fn code<T>(&mut self, result: FsResult<T>) -> Result<Result<T, ErrorCode>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) => self.filesystem().convert_error_code(error).map(Err),
        }
    }
}

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
type RenameAt = (Resource<Descriptor>, String, Resource<Descriptor>, String);

type ReadAt = (Resource<Descriptor>, u64, u64);
type ReadViaStream = (Resource<Descriptor>, u64);

/// Links files, the functions that are watched in front.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<_, wasmtime_wasi::filesystem::WasiFilesystem>(linker, State::filesystem)?;
    linker.allow_shadowing(true);
    let mut interface = linker.instance("wasi:filesystem/types@0.2.12")?;
    interface.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>, call: OpenAt| {
            Box::new(async move {
                let (directory, flags, path, how, mode) = call;
                Ok((store.data_mut().open_at(directory.rep(), flags, path, how, mode).await?,))
            })
        },
    )?;
    interface.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store: StoreContextMut<'_, State>, call: RenameAt| {
            Box::new(async move {
                let (from, old, to, new) = call;
                Ok((store.data_mut().rename_at((from.rep(), old), (to.rep(), new)).await?,))
            })
        },
    )?;
    interface.func_wrap_async("[method]descriptor.read", |mut store: StoreContextMut<'_, State>, call: ReadAt| {
        Box::new(async move {
            let (file, length, at) = call;
            Ok((store.data_mut().read(file.rep(), length, at).await?,))
        })
    })?;
    interface.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, State>, (file, at): ReadViaStream| {
            Ok((store.data_mut().read_via_stream(file.rep(), at)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
