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
    let by_number = name.strip_prefix("uid:").is_some_and(|uid| uid.parse::<u32>().is_ok());
    by_number || uzers::get_user_by_name(name).is_some()
}
