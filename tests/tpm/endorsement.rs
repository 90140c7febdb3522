//! Endorsement certificates: what a TPM is follows from who vouches for it.

use crate::support::{Broker, Directory, Rig, Swtpm, directory, programs, refusal, run};
use attest_evidence::exchange::{Endorsement, EnrolmentRequest, Isolation};
use attest_tpm::{Device, SessionProtection, Tpm};
use std::path::Path;
use std::process::Command;

#[tokio::test]
async fn a_certified_tpm_is_what_its_root_stands_for() {
    let broker = Broker::start();
    let swtpm = Swtpm::certified();
    // Nobody vouches for its CA yet.
    let refused = Rig::with_tpm(&broker, "r", swtpm.transport()).await;
    assert_eq!(refusal(refused.map(drop)), "AR-E403");
    let (root, issuer) = swtpm.authority();
    broker.admin(&["root", "add", "--class", "virtual", root.to_str().unwrap()]).ok();
    broker.admin(&["root", "add", "--intermediate", issuer.to_str().unwrap()]).ok();
    let again = broker.admin(&["root", "add", "--class", "discrete", root.to_str().unwrap()]);
    again.refused(1, "AR-B304");
    let rig = Rig::with_tpm(&broker, "r2", swtpm.transport()).await.unwrap();
    assert_eq!(rig.outcome.class, "virtual");
    let grant = rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    assert_eq!(grant.runner.as_str(), "r2");
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["tpm_class"], "virtual");
    // The AK certificate leads to the broker's authority.
    assert!(rig.outcome.ak_certificate.matches("BEGIN CERTIFICATE").count() == 2);
}

#[tokio::test]
async fn q06_the_certificate_of_a_third_tpm_is_refused() {
    let broker = Broker::start();
    let (one, third) = (Swtpm::certified(), Swtpm::certified());
    for swtpm in [&one, &third] {
        let (root, issuer) = swtpm.authority();
        broker.admin(&["root", "add", "--class", "virtual", root.to_str().unwrap()]).ok();
        broker.admin(&["root", "add", "--intermediate", issuer.to_str().unwrap()]).ok();
    }
    let endorsed = |tpm: Tpm| async move { tpm.run(|device| device.endorsement()).await.unwrap() };
    let tpm = Tpm::open(one.transport()).await.unwrap();
    let key = tpm.run(|device| device.create_attestation_key()).await.unwrap();
    let own = endorsed(tpm).await;
    let other = endorsed(Tpm::open(third.transport()).await.unwrap()).await;
    let token = broker.token("r", "direct", true);
    let client = attest_agent::BrokerClient::at_first_contact(broker.url().parse().unwrap(), token.pins).unwrap();
    let request = |certificate: &Option<Vec<u8>>| EnrolmentRequest {
        token: token.id,
        secret: token.secret.expose(<[u8]>::to_vec),
        isolation: Isolation::Direct,
        endorsement: Endorsement::EkCertificate { certificate: certificate.clone().unwrap(), ek: own.public.clone() },
        ak: key.public.clone(),
    };
    assert_eq!(refusal(client.begin_enrolment(&request(&other.certificate)).await), "AR-E408");
    client.begin_enrolment(&request(&own.certificate)).await.unwrap();
}

/// A cloud: an authority for attestation keys of virtual machines.
struct Cloud {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Cloud {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Example Cloud");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate for the key in a PEM file, DER.
    fn certify(&self, public: &Path) -> Vec<u8> {
        let spki = rcgen::SubjectPublicKeyInfo::from_pem(&std::fs::read_to_string(public).unwrap()).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a virtual machine");
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.signed_by(&spki, &self.issuer).unwrap().der().to_vec()
    }
}

/// A simulator as a cloud would hand it out, prepared with another maker's tools.
struct Vtpm {
    swtpm: Swtpm,
    folder: Directory,
}

impl Vtpm {
    fn new() -> Self {
        let vtpm = Self { swtpm: Swtpm::bare(), folder: directory() };
        vtpm.tool(&["tpm2_startup", "-c"]);
        vtpm
    }

