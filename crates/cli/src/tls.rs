//! TLS towards upstreams, towards clients, and of the commands towards the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Makes aws-lc-rs the cryptography of this process. More than once is fine.
pub(crate) fn install_provider() {
    // An error says that there is one already, which is this one: nothing else installs any.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The certificates of the system and of these files.
pub(crate) struct Roots {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Whether the system has any.
    pub(crate) has_system_roots: bool,
}

/// Reads the certificates that peers may be signed by.
///
/// # Errors
/// When a named file can't be read. A system without certificates is no error.
pub(crate) fn roots(files: &[PathBuf]) -> anyhow::Result<Roots> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    let has_system_roots = !certificates.is_empty();
    for file in files {
        certificates.extend(read_certificates(file)?);
    }
    Ok(Roots { certificates, has_system_roots })
}

/// Settings for connections to upstreams.
pub(crate) fn towards_upstreams(roots: Roots) -> ClientConfig {
    let mut store = RootCertStore::empty();
    // Systems carry old certificates that the verifier does not take; the others still count.
    store.add_parsable_certificates(roots.certificates);
    ClientConfig::builder().with_root_certificates(store).with_no_client_auth()
}

/// Settings of the listener.
///
/// # Errors
/// When a file can't be read, or when the two don't belong together.
pub(crate) fn towards_clients(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = read_certificates(certificate)?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("can't read a private key in PEM from {}", key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .with_context(|| format!("can't use {} with {}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || format!("can't read certificates in PEM from {}", file.display());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .with_context(place)?
        .collect::<Result<_, _>>()
        .with_context(place)?;
    if certificates.is_empty() {
        bail!("there is no certificate in PEM in {}", file.display());
    }
    Ok(certificates)
}
