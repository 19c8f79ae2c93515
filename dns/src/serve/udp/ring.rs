//! Datagrams received and sent through io_uring, on Linux 6.1 and newer.
//!
//! One request to receive stays with the kernel (multishot `recvmsg`). Each datagram lands in a buffer of a ring the
//! kernel takes them from, and is told of by a completion; the buffer goes back when its reply is sent. Replies are
//! `sendmsg` requests, all submitted by one system call. The kernel works on the ring only within system calls of its
//! thread (`DEFER_TASKRUN`), so that nothing here runs at the same time as the kernel does:
//!
//! ```text
//!   enter: wait ─► completions ─► up to BATCH datagrams ─► replies ─► enter: send ─► buffers back
//! ```
//!
//! Under load a thread does not want to be woken by each datagram: after a batch of several it sleeps until a batch is
//! full, but at most BUSY_WAIT, if there is anything then (Linux 6.12 and newer). A thread with little to do is woken at
//! once.
//!
//! When every buffer is taken the kernel ends the request with ENOBUFS; it is made again as soon as buffers are back.
//! What goes wrong with the ring itself makes it *broken*: it is closed, and the caller takes the plain way.
#![allow(unsafe_code, reason = "buffers shared with the kernel; each use says why it is sound")]

use std::{
    alloc::{self, Layout},
    collections::VecDeque,
    io::{self, PipeReader},
    net::UdpSocket,
    os::fd::AsRawFd,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, SystemTime},
};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::{
    BATCH, LOOK_UP, REQUEST_MAX,
    outbox::{FLAGS, Messages, Outbox},
    peer::{CONTROL, NAME, Peer, empty_header},
    socket::{age, last_arrival},
};

/// Buffers for datagrams, a power of two: those of a batch that is answered and as many that arrive meanwhile.
const SLOTS: u16 = 128;
/// Bytes the kernel says before a datagram how long its parts are (`struct io_uring_recvmsg_out`).
const HEADER: usize = 16;
/// Bytes of a buffer: that, the name, the control message, the datagram.
const SLOT: usize = HEADER + size_of::<[u64; NAME]>() + size_of::<[u64; CONTROL]>() + REQUEST_MAX;
/// Requests that can be waiting for a submission: a batch of replies, one to receive, one to stop.
const ENTRIES: u32 = 128;
/// Completions that can be waiting: more than there can be datagrams and failed replies.
const COMPLETIONS: u32 = 512;
/// The group of our buffers; there is no other.
const GROUP: u16 = 0;
/// The socket's and the bell's places in the ring's table of files.
const SOCKET: types::Fixed = types::Fixed(0);
const BELL: types::Fixed = types::Fixed(1);

/// Marks of requests in their completions; replies have their number.
const RECEIVE: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;
const RING: u64 = u64::MAX - 2;

/// A batch of at least so many datagrams means that there is much to do.
const BUSY: usize = 4;
/// How long a thread with much to do waits for a full batch, in microseconds.
const BUSY_WAIT: u32 = 50;
/// Calls made to gather a full batch where the kernel has more.
const GATHER_TRIES: usize = 4;
/// Tries to submit before the ring counts as broken; each fails only for want of memory.
const SUBMIT_TRIES: usize = 100;
/// Tries to stop receiving, of [`CANCEL_WAIT`] each, before the buffers are left to the kernel for good.
const CANCEL_TRIES: usize = 100;
const CANCEL_WAIT: types::Timespec = types::Timespec::new().nsec(10_000_000);

/// The batch at hand, and where it comes from.
pub(super) struct Ring {
    engine: Engine,
    batch: Vec<Datagram>,
    control_max: usize,
    busy: bool,
    /// Whether there are more arrivals, here or with the kernel.
    more_here: bool,
    more_behind: bool,
    /// When the newest of those that are here came, if it is a queue.
    newest: Option<SystemTime>,
}

