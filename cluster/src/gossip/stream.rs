//! Exchanges over TCP: one question and one answer a connection, each a frame in an envelope.
//!
//! ```text
//!   length (4) | envelope
//! ```
//!
//! Both sides give up at a deadline, whatever the other does; a frame's memory is taken as its bytes arrive and from a
//! common budget, so that a length costs nothing.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};

use super::{
    codec::WireError,
    envelope::{Envelope, Opened, Stranger},
    exchange::{Reply, Request},
};
use crate::net::TcpStream;

/// A frame: everything about 20,000 members fits.
const FRAME_MAX_BYTES: usize = 12 * 1024 * 1024;
/// Taken at a time while a frame arrives.
const CHUNK_BYTES: usize = 64 * 1024;
/// All frames that arrive at one time; others wait, at most until their deadline.
const ARRIVING_MAX_CHUNKS: usize = 2 * FRAME_MAX_BYTES / CHUNK_BYTES;
/// A connection that is not there by then will not be.
const CONNECT: Duration = Duration::from_secs(5);
/// Why something was refused.
const REASON_MAX_BYTES: usize = 1024;

/// Sends and receives frames of one pool. Clones share the memory budget.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    pub(super) envelope: Envelope,
    budget: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The host is there, and nobody listens.
    #[error("connection refused")]
    Nobody,
    /// Nobody is there, or nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is no.
    #[error("{0}")]
    Refused(String),
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes, of which {FRAME_MAX_BYTES} are the most")]
    TooLong(usize),
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Frames {
    pub(super) fn new(envelope: Envelope) -> Self {
        Self { envelope, budget: Arc::new(Semaphore::new(ARRIVING_MAX_CHUNKS)) }
    }

    /// Asks whoever is at `address`.
    pub(super) async fn ask(
        &self,
        address: SocketAddr,
        request: &Request,
        deadline: Duration,
    ) -> Result<Reply, AskError> {
        match timeout(deadline, self.ask_slowly(address, request)).await {
            Ok(result) => result,
            Err(_) => Err(AskError::Unreachable(format!("no answer within {deadline:?}"))),
        }
    }

    async fn ask_slowly(&self, address: SocketAddr, request: &Request) -> Result<Reply, AskError> {
        let unreachable = |error: io::Error| AskError::Unreachable(error.to_string());
        let mut stream = timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| AskError::Unreachable(format!("no connection within {CONNECT:?}")))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => AskError::Nobody,
                _ => unreachable(error),
            })?;
        self.write(&mut stream, self.envelope.seal(request.encode())).await.map_err(unreachable)?;
        let opened = self.read(&mut stream).await.map_err(|error| match error {
            FrameError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                AskError::Unreachable("the connection was closed without an answer".to_owned())
            }
            FrameError::Io(error) => unreachable(error),
            error => AskError::Refused(format!("the answer is not understood: {error}")),
        })?;
        if opened.refusal {
            return Err(AskError::Refused(reason(&opened.payload)));
        }
        match Reply::decode(&opened.payload) {
            Ok(Reply::Refused(reason)) => Err(AskError::Refused(reason)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(AskError::Refused(format!("the answer is not understood: {error}"))),
        }
    }

    /// Reads one frame. The caller sets the deadline.
    pub(super) async fn read(&self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Opened, FrameError> {
        let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
        if length > FRAME_MAX_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let (mut bytes, mut permits) = (Vec::new(), Vec::new());
        while bytes.len() < length {
            // Never closed.
            permits.extend(self.budget.acquire().await);
            let chunk = u64::try_from(CHUNK_BYTES.min(length - bytes.len())).unwrap_or(u64::MAX);
            let read = (&mut *stream).take(chunk).read_to_end(&mut bytes).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(self.envelope.open(&bytes)?)
    }

    /// Writes one frame, already in its envelope. The caller sets the deadline.
    pub(super) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin), sealed: Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(sealed.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // One write, so that a small frame is one packet.
        let mut frame = Vec::with_capacity(4 + sealed.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&sealed);
        stream.write_all(&frame).await?;
        stream.flush().await
    }
}

/// A refusal comes in the clear from anybody: it is cut and cleaned before it is shown.
fn reason(bytes: &[u8]) -> String {
    let bytes = bytes.get(..REASON_MAX_BYTES).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Frames {
        Frames::new(Envelope::new("dc1", Arc::default()))
    }

    #[tokio::test]
    async fn a_frame_comes_back() {
        let frames = frames();
        for length in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 1] {
            let (mut near, mut far) = tokio::io::duplex(1024);
            let payload = vec![7; length];
            let sealed = frames.envelope.seal(payload.clone());
            let (written, read) = tokio::join!(frames.write(&mut near, sealed), frames.read(&mut far));
            written.unwrap();
            assert_eq!(read.unwrap().payload, payload);
        }
        assert_eq!(frames.budget.available_permits(), ARRIVING_MAX_CHUNKS, "the budget is given back");
    }

    #[tokio::test]
    async fn a_length_costs_nothing_and_too_long_a_frame_is_refused() {
        let frames = frames();
        let read = async |bytes: &[u8]| frames.read(&mut &bytes[..]).await;
        assert!(matches!(read(&u32::MAX.to_be_bytes()).await, Err(FrameError::TooLong(_))));
        assert!(matches!(read(b"GET / HTTP/1.1\r\n\r\n").await, Err(FrameError::TooLong(_))));
        assert!(matches!(read(&[0, 0, 1]).await, Err(FrameError::Io(_))));
        assert!(matches!(read(&[0, 0, 1, 0, 7]).await, Err(FrameError::Io(_) | FrameError::Stranger(_))));
        assert!(matches!(read(&[0, 0, 0, 0]).await, Err(FrameError::Stranger(Stranger::Garbage))));
    }

    #[test]
    fn a_reason_is_cut_and_cleaned() {
        assert_eq!(reason(b"no\x1b[31m\n"), "no [31m ");
        assert_eq!(reason(&[b'x'; 5000]).len(), REASON_MAX_BYTES);
    }
}
