//! Tokens, from text that anybody may have written to what an issuer has said.

use super::Members;
use super::claims::{IssuerKind, JobClaims, JobKey};
use super::keys::{KeyKind, KeySet};
use crate::jws::{Compact, decode};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::time::UnixSeconds;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::SignatureScheme as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Longest token: GitHub's and GitLab's are under 4 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Longest name of an issuer, a key or an algorithm: refusals repeat them.
const LONGEST_NAME: usize = 512;
/// Seconds by which the issuer's clock may differ from ours.
const LEEWAY: u64 = 60;
/// The longest that a token may be good for: GitLab's last as long as a job may.
const LONGEST_LIFE: u64 = 30 * 24 * 60 * 60;

/// A signature algorithm that tokens may have (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Ps256, Self::Es256];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no algorithm of tokens: `RS256`, `PS256` or `ES256` is wanted"))
    }
}

/// An issuer on the broker's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What its tokens say in `iss`.
    pub url: String,
    /// How its claims are read.
    pub kind: IssuerKind,
    /// What its tokens must say in `aud`.
    pub audience: String,
    /// By which algorithms it signs.
    pub algorithms: Vec<Algorithm>,
}

/// A token whose signature nobody has looked at: nothing in it is true.
pub struct UnverifiedToken<'a> {
    signed: &'a str,
    algorithm: String,
    key: String,
    claims: Members,
    signature: Vec<u8>,
}

