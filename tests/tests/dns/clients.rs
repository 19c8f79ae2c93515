//! Clients of encrypted DNS, and an agent to ask: TLS by rustls, HTTP/2 by h2, QUIC by quinn.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usher_tests::agent::{Agent, Builder};
use usher_tests::backends::tls::Authority;
use usher_tests::dns::{self, Options};
use usher_tests::ports::free_port;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Certificate and key in a folder of their own, where they can be replaced.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn of(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace(authority);
        files
    }

    pub(crate) fn replace(&self, authority: &Authority) {
        let [certificate, key] = authority.leaf_files();
        std::fs::copy(certificate, self.certificate()).unwrap();
        std::fs::copy(key, self.key()).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.path().join("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("server.key")
    }
}

/// Where an agent serves encrypted DNS.
#[derive(Clone, Copy)]
pub(crate) struct Secure {
    pub(crate) tls: u16,
    pub(crate) https: u16,
    pub(crate) quic: u16,
}

impl Secure {
    pub(crate) fn free() -> Self {
        Self { tls: free_port(), https: free_port(), quic: free_port() }
    }

    pub(crate) fn config(self, certificate: &Path, key: &Path) -> Value {
        json!({
            "ports": {"dns_tls": self.tls, "dns_https": self.https, "dns_quic": self.quic},
            "dns_config": {"cert_file": certificate, "key_file": key},
        })
    }

    /// An agent that serves all three with these files.
    pub(crate) fn agent(self, files: &Files) -> Agent {
        Builder::dev().config(self.config(&files.certificate(), &files.key())).start()
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Registers this many instances of a service.
pub(crate) fn register(agent: &Agent, service: &str, instances: usize) {
    for number in 0..instances {
        let instance = json!({"Service": service, "ID": format!("{service}-{number}"), "Port": number + 1});
        agent.put_ok(
            "/v1/catalog/register",
            &json!({"Node": format!("node-{number}"), "Address": "10.0.0.1", "Service": instance}),
        );
    }
}

/// A question's packet.
pub(crate) fn question(text: &str, id: u16) -> Vec<u8> {
    let mut message = dns::query(text, &Options { edns: Some(1232), ..Options::default() }).unwrap();
    message.metadata.id = id;
    message.to_vec().unwrap()
}

/// A TLS connection that offers this protocol.
pub(crate) async fn connect(
    port: u16,
    authority: &Authority,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(local(port)).await.unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client(protocol)));
    let name = ServerName::try_from("localhost").unwrap();
    timeout(PATIENCE, connector.connect(name, stream)).await.expect("a handshake takes no time")
}

/// DNS over TLS.
pub(crate) struct Dot(TlsStream<TcpStream>);

impl Dot {
    pub(crate) async fn connect(port: u16, authority: &Authority) -> std::io::Result<Self> {
        connect(port, authority, b"dot").await.map(Self)
    }

    /// Sends the questions, then reads as many replies.
    pub(crate) async fn ask(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut reading, mut writing) = tokio::io::split(&mut self.0);
        let writes = async {
            for packet in packets {
                writing.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
                writing.write_all(packet).await.unwrap();
            }
            writing.flush().await.unwrap();
        };
        let reads = async {
            let mut replies = Vec::new();
            for _ in packets {
                let mut reply = vec![0; usize::from(reading.read_u16().await.unwrap())];
                reading.read_exact(&mut reply).await.unwrap();
                replies.push(reply);
            }
            replies
        };
        timeout(PATIENCE, async { tokio::join!(writes, reads).1 }).await.expect("replies")
    }
}

/// DNS over HTTPS.
pub(crate) struct Doh(SendRequest<Bytes>);

impl Doh {
    pub(crate) async fn connect(port: u16, authority: &Authority) -> std::io::Result<Self> {
        let stream = connect(port, authority, b"h2").await?;
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(client))
    }

    pub(crate) async fn request(&self, request: Request<()>, body: Vec<u8>) -> Response<Vec<u8>> {
        let body = Bytes::from(body);
        let exchange = async {
            let (head, mut incoming) = loop {
                let mut client = self.0.clone().ready().await.unwrap();
                let (response, mut sending) = client.send_request(request.clone(), false).unwrap();
                sending.send_data(body.clone(), true).unwrap();
                match response.await {
                    Ok(response) => break response.into_parts(),
                    // A stream may be over here and not there yet: it is to be tried again (RFC 9113 8.7).
                    Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => {}
                    Err(error) => panic!("{error}"),
                }
            };
            let mut body = Vec::new();
            while let Some(part) = incoming.data().await {
                let part = part.unwrap();
                body.extend_from_slice(&part);
                incoming.flow_control().release_capacity(part.len()).unwrap();
            }
            Response::from_parts(head, body)
        };
        timeout(PATIENCE, exchange).await.expect("a response")
    }

    pub(crate) async fn post(&self, packet: Vec<u8>) -> Response<Vec<u8>> {
        let request = Request::post("https://localhost/dns-query").header("content-type", "application/dns-message");
        self.request(request.body(()).unwrap(), packet).await
    }
}

/// DNS over QUIC.
pub(crate) struct Doq {
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Doq {
    pub(crate) async fn connect(port: u16, authority: &Authority) -> Result<Self, quinn::ConnectionError> {
        let crypto = QuicClientConfig::try_from(authority.client(b"doq")).unwrap();
        let endpoint = quinn::Endpoint::client(local(0)).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(config, local(port), "localhost").unwrap();
        let connection = timeout(PATIENCE, connecting).await.expect("a handshake takes no time")?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    /// A question on a stream of its own, as RFC 9250 4.2 has it.
    pub(crate) async fn ask(&self, packet: &[u8]) -> Vec<u8> {
        let exchange = async {
            let (mut sending, mut receiving) = self.connection.open_bi().await.unwrap();
            sending.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).await.unwrap();
            sending.write_all(packet).await.unwrap();
            sending.finish().unwrap();
            let framed = receiving.read_to_end(2 + 65_535).await.unwrap();
            let (length, reply) = framed.split_at(2);
            assert_eq!(usize::from(u16::from_be_bytes([length[0], length[1]])), reply.len());
            reply.to_vec()
        };
        timeout(PATIENCE, exchange).await.expect("a reply")
    }
}
