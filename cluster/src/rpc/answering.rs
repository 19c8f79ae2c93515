//! One connection for calls, seen from the server: many calls and subscriptions at once, each a task.
//!
//! ```text
//!   reader ─► task per call ─► outbox (bounded) ─► writer ─► socket
//! ```
//!
//! What comes beyond the limits is answered with [`Failure::Busy`] at once. Answers wait for room in the outbox, and so
//! does reading: a caller that does not read its answers is no longer listened to, and cut off when it goes on.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Handler,
    frame::{Budget, Frame, FrameReader, Incoming, write_all},
    link::{CANCEL, PING, PONG},
    message::{Failure, Request},
    wire::{self, ANSWER, ANSWER_LIMIT, CALL, CREDIT, FAILURE, REQUEST_LIMIT, SUBSCRIBE, UPDATE},
};
use crate::view::Interest;

/// Calls and subscriptions under way on one connection.
const OPEN: usize = 16 * 1024;
/// Calls under way on one connection.
const CALLS: usize = 4096;
/// Calls under way on all connections.
const CALLS_IN_ALL: usize = 16 * 1024;
/// Subscriptions on all connections.
const SUBSCRIPTIONS_IN_ALL: usize = 128 * 1024;
/// Large requests on their way in, in KiB.
const REQUESTS_KIB: usize = 64 * 1024;
/// Answers that wait to be written.
const OUTBOX: usize = 64;
/// How long a caller may be silent; it is asked to give a sign of life far more often.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest window of updates that is granted.
const LARGEST_WINDOW: u32 = 64;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Capacity {
    calls: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    requests: Budget,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(CALLS_IN_ALL)),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_IN_ALL)),
            requests: Budget::of_kib(REQUESTS_KIB),
        }
    }
}

/// Serves a connection until it ends; what is under way on it then is given up.
pub(super) async fn run<S>(stream: S, handler: Arc<dyn Handler>, capacity: &Capacity) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (input, output) = tokio::io::split(stream);
    let (outbox, frames) = mpsc::channel(OUTBOX);
    let input = BufReader::with_capacity(32 * 1024, input);
    let frames_in = FrameReader::new(input, REQUEST_LIMIT, capacity.requests.clone(), SILENCE);
    let mut connection = Connection {
        handler,
        capacity: capacity.clone(),
        calls: Arc::new(Semaphore::new(CALLS)),
        open: Arc::default(),
        outbox,
        tasks: JoinSet::new(),
    };
    tokio::select! {
        ended = connection.read(frames_in) => ended,
        ended = write_all(output, frames) => ended,
    }
}

struct Connection {
    handler: Arc<dyn Handler>,
    capacity: Capacity,
    calls: Arc<Semaphore>,
    /// What is under way, by id.
    open: Arc<Mutex<HashMap<u64, Exchange>>>,
    outbox: mpsc::Sender<Frame>,
    /// Ended with the connection.
    tasks: JoinSet<()>,
}

/// A call or a subscription under way.
struct Exchange {
    cancel: CancellationToken,
    /// Updates that may still be sent.
    credit: Option<Arc<Semaphore>>,
}

impl Connection {
    async fn read<R: AsyncRead + Unpin>(&mut self, mut frames: FrameReader<R>) -> io::Result<()> {
        while let Some(incoming) = frames.next().await? {
            while self.tasks.try_join_next().is_some() {}
            self.take(incoming).await?;
            // While there is no room for answers nothing more is read.
            let room = self.outbox.reserve().await;
            drop(room.map_err(|_| io::ErrorKind::BrokenPipe)?);
        }
        Ok(())
    }

    async fn take(&mut self, incoming: Incoming) -> io::Result<()> {
        let id = incoming.frame.id;
        match incoming.frame.kind {
            PING => self.send(Frame::bare(PONG, 0)).await,
            CANCEL => {
                if let Some(exchange) = self.open.lock().remove(&id) {
                    exchange.cancel.cancel();
                }
                Ok(())
            }
            CREDIT => self.credit(&incoming.frame),
            CALL => self.call(incoming).await,
            SUBSCRIBE => self.subscribe(&incoming.frame).await,
            kind => Err(invalid(format!("a message of kind {kind} is not known"))),
        }
    }