/// A datagram of the batch at hand.
struct Datagram {
    slot: u16,
    length: usize,
    peer: Peer,
}

impl Ring {
    /// A ring of this thread for `socket`; an error where the kernel does not allow or cannot do it. Nobody waits any
    /// longer once there is something in the pipe `bell`: the end of a socket does not wake a request to receive.
    pub(super) fn new(socket: &UdpSocket, bell: &PipeReader, wildcard: bool) -> io::Result<Self> {
        let control_max = if wildcard { size_of::<[u64; CONTROL]>() } else { 0 };
        let engine = Engine::new(socket, bell, control_max)?;
        Ok(Self {
            engine,
            batch: Vec::with_capacity(BATCH),
            control_max,
            busy: false,
            more_here: false,
            more_behind: false,
            newest: None,
        })
    }

    /// Whether it is closed: every further call fails.
    pub(super) fn is_broken(&self) -> bool {
        self.engine.ring.is_none()
    }

    /// Breaks it.
    #[cfg(test)]
    pub(super) fn fail(&mut self) {
        self.engine.close();
    }

    /// Waits for datagrams and takes up to BATCH; none if nothing came for a while.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.give_back();
        // What is here is answered before the kernel is asked for more, so that all of it has one age.
        if !self.more_here {
            self.engine.fetch(self.busy)?;
            self.more_behind = self.engine.has_more() || self.engine.is_full();
            let queue = self.more_behind || self.engine.arrivals.len() >= BATCH;
            self.newest = if queue { last_arrival(socket) } else { None };
        }
        while self.batch.len() < BATCH {
            let Some(entry) = self.engine.arrivals.pop_front() else { break };
            if !cqueue::more(entry.flags()) {
                self.engine.armed = false;
            }
            match usize::try_from(entry.result()) {
                Ok(length) => self.take(&entry, length),
                // Every buffer was taken: they are back before the next request.
                Err(_) if entry.result() == -libc::ENOBUFS => {}
                Err(_) if self.batch.is_empty() => return Err(io::Error::from_raw_os_error(-entry.result())),
                // Comes again with the next request.
                Err(_) => {}
            }
        }
        self.more_here = !self.engine.arrivals.is_empty();
        self.busy = self.batch.len() >= BUSY;
        Ok(self.batch.len())
    }

    /// How long the datagrams received last have waited at least, if others wait behind them and it is known.
    pub(super) fn waited(&self) -> Duration {
        let last = self.batch.len() < BATCH && !self.more_here && !self.more_behind;
        self.newest.filter(|_| !last).map(age).unwrap_or_default()
    }

    /// The bytes of datagram `at` of those received last.
    pub(super) fn packet(&self, at: usize) -> &[u8] {
        let start = HEADER + size_of::<[u64; NAME]>() + self.control_max;
        let bytes = |datagram: &Datagram| self.engine.buffers.get(datagram.slot)?.get(start..start + datagram.length);
        self.batch.get(at).and_then(bytes).unwrap_or_default()
    }

    /// Whose datagram `at` is.
    pub(super) fn peer(&self, at: usize) -> Option<&Peer> {
        self.batch.get(at).map(|datagram| &datagram.peer)
    }

    /// Sends replies to the datagrams they belong to, and gives the buffers of all back.
    pub(super) fn send<'r>(
        &mut self,
        socket: &UdpSocket,
        outbox: &mut Outbox,
        replies: impl Iterator<Item = (usize, &'r [u8])>,
    ) {
        let Self { engine, batch, .. } = self;
        let replies = replies.filter_map(|(at, reply)| Some((&batch.get(at)?.peer, reply)));
        engine.send(socket, outbox.load(replies));
        self.give_back();
    }

    fn take(&mut self, entry: &cqueue::Entry, length: usize) {
        let Some(slot) = cqueue::buffer_select(entry.flags()) else { return };
        let bytes = self.engine.buffers.get(slot).and_then(|bytes| bytes.get(..length)).unwrap_or_default();
        let Ok(message) = types::RecvMsgOut::parse(bytes, &self.engine.template) else {
            self.engine.buffers.give_back([slot].into_iter());
            return;
        };
        let mut peer = Peer { name_len: message.incoming_name_len(), ..Peer::default() };
        fill(&mut peer.name, message.name_data());
        if self.control_max > 0 && !message.is_control_data_truncated() {
            fill(&mut peer.control, message.control_data());
            peer.control_len = message.incoming_control_len();
            peer.forget_interface();
        }
        self.batch.push(Datagram { slot, length: message.payload_data().len(), peer });
    }

    fn give_back(&mut self) {
        self.engine.buffers.give_back(self.batch.iter().map(|datagram| datagram.slot));
        self.batch.clear();
    }
}

