//! What a server answers when other agents call it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, future::BoxFuture, stream::BoxStream};

use super::{AnswerApi, forward::Forward};
use crate::{
    catalog::{Catalog, command::Command},
    raft::{Consensus, ProposeError},
    rpc::{
        Handler,
        message::{ApiRequest, Failure, Founder, Identity, Request, Response},
    },
    view::{self, Feed, Interest, Update},
};

/// The longest a caller may have this server wait for a leader.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// Answers calls.
pub(super) struct Answerer {
    pub(super) own: Founder,
    pub(super) datacenter: String,
    pub(super) consensus: Consensus,
    pub(super) catalog: Arc<Catalog>,
    pub(super) feed: Feed,
    pub(super) forward: Forward,
    pub(super) api: Arc<ApiSlot>,
}

/// Where the HTTP API puts who answers for it.
#[derive(Default)]
pub(super) struct ApiSlot(ArcSwapOption<Arc<dyn AnswerApi>>);

impl ApiSlot {
    pub(super) fn set(&self, api: Arc<dyn AnswerApi>) {
        self.0.store(Some(Arc::new(api)));
    }

    fn get(&self) -> Option<Arc<dyn AnswerApi>> {
        self.0.load().as_deref().cloned()
    }
}

impl Handler for Answerer {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        match request {
            Request::Identify => async { Ok(Response::Identity(self.identity())) }.boxed(),
            Request::Pledge { founders } => async move {
                self.consensus.pledge(&founders).await.map_err(|error| Failure::Refused(error.to_string()))?;
                Ok(Response::Done)
            }
            .boxed(),
            Request::Propose { command, hold_ms, forwarded } => self.propose(*command, hold_ms, forwarded).boxed(),
            Request::ReadIndex => async {
                let index = self.consensus.read_index().await.map_err(|_| Failure::NotLeader)?;
                Ok(Response::Index(index))
            }
            .boxed(),
            Request::Fetch { interest, at_least, consistent } => self.fetch(interest, at_least, consistent).boxed(),
            Request::Api { request, leader } => self.api(request, leader).boxed(),
            Request::RemoveServer { raft_id } => async move {
                if !self.consensus.status().is_leader {
                    return Err(Failure::NotLeader);
                }
                self.consensus.remove(raft_id).await.map_err(|error| Failure::Refused(error.to_string()))?;
                Ok(Response::Done)
            }
            .boxed(),
        }
    }

    fn subscribe(&self, interest: Interest) -> BoxStream<'static, Update> {
        self.feed.follow(interest)
    }
}

impl Answerer {
    fn identity(&self) -> Identity {
        Identity {
            server: self.own.clone(),
            datacenter: self.datacenter.clone(),
            pristine: self.consensus.is_pristine(),
            peers: self.consensus.status().peers.iter().map(|peer| peer.id).collect(),
        }
    }

    async fn propose(&self, command: Command, hold_ms: u64, forwarded: bool) -> Result<Response, Failure> {
        let applied = if forwarded {
            self.forward.propose_here(command).await?
        } else {
            let hold = Duration::from_millis(hold_ms).min(LONGEST_HOLD);
            self.forward.propose_within(command, hold).await.map_err(failure)?
        };
        Ok(Response::Applied { index: applied.index, outcome: applied.outcome })
    }

    async fn fetch(&self, interest: Interest, at_least: u64, consistent: bool) -> Result<Response, Failure> {
        if consistent {
            self.forward.linearize().await.map_err(failure)?;
        }
        let reached = tokio::time::timeout(LONGEST_HOLD, self.catalog.reached(at_least)).await;
        reached.map_err(|_| Failure::NoLeader)?;
        Ok(Response::View(view::look(&self.catalog, interest)))
    }

    async fn api(&self, request: ApiRequest, leader: bool) -> Result<Response, Failure> {
        if leader && !self.consensus.status().is_leader {
            return Err(Failure::NotLeader);
        }
        // Until the API is served this server is still starting.
        let api = self.api.get().ok_or(Failure::Busy)?;
        Ok(Response::Api(api.answer(request).await))
    }
}

fn failure(error: ProposeError) -> Failure {
    match error {
        ProposeError::NoLeader => Failure::NoLeader,
        ProposeError::Unsure => Failure::Unsure,
        ProposeError::Refused(reason) | ProposeError::Stopped(reason) => Failure::Refused(reason),
    }
}
