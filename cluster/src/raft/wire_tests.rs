//! What is said arrives as it was said, or not at all.

use openraft::EntryPayload;

use super::*;
use crate::raft::types::{Entry, Vote, log_id};

fn append(entries: u64) -> AppendEntriesRequest<TypeConfig> {
    let blank = |index| Entry { log_id: log_id(3, index), payload: EntryPayload::Blank };
    AppendEntriesRequest {
        vote: Vote::new_committed(3, 9),
        prev_log_id: Some(log_id(2, 7)),
        entries: (8..8 + entries).map(blank).collect(),
        leader_commit: Some(log_id(2, 6)),
    }
}

#[test]
fn entries_arrive_whole_and_in_order() {
    for count in [0, 1, 20] {
        let sent = append(count);
        let read = decode_append(&encode_append(&sent).unwrap()).unwrap();
        assert_eq!(
            (read.vote, read.prev_log_id, read.leader_commit),
            (sent.vote, sent.prev_log_id, sent.leader_commit)
        );
        assert_eq!(read.entries, sent.entries);
    }
}

#[test]
fn damaged_entries_are_refused() {
    let bytes = encode_append(&append(2)).unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[position] ^= 0x10;
        assert!(decode_append(&damaged).is_err(), "byte {position}");
    }
    // Cut between two entries it is a shorter message; anywhere else it is none.
    let whole = [encode_append(&append(0)).unwrap().len(), encode_append(&append(1)).unwrap().len()];
    for end in 0..bytes.len() {
        assert_eq!(decode_append(&bytes[..end]).is_ok(), whole.contains(&end), "{end} bytes");
    }
    let mut gap = append(2);
    gap.entries.remove(0);
    assert!(decode_append(&encode_append(&gap).unwrap()).is_err(), "entries must follow each other");
}

#[test]
fn votes_and_answers_arrive_as_they_were_sent() {
    for transfer in [true, false] {
        let sent =
            VoteRequest { vote: Vote::new(4, 2), last_log_id: Some(log_id(3, 5)), leadership_transfer: transfer };
        assert_eq!(decode_vote(&encode_vote(&sent).unwrap()).unwrap(), sent);
        let answer = VoteResponse { vote: sent.vote, vote_granted: transfer, last_log_id: None };
        assert_eq!(decode_vote_answer(&encode_vote_answer(&answer).unwrap()).unwrap(), answer);
    }
    for sent in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2))),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(Vote::new_committed(8, 1)),
    ] {
        assert_eq!(decode_append_answer(&encode_append_answer(&sent).unwrap()).unwrap(), sent);
    }
    let sent = TransferLeaderRequest::new(Vote::new_committed(4, 2), 7, Some(log_id(3, 5)));
    assert_eq!(decode_transfer(&encode_transfer(&sent).unwrap()).unwrap(), sent);
    for sent in [
        Ok(()),
        Err(TransferLeaderError::VoteChanged { expected: Vote::new(1, 2), actual: Vote::new_committed(3, 4) }),
        Err(TransferLeaderError::LogNotFlushed { expected: Some(log_id(1, 1)), actual: None }),
    ] {
        assert_eq!(decode_transfer_answer(&encode_transfer_answer(&sent).unwrap()).unwrap(), sent);
    }
}

#[test]
fn one_message_is_not_taken_for_another() {
    let vote = encode_vote(&VoteRequest::new(Vote::new(1, 1), None)).unwrap();
    assert!(decode_vote_answer(&vote).is_err());
    assert!(decode_append(&vote).is_err());
    assert!(decode_transfer(&vote).is_err());
}
