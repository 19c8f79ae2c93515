//! The agent's client sockets, opened before anything else happens, so that a port in use stops the start before
//! anything is written.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    config::{Config, EncryptedDns, HttpListen, SocketFile},
    http::Listener,
};

/// How long a UDP port may still be in use; a tenth of a second was seen after a kill.
const LET_GO: Duration = Duration::from_secs(2);
/// How often it is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {place}: {source}")]
pub(super) struct ListenError {
    protocol: &'static str,
    place: String,
    source: io::Error,
}

impl ListenError {
    fn at(protocol: &'static str, place: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_string();
        move |source| Self { protocol, place, source }
    }
}

/// The HTTP sockets of an agent.
#[derive(Debug)]
pub(super) struct HttpSockets {
    /// To be served.
    pub(super) listeners: Vec<Listener>,
    /// Their files.
    pub(super) files: Vec<SocketPath>,
}

/// The file of a unix socket; it goes when this does.
#[derive(Debug)]
pub(super) struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Whether it is still there or not, it is gone afterwards.
        let _gone = fs::remove_file(&self.0);
    }
}

/// Opens the HTTP sockets. Must be called within the runtime.
pub(super) fn open_http(config: &Config) -> Result<HttpSockets, ListenError> {
    let mut sockets = HttpSockets { listeners: Vec::new(), files: Vec::new() };
    for listen in &config.http_addrs {
        match listen {
            HttpListen::Tcp(address) => {
                let failed = ListenError::at("tcp", address);
                sockets.listeners.push(open_tcp(*address).map_err(failed)?);
            }
            HttpListen::Unix(path) => {
                let failed = ListenError::at("unix socket", path.display());
                let (listener, path) = open_unix(path, config.unix_sockets).map_err(failed)?;
                sockets.listeners.push(listener);
                sockets.files.push(path);
            }
        }
    }
    Ok(sockets)
}

fn open_tcp(address: SocketAddr) -> io::Result<Listener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(tokio::net::TcpListener::from_std(listener)?))
}

fn open_unix(path: &Path, owner: SocketFile) -> io::Result<(Listener, SocketPath)> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let path = SocketPath(path.to_owned());
    if let Some(mode) = owner.mode {
        fs::set_permissions(&path.0, fs::Permissions::from_mode(mode))?;
    }
    if owner.user.is_some() || owner.group.is_some() {
        std::os::unix::fs::chown(&path.0, owner.user, owner.group)?;
    }
    listener.set_nonblocking(true)?;
    Ok((Listener::Unix(tokio::net::UnixListener::from_std(listener)?), path))
}

/// A socket nobody answers at is what an agent left behind that was killed.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file is there that is no socket"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::Error::from(io::ErrorKind::AddrInUse)),
        Ok(_) => fs::remove_file(path),
    }
}

/// Whether DNS will be able to listen: its sockets are opened later, when there is something to answer from.
pub(super) fn probe_dns(addresses: &[SocketAddr], encrypted: &EncryptedDns) -> Result<(), ListenError> {
    for address in addresses {
        wait_for_udp(*address).map_err(ListenError::at("udp", address))?;
        TcpListener::bind(address).map_err(ListenError::at("tcp", address))?;
    }
    for address in encrypted.tls.iter().chain(&encrypted.https) {
        TcpListener::bind(address).map_err(ListenError::at("tcp", address))?;
    }
    for address in &encrypted.quic {
        UdpSocket::bind(address).map_err(ListenError::at("udp", address))?;
    }
    Ok(())
}

/// Waits until UDP can be bound at `address`, for a moment: the system takes its time to let go of what an agent that was
/// killed received by io_uring, and sockets beside one of those would share its datagrams.
fn wait_for_udp(address: SocketAddr) -> io::Result<()> {
    let end = Instant::now() + LET_GO;
    loop {
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => thread::sleep(LOOK_AGAIN),
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_used_one_and_a_file_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usher.sock");
        let owner = SocketFile { mode: Some(0o600), ..SocketFile::default() };

        // What a killed agent leaves.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_listener, file) = open_unix(&path, owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open_unix(&path, owner).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(file);
        assert!(!path.exists());

        fs::write(&path, "precious").unwrap();
        assert_eq!(open_unix(&path, owner).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_port_in_use_is_found_before_dns_starts() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = probe_dns(&[address], &EncryptedDns::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on udp {address}: ")), "{error}");
    }
}
