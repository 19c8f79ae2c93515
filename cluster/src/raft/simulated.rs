//! A server's disk in a simulation: keeps exactly what was synced, through any number of crashes.
//!
//! ```text
//!   log_store ──► writer's queue ──► begin ──(simulated time passes)──► finish ──► those who waited are told
//!                                      └─ a crash here loses the batch, or its acknowledgement
//! ```
//!
//! The writer is a task of the simulated host instead of a thread, so that nothing but the seed decides the order; what
//! it takes from the queue and whom it tells is the real writer's. The log stays in memory whole. Disks belong to
//! addresses and outlive the agents at them. What is written here is also what the invariants look at.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    codec,
    disk::{Batch, Change, Recovered},
    failure::Failure,
    founding::Pledges,
    log_store::{LogStore, Tail},
    snapshot::Snapshots,
    types::{Entry, LogId, SnapshotMeta, term_of},
    writer::{self, Queue},
};
use crate::{
    catalog::State,
    simulation::{self, Bug},
};

thread_local! {
    static DISKS: RefCell<BTreeMap<IpAddr, SimulatedDisk>> = const { RefCell::new(BTreeMap::new()) };
}

/// The disk of one host. Clones share it.
#[derive(Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<Kept>>);

struct Kept {
    /// Kept at once and for ever.
    pledges: Pledges,
    raft_id: Option<u64>,
    vote: Option<Vec<u8>>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, (Arc<[u8]>, Held)>,
    in_flight: Option<Batch>,
    snapshot: Arc<Mutex<Option<(SnapshotMeta, State)>>>,
    /// The shortest and the longest time a sync takes.
    sync: (Duration, Duration),
}

/// One entry a disk holds: its index and term, and a checksum of what it says.
pub(crate) type Held = (u64, u64, u32);

impl SimulatedDisk {
    /// Puts an empty disk into the host of that address.
    pub(crate) fn install(address: IpAddr) -> Self {
        let disk = Self(Arc::new(Mutex::new(Kept {
            pledges: Pledges::in_memory(),
            raft_id: None,
            vote: None,
            committed: None,
            purged: None,
            entries: BTreeMap::new(),
            in_flight: None,
            snapshot: Arc::default(),
            sync: (Duration::ZERO, Duration::ZERO),
        })));
        disk.set_usual_sync_time();
        DISKS.with_borrow_mut(|disks| disks.insert(address, disk.clone()));
        disk
    }

    /// How long a sync takes from now on.
    pub(crate) fn set_sync_time(&self, shortest: Duration, longest: Duration) {
        self.0.lock().sync = (shortest, longest);
    }

    /// A sync takes as long as on a good disk.
    pub(crate) fn set_usual_sync_time(&self) {
        self.set_sync_time(Duration::from_micros(500), Duration::from_millis(3));
    }

    /// The host stops dead. What was being written is there afterwards, or is not.
    pub(crate) fn crash(&self, in_flight_is_kept: bool) {
        let mut kept = self.0.lock();
        if let Some(batch) = kept.in_flight.take().filter(|_| in_flight_is_kept) {
            kept.write(batch);
        }
    }

    /// Every entry that is on the disk, in order.
    pub(crate) fn entries(&self) -> Vec<Held> {
        self.0.lock().entries.values().map(|(_, held)| *held).collect()
    }

    /// What consensus begins from: the raft id, the log and the newest snapshot.
    pub(super) fn open(&self, failure: Failure, new_id: impl FnOnce() -> u64, size_limit: u64) -> (u64, LogStore) {
        let mut kept = self.0.lock();
        let raft_id = *kept.raft_id.get_or_insert_with(new_id);
        let recovered = Recovered {
            vote: kept.vote.as_deref().map(|vote| codec::decode_vote(vote).unwrap()),
            committed: kept.committed,
            purged: kept.purged,
            last: kept.purged,
            ..Recovered::default()
        };
        let tail = Arc::new(Tail::new(recovered, false, size_limit));
        let records: Vec<_> = kept.entries.iter().map(|(index, (record, _))| (*index, record.clone())).collect();
        if let Some((index, record)) = records.last() {
            let last = codec::decode_entry(*index, record).unwrap().log_id;
            tail.append(last, &records);
            tail.flushed(last.index);
        }
        let (jobs, queue) = writer::queue(tail.clone(), failure);
        tokio::spawn(write(self.clone(), queue));
        (raft_id, LogStore::written_by(tail, jobs))
    }

    /// The promise it keeps.
    pub(super) fn pledges(&self) -> Pledges {
        self.0.lock().pledges.clone()
    }

    /// The snapshots it keeps, and the newest of them.
    pub(super) fn snapshots(&self) -> (Snapshots, Option<(SnapshotMeta, State)>) {
        let newest = self.0.lock().snapshot.clone();
        let restored = newest.lock().clone();
        (Snapshots::Memory(newest), restored)
    }

    fn sync_time(&self) -> Duration {
        let (shortest, longest) = self.0.lock().sync;
        rand::random_range(shortest..=longest)
    }
}

impl Kept {
    fn write(&mut self, batch: Batch) {
        for change in batch.changes {
            match change {
                Change::Put(index, record) => {
                    let term = term_of(&codec::decode_entry(index, &record).unwrap().log_id);
                    let held = (index, term, crc32fast::hash(&record));
                    self.entries.insert(index, (record, held));
                }
                Change::CutFrom(index) => drop(self.entries.split_off(&index)),
            }
        }
        self.purged = self.purged.max(batch.purge);
        if let Some(purged) = self.purged {
            self.entries = self.entries.split_off(&(purged.index + 1));
        }
        let last = self.entries.last_key_value().map(|(index, _)| *index).max(self.purged.map(|it| it.index));
        self.committed = batch.committed.filter(|it| Some(it.index) <= last).max(self.committed);
        if let Some(vote) = batch.vote {
            let decoded = codec::decode_vote(&vote).unwrap();
            if decoded.committed {
                simulation::observe(|it| it.leader(decoded.leader_id.term, decoded.leader_id.voted_for));
            }
            if simulation::bug() != Some(Bug::ForgetVote) {
                self.vote = Some(vote);
            }
        }
    }
}

/// How long a disk that lies keeps what it acknowledged in its cache.
const CACHED: std::time::Duration = std::time::Duration::from_millis(400);

/// The writer of a simulated host.
async fn write(disk: SimulatedDisk, mut queue: Queue) {
    while let Some(job) = queue.receiver.recv().await {
        let (mut batch, waiting, end) = queue.gather(job);
        batch.committed = queue.tail.committed();
        let time = disk.sync_time();
        disk.0.lock().in_flight = Some(batch);
        if simulation::bug() == Some(Bug::AcknowledgeBeforeSync) {
            // As a disk that says it has what is still in its cache.
            queue.tell(waiting, &Ok(()));
            tokio::time::sleep(time + CACHED).await;
            disk.crash(true);
        } else {
            tokio::time::sleep(time).await;
            disk.crash(true);
            queue.tell(waiting, &Ok(()));
        }
        if let Some(end) = end {
            let _ = end.send(Ok(()));
            return;
        }
    }
}

/// The disk of the host of that address, in a simulation.
pub(super) fn disk_of(address: IpAddr) -> Option<SimulatedDisk> {
    DISKS.with_borrow(|disks| disks.get(&address).cloned())
}

/// Notes that a server applied an entry.
pub(super) fn applied(entry: &Entry) {
    if simulation::is_running() {
        let checksum = crc32fast::hash(&codec::encode_entry(entry).unwrap());
        simulation::observe(|it| it.applied(entry.log_id.index, checksum));
    }
}
