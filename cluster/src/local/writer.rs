//! The one task that changes the registrations: takes what waits, tries it on a clone, makes it durable in one batch,
//! publishes it and answers. Results of checks go along: they are published with the batch that is under way.

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    LocalError, LocalState, Specs,
    inbox::Inbox,
    records::{Effect, FileChange, Operation, Records},
    store::Store,
    tell::Telling,
};

/// Requests made durable together.
const BATCH_MAX: usize = 256;

/// A change and where its effect is awaited.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) reply: oneshot::Sender<Result<Effect, LocalError>>,
}

/// What the task has.
pub(super) struct Writer {
    pub(super) records: Arc<ArcSwap<Records>>,
    pub(super) shown: watch::Sender<Arc<LocalState>>,
    pub(super) specs: watch::Sender<Specs>,
    pub(super) inbox: Arc<Inbox>,
    /// The number of the last result that was published.
    pub(super) done: watch::Sender<u64>,
    pub(super) outbox: Arc<Telling>,
    pub(super) store: Option<Store>,
}

impl Writer {
    /// Runs until `stop`, and then until everything that waited has been answered.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                received = requests.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
                () = self.inbox.arrived() => {}
                () = stop.cancelled(), if !requests.is_closed() => { requests.close(); continue }
            }
            self.carry_out(&mut batch).await;
        }
    }

    async fn carry_out(&self, batch: &mut Vec<Request>) {
        let mut next = Records::clone(&self.records.load());
        let mut files = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for Request { operation, reply } in batch.drain(..) {
            let mut effect = next.apply(operation);
            if let Ok(effect) = &mut effect {
                files.append(&mut effect.files);
            }
            answers.push((reply, effect));
        }
        let kept = self.keep(files).await;
        if kept.is_err() {
            next = Records::clone(&self.records.load());
        }
        self.publish(next);
        for (reply, effect) in answers {
            let answer = match &kept {
                Ok(()) => effect,
                Err(error) => effect.and(Err(LocalError::Io(io::Error::new(error.kind(), error.to_string())))),
            };
            // A caller that has gone away needs no answer.
            let _ = reply.send(answer);
        }
    }

    /// Shows what is, with the results that have come until now.
    fn publish(&self, mut next: Records) {
        let (noted, last) = self.inbox.take(&mut next);
        let (now, specs) = (next.shown().clone(), next.specs().clone());
        self.records.store(Arc::new(next));
        self.inbox.published();
        self.shown.send_if_modified(|before| {
            let differs = !Arc::ptr_eq(before, &now);
            *before = now;
            differs
        });
        self.specs.send_if_modified(|before| {
            let differs = !before.ptr_eq(&specs);
            *before = specs;
            differs
        });
        self.outbox.note(noted);
        self.done.send_replace(last);
    }

    /// Makes changes durable, if this agent keeps anything.
    async fn keep(&self, files: Vec<FileChange>) -> io::Result<()> {
        let Some(store) = self.store.as_ref().filter(|_| !files.is_empty()) else {
            return Ok(());
        };
        let store = store.clone();
        crate::blocking::run(move || store.commit(files)).await?
    }
}
