//! Landlock: the granted directories and nothing else of the file system; no TCP port to listen on, nor to connect to but
//! where that is what the process is for; no signal or abstract socket outside (Linux 5.13 and later; see `landlock(7)`).
//!
//! What an older kernel can't hold back, the system-call filter does: it knows no socket and no signal.

use super::{Wall, WallError};
use attest_evidence::exchange::DirectoryMode;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use std::os::fd::BorrowedFd;

/// The rights that this program knows to ask for.
const NEWEST: ABI = ABI::V6;

pub(super) fn restrict(directories: &[(BorrowedFd<'_>, DirectoryMode)], connects: bool) -> Result<(), WallError> {
    let failed = |error: landlock::RulesetError| WallError::new(Wall::Landlock, error);
    let all = AccessFs::from_all(NEWEST);
    let ports = if connects { AccessNet::BindTcp.into() } else { AccessNet::from_all(NEWEST) };
    let ruleset = Ruleset::default()
        // Without the first version there is no wall at all, so nothing runs.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .map_err(failed)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|ruleset| ruleset.handle_access(ports))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .map_err(failed)?;
    let mut ruleset = ruleset.create().map_err(failed)?;
    for (directory, mode) in directories {
        let rule = PathBeneath::new(directory, rights(*mode));
        ruleset = ruleset.add_rule(rule).map_err(failed)?;
    }
    let status = ruleset.restrict_self().map_err(failed)?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(WallError::new(Wall::Landlock, "the kernel does not enforce it"));
    }
    Ok(())
}

/// Files and directories. Never device nodes, sockets or pipes, and nothing is ever executed.
fn rights(mode: DirectoryMode) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match mode {
        DirectoryMode::Read => read,
        DirectoryMode::Write => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSym
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
    }
}
