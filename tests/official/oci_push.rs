//! `oci-push`, against Debian's `docker-registry`.

use super::{Official, TOKEN};
use crate::support::{Directory, Server, directory, reply, run};
use attest_evidence::Sha256Digest;
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// bcrypt of [`TOKEN`], of cost 4: `htpasswd -nbBC 4 me TOKEN`.
const BCRYPT: &str = "$2y$04$vcNouFH76o4H3f2g0lrDRuvgIK.Vgz5ZZYDyMC2fJUF5KB8kDERR2";
/// The layer of the image.
const LAYER: &str = "layer ";

/// A registry on loopback that wants a password.
struct Registry {
    child: Child,
    port: u16,
    _directory: Directory,
}

impl Registry {
    fn start() -> Self {
        let folder = directory();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(folder.path().join("htpasswd"), format!("me:{BCRYPT}\n")).unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {0}/data\n  delete:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:{port}\nauth:\n  htpasswd:\n    realm: test\n    path: {0}/htpasswd\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}. `make test` installs it"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, _directory: folder }
    }

    fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it serves at a path, with its status.
    fn get(&self, path: &str) -> (String, Vec<u8>) {
        let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let output = Command::new("curl")
            .args(["-s", "-u", &format!("me:{TOKEN}"), "-H", &format!("accept: {accept}"), "-w", "\n%{http_code}"])
            .arg(format!("{}{path}", self.origin()))
            .output()
            .unwrap();
        let end = output.stdout.iter().rposition(|byte| *byte == b'\n').unwrap();
        (String::from_utf8(output.stdout[end + 1..].to_vec()).unwrap(), output.stdout[..end].to_vec())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image layout of one layer, in the job's folder `image`. The digest of its manifest.
fn lay_out(step: &Official) -> Sha256Digest {
    let blob = |contents: &str| {
        let digest = Sha256Digest::of(contents.as_bytes());
        step.write(&format!("image/blobs/sha256/{digest}"), contents);
        digest
    };
    let (config, layer) = (r#"{"architecture":"amd64","os":"linux"}"#, LAYER.repeat(100_000));
    let descriptor = |kind: &str, digest: &Sha256Digest, size: usize| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &blob(config), config.len()),
        "layers": [descriptor("layer.v1.tar", &blob(&layer), layer.len())],
    })
    .to_string();
    let digest = blob(&manifest);
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor("manifest.v1+json", &digest, manifest.len())] });
    step.write("image/index.json", &index.to_string());
    step.write("image/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    digest
}

#[test]
fn an_image_is_pushed_and_its_signature_beside_it() {
    let registry = Registry::start();
    let origin = registry.origin();
    // No more than the repository: nothing else of the registry is asked.
    let step = Official::narrow("oci-push", &[&origin], &[&format!("{origin}/v2/octo/widget/")], &["basic"]);
    let digest = lay_out(&step);
    let reference = format!("127.0.0.1:{}/octo/widget", registry.port);
    let push = || step.run("image", "image", &["--user", "me", &format!("{reference}:v1"), "latest"]).ok();
    let out = push();
    assert!(out.stdout.contains(&format!("digest=sha256:{digest}")), "{}", out.stdout);

    for tag in ["v1", "latest", &format!("sha256:{digest}")] {
        let (status, manifest) = registry.get(&format!("/v2/octo/widget/manifests/{tag}"));
        assert_eq!((status.as_str(), Sha256Digest::of(&manifest)), ("200", digest), "{tag}");
    }
    // The signature is found by the subject's digest, and is of the key in the TPM: openssl says so.
    let (status, index) = registry.get(&format!("/v2/octo/widget/manifests/sha256-{digest}"));
    assert_eq!(status, "200");
    let index: Value = serde_json::from_slice(&index).unwrap();
    let signature = index["manifests"][0]["digest"].as_str().unwrap();
    let (_, manifest) = registry.get(&format!("/v2/octo/widget/manifests/{signature}"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["subject"]["digest"], format!("sha256:{digest}"));
    let layer = &manifest["layers"][0];
    let (_, document) = registry.get(&format!("/v2/octo/widget/blobs/{}", layer["digest"].as_str().unwrap()));
    let said: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(said["critical"]["image"]["docker-manifest-digest"], format!("sha256:{digest}"));
    let folder = directory();
    let file = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    };
    let raw = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    let raw = file("signature", &data_encoding::BASE64.decode(raw.as_bytes()).unwrap());
    let keys = step.scene.runner.as_user(0, &["--json", "keys", "list"]).ok().stdout;
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let key = file("key.pem", keys["keys"][0]["public_key"].as_str().unwrap().as_bytes());
    let verify = |document: &[u8]| {
        let document = file("document", document);
        let mut openssl = Command::new("openssl");
        run(openssl.args(["dgst", "-sha256", "-verify"]).arg(&key).arg("-signature").arg(&raw).arg(document)).status
    };
    assert_eq!(verify(&document), 0);
    assert_ne!(verify(&[&document[..], b" "].concat()), 0, "the control");

    // Again: what is there is left.
    assert_eq!(push().stderr.matches(" was there").count(), 2);
}

