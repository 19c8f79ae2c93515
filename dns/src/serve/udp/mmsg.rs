//! Datagrams received many at a time by `recvmmsg`: what works on every kernel.
//!
//! A batch owns the memory the kernel writes. `receive` waits for one datagram and takes what else is there. On a socket
//! bound to the wildcard address the kernel says with each request which address it came to (`IP_PKTINFO`); on other
//! sockets there is nothing to say and nothing is spent on it.
#![allow(unsafe_code, reason = "recvmmsg has no safe binding here; each use says why it is sound")]

use std::{io, net::UdpSocket, os::fd::AsRawFd, ptr};

use super::{
    BATCH, REQUEST_MAX,
    peer::{CONTROL, NAME, Peer, empty_header},
};

/// What the kernel is pointed at. Lives behind a raw pointer, because the message headers hold pointers into it.
struct Inbox {
    packets: [[u8; REQUEST_MAX]; BATCH],
    peers: [Peer; BATCH],
}

/// A batch of datagrams.
pub(super) struct Batch {
    inbox: *mut Inbox,
    received: Vec<libc::mmsghdr>,
    receive_into: Vec<libc::iovec>,
    control_max: usize,
}

impl Batch {
    /// A batch for sockets that do (`wildcard`) or do not need to be told the address a request came to.
    pub(super) fn new(wildcard: bool) -> Self {
        // SAFETY: every field of `Inbox` is plain integers, for which all bytes zero is a value.
        let inbox = Box::into_raw(Box::new(unsafe { std::mem::zeroed::<Inbox>() }));
        let mut receive_into = Vec::with_capacity(BATCH);
        for at in 0..BATCH {
            // SAFETY: `inbox` is a live allocation that only this batch uses, and `at` is below BATCH.
            let packet = unsafe { (&raw mut (*inbox).packets).cast::<[u8; REQUEST_MAX]>().add(at) };
            receive_into.push(libc::iovec { iov_base: packet.cast(), iov_len: REQUEST_MAX });
        }
        let control_max = if wildcard { CONTROL * size_of::<u64>() } else { 0 };
        let header = libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 };
        let mut batch = Self { inbox, received: vec![header; BATCH], receive_into, control_max };
        (0..BATCH).for_each(|at| batch.prepare(at));
        batch
    }

    /// Waits for a datagram, and takes as many as there are. An empty result is a datagram nobody should answer or the
    /// socket's end.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let count = u32::try_from(BATCH).unwrap_or(1);
        // SAFETY: `received` holds BATCH headers; each points to a name, a control buffer and an iovec of this batch
        // that stay where they are while the batch lives, with their true lengths. No reference to them exists now.
        let got = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.received.as_mut_ptr(), count, libc::MSG_WAITFORONE, ptr::null_mut())
        };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        (0..got).for_each(|at| self.take(at));
        Ok(got)
    }

    /// The bytes of datagram `at` of those received last.
    pub(super) fn packet(&self, at: usize) -> &[u8] {
        let length = self.received.get(at).map_or(0, |header| header.msg_len as usize);
        // SAFETY: the kernel wrote at most REQUEST_MAX bytes there; it writes only within `receive`, which takes
        // `&mut self`. `at` is below BATCH where `received` has it, and with length 0 nothing is read.
        let packets = unsafe { &(*self.inbox).packets };
        packets.get(at).and_then(|packet| packet.get(..length)).unwrap_or_default()
    }

    /// Whose datagram `at` is.
    pub(super) fn peer(&self, at: usize) -> Option<&Peer> {
        // SAFETY: as in `packet`.
        let peers = unsafe { &(*self.inbox).peers };
        peers.get(at)
    }

    /// Takes the lengths the kernel wrote into header `at`, and makes it ready for the next datagram.
    fn take(&mut self, at: usize) {
        let Some(header) = self.received.get(at) else { return };
        let control_len = kept_control(&header.msg_hdr, self.control_max);
        let name_len = header.msg_hdr.msg_namelen;
        // SAFETY: as in `packet`, and `&mut self` makes this the only access.
        let peers = unsafe { &mut (*self.inbox).peers };
        if let Some(peer) = peers.get_mut(at) {
            peer.name_len = name_len;
            peer.control_len = control_len;
            peer.forget_interface();
        }
        self.prepare(at);
    }

    /// Points header `at` at its buffers anew: the kernel writes lengths into it.
    fn prepare(&mut self, at: usize) {
        let Some(header) = self.received.get_mut(at).filter(|_| at < BATCH) else { return };
        let iovec = self.receive_into.as_mut_ptr().wrapping_add(at);
        // SAFETY: `inbox` is live and `at` is below BATCH, the length of `received`; only addresses are taken.
        let (name, control) = unsafe {
            let peer = (&raw mut (*self.inbox).peers).cast::<Peer>().add(at);
            (&raw mut (*peer).name, &raw mut (*peer).control)
        };
        let message = &mut header.msg_hdr;
        message.msg_name = name.cast();
        message.msg_namelen = size_of::<[u64; NAME]>() as libc::socklen_t;
        message.msg_iov = iovec;
        message.msg_iovlen = 1;
        message.msg_control = if self.control_max == 0 { ptr::null_mut() } else { control.cast() };
        message.msg_controllen = self.control_max as _;
        message.msg_flags = 0;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `new`, freed nowhere else.
        drop(unsafe { Box::from_raw(self.inbox) });
    }
}

/// The length of the control message that came with a datagram, if it is one that fits and was not cut.
fn kept_control(header: &libc::msghdr, max: usize) -> u32 {
    let length: usize = header.msg_controllen as _;
    if header.msg_flags & libc::MSG_CTRUNC != 0 || length > max { 0 } else { u32::try_from(length).unwrap_or_default() }
}
