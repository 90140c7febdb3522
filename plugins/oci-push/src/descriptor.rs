//! What the OCI image specification calls content: digests, media types, descriptors.

use attest_sdk::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use step_digest::Sha256Digest;

pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// What stands in a blob of media type `EMPTY` (OCI image 1.1, manifest, "Guidance for an Empty Descriptor").
pub(crate) const EMPTY_BLOB: &[u8] = b"{}";

/// `ALGORITHM:HEX`, of an algorithm that registries know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

/// What content is, and how to find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What a manifest is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It lists manifests.
    Index,
    /// It lists blobs.
    Manifest,
}

/// A manifest that is made here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewManifest {
    schema_version: u32,
    media_type: &'static str,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
}

impl NewManifest {
    /// Of an artifact that is one blob.
    pub(crate) fn artifact(artifact_type: &str, blob: Descriptor, subject: Option<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: IMAGE_MANIFEST,
            artifact_type: artifact_type.to_owned(),
            config: Descriptor::of(EMPTY, EMPTY_BLOB),
            layers: vec![blob],
            subject,
        }
    }

    /// Its descriptor, and its bytes.
    pub(crate) fn encode(&self) -> Result<(Descriptor, Vec<u8>)> {
        let bytes = serde_json::to_vec(self).map_err(|error| Error::new(error.to_string()))?;
        let mut descriptor = Descriptor::of(IMAGE_MANIFEST, &bytes);
        descriptor.artifact_type = Some(self.artifact_type.clone());
        Ok((descriptor, bytes))
    }
}

impl Descriptor {
    /// Of bytes.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, &Sha256Digest::of(bytes), bytes.len() as u64)
    }

    pub(crate) fn new(media_type: &str, digest: &Sha256Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest.into(),
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    pub(crate) fn with_annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// As a `subject` names it: what it is, and nothing about it.
    pub(crate) fn bare(&self) -> Self {
        Self { artifact_type: None, annotations: BTreeMap::new(), ..self.clone() }
    }

    /// Which kind of manifest it is.
    pub(crate) fn kind(&self) -> Result<Kind> {
        match self.media_type.as_str() {
            IMAGE_INDEX | DOCKER_LIST => Ok(Kind::Index),
            IMAGE_MANIFEST | DOCKER_MANIFEST => Ok(Kind::Manifest),
            other => Err(Error::new(format!("{} is no image: it is `{}`", self.digest, other.escape_debug()))),
        }
    }

    /// Whether it is a layer that no registry but its maker's may give out.
    pub(crate) fn stays_elsewhere(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

impl Digest {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Algorithm and digits.
    pub(crate) fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or_default()
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = match text.split_once(':') {
            Some(("sha256", digits)) if digits.len() == 64 => digits,
            Some(("sha512", digits)) if digits.len() == 128 => digits,
            _ => "",
        };
        // Digests become paths: no other character may get through.
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)) {
            let text: String = text.chars().take(160).flat_map(char::escape_debug).collect();
            return Err(Error::new(format!("`{text}` is no digest: `sha256:` or `sha512:`, and digits 0-9a-f")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl From<&Sha256Digest> for Digest {
    fn from(digest: &Sha256Digest) -> Self {
        Self(format!("sha256:{digest}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_nothing_else() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(format!("sha256:{hex}").parse::<Digest>().is_ok());
        assert!(format!("sha512:{hex}{hex}").parse::<Digest>().is_ok());
        for bad in [
            hex.to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha512:{hex}"),
            format!("md5:{hex}"),
            format!("sha256:../../{}", &hex[6..]),
            String::new(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_empty_blob_has_the_digest_of_the_specification() {
        let empty = Descriptor::of(EMPTY, EMPTY_BLOB);
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!((empty.digest.as_str(), empty.size), (digest, 2));
    }

    #[test]
    fn a_manifest_is_written_as_the_specification_shows_it() {
        let blob = Descriptor::of("text/plain", b"abc").with_annotation("org.opencontainers.image.title", "a.txt");
        let (descriptor, bytes) = NewManifest::artifact("application/x", blob, None).encode().unwrap();
        let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"text/plain","digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"annotations":{"org.opencontainers.image.title":"a.txt"}}]}"#;
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        assert_eq!(descriptor.digest, (&Sha256Digest::of(text.as_bytes())).into());
        assert_eq!(descriptor.kind().unwrap(), Kind::Manifest);
    }
}
