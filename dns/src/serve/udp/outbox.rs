//! The replies of one batch on their way out, as messages the kernel takes.
//!
//! Replies of one length to one peer become one message that the kernel cuts into datagrams again (`UDP_SEGMENT`): the
//! way through its layers, which costs more than anything we do, is then paid once for all of them. A client that asks
//! many questions through one socket (a forwarding resolver, a load balancer) sees the same datagrams as ever.
//!
//! Not every way out can cut (a device that leaves checksums to us, an old kernel). A message that is refused is sent
//! again datagram by datagram; if these are taken, messages of many are given up for good.
#![allow(unsafe_code, reason = "sendmmsg and sendmsg have no safe binding here")]

use std::{io, marker::PhantomData, net::UdpSocket, os::fd::AsRawFd, ptr};

use super::{
    BATCH,
    peer::{CONTROL, Peer, empty_header},
};

/// Longest reply that travels with others: with its headers it fits the least MTU of IPv6 (RFC 8200 section 5). What is
/// longer goes alone, for the kernel refuses to cut and to fragment at once.
const SEGMENT_MAX: usize = 1232;
/// Most replies in one message, a limit of the kernel (`UDP_MAX_SEGMENTS`).
const SEGMENTS_MAX: usize = 64;
/// Most bytes of one message, which is one IPv4 packet until it is cut.
const MESSAGE_MAX: usize = 65_507;
/// The option that gives the length of a message's datagrams (`linux/udp.h`; not in libc everywhere).
const UDP_SEGMENT: libc::c_int = 103;
/// Words of its control message: a header and, padded, a 16-bit number.
const SEGMENT: usize = 3;

/// What the kernel says if it cannot cut a message, among other things.
const CANNOT_CUT: [libc::c_int; 4] = [libc::EINVAL, libc::EIO, libc::EMSGSIZE, libc::EOPNOTSUPP];

/// How replies are sent, whoever the kernel is asked by.
pub(super) const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// The memory of messages.
pub(super) struct Outbox {
    messages: Vec<libc::mmsghdr>,
    spans: Vec<Span>,
    parts: Vec<libc::iovec>,
    controls: Vec<[u64; CONTROL + SEGMENT]>,
    segments: bool,
}

/// Which parts a message has, and how long its peer's own control message is.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    count: usize,
    control_len: u32,
}

/// Messages ready to be sent; what they point to is borrowed until they are gone.
pub(super) struct Messages<'o> {
    outbox: &'o mut Outbox,
    replies: PhantomData<&'o [u8]>,
}

/// Replies of one length to one peer.
struct Group<'o> {
    peer: &'o Peer,
    length: usize,
    count: usize,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            messages: Vec::with_capacity(BATCH),
            spans: Vec::with_capacity(BATCH),
            parts: Vec::with_capacity(BATCH),
            controls: vec![[0; CONTROL + SEGMENT]; BATCH],
            segments: true,
        }
    }

    /// Makes messages of replies, at most BATCH of them.
    pub(super) fn load<'o>(&'o mut self, replies: impl Iterator<Item = (&'o Peer, &'o [u8])>) -> Messages<'o> {
        let mut groups: [Option<Group<'o>>; BATCH] = [const { None }; BATCH];
        let mut found = 0;
        let mut placed: [(&[u8], usize); BATCH] = [(&[], 0); BATCH];
        let mut count = 0;
        for (slot, (peer, reply)) in placed.iter_mut().zip(replies) {
            let group = self.group_of(&mut groups, &mut found, peer, reply.len());
            *slot = (reply, group);
            count += 1;
        }
        self.write_headers(groups.iter().flatten());
        self.write_parts(placed.iter().take(count));
        Messages { outbox: self, replies: PhantomData }
    }

    /// The number of the group a reply belongs to, which has it now.
    fn group_of<'o>(
        &self,
        groups: &mut [Option<Group<'o>>; BATCH],
        found: &mut usize,
        peer: &'o Peer,
        length: usize,
    ) -> usize {
        if self.segments && length <= SEGMENT_MAX {
            let fits = |group: &Group<'_>| {
                group.length == length
                    && group.count < SEGMENTS_MAX
                    && (group.count + 1) * length <= MESSAGE_MAX
                    && group.peer.is_same(peer)
            };
            let known = groups.iter_mut().take(*found).flatten().enumerate().find(|(_, group)| fits(group));
            if let Some((at, group)) = known {
                group.count += 1;
                return at;
            }
        }
        if let Some(slot) = groups.get_mut(*found) {
            *slot = Some(Group { peer, length, count: 1 });
        }
        *found += 1;
        *found - 1
    }

    fn write_headers<'o>(&mut self, groups: impl Iterator<Item = &'o Group<'o>>) {
        self.messages.clear();
        self.spans.clear();
        let mut first = 0;
        for (group, control) in groups.zip(&mut self.controls) {
            let mut header = empty_header();
            group.peer.put_into(&mut header);
            header.msg_iov = self.parts.as_mut_ptr().wrapping_add(first);
            header.msg_iovlen = group.count as _;
            if group.count > 1 {
                header.msg_controllen = add_segment(control, group.peer, group.length) as _;
                header.msg_control = control.as_mut_ptr().cast();
            }
            self.messages.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
            // Counts up to the span's end while parts are written.
            self.spans.push(Span { first, count: 0, control_len: group.peer.control_len });
            first += group.count;
        }
    }

    fn write_parts<'o>(&mut self, placed: impl Iterator<Item = &'o (&'o [u8], usize)>) {
        // Within the capacity: what the headers point to stays where it is.
        self.parts.resize(BATCH, libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });
        for (reply, group) in placed {
            let Some(span) = self.spans.get_mut(*group) else { continue };
            if let Some(part) = self.parts.get_mut(span.first + span.count) {
                *part = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
            }
            span.count += 1;
        }
    }
}

