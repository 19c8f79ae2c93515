//! The bytes Raft keeps on disk and sends: ours, not openraft's, so that either can change without the other.
//!
//! ```text
//!   record:  kind (1) │ version (1) │ body: named MessagePack │ CRC-32 of all before (4, little endian)
//! ```
//!
//! Named MessagePack tolerates a field that was added later, in both directions. Nothing else is tolerated: an unknown
//! kind, version or command is an error that stops the server, since an entry that is skipped makes this server's
//! catalog differ from the others'. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openraft::EntryPayload;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::types::{Entry, LogId, Membership, Proposal, Server, SnapshotMeta, StoredMembership, Vote, log_id, term_of};
use crate::catalog::command::Command;

/// What a record holds. The numbers are stored: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// One log entry.
    Entry = 1,
    /// The vote.
    Vote = 2,
    /// Where the log stands: commits counted, committed and purged entries.
    Position = 3,
    /// Whose log it is.
    Identity = 4,
    /// How far the log is known to be on disk.
    Mark = 5,
    /// What a snapshot covers.
    SnapshotHeader = 6,
    /// One piece of the catalog in a snapshot.
    SnapshotRecord = 7,
    /// A snapshot's end.
    SnapshotTrailer = 8,
    /// The servers this one has promised to found a cluster with.
    Pledge = 9,
    /// What comes before the entries a leader sends.
    Append = 64,
    /// What a follower says to them.
    AppendAnswer = 65,
    /// A candidate asks for a vote, or whether it would be given one.
    Ballot = 66,
    /// The answer to that.
    BallotAnswer = 67,
    /// A leader hands leadership over.
    Transfer = 68,
    /// The answer to that.
    TransferAnswer = 69,
    /// A leader offers a snapshot.
    Offer = 70,
    /// What a follower says to the offer, or to the snapshot.
    OfferAnswer = 71,
}

/// The version of every record's body written today.
const VERSION: u8 = 1;
/// Kind and version before the body, checksum after it.
const HEAD: usize = 2;
const TAIL: usize = 4;

/// Why bytes are not the record they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum CodecError {
    /// The bytes were changed since they were written.
    #[error("checksum does not match: the record is damaged")]
    Damaged,
    /// The bytes end too early.
    #[error("record of {0} bytes is too short")]
    Short(usize),
    /// A record, but not of the kind that belongs here.
    #[error("record kind {found} where kind {expected} belongs")]
    Kind {
        /// What was read.
        found: u8,
        /// What should be there.
        expected: u8,
    },
    /// Written by a later version of this program.
    #[error("record version {found} is not known to this version (it knows {VERSION}); was it written by a newer one?")]
    Version {
        /// What was read.
        found: u8,
    },
    /// Intact, but not understood: an unknown command, or a field of another type.
    #[error("record is not understood by this version: {0}")]
    Body(String),
    /// A value that cannot be written.
    #[error("cannot encode: {0}")]
    Encode(String),
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// One log entry, as bytes.
pub(super) fn encode_entry(entry: &Entry) -> Result<Vec<u8>, CodecError> {
    let payload = match entry.payload {
        EntryPayload::Blank => PayloadOut::Blank,
        EntryPayload::Normal(ref proposal) => PayloadOut::Command(&proposal.0),
        EntryPayload::Membership(ref membership) => PayloadOut::Membership(StoredConfig::from(membership)),
    };
    encode(Kind::Entry, &EntryOut { term: term_of(&entry.log_id), index: entry.log_id.index, payload })
}

/// The log entry of `bytes`, which must be the one with that index.
pub(super) fn decode_entry(index: u64, bytes: &[u8]) -> Result<Entry, CodecError> {
    let stored: EntryIn = decode(Kind::Entry, bytes)?;
    if stored.index != index {
        return Err(CodecError::Body(format!("entry {} is kept under index {index}", stored.index)));
    }
    let payload = match stored.payload {
        PayloadIn::Blank => EntryPayload::Blank,
        PayloadIn::Command(command) => EntryPayload::Normal(Proposal(command)),
        PayloadIn::Membership(config) => EntryPayload::Membership(config.into_membership()?),
    };
    Ok(Entry { log_id: log_id(stored.term, index), payload })
}

/// The vote, as bytes.
pub(super) fn encode_vote(vote: &Vote) -> Result<Vec<u8>, CodecError> {
    encode(Kind::Vote, &StoredVote::from(vote))
}

/// The vote of `bytes`.
pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    Ok(decode::<StoredVote>(Kind::Vote, bytes)?.into())
}

