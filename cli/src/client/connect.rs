//! Opens a connection to the agent: TCP, TLS over it, or a unix socket.

use std::{io, sync::Arc};

use rustls::{CertificateError, ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::{address::Address, error::ClientError};

/// A connection of any kind.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Knows the way to one agent.
pub struct Connector {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    server_name: String,
}

impl Connector {
    /// `server_name` is the name expected in the certificate, empty for the host's.
    pub fn new(address: Address, tls: Option<Arc<ClientConfig>>, server_name: String) -> Self {
        Self { address, tls, server_name }
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Box<dyn Connection>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address.to_string(), source };
        match &self.address {
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
            Address::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                match &self.tls {
                    Some(configuration) => self.secure(stream, host, configuration).await,
                    None => Ok(Box::new(stream)),
                }
            }
        }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
        configuration: &Arc<ClientConfig>,
    ) -> Result<Box<dyn Connection>, ClientError> {
        let name = if self.server_name.is_empty() { host } else { &self.server_name };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| ClientError::Tls(format!("\"{name}\" is no name a certificate could have")))?;
        match TlsConnector::from(Arc::clone(configuration)).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(ClientError::Tls(format!("{}: {}", self.address, explain(&error)))),
        }
    }
}

fn explain(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => {
            "the agent does not speak TLS there (should the address begin with http://?)".into()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("{error} (name the CA with -ca-file)")
        }
        _ => error.to_string(),
    }
}
