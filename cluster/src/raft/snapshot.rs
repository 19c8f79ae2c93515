//! Snapshots: the whole catalog at one log entry, so that the log before it can go.
//!
//! ```text
//!   "USHRSNAP" │ format (4) │ header │ one record for each piece of the catalog … │ trailer (count, checksum) │ end
//!   each of them: length (4, little endian) │ record as in `codec`
//! ```
//!
//! A file is written beside its final name, synced, and renamed, so that a file of that name is whole; the newest two are
//! kept. Reading checks every record and the whole, and the end must be the end: a snapshot is good or it is refused,
//! and a refused one is left as it is. Blocking calls; the state to be written is a clone that later writes do not touch.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    StartError,
    codec::{self, CodecError, Kind, SnapshotHeader, SnapshotTrailer},
    directory::sync_directory,
    types::{SnapshotMeta, term_of},
};
use crate::catalog::{Record, State};

const MAGIC: &[u8; 8] = b"USHRSNAP";
const FORMAT: u32 = 1;
/// Snapshots kept: the newest, and one more for people.
const KEPT: usize = 2;
const EXTENSION: &str = "snap";
const UNFINISHED: &str = "unfinished";

/// A snapshot to be read or handed on.
#[derive(Clone, Debug)]
pub(super) enum SnapshotData {
    /// The state itself, of a server that keeps nothing on disk.
    State(Box<State>),
    /// A file.
    File(PathBuf),
    /// A file another server sent, whole but not looked at, which has no final name yet.
    Received(PathBuf),
}

/// Where this server keeps its snapshots. Clones share it.
#[derive(Clone)]
pub(super) enum Snapshots {
    /// The newest one, in memory.
    Memory(Arc<Mutex<Option<(SnapshotMeta, State)>>>),
    /// Files in a directory.
    Files(Arc<Files>),
}

/// A directory of snapshots.
pub(super) struct Files {
    directory: PathBuf,
    /// Held by the one who writes; false when nobody may any more.
    open: Mutex<bool>,
}

impl Snapshots {
    /// For a server that keeps nothing on disk.
    pub(super) fn in_memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// The newest snapshot in `path`, read and found good; the directory is only looked at.
    pub(super) fn newest_in(path: &Path) -> Result<Option<(SnapshotMeta, State)>, StartError> {
        let Some(newest) = files(path).map_err(|error| StartError::io(path, error))?.pop() else {
            return Ok(None);
        };
        match read(&newest) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(ReadError::Io(error)) => Err(StartError::io(&newest, error)),
            Err(ReadError::Damaged(reason)) => Err(StartError::damaged(&newest, reason)),
        }
    }

    /// Keeps snapshots in `path`, which is made if it is not there. What an interrupted write left is removed.
    pub(super) fn in_directory(path: PathBuf) -> Result<Self, StartError> {
        let prepared = fs::create_dir_all(&path).and_then(|()| {
            for entry in fs::read_dir(&path)? {
                let entry = entry?.path();
                if entry.extension().is_some_and(|extension| extension == UNFINISHED) {
                    fs::remove_file(entry)?;
                }
            }
            // Its own name must last before the first snapshot stands for entries that go.
            path.parent().map_or(Ok(()), sync_directory)
        });
        prepared.map_err(|error| StartError::io(&path, error))?;
        Ok(Self::Files(Arc::new(Files { directory: path, open: Mutex::new(true) })))
    }

    /// Waits for a snapshot that is being written; none is written after.
    pub(super) fn close(&self) {
        if let Self::Files(files) = self {
            *files.open.lock() = false;
        }
    }

    /// Keeps a snapshot of `state`; it is durable when this returns.
    pub(super) fn keep(&self, meta: &SnapshotMeta, state: State) -> io::Result<SnapshotData> {
        match self {
            Self::Memory(newest) => {
                *newest.lock() = Some((meta.clone(), state.clone()));
                Ok(SnapshotData::State(Box::new(state)))
            }
            Self::Files(files) => {
                let directory = &files.directory;
                let open = files.open.lock();
                if !*open {
                    return Err(io::Error::other("consensus is stopping"));
                }
                let path = directory.join(file_name(meta));
                write(&path, meta, &state)?;
                sync_directory(directory)?;
                remove_older(directory)?;
                Ok(SnapshotData::File(path))
            }
        }
    }

    /// Keeps a snapshot another server sent; `state` is what it holds. It is durable when this returns.
    pub(super) fn adopt(&self, meta: &SnapshotMeta, received: &Path, state: &State) -> io::Result<()> {
        let Self::Files(files) = self else {
            return self.keep(meta, state.clone()).map(drop);
        };
        let open = files.open.lock();
        if !*open {
            return Err(io::Error::other("consensus is stopping"));
        }
        fs::rename(received, files.directory.join(file_name(meta)))?;
        sync_directory(&files.directory)?;
        remove_older(&files.directory)
    }

    /// Where a snapshot another server sends may be put; nowhere on a server that keeps nothing on disk.
    pub(super) fn unfinished(&self) -> Option<PathBuf> {
        match self {
            Self::Memory(_) => None,
            Self::Files(files) => Some(files.directory.join("received").with_extension(UNFINISHED)),
        }
    }

    /// The newest snapshot, if there is one.
    pub(super) fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotData)>> {
        match self {
            Self::Memory(newest) => {
                Ok(newest.lock().clone().map(|(meta, state)| (meta, SnapshotData::State(Box::new(state)))))
            }
            Self::Files(kept) => {
                let Some(path) = files(&kept.directory)?.pop() else {
                    return Ok(None);
                };
                let meta = read_meta(&path).map_err(|error| error.of(&path))?;
                Ok(Some((meta, SnapshotData::File(path))))
            }
        }
    }
}