/// Any other value as a record of that kind.
pub(super) fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&[kind as u8, VERSION]);
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| CodecError::Encode(error.to_string()))?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The value of a record of that kind. The checksum is looked at first, so that damage is never called another thing.
pub(super) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, CodecError> {
    let Some((covered, checksum)) = bytes.split_last_chunk::<TAIL>().filter(|(covered, _)| covered.len() > HEAD) else {
        return Err(CodecError::Short(bytes.len()));
    };
    if crc32fast::hash(covered) != u32::from_le_bytes(*checksum) {
        return Err(CodecError::Damaged);
    }
    let Some((&[found_kind, found_version], body)) = covered.split_first_chunk::<HEAD>() else {
        return Err(CodecError::Short(bytes.len()));
    };
    if found_kind != kind as u8 {
        return Err(CodecError::Kind { found: found_kind, expected: kind as u8 });
    }
    if found_version != VERSION {
        return Err(CodecError::Version { found: found_version });
    }
    rmp_serde::from_slice(body).map_err(|error| CodecError::Body(error.to_string()))
}

/// An entry's name as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredId {
    pub(super) term: u64,
    pub(super) index: u64,
}

impl From<LogId> for StoredId {
    fn from(id: LogId) -> Self {
        Self { term: term_of(&id), index: id.index }
    }
}

impl From<StoredId> for LogId {
    fn from(id: StoredId) -> Self {
        log_id(id.term, id.index)
    }
}

/// Whose log a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// This server's Raft id: made once, never used again by another.
    pub(super) raft_id: u64,
}

/// Where the log stands; rewritten in every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Position {
    /// Counts commits.
    pub(super) sequence: u64,
    /// The last entry known to be committed. Behind the truth by a commit or so.
    pub(super) committed: Option<StoredId>,
    /// The last entry dropped because a snapshot covers it.
    pub(super) purged: Option<StoredId>,
}

/// How far the log is known to be on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Whose log.
    pub(super) raft_id: u64,
    /// The commit that was on disk before this was written.
    pub(super) sequence: u64,
}

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotHeader {
    last: Option<StoredId>,
    config_id: Option<StoredId>,
    config: StoredConfig,
}

impl SnapshotHeader {
    pub(super) fn new(meta: &SnapshotMeta) -> Self {
        Self {
            last: meta.last_log_id.map(StoredId::from),
            config_id: meta.last_membership.log_id().map(StoredId::from),
            config: StoredConfig::from(meta.last_membership.membership()),
        }
    }

    pub(super) fn into_meta(self) -> Result<SnapshotMeta, CodecError> {
        // A configuration without voters is what a server has before it is part of any cluster.
        let membership = match self.config.voters.is_empty() {
            true => Membership::default(),
            false => self.config.into_membership()?,
        };
        Ok(SnapshotMeta {
            last_log_id: self.last.map(LogId::from),
            last_membership: StoredMembership::new(self.config_id.map(LogId::from), membership),
        })
    }
}

/// A snapshot's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotTrailer {
    /// How many records of the catalog came before.
    pub(super) records: u64,
    /// CRC-32 of every byte of the file before the trailer.
    pub(super) checksum: u32,
}

/// An entry on its way out: borrows the command.
#[derive(Serialize)]
struct EntryOut<'a> {
    term: u64,
    index: u64,
    payload: PayloadOut<'a>,
}

#[derive(Serialize)]
enum PayloadOut<'a> {
    Blank,
    Command(&'a Command),
    Membership(StoredConfig),
}

/// The same entry on its way in.
#[derive(Deserialize)]
struct EntryIn {
    term: u64,
    index: u64,
    payload: PayloadIn,
}

#[derive(Deserialize)]
enum PayloadIn {
    Blank,
    Command(Arc<Command>),
    Membership(StoredConfig),
}

/// A vote as stored and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredVote {
    term: u64,
    voted_for: u64,
    committed: bool,
}

impl From<&Vote> for StoredVote {
    fn from(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<StoredVote> for Vote {
    fn from(stored: StoredVote) -> Self {
        match stored.committed {
            true => Self::new_committed(stored.term, stored.voted_for),
            false => Self::new(stored.term, stored.voted_for),
        }
    }
}

/// The members and, of them, the voters: two sets while a change of voters is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredConfig {
    voters: Vec<BTreeSet<u64>>,
    servers: BTreeMap<u64, Server>,
}

impl From<&Membership> for StoredConfig {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            servers: membership.nodes().map(|(id, server)| (*id, server.clone())).collect(),
        }
    }
}

impl StoredConfig {
    fn into_membership(self) -> Result<Membership, CodecError> {
        Membership::new(self.voters, self.servers).map_err(|error| CodecError::Body(error.to_string()))
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
