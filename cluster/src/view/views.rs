//! The client's side: which interests are followed, and the partial catalog they fill.
//!
//! ```text
//!   want ─► held already? ─ yes ─► lease
//!              └ no ─► a subscription of its own task (`following`), shared by all who ask ─► update ─► show ─► publish
//!   sweep (each minute) ─► unused for a while? ─► ended, forgotten
//! ```
//!
//! Readers do not come here: they look at the published catalog, and come only for what it does not hold. What is held
//! stays when its server is lost: an old answer is better than none, and [`Source::age`] tells how old.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Interest, Update,
    following::{self, Progress},
    servers::Servers,
    upstream::Upstream,
};
use crate::{
    catalog::{Catalog, Changes, Lease, Mark, Source, State, Unavailable},
    raft::ProposeError,
    rpc::Connections,
};

/// Most interests followed at once. At it the least used end; those that lead to nothing first, so that questions for
/// invented names do not drive out what is used. Not more than the removed names a state remembers.
const SUBSCRIPTIONS_MAX: usize = 4096;
/// How many end together at the limit, so that the search for them is not made for each new one.
const EVICTED_AT_ONCE: usize = SUBSCRIPTIONS_MAX / 16;
/// An interest nobody read for so long ends.
const IDLE: Duration = Duration::from_secs(600);
/// The same for one that leads to nothing.
const IDLE_ABSENT: Duration = Duration::from_secs(120);
/// How often is looked who reads what.
const SWEEP: Duration = Duration::from_secs(60);
/// The longest a question waits for what is not held yet. Resolvers give up after five seconds.
const WANT_MAX: Duration = Duration::from_secs(4);
/// The longest one server may take to answer when others could be asked.
const FETCH_MAX: Duration = Duration::from_secs(2);
/// Between two tries of a fetch.
const FETCH_PAUSE: Duration = Duration::from_millis(50);

/// The longest a comparison of what is registered here waits for a server.
const REFRESH_MAX: Duration = Duration::from_secs(7);

/// What the views of a client agent need.
pub(super) struct Options {
    /// Filled and published.
    pub(super) catalog: Arc<Catalog>,
    /// Whom to ask.
    pub(super) servers: Arc<dyn Servers>,
    /// The way there.
    pub(super) upstream: Arc<dyn Upstream>,
    /// The agent's own node's name: once followed it stays, as its registrations are compared with it.
    pub(super) own_node: String,
    /// Where randomness begins.
    pub(super) seed: u64,
}

/// The views of a client agent.
pub struct Views {
    this: Weak<Self>,
    catalog: Arc<Catalog>,
    pub(super) servers: Arc<dyn Servers>,
    pub(super) upstream: Arc<dyn Upstream>,
    own_node: Interest,
    /// The servers that are alive.
    alive: watch::Sender<Vec<SocketAddr>>,
    inner: Mutex<Inner>,
    /// Held by the one who fetches: others take what came.
    fetching: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Inner {
    /// The writer's copy.
    state: State,
    subscriptions: HashMap<Interest, Subscription>,
    random: SmallRng,
}

/// One interest that is followed.
struct Subscription {
    progress: watch::Receiver<Progress>,
    told: Arc<watch::Sender<Progress>>,
    /// Ends its task.
    end: CancellationToken,
    /// When somebody was last seen to read it.
    used: Instant,
    absent: bool,
}

/// Whether an update was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is what readers see.
    Yes,
    /// What readers see is newer.
    Older,
    /// Nobody wants it any more.
    Unwanted,
}

impl Views {
    /// Makes `catalog` a partial one that draws from these views, and looks after them until `stop`. `own_node` is the
    /// agent's own node.
    pub(crate) fn new(
        own_node: &str,
        catalog: Arc<Catalog>,
        connections: Connections,
        servers: Arc<dyn Servers>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (own_node, seed) = (own_node.to_owned(), rand::random());
        Self::start(Options { catalog, servers, upstream: Arc::new(connections), own_node, seed }, tasks, &stop)
    }

