//! The directory consensus lives in: what belongs in it, who may use it, and when it counts as new.
//!
//! ```text
//!   lock              held while a process uses the directory
//!   log.redb          the log, the vote, this server's Raft id
//!   log.mark          how far log.redb is known to be on disk (see `mark`)
//!   snapshots/        snapshot-<term>-<index>.snap, newest two
//!   pledge            the servers this one has promised to found a cluster with (see `founding`)
//!   peers.json        the servers that are to go on after a quorum was lost, put there by a person (see `recovery`)
//!   peers.info        what that is
//! ```
//!
//! A log is only ever made where there is none and nothing else either: what looks like the remains of one is refused
//! and left alone, since a server that forgets its vote or its entries breaks what others were promised.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{StartError, mark};

const LOCK: &str = "lock";
const LOG: &str = "log.redb";
const NEW_LOG: &str = "log.redb.new";
const MARK: &str = "log.mark";
const NEW_MARK: &str = "log.mark.new";
const SNAPSHOTS: &str = "snapshots";
const PLEDGE: &str = "pledge";
const PEERS: &str = "peers.json";
const PEERS_INFO: &str = "peers.info";

/// The directory, for as long as this process alone uses it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing: a log may be made.
    Nothing,
    /// A log.
    Log,
}

impl Directory {
    /// Takes the directory (made if it is not there) for this process.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), StartError> {
        fs::create_dir_all(path).map_err(|error| StartError::io(path, error))?;
        let lock_path = path.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(|error| StartError::io(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StartError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StartError::io(&lock_path, error)),
        }
        let directory = Self { path: path.to_owned(), _lock: lock };
        let contents = directory.contents()?;
        Ok((directory, contents))
    }

    fn contents(&self) -> Result<Contents, StartError> {
        let names = self.names()?;
        if names.iter().any(|name| name == LOG) {
            return match names.iter().any(|name| name == MARK) {
                true => Ok(Contents::Log),
                false => Err(StartError::damaged(&self.mark(), format!("is missing, but {LOG} is there"))),
            };
        }
        for name in &names {
            if !self.is_left_of_an_unfinished_start(name)? {
                return Err(StartError::damaged(&self.log(), format!("is missing, but {name} is there")));
            }
        }
        Ok(Contents::Nothing)
    }

    /// Whether a first start that was cut short leaves such a file. Such a start acknowledged nothing.
    fn is_left_of_an_unfinished_start(&self, name: &str) -> Result<bool, StartError> {
        match name {
            NEW_LOG | NEW_MARK => Ok(true),
            MARK => Ok(mark::read(&self.mark())?.sequence == 0),
            SNAPSHOTS => {
                let path = self.snapshots();
                let mut entries = fs::read_dir(&path).map_err(|error| StartError::io(&path, error))?;
                Ok(entries.next().is_none())
            }
            _ => Ok(false),
        }
    }

    /// Everything in it but the lock.
    fn names(&self) -> Result<Vec<String>, StartError> {
        let entries = fs::read_dir(&self.path).map_err(|error| StartError::io(&self.path, error))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| StartError::io(&self.path, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOCK {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// The log while it is being made.
    pub(super) fn new_log(&self) -> PathBuf {
        self.path.join(NEW_LOG)
    }

    /// The mark.
    pub(super) fn mark(&self) -> PathBuf {
        self.path.join(MARK)
    }

    /// The mark while it is being made.
    pub(super) fn new_mark(&self) -> PathBuf {
        self.path.join(NEW_MARK)
    }

    /// Where snapshots are.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    /// The promise.
    pub(super) fn pledge(&self) -> PathBuf {
        self.path.join(PLEDGE)
    }

    /// The servers that are to go on.
    pub(super) fn peers(&self) -> PathBuf {
        self.path.join(PEERS)
    }

    /// What that file is.
    pub(super) fn peers_info(&self) -> PathBuf {
        self.path.join(PEERS_INFO)
    }

    /// Makes renames and new files in the directory durable, and the directory itself.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_directory(&self.path)?;
        match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => sync_directory(parent),
            None => Ok(()),
        }
    }
}

/// Makes renames and new files in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files, opened.
    fn opened(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<Contents, String>) {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let contents = Directory::open(directory.path()).map(|(_, contents)| contents);
        (directory, contents.map_err(|error| error.to_string()))
    }

    #[test]
    fn only_nothing_counts_as_new() {
        for (files, expected) in [
            (&[][..], Ok(Contents::Nothing)),
            (&[("log.redb.new", &b"x"[..]), ("log.mark.new", b"x")][..], Ok(Contents::Nothing)),
            (&[("log.redb", &b"x"[..]), ("log.mark", b"x")][..], Ok(Contents::Log)),
            (&[("log.redb", &b"x"[..])][..], Err("log.mark: is missing, but log.redb is there")),
            (&[("snapshots/snapshot-1-1.snap", &b"x"[..])][..], Err("log.redb: is missing, but snapshots is there")),
            (&[("raft.db", &b"x"[..])][..], Err("log.redb: is missing, but raft.db is there")),
            (&[("log.mark", &b"x"[..])][..], Err("log.mark: ")),
        ] {
            let (_directory, contents) = opened(files);
            match (contents, expected) {
                (Ok(contents), Ok(expected)) => assert_eq!(contents, expected, "{files:?}"),
                (Err(text), Err(expected)) => assert!(text.contains(expected), "{files:?}: {text}"),
                (contents, expected) => panic!("{files:?}: {contents:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_mark_that_says_entries_were_acknowledged_is_no_unfinished_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.mark");
        drop(mark::MarkFile::create(&path, 7).unwrap());
        assert_eq!(Directory::open(directory.path()).unwrap().1, Contents::Nothing);
        mark::MarkFile::open(&path).unwrap().0.write(1).unwrap();
        let text = Directory::open(directory.path()).unwrap_err().to_string();
        assert!(text.contains("log.redb: is missing, but log.mark is there"), "{text}");
    }

    #[test]
    fn one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = Directory::open(directory.path()).unwrap();
        let text = Directory::open(directory.path()).unwrap_err().to_string();
        assert!(text.ends_with("is in use by another process"), "{text}");
        drop(first);
        Directory::open(directory.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_directorys_place_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raft");
        fs::write(&path, b"a file").unwrap();
        let text = Directory::open(&path).unwrap_err().to_string();
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
