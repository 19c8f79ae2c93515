//! One connection: requests read as they come, all that are complete answered at once, their replies written together.
//!
//! Between two polls a connection holds only what it could not finish: the beginning of a request, replies the client has
//! not taken. Everything else lives in a [`Workspace`] of the thread. Errands are tasks of their own whose replies go
//! when they are there, past and before others (RFC 7766 6.2.1.1 and 7): a client tells them apart by their ids.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    frames,
    places::{Leave, Place},
};
use crate::{
    client::{Client, Transport},
    errand,
    responder::{Failure, Outcome, Responder},
    serve::shared::Shared,
};

/// How long a connection may be silent, a request half sent, and replies not taken (RFC 7766 6.2.3: seconds).
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long an ending server waits for what is under way.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
/// Bytes read at once. What is held of requests is at most this and one request.
const READ: usize = 16 << 10;
/// Replies are gathered until they are this many bytes, then written. One reply more may go beyond.
const BATCH: usize = 32 << 10;
/// Most errands of one connection; until one is back nothing more is read.
const ERRANDS_MAX: usize = 128;
/// Reads, or rests of them, that are answered before others have their turn.
const TURNS: usize = 8;

thread_local! {
    /// Borrowed within a poll only.
    static WORKSPACE: RefCell<Workspace> = RefCell::new(Workspace::new());
}

/// A thread's memory for whichever connection is at work.
struct Workspace {
    input: Box<[u8]>,
    pen: Pen,
}

/// What answering takes.
struct Pen {
    responder: Responder,
    reply: Vec<u8>,
    batch: Vec<u8>,
}

impl Workspace {
    fn new() -> Self {
        let pen = Pen { responder: Responder::new(rand::random()), reply: Vec::new(), batch: Vec::new() };
        Self { input: vec![0; READ].into_boxed_slice(), pen }
    }
}

