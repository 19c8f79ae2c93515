//! A connection to a server, over TLS or not, and work over it in one task.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::{
    Limit,
    dial::{DialError, HostPort},
    tls::{self, TlsError},
};
use crate::net::TcpStream;

/// Bytes to and from a server.
pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Connects, and shakes hands where TLS is wanted.
pub(super) async fn open(target: &HostPort, tls: Option<&tls::Client>, limit: Limit) -> Result<Stream, OpenError> {
    let stream = target.connect(limit).await?;
    Ok(match tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(tls.connect(target.host(), stream, limit).await?),
    })
}

/// Does `work` while `connection` carries it, both in this task: a task of its own for every connection would cost as much
/// as the request. When the work is done the connection may say goodbye, but is not waited for.
pub(super) async fn beside<W: Future>(connection: impl Future, work: W) -> W::Output {
    let mut connection = pin!(connection);
    let mut work = pin!(work);
    let mut open = true;
    poll_fn(|context| {
        let done = work.as_mut().poll(context);
        if open {
            open = connection.as_mut().poll(context).is_pending();
        }
        match done {
            Poll::Pending if !open => work.as_mut().poll(context),
            done => done,
        }
    })
    .await
}
