//! Who the process is: a user of its own, perhaps with another user's rights to files, and nothing more.
#![expect(unsafe_code, reason = "setfsuid, setfsgid and close_range have no safe form")]

use super::{Wall, WallError, Walls};
use rustix::process::{DumpableBehavior, Gid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;

/// A user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl User {
    /// What a command line says: two numbers.
    pub fn parse(uid: &str, gid: &str) -> Option<Self> {
        Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }
}

/// Whom a process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Whoever it was started as.
    Unchanged,
    /// The same, but that it touches files as if it were this user (`setfsuid(2)`).
    FilesOf(User),
    /// This user, for good.
    Of(User),
}

/// Takes `identity`, closes every descriptor above standard error, and gives up capabilities and the
/// ways to gain some. To be called first of all.
///
/// # Errors
/// The wall that could not be raised.
pub fn seclude(walls: &Walls, identity: Identity) -> Result<(), WallError> {
    if walls.has(Wall::Descriptors) {
        // SAFETY: nothing in this process owns a descriptor above standard error yet.
        let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
        if closed != 0 {
            return Err(WallError::new(Wall::Descriptors, io::Error::last_os_error()));
        }
    }
    match identity {
        Identity::Unchanged => {}
        Identity::FilesOf(user) => touch_files_as(user)?,
        Identity::Of(user) => become_user(user)?,
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
fn touch_files_as(user: User) -> Result<(), WallError> {
    // SAFETY: both calls change the credentials of this thread, the only one, and touch no memory.
    let (uid, gid) = unsafe {
        libc::setfsgid(user.gid);
        libc::setfsuid(user.uid);
        (libc::setfsuid(libc::uid_t::MAX), libc::setfsgid(libc::gid_t::MAX))
    };
    if u32::try_from(uid) == Ok(user.uid) && u32::try_from(gid) == Ok(user.gid) {
        Ok(())
    } else {
        Err(WallError::new(
            Wall::Identity,
            format!("files would be touched as {uid}:{gid}, not as {}:{}", user.uid, user.gid),
        ))
    }
}

fn become_user(user: User) -> Result<(), WallError> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|error| WallError::new(Wall::Identity, format!("it can't become {}:{}: {error}", user.uid, user.gid)))
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
