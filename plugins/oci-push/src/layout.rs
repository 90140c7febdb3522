//! An image layout (OCI image 1.1, "Image Layout"): what of it has to be pushed, and in which order.

use crate::descriptor::{Descriptor, Digest, Kind};
use attest_sdk::{Directory, Error, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use step_digest::Sha256Digest;

/// Most bytes of a manifest: what registries take (OCI distribution 1.1, "Pushing Manifests").
pub(crate) const LONGEST_MANIFEST: u64 = 4 << 20;
/// Most manifests and blobs of an image: 20 platforms with 100 layers each.
const MOST_CONTENT: usize = 2000;
/// Most indexes one inside the other.
const DEEPEST: usize = 4;
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// An image, as it is pushed.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// In the order in which they are found, each once.
    pub(crate) blobs: Vec<Descriptor>,
    /// Each behind those that it names; the last is the image.
    pub(crate) manifests: Vec<(Descriptor, Vec<u8>)>,
    seen: BTreeSet<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Where content lies in a layout.
pub(crate) fn path(digest: &Digest) -> String {
    let (algorithm, digits) = digest.parts();
    format!("blobs/{algorithm}/{digits}")
}

/// Reads the image of a layout, by its name if there are several.
pub(crate) fn read(directory: &Directory, name: Option<&str>) -> Result<Image> {
    let layout = directory
        .read_up_to("oci-layout", LONGEST_MANIFEST)
        .map_err(|error| error.during("`image` is no image layout (a file of it is pushed with `--file`)"))?;
    let layout: Layout = parse("oci-layout", &layout)?;
    if layout.image_layout_version != "1.0.0" {
        let version = layout.image_layout_version.escape_debug();
        return Err(Error::new(format!("the layout is of version `{version}`, and 1.0.0 is known")));
    }
    let index: Index = parse("index.json", &directory.read_up_to("index.json", LONGEST_MANIFEST)?)?;
    let top = choose(index.manifests, name)?;
    let mut image = Image::default();
    image.add(&|digest| directory.read_up_to(&path(digest), LONGEST_MANIFEST), top, 0)?;
    Ok(image)
}

fn choose(manifests: Vec<Descriptor>, name: Option<&str>) -> Result<Descriptor> {
    let names: Vec<_> =
        manifests.iter().filter_map(|manifest| manifest.annotations.get(REFERENCE_NAME).cloned()).collect();
    let mut fitting = manifests.into_iter().filter(|manifest| {
        name.is_none_or(|name| manifest.annotations.get(REFERENCE_NAME).is_some_and(|found| found == name))
    });
    match (fitting.next(), fitting.next()) {
        (Some(image), None) => Ok(image),
        (None, _) => Err(Error::new(format!("the layout has no such image; it has: {}", names.join(", ")))),
        (Some(_), Some(_)) => {
            Err(Error::new(format!("the layout has several images: choose one with `--from`: {}", names.join(", "))))
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(format!("{what} can't be read: {error}")))
}

impl Image {
    /// Adds a manifest, and all that it names in front of it.
    fn add(&mut self, read: &impl Fn(&Digest) -> Result<Vec<u8>>, top: Descriptor, depth: usize) -> Result {
        if depth > DEEPEST {
            return Err(Error::new(format!("more than {DEEPEST} indexes lie one inside the other")));
        }
        if !self.is_new(&top)? {
            return Ok(());
        }
        let bytes = read(&top.digest)?;
        // What is signed and pushed is what the layout names: the registry looks at blobs itself, and at no child's digest.
        if Digest::from(&Sha256Digest::of(&bytes)) != top.digest || bytes.len() as u64 != top.size {
            return Err(Error::new(format!("{} is not what the layout says of it, or no SHA-256", top.digest)));
        }
        match top.kind()? {
            Kind::Index => {
                for child in parse::<Index>(top.digest.as_str(), &bytes)?.manifests {
                    self.add(read, child, depth + 1)?;
                }
            }
            Kind::Manifest => {
                let manifest: Manifest = parse(top.digest.as_str(), &bytes)?;
                for blob in [manifest.config].into_iter().chain(manifest.layers) {
                    if !blob.stays_elsewhere() && self.is_new(&blob)? {
                        self.blobs.push(blob);
                    }
                }
            }
        }
        self.manifests.push((top, bytes));
        Ok(())
    }

    fn is_new(&mut self, content: &Descriptor) -> Result<bool> {
        if self.seen.len() >= MOST_CONTENT {
            return Err(Error::new(format!("the image has more than {MOST_CONTENT} manifests and blobs")));
        }
        Ok(self.seen.insert(content.digest.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{IMAGE_INDEX, IMAGE_MANIFEST};
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Store(BTreeMap<Digest, Vec<u8>>);

    impl Store {
        fn put(&mut self, media_type: &str, value: &serde_json::Value) -> Descriptor {
            let bytes = serde_json::to_vec(value).unwrap();
            let descriptor = Descriptor::of(media_type, &bytes);
            self.0.insert(descriptor.digest.clone(), bytes);
            descriptor
        }

        fn image(&mut self, config: &[u8], layers: &[&[u8]]) -> Descriptor {
            let blob = |bytes: &&[u8]| Descriptor::of("application/vnd.oci.image.layer.v1.tar", bytes);
            let layers: Vec<_> = layers.iter().map(blob).collect();
            let config = Descriptor::of("application/vnd.oci.image.config.v1+json", config);
            self.put(IMAGE_MANIFEST, &serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers }))
        }

        fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
            self.put(IMAGE_INDEX, &serde_json::json!({ "schemaVersion": 2, "manifests": manifests }))
        }

        fn read(&self, top: &Descriptor) -> Result<Image> {
            let mut image = Image::default();
            let read = |digest: &Digest| self.0.get(digest).cloned().ok_or_else(|| Error::new("missing"));
            image.add(&read, top.clone(), 0)?;
            Ok(image)
        }
    }

    #[test]
    fn content_comes_before_what_names_it_and_once() {
        let mut store = Store::default();
        let one = store.image(b"config 1", &[b"base", b"layer 1"]);
        let two = store.image(b"config 2", &[b"base", b"layer 2"]);
        let top = store.index(&[one.clone(), two.clone(), one.clone()]);
        let image = store.read(&top).unwrap();
        assert_eq!(image.blobs.len(), 5);
        let order: Vec<_> = image.manifests.iter().map(|(descriptor, _)| descriptor).collect();
        assert_eq!(order, [&one, &two, &top]);
    }

    #[test]
    fn content_that_is_not_what_is_said_of_it_is_refused() {
        let mut store = Store::default();
        let good = store.image(b"config", &[]);
        let mut longer = good.clone();
        longer.size += 1;
        assert!(store.read(&longer).is_err());
        store.0.get_mut(&good.digest).unwrap().push(b' ');
        assert!(store.read(&good).is_err());
        let text = store.put("text/plain", &serde_json::json!({}));
        assert!(store.read(&text).unwrap_err().to_string().contains("is no image"));
    }

    #[test]
    fn an_endless_image_ends() {
        let mut store = Store::default();
        let mut top = store.image(b"config", &[]);
        for _ in 0..DEEPEST {
            top = store.index(&[top]);
        }
        assert!(store.read(&top).is_ok());
        let deeper = store.index(&[top]);
        assert!(store.read(&deeper).is_err());
        let layers: Vec<_> = (0..MOST_CONTENT).map(|number| number.to_string().into_bytes()).collect();
        let layers: Vec<_> = layers.iter().map(Vec::as_slice).collect();
        let wide = store.image(b"config", &layers);
        assert!(store.read(&wide).is_err());
    }

    #[test]
    fn layers_that_stay_elsewhere_stay_there() {
        let mut store = Store::default();
        let config = Descriptor::of("application/vnd.oci.image.config.v1+json", b"config");
        let layer = Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"theirs");
        let value = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let top = store.put(IMAGE_MANIFEST, &value);
        assert_eq!(store.read(&top).unwrap().blobs, [config]);
    }

    #[test]
    fn one_of_several_images_is_chosen_by_name() {
        let named = |name: &str| Descriptor::of(IMAGE_MANIFEST, name.as_bytes()).with_annotation(REFERENCE_NAME, name);
        assert_eq!(choose(vec![named("a")], None).unwrap(), named("a"));
        assert_eq!(choose(vec![named("a"), named("b")], Some("b")).unwrap(), named("b"));
        assert!(choose(vec![named("a"), named("b")], None).unwrap_err().to_string().contains("a, b"));
        assert!(choose(vec![named("a")], Some("c")).is_err() && choose(vec![], None).is_err());
    }
}
