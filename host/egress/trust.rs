//! Whom TLS trusts: the roots of this machine, and those that the lease adds.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Certificates that were added and are none.
    #[error("its added roots are no certificates: {0}")]
    Added(String),
    /// What TLS itself says.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// How TLS connections are made. Reads the roots of this machine, once.
///
/// # Errors
/// See [`TrustError`]. A machine without roots is none: nobody but those of `added` is trusted then.
pub fn client(added: &str) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(added.as_bytes()) {
        let certificate = certificate.map_err(|error| TrustError::Added(error.to_string()))?;
        roots.add(certificate).map_err(|error| TrustError::Added(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // At its first use, the generator looks for a device that tells of copies of this machine. Later it can't.
    provider.secure_random.fill(&mut [0]).map_err(rustls::Error::from)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