/// Words of bytes.
fn fill(words: &mut [u64], bytes: &[u8]) {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(size_of::<u64>())) {
        let mut whole = [0; size_of::<u64>()];
        whole.iter_mut().zip(chunk).for_each(|(byte, value)| *byte = *value);
        *word = u64::from_ne_bytes(whole);
    }
}

/// The ring proper and what the kernel is pointed at.
struct Engine {
    /// Gone when it is broken.
    ring: Option<IoUring>,
    buffers: Buffers,
    /// What the kernel reads when it receives. Boxed: it must not move while a request to receive lives.
    template: Box<libc::msghdr>,
    /// Whether the request to receive is with the kernel.
    armed: bool,
    /// Completions of it.
    arrivals: VecDeque<cqueue::Entry>,
    /// Messages that could not be sent: their numbers, and why.
    refused: Vec<(usize, io::Error)>,
}

impl Engine {
    fn new(socket: &UdpSocket, bell: &PipeReader, control_max: usize) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_cqsize(COMPLETIONS);
        let ring = builder.build(ENTRIES)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let operations =
            [opcode::RecvMsg::CODE, opcode::SendMsg::CODE, opcode::PollAdd::CODE, opcode::AsyncCancel::CODE];
        let features = ring.params();
        let complete = features.is_feature_skip_cqe_on_success() && features.is_feature_ext_arg();
        if !complete || !operations.iter().all(|&code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ring.submitter().register_files(&[socket.as_raw_fd(), bell.as_raw_fd()])?;
        let buffers = Buffers::new(&ring)?;
        let mut template = Box::new(empty_header());
        template.msg_namelen = size_of::<[u64; NAME]>() as libc::socklen_t;
        template.msg_controllen = control_max as _;
        let arrivals = VecDeque::with_capacity(COMPLETIONS as usize);
        let refused = Vec::with_capacity(BATCH);
        let mut engine = Self { ring: Some(ring), buffers, template, armed: false, arrivals, refused };
        // A kernel that does not know the request refuses it now.
        engine.push(&opcode::PollAdd::new(BELL, libc::POLLIN.cast_unsigned().into()).build().user_data(RING))?;
        engine.arm()?;
        engine.submit()?;
        engine.reap();
        match engine.arrivals.front().map(cqueue::Entry::result) {
            Some(error) if error < 0 => {
                engine.armed = false;
                Err(io::Error::from_raw_os_error(-error))
            }
            _ => Ok(engine),
        }
    }

    /// Waits for arrivals, at most [`LOOK_UP`].
    fn fetch(&mut self, busy: bool) -> io::Result<()> {
        let fetched = self.try_to_fetch(busy);
        if fetched.is_err() {
            self.close();
        }
        fetched
    }

    fn try_to_fetch(&mut self, busy: bool) -> io::Result<()> {
        if !self.armed {
            self.arm()?;
        }
        if self.arrivals.is_empty() {
            self.wait(busy)?;
            self.reap();
        }
        // The kernel lets go of a long queue after 32 datagrams (its limit) and says that there is more.
        for _ in 0..GATHER_TRIES {
            if !self.has_more() || self.arrivals.len() >= BATCH {
                break;
            }
            self.submit()?;
            self.reap();
        }
        Ok(())
    }

