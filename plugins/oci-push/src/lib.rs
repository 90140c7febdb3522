//! Pushes an image, or a file as an artifact, to a registry, and its signature with it.
//!
//! The tag comes last: whoever pulls by it finds an image that is whole and signed.

mod challenge;
mod descriptor;
mod layout;
mod options;
mod referrers;
mod registry;
mod signature;

use attest_sdk::{Directory, Error, Key, Result, Secret, info, set_output, summary};
use descriptor::{Descriptor, EMPTY_BLOB, IMAGE_INDEX, NewManifest};
use layout::Image;
use options::{Options, Source};
use registry::{Blob, Registry};
use step_digest::LocalFile;

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let options = Options::parse(args)?;
    let directory = Directory::open("image")?;
    let secret = Secret::open("token")?;
    let key = Key::open("release")?;
    let content = match &options.source {
        Source::Layout(name) => Content::image(layout::read(&directory, name.as_deref())?),
        Source::File { path, artifact_type } => Content::artifact(&directory, path, artifact_type)?,
    };

    let mut registry = Registry::new(&options, &secret)?;
    let (image, manifest) = content.push(&mut registry, &directory)?;
    let signed = match options.unsigned {
        true => None,
        false => Some(sign(&mut registry, &options, &key, &image)?),
    };
    for tag in &options.tags {
        registry.push_manifest(tag, &image, &manifest)?;
        info(&format!("{}:{tag} is {}", options.repository.reference(), image.digest));
    }

    let reference = format!("{}@{}", options.repository.reference(), image.digest);
    set_output("digest", image.digest.as_str())?;
    set_output("reference", &reference)?;
    if let Some(signed) = &signed {
        set_output("signature", signed.digest.as_str())?;
    }
    summary::append(&report(&options, &image, signed.as_ref()));
    Ok(())
}

/// What is pushed.
struct Content {
    /// Blobs, and the paths of their files.
    files: Vec<(Descriptor, String)>,
    /// The blob that stands where there is no config.
    has_empty_blob: bool,
    /// Each behind those that it names; the last is what the tag means.
    manifests: Vec<(Descriptor, Vec<u8>)>,
}

impl Content {
    fn image(image: Image) -> Self {
        let path = |blob: Descriptor| {
            let path = layout::path(&blob.digest);
            (blob, path)
        };
        let files = image.blobs.into_iter().map(path).collect();
        Self { files, has_empty_blob: false, manifests: image.manifests }
    }

    fn artifact(directory: &Directory, path: &str, artifact_type: &str) -> Result<Self> {
        let file = LocalFile::look(directory, path)?;
        let blob = Descriptor::new("application/octet-stream", &file.digest, file.size)
            .with_annotation("org.opencontainers.image.title", file.name());
        let manifest = NewManifest::artifact(artifact_type, blob.clone(), None).encode()?;
        Ok(Self { files: vec![(blob, file.path)], has_empty_blob: true, manifests: vec![manifest] })
    }

    /// Pushes all of it but the tag. Gives the manifest.
    fn push(mut self, registry: &mut Registry<'_>, directory: &Directory) -> Result<(Descriptor, Vec<u8>)> {
        for (blob, path) in &self.files {
            push_file(registry, directory, blob, path)?;
        }
        if self.has_empty_blob {
            push_bytes(registry, EMPTY_BLOB)?;
        }
        for (manifest, bytes) in &self.manifests {
            registry.push_manifest(manifest.digest.as_str(), manifest, bytes)?;
        }
        self.manifests.pop().ok_or_else(|| Error::new("there is nothing to push"))
    }
}

fn push_file(registry: &mut Registry<'_>, directory: &Directory, blob: &Descriptor, path: &str) -> Result {
    let file = directory.file(path)?;
    if file.size()? != blob.size {
        return Err(Error::new(format!("`{path}` has not the {} bytes that its manifest says", blob.size)));
    }
    let is_there = registry.has_blob(&blob.digest)?;
    if !is_there {
        registry.push_blob(&blob.digest, Blob::File(&file)).map_err(|error| error.during(path))?;
    }
    info(&format!("{} {}", blob.digest, if is_there { "was there" } else { "pushed" }));
    Ok(())
}

fn push_bytes(registry: &mut Registry<'_>, bytes: &[u8]) -> Result {
    let digest = Descriptor::of("", bytes).digest;
    if registry.has_blob(&digest)? { Ok(()) } else { registry.push_blob(&digest, Blob::Bytes(bytes)) }
}

/// Signs an image, and pushes the signature so that it is found by the image.
fn sign(registry: &mut Registry<'_>, options: &Options, key: &Key, image: &Descriptor) -> Result<Descriptor> {
    let document = signature::document(&options.repository.reference(), &image.digest)?;
    let blob = signature::blob(&document, &key.sign_message(&document)?);
    push_bytes(registry, &document)?;
    push_bytes(registry, EMPTY_BLOB)?;
    let (manifest, bytes) = signature::manifest(blob, image).encode()?;
    let is_tracked = registry.push_manifest(manifest.digest.as_str(), &manifest, &bytes)?;
    if !is_tracked {
        let tag = referrers::tag(&image.digest);
        if let Some(index) = referrers::with(registry.index(&tag)?.as_deref(), &manifest)? {
            registry.push_manifest(&tag, &Descriptor::of(IMAGE_INDEX, &index), &index)?;
        }
    }
    info(&format!("{} signed with `release`: {}", image.digest, manifest.digest));
    Ok(manifest)
}

fn report(options: &Options, image: &Descriptor, signed: Option<&Descriptor>) -> String {
    let mut rows = vec![
        ["Tags".to_owned(), options.tags.iter().map(|tag| summary::code(tag)).collect::<Vec<_>>().join(" ")],
        ["Digest".to_owned(), summary::code(image.digest.as_str())],
    ];
    if let Some(signed) = signed {
        rows.push(["Signature".to_owned(), summary::code(signed.digest.as_str())]);
    }
    let table = summary::table(["", ""], &rows);
    format!("### Pushed {}\n\n{table}", summary::escape(&options.repository.reference()))
}