    pub(super) fn start(options: Options, tasks: &TaskTracker, stop: &CancellationToken) -> Arc<Self> {
        let Options { catalog, servers, upstream, own_node, seed } = options;
        let views = Arc::new_cyclic(|this: &Weak<Self>| {
            let source: Weak<dyn Source> = this.clone();
            catalog.draw_from(source);
            Self {
                this: this.clone(),
                catalog,
                servers,
                upstream,
                own_node: Interest::node(&own_node),
                alive: watch::Sender::new(Vec::new()),
                inner: Mutex::new(Inner {
                    state: State::partial(),
                    subscriptions: HashMap::new(),
                    random: SmallRng::seed_from_u64(seed),
                }),
                fetching: tokio::sync::Mutex::new(()),
                tasks: tasks.clone(),
                stop: stop.clone(),
            }
        });
        tasks.spawn(stop.clone().run_until_cancelled_owned(Arc::clone(&views).keep_swept()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(Arc::clone(&views).keep_alive()));
        views
    }

    async fn keep_swept(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.sweep();
        }
    }

    /// Notes which servers are alive.
    async fn keep_alive(self: Arc<Self>) {
        let mut alive = self.servers.alive();
        while let Some(mut alive) = alive.next().await {
            alive.sort_unstable();
            self.alive.send_if_modified(|known| {
                let changed = *known != alive;
                *known = alive;
                changed
            });
        }
    }

    /// Waits until a server that was alive is so no longer: whatever it told last, it tells no more.
    pub(super) async fn is_gone(&self, server: SocketAddr) {
        let mut alive = self.alive.subscribe();
        let gone = async {
            alive.wait_for(|alive| alive.contains(&server)).await?;
            alive.wait_for(|alive| !alive.contains(&server)).await.map(drop)
        };
        if gone.await.is_err() {
            // The sender lives in `self`.
            std::future::pending::<()>().await;
        }
    }

    /// Has the own node's entry show entry `at_least` of the log and everything before, asking a server if it does not
    /// yet; with 0 one is asked in any case. Waits some seconds for one that answers.
    pub(crate) async fn refresh_own(&self, at_least: u64) -> Result<(), ProposeError> {
        tokio::time::timeout(REFRESH_MAX, self.fetch_own(at_least)).await.map_err(|_| ProposeError::NoLeader)
    }

    async fn fetch_own(&self, at_least: u64) {
        let _one_at_a_time = self.fetching.lock().await;
        let shows = |state: &State| at_least > 0 && state.held_as_of(&self.own_node).is_some_and(|it| it >= at_least);
        self.subscribe(&self.own_node);
        while !shows(&self.catalog.load()) {
            if let Some(server) = self.servers.pick() {
                match self.upstream.fetch(server, self.own_node.clone(), at_least, FETCH_MAX).await {
                    Ok(update) => {
                        let enough = update.as_of >= at_least;
                        if self.show(update, false) != Shown::Unwanted && enough {
                            return;
                        }
                        // It was forgotten meanwhile, or the server told less than it was asked for.
                        self.subscribe(&self.own_node);
                    }
                    Err(error) => {
                        tracing::debug!(target: "agent.client", %server, %error, "cannot fetch the own node");
                        self.servers.failed(server);
                    }
                }
            }
            tokio::time::sleep(FETCH_PAUSE).await;
        }
    }

