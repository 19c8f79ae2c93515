//! The server's side: the view of an interest now, and again whenever it changes.
//!
//! The watch begins before the state is read, so that no change falls between. Whoever takes the updates sets the pace:
//! changes that come while nobody asks for the next update are told as one.

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Interest, Update};
use crate::catalog::{Catalog, State, Watch};

/// Rest after an update for each thing in it: a large service that changes all the time is sent less often, a small one
/// at once.
const REST_FOR_EACH: Duration = Duration::from_micros(20);
/// The longest such rest.
const REST_MAX: Duration = Duration::from_millis(500);

/// How often is looked whether the leader is heard of.
const LOOK: Duration = Duration::from_secs(1);
/// For so long a server may hear of no leader (Consul's elections take as long) before it counts as cut off.
const SILENCE: Duration = Duration::from_secs(5);
/// Who subscribes at a server that is cut off is told what there is, and for so long whatever comes.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// What there is of `interest`.
fn snapshot(state: &State, interest: Interest) -> Update {
    Update { as_of: state.as_of(), content: state.content(&interest), interest }
}

/// What there is of `interest` now.
pub(crate) fn look(catalog: &Catalog, interest: Interest) -> Update {
    snapshot(&catalog.state(), interest)
}

/// What agents that subscribe at this server are told. Clones share it.
#[derive(Clone)]
pub(crate) struct Feed {
    catalog: Arc<Catalog>,
    /// Whether no leader was heard of for some time: what is told may be old, and others may know better.
    cut_off: watch::Receiver<bool>,
}

impl Feed {
    /// Tells of `catalog` until `stop`. `last_contact` says how long ago the leader was last heard of.
    pub(crate) fn start(
        catalog: Arc<Catalog>,
        last_contact: impl Fn() -> Option<Duration> + Send + 'static,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (told, cut_off) = watch::channel(false);
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let now = last_contact().is_none_or(|ago| ago > SILENCE);
                told.send_if_modified(|known| std::mem::replace(known, now) != now);
            }
        }));
        Self { catalog, cut_off }
    }

    /// What there is of `interest` now, and again whenever it changes. Ends when this server has been cut off from the
    /// leader for some time: whoever subscribed may find a better one, or come back.
    pub(crate) fn follow(&self, interest: Interest) -> BoxStream<'static, Update> {
        let mut cut_off = self.cut_off.clone();
        let given_up = async move {
            while cut_off.wait_for(|cut_off| *cut_off).await.is_ok() {
                if tokio::time::timeout(GIVEN_UP, cut_off.wait_for(|cut_off| !*cut_off)).await.is_err() {
                    return;
                }
            }
        };
        follow(self.catalog.clone(), interest).take_until(given_up).boxed()
    }
}

/// What there is of `interest` now, and again whenever it changes. Never ends.
pub(super) fn follow(catalog: Arc<Catalog>, interest: Interest) -> BoxStream<'static, Update> {
    let following = Following { watch: catalog.watch(interest.topic()), catalog, interest, next_at: None };
    stream::unfold(following, async |mut following| {
        let update = following.next().await;
        Some((update, following))
    })
    .boxed()
}

struct Following {
    catalog: Arc<Catalog>,
    interest: Interest,
    watch: Watch,
    /// When the next update may go; `None` before the first.
    next_at: Option<Instant>,
}

impl Following {
    async fn next(&mut self) -> Update {
        if let Some(next_at) = self.next_at {
            self.watch.changed().await;
            tokio::time::sleep_until(next_at).await;
        }
        let update = look(&self.catalog, self.interest.clone());
        let rest = u32::try_from(update.content.size()).map_or(REST_MAX, |size| REST_FOR_EACH.saturating_mul(size));
        self.next_at = Some(Instant::now() + rest.min(REST_MAX));
        update
    }
}