    async fn call(&mut self, incoming: Incoming) -> io::Result<()> {
        let id = incoming.frame.id;
        let request: Request = match wire::decode(&incoming.frame.body) {
            Ok(request) => request,
            Err(reason) => {
                tracing::debug!(target: "agent.rpc", "a request is not understood: {reason}");
                return self.fail(id, &Failure::Unknown).await;
            }
        };
        let turns = (self.calls.clone().try_acquire_owned(), self.capacity.calls.clone().try_acquire_owned());
        let (Ok(turn), Ok(turn_of_all)) = turns else {
            return self.fail(id, &Failure::Busy).await;
        };
        let Some(cancel) = self.begin(id, None)? else {
            return self.fail(id, &Failure::Busy).await;
        };
        let (handler, outbox, open) = (self.handler.clone(), self.outbox.clone(), self.open.clone());
        self.tasks.spawn(async move {
            let _held = (turn, turn_of_all, incoming._taken);
            let answer = tokio::select! {
                () = cancel.cancelled() => return,
                answer = handler.call(request) => answer,
            };
            // Before it can be read, so that its id may be used again.
            open.lock().remove(&id);
            let frame = match answer {
                Ok(response) => match wire::encode(&response, ANSWER_LIMIT) {
                    Ok(body) => Frame::new(ANSWER, id, body),
                    Err(reason) => failure(id, &Failure::Refused(format!("rpc error: {reason}"))),
                },
                Err(refusal) => failure(id, &refusal),
            };
            let _ = outbox.send(frame).await;
        });
        Ok(())
    }

    async fn subscribe(&mut self, frame: &Frame) -> io::Result<()> {
        let id = frame.id;
        let (window, body) = wire::split_window(&frame.body).ok_or_else(|| invalid("a subscription is too short"))?;
        let interest: Interest = match wire::decode(body) {
            Ok(interest) => interest,
            Err(reason) => {
                tracing::debug!(target: "agent.rpc", "a subscription is not understood: {reason}");
                return self.fail(id, &Failure::Unknown).await;
            }
        };
        let credit = Arc::new(Semaphore::new(window.min(LARGEST_WINDOW) as usize));
        let Ok(place) = self.capacity.subscriptions.clone().try_acquire_owned() else {
            return self.fail(id, &Failure::Busy).await;
        };
        let Some(cancel) = self.begin(id, Some(credit.clone()))? else {
            return self.fail(id, &Failure::Busy).await;
        };
        let publisher = Publisher { id, interest, credit, outbox: self.outbox.clone(), _place: place };
        let (handler, open) = (self.handler.clone(), self.open.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = publisher.run(&*handler) => {}
            }
            open.lock().remove(&id);
        });
        Ok(())
    }

    /// Notes that an exchange is under way; `None` if there are too many.
    fn begin(&self, id: u64, credit: Option<Arc<Semaphore>>) -> io::Result<Option<CancellationToken>> {
        let mut open = self.open.lock();
        if open.len() >= OPEN {
            return Ok(None);
        }
        let cancel = CancellationToken::new();
        match open.insert(id, Exchange { cancel: cancel.clone(), credit }) {
            None => Ok(Some(cancel)),
            Some(_) => Err(invalid("an id is used twice")),
        }
    }

    fn credit(&self, frame: &Frame) -> io::Result<()> {
        let more = frame.body.first_chunk::<4>().ok_or_else(|| invalid("a credit is too short"))?;
        let more = u32::from_be_bytes(*more).min(LARGEST_WINDOW) as usize;
        if let Some(Exchange { credit: Some(credit), .. }) = self.open.lock().get(&frame.id) {
            // Whatever it says, nobody is sent more at once than the largest window.
            let room = (LARGEST_WINDOW as usize).saturating_sub(credit.available_permits());
            credit.add_permits(more.min(room));
        }
        Ok(())
    }

    async fn fail(&self, id: u64, reason: &Failure) -> io::Result<()> {
        self.send(failure(id, reason)).await
    }

    async fn send(&self, frame: Frame) -> io::Result<()> {
        self.outbox.send(frame).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Pushes the states of a view while its subscriber has credit. Without credit the view is not asked, so that what comes
/// next is its newest state, and nothing piles up.
struct Publisher {
    id: u64,
    interest: Interest,
    credit: Arc<Semaphore>,
    outbox: mpsc::Sender<Frame>,
    _place: OwnedSemaphorePermit,
}

impl Publisher {
    async fn run(self, handler: &dyn Handler) {
        let mut updates = handler.subscribe(self.interest.clone());
        loop {
            let Ok(credit) = self.credit.acquire().await else {
                return;
            };
            let Some(update) = updates.next().await else {
                let ended = Failure::Refused("the subscription has ended".to_owned());
                let _ = self.outbox.send(failure(self.id, &ended)).await;
                return;
            };
            credit.forget();
            let (frame, is_end) = match wire::encode(&update, ANSWER_LIMIT) {
                Ok(body) => (Frame::new(UPDATE, self.id, body), false),
                Err(reason) => (failure(self.id, &Failure::Refused(format!("rpc error: {reason}"))), true),
            };
            if self.outbox.send(frame).await.is_err() || is_end {
                return;
            }
        }
    }
}

fn failure(id: u64, reason: &Failure) -> Frame {
    // The text of a refusal is ours and short; should it not fit, its kind alone tells.
    Frame::new(FAILURE, id, wire::encode(reason, ANSWER_LIMIT).unwrap_or_default())
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
