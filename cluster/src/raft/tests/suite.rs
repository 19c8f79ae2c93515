//! Openraft's own checks of a log store and a state machine, over both of ours.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use super::*;
use crate::raft::{
    directory::Directory,
    disk::{Disk, Recovered},
    snapshot::Snapshots,
};

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let machine = StateMachine::new(Arc::default(), Snapshots::in_memory(), None);
        Ok(((), LogStore::in_memory(u64::MAX), machine))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let temp = tempfile::tempdir().unwrap();
        let (directory, _) = Directory::open(temp.path()).unwrap();
        let snapshots = Snapshots::in_directory(directory.snapshots()).unwrap();
        let disk = Disk::create(directory, 1).unwrap();
        let log = LogStore::on_disk(disk, Recovered::default(), Failure::new(), u64::MAX).unwrap();
        Ok((temp, log, StateMachine::new(Arc::default(), snapshots, None)))
    }
}

#[tokio::test]
async fn openraft_accepts_the_stores_in_memory() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test]
async fn openraft_accepts_the_stores_on_disk() {
    Suite::test_all(OnDisk).await.unwrap();
}