#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    let registry = Registry::start();
    let step = Official::new("oci-push", &[&registry.origin()], &["basic"]);
    let digest = lay_out(&step);
    let push = || {
        let reference = format!("127.0.0.1:{}/octo/widget:v2", registry.port);
        let out = step.run("image", "image", &["--user", "me", &reference]);
        assert_eq!(out.status, 1, "{}", out.stderr);
        out.stderr
    };
    // A layer as long as it was, with another byte: the registry holds it against its digest.
    let layer = LAYER.repeat(100_000);
    let path = format!("image/blobs/sha256/{}", Sha256Digest::of(layer.as_bytes()));
    step.write(&path, &format!("L{}", &layer[1..]));
    let said = push();
    assert!(said.contains("400") && said.contains("DIGEST_INVALID"), "{said}");
    // Shorter: the step sees it.
    step.write(&path, "layer");
    assert!(push().contains("has not the 600000 bytes that its manifest says"));
    // A manifest is held against its digest by the step.
    step.write(&format!("image/blobs/sha256/{digest}"), "{}");
    let said = push();
    assert!(said.contains(&digest.to_string()), "{said}");
    assert_eq!(registry.get("/v2/octo/widget/manifests/v2").0, "404", "no tag moves");
}

/// A registry that gives tokens of its own (as Docker's and GitHub's do), and takes everything.
fn with_tokens() -> Server {
    Server::start(|request, stream| {
        let (path, _) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let origin = format!("http://{}", request.header("host"));
        let authorization = request.header("authorization");
        if path == "/token" {
            let password = format!("Basic {}", data_encoding::BASE64.encode(format!("me:{TOKEN}").as_bytes()));
            let status = if authorization == password { 200 } else { 401 };
            return reply(stream, status, &[], br#"{"token":"of-the-registry"}"#);
        }
        if authorization != "Bearer of-the-registry" {
            let asked = format!("Bearer realm=\"{origin}/token\",service=\"registry\"");
            return reply(stream, 401, &[("www-authenticate", &asked)], b"");
        }
        match request.method.as_str() {
            "HEAD" => reply(stream, 404, &[], b""),
            "POST" => reply(stream, 202, &[("location", "/v2/octo/widget/blobs/uploads/1")], b""),
            "PUT" => reply(stream, 201, &[("oci-subject", "yes")], b""),
            other => panic!("{other}"),
        }
    })
}

#[test]
fn a_registry_may_give_a_token_of_its_own() {
    let registry = with_tokens();
    let origin = registry.origin();
    // The password goes where tokens are given, and nowhere else.
    let step = Official::narrow("oci-push", &[&origin], &[&format!("{origin}/token")], &["basic"]);
    lay_out(&step);
    let reference = format!("127.0.0.1:{}/octo/widget:v1", registry.port());
    step.run("image", "image", &["--user", "me", &reference]).ok();
    let received = registry.received();
    let asked: Vec<_> = received.iter().filter(|request| request.target.starts_with("/token")).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let target = "/token?service=registry&scope=repository%3Aocto%2Fwidget%3Apull%2Cpush";
    assert_eq!(asked[0].target, target);
    let tagged = received.iter().any(|request| request.method == "PUT" && request.target.ends_with("/manifests/v1"));
    assert!(tagged, "{received:?}");
}
