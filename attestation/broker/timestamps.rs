//! A timestamp authority (RFC 3161): when something was signed is not the word of whoever signed it.
//!
//! One key, P-256, with a certificate for timestamps alone (§2.3) under a root of its own. Made when it is first wanted, sealed
//! like the broker's other keys. Anybody who reaches the broker may ask: a timestamp says that a digest was known, and nothing
//! else.

use crate::audit::{Entry, Kind};
use crate::broker::Broker;
use crate::keys::{KeyError, Purpose, RootKey, authority, pem, set_validity};
use crate::store::{AddTimestampAuthority, StoreError};
use attest_evidence::name::BrokerId;
use attest_evidence::{Sha256Digest, UnixSeconds};
use cms::cert::x509::Certificate;
use cms::cert::x509::spki::AlgorithmIdentifier;
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use data_encoding::BASE64;
use der::asn1::{BitString, GeneralizedTime, Int, ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, Decode as _, Encode as _, Sequence};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::DecodePrivateKey as _;
use rcgen::{CertificateParams, CustomExtension, DnType, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;
use std::sync::Arc;
use x509_tsp::{MessageImprint, TimeStampReq, TspVersion, TstInfo};
use zeroize::Zeroizing;

/// Most bytes of a request: a digest of 64, and room for what may stand beside it.
pub(crate) const LONGEST_QUERY: usize = 4096;
/// How long the certificate of the key is good: signatures have to be checkable for long.
const DAYS: i64 = 15 * 365;

/// SHA-256, SHA-384, SHA-512 (RFC 5754 §2), and their lengths.
const DIGESTS: [(ObjectIdentifier, usize); 3] = [
    (SHA_256, 32),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), 48),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), 64),
];
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// RFC 5758 §3.2.
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// RFC 5652 §5.1.
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// RFC 3161 §2.4.2.
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
/// RFC 5652 §11.1 and §11.2.
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
/// RFC 5035 §3.
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// The only policy: any (RFC 5280 §4.2.1.4). What the broker does is written down here and nowhere else.
const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32.0");
/// `extKeyUsage` (RFC 5280 §4.2.1.12), which has to be critical here, and `id-kp-timeStamping` in it.
const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
const TIME_STAMPING: [u8; 12] = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];

/// RFC 5035 §4, with the digest's algorithm left out, which says SHA-256.
#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
}

#[derive(Sequence)]
struct EssCertIdV2 {
    cert_hash: OctetString,
}

/// A timestamp authority, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuthority {
    /// The root's certificate, DER.
    pub root: Vec<u8>,
    /// The certificate of the key, DER.
    pub certificate: Vec<u8>,
    /// The key, PKCS #8, sealed.
    pub sealed: Vec<u8>,
}

/// A timestamp authority.
pub(crate) struct TimestampAuthority {
    root: Vec<u8>,
    certificate: Vec<u8>,
    /// Both, parsed, the key's first.
    chain: [Certificate; 2],
    key: SigningKey,
}

/// `TimeStampResp` (RFC 3161 §2.4.2). That of the crate tells failures by the numbers of their bits, as if they were the bits.
#[derive(Sequence)]
struct Response {
    status: Status,
    #[asn1(optional = "true")]
    token: Option<ContentInfo>,
}

/// `PKIStatusInfo`.
#[derive(Sequence)]
struct Status {
    status: u8,
    #[asn1(optional = "true")]
    failure: Option<BitString>,
}

/// `PKIStatus`: granted, rejection.
const GRANTED: u8 = 0;
const REJECTION: u8 = 2;

/// Why there is no timestamp: the number of the bit in `PKIFailureInfo`.
#[derive(Clone, Copy)]
enum NotStamped {
    BadAlg = 0,
    BadDataFormat = 5,
    TimeNotAvailable = 14,
    UnacceptedPolicy = 15,
    UnacceptedExtension = 16,
    SystemFailure = 25,
}

impl NotStamped {
    /// The one bit, in as few as there have to be (X.690 §11.2.2).
    fn bits(self) -> Result<BitString, der::Error> {
        let number = self as u8;
        let mut bytes = vec![0; usize::from(number / 8)];
        bytes.push(0x80 >> (number % 8));
        BitString::new(7 - number % 8, bytes)
    }
}

fn bound_to(broker: &BrokerId, root: &[u8], certificate: &[u8]) -> Vec<u8> {
    format!("{broker}\n{}\n{}", Sha256Digest::of(root), Sha256Digest::of(certificate)).into_bytes()
}

