//! The log as openraft uses it: its ends and its newest entries in memory, the rest on disk or nowhere.
//!
//! ```text
//!   openraft ──► LogStore ──► Tail (memory: entries appended lately, vote, committed)
//!                   │                      ▲ flushed
//!                   └──► writer thread ──► Disk
//! ```
//!
//! An entry is encoded once, when it is appended; from that moment it can be read. Entries the disk has are kept in
//! memory up to a limit, because they are about to be applied and sent. Without a disk (`-dev`) the tail is the log and
//! keeps everything until it is purged.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    sync::Arc,
};

use openraft::{
    LogState, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    codec,
    disk::{Disk, Reader, Record, Recovered},
    failure::Failure,
    types::{Entry, LogId, TypeConfig, Vote},
    wire,
    writer::{self, Job},
};

/// Entries kept in memory although the disk has them, at most.
const CACHED_ENTRIES: usize = 1024;
/// Their bytes, at most.
const CACHED_BYTES: usize = 1024 * 1024;

/// The log. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    tail: Arc<Tail>,
    /// The way to the disk, or none.
    jobs: Option<mpsc::Sender<Job>>,
    /// Reads from the disk what is no longer in memory, which is nothing where there is none.
    reader: Option<Reader>,
}

impl LogStore {
    /// A log that is gone with the process.
    pub(super) fn in_memory(size_limit: u64) -> Self {
        Self { tail: Arc::new(Tail::new(Recovered::default(), false, size_limit)), jobs: None, reader: None }
    }

    /// A log on disk, with what it held when it was opened.
    pub(super) fn on_disk(disk: Disk, recovered: Recovered, failure: Failure, size_limit: u64) -> io::Result<Self> {
        let tail = Arc::new(Tail::new(recovered, true, size_limit));
        let reader = disk.reader();
        let jobs = writer::start(disk, tail.clone(), failure)?;
        Ok(Self { tail, jobs: Some(jobs), reader: Some(reader) })
    }

    /// A log that stays in memory whole, with a writer that says when it counts as durable.
    #[cfg(test)]
    pub(super) fn written_by(tail: Arc<Tail>, jobs: mpsc::Sender<Job>) -> Self {
        Self { tail, jobs: Some(jobs), reader: None }
    }

    /// What is in memory.
    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Writes what is still to be written and closes the log.
    pub(super) async fn close(&self) -> io::Result<()> {
        self.write(Job::Close).await
    }

