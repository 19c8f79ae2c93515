//! The bodies servers answer with: whole, without end, a byte at a time, and gRPC's with its trailers.

use std::{
    convert::Infallible,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderMap;
use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Sleep, sleep};

/// Time between two bytes of a slow body.
const DRIP: Duration = Duration::from_millis(100);
/// A piece of an endless body.
const PIECE: &[u8] = &[b'x'; 16 << 10];

/// A body.
#[derive(Debug)]
pub enum Answer {
    /// These frames, one after another.
    Frames(std::vec::IntoIter<Frame<Bytes>>),
    /// As fast as it is read, for ever.
    Flood,
    /// A byte every tenth of a second, for ever.
    Drip(Pin<Box<Sleep>>),
}

impl Answer {
    /// These bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Frames(vec![Frame::data(bytes.into())].into_iter())
    }

    /// These bytes, then trailers.
    pub fn with_trailers(bytes: impl Into<Bytes>, trailers: HeaderMap) -> Self {
        Self::Frames(vec![Frame::data(bytes.into()), Frame::trailers(trailers)].into_iter())
    }

    /// A byte every tenth of a second, for ever.
    pub fn drip() -> Self {
        Self::Drip(Box::pin(sleep(DRIP)))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Frames(frames) => Poll::Ready(frames.next().map(Ok)),
            Self::Flood => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE))))),
            Self::Drip(sleeping) => {
                std::task::ready!(sleeping.as_mut().poll(context));
                sleeping.set(sleep(DRIP));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
            }
        }
    }
    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Frames(frames) if frames.len() == 0)
    }
}
