//! What servers of the consensus say to each other, as bytes: records of `codec`, so that openraft's own encoding never
//! leaves the process.
//!
//! ```text
//!   append:       length (4, big endian) │ head │ for each entry: length (4) │ the record the log keeps
//!   all others:   one record
//! ```
//!
//! Pure.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::{
    codec::{self, CodecError, Kind, SnapshotHeader, StoredId, StoredVote},
    types::{LogId, TypeConfig},
};

/// Kinds of frames: entries, or none as a heartbeat.
pub(super) const APPEND: u8 = 16;
/// A candidate asks for a vote.
pub(super) const VOTE: u8 = 17;
/// A server asks whether it would be given a vote.
pub(super) const PRE_VOTE: u8 = 18;
/// A leader hands leadership over.
pub(super) const TRANSFER: u8 = 19;
/// A snapshot is offered.
pub(super) const OFFER: u8 = 20;
/// A piece of the snapshot.
pub(super) const PIECE: u8 = 21;
/// The snapshot's end: its CRC-32 (4, big endian).
pub(super) const END: u8 = 22;
/// The answer to any of these.
pub(super) const ANSWER: u8 = 32;
/// Why there is none (text).
pub(super) const FAILED: u8 = 33;

/// The largest message between servers of the consensus: a batch of entries, or one entry that is as large as a request
/// may be.
pub(super) const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
/// The largest answer.
pub(super) const ANSWER_LIMIT: usize = 64 * 1024;
/// Bytes of entries in one message, about; one entry always fits.
pub(super) const BATCH_BYTES: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct AppendHead {
    vote: StoredVote,
    prev: Option<StoredId>,
    commit: Option<StoredId>,
}

/// Entries a leader sends, or a heartbeat.
pub(super) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Result<Bytes, CodecError> {
    let head = AppendHead {
        vote: StoredVote::from(&request.vote),
        prev: request.prev_log_id.map(StoredId::from),
        commit: request.leader_commit.map(StoredId::from),
    };
    let mut bytes = Vec::with_capacity(128);
    push(&mut bytes, &codec::encode(Kind::Append, &head)?)?;
    for entry in &request.entries {
        push(&mut bytes, &codec::encode_entry(entry)?)?;
    }
    Ok(bytes.into())
}

/// The entries of `bytes`, which must follow each other.
pub(super) fn decode_append(bytes: &[u8]) -> Result<AppendEntriesRequest<TypeConfig>, CodecError> {
    let (head, mut rest) = split(bytes)?;
    let head: AppendHead = codec::decode(Kind::Append, head)?;
    let mut next = head.prev.map_or(0, |prev| prev.index.saturating_add(1));
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (record, behind) = split(rest)?;
        entries.push(codec::decode_entry(next, record)?);
        next = next.saturating_add(1);
        rest = behind;
    }
    Ok(AppendEntriesRequest {
        vote: head.vote.into(),
        prev_log_id: head.prev.map(LogId::from),
        entries,
        leader_commit: head.commit.map(LogId::from),
    })
}

fn push(bytes: &mut Vec<u8>, record: &[u8]) -> Result<(), CodecError> {
    let length = u32::try_from(record.len()).map_err(|error| CodecError::Encode(error.to_string()))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(record);
    Ok(())
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(CodecError::Short(bytes.len()))?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(CodecError::Short(rest.len()))
}

#[derive(Serialize, Deserialize)]
enum AppendAnswer {
    Success,
    Partial(Option<StoredId>),
    Conflict,
    HigherVote(StoredVote),
}

/// What a follower says to entries.
pub(super) fn encode_append_answer(answer: &AppendEntriesResponse<TypeConfig>) -> Result<Bytes, CodecError> {
    let answer = match answer {
        AppendEntriesResponse::Success => AppendAnswer::Success,
        AppendEntriesResponse::PartialSuccess(last) => AppendAnswer::Partial(last.map(StoredId::from)),
        AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
        AppendEntriesResponse::HigherVote(vote) => AppendAnswer::HigherVote(StoredVote::from(vote)),
    };
    Ok(codec::encode(Kind::AppendAnswer, &answer)?.into())
}

/// The same from `bytes`.
pub(super) fn decode_append_answer(bytes: &[u8]) -> Result<AppendEntriesResponse<TypeConfig>, CodecError> {
    Ok(match codec::decode(Kind::AppendAnswer, bytes)? {
        AppendAnswer::Success => AppendEntriesResponse::Success,
        AppendAnswer::Partial(last) => AppendEntriesResponse::PartialSuccess(last.map(LogId::from)),
        AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
        AppendAnswer::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    })
}

