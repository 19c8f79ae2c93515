//! The log on disk: a redb database of two tables, opened with suspicion and written by one thread.
//!
//! ```text
//!   "log":   index -> entry record             "meta":  "identity", "vote", "position" -> record
//! ```
//!
//! Opening reads everything: the database checks its pages, then every record is decoded, the entries must follow each
//! other without a gap, and the log must not be behind its mark. Until all that holds the file is only looked at
//! (`held_file`); whatever is wrong becomes a [`StartError`] that names the file. One commit is one transaction with one
//! sync, however many entries it carries. Blocking calls only; knows nothing of openraft's traits.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    Table, TableDefinition, TableError,
};

use super::{
    StartError,
    codec::{self, Identity, Kind, Position, StoredId},
    directory::Directory,
    held_file,
    mark::MarkFile,
    types::{LogId, Vote},
};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const POSITION: &str = "position";

/// Pages the database keeps in memory. Recent entries are kept by the log store itself, so this serves the tree's inner
/// pages and a follower that lags.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// Entries dropped in one commit: dropping many at once would hold up the writes behind it.
const PURGE_STEP: u64 = 512;

/// The open log. Reads go by [`Reader`]s; writes by whoever owns this.
pub(super) struct Disk {
    path: PathBuf,
    database: Arc<RwLock<Option<Database>>>,
    mark: MarkFile,
    raft_id: u64,
    sequence: u64,
    /// The last entry known to be committed, of those that are here.
    committed: Option<LogId>,
    /// The last entry here.
    last_index: Option<u64>,
    /// Entries up to here are dropped, and those rows that are still there are on their way out.
    purged: Option<LogId>,
    /// The first row that may still be there.
    first_row: u64,
    _directory: Directory,
}

/// What the log held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Bytes of each entry from the one after `purged`.
    pub(super) sizes: VecDeque<u32>,
}

/// One commit's worth of changes.
#[derive(Default)]
pub(super) struct Batch {
    /// Entries to write and to cut off, in order.
    pub(super) changes: Vec<Change>,
    /// The vote, where it changed.
    pub(super) vote: Option<Vec<u8>>,
    /// The last entry known to be committed.
    pub(super) committed: Option<LogId>,
    /// Drops the entries up to here, little by little.
    pub(super) purge: Option<LogId>,
}

/// An entry as bytes, and its index.
pub(super) type Record = (u64, Arc<[u8]>);

/// A change of the entries.
pub(super) enum Change {
    /// Writes an entry's record under its index.
    Put(u64, Arc<[u8]>),
    /// Removes all entries from this index on.
    CutFrom(u64),
}

