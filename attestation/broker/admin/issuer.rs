//! `issuer`: whose CI tokens are believed.

use super::state::{State, admin_act};
use super::{Global, print};
use crate::store::{IssuerRow, RemoveIssuer, SetIssuer};
use attest_appraisal::ci::{Algorithm, IssuerKind};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Issuer {
    /// Believe an issuer's tokens, or change how
    Add {
        /// What its tokens say in `iss`: https://token.actions.githubusercontent.com, https://gitlab.example
        url: String,
        /// Which CI system it is: `github` or `gitlab`
        #[arg(long)]
        kind: IssuerKind,
        /// What its tokens must say in `aud`: a name of this broker that no other service takes for itself
        #[arg(long, default_value = "attest-run")]
        audience: String,
        /// An algorithm by which its tokens may be signed, of those that it names itself; may be repeated
        #[arg(long = "algorithm", value_name = "NAME", default_values = ["RS256", "PS256", "ES256"])]
        algorithms: Vec<Algorithm>,
        /// The root of its TLS, PEM or DER, where it is not one of the system's
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
    },
    /// List them
    List,
    /// Believe an issuer no longer. Sessions that are open go on
    Remove {
        /// Its URL
        url: String,
    },
}

#[derive(Serialize)]
struct Listing {
    issuers: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    url: String,
    kind: &'static str,
    audience: String,
    algorithms: Vec<&'static str>,
    own_authority: bool,
}

impl Issuer {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let store = State::of(global)?.store().await?;
        match self {
            Self::Add { url, kind, audience, algorithms, authority } => {
                let refused = |reason: &str| {
                    Report::new("AR-J203", Fault::Usage, format!("`{url}` can't be an issuer: {reason}"))
                };
                let uri: hyper::Uri = url.parse().map_err(|_| refused("it is no URL"))?;
                let plain =
                    uri.query().is_none() && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
                if uri.scheme_str() != Some("https") || !plain || url.contains('#') || url.ends_with('/') {
                    return Err(refused(
                        "https://HOST[:PORT][/PATH] is wanted, as its tokens say in `iss`, without a `/` at the end",
                    ));
                }
                let no_port = uri.port().is_none()
                    && uri.authority().is_some_and(|authority| {
                        authority.as_str().contains(':') && !authority.as_str().ends_with(']')
                    });
                if no_port {
                    return Err(refused("its port is none"));
                }
                if audience.is_empty() || audience.chars().any(char::is_control) {
                    return Err(refused("its audience is empty, or holds control characters"));
                }
                let authority = authority.map(|file| certificate(&file)).transpose()?;
                let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
                let digest = authority.as_deref().map(Sha256Digest::of);
                let audit = admin_act(&store, "issuer add", &(&url, kind, &audience, &names, digest)).await?;
                let issuer = IssuerRow { url: url.clone(), kind, audience, algorithms, authority };
                let set = SetIssuer { issuer, now: SystemClock.now(), audit };
                store.commit(set).await.map_err(|error| error.report())?;
                narrate!("tokens of {url} are believed");
                print(global, "attest-run/issuer-added/v1", &json!({ "url": url }), String::new);
            }
            Self::List => {
                let rows = store.issuers().await.map_err(|error| error.report())?;
                let issuers = rows.into_iter().map(|row| Listed {
                    url: row.url,
                    kind: row.kind.as_str(),
                    audience: row.audience,
                    algorithms: row.algorithms.into_iter().map(Algorithm::as_str).collect(),
                    own_authority: row.authority.is_some(),
                });
                let listing = Listing { issuers: issuers.collect() };
                print(global, "attest-run/issuers/v1", &listing, || {
                    let line = |issuer: &Listed| {
                        let (url, kind, audience) = (&issuer.url, issuer.kind, &issuer.audience);
                        format!("{url}  {kind}  aud {}  {}\n", Escaped(audience), issuer.algorithms.join(" "))
                    };
                    listing.issuers.iter().map(line).collect()
                });
            }
            Self::Remove { url } => {
                let audit = admin_act(&store, "issuer remove", &url).await?;
                store.commit(RemoveIssuer { url: url.clone(), audit }).await.map_err(|error| error.report())?;
                narrate!("tokens of {url} are not believed any more");
                print(global, "attest-run/issuer-removed/v1", &json!({ "url": url }), String::new);
            }
        }
        Ok(())
    }
}

/// The certificate in a file, DER. It is looked at: what is no certificate would be missed only when it is needed.
pub(super) fn certificate(file: &Path) -> Result<Vec<u8>, Report> {
    let unreadable =
        |reason: String| Report::new("AR-B007", Fault::Usage, format!("can't read {}: {reason}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    if bytes.starts_with(b"-----BEGIN") {
        let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).map_err(|error| unreadable(error.to_string()))?;
        return checked(pem.contents).map_err(unreadable);
    }
    checked(bytes).map_err(unreadable)
}

fn checked(der: Vec<u8>) -> Result<Vec<u8>, String> {
    use x509_parser::prelude::FromDer as _;
    let whole = x509_parser::certificate::X509Certificate::from_der(&der).map(|(rest, _)| rest.is_empty());
    match whole {
        Ok(true) => Ok(der),
        Ok(false) => Err("something follows the certificate".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