/// A client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    client: Client,
    shared: Arc<Shared>,
    place: Place,
    /// The client sends nothing more; replies under way still go.
    ended: bool,
    /// The server ends: what is here is answered.
    finishing: bool,
    /// When it was last of use: a request answered, replies taken.
    last: Instant,
    /// Received and not answered: requests that have to wait, the beginning of one that is not there yet.
    held: Vec<u8>,
    /// Replies that are not sent, behind the first `sent` bytes.
    unsent: Vec<u8>,
    sent: usize,
    errands: JoinSet<(Vec<u8>, OwnedSemaphorePermit)>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, address: IpAddr, shared: Arc<Shared>, place: Place) -> Self {
        Self {
            stream,
            client: Client { transport: Transport::Tcp, address: Some(address), idle: Some(IDLE) },
            shared,
            place,
            ended: false,
            finishing: false,
            last: Instant::now(),
            held: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            errands: JoinSet::new(),
        }
    }

    /// Serves the client until one side has enough. An error says why it was not the end of the conversation.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut timer = pin!(sleep_until(self.last + IDLE));
        poll_fn(|cx| self.poll(cx, timer.as_mut())).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<io::Result<()>> {
        if !self.finishing
            && let Poll::Ready(told) = Pin::new(&mut self.place.told).poll(cx)
        {
            if told != Ok(Leave::Finished) {
                return failed(io::ErrorKind::ConnectionAborted, "made room for another");
            }
            self.finishing = true;
            self.last = Instant::now();
            timer.as_mut().reset(self.last + DRAIN);
        }
        if let Poll::Ready(ended) = self.work(cx) {
            return Poll::Ready(ended);
        }
        self.place.note(self.last, self.is_busy());
        if !self.place.held.set(self.held.capacity() + self.unsent.capacity()) {
            return failed(io::ErrorKind::OutOfMemory, "too much is held for slow clients");
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match self.ends() {
                Some(end) if end <= now => return failed(io::ErrorKind::TimedOut, "silent for too long"),
                Some(end) => timer.as_mut().reset(end),
                None => timer.as_mut().reset(now + IDLE),
            }
        }
        Poll::Pending
    }

    /// Does what can be done now; ready when there will be nothing more to do.
    fn work(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            ready!(self.settle(cx))?;
            if self.errands.len() >= ERRANDS_MAX {
                return Poll::Pending;
            }
            if frames::next(&self.held).is_some() {
                WORKSPACE.with_borrow_mut(|workspace| self.resume(cx, &mut workspace.pen))?;
                continue;
            }
            if !self.ended && WORKSPACE.with_borrow_mut(|workspace| self.receive(cx, workspace))?.is_ready() {
                continue;
            }
            let over = (self.ended || self.finishing) && self.errands.is_empty();
            return if over { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what errands brought and sends everything that is unsent; ready when nothing is left of it.
    fn settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // A client that does not take its replies gets none from errands either: they keep their permits.
            while self.unsent.len() < BATCH
                && let Poll::Ready(Some(done)) = self.errands.poll_join_next(cx)
            {
                match done {
                    Ok((reply, _permit)) => frames::push(&mut self.unsent, &reply),
                    Err(error) => tracing::error!(%error, "a DNS errand failed"),
                }
                self.renew();
            }
            let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            self.sent += match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return failed(io::ErrorKind::WriteZero, "nothing is taken"),
                written => written,
            };
            if self.sent == self.unsent.len() {
                (self.unsent, self.sent) = (Vec::new(), 0);
                self.renew();
            }
        }
    }

    /// Reads once and answers what has come whole.
    fn receive(&mut self, cx: &mut Context<'_>, workspace: &mut Workspace) -> io::Result<Poll<()>> {
        let mut buffer = ReadBuf::new(&mut workspace.input);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) else {
            return Ok(Poll::Pending);
        };
        read?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.ended = true;
        } else if self.held.is_empty() {
            let rest = self.answer(cx, bytes, &mut workspace.pen)?;
            if !rest.is_empty() {
                self.held.extend_from_slice(rest);
                self.renew();
            }
        } else {
            self.held.extend_from_slice(bytes);
            self.resume(cx, &mut workspace.pen)?;
        }
        Ok(Poll::Ready(()))
    }

    /// Answers what is held and has come whole.
    fn resume(&mut self, cx: &mut Context<'_>, pen: &mut Pen) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let rest = self.answer(cx, &held, pen)?.len();
        if rest > 0 {
            held.drain(..held.len() - rest);
            self.held = held;
        }
        Ok(())
    }

    /// Answers the requests in `bytes` and writes the replies as far as they are taken; returns the bytes that have to
    /// wait.
    fn answer<'b>(&mut self, cx: &mut Context<'_>, bytes: &'b [u8], pen: &mut Pen) -> io::Result<&'b [u8]> {
        let Pen { responder, reply, batch } = pen;
        let (shared, client) = (&self.shared, self.client);
        let moment = shared.moment();
        let view = shared.view(&moment, None);
        let (before, began) = (responder.counts(), Instant::now());
        let mut rest = bytes;
        batch.clear();
        while let Some((request, behind)) = frames::next(rest).filter(|_| batch.len() < BATCH) {
            match responder.respond(request, &client, &view, reply) {
                Outcome::Dropped => {}
                Outcome::Replied => frames::push(batch, reply),
                Outcome::Elsewhere(_) if self.errands.len() >= ERRANDS_MAX => break,
                Outcome::Elsewhere(errand) if let Some(known) = errand::at_once(shared, request, &client, &errand) => {
                    frames::push(batch, &known);
                }
                Outcome::Elsewhere(errand) => match shared.errands.clone().try_acquire_owned() {
                    Ok(permit) => {
                        let (shared, request) = (shared.clone(), request.to_vec());
                        self.errands
                            .spawn(async move { (errand::reply(&shared, &request, errand, &client).await, permit) });
                    }
                    Err(_) => {
                        reply.clear();
                        responder.fail(request, Failure::BUSY, &client, &view, reply);
                        frames::push(batch, reply);
                    }
                },
            }
            rest = behind;
        }
        let answered = began.elapsed();
        shared.tcp_tally.take(responder.services());
        let mut added = responder.counts().since(before);
        added.took(answered, added.codes.iter().sum());
        shared.tcp_tally.add(added);
        if rest.len() < bytes.len() {
            self.renew();
        }
        self.send(cx, batch)?;
        Ok(rest)
    }

    /// Writes what the client takes now and keeps the rest.
    fn send(&mut self, cx: &mut Context<'_>, batch: &[u8]) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let written = match Pin::new(&mut self.stream).poll_write(cx, batch) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.unsent.extend_from_slice(batch.get(written..).unwrap_or_default());
        Ok(())
    }

    /// The connection is of use. A server that ends waits no longer for it.
    fn renew(&mut self) {
        if !self.finishing {
            self.last = Instant::now();
        }
    }

    fn is_busy(&self) -> bool {
        !self.errands.is_empty() || !self.unsent.is_empty()
    }

    /// When it is too late for what the client has to do, if it is its turn.
    fn ends(&self) -> Option<Instant> {
        if self.finishing {
            return Some(self.last + DRAIN);
        }
        let ours = !self.errands.is_empty() && self.unsent.is_empty() && self.held.is_empty();
        let full = self.errands.len() >= ERRANDS_MAX && self.unsent.is_empty();
        if ours || full { None } else { Some(self.last + IDLE) }
    }
}

fn failed<T>(kind: io::ErrorKind, why: &'static str) -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(kind, why)))
}