    /// Whether the kernel has arrivals that it has not told of.
    fn has_more(&mut self) -> bool {
        self.ring.as_mut().is_some_and(|ring| ring.submission().taskrun())
    }

    /// Whether the last arrival is also the last of its request: there is no buffer for more.
    fn is_full(&self) -> bool {
        self.arrivals.back().is_some_and(|entry| !cqueue::more(entry.flags()))
    }

    /// Asks for datagrams, until an error or the lack of a buffer ends it.
    fn arm(&mut self) -> io::Result<()> {
        let entry = opcode::RecvMsgMulti::new(SOCKET, &raw const *self.template, GROUP).build().user_data(RECEIVE);
        self.push(&entry)?;
        self.armed = true;
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        let ring = self.ring.as_mut().ok_or_else(closed)?;
        // SAFETY: what the requests of this file point to is there for as long as they are: the template and the
        // buffers until receiving has ended (`close`), messages until they are submitted (`send`).
        let pushed = unsafe { ring.submission().push(entry) };
        pushed.map_err(|_full| io::ErrorKind::OutOfMemory.into())
    }

    /// Submits what is queued and waits for datagrams.
    fn wait(&mut self, busy: bool) -> io::Result<()> {
        let ring = self.ring.as_mut().ok_or_else(closed)?;
        let longest = types::Timespec::from(LOOK_UP);
        let arguments = types::SubmitArgs::new().timespec(&longest);
        let waited = if busy && ring.params().is_feature_min_timeout() {
            ring.submitter().submit_with_args(BATCH, &arguments.min_wait_usec(BUSY_WAIT))
        } else {
            ring.submitter().submit_with_args(1, &arguments)
        };
        match waited {
            Err(error) if !is_pause(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Submits what is queued, all of it.
    fn submit(&mut self) -> io::Result<()> {
        let ring = self.ring.as_mut().ok_or_else(closed)?;
        for _ in 0..SUBMIT_TRIES {
            match ring.submit() {
                Err(error) if !is_pause(&error) => return Err(error),
                _ if ring.submission().is_empty() => return Ok(()),
                _ => {}
            }
        }
        Err(io::ErrorKind::OutOfMemory.into())
    }

    /// Takes completions off the ring.
    fn reap(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        for entry in ring.completion() {
            match entry.user_data() {
                RECEIVE => self.arrivals.push_back(entry),
                CANCEL | RING => {}
                // Of replies, only those that failed are told of.
                number => {
                    let error = io::Error::from_raw_os_error(-entry.result());
                    self.refused.extend(usize::try_from(number).map(|number| (number, error)));
                }
            }
        }
    }

    /// Sends messages. What the system does not take now is dropped, as datagrams may be.
    fn send(&mut self, socket: &UdpSocket, mut messages: Messages<'_>) {
        self.refused.clear();
        let queued = self.queue(&messages).and_then(|()| self.submit());
        // FLAGS forbid to wait, so a reply is gone or refused when it is submitted. One that was not may be read by the
        // kernel whenever this ring is used again: it must not be.
        if queued.is_err() {
            self.close();
        }
        self.reap();
        for (at, error) in self.refused.drain(..) {
            messages.refused(socket, at, &error);
        }
    }

    fn queue(&mut self, messages: &Messages<'_>) -> io::Result<()> {
        for (number, header) in (0..).zip(messages.headers()) {
            let entry = opcode::SendMsg::new(SOCKET, header).flags(FLAGS.cast_unsigned()).build();
            self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(number))?;
        }
        Ok(())
    }

    /// Stops receiving and closes the ring. The socket is free afterwards.
    fn close(&mut self) {
        let stopped = self.stop_receiving();
        if let Some(ring) = self.ring.take() {
            let _closing_does_it_too = ring.submitter().unregister_files();
        }
        if stopped.is_err() || self.armed {
            // The kernel may still use them.
            self.buffers.leave();
            std::mem::forget(std::mem::replace(&mut self.template, Box::new(empty_header())));
        }
    }

    /// Cancels the request to receive and waits until the kernel has let go of it.
    fn stop_receiving(&mut self) -> io::Result<()> {
        let ring = self.ring.as_mut().ok_or_else(closed)?;
        if !ring.submission().is_empty() {
            // Requests that could not be submitted would be now.
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        if self.armed {
            self.push(&opcode::AsyncCancel::new(RECEIVE).build().user_data(CANCEL))?;
        }
        for _ in 0..CANCEL_TRIES {
            self.reap();
            self.armed &= self.arrivals.drain(..).all(|entry| cqueue::more(entry.flags()));
            let Some(ring) = self.ring.as_mut().filter(|_| self.armed) else { break };
            match ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&CANCEL_WAIT)) {
                Err(error) if !is_pause(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// Nothing came, a signal did, or memory is short for the moment.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// Memory for datagrams, and the ring through which the kernel gets it.
struct Buffers {
    memory: *mut u8,
    tail: u16,
    left: bool,
}

impl Buffers {
    const RING: usize = SLOTS as usize * size_of::<types::BufRingEntry>();

    fn new(ring: &IoUring) -> io::Result<Self> {
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc::alloc_zeroed(Self::layout()) };
        if memory.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut buffers = Self { memory, tail: 0, left: false };
        // SAFETY: the ring of entries is at the beginning of the memory, aligned to a page, and has SLOTS entries. The
        // memory lives until the ring is closed (`Engine::close`).
        unsafe { ring.submitter().register_buf_ring_with_flags(memory as u64, SLOTS, GROUP, 0)? };
        buffers.give_back(0..SLOTS);
        Ok(buffers)
    }

    fn layout() -> Layout {
        const PAGE: usize = 4096;
        const BYTES: usize = Buffers::RING + SLOTS as usize * SLOT;
        const LAYOUT: Layout = match Layout::from_size_align(BYTES, PAGE) {
            Ok(layout) => layout,
            Err(_) => panic!("a page is a power of two"),
        };
        LAYOUT
    }

    /// The bytes of a buffer.
    fn get(&self, slot: u16) -> Option<&[u8]> {
        if slot >= SLOTS {
            return None;
        }
        // SAFETY: within the allocation, which was zeroed. The kernel writes there only during system calls of this
        // thread on the ring, for which `Engine` takes `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(self.memory.add(Self::RING + usize::from(slot) * SLOT), SLOT) })
    }

    /// Lets the kernel have buffers (again).
    fn give_back(&mut self, slots: impl Iterator<Item = u16>) {
        let before = self.tail;
        let entries = self.memory.cast::<types::BufRingEntry>();
        for slot in slots.filter(|slot| *slot < SLOTS) {
            // SAFETY: the entry is one of SLOTS at the beginning of the memory, and the buffer one of those behind
            // them. The kernel reads the entry only after the tail has been moved over it. Written by fields: the tail
            // is in a field of the first entry that these do not touch.
            unsafe {
                let entry = &mut *entries.add(usize::from(self.tail % SLOTS));
                entry.set_addr(self.memory.add(Self::RING + usize::from(slot) * SLOT) as u64);
                entry.set_len(SLOT as u32);
                entry.set_bid(slot);
            }
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            // SAFETY: `entries` is the base of the ring, aligned and initialized; the tail is a u16 the kernel only reads.
            unsafe {
                let tail = types::BufRingEntry::tail(entries).cast_mut();
                AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
            }
        }
    }

    /// Leaves the memory to the kernel for good.
    fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if !self.left {
            // SAFETY: made in `new` with this layout; the kernel has let go of it.
            unsafe { alloc::dealloc(self.memory, Self::layout()) };
        }
    }
}
