//! What agents ask each other. Plain values, sent as named MessagePack behind a version byte: a field that is added
//! later is tolerated both ways, an unknown request is answered with [`Failure::Unknown`].

use serde::{Deserialize, Serialize};

use crate::{
    catalog::command::{Command, Outcome},
    view::{Interest, Update},
};

/// One question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Who are you, and what do you know of a cluster?
    Identify,
    /// Found a cluster with exactly these servers, and never with others. Granted once.
    Pledge {
        /// All founders, the one asked included, ordered by raft id.
        founders: Vec<Founder>,
    },
    /// Commit this command, forwarding it to the leader if need be.
    Propose {
        /// What.
        command: Box<Command>,
        /// How long to wait for a leader, in milliseconds.
        hold_ms: u64,
        /// Whether it was forwarded already: then only the leader may answer.
        forwarded: bool,
    },
    /// The log index that a linearizable read must have seen. Only the leader may answer.
    ReadIndex,
    /// A view, as of an entry or later.
    Fetch {
        /// Of what.
        interest: Interest,
        /// Not before this entry is applied.
        at_least: u64,
        /// Whether it must show everything acknowledged before the call.
        consistent: bool,
    },
    /// A request of the HTTP API, to be answered as if it had come to the one asked.
    Api {
        /// The request.
        request: ApiRequest,
        /// Whether only the leader may answer.
        leader: bool,
    },
    /// Take a server out of the configuration: it is leaving. Only the leader may answer.
    RemoveServer {
        /// Its raft id.
        raft_id: u64,
    },
}

/// One answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// To `Identify`.
    Identity(Identity),
    /// To `Propose`.
    Applied {
        /// The entry's index.
        index: u64,
        /// What the catalog said.
        outcome: Outcome,
    },
    /// To `ReadIndex`.
    Index(u64),
    /// To `Fetch`.
    View(Update),
    /// To `Api`.
    Api(ApiResponse),
    /// To everything else: done.
    Done,
}

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Nobody leads, or not within the time to wait. Nothing was done.
    #[error("No cluster leader")]
    NoLeader,
    /// The one asked does not lead, and only the leader may answer. Nothing was done.
    #[error("not the leader")]
    NotLeader,
    /// It may or may not have been done: the leader changed meanwhile.
    #[error("leadership lost while committing log")]
    Unsure,
    /// Said no, for this reason. Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// Too much is asked at once. Nothing was done.
    #[error("rpc error: server is busy")]
    Busy,
    /// The question is not known to this version. Nothing was done.
    #[error("rpc error: the server does not know this request; is it an older version?")]
    Unknown,
}

/// A server as founders know each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Founder {
    /// The raft id.
    pub(crate) raft_id: u64,
    /// The node's UUID.
    pub(crate) node_id: String,
    /// The node's name.
    pub(crate) name: String,
    /// Where its server port is reached.
    pub(crate) address: String,
}

/// Who a server is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    /// The server.
    pub(crate) server: Founder,
    /// Its datacenter.
    pub(crate) datacenter: String,
    /// Whether its log has never held anything: it may found a cluster or be taken into one.
    pub(crate) pristine: bool,
    /// The raft ids of the configuration it knows.
    pub(crate) peers: Vec<u64>,
}

/// A request of the HTTP API on its way to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiRequest {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// The caller's token.
    pub token: String,
    /// The `Cache-Control` header, or empty.
    pub cache_control: String,
    /// The body.
    #[serde(with = "serde_bytes_as_vec")]
    pub body: Vec<u8>,
}

/// What a server answers to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiResponse {
    /// The status code.
    pub status: u16,
    /// The headers that belong to the answer.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(with = "serde_bytes_as_vec")]
    pub body: Vec<u8>,
}

/// Bytes as MessagePack's binary, not as a list of numbers.
mod serde_bytes_as_vec {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
