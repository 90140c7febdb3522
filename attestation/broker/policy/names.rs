//! Names of entities, as they stand in rules and in groups: a rule about what can't be is a slip of the pen.

use attest_evidence::Sha256Digest;
use attest_evidence::exchange::Origin;
use attest_evidence::name::{KeyName, RunnerName, SecretName, Stage};
use cedar_policy::EntityUid;

/// Whether something of this name can be.
///
/// # Errors
/// What its name would have to look like.
pub(super) fn check(uid: &EntityUid) -> Result<(), String> {
    let id = uid.id().unescaped();
    let wanted = |what: &str| Err(format!("{uid} can't be: {what} is wanted"));
    let staged = || id.split_once('/').filter(|(stage, _)| stage.parse::<Stage>().is_ok()).map(|(_, name)| name);
    match uid.type_name().basename() {
        "Stage" if id.parse::<Stage>().is_err() => wanted("`dev`, `staging` or `prod`"),
        "Runner" => match id.parse::<RunnerName>() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{uid} can't be: {error}")),
        },
        "Step" if id.parse::<Sha256Digest>().is_err() => wanted("a component's SHA-256, 64 hexadecimal digits"),
        "Secret" | "Audience" if staged().is_none_or(|name| name.parse::<SecretName>().is_err()) => {
            wanted("`STAGE/NAME`")
        }
        "Key" | "Directory" if staged().is_none_or(|name| name.parse::<KeyName>().is_err()) => wanted("`STAGE/NAME`"),
        "Destination" if staged().is_none_or(|name| Origin::try_from(name.to_owned()).is_err()) => {
            wanted("`STAGE/SCHEME://HOST[:PORT]`, such as `prod/https://registry.example`,")
        }
        "Repository" | "Owner" | "Job" => match id.split_once('#') {
            Some((issuer, id))
                if issuer.starts_with("https://")
                    && !issuer.ends_with('/')
                    && !id.is_empty()
                    && !id.contains(['#', '/']) =>
            {
                Ok(())
            }
            _ => wanted("`ISSUER#ID`, such as `https://token.actions.githubusercontent.com#74`,"),
        },
        _ => Ok(()),
    }
}
