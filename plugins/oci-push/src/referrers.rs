//! Referrers of an image at registries that don't keep them by themselves: an index under a tag that follows from the
//! image's digest (OCI distribution 1.1, "Referrers Tag Schema").

use crate::descriptor::{Descriptor, Digest, IMAGE_INDEX};
use attest_sdk::{Error, Result};
use serde_json::{Value, json};

/// The tag: `ALGORITHM-HEX`, of which at most 32 and 64 characters.
pub(crate) fn tag(image: &Digest) -> String {
    let (algorithm, digits) = image.parts();
    format!("{algorithm}-{}", digits.get(..64).unwrap_or(digits))
}

/// The index with a referrer in it. What else is in it stays. `None`: it is there already.
pub(crate) fn with(index: Option<&[u8]>, referrer: &Descriptor) -> Result<Option<Vec<u8>>> {
    let failed =
        |error: serde_json::Error| Error::new(format!("the registry's index of referrers can't be read: {error}"));
    let mut index = match index {
        Some(bytes) => serde_json::from_slice(bytes).map_err(failed)?,
        None => json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [] }),
    };
    let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
        return Err(Error::new("under the tag for referrers the registry has something that is no index"));
    };
    let digest = referrer.digest.as_str();
    if manifests.iter().any(|manifest| manifest.get("digest").and_then(Value::as_str) == Some(digest)) {
        return Ok(None);
    }
    manifests.push(serde_json::to_value(referrer).map_err(failed)?);
    serde_json::to_vec(&index).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::IMAGE_MANIFEST;

    #[test]
    fn the_tag_follows_from_the_digest() {
        let hex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(tag(&format!("sha256:{hex}").parse().unwrap()), format!("sha256-{hex}"));
        assert_eq!(tag(&format!("sha512:{hex}{hex}").parse().unwrap()), format!("sha512-{hex}"));
    }

    #[test]
    fn a_referrer_is_added_once_and_what_was_there_stays() {
        let (one, two) = (Descriptor::of(IMAGE_MANIFEST, b"1"), Descriptor::of(IMAGE_MANIFEST, b"2"));
        let first = with(None, &one).unwrap().unwrap();
        assert_eq!(with(Some(&first), &one).unwrap(), None);
        let mut foreign: Value = serde_json::from_slice(&first).unwrap();
        foreign["annotations"] = json!({ "by": "somebody" });
        foreign["manifests"][0]["platform"] = json!({ "os": "linux" });
        let second = with(Some(&serde_json::to_vec(&foreign).unwrap()), &two).unwrap().unwrap();
        let second: Value = serde_json::from_slice(&second).unwrap();
        assert_eq!(second["annotations"]["by"], "somebody");
        assert_eq!(second["manifests"][0]["platform"]["os"], "linux");
        assert_eq!(second["manifests"][1]["digest"], two.digest.as_str());
    }

    #[test]
    fn what_is_no_index_is_left_alone() {
        let one = Descriptor::of(IMAGE_MANIFEST, b"1");
        assert!(with(Some(b"{\"layers\":[]}"), &one).is_err() && with(Some(b"x"), &one).is_err());
    }
}
