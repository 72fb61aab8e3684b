//! The protocol over TCP: who has which certificate may do what, and who has none
//! may nothing.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use crate::support::{Daemon, NET, runtime, upserts};
use ctl::access::Settings;
use ctl::proto::vrouter_client::VrouterClient;
use ctl::proto::{Access, HelloRequest, ListRequest, NodeConfig, TlsListener};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// A certificate authority of the test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { pem, issuer }
    }

    fn identity(&self, dns: &[&str], uri: Option<&str>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let uri = uri.map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uri);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Identity { certificate, key }
    }
}

/// A port that nobody else has for the moment.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

struct Tls {
    daemon: Daemon,
    address: SocketAddr,
    servers: Authority,
    clients: Authority,
}

impl Tls {
    fn start() -> Tls {
        let (servers, clients) = (Authority::new(), Authority::new());
        let address = free_address();
        let daemon = Daemon::start_with(|dir| {
            write(dir, &servers.identity(&["localhost"], None));
            fs::write(dir.join("clients.pem"), &clients.pem).unwrap();
            let path = |name| dir.join(name).display().to_string();
            let config = NodeConfig {
                tls: Some(TlsListener {
                    listen: address.to_string(),
                    certificate: path("node.crt"),
                    key: path("node.key"),
                    client_ca: path("clients.pem"),
                    read_write: vec!["controller.test".into()],
                    read_only: vec!["spiffe://test/dashboard".into()],
                }),
                ..NodeConfig::default()
            };
            Settings::new(&config).unwrap()
        });
        Tls {
            daemon,
            address,
            servers,
            clients,
        }
    }

    /// Connects as a client with this certificate, or with none.
    async fn client(&self, identity: Option<&Identity>) -> Result<VrouterClient<Channel>, String> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.servers.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => {
                let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                let chain = vec![chain.unwrap()];
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (address, connector) = (self.address, TlsConnector::from(Arc::new(config)));
        let connect = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").unwrap();
                let stream = connector.connect(name, stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connect)
            .await;
        let mut client = VrouterClient::new(channel.map_err(|error| format!("{error:?}"))?);
        // With TLS 1.3 a client hears only now that its certificate is not wanted.
        match client.hello(HelloRequest::default()).await {
            Err(status) if status.code() != Code::PermissionDenied => Err(format!("{status:?}")),
            _ => Ok(client),
        }
    }
}

fn write(dir: &Path, identity: &Identity) {
    fs::write(dir.join("node.crt"), &identity.certificate).unwrap();
    fs::write(dir.join("node.key"), &identity.key).unwrap();
}

#[test]
fn a_certificate_says_what_its_holder_may_do() {
    let tls = Tls::start();
    runtime().block_on(async {
        let identity = tls.clients.identity(&["controller.test"], None);
        let mut client = tls.client(Some(&identity)).await.unwrap();
        let hello = client.hello(HelloRequest::default()).await.unwrap();
        let hello = hello.into_inner();
        assert_eq!(hello.caller, "tls controller.test");
        assert_eq!(hello.access(), Access::ReadWrite);
        client.apply(upserts("tester", NET)).await.unwrap();

        let identity = tls
            .clients
            .identity(&["x.test"], Some("spiffe://test/dashboard"));
        let mut client = tls.client(Some(&identity)).await.unwrap();
        let hello = client.hello(HelloRequest::default()).await.unwrap();
        assert_eq!(hello.into_inner().caller, "tls spiffe://test/dashboard");
        assert!(client.list(ListRequest::default()).await.is_ok());
        let status = client.apply(upserts("tester", NET)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");

        let identity = tls.clients.identity(&["stranger.test"], None);
        let mut client = tls.client(Some(&identity)).await.unwrap();
        let status = client.list(ListRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains("tls stranger.test is on no list"));
    });
}

#[test]
fn nobody_connects_without_a_certificate_of_the_right_authority() {
    let tls = Tls::start();
    runtime().block_on(async {
        assert!(tls.client(None).await.is_err());
        let forged = Authority::new().identity(&["controller.test"], None);
        assert!(tls.client(Some(&forged)).await.is_err());
        // In plain text neither.
        let stream = TcpStream::connect(tls.address).await.unwrap();
        let stream = std::sync::Mutex::new(Some(TokioIo::new(stream)));
        let connect = tower::service_fn(move |_| {
            let stream = stream.lock().unwrap().take();
            async move { stream.ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        if let Ok(channel) = endpoint.connect_with_connector(connect).await {
            let mut client = VrouterClient::new(channel);
            assert!(client.hello(HelloRequest::default()).await.is_err());
        }
        let mut client = tls.daemon.raw("ctl.sock").await;
        assert!(client.hello(HelloRequest::default()).await.is_ok());
    });
}

#[test]
fn a_renewed_certificate_needs_no_restart() {
    let mut tls = Tls::start();
    let renewed = Authority::new();
    let identity = tls.clients.identity(&["controller.test"], None);
    runtime().block_on(async {
        assert!(tls.client(Some(&identity)).await.is_ok());
        // A pair that does not go together is not taken.
        let dir = tls.daemon.dir.path();
        let good = fs::read(dir.join("node.key")).unwrap();
        fs::write(dir.join("node.key"), "no key").unwrap();
        assert!(tls.client(Some(&identity)).await.is_ok());
        fs::write(dir.join("node.key"), good).unwrap();
        write(dir, &renewed.identity(&["localhost"], None));
    });
    tls.servers = renewed;
    runtime().block_on(async {
        assert!(tls.client(Some(&identity)).await.is_ok());
    });
}