impl SnapshotData {
    /// The state it holds, which must be what `meta` says.
    pub(super) fn into_state(self, meta: &SnapshotMeta) -> io::Result<State> {
        match self {
            Self::State(state) => Ok(*state),
            Self::File(path) | Self::Received(path) => {
                let (found, state) = read(&path).map_err(|error| error.of(&path))?;
                match found == *meta {
                    true => Ok(state),
                    false => Err(ReadError::Damaged("is another snapshot than was announced".to_owned()).of(&path)),
                }
            }
        }
    }
}

/// Why a file is no snapshot.
enum ReadError {
    Io(io::Error),
    Damaged(String),
}

impl ReadError {
    fn of(self, path: &Path) -> io::Error {
        match self {
            Self::Io(error) => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
            Self::Damaged(reason) => {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()))
            }
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("ends too early: it was cut off".to_owned()),
            _ => Self::Io(error),
        }
    }
}

impl From<CodecError> for ReadError {
    fn from(error: CodecError) -> Self {
        Self::Damaged(format!("is damaged: {error}"))
    }
}

/// Names sort by term and index.
fn file_name(meta: &SnapshotMeta) -> String {
    let (term, index) = meta.last_log_id.map_or((0, 0), |last| (term_of(&last), last.index));
    format!("snapshot-{term:020}-{index:020}.{EXTENSION}")
}

/// The snapshots in a directory, oldest first.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn remove_older(directory: &Path) -> io::Result<()> {
    let files = files(directory)?;
    for path in files.iter().rev().skip(KEPT) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn write(path: &Path, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED);
    let file = write_to(BufWriter::new(File::create(&unfinished)?), meta, state)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&unfinished, path)
}

/// What a file of the snapshot would hold.
pub(super) fn to_bytes(meta: &SnapshotMeta, state: &State) -> io::Result<Vec<u8>> {
    write_to(Vec::new(), meta, state)
}

/// The state in the bytes of a file, which must be what `meta` says.
pub(super) fn from_bytes(meta: &SnapshotMeta, bytes: &[u8]) -> io::Result<State> {
    let damaged = |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot {reason}"));
    match Input::new(bytes, bytes.len() as u64).and_then(read_whole) {
        Ok((found, state)) if found == *meta => Ok(state),
        Ok(_) => Err(damaged("is another than was announced".to_owned())),
        Err(ReadError::Damaged(reason)) => Err(damaged(reason)),
        Err(ReadError::Io(error)) => Err(error),
    }
}

