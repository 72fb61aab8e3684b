//! Mutual TLS: the daemon's certificate, the clients' CA, and which client may
//! do what.
//!
//! TLS 1.3 only (RFC 8446). The files are looked at for every connection and
//! read again when they have changed, so that a renewed certificate needs no
//! restart; if the new ones cannot be used, those before them stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use webpki::EndEntityCert;

use super::settings::Tls;
use super::{Caller, Role};

/// What certificates the daemon shows and takes.
pub struct Certificates {
    settings: Tls,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    acceptor: TlsAcceptor,
    /// When the files were last written, as they were read.
    stamps: [Option<SystemTime>; 3],
}

/// Why TLS cannot be spoken. Each displays as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not there or not what it should be.
    #[error("tls: {key}: {}: {reason}", path.display())]
    File {
        /// Of the node file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Files that do not go together.
    #[error("tls: the certificate, its key and the CA cannot be used: {0}")]
    Unusable(String),
    /// The address cannot be listened on.
    #[error("tls: listen: {0} cannot be listened on: {1}")]
    Listen(std::net::SocketAddr, io::Error),
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError::File`], [`TlsError::Unusable`].
    pub fn load(settings: Tls) -> Result<Certificates, TlsError> {
        let stamps = stamps(&settings);
        let acceptor = acceptor(&settings)?;
        let loaded = Loaded { acceptor, stamps };
        Ok(Certificates {
            settings,
            loaded: Mutex::new(loaded),
        })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.settings);
        if stamps != loaded.stamps {
            // Once for each change, also for one that is no good.
            loaded.stamps = stamps;
            match acceptor(&self.settings) {
                Ok(acceptor) => {
                    tracing::info!("tls: certificates were read again");
                    loaded.acceptor = acceptor;
                }
                Err(error) => tracing::error!("{error}; those read before stay in use"),
            }
        }
        loaded.acceptor.clone()
    }

    /// Whoever showed this certificate, which the handshake has verified.
    pub(crate) fn caller(&self, certificate: &CertificateDer<'_>) -> Caller {
        let names = names(certificate);
        let first = |list: &[String]| {
            let is_listed = |name: &&String| list.contains(name);
            let named = names.iter().find(is_listed).cloned();
            let anybody = list.iter().any(|entry| entry == "*");
            named.or_else(|| anybody.then(|| names.first().cloned().unwrap_or("*".into())))
        };
        if let Some(name) = first(&self.settings.read_write) {
            return Caller::certificate(&name, Role::ReadWrite);
        }
        if let Some(name) = first(&self.settings.read_only) {
            return Caller::certificate(&name, Role::ReadOnly);
        }
        let name = names.first().map_or("without a name", String::as_str);
        Caller::certificate(name, Role::Nobody)
    }
}

/// The DNS names and URIs among a certificate's subject alternative names.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let names = certificate.valid_dns_names();
    let names = names.chain(certificate.valid_uri_names());
    names.map(str::to_owned).collect()
}

fn stamps(settings: &Tls) -> [Option<SystemTime>; 3] {
    let written = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    [&settings.certificate, &settings.key, &settings.client_ca].map(|path| written(path))
}

fn acceptor(settings: &Tls) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates("certificate", &settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| file("key", &settings.key, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca", &settings.client_ca)? {
        roots
            .add(certificate)
            .map_err(|error| file("client_ca", &settings.client_ca, &error))?;
    }
    let unusable = |error: &dyn ToString| TlsError::Unusable(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file(key, path, &error))?;
    match found.is_empty() {
        true => Err(file(key, path, &"there is no certificate in it")),
        false => Ok(found),
    }
}

fn file(key: &'static str, path: &Path, reason: &dyn ToString) -> TlsError {
    TlsError::File {
        key,
        path: path.into(),
        reason: reason.to_string(),
    }
}
