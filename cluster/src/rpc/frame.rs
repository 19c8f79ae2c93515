//! Frames: how anything travels over a connection of the server port once it is greeted.
//!
//! ```text
//!   length of what follows (4, big endian) │ kind (1) │ id (8, big endian) │ body
//! ```
//!
//! Reading trusts nothing: a length beyond the limit ends the connection before a byte of the body is read, a frame of
//! some size needs a part of a budget all connections share, and one that was begun has to be finished in time. Knows
//! nothing of what is in a body.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

/// Kind and id.
const HEAD: usize = 9;
/// Bodies up to this size are read without asking the budget.
const SMALL: usize = 64 * 1024;
/// How long a frame that was begun may take to arrive, or to be taken by whoever reads it.
pub(crate) const FRAME_DEADLINE: Duration = Duration::from_secs(30);

/// One message on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What it is; the protocol says.
    pub(crate) kind: u8,
    /// Which exchange it belongs to.
    pub(crate) id: u64,
    /// What it says.
    pub(crate) body: Bytes,
}

impl Frame {
    /// A frame with a body.
    pub(crate) fn new(kind: u8, id: u64, body: impl Into<Bytes>) -> Self {
        Self { kind, id, body: body.into() }
    }

    /// A frame that says all by its kind.
    pub(crate) fn bare(kind: u8, id: u64) -> Self {
        Self { kind, id, body: Bytes::new() }
    }
}

/// The memory that large frames on their way in may take, in all.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of that many KiB.
    pub(crate) fn of_kib(kib: usize) -> Self {
        Self(Arc::new(Semaphore::new(kib)))
    }

    /// Waits until `length` bytes may be taken; small ones always may.
    async fn take(&self, length: usize) -> io::Result<Option<OwnedSemaphorePermit>> {
        if length <= SMALL {
            return Ok(None);
        }
        let kib = u32::try_from(length.div_ceil(1024)).map_err(io::Error::other)?;
        let permit = timeout(FRAME_DEADLINE, self.0.clone().acquire_many_owned(kib)).await;
        let permit = permit.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "too many large messages at once"))?;
        permit.map(Some).map_err(io::Error::other)
    }
}

/// A frame, and the part of the budget it takes until it is dropped.
pub(crate) struct Incoming {
    pub(crate) frame: Frame,
    pub(crate) _taken: Option<OwnedSemaphorePermit>,
}

/// Reads frames. Not cancel safe: whoever gives up on a read has to give up on the connection.
pub(crate) struct FrameReader<R> {
    input: R,
    /// The largest body.
    limit: usize,
    budget: Budget,
    /// How long to wait for a frame to begin.
    idle: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(input: R, limit: usize, budget: Budget, idle: Duration) -> Self {
        Self { input, limit, budget, idle }
    }

    /// The next frame; `None` when the other side has closed between two.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Incoming>> {
        let mut length = [0; 4];
        let begun = timeout(self.idle, self.input.read(&mut length)).await;
        let begun = begun.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing was heard for too long"))??;
        if begun == 0 {
            return Ok(None);
        }
        let rest = timeout(FRAME_DEADLINE, self.finish(length, begun)).await;
        rest.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a message took too long to arrive"))?.map(Some)
    }

    async fn finish(&mut self, mut length: [u8; 4], begun: usize) -> io::Result<Incoming> {
        if let Some(rest) = length.get_mut(begun..) {
            self.input.read_exact(rest).await?;
        }
        let length = u32::from_be_bytes(length) as usize;
        let body_length = length.checked_sub(HEAD).ok_or_else(|| invalid(length, "too short"))?;
        if body_length > self.limit {
            return Err(invalid(length, "too long"));
        }
        let kind = self.input.read_u8().await?;
        let id = self.input.read_u64().await?;
        let taken = self.budget.take(body_length).await?;
        let mut body = vec![0; body_length];
        self.input.read_exact(&mut body).await?;
        Ok(Incoming { frame: Frame { kind, id, body: body.into() }, _taken: taken })
    }
}

