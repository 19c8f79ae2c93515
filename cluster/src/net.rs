//! The sockets agents speak to each other through. Everything between agents (rpc, gossip) takes them from here and not
//! from tokio, so that a whole cluster can run in one process under a simulated network.
//!
//! In the program these *are* tokio's. In the tests of this crate each is tokio's or turmoil's, chosen when it is made:
//! turmoil's inside of a simulation, tokio's elsewhere. Streams are split with `tokio::io::split`.

#[cfg(not(test))]
pub(crate) use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[cfg(test)]
pub(crate) use self::either::{TcpListener, TcpStream, UdpSocket};

/// Sockets that are real or simulated.
#[cfg(test)]
mod either {
    use std::{
        io,
        net::{IpAddr, Ipv4Addr, SocketAddr},
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::{
        io::{AsyncRead, AsyncWrite, ReadBuf},
        net as real,
    };
    use turmoil::net as simulated;

    use super::weather;

    /// Listens for connections.
    pub(crate) enum TcpListener {
        Real(real::TcpListener),
        Simulated(simulated::TcpListener, IpAddr),
    }

    impl TcpListener {
        pub(crate) async fn bind(address: impl Address) -> io::Result<Self> {
            if !turmoil::in_simulation() {
                return real::TcpListener::bind(address).await.map(Self::Real);
            }
            let address = resolve(&address)?;
            simulated::TcpListener::bind(everywhere(address)).await.map(|it| Self::Simulated(it, address.ip()))
        }

        pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            match self {
                Self::Real(it) => it.accept().await.map(|(stream, peer)| (TcpStream::Real(stream), peer)),
                Self::Simulated(it, _) => it.accept().await.map(|(stream, peer)| (TcpStream::Simulated(stream), peer)),
            }
        }

        pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
            match self {
                Self::Real(it) => it.local_addr(),
                Self::Simulated(it, ip) => it.local_addr().map(|address| SocketAddr::new(*ip, address.port())),
            }
        }
    }

    /// A connection.
    pub(crate) enum TcpStream {
        Real(real::TcpStream),
        Simulated(simulated::TcpStream),
    }

    impl TcpStream {
        pub(crate) async fn connect(address: impl Address) -> io::Result<Self> {
            if !turmoil::in_simulation() {
                return real::TcpStream::connect(address).await.map(Self::Real);
            }
            simulated::TcpStream::connect(resolve(&address)?).await.map(Self::Simulated)
        }

        pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
            match self {
                Self::Real(it) => it.local_addr(),
                Self::Simulated(it) => it.local_addr(),
            }
        }

        pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
            match self {
                Self::Real(it) => it.peer_addr(),
                Self::Simulated(it) => it.peer_addr(),
            }
        }

        pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
            match self {
                Self::Real(it) => it.set_nodelay(nodelay),
                Self::Simulated(it) => it.set_nodelay(nodelay),
            }
        }
    }

    impl AsyncRead for TcpStream {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Real(it) => Pin::new(it).poll_read(context, buffer),
                Self::Simulated(it) => Pin::new(it).poll_read(context, buffer),
            }
        }
    }

    impl AsyncWrite for TcpStream {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            match self.get_mut() {
                Self::Real(it) => Pin::new(it).poll_write(context, bytes),
                Self::Simulated(it) => Pin::new(it).poll_write(context, bytes),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Real(it) => Pin::new(it).poll_flush(context),
                Self::Simulated(it) => Pin::new(it).poll_flush(context),
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.get_mut() {
                Self::Real(it) => Pin::new(it).poll_shutdown(context),
                Self::Simulated(it) => Pin::new(it).poll_shutdown(context),
            }
        }
    }

    /// Sends and takes datagrams.
    pub(crate) enum UdpSocket {
        Real(real::UdpSocket),
        Simulated(simulated::UdpSocket, IpAddr),
    }

    impl UdpSocket {
        pub(crate) async fn bind(address: impl Address) -> io::Result<Self> {
            if !turmoil::in_simulation() {
                return real::UdpSocket::bind(address).await.map(Self::Real);
            }
            let address = resolve(&address)?;
            simulated::UdpSocket::bind(everywhere(address)).await.map(|it| Self::Simulated(it, address.ip()))
        }

        pub(crate) async fn send_to(&self, datagram: &[u8], to: impl Address) -> io::Result<usize> {
            match self {
                Self::Real(it) => it.send_to(datagram, to).await,
                Self::Simulated(it, ip) => {
                    let to = resolve(&to)?;
                    // What is lost is lost without a word.
                    match weather::takes(*ip, to.ip()) {
                        true => Ok(datagram.len()),
                        false => it.send_to(datagram, to).await,
                    }
                }
            }
        }

        pub(crate) fn try_send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
            match self {
                Self::Real(it) => it.try_send_to(datagram, to),
                Self::Simulated(_, ip) if weather::takes(*ip, to.ip()) => Ok(datagram.len()),
                Self::Simulated(it, _) => it.try_send_to(datagram, to),
            }
        }

        pub(crate) fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            match self {
                Self::Real(it) => it.try_recv_from(buffer),
                Self::Simulated(it, _) => it.try_recv_from(buffer),
            }
        }

        pub(crate) async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            match self {
                Self::Real(it) => it.recv_from(buffer).await,
                Self::Simulated(it, _) => it.recv_from(buffer).await,
            }
        }

        pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
            match self {
                Self::Real(it) => it.local_addr(),
                Self::Simulated(it, ip) => it.local_addr().map(|address| SocketAddr::new(*ip, address.port())),
            }
        }
    }

    /// What tokio takes for an address, where it is one and no name.
    pub(crate) trait Address: real::ToSocketAddrs + std::net::ToSocketAddrs {}

    impl<T: real::ToSocketAddrs + std::net::ToSocketAddrs> Address for T {}

    fn resolve(address: &impl Address) -> io::Result<SocketAddr> {
        std::net::ToSocketAddrs::to_socket_addrs(address)?
            .next()
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    /// A simulated host has one address, and turmoil listens there when told to listen everywhere.
    fn everywhere(address: SocketAddr) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port())
    }
}

