//! What a handler gives back: a [`Reply`] or a [`Failure`]. Both are values; [`super::encode`] makes responses of them.

use std::{borrow::Cow, fmt, net::SocketAddr, time::Duration};

use http::StatusCode;
use serde::Serialize;
use usher_cluster::{
    access::{Denied, NoPath},
    agent::WriteError,
    catalog::command::Refusal,
    health::ReportError,
    local::LocalError,
    raft::ProposeError,
};

use crate::logging::LogStream;

/// Where a read stands: the headers a client continues from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryMeta {
    /// The Raft index to block on, at least 1.
    pub(super) index: u64,
    /// Whether a leader is known.
    pub(super) known_leader: bool,
    /// How long ago what was read was last known to be as the leader has it.
    pub(super) last_contact: Duration,
    /// How consistent the read was.
    pub(super) consistency: Consistency,
    /// Where the agent's cache comes in, if the request allowed an answer from it.
    pub(super) cached: Option<Cached>,
}

/// What is told of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cached {
    /// Whether it had the answer.
    pub(super) hit: bool,
    /// How old that may be.
    pub(super) age: Duration,
}

impl QueryMeta {
    /// For reads an agent never caches: says nothing of a cache, whatever the request allowed.
    pub(super) fn uncached(self) -> Self {
        Self { cached: None, ..self }
    }
}

/// How consistent a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    /// Whatever this agent holds.
    Stale,
    /// The leader's view, or one confirmed by it.
    Leader,
    /// Confirmed with a quorum.
    Consistent,
}

impl Consistency {
    /// The text of `X-Consul-Effective-Consistency`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Leader => "leader",
            Self::Consistent => "consistent",
        }
    }
}

/// The body of a reply.
pub(super) enum Body {
    /// Nothing, without a content type.
    Empty,
    /// Compact JSON; made readable where the request asks for it.
    Json(Vec<u8>),
    /// Text with its content type.
    Text(Cow<'static, str>, String),
    /// Log lines, as they come, until the client goes.
    Log(Box<LogStream>),
}

/// A successful (or at least well-formed) answer.
pub(super) struct Reply {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body.
    pub(super) body: Body,
    /// Set on reads of the catalog.
    pub(super) meta: Option<QueryMeta>,
    /// Further headers.
    pub(super) headers: Vec<(Cow<'static, str>, String)>,
}

impl Reply {
    /// 200 with nothing.
    pub(super) fn empty() -> Self {
        Self { status: StatusCode::OK, body: Body::Empty, meta: None, headers: Vec::new() }
    }

    /// 200 with JSON.
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Failure> {
        let json =
            serde_json::to_vec(value).map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
        Ok(Self { body: Body::Json(json), ..Self::empty() })
    }

    /// 200 with text.
    pub(super) fn text(content_type: &'static str, text: String) -> Self {
        Self { body: Body::Text(Cow::Borrowed(content_type), text), ..Self::empty() }
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with the headers of a catalog read.
    pub(super) fn with_meta(self, meta: QueryMeta) -> Self {
        Self { meta: Some(meta), ..self }
    }

    /// The same with one more header.
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((Cow::Borrowed(name), value.into()));
        self
    }
}

/// A refusal or error: a status and one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its status.
    pub(super) status: StatusCode,
    /// What is told.
    pub(super) text: String,
    /// Whether the headers of a catalog read go with it, saying that no leader answered.
    pub(super) read: bool,
    /// The methods allowed, on 405.
    pub(super) allow: Option<String>,
}

impl Failure {
    /// A failure of the given status.
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), read: false, allow: None }
    }

    /// 400 with exactly this text.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 400 with the prefix Consul puts before some texts.
    pub(super) fn bad_request(text: impl fmt::Display) -> Self {
        Self::bad(format!("Bad request: {text}"))
    }

    /// 400 for a body that cannot be understood.
    pub(super) fn decode(error: impl fmt::Display) -> Self {
        Self::bad(format!("Request decode failed: {error}"))
    }

    /// 500.
    pub(super) fn internal(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// 404 with nothing, as for a path nobody knows.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "")
    }

    /// The same with the headers of a catalog read that failed.
    pub(super) fn of_read(self) -> Self {
        Self { read: true, ..self }
    }
}

impl From<Denied> for Failure {
    fn from(error: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, error.to_string())
    }
}

impl From<NoPath> for Failure {
    fn from(error: NoPath) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Denied(denied) => denied.into(),
            WriteError::NoPath(no_path) => no_path.into(),
            WriteError::Propose(propose) => propose.into(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::internal(refusal.to_string())
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Invalid(text) => Self::bad(text),
            error => Self::internal(error.to_string()),
        }
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self::internal(error.to_string())
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Over the network.
    Tcp(SocketAddr),
    /// Over a unix socket.
    Unix,
    /// Another agent, in somebody's stead.
    Agent,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("@"),
            Self::Agent => formatter.write_str("another agent"),
        }
    }
}