impl Disk {
    /// Makes a new log, for the server of that id.
    pub(super) fn create(directory: Directory, raft_id: u64) -> Result<Self, StartError> {
        let (new_mark, new_log, log) = (directory.new_mark(), directory.new_log(), directory.log());
        let made = |path: &Path, result: io::Result<()>| result.map_err(|error| StartError::io(path, error));
        let mark = MarkFile::create(&new_mark, raft_id).map_err(|error| StartError::io(&new_mark, error))?;
        made(&directory.mark(), std::fs::rename(&new_mark, directory.mark()))?;

        match std::fs::remove_file(&new_log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StartError::io(&new_log, error)),
            _ => {}
        }
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(&new_log)
            .map_err(|error| StartError::io(&new_log, io_error(error.into())))?;
        made(&new_log, found(&database, raft_id))?;
        // From here on the log counts as there; it says nothing yet that a cluster relies on.
        made(&log, std::fs::rename(&new_log, &log))?;
        made(&log, directory.sync())?;
        Ok(Self {
            path: log,
            database: Arc::new(RwLock::new(Some(database))),
            mark,
            raft_id,
            sequence: 0,
            committed: None,
            last_index: None,
            purged: None,
            first_row: 0,
            _directory: directory,
        })
    }

    /// Opens the log that is there. `check` is asked last, before anything is written.
    pub(super) fn open(
        directory: Directory,
        check: impl FnOnce(&Recovered) -> Result<(), StartError>,
    ) -> Result<(Self, Recovered), StartError> {
        let path = directory.log();
        let (mark, marked) = MarkFile::open(&directory.mark())?;
        let file = File::options().read(true).write(true).open(&path).map_err(|error| StartError::io(&path, error))?;
        let (held, hold) = held_file::hold(file).map_err(|error| StartError::io(&path, error))?;
        if held.is_empty_file() {
            return Err(StartError::damaged(&path, "is empty"));
        }

        // The database may panic over bytes it never wrote.
        let looked_through = catch_unwind(AssertUnwindSafe(|| {
            let database = Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(held)
                .map_err(|error| open_error(&path, error))?;
            let (identity, position, recovered) = look_through(&database).map_err(|reason| match reason {
                Unreadable::Io(error) => StartError::io(&path, error),
                Unreadable::Damaged(reason) => StartError::damaged(&path, reason),
            })?;
            Ok((database, identity, position, recovered))
        }));
        let (database, identity, position, recovered) = looked_through
            .unwrap_or_else(|_| Err(StartError::damaged(&path, "is damaged: its pages make no sense")))?;
        if identity.raft_id != marked.raft_id {
            return Err(StartError::damaged(&path, "and log.mark are of different servers"));
        }
        if position.sequence < marked.sequence {
            let (here, there) = (position.sequence, marked.sequence);
            let reason = format!(
                "ends at commit {here}, but commit {there} was acknowledged: its end is damaged, or it is an older copy"
            );
            return Err(StartError::damaged(&path, reason));
        }
        check(&recovered)?;
        hold.release().map_err(|error| StartError::io(&path, error))?;
        let disk = Self {
            path,
            database: Arc::new(RwLock::new(Some(database))),
            mark,
            raft_id: identity.raft_id,
            sequence: position.sequence,
            committed: recovered.committed,
            last_index: recovered.last.map(|last| last.index),
            purged: recovered.purged,
            first_row: 0,
            _directory: directory,
        };
        Ok((disk, recovered))
    }

    /// This server's Raft id.
    pub(super) fn raft_id(&self) -> u64 {
        self.raft_id
    }

    /// A reader of the entries.
    pub(super) fn reader(&self) -> Reader {
        Reader { path: self.path.clone(), database: self.database.clone() }
    }

    /// Whether dropped entries are still there.
    pub(super) fn has_rows_to_drop(&self) -> bool {
        self.purged.is_some_and(|purged| self.first_row <= purged.index)
    }

    /// Makes a batch durable. After an error nothing more may be written: what the disk holds is not known.
    pub(super) fn commit(&mut self, batch: Batch) -> io::Result<()> {
        let committed = catch_unwind(AssertUnwindSafe(|| self.commit_inner(batch)));
        committed
            .unwrap_or_else(|_| Err(io::Error::other("the database failed")))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }

    fn commit_inner(&mut self, batch: Batch) -> io::Result<()> {
        let sequence = self.sequence + 1;
        self.note(&batch);
        let guard = self.database.read();
        let database = guard.as_ref().ok_or_else(closed)?;
        let position = Position {
            sequence,
            committed: self.committed.map(StoredId::from),
            purged: self.purged.map(StoredId::from),
        };

        let transaction = database.begin_write().map_err(|error| io_error(error.into()))?;
        let mut first_row = self.first_row;
        {
            let mut log = transaction.open_table(LOG).map_err(|error| io_error(error.into()))?;
            for change in &batch.changes {
                match *change {
                    Change::Put(index, ref record) => {
                        log.insert(index, &**record).map_err(|error| io_error(error.into()))?;
                    }
                    Change::CutFrom(index) => remove(&mut log, index..u64::MAX)?,
                }
            }
            if let Some(purged) = self.purged.filter(|purged| first_row <= purged.index) {
                first_row = drop_some(&mut log, purged.index)?;
            }
            let mut meta = transaction.open_table(META).map_err(|error| io_error(error.into()))?;
            let record = codec::encode(Kind::Position, &position)?;
            meta.insert(POSITION, &*record).map_err(|error| io_error(error.into()))?;
            if let Some(ref vote) = batch.vote {
                meta.insert(VOTE, &**vote).map_err(|error| io_error(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| io_error(error.into()))?;
        drop(guard);
        self.sequence = sequence;
        self.first_row = first_row;
        self.mark.write(sequence)
    }

    /// Brings what is known of the log's ends up to what `batch` does to them.
    fn note(&mut self, batch: &Batch) {
        self.purged = self.purged.max(batch.purge);
        for change in &batch.changes {
            self.last_index = match *change {
                Change::Put(index, _) => Some(index),
                Change::CutFrom(index) => self.last_index.filter(|last| *last < index).or(index.checked_sub(1)),
            };
        }
        self.last_index = self.last_index.max(self.purged.map(|purged| purged.index));
        // An entry may be committed by others before it is here: after a restart it must not count until it is.
        let here = |id: &LogId| self.last_index.is_some_and(|last| id.index <= last);
        self.committed = batch.committed.filter(here).max(self.committed);
    }

    /// Closes the database. What was committed is on disk already.
    pub(super) fn close(self) -> io::Result<()> {
        match self.database.write().take() {
            Some(database) => database.close().map_err(|error| io_error(error.into())),
            None => Ok(()),
        }
    }
}

/// Reads entries while others are written.
#[derive(Clone)]
pub(super) struct Reader {
    path: PathBuf,
    database: Arc<RwLock<Option<Database>>>,
}

impl Reader {
    /// Makes every read and write from now on fail.
    #[cfg(test)]
    pub(super) fn break_disk(&self) {
        drop(self.database.write().take());
    }

    /// The records of the entries in `range` that are there, in order.
    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Vec<Record>> {
        self.read_inner(range)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }

    fn read_inner(&self, range: Range<u64>) -> io::Result<Vec<Record>> {
        let database = self.database.read();
        let transaction = database.as_ref().ok_or_else(closed)?.begin_read().map_err(|error| io_error(error.into()))?;
        let log = match transaction.open_table(LOG) {
            Ok(log) => log,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(io_error(error.into())),
        };
        let mut records = Vec::new();
        for row in log.range(range).map_err(|error| io_error(error.into()))? {
            let (index, record) = row.map_err(|error| io_error(error.into()))?;
            records.push((index.value(), Arc::from(record.value())));
        }
        Ok(records)
    }
}

/// The first commit: whose log this is.
fn found(database: &Database, raft_id: u64) -> io::Result<()> {
    let transaction = database.begin_write().map_err(|error| io_error(error.into()))?;
    {
        transaction.open_table(LOG).map_err(|error| io_error(error.into()))?;
        let mut meta = transaction.open_table(META).map_err(|error| io_error(error.into()))?;
        let identity = codec::encode(Kind::Identity, &Identity { raft_id })?;
        meta.insert(IDENTITY, &*identity).map_err(|error| io_error(error.into()))?;
        let position = codec::encode(Kind::Position, &Position::default())?;
        meta.insert(POSITION, &*position).map_err(|error| io_error(error.into()))?;
    }
    transaction.commit().map_err(|error| io_error(error.into()))
}

fn remove(log: &mut Table<'_, u64, &[u8]>, range: Range<u64>) -> io::Result<()> {
    log.retain_in(range, |_, _| false).map_err(|error| io_error(error.into()))
}

/// Removes some of the rows up to `last`, and says which row is now the first that may be there.
fn drop_some(log: &mut Table<'_, u64, &[u8]>, last: u64) -> io::Result<u64> {
    let first = match log.first().map_err(|error| io_error(error.into()))? {
        Some((index, _)) => index.value(),
        None => return Ok(last.saturating_add(1)),
    };
    let next = first.saturating_add(PURGE_STEP).min(last.saturating_add(1));
    if first < next {
        remove(log, first..next)?;
    }
    Ok(next.max(first))
}

/// Why a database that could be opened is no log.
enum Unreadable {
    Io(io::Error),
    Damaged(String),
}

impl From<redb::Error> for Unreadable {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::Io(error),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Reads every record there is.
fn look_through(database: &Database) -> Result<(Identity, Position, Recovered), Unreadable> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let meta = transaction.open_table(META).map_err(redb::Error::from)?;
    let identity: Identity = required(&meta, IDENTITY, Kind::Identity)?;
    let position: Position = required(&meta, POSITION, Kind::Position)?;
    let vote = match meta.get(VOTE).map_err(redb::Error::from)? {
        Some(record) => {
            Some(codec::decode_vote(record.value()).map_err(|error| Unreadable::Damaged(format!("vote: {error}")))?)
        }
        None => None,
    };
    let purged = position.purged.map(LogId::from);
    let (last, sizes) = look_through_entries(&transaction, purged)?;
    let committed = position.committed.map(LogId::from);
    if committed > last {
        let reason = "entries that were committed are missing at its end".to_owned();
        return Err(Unreadable::Damaged(reason));
    }
    Ok((identity, position, Recovered { vote, committed, purged, last, sizes }))
}

fn required<T: serde::de::DeserializeOwned>(
    meta: &ReadOnlyTable<&'static str, &'static [u8]>,
    key: &str,
    kind: Kind,
) -> Result<T, Unreadable> {
    let record = meta.get(key).map_err(redb::Error::from)?;
    let record = record.ok_or_else(|| Unreadable::Damaged(format!("has no {key}: it is no log of this program")))?;
    codec::decode(kind, record.value()).map_err(|error| Unreadable::Damaged(format!("{key}: {error}")))
}

fn look_through_entries(
    transaction: &ReadTransaction,
    purged: Option<LogId>,
) -> Result<(Option<LogId>, VecDeque<u32>), Unreadable> {
    let log = transaction.open_table(LOG).map_err(redb::Error::from)?;
    let mut last = purged;
    let mut sizes = VecDeque::new();
    let start = purged.map_or(0, |purged| purged.index + 1);
    for row in log.range(start..).map_err(redb::Error::from)? {
        let (index, record) = row.map_err(redb::Error::from)?;
        let (index, record) = (index.value(), record.value());
        let expected = last.map_or(0, |last| last.index + 1);
        if index != expected {
            return Err(Unreadable::Damaged(format!("entry {expected} is missing: the next one is {index}")));
        }
        let entry = codec::decode_entry(index, record)
            .map_err(|error| Unreadable::Damaged(format!("entry {index}: {error}")))?;
        if last.is_some_and(|last| entry.log_id <= last) {
            return Err(Unreadable::Damaged(format!("entry {index} is of an earlier term than the one before")));
        }
        last = Some(entry.log_id);
        sizes.push_back(u32::try_from(record.len()).unwrap_or(u32::MAX));
    }
    Ok((last, sizes))
}

fn open_error(path: &Path, error: DatabaseError) -> StartError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StartError::InUse { path: path.to_owned() },
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::UnexpectedEof => StartError::damaged(path, "is shorter than it was: it was cut off"),
            io::ErrorKind::InvalidData => StartError::damaged(path, "is no log of this program"),
            _ => StartError::io(path, error),
        },
        error => StartError::damaged(path, format!("is damaged: {error}")),
    }
}

fn io_error(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