    /// Waits until the writer has nothing more to do.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        self.write(|done| Job::CutFrom(u64::MAX, done)).await.unwrap();
        self.write(|done| Job::CutFrom(u64::MAX, done)).await.unwrap();
    }

    /// Makes every write from now on fail.
    #[cfg(test)]
    pub(super) fn break_disk(&self) {
        if let Some(reader) = &self.reader {
            reader.break_disk();
        }
    }

    /// Has the writer do a job and waits until it is durable.
    async fn write(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let Some(jobs) = &self.jobs else {
            return Ok(());
        };
        let (done, result) = oneshot::channel();
        jobs.send(job(done)).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }

    /// The records in `range`, as far as they are there.
    fn records(&self, range: Range<u64>) -> io::Result<Vec<Record>> {
        let (older, newer) = self.tail.lock().read(range);
        let mut records = match (older.is_empty(), &self.reader) {
            (false, Some(reader)) => reader.read(older)?,
            _ => Vec::new(),
        };
        records.extend(newer);
        Ok(records)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    /// Blocks for a read of the page cache where entries are no longer in memory: at start, and for a server that lags.
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let records = self.records(half_open(&range))?;
        let entries = records.iter().map(|(index, record)| codec::decode_entry(*index, record));
        entries.collect::<Result<Vec<_>, _>>().map_err(io::Error::from)
    }

    /// As many as one message carries.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let end = self.tail.lock().end_of_batch(start, end, wire::BATCH_BYTES as u64);
        self.try_get_log_entries(start..end).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.tail.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let ends = self.tail.lock();
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let record = codec::encode_vote(vote)?;
        self.write(|done| Job::Vote(record, done)).await?;
        self.tail.lock().vote = Some(*vote);
        Ok(())
    }

    /// Kept in memory; it goes to the disk with the next entries.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.tail.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut records = Vec::new();
        let mut last = None;
        for entry in entries {
            let record: Arc<[u8]> = Arc::from(codec::encode_entry(&entry)?);
            records.push((entry.log_id.index, record));
            last = Some(entry.log_id);
        }
        if let Some(last) = last {
            self.tail.append(last, &records);
        }
        match &self.jobs {
            Some(jobs) => jobs.send(Job::Append(records, callback)).await.map_err(|_| closed()),
            None => {
                callback.io_completed(Ok(()));
                Ok(())
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index + 1);
        self.tail.lock().cut_from(from, last);
        self.write(|done| Job::CutFrom(from, done)).await?;
        // A commit of the entries cut off may have been under way when they were.
        self.tail.lock().forget_durable_from(from);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.tail.lock().purge(upto);
        match &self.jobs {
            Some(jobs) => jobs.send(Job::Purge(upto)).await.map_err(|_| closed()),
            None => Ok(()),
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

/// What is in memory of the log.
pub(super) struct Tail {
    ends: Mutex<Ends>,
    /// Told when entries since the last time came to more than the limit.
    oversized: Notify,
    size_limit: u64,
}

impl Tail {
    pub(super) fn new(recovered: Recovered, has_disk: bool, size_limit: u64) -> Self {
        let Recovered { vote, committed, purged, last, sizes } = recovered;
        let durable = last.map_or(0, |last| last.index + 1);
        let ends = Ends {
            purged,
            last,
            vote,
            committed,
            sizes,
            recent: VecDeque::new(),
            bytes: 0,
            durable,
            has_disk,
            since: 0,
        };
        Self { ends: Mutex::new(ends), oversized: Notify::new(), size_limit }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Ends> {
        self.ends.lock()
    }

    pub(super) fn append(&self, last: LogId, records: &[Record]) {
        let mut ends = self.lock();
        ends.append(last, records);
        if ends.since > self.size_limit {
            ends.since = 0;
            self.oversized.notify_one();
        }
    }

    /// The last entry known to be committed.
    pub(super) fn committed(&self) -> Option<LogId> {
        self.lock().committed
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<LogId> {
        self.lock().last
    }

    /// Whether there never was an entry nor a vote.
    pub(super) fn is_pristine(&self) -> bool {
        let ends = self.lock();
        ends.last.is_none() && ends.vote.is_none()
    }

    /// Entries up to this index are on disk.
    pub(super) fn flushed(&self, index: u64) {
        let mut ends = self.lock();
        ends.durable = index.saturating_add(1);
        ends.shrink();
    }

    /// Bytes of all entries.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.lock().sizes.iter().map(|size| u64::from(*size)).sum()
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().sizes.len()
    }

    /// Waits until the entries appended since it was last told came to more than the limit.
    pub(super) async fn oversized(&self) {
        self.oversized.notified().await;
    }

    /// The newest entry that has to go so that those behind it stay within half the limit, if one has to.
    pub(super) fn excess(&self) -> Option<u64> {
        let ends = self.lock();
        let mut bytes = 0;
        let end = ends.end();
        for (back, size) in ends.sizes.iter().rev().enumerate() {
            bytes += u64::from(*size);
            if bytes > self.size_limit / 2 {
                return end.checked_sub(1 + back as u64);
            }
        }
        None
    }
}

/// The log's two ends.
struct Ends {
    /// The last entry that was dropped; the log begins behind it.
    purged: Option<LogId>,
    /// The last entry, or `purged` where there is none.
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Bytes of every entry there is.
    sizes: VecDeque<u32>,
    /// The newest entries, up to `last`.
    recent: VecDeque<Arc<[u8]>>,
    /// Their bytes.
    bytes: usize,
    /// The first index the disk does not have.
    durable: u64,
    has_disk: bool,
    /// Bytes appended since `oversized` was told.
    since: u64,
}

impl Ends {
    /// The index behind the last entry.
    fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// The index of the first entry there is.
    fn start(&self) -> u64 {
        self.end().saturating_sub(self.sizes.len() as u64)
    }

    /// The index of the first entry in memory.
    fn recent_start(&self) -> u64 {
        self.end().saturating_sub(self.recent.len() as u64)
    }

    fn append(&mut self, last: LogId, records: &[Record]) {
        for (_, record) in records {
            self.sizes.push_back(u32::try_from(record.len()).unwrap_or(u32::MAX));
            self.bytes += record.len();
            self.since += record.len() as u64;
            self.recent.push_back(record.clone());
        }
        self.last = Some(last);
    }

    /// Where a batch has to end that begins with `start` and is no larger than `limit`; it has one entry at least.
    fn end_of_batch(&self, start: u64, end: u64, limit: u64) -> u64 {
        let skip = start.saturating_sub(self.start()) as usize;
        let (mut bytes, mut stop) = (0, start);
        for size in self.sizes.iter().skip(skip) {
            bytes += u64::from(*size);
            if stop >= end || (stop > start && bytes > limit) {
                break;
            }
            stop += 1;
        }
        stop.max(start.saturating_add(1)).min(end)
    }

    /// Splits a range into what only the disk has and the records in memory.
    fn read(&self, range: Range<u64>) -> (Range<u64>, Vec<Record>) {
        let (start, end) = (range.start.max(self.start()), range.end.min(self.end()));
        if start >= end {
            return (0..0, Vec::new());
        }
        let recent_start = self.recent_start();
        let newer_start = start.max(recent_start);
        let skip = (newer_start - recent_start) as usize;
        let newer = (newer_start..end).zip(self.recent.iter().skip(skip).cloned()).collect();
        (start..end.min(recent_start).max(start), newer)
    }

    /// Removes the entries from `from` on; `last` is the one before.
    fn cut_from(&mut self, from: u64, last: Option<LogId>) {
        if from >= self.end() {
            return;
        }
        let count = (self.end() - from).min(self.sizes.len() as u64) as usize;
        self.sizes.truncate(self.sizes.len() - count);
        for record in self.recent.drain(self.recent.len().saturating_sub(count)..) {
            self.bytes -= record.len();
        }
        self.last = last.max(self.purged);
        self.forget_durable_from(from);
    }

    /// Entries from `from` on are not on disk, or not for long.
    fn forget_durable_from(&mut self, from: u64) {
        self.durable = self.durable.min(from);
    }

    /// Removes the entries up to `upto`.
    fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| purged >= upto) {
            return;
        }
        let gone = (upto.index + 1).saturating_sub(self.start()).min(self.sizes.len() as u64) as usize;
        self.sizes.drain(..gone);
        while self.recent.len() > self.sizes.len() {
            if let Some(record) = self.recent.pop_front() {
                self.bytes -= record.len();
            }
        }
        self.purged = Some(upto);
        self.last = self.last.max(self.purged);
        self.durable = self.durable.max(upto.index + 1);
    }

    /// Forgets what the disk has, down to the limit.
    fn shrink(&mut self) {
        while self.has_disk && (self.recent.len() > CACHED_ENTRIES || self.bytes > CACHED_BYTES) {
            if self.recent_start() >= self.durable {
                return;
            }
            match self.recent.pop_front() {
                Some(record) => self.bytes -= record.len(),
                None => return,
            }
        }
    }
}

#[cfg(test)]
#[path = "log_store_tests.rs"]
mod tests;
