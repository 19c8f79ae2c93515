//! Every message there and back, and what damage does to it.

use std::sync::Arc;

use openraft::EntryPayload;
use proptest::prelude::*;

use super::*;
use crate::{
    catalog::command::{Command, Deregistration},
    raft::types::{Entry, Proposal, Vote, log_id},
};

fn entries(count: u64) -> Vec<Entry> {
    let command = |index: u64| {
        Command::Deregister(Deregistration { node: format!("n{index}"), ..Deregistration::default() })
    };
    (1..=count)
        .map(|index| Entry {
            log_id: log_id(3, index),
            payload: EntryPayload::Normal(Proposal(Arc::new(command(index)))),
        })
        .collect()
}

fn append(count: u64) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: Vote::new_committed(3, 7),
        prev_log_id: Some(log_id(2, 0)),
        leader_commit: None,
        entries: entries(count),
    }
}

#[test]
fn entries_and_heartbeats_come_back_as_they_were() {
    for count in [0, 1, 5] {
        let sent = append(count);
        let come = decode_append(&encode_append(&sent).unwrap()).unwrap();
        assert_eq!((come.vote, come.prev_log_id, come.leader_commit), (sent.vote, sent.prev_log_id, sent.leader_commit));
        assert_eq!(come.entries, sent.entries);
    }
}

#[test]
fn votes_come_back_as_they_were() {
    let sent = VoteRequest::new(Vote::new(4, 9), Some(log_id(3, 8)));
    let come = decode_vote(&encode_vote(&sent).unwrap()).unwrap();
    assert_eq!((come.vote, come.last_log_id), (sent.vote, sent.last_log_id));
    let answer = VoteResponse::new(Vote::new(4, 9), Some(log_id(3, 8)), true);
    let come = decode_vote_answer(&encode_vote_answer(&answer).unwrap()).unwrap();
    assert_eq!((come.vote, come.vote_granted, come.last_log_id), (answer.vote, true, answer.last_log_id));
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let bytes = encode_append(&append(2)).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1;
        assert!(decode_append(&damaged).is_err(), "byte {at} of {}", bytes.len());
    }
    for end in 0..bytes.len() {
        // A message that ends behind a whole entry is a shorter message; everything else is none.
        if let Ok(shorter) = decode_append(&bytes[..end]) {
            assert!(shorter.entries.len() < 2, "cut at {end}");
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_and_breaks_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_append(&bytes).is_err());
        prop_assert!(decode_append_answer(&bytes).is_err());
        prop_assert!(decode_vote(&bytes).is_err());
        prop_assert!(decode_vote_answer(&bytes).is_err());
        prop_assert!(decode_transfer(&bytes).is_err());
        prop_assert!(decode_transfer_answer(&bytes).is_err());
    }
}
