//! Who the worker is: its own user, with the runner's user's rights to files, and nothing more.
#![expect(unsafe_code, reason = "setfsuid, setfsgid and close_range have no safe form")]

use super::{Wall, WallError, Walls};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;

/// The user whose files the worker touches as if it were that user (`setfsuid(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Takes `file_identity`, closes every descriptor above standard error, and gives up capabilities and the
/// ways to gain some. To be called first of all.
///
/// # Errors
/// The wall that could not be raised.
pub fn seclude(walls: &Walls, file_identity: Option<FileIdentity>) -> Result<(), WallError> {
    if walls.has(Wall::Descriptors) {
        // SAFETY: nothing in this process owns a descriptor above standard error yet.
        let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
        if closed != 0 {
            return Err(WallError::new(Wall::Descriptors, io::Error::last_os_error()));
        }
    }
    if let Some(identity) = file_identity {
        take(identity)?;
    }
    if walls.has(Wall::Identity) {
        give_up().map_err(|error| WallError::new(Wall::Identity, error))?;
    }
    // The kernel forgets the death signal when an identity changes, so this comes last.
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| WallError::new(Wall::Identity, error))?;
    if rustix::process::getppid() != parent {
        return Err(WallError::new(Wall::Identity, "whoever started this process is gone"));
    }
    Ok(())
}

/// The kernel reports no failure of these calls: asking for an impossible id tells the present one.
fn take(identity: FileIdentity) -> Result<(), WallError> {
    // SAFETY: both calls change the credentials of this thread, the only one, and touch no memory.
    let (uid, gid) = unsafe {
        libc::setfsgid(identity.gid);
        libc::setfsuid(identity.uid);
        (libc::setfsuid(libc::uid_t::MAX), libc::setfsgid(libc::gid_t::MAX))
    };
    if u32::try_from(uid) == Ok(identity.uid) && u32::try_from(gid) == Ok(identity.gid) {
        Ok(())
    } else {
        Err(WallError::new(
            Wall::Identity,
            format!("files would be touched as {uid}:{gid}, not as {}:{}", identity.uid, identity.gid),
        ))
    }
}

fn give_up() -> rustix::io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        // A capability that this kernel doesn't know can't be held either; one we have no right to drop
        // from the bounding set can't be gained, since nothing is executed any more and the next call sees
        // to it for good.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
