//! Where the programs lie that belong together: beside one another.

use attest_spawner::Programs;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The programs that an agent consists of.
pub fn programs() -> BTreeMap<&'static str, PathBuf> {
    let Programs { spawner, worker, egress } = spawned();
    BTreeMap::from([
        ("attest-agent", beside("attest-agent")),
        ("attest-egress", egress),
        ("attest-spawner", spawner),
        ("attest-worker", worker),
    ])
}

/// The program that starts others, and those that steps run in and send requests by.
pub fn spawned() -> Programs {
    Programs { spawner: beside("attest-spawner"), worker: beside("attest-worker"), egress: beside("attest-egress") }
}

/// The program that lies beside this one.
pub fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")).with_file_name(name)
}
