//! What the tests of several kinds share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
};

use tokio_rustls::TlsAcceptor;

use super::{Options, Outcome, Probe};
use crate::{health::options::Tls, local::definition::CheckSpec};

/// Long enough for anything that ends by itself on a busy machine.
pub(super) const AMPLE: Duration = Duration::from_secs(60);
/// A timeout that is meant to pass.
pub(super) const SHORT: Duration = Duration::from_millis(200);

/// Runs a definition once.
pub(super) async fn run(spec: CheckSpec) -> Outcome {
    run_with(spec, &Options::default()).await
}

/// The same with other options. A run that does not end fails the test.
pub(super) async fn run_with(spec: CheckSpec, options: &Options) -> Outcome {
    let probe = probe(spec, options);
    tokio::time::timeout(2 * AMPLE, probe.run()).await.expect("a run ends")
}

/// The probe of a definition that has one.
pub(super) fn probe(spec: CheckSpec, options: &Options) -> Probe {
    let spec = CheckSpec { timeout: spec.timeout.or(Some(AMPLE)), ..spec };
    Probe::new(&spec, options).expect("valid").expect("looks for itself")
}

/// A server on loopback that serves every connection with `serve`, side by side.
pub(super) async fn server<S, F>(serve: S) -> SocketAddr
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A port over UDP that nobody else gets and that refuses: its socket hears another port alone.
pub(super) async fn refusing() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    socket.connect("127.0.0.1:1").await.expect("connected");
    socket
}

/// An HTTP server that gives `answer` to every request, and the requests it got.
pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let answer: Vec<u8> = answer.into();
    let (heard, requests) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let (heard, answer) = (heard.clone(), answer.clone());
        async move {
            let _ = heard.send(request(&mut stream).await);
            let _ = stream.write_all(&answer).await;
        }
    })
    .await;
    (address, requests)
}

/// Reads a request: its head, and as much of a body as its `Content-Length` says.
pub(super) async fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                return text;
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return text,
            Ok(_) => {}
        }
    }
}

/// An authority of its own, in a folder, and a certificate of it for `localhost` and 127.0.0.1.
pub(super) struct Authority {
    folder: tempfile::TempDir,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let ca = parameters.self_signed(&ca_key).expect("signed");
        let issuer = rcgen::Issuer::new(parameters, ca_key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, pem: String| std::fs::write(folder.path().join(name), pem).expect("written");
        write("ca.pem", ca.pem());
        write("leaf.pem", leaf.pem());
        write("leaf.key", key.serialize_pem());
        let chain = vec![leaf.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Self { folder, chain, key }
    }

    /// One that serves with its own certificate, for the names of `change`.
    pub(super) fn self_signed(names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("names");
        change(&mut parameters);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("signed");
        Self::of_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// One that serves with this certificate.
    pub(super) fn of_pem(certificate: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), certificate).expect("written");
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        Self { folder, chain, key }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Options whose checks trust this authority.
    pub(super) fn trusted(&self) -> Options {
        Options { tls: Tls { ca_file: Some(self.file("ca.pem")), ..Tls::default() }, ..Options::default() }
    }

    /// The server's side; with `clients` it wants certificates of this authority.
    pub(super) fn acceptor(&self, protocol: &[u8], clients: bool) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(self.file("ca.pem")).expect("readable");
            roots.add(ca).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        // Whether they fit is not looked at: some certificates cannot be read.
        let key = aws_lc_rs::sign::any_supported_type(&self.key).expect("a key");
        let served = SingleCertAndKey::from(CertifiedKey::new(self.chain.clone(), key));
        let mut config = builder.with_cert_resolver(Arc::new(served));
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