fn write_to<W: Write>(output: W, meta: &SnapshotMeta, state: &State) -> io::Result<W> {
    let mut out = Output { file: output, checksum: crc32fast::Hasher::new() };
    out.write(MAGIC)?;
    out.write(&FORMAT.to_le_bytes())?;
    out.frame(&codec::encode(Kind::SnapshotHeader, &SnapshotHeader::new(meta))?)?;
    let mut records = 0;
    for record in state.records() {
        out.frame(&codec::encode(Kind::SnapshotRecord, &record)?)?;
        records += 1;
    }
    let trailer = SnapshotTrailer { records, checksum: out.checksum.clone().finalize() };
    out.frame(&codec::encode(Kind::SnapshotTrailer, &trailer)?)?;
    Ok(out.file)
}

/// A file being written, and the checksum of what was.
struct Output<W> {
    file: W,
    checksum: crc32fast::Hasher,
}

impl<W: Write> Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)
    }

    fn frame(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        self.write(&length.to_le_bytes())?;
        self.write(record)
    }
}

fn read_meta(path: &Path) -> Result<SnapshotMeta, ReadError> {
    let mut input = Input::open(path)?;
    input.header()
}

fn read(path: &Path) -> Result<(SnapshotMeta, State), ReadError> {
    read_whole(Input::open(path)?)
}

fn read_whole<R: Read>(mut input: Input<R>) -> Result<(SnapshotMeta, State), ReadError> {
    let meta = input.header()?;
    let mut records = Records { input, read: 0, trailer: None, error: None };
    let state = State::restore(&mut records);
    let Records { mut input, read, trailer, error } = records;
    if let Some(error) = error {
        return Err(error);
    }
    let state = state.map_err(|error| ReadError::Damaged(format!("is damaged: {error}")))?;
    let Some((trailer, checksum)) = trailer else {
        return Err(ReadError::Damaged("has no end".to_owned()));
    };
    if trailer.records != read || trailer.checksum != checksum {
        return Err(ReadError::Damaged("is damaged: its parts do not add up".to_owned()));
    }
    if input.left != 0 || input.file.read(&mut [0])? != 0 {
        return Err(ReadError::Damaged("is damaged: there is something behind its end".to_owned()));
    }
    Ok((meta, state))
}

/// A file being read, and the checksum of what was.
struct Input<R> {
    file: R,
    /// Bytes the file still has: no length it tells is believed beyond that.
    left: u64,
    checksum: crc32fast::Hasher,
}

impl Input<BufReader<File>> {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        Self::new(BufReader::new(file), left)
    }
}

impl<R: Read> Input<R> {
    fn new(file: R, left: u64) -> Result<Self, ReadError> {
        let mut input = Self { file, left, checksum: crc32fast::Hasher::new() };
        if input.take(MAGIC.len())? != MAGIC {
            return Err(ReadError::Damaged("is no snapshot of this program".to_owned()));
        }
        let format = input.number()?;
        if format != FORMAT {
            return Err(ReadError::Damaged(format!(
                "has format {format}, but this version knows {FORMAT}; was it written by a newer one?"
            )));
        }
        Ok(input)
    }

    fn header(&mut self) -> Result<SnapshotMeta, ReadError> {
        let record = self.frame()?;
        Ok(codec::decode::<SnapshotHeader>(Kind::SnapshotHeader, &record)?.into_meta()?)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        self.left = self.left.checked_sub(length as u64).ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes)?;
        self.checksum.update(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, ReadError> {
        let bytes = self.take(4)?;
        let bytes = bytes.first_chunk::<4>().ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn frame(&mut self) -> Result<Vec<u8>, ReadError> {
        let length = self.number()?;
        self.take(length as usize)
    }
}

/// The catalog's records of a file, up to the trailer or the first error.
struct Records<R> {
    input: Input<R>,
    read: u64,
    trailer: Option<(SnapshotTrailer, u32)>,
    error: Option<ReadError>,
}

impl<R: Read> Records<R> {
    fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        let checksum = self.input.checksum.clone();
        let bytes = self.input.frame()?;
        if bytes.first() == Some(&(Kind::SnapshotTrailer as u8)) {
            self.trailer = Some((codec::decode(Kind::SnapshotTrailer, &bytes)?, checksum.finalize()));
            return Ok(None);
        }
        let record = codec::decode(Kind::SnapshotRecord, &bytes)?;
        self.read += 1;
        Ok(Some(record))
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.trailer.is_some() || self.error.is_some() {
            return None;
        }
        self.advance().unwrap_or_else(|error| {
            self.error = Some(error);
            None
        })
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
