//! The one thread that writes the log: takes everything that waits, makes it durable in one commit, then tells those who
//! waited. Writers that come while a commit is under way share the next one, so the disk's speed sets the size of the
//! batches. The first error is the last thing it does: whether a failed sync wrote anything cannot be known, so it is
//! never tried again.

use std::{io, sync::Arc};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::{
    disk::{Batch, Change, Disk, Record},
    failure::Failure,
    log_store::Tail,
    types::{LogId, TypeConfig},
};

/// Jobs that wait, at most; who brings another waits with it.
const QUEUE: usize = 4096;
/// Bytes of entries in one commit, about: more go into the next.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// One thing to be made durable.
pub(super) enum Job {
    /// Entries, in order.
    Append(Vec<Record>, IOFlushed<TypeConfig>),
    /// Removal of the entries from an index on.
    CutFrom(u64, oneshot::Sender<io::Result<()>>),
    /// A vote.
    Vote(Vec<u8>, oneshot::Sender<io::Result<()>>),
    /// Removal of the entries up to one; nobody waits for it.
    Purge(LogId),
    /// The end: what is still to be written is, and the log is closed.
    Close(oneshot::Sender<io::Result<()>>),
}

/// Starts the thread, which ends when it is told to close or the last sender is gone.
pub(super) fn start(disk: Disk, tail: Arc<Tail>, failure: Failure) -> io::Result<mpsc::Sender<Job>> {
    let (sender, queue) = queue(tail, failure);
    let writer = Writer { disk, queue };
    std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || writer.run())?;
    Ok(sender)
}

/// The way to a writer, and the writer's end of it.
pub(super) fn queue(tail: Arc<Tail>, failure: Failure) -> (mpsc::Sender<Job>, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (sender, Queue { tail, failure, receiver })
}

struct Writer {
    disk: Disk,
    queue: Queue,
}

/// What is to be written, and whom to tell.
pub(super) struct Queue {
    pub(super) tail: Arc<Tail>,
    failure: Failure,
    pub(super) receiver: mpsc::Receiver<Job>,
}

/// Who waits for a commit.
#[derive(Default)]
pub(super) struct Waiting {
    appends: Vec<IOFlushed<TypeConfig>>,
    others: Vec<oneshot::Sender<io::Result<()>>>,
    /// The last entry the commit brings.
    last: Option<u64>,
}

impl Writer {
    fn run(mut self) {
        let closing = loop {
            // With rows left to drop there is always something to do; else wait for it.
            let first = match self.disk.has_rows_to_drop() {
                true => self.queue.receiver.try_recv(),
                false => self.queue.receiver.blocking_recv().ok_or(mpsc::error::TryRecvError::Disconnected),
            };
            let (batch, waiting, end) = match first {
                Ok(job) => self.queue.gather(job),
                Err(mpsc::error::TryRecvError::Empty) => (Batch::default(), Waiting::default(), None),
                Err(mpsc::error::TryRecvError::Disconnected) => break None,
            };
            if !self.commit(batch, waiting) {
                return self.refuse_all(end);
            }
            if end.is_some() {
                break end;
            }
        };
        // How far entries are committed is otherwise written with the entries that follow.
        let batch = Batch { committed: self.queue.tail.committed(), ..Batch::default() };
        let closed = self.disk.commit(batch).and_then(|()| self.disk.close());
        if let Some(done) = closing {
            let _ = done.send(closed);
        }
    }

    /// Commits and tells who waited; `false` when that failed.
    fn commit(&mut self, mut batch: Batch, waiting: Waiting) -> bool {
        batch.committed = self.queue.tail.committed();
        let result = self.disk.commit(batch);
        self.queue.tell(waiting, &result)
    }

    /// After a failure: nothing is written any more, and whoever still comes is told.
    fn refuse_all(mut self, end: Option<oneshot::Sender<io::Result<()>>>) {
        let refusal = || Err(io::Error::other(self.queue.failure.reason().unwrap_or_default()));
        if let Some(done) = end {
            let _ = done.send(refusal());
        }
        while let Some(job) = self.queue.receiver.blocking_recv() {
            match job {
                Job::Append(_, done) => done.io_completed(refusal()),
                Job::CutFrom(_, done) | Job::Vote(_, done) | Job::Close(done) => {
                    let _ = done.send(refusal());
                }
                Job::Purge(_) => {}
            }
        }
    }
}

impl Queue {
    /// Puts `first` and what waits behind it into one batch, up to the end if that is among it.
    pub(super) fn gather(&mut self, first: Job) -> (Batch, Waiting, Option<oneshot::Sender<io::Result<()>>>) {
        let (mut batch, mut waiting) = (Batch::default(), Waiting::default());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append(records, done) => {
                    bytes += records.iter().map(|(_, record)| record.len()).sum::<usize>();
                    waiting.last = records.last().map(|(index, _)| *index).or(waiting.last);
                    waiting.appends.push(done);
                    batch.changes.extend(records.into_iter().map(|(index, record)| Change::Put(index, record)));
                }
                Job::CutFrom(index, done) => {
                    waiting.last = waiting.last.filter(|last| *last < index);
                    waiting.others.push(done);
                    batch.changes.push(Change::CutFrom(index));
                }
                Job::Vote(vote, done) => {
                    waiting.others.push(done);
                    batch.vote = Some(vote);
                }
                Job::Purge(upto) => batch.purge = batch.purge.max(Some(upto)),
                Job::Close(done) => return (batch, waiting, Some(done)),
            }
            next = match bytes < COMMIT_BYTES {
                true => self.receiver.try_recv().ok(),
                false => None,
            };
        }
        (batch, waiting, None)
    }

    /// Tells who waited for a commit how it went; `false` when it failed.
    pub(super) fn tell(&self, waiting: Waiting, result: &io::Result<()>) -> bool {
        match result {
            Ok(()) => {
                if let Some(last) = waiting.last {
                    self.tail.flushed(last);
                }
            }
            Err(error) => self.failure.note(&error.to_string()),
        }
        let result = || result.as_ref().map(|_| ()).map_err(|error| io::Error::new(error.kind(), error.to_string()));
        for done in waiting.appends {
            done.io_completed(result());
        }
        for done in waiting.others {
            let _ = done.send(result());
        }
        result().is_ok()
    }
}
