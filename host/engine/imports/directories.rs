//! Directories, by name for steps and as preopens for commands.

use super::lines;
use crate::bindings::attest::step::{directories, types};
use crate::state::State;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens;

impl directories::Host for State {
    async fn open(&mut self, name: String) -> Result<Result<Resource<Descriptor>, types::OpenError>> {
        if let Ok(declared) = name.parse()
            && let Some(directory) = self.open_granted(&declared)?
        {
            return Ok(Ok(directory));
        }
        Ok(Err(types::OpenError::NotDeclared(lines("dirs", &name, "mode = \"read\"\n"))))
    }
}

impl preopens::Host for State {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let granted: Vec<_> =
            self.handles.directories.iter().map(|(name, granted)| (name.clone(), granted.place.clone())).collect();
        let mut preopened = Vec::with_capacity(granted.len());
        for (name, place) in granted {
            preopened.extend(self.open_granted(&name)?.map(|directory| (directory, place)));
        }
        Ok(preopened)
    }
}
