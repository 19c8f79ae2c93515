//! A UDP port: bound it takes datagrams (and sends them back, if told to), unbound the kernel refuses them.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::task::JoinHandle;

use super::{end, lock, runtime};
use crate::ports::free_port;

type Reply = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// A port of 127.0.0.1 that is bound while it is up.
pub struct Udp {
    port: u16,
    reply: Reply,
    count: Arc<AtomicUsize>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Udp {
    /// Takes datagrams and says nothing.
    pub fn silent() -> Self {
        Self::start(|_| None)
    }

    /// Sends every datagram back.
    pub fn echo() -> Self {
        Self::start(|datagram| Some(datagram.to_vec()))
    }

    /// Answers every datagram with what `reply` gives.
    pub fn start(reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let udp = Self { port: free_port(), reply: Arc::new(reply), count: Arc::default(), task: Mutex::default() };
        udp.up();
        udp
    }

    /// Binds the port again. One that is up stays as it is.
    pub fn up(&self) {
        let mut task = lock(&self.task);
        if task.is_some() {
            return;
        }
        let socket = UdpSocket::bind(self.address()).unwrap_or_else(|error| panic!("port {}: {error}", self.port));
        socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        let (reply, count) = (Arc::clone(&self.reply), Arc::clone(&self.count));
        *task = Some(runtime().spawn(async move {
            let socket = tokio::net::UdpSocket::from_std(socket).expect("the runtime takes a socket");
            let mut buffer = vec![0; 65_535];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = reply(&buffer[..length]) {
                    let _ = socket.send_to(&reply, from).await; // whoever asked may be gone
                }
            }
        }));
    }

    /// Dies: datagrams are refused.
    pub fn down(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            end(task);
        }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How many datagrams came.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.down();
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Udp({})", self.port)
    }
}