#[derive(Serialize, Deserialize)]
struct Ballot {
    vote: StoredVote,
    last: Option<StoredId>,
    transfer: bool,
}

/// A candidate's request.
pub(super) fn encode_vote(request: &VoteRequest<TypeConfig>) -> Result<Bytes, CodecError> {
    let ballot = Ballot {
        vote: StoredVote::from(&request.vote),
        last: request.last_log_id.map(StoredId::from),
        transfer: request.leadership_transfer,
    };
    Ok(codec::encode(Kind::Ballot, &ballot)?.into())
}

/// The same from `bytes`.
pub(super) fn decode_vote(bytes: &[u8]) -> Result<VoteRequest<TypeConfig>, CodecError> {
    let Ballot { vote, last, transfer } = codec::decode(Kind::Ballot, bytes)?;
    Ok(VoteRequest { vote: vote.into(), last_log_id: last.map(LogId::from), leadership_transfer: transfer })
}

#[derive(Serialize, Deserialize)]
struct BallotAnswer {
    vote: StoredVote,
    granted: bool,
    last: Option<StoredId>,
}

/// What a voter says to a candidate.
pub(super) fn encode_vote_answer(answer: &VoteResponse<TypeConfig>) -> Result<Bytes, CodecError> {
    let answer = BallotAnswer {
        vote: StoredVote::from(&answer.vote),
        granted: answer.vote_granted,
        last: answer.last_log_id.map(StoredId::from),
    };
    Ok(codec::encode(Kind::BallotAnswer, &answer)?.into())
}

/// The same from `bytes`.
pub(super) fn decode_vote_answer(bytes: &[u8]) -> Result<VoteResponse<TypeConfig>, CodecError> {
    let BallotAnswer { vote, granted, last } = codec::decode(Kind::BallotAnswer, bytes)?;
    Ok(VoteResponse { vote: vote.into(), vote_granted: granted, last_log_id: last.map(LogId::from) })
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    from: StoredVote,
    to: u64,
    last: Option<StoredId>,
}

/// A leader's request to take over.
pub(super) fn encode_transfer(request: &TransferLeaderRequest<TypeConfig>) -> Result<Bytes, CodecError> {
    let transfer = Transfer {
        from: StoredVote::from(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(|last| StoredId::from(*last)),
    };
    Ok(codec::encode(Kind::Transfer, &transfer)?.into())
}

/// The same from `bytes`.
pub(super) fn decode_transfer(bytes: &[u8]) -> Result<TransferLeaderRequest<TypeConfig>, CodecError> {
    let Transfer { from, to, last } = codec::decode(Kind::Transfer, bytes)?;
    Ok(TransferLeaderRequest::new(from.into(), to, last.map(LogId::from)))
}

#[derive(Serialize, Deserialize)]
enum TransferAnswer {
    Accepted,
    VoteChanged { expected: StoredVote, actual: StoredVote },
    LogNotFlushed { expected: Option<StoredId>, actual: Option<StoredId> },
}

/// What a server says to being made the leader.
pub(super) fn encode_transfer_answer(answer: &TransferLeaderResponse<TypeConfig>) -> Result<Bytes, CodecError> {
    let answer = match answer {
        Ok(()) => TransferAnswer::Accepted,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            TransferAnswer::VoteChanged { expected: expected.into(), actual: actual.into() }
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            TransferAnswer::LogNotFlushed { expected: expected.map(StoredId::from), actual: actual.map(StoredId::from) }
        }
    };
    Ok(codec::encode(Kind::TransferAnswer, &answer)?.into())
}

/// The same from `bytes`.
pub(super) fn decode_transfer_answer(bytes: &[u8]) -> Result<TransferLeaderResponse<TypeConfig>, CodecError> {
    Ok(match codec::decode(Kind::TransferAnswer, bytes)? {
        TransferAnswer::Accepted => Ok(()),
        TransferAnswer::VoteChanged { expected, actual } => {
            Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
        }
        TransferAnswer::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
            expected: expected.map(LogId::from),
            actual: actual.map(LogId::from),
        }),
    })
}

/// A snapshot that is to follow.
#[derive(Serialize, Deserialize)]
pub(super) struct Offer {
    /// The leader's vote.
    pub(super) vote: StoredVote,
    /// What the snapshot covers.
    pub(super) header: SnapshotHeader,
    /// Its bytes.
    pub(super) length: u64,
}

/// What the follower says to an offer, and to the snapshot when it is installed.
#[derive(Serialize, Deserialize)]
pub(super) struct OfferAnswer {
    /// Its vote.
    pub(super) vote: StoredVote,
    /// Whether the snapshot is to be sent (or was taken).
    pub(super) accepted: bool,
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
