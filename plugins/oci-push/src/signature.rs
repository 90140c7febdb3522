//! The signature of an image: the document that is signed, and the manifest that it is found by.
//!
//! Both are as cosign makes them with OCI 1.1 referrers, so that there is a program everywhere that verifies them.

use crate::descriptor::{Descriptor, Digest, NewManifest};
use attest_sdk::{Error, Result};
use data_encoding::BASE64;
use serde::Serialize;

const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const DOCUMENT: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What is signed: `containers/image`'s "simple signing", version "cosign container image signature".
#[derive(Serialize)]
struct Document<'a> {
    critical: Critical<'a>,
    /// Nothing.
    optional: Option<()>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: Identity<'a>,
    image: Image<'a>,
    #[serde(rename = "type")]
    of: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Identity<'a> {
    docker_reference: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Image<'a> {
    docker_manifest_digest: &'a Digest,
}

/// The document for an image in a repository: its bytes are what is signed.
pub(crate) fn document(repository: &str, image: &Digest) -> Result<Vec<u8>> {
    let critical = Critical {
        identity: Identity { docker_reference: repository },
        image: Image { docker_manifest_digest: image },
        of: "cosign container image signature",
    };
    serde_json::to_vec(&Document { critical, optional: None }).map_err(|error| Error::new(error.to_string()))
}

/// The descriptor of a signed document.
pub(crate) fn blob(document: &[u8], signature: &[u8]) -> Descriptor {
    Descriptor::of(DOCUMENT, document).with_annotation(SIGNATURE, &BASE64.encode(signature))
}

/// The manifest that refers to the image.
pub(crate) fn manifest(blob: Descriptor, image: &Descriptor) -> NewManifest {
    NewManifest::artifact(ARTIFACT, blob, Some(image.bare()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::IMAGE_MANIFEST;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn the_document_is_cosign_s() {
        let document = document("ghcr.io/octo/widget", &DIGEST.parse().unwrap()).unwrap();
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"ghcr.io/octo/widget"}},"image":{{"docker-manifest-digest":"{DIGEST}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(String::from_utf8(document).unwrap(), text);
    }

    #[test]
    fn the_manifest_refers_to_the_image_and_says_nothing_else_of_it() {
        let image =
            Descriptor::of(IMAGE_MANIFEST, b"{}").with_annotation("org.opencontainers.image.ref.name", "latest");
        let (descriptor, bytes) = manifest(blob(b"document", b"\x30\x45"), &image).encode().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let subject = serde_json::json!({ "mediaType": IMAGE_MANIFEST, "digest": DIGEST, "size": 2 });
        assert_eq!(value["subject"], subject);
        assert_eq!(value["artifactType"], ARTIFACT);
        assert_eq!(value["layers"][0]["annotations"][SIGNATURE], "MEU=");
        assert_eq!(descriptor.artifact_type.as_deref(), Some(ARTIFACT));
    }
}
