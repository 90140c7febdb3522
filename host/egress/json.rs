//! Secrets as members of a JSON object. The object is read to see that it is one, and stays as the step wrote it.

use crate::granted::Permitted;
use crate::outgoing::{Broken, Outgoing};
use crate::progress::Progress;
use crate::refusal::{NoAnswer, Refusal};
use attest_evidence::exchange::{Origin, Place};
use attest_wire::egress::Failure;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most bytes of a body that a secret is put into: it has to be there as a whole.
const LONGEST: usize = 1024 * 1024;

/// The body with each secret as the member of that name.
///
/// # Errors
/// [`Refusal::Place`] where the body is no such object, and a body that breaks off.
pub(crate) async fn with(
    body: Incoming,
    origin: &Origin,
    members: &[(Permitted<'_>, String)],
    progress: Arc<Progress>,
) -> Result<Outgoing, NoAnswer> {
    let Some((first, name)) = members.first() else { return Ok(Outgoing::of_step(body, progress)) };
    let body = match read(body).await {
        Ok(Some(body)) => body,
        Ok(None) => return Err(bad(*first, name, "the body has more than 1 MiB").into()),
        Err(error) => {
            return Err(NoAnswer::Failed { failure: Failure::Body, to: origin.clone(), why: error.to_string() });
        }
    };
    let whole = insert(&body, members)?;
    // From here on it is hyper's, and is not wiped.
    Ok(Outgoing::whole(Bytes::copy_from_slice(&whole), progress))
}

fn bad(secret: Permitted<'_>, name: &str, why: &'static str) -> Refusal {
    Refusal::Place { name: secret.name().clone(), place: Place::Json(name.to_owned()), why }
}

/// None where it is too long.
async fn read(mut body: Incoming) -> Result<Option<Vec<u8>>, Broken> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Broken::Off)?.into_data() else { return Err(Broken::Trailers) };
        if whole.len() + data.len() > LONGEST {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole))
}

fn insert(body: &[u8], members: &[(Permitted<'_>, String)]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let object: Result<BTreeMap<String, IgnoredAny>, _> = serde_json::from_slice(body);
    let brace = body.iter().position(|byte| *byte == b'{');
    let mut names: Vec<&str> = Vec::new();
    let mut added = Zeroizing::new(Vec::new());
    for (secret, name) in members {
        let bad = |why| bad(*secret, name, why);
        let object = object.as_ref().map_err(|_| bad("the body is no JSON object"))?;
        if object.contains_key(name) || names.contains(&name.as_str()) {
            return Err(bad("the body has such a member"));
        }
        names.push(name);
        secret.value().expose(|value| {
            let text = std::str::from_utf8(value).map_err(|_| bad("it is no text"))?;
            // A name of this kind (`Place::Json`) needs no escapes.
            let text = serde_json::to_string(text).map(Zeroizing::new).map_err(|_| bad("it is no text"))?;
            added.reserve_exact(name.len() + text.len() + 4);
            if !added.is_empty() {
                added.push(b',');
            }
            added.extend_from_slice(format!("\"{name}\":").as_bytes());
            added.extend_from_slice(text.as_bytes());
            Ok::<(), Refusal>(())
        })?;
    }
    let empty = object.is_ok_and(|object| object.is_empty());
    let (before, after) = body.split_at(brace.map_or(0, |at| at + 1).min(body.len()));
    let mut whole = Zeroizing::new(Vec::with_capacity(body.len() + added.len() + 1));
    whole.extend_from_slice(before);
    whole.extend_from_slice(&added);
    if !empty {
        whole.push(b',');
    }
    whole.extend_from_slice(after);
    Ok(whole)
}
