//! TLS towards upstreams, towards clients, and of the commands towards the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// How the verifier calls a server whose own certificate is one of an authority.
pub(crate) const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// What to do then.
pub(crate) const CA_AS_SERVER_ADVICE: &str = "\nThe server's certificate is one of an authority (CA:TRUE), as `openssl req -x509` makes it by default; a server \
     needs one with CA:FALSE. Make it with `-addext basicConstraints=critical,CA:FALSE` and \
     `-addext subjectAltName=DNS:NAME` or `IP:ADDRESS`.";

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
    let mut roots = system_roots();
    for file in files {
        roots.certificates.extend(certificates(file)?);
    }
    Ok(roots)
}

/// The certificates of the system alone; there may be none.
pub(crate) fn system_roots() -> Roots {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let has_system_roots = !certificates.is_empty();
    Roots { certificates, has_system_roots }
}

/// Settings for connections to upstreams.
pub(crate) fn towards_upstreams(roots: Roots) -> ClientConfig {
    let mut store = RootCertStore::empty();
    // Systems carry old certificates that the verifier does not take; the others still count.
    store.add_parsable_certificates(roots.certificates);
    ClientConfig::builder().with_root_certificates(store).with_no_client_auth()
}

/// Settings of the listener, from the two files that are named for it.
///
/// # Errors
/// When a file can't be read, or when the two don't belong together.
pub(crate) fn towards_clients(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    listener(certificates(certificate)?, private_key(key)?)
}

/// Settings of the listener.
///
/// # Errors
/// When certificate and key don't belong together.
pub(crate) fn listener(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and the private key can't be used together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Reads a private key in PEM.
pub(crate) fn private_key(file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file)
        .with_context(|| format!("can't read a private key in PEM from {}", file.display()))
}

/// Reads the certificates in a file in PEM; none at all is an error.
pub(crate) fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
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
