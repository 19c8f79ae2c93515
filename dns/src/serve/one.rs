//! One request after another, for the shells that do not gather them: the pure core, and errands where it takes them.

use std::{cell::RefCell, sync::Arc, time::Instant};

use super::shared::Shared;
use crate::{
    client::Client,
    errand,
    responder::{Failure, Outcome, Responder},
};

thread_local! {
    /// Borrowed between awaits only.
    static RESPONDER: RefCell<Responder> = RefCell::new(Responder::new(rand::random()));
}

/// Answers `packet`; `None` if it deserves no reply, or the server ends before there is one.
pub(super) async fn answer(shared: &Arc<Shared>, packet: &[u8], client: &Client) -> Option<Vec<u8>> {
    let began = Instant::now();
    let mut reply = Vec::new();
    let outcome = RESPONDER.with_borrow_mut(|responder| {
        let moment = shared.moment();
        let before = responder.counts();
        let outcome = responder.respond(packet, client, &shared.view(&moment, None), &mut reply);
        let mut added = responder.counts().since(before);
        added.took(began.elapsed(), u64::from(outcome == Outcome::Replied));
        shared.tcp_tally.add(added);
        shared.tcp_tally.take(responder.services());
        outcome
    });
    let errand = match outcome {
        Outcome::Dropped => return None,
        Outcome::Replied => return Some(reply),
        Outcome::Elsewhere(errand) => errand,
    };
    if let Some(known) = errand::at_once(shared, packet, client, &errand) {
        return Some(known).filter(|reply| !reply.is_empty());
    }
    let Ok(_permit) = shared.errands.clone().try_acquire_owned() else {
        return Some(errand::failed(shared, packet, Failure::BUSY, client));
    };
    let replied = errand::reply(shared, packet, errand, client);
    shared.ending.run_until_cancelled(replied).await.filter(|reply| !reply.is_empty())
}
