//! The way to a server's views.

use std::{net::SocketAddr, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use super::{Interest, Update};
use crate::rpc::{
    CallError, Connections,
    message::{Failure, Request, Response},
};

/// Asks servers for views.
pub(crate) trait Upstream: Send + Sync + 'static {
    /// What there is of `interest`, now and whenever it changes; an error is the last item.
    fn subscribe(
        &self,
        server: SocketAddr,
        interest: Interest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Update, CallError>>, CallError>>;

    /// What there is of `interest` once entry `at_least` is applied there.
    fn fetch(
        &self,
        server: SocketAddr,
        interest: Interest,
        at_least: u64,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Update, CallError>>;
}

impl Upstream for Connections {
    fn subscribe(
        &self,
        server: SocketAddr,
        interest: Interest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Update, CallError>>, CallError>> {
        async move {
            let subscription = Self::subscribe(self, server, interest).await?;
            let updates = stream::unfold(Some(subscription), async |subscription| {
                let mut subscription = subscription?;
                let next = subscription.next().await;
                let rest = next.is_ok().then_some(subscription);
                Some((next, rest))
            });
            Ok(updates.boxed())
        }
        .boxed()
    }

    fn fetch(
        &self,
        server: SocketAddr,
        interest: Interest,
        at_least: u64,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Update, CallError>> {
        async move {
            let request = Request::Fetch { interest, at_least, consistent: false };
            match self.call(server, &request, deadline).await? {
                Response::View(update) => Ok(update),
                // It answers something else than was asked.
                _ => Err(CallError::Failed(Failure::Unknown)),
            }
        }
        .boxed()
    }
}