impl Messages<'_> {
    /// The headers, each to be given to a `sendmsg` of some kind that has read everything when it returns.
    pub(super) fn headers(&self) -> impl Iterator<Item = *const libc::msghdr> {
        self.outbox.messages.iter().map(|message| &raw const message.msg_hdr)
    }

    /// Sends them all. What the system does not take now is dropped, as datagrams may be.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        let mut at = 0;
        while let Some(rest) = self.outbox.messages.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let count = u32::try_from(rest.len()).unwrap_or(1);
            // SAFETY: `rest` holds `count` headers, whose names, control bytes, parts and replies are borrowed by
            // `self`, and are only read.
            let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, FLAGS) };
            if let Ok(done) = usize::try_from(done) {
                at += done.max(1);
                continue;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                // The system takes no more now.
                io::ErrorKind::WouldBlock => return,
                // This one cannot be sent (a peer with port 0, a firewall): the others may.
                _ => {
                    self.refused(socket, at, &error);
                    at += 1;
                }
            }
        }
    }

    /// Message `at` was not taken: it is sent datagram by datagram if that can be why.
    pub(super) fn refused(&mut self, socket: &UdpSocket, at: usize, error: &io::Error) {
        let outbox = &mut *self.outbox;
        let (Some(message), Some(span)) = (outbox.messages.get(at), outbox.spans.get(at)) else { return };
        if span.count < 2 || !error.raw_os_error().is_some_and(|code| CANNOT_CUT.contains(&code)) {
            return;
        }
        let mut header = message.msg_hdr;
        header.msg_iovlen = 1;
        header.msg_controllen = span.control_len as _;
        if span.control_len == 0 {
            header.msg_control = ptr::null_mut();
        }
        let mut taken = false;
        for part in outbox.parts.iter_mut().skip(span.first).take(span.count) {
            header.msg_iov = part;
            // SAFETY: as in `send`, for one header with one part.
            taken |= unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, FLAGS) } >= 0;
        }
        if taken {
            tracing::debug!("replies are sent one by one: the way out does not take many at once");
            outbox.segments = false;
        }
    }
}

/// Writes the control messages of a message of many: the peer's own and the length of a datagram. Returns their length.
fn add_segment(control: &mut [u64; CONTROL + SEGMENT], peer: &Peer, length: usize) -> usize {
    let own = (peer.control_len as usize).div_ceil(size_of::<u64>()).min(CONTROL);
    for (word, value) in control.iter_mut().zip(peer.control).take(own) {
        *word = value;
    }
    let header = size_of::<libc::cmsghdr>();
    let mut bytes = [0; SEGMENT * size_of::<u64>()];
    put(&mut bytes, 0, &(header + size_of::<u16>()).to_ne_bytes());
    put(&mut bytes, size_of::<usize>(), &libc::SOL_UDP.to_ne_bytes());
    put(&mut bytes, size_of::<usize>() + size_of::<libc::c_int>(), &UDP_SEGMENT.to_ne_bytes());
    put(&mut bytes, header, &u16::try_from(length).unwrap_or_default().to_ne_bytes());
    let (words, _) = bytes.as_chunks();
    for (word, value) in control.iter_mut().skip(own).zip(words) {
        *word = u64::from_ne_bytes(*value);
    }
    own * size_of::<u64>() + (header + size_of::<u16>()).next_multiple_of(size_of::<usize>())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, value) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *value;
    }
}
