//! One connection to a server, seen from the side that made it: requests go out under ids of their own, answers come
//! back in any order.
//!
//! ```text
//!   request ─► waiting[id] ─► writer ─► socket          socket ─► reader ─► waiting[id] ─► answer
//!                  ▲ forgotten, and cancelled there, when whoever asked gives up
//! ```
//!
//! A link is made at once and dials in the background; what is asked meanwhile waits for it. It ends when the server is
//! gone or silent, when nobody asked anything for a while, or with its last handle. It remembers which requests had
//! begun to leave: of those nobody knows whether they were done, of the others it is certain that they were not. Knows
//! nothing of what is asked.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    frame::{Budget, Frame, FrameReader, in_time, write_frame},
    greeting::{self, Greeting},
};

/// Are you there? Sent by whoever made the connection.
pub(crate) const PING: u8 = 1;
/// Yes.
pub(crate) const PONG: u8 = 2;
/// Whoever asked this does not want an answer any more.
pub(crate) const CANCEL: u8 = 3;

/// How a link behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long connecting may take.
    pub(crate) dial: Duration,
    /// After how long a silence the server is asked whether it is there.
    pub(crate) ping: Duration,
    /// After how long a silence it is given up.
    pub(crate) patience: Duration,
    /// After how long without a request the link ends.
    pub(crate) idle: Duration,
    /// The largest answer, in bytes.
    pub(crate) answer_limit: usize,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Whether the request had begun to leave.
    pub(crate) sent: bool,
    /// What ended the link.
    pub(crate) reason: String,
}

/// A connection. Clones share it; it ends with the last.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    /// Not bounded here: each request that waits has one frame in it, and at most one more to take it back; how many may
    /// wait is the affair of who asks.
    frames: mpsc::UnboundedSender<Outgoing>,
}

struct Shared {
    next_id: AtomicU64,
    state: Mutex<State>,
}

struct State {
    /// Why the link has ended.
    ended: Option<String>,
    waiting: HashMap<u64, Waiting>,
    last_heard: Instant,
    last_used: Instant,
}

struct Waiting {
    sent: bool,
    sink: Sink,
}

/// Where answers go.
enum Sink {
    /// One answer.
    Once(oneshot::Sender<Result<Frame, Gone>>),
    /// As many as this takes; a server that sends more breaks its promise.
    Many(mpsc::Sender<Result<Frame, Gone>>),
}

struct Outgoing {
    frame: Frame,
    /// Whether it begins an exchange, which must still be wanted when it is sent.
    opens: bool,
}

impl Link {
    /// Makes a link, which dials in the background.
    pub(crate) fn open(address: SocketAddr, greeting: Greeting, terms: Terms) -> Self {
        let now = Instant::now();
        let state = State { ended: None, waiting: HashMap::new(), last_heard: now, last_used: now };
        let shared = Arc::new(Shared { next_id: AtomicU64::new(1), state: Mutex::new(state) });
        let (frames, outgoing) = mpsc::unbounded_channel();
        let of_task = shared.clone();
        tokio::spawn(async move {
            let reason = match run(&of_task, outgoing, address, greeting, terms).await {
                Ok(reason) => reason.to_owned(),
                Err(error) => error.to_string(),
            };
            of_task.end(&reason);
        });
        Self { shared, frames }
    }

    /// Whether it can no longer be used.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.state.lock().ended.is_some()
    }

    /// Asks; the request is queued when this returns, in the order of the calls.
    pub(crate) fn request(&self, kind: u8, body: impl Into<Bytes>) -> Ticket {
        let (sender, answer) = oneshot::channel();
        let open = self.begin(kind, body.into(), Sink::Once(sender));
        Ticket { open, answer }
    }

    /// Asks for any number of answers, of which at most `window` are kept.
    pub(crate) fn subscribe(&self, kind: u8, body: impl Into<Bytes>, window: usize) -> Flow {
        // One more for the end.
        let (sender, answers) = mpsc::channel(window + 1);
        let open = self.begin(kind, body.into(), Sink::Many(sender));
        Flow { open, answers }
    }

    fn begin(&self, kind: u8, body: Bytes, sink: Sink) -> Open {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let mut state = self.shared.state.lock();
        state.last_used = Instant::now();
        match &state.ended {
            Some(reason) => sink.end(Gone { sent: false, reason: reason.clone() }),
            None => {
                state.waiting.insert(id, Waiting { sent: false, sink });
                // Queued under the lock, so that ids leave in their order. Without a receiver the link is about to end.
                let _ = self.frames.send(Outgoing { frame: Frame::new(kind, id, body), opens: true });
            }
        }
        drop(state);
        Open { link: self.clone(), id }
    }
}

/// An exchange under way; dropping it takes it back.
struct Open {
    link: Link,
    id: u64,
}

impl Open {
    fn is_sent(&self) -> bool {
        self.link.shared.state.lock().waiting.get(&self.id).is_none_or(|waiting| waiting.sent)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let forgotten = {
            let mut state = self.link.shared.state.lock();
            state.last_used = Instant::now();
            state.waiting.remove(&self.id)
        };
        if forgotten.is_some_and(|waiting| waiting.sent) {
            let _ = self.link.frames.send(Outgoing { frame: Frame::bare(CANCEL, self.id), opens: false });
        }
    }
}

/// A request that waits for its one answer.
pub(crate) struct Ticket {
    open: Open,
    answer: oneshot::Receiver<Result<Frame, Gone>>,
}

