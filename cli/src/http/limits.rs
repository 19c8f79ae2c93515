//! Every limit of the HTTP API in one place: what it bounds, and what happens at it.

use std::time::Duration;

/// Bytes of a request body; beyond is answered 413.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// Time a request body may take to arrive; then 408.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time from a connection's opening, or its last answer, until the next request's head has arrived; then it is closed.
/// Longer than the 90 seconds after which the common clients drop an idle connection themselves, so that none of them
/// sends a request into a closing one.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Time a client may leave an answer unread; then the connection is closed and the answer's memory freed.
pub(super) const WRITE_STALL: Duration = Duration::from_secs(60);

/// Time connections get to end by themselves when the agent stops.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// Idle time before the kernel probes whether a client is still there, and between probes: ends long polls of hosts
/// that vanished.
pub(super) const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// Bytes of a request's head by default; beyond is answered 431.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Header fields of a request; beyond is answered 431.
pub(super) const MAX_FIELDS: usize = 100;

/// Connections of one client address by default; the next is answered 429 and closed.
pub(super) const MAX_CONNECTIONS_PER_CLIENT: usize = 200;

/// Distinct metrics kept; further ones are not recorded.
pub(super) const MAX_SERIES: usize = 4096;

/// Answers above this many bytes are compressed away from the threads that serve.
pub(super) const COMPRESS_INLINE: usize = 64 * 1024;