impl TimestampAuthority {
    /// Makes one.
    fn generate(root_key: &RootKey, broker: &BrokerId, now: UnixSeconds) -> Result<StoredAuthority, KeyError> {
        let failed = |error: rcgen::Error| KeyError::Making { what: "timestamp authority", reason: error.to_string() };
        let (root, root_pair) = authority("attest-run timestamp root", broker, now)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "attest-run timestamps");
        params.distinguished_name.push(DnType::OrganizationName, broker.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let mut usage = CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, TIME_STAMPING.to_vec());
        usage.set_criticality(true);
        params.custom_extensions = vec![usage];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, DAYS);
        let issuer = Issuer::from_ca_cert_der(&root, &root_pair).map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?.der().to_vec();
        let root = root.to_vec();
        let plain = Zeroizing::new(key.serialize_der());
        let sealed = root_key.seal(Purpose::TimestampKey, &plain, &bound_to(broker, &root, &certificate))?;
        Ok(StoredAuthority { root, certificate, sealed })
    }

    fn open(root_key: &RootKey, broker: &BrokerId, stored: StoredAuthority) -> Result<Self, KeyError> {
        let refused = || KeyError::DoesNotOpen("timestamp key");
        let StoredAuthority { root, certificate, sealed } = stored;
        let opened = root_key.open(Purpose::TimestampKey, &sealed, &bound_to(broker, &root, &certificate))?;
        let key = opened.expose(SigningKey::from_pkcs8_der).map_err(|_| refused())?;
        let parsed = |der: &[u8]| Certificate::from_der(der).map_err(|_| refused());
        let chain = [parsed(&certificate)?, parsed(&root)?];
        Ok(Self { root, certificate, chain, key })
    }

    /// The certificate of the key and the root's, PEM.
    pub(crate) fn certificates(&self) -> [String; 2] {
        [pem("CERTIFICATE", &self.certificate), pem("CERTIFICATE", &self.root)]
    }

    /// A trusted root in Sigstore's form (`protobuf-specs`, `TrustedRoot`), for verifiers of bundles that it has stamped.
    pub(crate) fn trusted_root(&self, broker: &BrokerId) -> serde_json::Value {
        let raw = |der: &[u8]| json!({ "rawBytes": BASE64.encode(der) });
        let validity = &self.chain.each_ref().map(|certificate| certificate.tbs_certificate.validity)[0];
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [],
            "certificateAuthorities": [],
            "ctlogs": [],
            "timestampAuthorities": [{
                "subject": { "organization": broker, "commonName": "attest-run timestamps" },
                "uri": "",
                "certChain": { "certificates": [raw(&self.certificate), raw(&self.root)] },
                "validFor": { "start": validity.not_before.to_date_time().to_string(), "end": validity.not_after.to_date_time().to_string() },
            }],
        })
    }

    /// The answer to a query: `TimeStampResp`, DER.
    fn answer(&self, query: &[u8], now: UnixSeconds) -> Result<Vec<u8>, der::Error> {
        let response = match self.stamp(query, now) {
            Ok(token) => Response { status: Status { status: GRANTED, failure: None }, token: Some(token?) },
            Err(why) => Response { status: Status { status: REJECTION, failure: Some(why.bits()?) }, token: None },
        };
        response.to_der()
    }

    fn stamp(&self, query: &[u8], now: UnixSeconds) -> Result<Result<ContentInfo, der::Error>, NotStamped> {
        let query = TimeStampReq::from_der(query).map_err(|_| NotStamped::BadDataFormat)?;
        let TimeStampReq { version: _, message_imprint, req_policy, nonce, cert_req, extensions } = query;
        let algorithm = &message_imprint.hash_algorithm;
        let length = DIGESTS.iter().find(|(oid, _)| *oid == algorithm.oid).map(|(_, length)| *length);
        let without_parameters = algorithm.parameters.as_ref().is_none_or(Any::is_null);
        let length = length.filter(|_| without_parameters).ok_or(NotStamped::BadAlg)?;
        if message_imprint.hashed_message.as_bytes().len() != length {
            return Err(NotStamped::BadDataFormat);
        }
        if req_policy.is_some_and(|policy| policy != POLICY) {
            return Err(NotStamped::UnacceptedPolicy);
        }
        if extensions.is_some() {
            return Err(NotStamped::UnacceptedExtension);
        }
        // A timestamp from outside of the certificate's time would be believed by nobody.
        let validity = &self.chain[0].tbs_certificate.validity;
        let [begin, end] = [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
        if !(begin..=end).contains(&now.0) {
            return Err(NotStamped::TimeNotAvailable);
        }
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(|_| NotStamped::SystemFailure)?;
        // Positive, and always as long.
        serial[0] = (serial[0] & 0x3f) | 0x40;
        Ok(self.token(message_imprint, nonce, cert_req, &serial, now))
    }

    fn token(
        &self,
        message_imprint: MessageImprint,
        nonce: Option<Int>,
        with_certificates: bool,
        serial: &[u8],
        now: UnixSeconds,
    ) -> Result<ContentInfo, der::Error> {
        let info = TstInfo {
            version: TspVersion::V1,
            policy: POLICY,
            message_imprint,
            serial_number: Int::new(serial)?,
            gen_time: GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(now.0))?,
            accuracy: None,
            ordering: false,
            nonce,
            tsa: None,
            extensions: None,
        };
        let content = info.to_der()?;
        let attributes = self.signed_attributes(&content)?;
        let signature: p256::ecdsa::Signature = self.key.sign(&attributes.to_der()?);
        let [certificate, _] = &self.chain;
        let sha_256 = AlgorithmIdentifier { oid: SHA_256, parameters: None };
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: certificate.tbs_certificate.issuer.clone(),
                serial_number: certificate.tbs_certificate.serial_number.clone(),
            }),
            digest_alg: sha_256.clone(),
            signed_attrs: Some(attributes),
            signature_algorithm: AlgorithmIdentifier { oid: ECDSA_WITH_SHA256, parameters: None },
            signature: OctetString::new(signature.to_der().as_bytes())?,
            unsigned_attrs: None,
        };
        let certificates =
            || SetOfVec::try_from(self.chain.clone().map(CertificateChoices::Certificate).to_vec()).map(CertificateSet);
        let signed = SignedData {
            version: CmsVersion::V3,
            digest_algorithms: SetOfVec::try_from(vec![sha_256])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: TST_INFO,
                econtent: Some(Any::new(der::Tag::OctetString, content)?),
            },
            certificates: if with_certificates { Some(certificates()?) } else { None },
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
        };
        Ok(ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&signed)? })
    }

    /// Of what kind the content is, its digest, and whose certificate it is signed with (RFC 3161 §2.4.1).
    fn signed_attributes(&self, content: &[u8]) -> Result<cms::signed_data::SignedAttributes, der::Error> {
        let attribute = |oid, value: Any| {
            Ok::<_, der::Error>(cms::cert::x509::attr::Attribute { oid, values: SetOfVec::try_from(vec![value])? })
        };
        let digest = |bytes: &[u8]| OctetString::new(Sha256Digest::of(bytes).as_bytes().as_slice());
        let certificate = SigningCertificateV2 { certs: vec![EssCertIdV2 { cert_hash: digest(&self.certificate)? }] };
        SetOfVec::try_from(vec![
            attribute(CONTENT_TYPE, Any::encode_from(&TST_INFO)?)?,
            attribute(MESSAGE_DIGEST, Any::encode_from(&digest(content)?)?)?,
            attribute(SIGNING_CERTIFICATE_V2, Any::encode_from(&certificate)?)?,
        ])
    }
}