    fn tool(&self, arguments: &[&str]) {
        let tcti = format!("cmd:socat - UNIX-CONNECT:{}", self.swtpm.socket().display());
        let mut command = Command::new(arguments[0]);
        run(command.args(&arguments[1..]).env("TPM2TOOLS_TCTI", &tcti).current_dir(self.folder.path())).ok();
    }

    fn store(&self, index: &str, contents: &[u8]) {
        let file = self.folder.path().join("contents");
        std::fs::write(&file, contents).unwrap();
        let attributes = "authread|ownerwrite|ownerread|policywrite|no_da";
        self.tool(&["tpm2_nvdefine", index, "-C", "o", "-s", &contents.len().to_string(), "-a", attributes]);
        self.tool(&["tpm2_nvwrite", index, "-C", "o", "-i", "contents"]);
    }

    /// As Azure does: a key that lies in the TPM, and its certificate.
    fn azure(cloud: &Cloud) -> Self {
        let vtpm = Self::new();
        let attributes = "restricted|sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
        vtpm.tool(&["tpm2_createprimary", "-C", "e", "-G", "rsa2048:rsassa-sha256:null", "-a", attributes, "-c", "ak"]);
        vtpm.tool(&["tpm2_flushcontext", "-t"]);
        vtpm.tool(&["tpm2_evictcontrol", "-C", "o", "-c", "ak", "0x81000003"]);
        vtpm.tool(&["tpm2_readpublic", "-c", "0x81000003", "-f", "pem", "-o", "ak.pem"]);
        vtpm.tool(&["tpm2_flushcontext", "-t"]);
        vtpm.store("0x1c101d0", &cloud.certify(&vtpm.folder.path().join("ak.pem")));
        vtpm
    }