impl Ticket {
    /// The answer. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Result<Frame, Gone> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Gone { sent: true, reason: "answered already".to_owned() }),
        }
    }

    /// Whether the request has begun to leave.
    pub(crate) fn is_sent(&self) -> bool {
        self.open.is_sent()
    }
}

/// A request with many answers.
pub(crate) struct Flow {
    open: Open,
    answers: mpsc::Receiver<Result<Frame, Gone>>,
}

impl Flow {
    /// The next answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Frame, Gone> {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => Err(Gone { sent: true, reason: "the subscription has ended".to_owned() }),
        }
    }

    /// An answer that is there already.
    pub(crate) fn next_now(&mut self) -> Option<Result<Frame, Gone>> {
        self.answers.try_recv().ok()
    }

    /// Sends something more that belongs to it.
    pub(crate) fn send(&self, kind: u8, body: impl Into<Bytes>) {
        let frame = Frame::new(kind, self.open.id, body);
        // A link that has ended tells so when the next answer is asked for.
        let _ = self.open.link.frames.send(Outgoing { frame, opens: false });
    }
}

impl Sink {
    fn end(self, gone: Gone) {
        match self {
            Self::Once(sender) => {
                let _ = sender.send(Err(gone));
            }
            // Where it does not fit any more the channel's end says it.
            Self::Many(sender) => {
                let _ = sender.try_send(Err(gone));
            }
        }
    }
}

impl Shared {
    /// Notes that an exchange begins to leave; `false` if nobody wants it any more.
    fn leaves(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        state.waiting.get_mut(&id).is_some_and(|waiting| {
            waiting.sent = true;
            true
        })
    }

    /// Hands an answer to whoever waits for it.
    fn answered(&self, frame: Frame) -> io::Result<()> {
        let mut state = self.state.lock();
        state.last_heard = Instant::now();
        if frame.kind == PONG {
            return Ok(());
        }
        let id = frame.id;
        match state.waiting.get(&id) {
            // Taken back meanwhile.
            None => Ok(()),
            Some(Waiting { sink: Sink::Many(sender), .. }) => match sender.try_send(Ok(frame)) {
                Err(mpsc::error::TrySendError::Full(_)) => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "the server sends more than it was asked for"))
                }
                _ => Ok(()),
            },
            Some(Waiting { sink: Sink::Once(_), .. }) => {
                if let Some(Waiting { sink: Sink::Once(sender), .. }) = state.waiting.remove(&id) {
                    let _ = sender.send(Ok(frame));
                }
                Ok(())
            }
        }
    }

    fn end(&self, reason: &str) {
        let waiting = {
            let mut state = self.state.lock();
            state.ended = Some(reason.to_owned());
            std::mem::take(&mut state.waiting)
        };
        for Waiting { sent, sink } in waiting.into_values() {
            sink.end(Gone { sent, reason: reason.to_owned() });
        }
    }
}

/// Carries frames both ways; says why it ended.
async fn run(
    shared: &Shared,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    address: SocketAddr,
    greeting: Greeting,
    terms: Terms,
) -> io::Result<&'static str> {
    let stream = greeting::dial(address, greeting, terms.dial).await?;
    let (input, output) = tokio::io::split(stream);
    let (pings, pinged) = mpsc::channel(1);
    shared.state.lock().last_heard = Instant::now();
    tokio::select! {
        ended = read(shared, input, terms) => ended,
        ended = write(shared, output, outgoing, pinged) => ended,
        reason = watch_over(shared, pings, terms) => Ok(reason),
    }
}

async fn read<R: AsyncRead + Unpin>(shared: &Shared, input: R, terms: Terms) -> io::Result<&'static str> {
    // Whoever we asked may fill as much memory as it was asked for.
    let budget = Budget::of_kib(usize::MAX >> 4);
    let input = BufReader::with_capacity(32 * 1024, input);
    // Silence is watched over elsewhere.
    let mut frames = FrameReader::new(input, terms.answer_limit, budget, terms.idle.max(terms.patience) * 2);
    while let Some(incoming) = frames.next().await? {
        shared.answered(incoming.frame)?;
    }
    Ok("connection closed")
}

async fn write<W: AsyncWrite + Unpin>(
    shared: &Shared,
    output: W,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    mut pings: mpsc::Receiver<()>,
) -> io::Result<&'static str> {
    let mut output = BufWriter::with_capacity(32 * 1024, output);
    loop {
        let mut next = tokio::select! {
            Some(()) = pings.recv() => Some(Outgoing { frame: Frame::bare(PING, 0), opens: false }),
            next = outgoing.recv() => match next {
                Some(next) => Some(next),
                None => return in_time(output.shutdown()).await.map(|()| "not needed any more"),
            },
        };
        while let Some(Outgoing { frame, opens }) = next {
            if !opens || shared.leaves(frame.id) {
                in_time(write_frame(&mut output, &frame)).await?;
            }
            next = outgoing.try_recv().ok();
        }
        in_time(output.flush()).await?;
    }
}

/// Asks a silent server whether it is there; returns when it is given up, or nobody needs it.
async fn watch_over(shared: &Shared, pings: mpsc::Sender<()>, terms: Terms) -> &'static str {
    let mut tick = tokio::time::interval(terms.ping / 2);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (silent, unused) = {
            let state = shared.state.lock();
            let unused = state.waiting.is_empty().then(|| state.last_used.elapsed());
            (state.last_heard.elapsed(), unused)
        };
        if unused.is_some_and(|unused| unused >= terms.idle) {
            return "idle";
        }
        if silent >= terms.patience {
            return "no sign of life";
        }
        if silent >= terms.ping {
            // One that is not written yet will do.
            let _ = pings.try_send(());
        }
    }
}
