//! Snapshot files: what was written is read, what was changed is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    catalog::Changes,
    raft::{
        tests::{registered, registration},
        types::{Membership, Server, StoredMembership, log_id},
    },
};

fn meta(index: u64) -> SnapshotMeta {
    let server = Server { node_id: "id".to_owned(), name: "n1".to_owned(), address: "127.0.0.1:8300".to_owned() };
    let membership = Membership::new(vec![BTreeSet::from([5])], BTreeMap::from([(5, server)])).unwrap();
    SnapshotMeta {
        last_log_id: Some(log_id(2, index)),
        last_membership: StoredMembership::new(Some(log_id(0, 0)), membership),
    }
}

fn state(nodes: u64) -> State {
    let mut state = State::default();
    for number in 0..nodes {
        state.apply(number + 2, registration(number), &mut Changes::default()).unwrap();
    }
    state
}

/// A directory with a snapshot of so many nodes, and its file.
fn kept(nodes: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::in_directory(directory.path().to_owned()).unwrap();
    let SnapshotData::File(path) = snapshots.keep(&meta(nodes + 1), state(nodes)).unwrap() else { unreachable!() };
    (directory, path)
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    for nodes in [0, 1, 100] {
        let (directory, _) = kept(nodes);
        let (found, restored) = Snapshots::newest_in(directory.path()).unwrap().unwrap();
        assert_eq!(found, meta(nodes + 1));
        assert_eq!(restored, state(nodes));
        assert_eq!(registered(&restored), (0..nodes).collect::<Vec<_>>());
    }
}

#[test]
fn without_a_snapshot_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Snapshots::newest_in(directory.path()).unwrap().is_none());
    assert!(Snapshots::newest_in(&directory.path().join("none")).unwrap().is_none());
}

#[test]
fn the_newest_two_are_kept_and_remains_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("snapshot-1.unfinished"), b"half").unwrap();
    let snapshots = Snapshots::in_directory(directory.path().to_owned()).unwrap();
    // Across a power of ten: names sort as numbers do.
    for index in 8..12 {
        snapshots.keep(&meta(index), state(1)).unwrap();
    }
    let names: Vec<_> = files(directory.path()).unwrap();
    assert_eq!(names, [directory.path().join(file_name(&meta(10))), directory.path().join(file_name(&meta(11)))]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    assert_eq!(snapshots.newest().unwrap().unwrap().0, meta(11));
}

#[test]
fn every_changed_byte_is_refused_and_the_file_left_alone() {
    let (directory, path) = kept(3);
    let whole = fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x10;
        fs::write(&path, &changed).unwrap();
        let error = Snapshots::newest_in(directory.path()).unwrap_err();
        assert!(error.to_string().starts_with(&path.display().to_string()), "byte {place}: {error}");
        assert_eq!(fs::read(&path).unwrap(), changed);
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    let (directory, path) = kept(3);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(Snapshots::newest_in(directory.path()).is_err(), "{length} bytes");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    let error = Snapshots::newest_in(directory.path()).unwrap_err().to_string();
    assert!(error.contains("behind its end"), "{error}");
}

#[test]
fn a_part_that_is_left_out_is_noticed() {
    let (directory, path) = kept(3);
    let whole = fs::read(&path).unwrap();
    // The frames: length, record. Taking out any of them leaves every record's own checksum right.
    let mut frames = Vec::new();
    let mut at = MAGIC.len() + 4;
    while at < whole.len() {
        let length = u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
        frames.push(at..at + 4 + length);
        at += 4 + length;
    }
    for frame in frames {
        let without = [&whole[..frame.start], &whole[frame.end..]].concat();
        fs::write(&path, without).unwrap();
        assert!(Snapshots::newest_in(directory.path()).is_err(), "without {frame:?}");
    }
}

#[test]
fn a_later_format_is_told_apart_from_damage() {
    let (directory, path) = kept(1);
    let mut whole = fs::read(&path).unwrap();
    whole[MAGIC.len()] = 9;
    fs::write(&path, whole).unwrap();
    let error = Snapshots::newest_in(directory.path()).unwrap_err().to_string();
    assert!(error.contains("has format 9"), "{error}");
}