    /// As Google does: a template and a certificate.
    fn google(cloud: &Cloud, certificate: &str, index: &str, template: &[u8]) -> Self {
        let vtpm = Self::new();
        vtpm.store(index, template);
        // To know the key, it is made once; the certificate is there afterwards.
        vtpm.store(certificate, b"none yet");
        let mut device = Device::open(&vtpm.swtpm.transport(), SessionProtection::Private).unwrap();
        let (key, _) = device.certified_attestation_key().unwrap().unwrap();
        device.remove_attestation_key(&key.credentials).unwrap();
        let handle = format!("{:#x}", key.credentials.handle);
        let (key, _) = device.certified_attestation_key().unwrap().unwrap();
        drop(device);
        vtpm.tool(&["tpm2_readpublic", "-c", &handle, "-f", "pem", "-o", "ak.pem"]);
        vtpm.tool(&["tpm2_evictcontrol", "-C", "o", "-c", &handle]);
        assert_eq!(format!("{:#x}", key.credentials.handle), handle);
        vtpm.tool(&["tpm2_nvundefine", certificate, "-C", "o"]);
        vtpm.store(certificate, &cloud.certify(&vtpm.folder.path().join("ak.pem")));
        vtpm
    }
}

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign; no policy, no symmetric cipher.
const TEMPLATE: [u8; 8] = [0x00, 0x05, 0x04, 0x72, 0, 0, 0x00, 0x10];
const P256: [u8; 12] = [0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10, 0, 0, 0, 0];
const RSA: [u8; 12] = [0x00, 0x14, 0x00, 0x0b, 0x08, 0x00, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn a_cloud_s_attestation_key_is_believed_for_its_certificate() {
    let broker = Broker::start();
    let cloud = Cloud::new();
    let root = directory();
    let file = root.path().join("cloud.pem");
    std::fs::write(&file, cloud.certificate.pem()).unwrap();
    broker.admin(&["root", "add", "--class", "virtual", file.to_str().unwrap()]).ok();
    let p256 = [&[0x00, 0x23, 0x00, 0x0b][..], &TEMPLATE, &P256].concat();
    let rsa = [&[0x00, 0x01, 0x00, 0x0b][..], &TEMPLATE, &RSA].concat();
    let vtpms = [
        ("azure", Vtpm::azure(&cloud)),
        ("google-ecc", Vtpm::google(&cloud, "0x1c10002", "0x1c10003", &p256)),
        ("google-rsa", Vtpm::google(&cloud, "0x1c10000", "0x1c10001", &rsa)),
    ];
    let hello = crate::support::step("hello").join("hello.wasm");
    for (name, vtpm) in &vtpms {
        let home = directory();
        let tpm = format!("swtpm:{}", vtpm.swtpm.socket().display());
        let attest_run = |arguments: &[&str]| {
            let mut command = Command::new(programs().join("attest-run"));
            run(command.args(["--tpm", &tpm]).args(arguments).env_clear().env("HOME", home.path()))
        };
        let token = broker.token_text(name, "direct", false);
        let out = attest_run(&["enroll", "--broker", &broker.url(), "--token", &token]).ok();
        assert!(out.stdout.contains("approved, TPM class virtual"), "{}", out.stdout);
        attest_run(&[hello.to_str().unwrap()]).ok();
        let (_, body) = broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted").unwrap();
        assert_eq!((&body["runner"], &body["tpm_class"]), (&(*name).into(), &"virtual".into()));
    }

    // The certificate of another machine's key; and the right one, of a cloud that nobody vouches for.
    let (one, other) = (&vtpms[1].1, &vtpms[2].1);
    let certificate = |vtpm: &Vtpm| cloud.certify(&vtpm.folder.path().join("ak.pem"));
    let token = broker.token("thief", "direct", true);
    let client = attest_agent::BrokerClient::at_first_contact(broker.url().parse().unwrap(), token.pins).unwrap();
    let mut device = Device::open(&one.swtpm.transport(), SessionProtection::Private).unwrap();
    let (key, _) = device.certified_attestation_key().unwrap().unwrap();
    let request = |certificate| EnrolmentRequest {
        token: token.id,
        secret: token.secret.expose(<[u8]>::to_vec),
        isolation: Isolation::Direct,
        endorsement: Endorsement::AkCertificate { certificate },
        ak: key.public.clone(),
    };
    assert_eq!(refusal(client.begin_enrolment(&request(certificate(other))).await), "AR-E408");
    // It names the cloud that is trusted, and that one has not signed it.
    let stranger = Cloud::new().certify(&one.folder.path().join("ak.pem"));
    assert_eq!(refusal(client.begin_enrolment(&request(stranger)).await), "AR-E409");

    // The right certificate, and a quote for something else than what this broker chose.
    let begun = client.begin_enrolment(&request(certificate(one))).await.unwrap();
    let attest_evidence::exchange::EnrolmentChallenge::Quote { enrolment, qualifying_data } = begun else { panic!() };
    device.use_attestation_key(&key.credentials).unwrap();
    let none = attest_evidence::tpm::PcrSelection::from_bits([0; 3]);
    let quote = device.quote(none, &qualifying_data).unwrap();
    let activation = attest_evidence::exchange::ActivationRequest {
        enrolment,
        proof: quote.message,
        signature: quote.signature,
        quote: Vec::new(),
    };
    assert_eq!(refusal(client.finish_enrolment(&activation).await), "AR-E206");
}

#[tokio::test]
async fn q07_a_program_that_passes_for_hardware_is_software_by_its_chain_alone() {
    let broker = Broker::start();
    let swtpm = Swtpm::certified();
    // No root of a program's maker comes with the broker, whatever its certificate says of a manufacturer.
    assert_eq!(refusal(Rig::with_tpm(&broker, "r", swtpm.transport()).await.map(drop)), "AR-E403");
    let (root, issuer) = swtpm.authority();
    broker.admin(&["root", "add", "--class", "software", root.to_str().unwrap()]).ok();
    broker.admin(&["root", "add", "--intermediate", issuer.to_str().unwrap()]).ok();
    let certified = Rig::with_tpm(&broker, "certified", swtpm.transport()).await.unwrap();
    // Without a certificate it is one too.
    let bare = Rig::enrolled(&broker, "bare").await;
    let rule = broker.state().with_file_name("references.toml");
    let hardware =
        "[[boot]]\nname = \"hardware\"\nclasses = [\"discrete\", \"firmware\", \"virtual\"]\n[boot.pcrs]\n0 = []\n";
    std::fs::write(&rule, hardware).unwrap();
    broker.admin(&["reference", "apply", rule.to_str().unwrap()]).ok();
    for rig in [certified, bare] {
        assert_eq!(rig.outcome.class, "software");
        assert_eq!(refusal(rig.send(rig.exchange(&rig.request()).await).await), "AR-E806");
    }
}
