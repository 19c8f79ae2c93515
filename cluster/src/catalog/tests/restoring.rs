//! Records that do not make a catalog are refused; what is not in them is not lost.

use super::*;
use crate::catalog::{Record, RestoreError};

fn records() -> Vec<Record> {
    let mut log = Log::default();
    log.register(node("gone", "10.0.0.9").service("g", "gone", &[]));
    log.deregister("gone", "", "");
    log.register(node("n1", "10.0.0.1").service("w", "web", &["a"]).check("c", "w", "critical"));
    log.state.records().collect()
}

fn place(records: &[Record], is: fn(&Record) -> bool) -> usize {
    records.iter().position(is).expect("recorded")
}

fn without(is: fn(&Record) -> bool) -> Result<State, RestoreError> {
    let mut records = records();
    records.remove(place(&records, is));
    State::restore(records)
}

fn with_twice(is: fn(&Record) -> bool) -> Result<State, RestoreError> {
    let mut records = records();
    let at = place(&records, is);
    records.insert(at, records[at].clone());
    State::restore(records)
}

const NODE: fn(&Record) -> bool = |record| matches!(record, Record::Node { .. });
const SERVICE: fn(&Record) -> bool = |record| matches!(record, Record::Service { .. });
const CHECK: fn(&Record) -> bool = |record| matches!(record, Record::Check(_));
const INDEXES: fn(&Record) -> bool = |record| matches!(record, Record::ServiceIndexes { .. });
const LAST: fn(&Record) -> bool = |record| matches!(record, Record::Indexes { .. });

#[test]
fn what_does_not_fit_is_refused() {
    let says = |outcome: Result<State, RestoreError>| outcome.expect_err("refused").to_string();
    let table = [
        (without(NODE), r#"service "w" is on node "n1", which is not recorded before it"#),
        (without(SERVICE), r#"check "c" on node "n1" is of service "w", which is not recorded before it"#),
        (without(INDEXES), r#"instances and indexes of service "web" do not go together"#),
        (without(LAST), "the records end before their last one"),
        (with_twice(NODE), r#"recorded twice: node "n1""#),
        (with_twice(SERVICE), r#"recorded twice: service "w" on node "n1""#),
        (with_twice(CHECK), r#"recorded twice: check "c" on node "n1""#),
        (with_twice(INDEXES), r#"recorded twice: indexes of service "web""#),
        (with_twice(LAST), "there are records after the last one"),
    ];
    for (outcome, text) in table {
        assert_eq!(says(outcome), text);
    }
    let mut indexes_alone = records();
    indexes_alone.retain(|record| !SERVICE(record) && !CHECK(record));
    assert_eq!(State::restore(indexes_alone), Err(RestoreError::ServiceIndexes("web".into())));
}

#[test]
fn what_was_removed_keeps_its_index() {
    let state = State::restore(records()).expect("its own records");
    assert_eq!((state.service("gone").index, state.node("gone").index), (2, 2));
    assert_eq!((state.service("never").index, state.node("never").index), (1, 1));
}

#[test]
fn the_floor_of_forgotten_names_is_recorded() {
    let mut log = Log::default();
    for number in 0..5000 {
        let name = format!("s{number}");
        log.register(node("n1", "10.0.0.1").service(&name, &name, &[]));
        log.deregister("n1", &name, "");
    }
    let restored = State::restore(log.state.records()).expect("its own records");
    assert!(restored == log.state);
    assert!(restored.service("s0").index > 1);
}

/// The form of records in snapshots: named MessagePack, as the log has it.
#[test]
fn records_survive_their_encoding() {
    let decoded = records().into_iter().map(|record| {
        let bytes = rmp_serde::to_vec_named(&record).expect("encoded");
        rmp_serde::from_slice(&bytes).expect("decoded")
    });
    assert_eq!(decoded.collect::<Vec<Record>>(), records());
}
