//! The log after a power failure: of what was written since the last sync anything may be there and anything missing.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use redb::StorageBackend;

use super::*;
use crate::raft::types::{Entry, log_id};

/// A file whose unsynced writes are at the mercy of the moment.
#[derive(Debug)]
struct Unsteady(Arc<Disc>);

#[derive(Debug)]
struct Disc {
    /// What is safe.
    synced: Mutex<Vec<u8>>,
    /// What the process sees.
    seen: Mutex<Vec<u8>>,
    /// What was written since the last sync.
    pending: Mutex<Vec<(usize, Vec<u8>)>>,
    acknowledged: AtomicU64,
    random: Mutex<StdRng>,
    /// What power failures would have left, and what had been acknowledged by then.
    left: Mutex<Vec<(Vec<u8>, u64)>>,
}

impl Disc {
    /// What is left if the power fails now.
    fn fail(&self) {
        let mut image = self.synced.lock().clone();
        let mut random = self.random.lock();
        for (offset, data) in self.pending.lock().iter() {
            // A sector is written or not.
            for (number, sector) in data.chunks(512).enumerate() {
                let start = offset + number * 512;
                if random.random::<bool>() {
                    image.resize(image.len().max(start + sector.len()), 0);
                    image[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        // The length is the file system's business, which keeps it in order.
        image.resize(self.seen.lock().len(), 0);
        self.left.lock().push((image, self.acknowledged.load(Ordering::SeqCst)));
    }
}

impl StorageBackend for Unsteady {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.seen.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let seen = self.0.seen.lock();
        out.copy_from_slice(&seen[offset as usize..offset as usize + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.seen.lock().resize(len as usize, 0);
        self.0.synced.lock().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.fail();
        *self.0.synced.lock() = self.0.seen.lock().clone();
        self.0.pending.lock().clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.0.seen.lock()[offset..offset + data.len()].copy_from_slice(data);
        self.0.pending.lock().push((offset, data.to_vec()));
        if self.0.random.lock().random_range(0..16) == 0 {
            self.0.fail();
        }
        Ok(())
    }
}

fn entry(index: u64) -> Change {
    let entry = Entry { log_id: log_id(1, index), payload: openraft::EntryPayload::Blank };
    Change::Put(index, Arc::from(codec::encode_entry(&entry).unwrap()))
}

#[test]
fn what_was_acknowledged_is_there_after_a_power_failure() {
    let disc = Arc::new(Disc {
        synced: Mutex::default(),
        seen: Mutex::default(),
        pending: Mutex::default(),
        acknowledged: AtomicU64::new(0),
        random: Mutex::new(StdRng::seed_from_u64(17)),
        left: Mutex::default(),
    });
    let temp = tempfile::tempdir().unwrap();
    let database = Builder::new().create_with_backend(Unsteady(disc.clone())).unwrap();
    found(&database, 9).unwrap();
    // No power failure before this point: the log has no name yet.
    disc.left.lock().clear();
    let (directory, _) = Directory::open(temp.path()).unwrap();
    let mut disk = Disk {
        path: directory.log(),
        database: Arc::new(RwLock::new(Some(database))),
        mark: MarkFile::create(&directory.mark(), 9).unwrap(),
        raft_id: 9,
        sequence: 0,
        committed: None,
        last_index: None,
        purged: None,
        first_row: 0,
        _directory: directory,
    };
    let mut next = 0;
    for commit in 0..60 {
        let count = 1 + commit % 7;
        let changes = (next..next + count).map(entry).collect();
        let purge = (commit == 40).then(|| log_id(1, next / 2));
        disk.commit(Batch { changes, purge, ..Batch::default() }).unwrap();
        next += count;
        disc.acknowledged.store(next, Ordering::SeqCst);
    }
    disc.fail();

    let left = std::mem::take(&mut *disc.left.lock());
    assert!(left.len() > 60, "{} failures", left.len());
    for (number, (image, acknowledged)) in left.into_iter().enumerate() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("log.redb"), image).unwrap();
        // The mark was never synced: it says no more than at the beginning.
        drop(MarkFile::create(&temp.path().join("log.mark"), 9).unwrap());
        let (directory, _) = Directory::open(temp.path()).unwrap();
        let (disk, recovered) =
            Disk::open(directory, |_| Ok(())).unwrap_or_else(|error| panic!("failure {number}: {error}"));
        let found = recovered.last.map_or(0, |last| last.index + 1);
        assert!(found >= acknowledged, "failure {number}: {found} of {acknowledged}");
        disk.close().unwrap();
    }
}

/// Others may have committed an entry that this disk does not have yet; after a restart it must not count.
#[test]
fn only_entries_that_are_here_are_told_committed() {
    let temp = tempfile::tempdir().unwrap();
    let mut disk = Disk::create(Directory::open(temp.path()).unwrap().0, 9).unwrap();
    let batch = |indexes: Range<u64>, committed| Batch {
        changes: indexes.map(entry).collect(),
        committed: Some(log_id(1, committed)),
        ..Batch::default()
    };
    disk.commit(batch(0..5, 3)).unwrap();
    disk.commit(batch(5..8, 10)).unwrap();
    disk.close().unwrap();
    let (disk, recovered) = Disk::open(Directory::open(temp.path()).unwrap().0, |_| Ok(())).unwrap();
    assert_eq!(recovered.committed, Some(log_id(1, 3)));
    assert_eq!(recovered.last, Some(log_id(1, 7)));
    disk.close().unwrap();
}

#[test]
fn a_gap_between_entries_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut disk = Disk::create(Directory::open(temp.path()).unwrap().0, 9).unwrap();
    let changes = [0, 1, 2, 4].map(entry).into_iter().collect();
    disk.commit(Batch { changes, ..Batch::default() }).unwrap();
    disk.close().unwrap();
    let error = Disk::open(Directory::open(temp.path()).unwrap().0, |_| Ok(())).err().unwrap().to_string();
    assert!(error.contains("entry 3 is missing: the next one is 4"), "{error}");
}
