//! The data directory: who owns it, whose it is, and how a file in it is replaced.
//!
//! ```text
//!   <data_dir>/lock       held by the one agent that uses the directory (flock; freed by the system when it dies)
//!   <data_dir>/node-id    the node's UUID
//!   <data_dir>/raft       consensus (see `raft`)
//!   <data_dir>/services   registrations of this agent (see `local`)
//!   <data_dir>/checks
//! ```
//!
//! Opening changes nothing that was there: whatever is wrong is an error that names the file. Knows nothing of what the
//! files mean to others.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// Files may hold tokens: nobody but the owner reads them.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// A UUID with a line end; anything much longer is not ours and is not read whole.
const NODE_ID_MAX_BYTES: u64 = 256;
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The data directory, or a file in it, cannot be used. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
#[error("data directory {path}: {reason}")]
pub struct DataDirError {
    /// Which directory or file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// An opened data directory. The lock is held until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        create_directory(path).map_err(|source| refused(path, reason_of_directory(path, &source)))?;
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The node's UUID: the configured one, else the one kept here, else `fresh`, which is kept from then on.
    ///
    /// As in Consul a configured id is used without being kept, so that taking it out of the configuration brings the
    /// kept one back.
    pub(crate) fn node_id(&self, configured: Option<&str>, fresh: Uuid) -> Result<String, DataDirError> {
        if let Some(configured) = configured {
            return Ok(configured.to_ascii_lowercase());
        }
        let path = self.path.join("node-id");
        if let Some(kept) = read_node_id(&path)? {
            return Ok(kept);
        }
        let id = fresh.hyphenated().to_string();
        write_atomically(&path, id.as_bytes()).map_err(|source| refused(&path, source.to_string()))?;
        Ok(id)
    }
}

/// Makes a directory and those above it, readable by the owner alone. One that is there is left as it is.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Replaces a file so that after a crash at any moment either the old or the new bytes are there, whole: writes beside
/// it, syncs, renames, syncs the directory.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = Staged::write(path, bytes)?;
    staged.sync()?;
    staged.publish()?;
    sync_directory(directory_of(path))
}

/// A file's new bytes beside it, on their way to the disk. Dropped, they are removed again.
#[derive(Debug)]
pub(crate) struct Staged {
    temporary: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Staged {
    /// Writes `bytes` beside `path` and has the system begin to bring them to the disk, without waiting: several
    /// files then share what a sync costs.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let staged = Self { temporary: temporary_of(path), path: path.to_owned(), published: false };
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&staged.temporary)?;
        file.write_all(bytes)?;
        // Advice only: the sync that follows makes up for a system that does not take it.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(staged)
    }

    /// Waits until the bytes are on the disk. The file is opened again, so that a large batch holds few open.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.temporary)?.sync_all()
    }

    /// Puts the synced bytes in the file's place. The directory is to be synced then.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether a file is what a crash left of a [`Staged`] one.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(TEMPORARY_SUFFIX)
}

/// The error of a start that this file or directory prevents.
pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> DataDirError {
    DataDirError { path: path.to_owned(), reason: reason.into() }
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn reason_of_directory(path: &Path, source: &io::Error) -> String {
    if path.exists() && !path.is_dir() {
        return "not a directory".to_owned();
    }
    format!("cannot be made: {source}")
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(|source| refused(directory, format!("cannot open its lock file: {source}")))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(refused(directory, in_use(&mut file))),
        Err(TryLockError::Error(source)) => return Err(refused(directory, format!("cannot be locked: {source}"))),
    }
    // For the one who is refused. Not being able to say so is no reason to refuse to work.
    let _ = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(file)
}

fn in_use(lock: &mut File) -> String {
    let mut holder = String::new();
    let known = lock.rewind().and_then(|()| lock.take(20).read_to_string(&mut holder));
    match (known, holder.trim().parse::<u32>()) {
        (Ok(_), Ok(process)) => format!("in use by another agent (process {process})"),
        _ => "in use by another agent".to_owned(),
    }
}

fn read_node_id(path: &Path) -> Result<Option<String>, DataDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(refused(path, source.to_string())),
    };
    let mut text = String::new();
    file.take(NODE_ID_MAX_BYTES).read_to_string(&mut text).map_err(|source| refused(path, source.to_string()))?;
    let id = Uuid::try_parse(text.trim()).map_err(|_| refused(path, "does not hold a UUID"))?;
    Ok(Some(id.hyphenated().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Uuid = Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888);
    const OTHER: Uuid = Uuid::from_u128(0x9999_2222_3333_4444_5555_6666_7777_8888);

    fn reason(error: DataDirError) -> String {
        error.to_string()
    }

    #[test]
    fn node_id_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDir::open(directory.path()).unwrap().node_id(None, FRESH).unwrap();
        let second = DataDir::open(directory.path()).unwrap().node_id(None, OTHER).unwrap();
        assert_eq!(first, FRESH.to_string());
        assert_eq!(second, first);
    }

    #[test]
    fn configured_node_id_wins_and_leaves_the_kept_one() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(directory.path()).unwrap();
        let kept = data.node_id(None, FRESH).unwrap();
        assert_eq!(
            data.node_id(Some("ABCDEF01-2222-3333-4444-555566667777"), OTHER).unwrap(),
            "abcdef01-2222-3333-4444-555566667777"
        );
        assert_eq!(data.node_id(None, OTHER).unwrap(), kept);
    }

    #[test]
    fn corrupt_node_id_is_refused_and_left_as_it_is() {
        let long = "1".repeat(100_000);
        for bytes in [&b""[..], b"garbage", b"11112222-3333", b"\xff\xfe", long.as_bytes()] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("node-id");
            fs::write(&path, bytes).unwrap();
            let error = DataDir::open(directory.path()).unwrap().node_id(None, FRESH).unwrap_err();
            assert!(reason(error).contains("node-id"));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn second_agent_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDir::open(directory.path()).unwrap();
        let text = reason(DataDir::open(directory.path()).unwrap_err());
        assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        drop(first);
        DataDir::open(directory.path()).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_told_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "mine").unwrap();
        // Root may write anywhere, so the unwritable directory is one of a file system that refuses everybody.
        let cases = [
            (file.clone(), "not a directory"),
            (file.join("below"), "cannot be made"),
            (PathBuf::from("/proc/usher"), "cannot be made"),
            (PathBuf::from("/proc"), "lock file"),
        ];
        for (path, expected) in cases {
            let text = reason(DataDir::open(&path).unwrap_err());
            assert!(text.contains(path.to_str().unwrap()) && text.contains(expected), "{text}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write_atomically(&directory.path().join("no/x"), b"").is_err());
    }
}
