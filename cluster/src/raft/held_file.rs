//! A file for the database that can be looked at without being touched.
//!
//! Opening a database writes: it marks the file as in use, and repairs what a crash left. A file that turns out to be
//! damaged must stay as it was found, for whoever is to rescue it. So the file is opened *held*: what the database
//! writes is kept in memory, in order, and read back from there. Once everything was looked through, [`Hold::release`]
//! does those writes to the file, in the same order with the same syncs (so that a crash meanwhile is the crash it would
//! have been without holding), and from then on calls go straight through. Dropped before that, the file is unchanged.
//!
//! Knows nothing of what the file holds. Memory: what the database writes while it opens, about its bookkeeping's size.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend, backends::FileBackend};

/// What is kept in memory is kept by blocks of this many bytes.
const BLOCK: u64 = 4096;

/// The database's side.
#[derive(Debug)]
pub(super) struct HeldFile(Arc<Shared>);

/// The opener's side.
#[derive(Debug)]
pub(super) struct Hold(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: FileBackend,
    released: AtomicBool,
    held: Mutex<Held>,
}

/// Takes hold of `file`.
pub(super) fn hold(file: File) -> io::Result<(HeldFile, Hold)> {
    let len = file.metadata()?.len();
    let file = FileBackend::new(file).map_err(io::Error::other)?;
    let held = Held { len, kept: len, blocks: BTreeMap::new(), journal: Vec::new() };
    let shared = Arc::new(Shared { file, released: AtomicBool::new(false), held: Mutex::new(held) });
    Ok((HeldFile(shared.clone()), Hold(shared)))
}

impl HeldFile {
    /// Whether there is not a byte in it.
    pub(super) fn is_empty_file(&self) -> bool {
        self.0.held().is_some_and(|held| held.len == 0)
    }
}

impl Hold {
    /// Lets the writes through: those made so far, and all to come.
    pub(super) fn release(self) -> io::Result<()> {
        let mut held = self.0.held.lock();
        for step in held.journal.drain(..) {
            match step {
                Step::Write(offset, data) => self.0.file.write(offset, &data)?,
                Step::Length(len) => self.0.file.set_len(len)?,
                Step::Sync => self.0.file.sync_data()?,
            }
        }
        held.blocks.clear();
        self.0.released.store(true, Ordering::Release);
        Ok(())
    }
}

impl Shared {
    /// The state to work on while the file is held, or `None` once it is not.
    fn held(&self) -> Option<parking_lot::MutexGuard<'_, Held>> {
        if self.released.load(Ordering::Acquire) {
            return None;
        }
        let held = self.held.lock();
        // Released while this call waited for the lock.
        match self.released.load(Ordering::Acquire) {
            true => None,
            false => Some(held),
        }
    }
}

/// The file as the database believes it to be.
#[derive(Debug)]
struct Held {
    len: u64,
    /// Bytes of the real file that still count: beyond, it was cut off and reads as zeros.
    kept: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    journal: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Held {
    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(out.len() as u64) > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let (block, within) = (at / BLOCK, at % BLOCK);
            let (now, later) = rest.split_at_mut(rest.len().min((BLOCK - within) as usize));
            match self.blocks.get(&block).and_then(|bytes| bytes.get(within as usize..within as usize + now.len())) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => self.read_file(file, at, now)?,
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// From the real file, with zeros where it ends.
    fn read_file(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.kept.saturating_sub(offset).min(out.len() as u64) as usize;
        let (real, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        if real.is_empty() {
            return Ok(());
        }
        file.read(offset, real)
    }

    fn write(&mut self, file: &FileBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let (block, within) = (at / BLOCK, (at % BLOCK) as usize);
            let (now, later) = rest.split_at(rest.len().min(BLOCK as usize - within));
            if !self.blocks.contains_key(&block) {
                let mut bytes = vec![0; BLOCK as usize];
                self.read_file(file, block * BLOCK, &mut bytes)?;
                self.blocks.insert(block, bytes);
            }
            if let Some(place) = self.blocks.get_mut(&block).and_then(|bytes| bytes.get_mut(within..within + now.len()))
            {
                place.copy_from_slice(now);
            }
            at += now.len() as u64;
            rest = later;
        }
        self.len = self.len.max(offset + data.len() as u64);
        self.journal.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.kept = self.kept.min(len);
        self.len = len;
        self.blocks.retain(|block, _| block * BLOCK < len);
        // What was cut off of the last block must not come back when the file grows again.
        if let Some(cut) = self.blocks.get_mut(&(len / BLOCK)).and_then(|bytes| bytes.get_mut((len % BLOCK) as usize..))
        {
            cut.fill(0);
        }
        self.journal.push(Step::Length(len));
    }
}

impl StorageBackend for HeldFile {
    fn len(&self) -> io::Result<u64> {
        match self.0.held() {
            Some(held) => Ok(held.len),
            None => self.0.file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.held() {
            Some(held) => held.read(&self.0.file, offset, out),
            None => self.0.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.0.held() {
            Some(mut held) => {
                held.set_len(len);
                Ok(())
            }
            None => self.0.file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.0.held() {
            Some(mut held) => {
                held.journal.push(Step::Sync);
                Ok(())
            }
            None => self.0.file.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.0.held() {
            Some(mut held) => held.write(&self.0.file, offset, data),
            None => self.0.file.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::*;

    fn temp(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        (directory, path, file)
    }

    #[test]
    fn a_file_dropped_while_held_is_as_it_was() {
        let (_directory, path, file) = temp(b"as it was");
        let (held, _hold) = hold(file).unwrap();
        held.write(3, b"IT").unwrap();
        held.set_len(100).unwrap();
        held.sync_data().unwrap();
        let mut seen = [0; 12];
        held.read(0, &mut seen).unwrap();
        assert_eq!(&seen, b"as IT was\0\0\0");
        drop(held);
        assert_eq!(std::fs::read(&path).unwrap(), b"as it was");
    }

    #[derive(Clone, Debug)]
    enum Change {
        Write(u64, Vec<u8>),
        Length(u64),
        Release,
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (0u64..20_000, proptest::collection::vec(any::<u8>(), 1..9000))
                .prop_map(|(at, data)| Change::Write(at, data)),
            3 => (0u64..30_000).prop_map(Change::Length),
            1 => Just(Change::Release),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is done, and whenever the hold ends, reads and the file in the end are those of a plain file.
        #[test]
        fn a_held_file_reads_as_a_plain_one(
            start in proptest::collection::vec(any::<u8>(), 0..10_000),
            changes in proptest::collection::vec(change(), 0..12),
        ) {
            let (_directory, path, file) = temp(&start);
            let (_plain_directory, plain_path, plain) = temp(&start);
            let (held, hold) = hold(file).unwrap();
            let mut hold = Some(hold);
            for change in changes {
                match change {
                    Change::Write(at, data) => {
                        held.write(at, &data).unwrap();
                        plain.write_all_at(&data, at).unwrap();
                    }
                    Change::Length(len) => {
                        held.set_len(len).unwrap();
                        plain.set_len(len).unwrap();
                    }
                    Change::Release => if let Some(hold) = hold.take() {
                        hold.release().unwrap();
                    },
                }
                let expected = std::fs::read(&plain_path).unwrap();
                prop_assert_eq!(held.len().unwrap(), expected.len() as u64);
                let mut seen = vec![0; expected.len()];
                held.read(0, &mut seen).unwrap();
                prop_assert_eq!(seen, expected);
            }
            if let Some(hold) = hold.take() {
                hold.release().unwrap();
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&plain_path).unwrap());
        }
    }
}
