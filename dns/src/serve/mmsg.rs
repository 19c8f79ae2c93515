//! Datagrams received and sent many at a time: `recvmmsg` and `sendmmsg`, and all the `unsafe` of this crate.
//!
//! A batch owns the memory the kernel reads and writes. `receive` waits for one datagram and takes what else is there;
//! the caller writes replies; `send` sends them from the addresses the requests came to. On a socket bound to the
//! wildcard address the kernel says with each request which address it came to (`IP_PKTINFO`), and the same words sent
//! back make the reply leave from there; on other sockets there is nothing to say and nothing is spent on it.
#![allow(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and sendmsg have no safe binding here; each use says why it is sound"
)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    ptr,
};

/// Datagrams taken at once.
pub(super) const BATCH: usize = 32;
/// Bytes of a request that are read; no question needs more. Not a power of two, so that the headers of a batch do not
/// all fall into the same lines of the cache.
const REQUEST_MAX: usize = 1472;
/// Bytes for one `IP_PKTINFO` or `IPV6_PKTINFO`, aligned as a control message.
const CONTROL: usize = 5;

/// Whose request it was, as the kernel said it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Peer {
    name: libc::sockaddr_storage,
    control: [u64; CONTROL],
    name_len: libc::socklen_t,
    control_len: usize,
}

/// What the kernel is pointed at. Lives behind a raw pointer, because the message headers hold pointers into it.
struct Inbox {
    packets: [[u8; REQUEST_MAX]; BATCH],
    peers: [Peer; BATCH],
}