/// What happens to datagrams under way in a simulation; turmoil knows nothing between all and none.
#[cfg(test)]
pub(crate) mod weather {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeSet,
        net::IpAddr,
    };

    thread_local! {
        static LOSS: Cell<f64> = const { Cell::new(0.0) };
        static CUT: RefCell<BTreeSet<(IpAddr, IpAddr)>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// This part of all datagrams is lost from now on.
    pub(crate) fn set_loss(rate: f64) {
        LOSS.set(rate);
    }

    /// No datagram passes from now on between these, from the first to the second.
    pub(crate) fn set_cut(pairs: BTreeSet<(IpAddr, IpAddr)>) {
        CUT.set(pairs);
    }

    /// Whether a datagram is lost.
    pub(super) fn takes(from: IpAddr, to: IpAddr) -> bool {
        CUT.with_borrow(|cut| cut.contains(&(from, to))) || rand::random::<f64>() < LOSS.get()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Listens, speaks to itself over both protocols and checks who it spoke to.
    async fn speak(own: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(own).await?;
        let port = listener.local_addr()?;
        assert_eq!(port.ip(), own.ip());
        let answer = tokio::spawn(async move {
            let (mut stream, from) = listener.accept().await?;
            assert_eq!(stream.peer_addr()?, from);
            let mut question = [0; 4];
            stream.read_exact(&mut question).await?;
            stream.write_all(&question).await?;
            stream.shutdown().await
        });
        let stream = TcpStream::connect(port).await?;
        stream.set_nodelay(true)?;
        assert_eq!((stream.local_addr()?.ip(), stream.peer_addr()?), (own.ip(), port));
        let (mut reader, mut writer) = tokio::io::split(stream);
        writer.write_all(b"over").await?;
        let mut said = Vec::new();
        reader.read_to_end(&mut said).await?;
        assert_eq!(said, b"over");
        answer.await??;

        let (one, other) = (UdpSocket::bind(own).await?, UdpSocket::bind(own).await?);
        one.send_to(b"datagram", other.local_addr()?).await?;
        let mut buffer = [0; 64];
        let (length, from) = other.recv_from(&mut buffer).await?;
        assert_eq!((&buffer[..length], from), (&b"datagram"[..], one.local_addr()?));
        Ok(())
    }

    #[tokio::test]
    async fn real_sockets_speak() {
        speak("127.0.0.1:0".parse().unwrap()).await.unwrap();
    }

    #[test]
    fn simulated_sockets_speak() {
        let mut simulation = turmoil::Builder::new().build();
        simulation.client("192.168.0.9".parse::<std::net::IpAddr>().unwrap(), async {
            Ok(speak("192.168.0.9:0".parse().unwrap()).await?)
        });
        simulation.run().unwrap();
    }
}