fn invalid(length: usize, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes is {what}"))
}

/// Writes one frame; it is on its way only after a flush.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(output: &mut W, frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(HEAD + frame.body.len()).map_err(io::Error::other)?;
    let mut head = [0; 4 + HEAD];
    let (length_bytes, rest) = head.split_at_mut(4);
    length_bytes.copy_from_slice(&length.to_be_bytes());
    let (kind, id) = rest.split_at_mut(1);
    kind.copy_from_slice(&[frame.kind]);
    id.copy_from_slice(&frame.id.to_be_bytes());
    output.write_all(&head).await?;
    output.write_all(&frame.body).await
}

/// Writes everything that comes, in order, until the senders are gone or the other side no longer takes it. Flushes
/// when nothing more waits, so that frames that come together travel together.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(output: W, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut output = BufWriter::with_capacity(32 * 1024, output);
    while let Some(frame) = frames.recv().await {
        in_time(write_frame(&mut output, &frame)).await?;
        while let Ok(frame) = frames.try_recv() {
            in_time(write_frame(&mut output, &frame)).await?;
        }
        in_time(output.flush()).await?;
    }
    in_time(output.shutdown()).await
}

/// Limits a write: a peer that does not read is cut off.
pub(crate) async fn in_time<T>(write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let written = timeout(FRAME_DEADLINE, write).await;
    written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the other side does not read"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8], limit: usize) -> FrameReader<&[u8]> {
        FrameReader::new(bytes, limit, Budget::of_kib(1024), Duration::from_secs(60))
    }

    async fn written(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, frame).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let frames = [Frame::bare(1, 0), Frame::new(200, u64::MAX, vec![7; 70_000]), Frame::new(3, 5, &b"x"[..])];
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend(written(frame).await);
        }
        let mut reader = reader(&bytes, 100_000);
        for frame in &frames {
            assert_eq!(&reader.next().await.unwrap().unwrap().frame, frame);
        }
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn lengths_that_cannot_be_are_refused_before_the_body() {
        for (length, text) in [(0, "too short"), (8, "too short"), (9 + 101, "too long"), (u32::MAX, "too long")] {
            let bytes = u32::to_be_bytes(length);
            let error = reader(&bytes, 100).next().await.err().unwrap();
            assert!(error.to_string().contains(text), "{length}: {error}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_off_is_an_error() {
        let whole = written(&Frame::new(1, 1, &b"hello"[..])).await;
        for end in 1..whole.len() {
            assert!(reader(&whole[..end], 100).next().await.is_err(), "{end} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_slowness_end_the_connection() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(near, 100, Budget::of_kib(1), Duration::from_secs(60));
        assert!(reader.next().await.err().unwrap().to_string().contains("nothing was heard"));
        far.write_all(&[0, 0]).await.unwrap();
        assert!(reader.next().await.err().unwrap().to_string().contains("too long to arrive"));
    }

    #[tokio::test(start_paused = true)]
    async fn large_frames_share_a_budget() {
        let bytes = written(&Frame::new(1, 1, vec![0; 100_000])).await;
        let budget = Budget::of_kib(150);
        let mut first = FrameReader::new(&*bytes, 200_000, budget.clone(), FRAME_DEADLINE);
        let mut second = FrameReader::new(&*bytes, 200_000, budget, FRAME_DEADLINE);
        let held = first.next().await.unwrap().unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), second.next()).await.is_err());
        drop(held);
        let mut second = FrameReader::new(&*bytes, 200_000, second.budget, FRAME_DEADLINE);
        assert!(second.next().await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off() {
        let (near, _far) = tokio::io::duplex(16);
        let (sender, receiver) = mpsc::channel(1);
        sender.send(Frame::new(1, 1, vec![0; 100_000])).await.unwrap();
        let error = write_all(near, receiver).await.unwrap_err();
        assert!(error.to_string().contains("does not read"), "{error}");
    }
}