impl Broker {
    /// The timestamp authority, made if there is none.
    ///
    /// # Errors
    /// It can't be made, kept or opened.
    pub(crate) async fn timestamps(&self) -> Result<Arc<TimestampAuthority>, StoreError> {
        let authority = self.timestamp_authority.get_or_try_init(|| async {
            if self.store.timestamp_authority().await?.is_none() {
                let now = self.wall();
                let authority = TimestampAuthority::generate(self.keys.root(), self.keys.id(), now)?;
                let about = Sha256Digest::of(&authority.certificate);
                let body = json!({ "what": "timestamp authority", "by": "attest-broker", "about": about });
                let audit = Entry::new(now, Kind::Admin, &body)?;
                self.store.commit(AddTimestampAuthority { authority, audit }).await?;
            }
            let stored = self.store.timestamp_authority().await?.ok_or(StoreError::Row("timestamp authority"))?;
            Ok::<_, StoreError>(Arc::new(TimestampAuthority::open(self.keys.root(), self.keys.id(), stored)?))
        });
        authority.await.cloned()
    }

    /// Answers a query for a timestamp, by the wall clock.
    ///
    /// # Errors
    /// There is no authority.
    pub(crate) async fn timestamp(&self, query: &[u8]) -> Result<Vec<u8>, StoreError> {
        let answer = self.timestamps().await?.answer(query, self.wall());
        answer.map_err(|error| StoreError::Database(format!("no timestamp can be made: {error}")))
    }
}
