//! The server's side: the view of an interest now, and again whenever it changes.
//!
//! The watch begins before the state is read, so that no change falls between. Whoever takes the updates sets the pace:
//! changes that come while nobody asks for the next update are told as one.

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::Instant;

use super::{Interest, Update};
use crate::catalog::{Catalog, State, Watch};

/// Rest after an update for each thing in it: a large service that changes all the time is sent less often, a small one
/// at once.
const REST_FOR_EACH: Duration = Duration::from_micros(20);
/// The longest such rest.
const REST_MAX: Duration = Duration::from_millis(500);

/// What there is of `interest`.
fn snapshot(state: &State, interest: Interest) -> Update {
    Update { as_of: state.as_of(), content: state.content(&interest), interest }
}

/// What there is of `interest` now.
pub(crate) fn look(catalog: &Catalog, interest: Interest) -> Update {
    snapshot(&catalog.state(), interest)
}

/// What there is of `interest` now, and again whenever it changes. Never ends.
pub(crate) fn follow(catalog: Arc<Catalog>, interest: Interest) -> BoxStream<'static, Update> {
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