    /// Starts following an interest unless it is followed already; what it has come to.
    fn subscribe(&self, interest: &Interest) -> watch::Receiver<Progress> {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.subscriptions.get_mut(interest) {
            known.used = Instant::now();
            return known.progress.clone();
        }
        if inner.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            self.evict(&mut inner);
        }
        let (told, progress) = watch::channel(Progress::default());
        let (told, end) = (Arc::new(told), self.stop.child_token());
        let subscription = Subscription {
            progress: progress.clone(),
            told: Arc::clone(&told),
            end: end.clone(),
            used: Instant::now(),
            absent: true,
        };
        inner.subscriptions.insert(interest.clone(), subscription);
        drop(inner);
        if let Some(views) = self.this.upgrade() {
            self.tasks.spawn(following::run(views, interest.clone(), told, end));
        }
        progress
    }

    /// Puts an update into the catalog; `whatever` is shown is replaced then, even by something older.
    pub(super) fn show(&self, update: Update, whatever: bool) -> Shown {
        let Update { interest, as_of, content } = update;
        let absent = content.is_absent();
        let mut inner = self.inner.lock();
        let Inner { state, subscriptions, .. } = &mut *inner;
        let Some(subscription) = subscriptions.get_mut(&interest) else { return Shown::Unwanted };
        let mut changes = Changes::default();
        if !state.show(&interest, as_of, content, whatever, &mut changes) {
            return Shown::Older;
        }
        subscription.absent = absent;
        if as_of > state.as_of() {
            state.set_as_of(as_of);
        }
        self.catalog.publish(state.clone(), changes);
        subscription.told.send_if_modified(|progress| !std::mem::replace(&mut progress.filled, true));
        Shown::Yes
    }

    /// A number in 0..1.
    pub(super) fn random(&self) -> f64 {
        self.inner.lock().random.random()
    }

    /// Ends what nobody has read for long enough.
    fn sweep(&self) {
        let mut inner = self.inner.lock();
        let idle = inner.note_used();
        let ended: Vec<_> = idle
            .filter(|(interest, subscription, idle)| {
                *interest != &self.own_node && *idle >= if subscription.absent { IDLE_ABSENT } else { IDLE }
            })
            .map(|(interest, ..)| interest.clone())
            .collect();
        self.end(&mut inner, &ended);
    }

    /// Makes room for more.
    fn evict(&self, inner: &mut Inner) {
        let idle = inner.note_used();
        let mut all: Vec<_> = idle
            .filter(|(interest, ..)| *interest != &self.own_node)
            .map(|(interest, subscription, idle)| (!subscription.absent, std::cmp::Reverse(idle), interest.clone()))
            .collect();
        all.sort_unstable();
        let ended: Vec<_> = all.into_iter().take(EVICTED_AT_ONCE).map(|(.., interest)| interest).collect();
        tracing::debug!(target: "agent.client", ended = ended.len(), "too many views, the least used end");
        self.end(inner, &ended);
    }

    fn end(&self, inner: &mut Inner, ended: &[Interest]) {
        if ended.is_empty() {
            return;
        }
        for interest in ended {
            if let Some(subscription) = inner.subscriptions.remove(interest) {
                subscription.end.cancel();
            }
            inner.state.forget(interest);
        }
        self.catalog.publish(inner.state.clone(), Changes::default());
    }

    /// How many interests are followed.
    #[cfg(test)]
    pub(super) fn followed(&self) -> usize {
        self.inner.lock().subscriptions.len()
    }
}

impl Inner {
    /// Looks who reads what; each interest with how long nobody has.
    fn note_used(&mut self) -> impl Iterator<Item = (&Interest, &Subscription, Duration)> {
        let now = Instant::now();
        for (interest, subscription) in &mut self.subscriptions {
            let mark: Option<Arc<Mark>> = self.state.mark(interest);
            if mark.is_some_and(|mark| mark.take_used()) {
                subscription.used = now;
            }
        }
        self.subscriptions.iter().map(move |(interest, subscription)| {
            (interest, subscription, now.saturating_duration_since(subscription.used))
        })
    }
}

impl Source for Views {
    fn want(&self, interest: Interest) -> BoxFuture<'_, Result<Lease, Unavailable>> {
        async move {
            if let Some(lease) = self.catalog.load().lease(&interest) {
                return Ok(lease);
            }
            let mut progress = self.subscribe(&interest);
            let filled = progress.wait_for(|progress| progress.filled);
            match tokio::time::timeout(WANT_MAX, filled).await {
                Ok(Ok(_)) => self.catalog.load().lease(&interest).ok_or(Unavailable),
                _ => Err(Unavailable),
            }
        }
        .boxed()
    }

    fn age(&self, interest: &Interest) -> Option<Duration> {
        let inner = self.inner.lock();
        let progress = inner.subscriptions.get(interest)?.progress.borrow();
        if !progress.filled {
            return None;
        }
        Some(progress.lost.map_or(Duration::ZERO, |lost| lost.elapsed()))
    }
}
