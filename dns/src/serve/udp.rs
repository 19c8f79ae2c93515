//! UDP: the hot path. A thread and a socket of its own (SO_REUSEPORT) for each core and address, batches of datagrams,
//! nothing shared that is written to.
//!
//! ```text
//!   recvmmsg ─► one look at catalog, settings and clock ─► responder, request by request ─► sendmmsg
//!                                                              └─► errand: a task, if a permit is free
//! ```

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Handle;

use super::{
    mmsg::{BATCH, Batch, Peer, tell_local_address},
    shared::Shared,
    tally::Tally,
};
use crate::{
    client::{Client, Transport},
    errand,
    responder::{Errand, Failure, Outcome, Responder},
};

/// How long a thread waits at most before it looks whether it is to stop. It is woken then anyway: this is for a system
/// on which that fails.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Bytes of requests the system may hold for a thread that is busy.
const RECEIVE_BUFFER: usize = 1 << 20;
/// After an error that is not the socket's end, before the next try.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// Replies that grew beyond this give their memory back.
const REPLY_KEPT: usize = 4096;

/// One thread's work.
pub(super) struct Worker {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Arc<Tally>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) runtime: Handle,
    pub(super) seed: u64,
    /// How many there are of one address.
    pub(super) workers: usize,
}

/// A socket bound to `address`, which others of ours may be bound to, too.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    // Less than asked for is no reason not to serve.
    let _as_much_as_allowed = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_read_timeout(Some(LOOK_UP))?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    if address.ip().is_unspecified() {
        tell_local_address(&socket, address)?;
    }
    Ok(socket)
}

impl Worker {
    /// Answers until told to stop.
    pub(super) fn run(self) {
        let mut batch = Batch::new(self.address.ip().is_unspecified());
        let mut responder = Responder::new(self.seed).one_of(self.workers);
        let mut replies: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::new()).collect();
        while !self.stop.load(Ordering::Relaxed) {
            match batch.receive(&self.socket) {
                Ok(count) => {
                    self.answer(&batch, count, &mut responder, &mut replies);
                    let written = replies.iter().take(count).map(Vec::as_slice).enumerate();
                    batch.send(&self.socket, count, written.filter(|(_, reply)| !reply.is_empty()));
                    self.tally.show(responder.counts());
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => {
                    tracing::error!(address = %self.address, %error, "cannot receive DNS requests");
                    std::thread::sleep(ERROR_PAUSE);
                }
            }
        }
    }

    fn answer(&self, batch: &Batch, count: usize, responder: &mut Responder, replies: &mut [Vec<u8>]) {
        let moment = self.shared.moment();
        let view = self.shared.view(&moment, None);
        for (at, reply) in replies.iter_mut().enumerate().take(count) {
            if reply.capacity() > REPLY_KEPT {
                *reply = Vec::new();
            }
            reply.clear();
            let packet = batch.packet(at);
            let client = Client { address: batch.address(at), ..Client::by(Transport::Udp) };
            if let Outcome::Elsewhere(errand) = responder.respond(packet, &client, &view, reply) {
                reply.clear();
                let Some(peer) = batch.peer(at) else { continue };
                if !self.send_away(packet, peer, client, errand) {
                    responder.fail(packet, Failure::BUSY, &client, &view, reply);
                }
            }
        }
    }

    /// Leaves the request to a task; `false` if there are too many already.
    fn send_away(&self, packet: &[u8], peer: Peer, client: Client, errand: Errand) -> bool {
        let Ok(permit) = self.shared.errands.clone().try_acquire_owned() else { return false };
        let (shared, socket, packet) = (self.shared.clone(), self.socket.clone(), packet.to_vec());
        self.runtime.spawn(async move {
            let _permit = permit;
            // Let go before the permit is: who holds all permits knows that all sockets are free.
            let socket = socket;
            let reply = tokio::select! {
                reply = errand::reply(&shared, &packet, errand, &client) => reply,
                () = shared.ending.cancelled() => return,
            };
            if let Err(error) = peer.send(&socket, &reply) {
                tracing::debug!(%error, "cannot send a DNS reply");
            }
        });
        true
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
