//! Who administers: whoever logged in, by the kernel's word (`loginuid`, see `pam_loginuid(8)`), also behind `sudo`. Where
//! nobody logged in, as in a container, whoever this process is.

use rustix::process::getuid;

/// What `loginuid` says where nobody logged in.
const NOBODY: u32 = u32::MAX;

/// The name of whoever administers; `uid:N` if the user has none.
pub(super) fn admin() -> String {
    let login = std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    let uid = login.filter(|uid| *uid != NOBODY).unwrap_or_else(|| getuid().as_raw());
    match uzers::get_user_by_uid(uid) {
        Some(user) => user.name().to_string_lossy().into_owned(),
        None => format!("uid:{uid}"),
    }
}

/// Whether there is such a user of this machine.
pub(super) fn exists(name: &str) -> bool {
    match name.strip_prefix("uid:").map(str::parse::<u32>) {
        // Who has a name is not called by the number.
        Some(uid) => uid.is_ok_and(|uid| format!("uid:{uid}") == name && uzers::get_user_by_uid(uid).is_none()),
        None => uzers::get_user_by_name(name).is_some(),
    }
}
