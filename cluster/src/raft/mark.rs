//! How far the log is known to be on disk, kept beside it.
//!
//! The database recovers from a crash in the middle of a commit by taking the state before it, which is right, since
//! nobody was told of that commit. But damage to the last commit looks the same to it, and the entries of that one *were*
//! acknowledged. So after every commit its number is written here (no sync of its own: a few bytes into the page cache,
//! which outlive the process). A log that is behind its mark has lost something and is refused. After a power failure the
//! mark may itself be behind, which only makes it say less.
//!
//! Two slots, written in turn, so that a write cut in two leaves the other.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    StartError,
    codec::{self, Kind, Mark},
};

/// Each slot has a disk sector of its own.
const SLOT: usize = 512;

/// The open mark.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    raft_id: u64,
}

impl MarkFile {
    /// Makes a mark that says nothing yet, on disk when this returns (its name is not: sync the directory).
    pub(super) fn create(path: &Path, raft_id: u64) -> io::Result<Self> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        file.set_len(2 * SLOT as u64)?;
        let mark = Self { file, raft_id };
        mark.write(0)?;
        mark.file.sync_all()?;
        Ok(mark)
    }

    /// Opens the mark and says what it holds.
    pub(super) fn open(path: &Path) -> Result<(Self, Mark), StartError> {
        let mark = read(path)?;
        let file = File::options().read(true).write(true).open(path).map_err(|error| StartError::io(path, error))?;
        Ok((Self { file, raft_id: mark.raft_id }, mark))
    }

    /// Notes that commit `sequence` is on disk.
    pub(super) fn write(&self, sequence: u64) -> io::Result<()> {
        let record = codec::encode(Kind::Mark, &Mark { raft_id: self.raft_id, sequence })?;
        let mut slot = [0; SLOT];
        let length = u16::try_from(record.len()).map_err(io::Error::other)?;
        let (head, body) = slot.split_at_mut(2);
        head.copy_from_slice(&length.to_le_bytes());
        body.get_mut(..record.len()).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(&record);
        self.file.write_all_at(&slot, (sequence % 2) * SLOT as u64)
    }
}

/// What the mark at `path` holds.
pub(super) fn read(path: &Path) -> Result<Mark, StartError> {
    let bytes = fs::read(path).map_err(|error| StartError::io(path, error))?;
    let newest = bytes.chunks(SLOT).take(2).filter_map(slot).max_by_key(|mark| mark.sequence);
    newest.ok_or_else(|| StartError::damaged(path, "is damaged: neither of its two records can be read"))
}

fn slot(bytes: &[u8]) -> Option<Mark> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    codec::decode(Kind::Mark, rest.get(..usize::from(u16::from_le_bytes(*length)))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mark = MarkFile::create(&path, 5).unwrap();
        assert_eq!(read(&path).unwrap(), Mark { raft_id: 5, sequence: 0 });
        mark.write(1).unwrap();
        mark.write(2).unwrap();
        assert_eq!(read(&path).unwrap(), Mark { raft_id: 5, sequence: 2 });
        // The write of commit 3 was cut in two.
        mark.write(3).unwrap();
        mark.file.write_all_at(&[0xff; 200], SLOT as u64 + 10).unwrap();
        assert_eq!(read(&path).unwrap(), Mark { raft_id: 5, sequence: 2 });
        mark.file.write_all_at(&[0xff; 200], 10).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("is damaged"));
    }
}
