//! UDP: the hot path. A thread and a socket of its own (SO_REUSEPORT) for each core and address, batches of datagrams,
//! nothing shared that is written to.
//!
//! ```text
//!   receive a batch ─► one look at catalog, settings and clock ─► responder, request by request ─► send the replies
//!    io_uring: ring                                                  └─► errand: a task, if a permit is free   │
//!    else:     mmsg                                     replies of one length to one client travel together: outbox
//! ```
//!
//! **Overload.** The system queues what comes while a thread is busy, first come, first served: when more comes than can
//! be answered, every question waits as long as the queue is, and all answers are late. So a batch with others behind it,
//! the sign of a queue, is asked for its age: if even its newest question is late, and this goes on ([`overload`]), the
//! batch is dropped and counted (`consul.dns.overloaded`), which costs a fraction of answering it. The queue gets shorter
//! that way until its head is in time again; whoever asks then is answered in time, and who is dropped would have been
//! answered late. The end of the queue is always answered. The age comes from the system's time of arrival, read once a
//! batch, and so covers pauses of the whole process (a processor share used up), too.

mod intake;
mod mmsg;
mod outbox;
mod overload;
mod peer;
mod ring;
mod socket;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "for tests alone")]
mod tests;

use std::{
    io::{self, PipeReader},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use self::{intake::Intake, overload::Overload, peer::Peer};
pub(super) use self::{
    overload::Limits,
    socket::{bind, wake},
};
use super::{Backend, shared::Shared, tally::Tally};
use crate::{
    client::{Client, Transport},
    errand,
    responder::{Errand, Failure, Outcome, Responder},
};

/// How long a thread waits at most before it looks whether it is to stop. It is woken then anyway: this is for a system
/// on which that fails.
const LOOK_UP: Duration = Duration::from_secs(1);
/// Datagrams taken at once.
const BATCH: usize = 64;
/// Bytes of a request that are read; no question needs more. Not a power of two, so that the headers of a batch do not
/// all fall into the same lines of the cache.
const REQUEST_MAX: usize = 1472;
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
    /// Rung when it is to stop.
    pub(super) bell: Arc<PipeReader>,
    pub(super) runtime: Handle,
    pub(super) seed: u64,
    /// How many there are of one address.
    pub(super) workers: usize,
    pub(super) backend: Backend,
    pub(super) limits: Limits,
}

impl Worker {
    /// Answers until told to stop.
    pub(super) fn run(self) {
        let mut intake = Intake::open(self.backend, &self.socket, &self.bell, self.address.ip().is_unspecified());
        let mut overload = Overload::new(self.limits);
        let mut responder = Responder::new(self.seed).one_of(self.workers);
        let mut replies: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::new()).collect();
        let mut handed_over = 0;
        while !self.stop.load(Ordering::Relaxed) {
            match intake.receive(&self.socket) {
                Ok(count) if overload.drops(intake.waited(&self.socket, count), Instant::now) => {
                    self.tally.add_overloaded(count as u64);
                }
                Ok(count) => {
                    let began = Instant::now();
                    self.answer(&intake, count, &mut responder, &mut replies);
                    let written = replies.iter().take(count).map(Vec::as_slice).enumerate();
                    intake.send(&self.socket, written.filter(|(_, reply)| !reply.is_empty()));
                    responder.took(began.elapsed(), count as u64);
                    self.tally.show(responder.counts());
                    self.tally.take_wanted(responder.services(), &mut handed_over);
                }
                Err(error) if is_pause(&error) => self.tally.take_wanted(responder.services(), &mut handed_over),
                Err(error) => {
                    tracing::error!(address = %self.address, %error, "cannot receive DNS requests");
                    std::thread::sleep(ERROR_PAUSE);
                }
            }
        }
    }

    fn answer(&self, intake: &Intake, count: usize, responder: &mut Responder, replies: &mut [Vec<u8>]) {
        let moment = self.shared.moment();
        let view = self.shared.view(&moment, None);
        for (at, reply) in replies.iter_mut().enumerate().take(count) {
            if reply.capacity() > REPLY_KEPT {
                *reply = Vec::new();
            }
            reply.clear();
            let packet = intake.packet(at);
            let address = intake.peer(at).and_then(Peer::address);
            let client = Client { address, ..Client::by(Transport::Udp) };
            if let Outcome::Elsewhere(errand) = responder.respond(packet, &client, &view, reply) {
                reply.clear();
                if let Some(known) = errand::at_once(&self.shared, packet, &client, &errand) {
                    *reply = known;
                    continue;
                }
                let Some(peer) = intake.peer(at) else { continue };
                if !self.send_away(packet, *peer, client, errand) {
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
                tracing::debug!(%error, client = ?peer.address(), "cannot send a DNS reply");
            }
        });
        true
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
