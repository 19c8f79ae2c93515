//! One interest being followed: subscribed at a server, and at another when that one is lost.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Interest,
    views::{Shown, Views},
};

/// The longest a server may take for its first update before another is asked.
const FIRST_MAX: Duration = Duration::from_secs(2);
/// A subscription is made anew after this long, and up to as long again: so the load moves to servers that joined later.
const RENEW: Duration = Duration::from_secs(300);
/// The first and the longest pause before another try. A first failure is not paused for: others may be up.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);
/// A server that for so long shows nothing as new as what is held lags: another is asked.
const LAGGING_MAX: Duration = Duration::from_secs(5);
/// When for so long no server shows anything as new as what is held, it is ours that is wrong: the servers' history is
/// another one (a cluster that was founded anew, a restored one).
const HISTORY_LOST: Duration = Duration::from_secs(60);

/// What following has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Whether the catalog holds it.
    pub(super) filled: bool,
    /// Since when no server tells of changes; `None` while one does.
    pub(super) lost: Option<Instant>,
}

/// How one subscription ended.
#[derive(Debug)]
enum End {
    /// Its time is over.
    Due,
    /// The server lags behind what is held.
    Lagging,
    /// No server is known.
    NoServer,
    /// The server was lost or said no, after it had told something or not.
    Lost { told: bool },
    /// Nobody wants it any more.
    Unwanted,
}

/// One interest's way from server to server.
struct Following {
    views: Arc<Views>,
    interest: Interest,
    progress: Arc<watch::Sender<Progress>>,
    /// Since when servers show nothing as new as what is held.
    older_since: Option<Instant>,
}

/// Follows `interest` until `end`.
pub(super) async fn run(
    views: Arc<Views>,
    interest: Interest,
    progress: Arc<watch::Sender<Progress>>,
    end: CancellationToken,
) {
    let mut following = Following { views, interest, progress, older_since: None };
    tokio::select! {
        () = end.cancelled() => {}
        () = following.run() => {}
    }
}

impl Following {
    async fn run(&mut self) {
        let mut failures = 0;
        loop {
            let end = self.subscribe().await;
            match end {
                End::Unwanted => return,
                End::Due => {
                    failures = 0;
                    continue;
                }
                End::Lost { told } => {
                    // Only servers that answer all along tell that their history is another one.
                    self.older_since = None;
                    failures = if told { 0 } else { failures };
                }
                End::NoServer => self.older_since = None,
                End::Lagging => {}
            }
            self.lost();
            tokio::time::sleep(pause(failures, self.views.random())).await;
            failures += 1;
        }
    }

    /// One subscription at one server, from its beginning to its end.
    async fn subscribe(&mut self) -> End {
        let Some(server) = self.views.servers.pick() else { return End::NoServer };
        let end = self.updates(server).await;
        if matches!(end, End::Lost { .. }) {
            self.views.servers.failed(server);
        }
        end
    }

    async fn updates(&mut self, server: SocketAddr) -> End {
        let views = Arc::clone(&self.views);
        let until = Instant::now() + RENEW.mul_f64(1.0 + views.random());
        let first = async {
            let mut updates = views.upstream.subscribe(server, self.interest.clone()).await?;
            let first = updates.next().await;
            Ok((updates, first))
        };
        let (mut updates, mut next) = match tokio::time::timeout(FIRST_MAX, first).await {
            Ok(Ok(first)) => first,
            Ok(Err(error)) => return self.ended(server, false, Some(error)),
            Err(_) => return self.ended(server, false, None),
        };
        let mut told = false;
        let mut gone = pin!(views.is_gone(server));
        loop {
            let update = match next {
                Some(Ok(update)) => update,
                Some(Err(error)) => return self.ended(server, told, Some(error)),
                None => return self.ended(server, told, None),
            };
            if update.interest != self.interest {
                return self.ended(server, told, None);
            }
            match self.views.show(update, self.history_is_lost()) {
                Shown::Unwanted => return End::Unwanted,
                Shown::Yes => {
                    told = true;
                    self.older_since = None;
                    self.current();
                }
                Shown::Older => {
                    self.older_since.get_or_insert_with(Instant::now);
                }
            }
            let patience = if self.older_since.is_some() { Instant::now() + LAGGING_MAX } else { until };
            next = tokio::select! {
                next = updates.next() => next,
                () = &mut gone => return self.ended(server, told, None),
                () = tokio::time::sleep_until(patience.min(until)) => {
                    return if self.older_since.is_some() { End::Lagging } else { End::Due };
                }
            };
        }
    }

    fn history_is_lost(&self) -> bool {
        let lost = self.older_since.is_some_and(|since| since.elapsed() >= HISTORY_LOST);
        if lost {
            tracing::warn!(
                target: "agent.client",
                interest = ?self.interest,
                "the servers have an older history than the one known here: it is taken over"
            );
        }
        lost
    }

    fn ended(&self, server: SocketAddr, told: bool, error: Option<crate::rpc::CallError>) -> End {
        let error = error.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
        tracing::debug!(target: "agent.client", %server, error, interest = ?self.interest, "subscription ended");
        End::Lost { told }
    }

    fn current(&self) {
        self.progress.send_if_modified(|progress| progress.lost.take().is_some());
    }

    fn lost(&self) {
        self.progress.send_if_modified(|progress| {
            let first = progress.lost.is_none();
            progress.lost.get_or_insert_with(Instant::now);
            first
        });
    }
}

/// How long to wait after `failures` in a row before this one; `random` in 0..1 keeps agents apart.
fn pause(failures: u32, random: f64) -> Duration {
    if failures == 0 {
        // Everybody who had that server comes at once to the next.
        return PAUSE_FIRST.mul_f64(random);
    }
    PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_LAST).mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let table = [(0, 0.0, 0), (0, 1.0, 50), (1, 1.0, 100), (1, 0.0, 50), (2, 1.0, 200), (9, 1.0, 2000)];
        for (failures, random, expected) in table {
            assert_eq!(pause(failures, random), Duration::from_millis(expected), "{failures} {random}");
        }
        assert_eq!(pause(u32::MAX, 1.0), PAUSE_LAST);
    }
}
