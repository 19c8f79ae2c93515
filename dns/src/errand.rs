//! Errands: what a question needs that is not in memory, so that the question leaves the hot path.
//!
//! ```text
//!   Elsewhere ─► parts of the catalog fetched | names of others found out ─► answered again ─► … ─► the reply
//!                                                └► the question itself is for the recursors: their reply
//! ```
//!
//! A task with a deadline, which holds one of a limited number of permits. What was fetched stays in the catalog and is
//! kept up to date there: the next question for it is answered on the hot path.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use usher_cluster::catalog::{Interest, Lease, Unavailable};

use crate::{
    answer::chase::Known,
    client::Client,
    recurse::Recursors,
    responder::{Errand, Failure, Outcome, Responder},
    serve::shared::Shared,
};

/// The longest an errand may take; clients have given up by then.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Most names found out for one request, and most parts of the catalog fetched: an answer follows no more than 32 names.
const NAMES_MAX: usize = 32;
/// Most times an answer is tried again with what was found out: names lead from one to the next.
const ROUNDS_MAX: usize = 8;
/// Of these, most in which names of others are found out.
const NAME_ROUNDS_MAX: usize = 4;

/// The reply if all that the request needs is known already. Takes no permit, so that what is known is answered even
/// while every permit is held by questions that wait in vain.
pub(crate) fn at_once(shared: &Shared, packet: &[u8], client: &Client, errand: &Errand) -> Option<Vec<u8>> {
    let known = match errand {
        Errand::Forward => shared.recursors().at_once(packet, client.transport)?,
        Errand::Fetch(_) | Errand::Names(_) => return None,
    };
    let reply = known.unwrap_or_else(|| failed(shared, packet, Failure::NO_RECURSOR, client));
    shared.count_errand(client.transport, &reply, Duration::ZERO);
    Some(reply)
}

/// Does what the request needs done elsewhere, and replies.
pub(crate) async fn reply(shared: &Shared, packet: &[u8], errand: Errand, client: &Client) -> Vec<u8> {
    let began = Instant::now();
    let rounds = Rounds {
        shared,
        recursors: shared.recursors(),
        known: Known::default(),
        asked: HashSet::new(),
        held: Vec::new(),
    };
    let done = tokio::time::timeout(TIME_MAX, rounds.run(packet, client, errand)).await;
    let done = done.unwrap_or(Err(Failure::NO_RECURSOR));
    let reply = done.unwrap_or_else(|failure| failed(shared, packet, failure, client));
    shared.count_errand(client.transport, &reply, began.elapsed());
    reply
}

/// The reply to a request that cannot be answered.
pub(crate) fn failed(shared: &Shared, packet: &[u8], failure: Failure, client: &Client) -> Vec<u8> {
    let moment = shared.moment();
    let mut reply = Vec::new();
    Responder::new(0).fail(packet, failure, client, &shared.view(&moment, None), &mut reply);
    reply
}

/// What was found out for one request.
struct Rounds<'s> {
    shared: &'s Shared,
    recursors: Arc<Recursors>,
    known: Known,
    asked: HashSet<(Vec<u8>, u16)>,
    /// Keeps what was fetched until the answer is made.
    held: Vec<Lease>,
}

impl Rounds<'_> {
    async fn run(mut self, packet: &[u8], client: &Client, mut errand: Errand) -> Result<Vec<u8>, Failure> {
        // The same seed each time: the same instances are drawn, and need the same names.
        let seed = rand::random();
        let mut name_rounds = 0;
        for _ in 0..ROUNDS_MAX {
            match errand {
                Errand::Forward => {
                    let passed_on = self.recursors.forward(packet, client.transport).await;
                    return passed_on.ok_or(Failure::NO_RECURSOR);
                }
                Errand::Fetch(interests) => {
                    if let Err(error) = self.fetch(interests).await {
                        tracing::debug!(%error, "cannot answer a DNS question");
                        return Err(Failure::NO_SERVER);
                    }
                }
                Errand::Names(_) if name_rounds >= NAME_ROUNDS_MAX => self.known.close(),
                Errand::Names(names) => {
                    name_rounds += 1;
                    self.find_out(names).await;
                }
            }
            let moment = self.shared.moment();
            let view = self.shared.view(&moment, Some(&self.known));
            let mut reply = Vec::new();
            match Responder::new(seed).respond(packet, client, &view, &mut reply) {
                Outcome::Elsewhere(next) => errand = next,
                Outcome::Replied => return Ok(reply),
                Outcome::Dropped => return Err(Failure::NO_SERVER),
            }
        }
        Err(Failure::NO_RECURSOR)
    }

    async fn fetch(&mut self, interests: Vec<Interest>) -> Result<(), Unavailable> {
        let source = self.shared.source().ok_or(Unavailable)?;
        let mut fetching = JoinSet::new();
        for interest in interests.into_iter().take(NAMES_MAX) {
            let source = source.clone();
            fetching.spawn(async move { source.want(interest).await });
        }
        while let Some(fetched) = fetching.join_next().await {
            self.held.push(fetched.map_err(|_| Unavailable)??);
        }
        Ok(())
    }

    async fn find_out(&mut self, mut names: Vec<(Vec<u8>, u16)>) {
        names.retain(|name| self.asked.len() < NAMES_MAX && self.asked.insert(name.clone()));
        let mut finding = JoinSet::new();
        for (name, kind) in names {
            let recursors = self.recursors.clone();
            finding.spawn(async move { (recursors.find(&name, kind).await, name, kind) });
        }
        while let Some(Ok((found, name, kind))) = finding.join_next().await {
            self.known.learn(&name, kind, found);
        }
    }
}
