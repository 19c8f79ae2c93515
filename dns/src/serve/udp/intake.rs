//! Where the datagrams of a thread come from and its replies go: io_uring where the kernel has it, else plain calls.

use std::{
    io::{self, PipeReader},
    net::UdpSocket,
    time::Duration,
};

use super::{
    BATCH, Backend,
    mmsg::Batch,
    outbox::Outbox,
    peer::Peer,
    ring::Ring,
    socket::{age, last_arrival},
};

/// A way to receive batches of datagrams and to reply.
pub(super) struct Intake {
    source: Source,
    outbox: Outbox,
    wildcard: bool,
}

enum Source {
    Plain(Batch),
    Ring(Box<Ring>),
}

impl Intake {
    /// The way `backend` asks for, if the system has it. To be called by the thread that will use it.
    /// Something in the pipe `bell` ends the wait for datagrams, as [`super::wake`] does; it takes both.
    pub(super) fn open(backend: Backend, socket: &UdpSocket, bell: &PipeReader, wildcard: bool) -> Self {
        let ring = match backend {
            Backend::Plain => None,
            Backend::Auto | Backend::Ring => match Ring::new(socket, bell, wildcard) {
                Ok(ring) => Some(ring),
                Err(error) => {
                    tracing::debug!(%error, "io_uring cannot be used for DNS");
                    None
                }
            },
        };
        tracing::debug!(io_uring = ring.is_some(), "DNS over UDP is served");
        let source = ring.map_or_else(|| Source::Plain(Batch::new(wildcard)), |ring| Source::Ring(Box::new(ring)));
        Self { source, outbox: Outbox::new(), wildcard }
    }

    /// Waits for datagrams and takes up to BATCH of them; their number, which may be 0.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let ring = match &mut self.source {
            Source::Plain(batch) => return batch.receive(socket),
            Source::Ring(ring) => ring,
        };
        let received = ring.receive(socket);
        match received {
            Err(error) if ring.is_broken() => {
                tracing::warn!(%error, "io_uring failed, serving DNS without it");
                self.source = Source::Plain(Batch::new(self.wildcard));
                Ok(0)
            }
            received => received,
        }
    }

    /// Breaks the ring.
    #[cfg(test)]
    pub(super) fn fail(&mut self) {
        if let Source::Ring(ring) = &mut self.source {
            ring.fail();
        }
    }

    /// How long the `count` datagrams received last have waited at least, if there may be others behind them; else, and
    /// where it is not known, zero.
    pub(super) fn waited(&self, socket: &UdpSocket, count: usize) -> Duration {
        match &self.source {
            Source::Plain(_) if count < BATCH => Duration::ZERO,
            Source::Plain(_) => last_arrival(socket).map(age).unwrap_or_default(),
            Source::Ring(ring) => ring.waited(),
        }
    }

    /// The bytes of datagram `at` of those received last.
    pub(super) fn packet(&self, at: usize) -> &[u8] {
        match &self.source {
            Source::Plain(batch) => batch.packet(at),
            Source::Ring(ring) => ring.packet(at),
        }
    }

    /// Whose datagram `at` is.
    pub(super) fn peer(&self, at: usize) -> Option<&Peer> {
        match &self.source {
            Source::Plain(batch) => batch.peer(at),
            Source::Ring(ring) => ring.peer(at),
        }
    }

    /// Sends replies to the datagrams they belong to.
    pub(super) fn send<'r>(&mut self, socket: &UdpSocket, replies: impl Iterator<Item = (usize, &'r [u8])>) {
        let Self { source, outbox, .. } = self;
        match source {
            Source::Plain(batch) => {
                outbox.load(replies.filter_map(|(at, reply)| Some((batch.peer(at)?, reply)))).send(socket);
            }
            Source::Ring(ring) => ring.send(socket, outbox, replies),
        }
    }
}
