//! The one task that changes the registrations: takes what waits, tries it on a clone, makes it durable in one batch,
//! publishes it and answers.

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    LocalError, LocalState,
    records::{Effect, FileChange, Operation, Records},
    store::Store,
};

/// Requests made durable together.
const BATCH_MAX: usize = 256;

/// A change and where its effect is awaited.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) reply: oneshot::Sender<Result<Effect, LocalError>>,
}

/// Runs until `stop`, and then until everything that waited has been answered.
pub(super) async fn run(
    mut inbox: mpsc::Receiver<Request>,
    records: Arc<ArcSwap<Records>>,
    shown: watch::Sender<Arc<LocalState>>,
    store: Option<Store>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            received = inbox.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
            () = stop.cancelled(), if !inbox.is_closed() => { inbox.close(); continue }
        }
        let mut next = Records::clone(&records.load());
        let mut files = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for Request { operation, reply } in batch.drain(..) {
            let mut effect = next.apply(operation);
            if let Ok(effect) = &mut effect {
                files.append(&mut effect.files);
            }
            answers.push((reply, effect));
        }
        let kept = keep(store.as_ref(), files).await;
        if kept.is_ok() {
            let now = next.shown().clone();
            records.store(Arc::new(next));
            shown.send_if_modified(|before| {
                let differs = !Arc::ptr_eq(before, &now);
                *before = now;
                differs
            });
        }
        for (reply, effect) in answers {
            let answer = match &kept {
                Ok(()) => effect,
                Err(error) => effect.and(Err(LocalError::Io(io::Error::new(error.kind(), error.to_string())))),
            };
            // A caller that has gone away needs no answer.
            let _ = reply.send(answer);
        }
    }
}

/// Makes changes durable, if this agent keeps anything.
async fn keep(store: Option<&Store>, files: Vec<FileChange>) -> io::Result<()> {
    let Some(store) = store.filter(|_| !files.is_empty()) else {
        return Ok(());
    };
    let store = store.clone();
    crate::blocking::run(move || store.commit(files)).await?
}
