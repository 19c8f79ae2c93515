//! TLS as a client: configurations, made once for all checks that need the same and shared by them.
//!
//! Files are read at the first run that needs them, and again after a reload ([`read_again`]); as long as they cannot be,
//! what was read before counts.
//!
//! A handshake is made in full every time: a resumed one would not look at the certificate, and a check is there to notice
//! that it expired.

mod verify;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::time::timeout_at;
use tokio_rustls::{TlsConnector, client::TlsStream};

use self::verify::{AnyCertificate, Trusted};
use super::{Limit, ProbeError, text};
use crate::{blocking, health::options::Tls, local::definition::CheckSpec, net::TcpStream};

/// Files of authorities read of one folder.
const CA_FILES_MAX: usize = 1_000;

/// The protocol spoken inside (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpn {
    Http1,
    Http2,
}

impl Alpn {
    fn id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// How a check speaks TLS.
pub(super) struct Client {
    wanted: Wanted,
    /// The name to ask for and to verify instead of the host's.
    server_name: Option<ServerName<'static>>,
    made: Mutex<Option<Made>>,
}

/// A configuration, and at which reading of the files it was made.
#[derive(Clone)]
struct Made {
    reading: u64,
    config: Arc<ClientConfig>,
}

/// How often the files were to be read again.
static READING: AtomicU64 = AtomicU64::new(0);

/// Has the files be read again by whoever needs them next.
pub(crate) fn read_again() {
    READING.fetch_add(1, Ordering::Relaxed);
}

/// Whether the files can be used; the error names the one that cannot.
pub(crate) fn readable(files: &Tls) -> Result<(), ProbeError> {
    make(&Wanted { files: files.clone(), skip_verify: false, alpn: Alpn::Http1 }).map(drop)
}

/// What decides a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    files: Tls,
    skip_verify: bool,
    alpn: Alpn,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("{0}")]
    Config(#[from] ProbeError),
    #[error("tls: \"{0}\" is no name a certificate can be for")]
    Name(String),
    #[error("tls: {}", text::chain(.0))]
    Handshake(io::Error),
    #[error("tls: handshake timeout")]
    Timeout,
    #[error("tls: the server does not speak {}", String::from_utf8_lossy(.0.id()))]
    Protocol(Alpn),
}

impl Client {
    /// Reads nothing yet: [`Client::config`] does.
    pub(super) fn parse(spec: &CheckSpec, files: &Tls, alpn: Alpn) -> Result<Self, ProbeError> {
        let own = &spec.tls_server_name;
        let given = if own.is_empty() { &files.server_name } else { own };
        let server_name = match given.as_str() {
            "" => None,
            name => Some(
                ServerName::try_from(name.to_owned())
                    .map_err(|error| ProbeError::field("TLSServerName", given, error))?,
            ),
        };
        let wanted = Wanted { files: files.clone(), skip_verify: spec.tls_skip_verify, alpn };
        Ok(Self { wanted, server_name, made: Mutex::default() })
    }

    /// The configuration, made the first time it is needed and after each reload.
    async fn config(&self) -> Result<Arc<ClientConfig>, ProbeError> {
        let reading = READING.load(Ordering::Relaxed);
        let before = self.made.lock().clone();
        if let Some(made) = before.as_ref().filter(|made| made.reading == reading) {
            return Ok(made.config.clone());
        }
        let wanted = self.wanted.clone();
        let made = blocking::run(move || shared(&wanted)).await.map_err(|error| ProbeError(error.to_string()))?;
        let config = match (made, before) {
            (Ok(config), _) => config,
            (Err(error), Some(before)) => {
                tracing::warn!(target: "agent.checks", %error, "Certificates cannot be read again: those of before count");
                before.config
            }
            (Err(error), None) => return Err(error),
        };
        *self.made.lock() = Some(Made { reading, config: config.clone() });
        Ok(config)
    }

    /// Shakes hands with `host` over a connection.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
        limit: Limit,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let config = self.config().await?;
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?,
        };
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream =
            timeout_at(limit.deadline, handshake).await.map_err(|_| TlsError::Timeout)?.map_err(TlsError::Handshake)?;
        // HTTP/1.1 is spoken by servers that know nothing of ALPN; HTTP/2 over TLS needs it (RFC 9113 section 3.2).
        if self.wanted.alpn == Alpn::Http2 && stream.get_ref().1.alpn_protocol() != Some(Alpn::Http2.id()) {
            return Err(TlsError::Protocol(Alpn::Http2));
        }
        Ok(stream)
    }
}

/// A configuration and what it was made of; it lives as long as a check uses it.
struct Shared {
    wanted: Wanted,
    read_at: Stamp,
    config: Weak<ClientConfig>,
}

/// When the files were written last: others than before are read again.
type Stamp = Vec<(PathBuf, Option<SystemTime>)>;

/// Configurations in use: as many as there are ways the checks of this process want TLS (a handful).
static CONFIGS: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

/// The system's authorities: some hundred certificates that take milliseconds to read and much memory, so once.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(target: "agent.checks", %error, "The system's certificate authorities could not all be read");
    }
    let _ = roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
});

fn shared(wanted: &Wanted) -> Result<Arc<ClientConfig>, ProbeError> {
    let read_at = stamp(&wanted.files);
    let mut configs = CONFIGS.lock();
    configs.retain(|it| it.config.strong_count() > 0);
    let known = configs.iter().find(|it| it.wanted == *wanted && it.read_at == read_at);
    if let Some(config) = known.and_then(|it| it.config.upgrade()) {
        return Ok(config);
    }
    let config = Arc::new(make(wanted)?);
    configs.push(Shared { wanted: wanted.clone(), read_at, config: Arc::downgrade(&config) });
    Ok(config)
}

fn stamp(files: &Tls) -> Stamp {
    let identity = files.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
    let named = files.ca_file.iter().chain(&files.ca_path).chain(identity);
    named.map(|path| (path.clone(), fs::metadata(path).and_then(|it| it.modified()).ok())).collect()
}

fn make(wanted: &Wanted) -> Result<ClientConfig, ProbeError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeError(format!("TLS: {error}")))?;
    let builder = if wanted.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let trusted =
            Trusted::new(roots(&wanted.files)?, provider).map_err(|error| ProbeError(format!("TLS: {error}")))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(trusted))
    };
    let mut config = match &wanted.files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let read = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
            builder.with_client_auth_cert(chain, read).map_err(|error| unreadable(certificate, error))?
        }
    };
    config.alpn_protocols = vec![wanted.alpn.id().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The authorities that count: those that are named, or the system's.
fn roots(files: &Tls) -> Result<Arc<RootCertStore>, ProbeError> {
    if files.ca_file.is_none() && files.ca_path.is_none() {
        return Ok(SYSTEM_ROOTS.clone());
    }
    let mut paths: Vec<PathBuf> = files.ca_file.iter().cloned().collect();
    if let Some(folder) = &files.ca_path {
        let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
        for entry in entries.take(CA_FILES_MAX) {
            let path = entry.map_err(|error| unreadable(folder, error))?.path();
            if path.is_file() {
                paths.push(path);
            }
        }
    }
    let mut roots = RootCertStore::empty();
    for path in &paths {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unreadable(path, error))?;
        }
    }
    if roots.is_empty() {
        let named = files.ca_path.as_deref().or(files.ca_file.as_deref()).unwrap_or(Path::new(""));
        return Err(unreadable(named, "no certificate is in it"));
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ProbeError> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> ProbeError {
    ProbeError(format!("TLS: {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