/// What an issuer has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    issuer: String,
    id: String,
    expires: UnixSeconds,
    job: JobKey,
    claims: JobClaims,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not a token of the one form that is read here.
    #[error("the CI token can't be read: {0}")]
    Malformed(String),
    /// Its issuer is not on the list. Nothing was fetched for it.
    #[error("the CI token's issuer `{0}` is not on this broker's list")]
    Issuer(String),
    /// Signed by an algorithm that the issuer does not use, or that is not its key's.
    #[error("the CI token is signed by `{found}`, and its key signs by {wanted}")]
    Algorithm {
        /// What its header says.
        found: String,
        /// What the issuer and its key say.
        wanted: String,
    },
    /// The issuer has no such key.
    #[error("the CI token's issuer has no key `{0}`")]
    UnknownKey(String),
    /// The signature is wrong.
    #[error("the CI token's signature is wrong")]
    Signature,
    /// For somebody else.
    #[error("the CI token is for another audience")]
    Audience {
        /// Whom it is for.
        found: String,
        /// Whom it must be for.
        wanted: String,
    },
    /// Not yet, or not any more.
    #[error("the CI token is {what}")]
    Time {
        /// What is wrong.
        what: &'static str,
        /// What it says.
        claim: UnixSeconds,
        /// The broker's clock.
        now: UnixSeconds,
    },
    /// A claim is missing or is not what it must be.
    #[error("the CI token's `{name}` is no good: {reason}")]
    Claim {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The text is a bearer token: whoever reads it may use it.
impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "UnverifiedToken({} bytes, key {:?})", self.signed.len(), self.key)
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a compact JWS apart (RFC 7515 §7.1).
    ///
    /// # Errors
    /// [`TokenRefused::Malformed`].
    pub fn parse(text: &'a str) -> Result<Self, TokenRefused> {
        let malformed = |reason: &str| TokenRefused::Malformed(reason.to_owned());
        let Compact { signed, header, claims, signature } =
            Compact::parse(text, LONGEST_TOKEN).map_err(TokenRefused::Malformed)?;
        let part = |part: &str, what: &str| decode(part, what).map_err(TokenRefused::Malformed);
        let object = |bytes: &[u8], what: &str| {
            Members::parse(bytes).map_err(|reason| TokenRefused::Malformed(format!("its {what}: {reason}")))
        };
        let header = object(&part(header, "header")?, "header")?;
        if header.0.contains_key("crit") || header.0.contains_key("b64") {
            return Err(malformed("its header asks for an extension"));
        }
        let text = |name: &str| {
            let text = header.text(name).ok_or_else(|| malformed(&format!("its header has no `{name}`")))?;
            if text.len() > LONGEST_NAME {
                return Err(malformed(&format!("its header's `{name}` is too long")));
            }
            Ok(text.to_owned())
        };
        Ok(Self {
            signed,
            algorithm: text("alg")?,
            key: text("kid")?,
            claims: object(&part(claims, "claims")?, "claims")?,
            signature: part(signature, "signature")?,
        })
    }

    /// Who it says has issued it: to look that up on the list, and for nothing else.
    ///
    /// # Errors
    /// It says nobody.
    pub fn issuer(&self) -> Result<&str, TokenRefused> {
        let issuer = self.claims.text("iss").ok_or(TokenRefused::Claim { name: "iss", reason: "it is missing" })?;
        if issuer.len() > LONGEST_NAME {
            return Err(TokenRefused::Claim { name: "iss", reason: "it is too long" });
        }
        Ok(issuer)
    }

    /// Which key it says it is signed with.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Believes it, if `issuer` has signed it with one of `keys`, for the audience, and it is in time.
    ///
    /// # Errors
    /// See [`TokenRefused`]: the signature first, then what it says.
    pub fn verify(&self, issuer: &Issuer, keys: &KeySet, now: UnixSeconds) -> Result<VerifiedToken, TokenRefused> {
        if self.issuer()? != issuer.url {
            return Err(TokenRefused::Issuer(self.issuer()?.to_owned()));
        }
        self.verify_signature(issuer, keys)?;
        self.check_audience(issuer)?;
        let expires = self.check_times(now)?;
        let id = self.claims.text("jti").ok_or(TokenRefused::Claim { name: "jti", reason: "it is missing" })?;
        if id.is_empty() || id.len() > 256 {
            return Err(TokenRefused::Claim { name: "jti", reason: "it is empty or too long" });
        }
        let (claims, job) = JobClaims::read(issuer.kind, &issuer.url, &self.claims, id)?;
        Ok(VerifiedToken { issuer: issuer.url.clone(), id: id.to_owned(), expires, job, claims })
    }

    fn verify_signature(&self, issuer: &Issuer, keys: &KeySet) -> Result<(), TokenRefused> {
        let key = keys.get(&self.key).ok_or_else(|| TokenRefused::UnknownKey(self.key.clone()))?;
        let of_key: &[Algorithm] = match &key.kind {
            KeyKind::Rsa(_) => &[Algorithm::Rs256, Algorithm::Ps256],
            KeyKind::P256(_) => &[Algorithm::Es256],
        };
        let mut allowed = of_key.iter().filter(|algorithm| {
            issuer.algorithms.contains(algorithm)
                && key.algorithm.as_deref().is_none_or(|named| named == algorithm.as_str())
        });
        let Some(algorithm) = allowed.clone().find(|algorithm| algorithm.as_str() == self.algorithm) else {
            let wanted = allowed.next().map_or("nothing that is allowed", |algorithm| algorithm.as_str());
            return Err(TokenRefused::Algorithm { found: self.algorithm.clone(), wanted: wanted.to_owned() });
        };
        let digest = Sha256::digest(self.signed.as_bytes());
        let verified = match (&key.kind, algorithm) {
            (KeyKind::P256(key), _) => p256::ecdsa::Signature::from_slice(&self.signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            (KeyKind::Rsa(key), Algorithm::Ps256) => {
                rsa::Pss::new::<rsa::sha2::Sha256>().verify(key, &digest, &self.signature).is_ok()
            }
            (KeyKind::Rsa(key), _) => {
                rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>().verify(key, &digest, &self.signature).is_ok()
            }
        };
        if verified { Ok(()) } else { Err(TokenRefused::Signature) }
    }

    fn check_audience(&self, issuer: &Issuer) -> Result<(), TokenRefused> {
        let found: Vec<&str> = match self.claims.0.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if found.contains(&issuer.audience.as_str()) {
            return Ok(());
        }
        Err(TokenRefused::Audience { found: found.join(", "), wanted: issuer.audience.clone() })
    }

    fn check_times(&self, now: UnixSeconds) -> Result<UnixSeconds, TokenRefused> {
        let time = |name: &'static str| match self.claims.0.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .map(|seconds| Some(UnixSeconds(seconds)))
                .ok_or(TokenRefused::Claim { name, reason: "it is no time" }),
        };
        let wrong = |what, claim| Err(TokenRefused::Time { what, claim, now });
        let expires = time("exp")?.ok_or(TokenRefused::Claim { name: "exp", reason: "it is missing" })?;
        if now >= expires.plus(LEEWAY) {
            return wrong("expired", expires);
        }
        if expires > now.plus(LONGEST_LIFE) {
            return wrong("good for longer than any job runs", expires);
        }
        for (name, what) in [("nbf", "not valid yet"), ("iat", "issued in the future")] {
            if let Some(claim) = time(name)?
                && claim > now.plus(LEEWAY)
            {
                return wrong(what, claim);
            }
        }
        Ok(expires)
    }
}

impl VerifiedToken {
    /// Who issued it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `jti`: by which it is known that it has been redeemed.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Until when it could be redeemed.
    pub const fn expires(&self) -> UnixSeconds {
        self.expires
    }

    /// Which job it speaks for.
    pub const fn job(&self) -> &JobKey {
        &self.job
    }

    /// What it says of that job.
    pub const fn claims(&self) -> &JobClaims {
        &self.claims
    }
}

impl Explain for TokenRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(_) => report("AR-J101"),
            Self::Issuer(_) => {
                report("AR-J102").hint("an admin of the broker adds it: `attest-broker issuer add URL --kind KIND`")
            }
            Self::Algorithm { .. } => report("AR-J103"),
            Self::UnknownKey(_) => report("AR-J104").hint("its keys were fetched anew. Is the token of this issuer?"),
            Self::Signature => report("AR-J105"),
            Self::Audience { found, wanted } => report("AR-J106")
                .fact("wanted", wanted)
                .fact("got", found)
                .hint("ask the CI system for a token for this audience"),
            Self::Time { claim, now, .. } => report("AR-J107").fact("token", claim).fact("broker's clock", now),
            Self::Claim { .. } => report("AR-J108"),
        }
    }
}
