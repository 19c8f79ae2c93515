//! The log in memory against a plain map.

use std::collections::BTreeMap;

use openraft::{EntryPayload, storage::RaftLogStorageExt};
use proptest::prelude::*;

use super::*;
use crate::raft::{directory::Directory, types::log_id};

fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    CutBack(u64),
    Purge(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..600).prop_map(Step::Append),
        1 => (1u64..40).prop_map(Step::CutBack),
        1 => (1u64..900).prop_map(Step::Purge),
        3 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Appends, cuts and purges in any order leave what they leave in a plain map, whether it has to be read from disk
    /// or not.
    #[test]
    fn the_log_holds_what_a_map_would(steps in proptest::collection::vec(step(), 1..20), on_disk in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut store = match on_disk {
                true => {
                    let disk = Disk::create(Directory::open(directory.path()).unwrap().0, 1).unwrap();
                    LogStore::on_disk(disk, Recovered::default(), Failure::new(), u64::MAX).unwrap()
                }
                false => LogStore::in_memory(u64::MAX),
            };
            let mut model = BTreeMap::new();
            let (mut term, mut end) = (1, 0);
            for step in steps {
                match step {
                    Step::Append(count) => {
                        let entries: Vec<_> = (end..end + count).map(|index| blank(term, index)).collect();
                        model.extend(entries.iter().map(|entry| (entry.log_id.index, entry.clone())));
                        end += count;
                        store.append(entries, IOFlushed::noop()).await.unwrap();
                    }
                    Step::CutBack(count) => {
                        let first = model.keys().next().copied().unwrap_or(end);
                        let from = end.saturating_sub(count).max(first);
                        model.retain(|index, _| *index < from);
                        let last = model.values().next_back().map(|entry| entry.log_id);
                        let last = last.or(store.get_log_state().await.unwrap().last_purged_log_id);
                        end = from;
                        term += 1;
                        store.truncate_after(last).await.unwrap();
                    }
                    Step::Purge(count) => {
                        let Some(first) = model.keys().next().copied() else { continue };
                        let upto = (first + count).min(end - 1);
                        let id = model[&upto].log_id;
                        model.retain(|index, _| *index > upto);
                        store.purge(id).await.unwrap();
                    }
                    Step::Flush => store.blocking_append(Vec::new()).await.unwrap(),
                }
                let found = store.try_get_log_entries(..).await.unwrap();
                assert_eq!(found, model.values().cloned().collect::<Vec<_>>());
                let (start, stop) = (end / 3, end / 2);
                let found = store.try_get_log_entries(start..stop).await.unwrap();
                assert_eq!(found, model.range(start..stop).map(|(_, entry)| entry.clone()).collect::<Vec<_>>());
                let state = store.get_log_state().await.unwrap();
                assert_eq!(state.last_log_id.map_or(0, |last| last.index + 1), end);
            }
            store.close().await.unwrap();
            drop(store);
            if on_disk {
                let (directory, _) = Directory::open(directory.path()).unwrap();
                let (disk, recovered) = Disk::open(directory, |_| Ok(())).unwrap();
                assert_eq!(recovered.last.map_or(0, |last| last.index + 1), end);
                assert_eq!(recovered.sizes.len(), model.len());
                disk.close().unwrap();
            }
        });
    }
}

#[tokio::test]
async fn entries_the_disk_has_are_forgotten_down_to_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::create(Directory::open(directory.path()).unwrap().0, 1).unwrap();
    let mut store = LogStore::on_disk(disk, Recovered::default(), Failure::new(), u64::MAX).unwrap();
    let count = 3 * CACHED_ENTRIES as u64;
    store.blocking_append((0..count).map(|index| blank(1, index))).await.unwrap();
    assert_eq!(store.tail.lock().recent.len(), CACHED_ENTRIES);
    assert_eq!(store.try_get_log_entries(..).await.unwrap().len() as u64, count);
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_an_entry_too_many_weighs_is_known() {
    let mut store = LogStore::in_memory(1000);
    let size = codec::encode_entry(&blank(1, 0)).unwrap().len() as u64;
    store.append((0..100).map(|index| blank(1, index)), IOFlushed::noop()).await.unwrap();
    // Half the limit holds so many of the newest.
    assert_eq!(store.tail.excess(), Some(99 - 500 / size));
    store.tail.oversized().await;
}

/// The vote and the last committed entry are there when the log is opened again.
#[tokio::test]
async fn the_log_is_as_it_was_after_it_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::create(Directory::open(directory.path()).unwrap().0, 42).unwrap();
    let mut store = LogStore::on_disk(disk, Recovered::default(), Failure::new(), u64::MAX).unwrap();
    let vote = Vote::new_committed(3, 42);
    store.blocking_append((0..10).map(|index| blank(1, index))).await.unwrap();
    store.save_vote(&vote).await.unwrap();
    store.save_committed(Some(log_id(1, 7))).await.unwrap();
    store.close().await.unwrap();
    assert!(store.blocking_append([blank(1, 10)]).await.is_err(), "a closed log takes nothing");
    drop(store);

    let (directory, _) = Directory::open(directory.path()).unwrap();
    let (disk, recovered) = Disk::open(directory, |_| Ok(())).unwrap();
    assert_eq!(disk.raft_id(), 42);
    assert_eq!(recovered.vote, Some(vote));
    assert_eq!(recovered.committed, Some(log_id(1, 7)));
    assert_eq!(recovered.last, Some(log_id(1, 9)));
    disk.close().unwrap();
}

fn tail(records: Range<u64>) -> Tail {
    let tail = Tail::new(Recovered::default(), true, u64::MAX);
    append(&tail, records);
    tail
}

fn append(tail: &Tail, indexes: Range<u64>) {
    let last = log_id(1, indexes.end - 1);
    let records: Vec<Record> = indexes.map(|index| (index, Arc::from([0].as_slice()))).collect();
    tail.append(last, &records);
}

#[test]
fn entries_the_disk_does_not_have_are_kept_whatever_the_limit() {
    let limit = CACHED_ENTRIES as u64;
    let tail = tail(0..3 * limit);
    tail.flushed(9);
    assert_eq!(tail.lock().recent_start(), 10);
    tail.flushed(3 * limit - 1);
    assert_eq!(tail.lock().recent_start(), 2 * limit);
}

/// What was written over is not on disk because what was there before had been.
#[test]
fn entries_in_the_place_of_ones_cut_off_are_not_taken_for_durable() {
    let limit = CACHED_ENTRIES as u64;
    let tail = tail(0..100);
    tail.flushed(99);
    tail.lock().cut_from(50, Some(log_id(1, 49)));
    // The commit of the entries that are gone ends after they are.
    tail.flushed(99);
    tail.lock().forget_durable_from(50);
    append(&tail, 50..50 + 2 * limit);
    tail.lock().shrink();
    assert_eq!(tail.lock().recent_start(), 50);
}
