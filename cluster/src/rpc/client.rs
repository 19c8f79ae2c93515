//! Calls and subscriptions, seen from the side that asks.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    CallError,
    greeting::Greeting,
    link::{Flow, Gone, Terms},
    message::{Failure, Request, Response},
    pool::Pool,
    wire::{self, ANSWER, ANSWER_LIMIT, CALL, CREDIT, FAILURE, REQUEST_LIMIT, SUBSCRIBE, UPDATE},
};
use crate::view::{Interest, Update};

/// How connections for calls behave.
const TERMS: Terms = Terms {
    dial: Duration::from_secs(3),
    ping: Duration::from_secs(5),
    patience: Duration::from_secs(15),
    idle: Duration::from_secs(120),
    answer_limit: ANSWER_LIMIT,
};
/// Calls under way from this agent, in all; another waits for one of them within its deadline.
const CALLS: usize = 4096;
/// Updates of a subscription the server may send before it is told that they were taken.
pub(super) const WINDOW: u32 = 4;

/// The connections to servers: one for calls each, made when first needed, given up when idle. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: Pool,
    calls: Arc<Semaphore>,
}

impl Default for Connections {
    fn default() -> Self {
        Self { pool: Pool::default(), calls: Arc::new(Semaphore::new(CALLS)) }
    }
}

impl Connections {
    /// Asks `server` and waits for its answer at most `deadline`. Dropping the future cancels the call there.
    pub(crate) async fn call(
        &self,
        server: SocketAddr,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        let until = Instant::now() + deadline;
        let unreachable = |reason: String| CallError::Unreachable { server, reason };
        let body = wire::encode(request, REQUEST_LIMIT)
            .map_err(|reason| CallError::Failed(Failure::Refused(format!("rpc error: {reason}"))))?;
        let Ok(Ok(_turn)) = timeout_at(until, self.calls.acquire()).await else {
            return Err(unreachable("too many calls are under way".to_owned()));
        };
        // A link may end, being idle, in the moment it is taken: nothing has left then, and a new one is made.
        let mut is_second = false;
        loop {
            let link = self.pool.link(server, Greeting::CALLS, TERMS);
            let mut ticket = link.request(CALL, body.clone());
            let answer = match timeout_at(until, ticket.answer()).await {
                Ok(answer) => answer,
                Err(_) if ticket.is_sent() => return Err(CallError::Deadline { server }),
                Err(_) => return Err(unreachable("connection timed out".to_owned())),
            };
            match answer {
                Ok(frame) => return read_answer(server, frame.kind, &frame.body),
                Err(Gone { sent: false, .. }) if !is_second => is_second = true,
                Err(Gone { sent: false, reason }) => return Err(unreachable(reason)),
                Err(Gone { sent: true, reason }) => return Err(CallError::Lost { server, reason }),
            }
        }
    }

    /// Subscribes to a view at `server`. Whether it can be reached shows at the first update.
    pub(crate) async fn subscribe(&self, server: SocketAddr, interest: Interest) -> Result<Subscription, CallError> {
        let body = wire::encode_subscription(WINDOW, &interest)
            .map_err(|reason| CallError::Failed(Failure::Refused(format!("rpc error: {reason}"))))?;
        let link = self.pool.link(server, Greeting::CALLS, TERMS);
        Ok(Subscription { server, flow: link.subscribe(SUBSCRIBE, body, WINDOW as usize) })
    }
}

fn read_answer(server: SocketAddr, kind: u8, body: &[u8]) -> Result<Response, CallError> {
    let not_understood = |reason: String| CallError::Lost { server, reason };
    match kind {
        ANSWER => wire::decode(body).map_err(not_understood),
        FAILURE => Err(CallError::Failed(wire::decode(body).map_err(not_understood)?)),
        other => Err(not_understood(format!("an answer of kind {other} is not known"))),
    }
}

/// A subscription; dropping it ends it at the server.
pub(crate) struct Subscription {
    server: SocketAddr,
    flow: Flow,
}

impl Subscription {
    /// The newest state of the view, once it is another than the last; an error ends the subscription. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Update, CallError> {
        let mut newest = self.flow.next().await;
        let mut taken = 1u32;
        // Where more have come only the last counts.
        while newest.as_ref().is_ok_and(|frame| frame.kind == UPDATE)
            && let Some(newer) = self.flow.next_now()
        {
            newest = newer;
            taken += 1;
        }
        match newest {
            Ok(frame) if frame.kind == UPDATE => {
                self.flow.send(CREDIT, taken.to_be_bytes().to_vec());
                wire::decode(&frame.body).map_err(|reason| self.lost(reason))
            }
            Ok(frame) => match read_answer(self.server, frame.kind, &frame.body) {
                Err(error) => Err(error),
                Ok(_) => Err(self.lost("an answer where an update belongs".to_owned())),
            },
            Err(Gone { sent: true, reason }) => Err(self.lost(reason)),
            Err(Gone { sent: false, reason }) => Err(CallError::Unreachable { server: self.server, reason }),
        }
    }

    fn lost(&self, reason: String) -> CallError {
        CallError::Lost { server: self.server, reason }
    }
}