/// A batch of datagrams and their replies.
pub(super) struct Batch {
    inbox: *mut Inbox,
    received: Vec<libc::mmsghdr>,
    receive_into: Vec<libc::iovec>,
    outgoing: Vec<libc::mmsghdr>,
    send_from: Vec<libc::iovec>,
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
        let mut batch = Self {
            inbox,
            received: vec![empty_header(); BATCH],
            receive_into,
            outgoing: vec![empty_header(); BATCH],
            send_from: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH],
            control_max,
        };
        for at in 0..BATCH {
            batch.prepare(at);
        }
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
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
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
    pub(super) fn peer(&self, at: usize) -> Option<Peer> {
        let header = self.received.get(at)?;
        // SAFETY: as in `packet`.
        let peers = unsafe { &(*self.inbox).peers };
        let mut peer = *peers.get(at)?;
        peer.name_len = header.msg_hdr.msg_namelen;
        peer.control_len = kept_control(header, self.control_max);
        peer.forget_interface();
        Some(peer)
    }

    /// The address datagram `at` came from.
    pub(super) fn address(&self, at: usize) -> Option<IpAddr> {
        // SAFETY: as in `packet`.
        let peers = unsafe { &(*self.inbox).peers };
        let name = &peers.get(at)?.name;
        match libc::c_int::from(name.ss_family) {
            libc::AF_INET => {
                // SAFETY: the kernel wrote an address of this family there, and the storage is larger than one.
                let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
                Some(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
                Some(Ipv6Addr::from(name.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }

    /// Sends the replies to the datagrams they belong to, and makes the batch ready for the next `count`. What the
    /// system does not take now is dropped, as datagrams may be; returns how many were sent.
    pub(super) fn send<'r>(
        &mut self,
        socket: &UdpSocket,
        count: usize,
        replies: impl Iterator<Item = (usize, &'r [u8])>,
    ) -> usize {
        let mut queued = 0;
        for (at, reply) in replies {
            let Some(received) = self.received.get(at).filter(|_| queued < BATCH) else { continue };
            let iovec = self.send_from.as_mut_ptr().wrapping_add(queued);
            // SAFETY: `queued` is below BATCH, the vector's length. Its elements are reached by such pointers alone, so
            // that those in the headers stay good.
            unsafe { iovec.write(libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() }) };
            let control_len = kept_control(received, self.control_max);
            let mut header = received.msg_hdr;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_controllen = control_len as _;
            if control_len == 0 {
                header.msg_control = ptr::null_mut();
            } else {
                // SAFETY: as in `packet`, and `&mut self` makes this the only access.
                let peers = unsafe { &mut (*self.inbox).peers };
                if let Some(peer) = peers.get_mut(at) {
                    peer.control_len = control_len;
                    peer.forget_interface();
                }
            }
            header.msg_flags = 0;
            if let Some(slot) = self.outgoing.get_mut(queued) {
                *slot = libc::mmsghdr { msg_hdr: header, msg_len: 0 };
                queued += 1;
            }
        }
        let sent = self.send_queued(socket, queued);
        (0..count.min(BATCH)).for_each(|at| self.prepare(at));
        sent
    }

    fn send_queued(&mut self, socket: &UdpSocket, queued: usize) -> usize {
        let mut at = 0;
        let mut sent = 0;
        while let Some(rest) = self.outgoing.get_mut(at..queued).filter(|rest| !rest.is_empty()) {
            let count = u32::try_from(rest.len()).unwrap_or(1);
            // SAFETY: `rest` holds `count` headers; each points to the name and control bytes of this batch's inbox and
            // to an iovec of `send_from`, which points to a reply that outlives this call (`'r` of `send`).
            let done = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            };
            match usize::try_from(done) {
                Ok(done) => {
                    at += done.max(1);
                    sent += done;
                }
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // The system takes no more now.
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => return sent,
                // This one cannot be sent (a peer with port 0, a firewall): the others may.
                Err(_) => at += 1,
            }
        }
        sent
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
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
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

impl Peer {
    /// Sends one reply to it.
    pub(super) fn send(&self, socket: &UdpSocket, reply: &[u8]) -> io::Result<()> {
        let mut iovec = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
        let mut header = empty_header().msg_hdr;
        header.msg_name = (&raw const self.name).cast_mut().cast();
        header.msg_namelen = self.name_len;
        header.msg_iov = &raw mut iovec;
        header.msg_iovlen = 1;
        if self.control_len > 0 {
            header.msg_control = (&raw const self.control).cast_mut().cast();
            header.msg_controllen = self.control_len as _;
        }
        // SAFETY: the header points to this peer, to `iovec` and through it to `reply`, all alive and only read.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Clears the interface index: the reply is to leave from the same address, by whatever way the routes say.
    fn forget_interface(&mut self) {
        let data = size_of::<libc::cmsghdr>();
        let family = libc::c_int::from(self.name.ss_family);
        let index = match family {
            libc::AF_INET => data,
            libc::AF_INET6 => data + 16,
            _ => return,
        };
        let at = index / size_of::<u64>();
        // A link-local address means nothing without its interface.
        if self.control_len == 0 || (family == libc::AF_INET6 && self.is_link_local()) {
            return;
        }
        if let Some(word) = self.control.get_mut(at) {
            let mut bytes = word.to_ne_bytes();
            for byte in bytes.iter_mut().skip(index % size_of::<u64>()).take(4) {
                *byte = 0;
            }
            *word = u64::from_ne_bytes(bytes);
        }
    }

    fn is_link_local(&self) -> bool {
        let first = self.control.get(size_of::<libc::cmsghdr>() / size_of::<u64>()).map(|word| word.to_ne_bytes());
        matches!(first, Some([0xfe, second, ..]) if second & 0xc0 == 0x80)
    }
}

/// Asks the kernel to say which address each datagram came to.
pub(super) fn tell_local_address(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    // SAFETY: the option takes an int, and its address and size are given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes everybody who waits for a datagram on the socket return.
pub(super) fn wake(socket: &UdpSocket) {
    // SAFETY: no memory is involved. On an unconnected UDP socket the call reports ENOTCONN, but Linux marks the socket
    // as shut down all the same and wakes its readers.
    let _enotconn = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
}

/// The length of the control message that came with a datagram, if it is one that fits and was not cut.
fn kept_control(header: &libc::mmsghdr, max: usize) -> usize {
    let length: usize = header.msg_hdr.msg_controllen as _;
    if header.msg_hdr.msg_flags & libc::MSG_CTRUNC != 0 || length > max { 0 } else { length }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: integers and pointers only; all bytes zero is null and 0.
    unsafe { std::mem::zeroed() }
}
