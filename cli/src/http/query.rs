//! Reads of the catalog: how consistent, and whether to wait for a change.
//!
//! ```text
//!   ?index=&wait=&stale…  ─► QueryOptions ─► read: route ─► leader / quorum ─► watch ─► state ─► new enough? reply
//!                                                                                ▲                │
//!                                                                                └── wait ◄───────┘ no
//! ```
//!
//! The watch begins before the state is read, so that no change falls between; while a request waits it holds the
//! watch alone, no version of the state. [`QueryOptions::parse`] is pure.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;
use usher_cluster::{
    catalog::{Indexed, State, Topic},
    raft::Status,
};

use super::{
    Options,
    context::Cx,
    params::Params,
    reply::{Cached, Consistency, Failure, QueryMeta},
};
use crate::config::duration;

/// How a read is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueryOptions {
    /// Answer when the index is above this; 0 answers at once.
    pub(super) index: u64,
    /// The longest wait, before jitter.
    pub(super) wait: Duration,
    /// How consistent.
    pub(super) consistency: Consistency,
    /// A stale answer older than this will not do.
    pub(super) max_stale: Option<Duration>,
    /// Whether `?cached` was given.
    pub(super) cached: bool,
}

impl QueryOptions {
    /// Reads the parameters every read shares. The texts are those clients know from Consul.
    pub(super) fn parse(params: &Params, cache_control: &str, options: &Options) -> Result<Self, Failure> {
        let (index, wait) = blocking(params, options)?;
        let (consistency, max_stale) = consistency(params, options)?;
        check_cache_control(cache_control)?;
        let cached = params.has("cached");
        if cached && consistency == Consistency::Consistent {
            return Err(Failure::bad("Cannot specify ?cached with ?consistent, conflicting semantics."));
        }
        Ok(Self { index, wait, consistency, max_stale, cached })
    }
}

/// `?index=` and `?wait=`.
fn blocking(params: &Params, options: &Options) -> Result<(u64, Duration), Failure> {
    let wait = match params.value("wait") {
        "" => 0,
        text => duration::parse(text).map_err(|_| Failure::bad("Invalid wait time"))?,
    };
    let index = match params.value("index") {
        "" => 0,
        text => text.parse().map_err(|_| Failure::bad("Invalid index"))?,
    };
    let wait = match u64::try_from(wait) {
        Ok(0) | Err(_) => options.default_query_time,
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
    };
    Ok((index, wait.min(options.max_query_time)))
}

/// `?stale`, `?consistent`, `?leader`, `?max_stale=`, and what the configuration says where none is given.
fn consistency(params: &Params, options: &Options) -> Result<(Consistency, Option<Duration>), Failure> {
    let mut stale = params.has("stale");
    let consistent = params.has("consistent");
    let mut max_stale = None;
    let text = params.value("max_stale");
    if !text.is_empty() {
        let most = duration::parse(text).map_err(|_| Failure::bad(format!("Invalid max_stale value {text:?}")))?;
        // Nothing, or less, sets no limit.
        max_stale = Some(duration::from_nanos(most)).filter(|most| !most.is_zero());
        stale = true;
    }
    if stale && consistent {
        return Err(Failure::bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
    }
    if consistent {
        return Ok((Consistency::Consistent, None));
    }
    let by_default = !params.has("leader") && !options.discovery_max_stale.is_zero();
    Ok(match (stale, by_default) {
        (true, _) => (Consistency::Stale, max_stale),
        (false, true) => (Consistency::Stale, Some(options.discovery_max_stale)),
        (false, false) => (Consistency::Leader, None),
    })
}

/// `Cache-Control: max-age=…, stale-if-error=…` must at least be numbers.
fn check_cache_control(header: &str) -> Result<(), Failure> {
    for directive in header.to_ascii_lowercase().split(',') {
        let Some((name, value)) = directive.trim().split_once('=') else { continue };
        if matches!(name.trim(), "max-age" | "stale-if-error") && value.trim().parse::<u64>().is_err() {
            return Err(Failure::bad("Invalid Cache-Control header."));
        }
    }
    Ok(())
}

/// Reads the catalog in the way the request asks for: `read` is called on one version of the state, at once or when
/// `topic` has changed past the given index. What it found comes with the headers that belong to it.
pub(super) async fn read<T>(
    cx: &Cx,
    topic: Topic,
    read: impl Fn(&State) -> Indexed<T>,
) -> Result<(T, QueryMeta), Failure> {
    let query = QueryOptions::parse(&cx.params, &cx.cache_control, &cx.options)?;
    cx.route().map_err(|error| Failure::from(error).of_read())?;
    if cx.view.is_none() {
        confirm(cx, query.consistency).await.map_err(Failure::of_read)?;
    }

    let deadline = Instant::now() + jittered(query.wait);
    let mut first_index = None;
    loop {
        let mut watch = (query.index > 0).then(|| cx.api.agent.catalog().watch(topic.clone()));
        let found = read(&cx.api.agent.catalog().load());
        let index = found.index.max(1);
        // An index that went back means the history is another one (a restored snapshot): the client must start over.
        let went_back = first_index.is_some_and(|first| index < first);
        first_index.get_or_insert(index);
        if let Some(watch) = watch.as_mut()
            && index <= query.index
            && !went_back
        {
            drop(found);
            if wait(cx, deadline, watch.changed()).await {
                continue;
            }
            let found = read(&cx.api.agent.catalog().load());
            return answer(cx, query, found, &read).await;
        }
        return answer(cx, query, found, &read).await;
    }
}

/// Waits for `change`; `false` when the time is over or the agent stops.
pub(super) async fn wait<T>(cx: &Cx, deadline: Instant, change: impl Future<Output = T>) -> bool {
    tokio::select! {
        _ = change => true,
        () = tokio::time::sleep_until(deadline) => false,
        () = cx.shutdown.cancelled() => false,
    }
}

/// Up to a sixteenth longer, so that clients that started together do not come back together.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait + (wait / 16).mul_f64(rand::rng().random::<f64>())
}

/// Makes sure that what is read next is as consistent as asked for.
pub(super) async fn confirm(cx: &Cx, consistency: Consistency) -> Result<(), Failure> {
    let agent = &cx.api.agent;
    match consistency {
        Consistency::Stale => Ok(()),
        Consistency::Leader if leads(&agent.status()) => Ok(()),
        // Boxed: the future of the rare way must not make that of every waiting request larger.
        Consistency::Leader | Consistency::Consistent => Ok(Box::pin(agent.linearize()).await?),
    }
}

/// Whether this server leads, and a quorum has heard so lately: one that is cut off from the others may have been
/// replaced without knowing.
fn leads(status: &Status) -> bool {
    status.is_leader && status.leader.is_some()
}

/// What was found with where it stands. What is too old is read again as of now.
async fn answer<T>(
    cx: &Cx,
    query: QueryOptions,
    found: Indexed<T>,
    read: impl Fn(&State) -> Indexed<T>,
) -> Result<(T, QueryMeta), Failure> {
    let standing = Standing::of(cx, query.consistency);
    let too_old = query.max_stale.is_some_and(|most| standing.is_older_than(most));
    if query.consistency == Consistency::Stale && cx.view.is_none() && too_old {
        drop(found);
        Box::pin(confirm(cx, Consistency::Leader)).await.map_err(Failure::of_read)?;
        let standing = Standing::of(cx, Consistency::Leader);
        return Ok(told(cx, query, Consistency::Leader, standing, read(&cx.api.agent.catalog().load())));
    }
    Ok(told(cx, query, query.consistency, standing, found))
}

fn told<T>(
    cx: &Cx,
    query: QueryOptions,
    consistency: Consistency,
    standing: Standing,
    found: Indexed<T>,
) -> (T, QueryMeta) {
    // A server's catalog is the cache: it is always there and always current.
    let cached = || cx.view.as_ref().map_or(Cached { hit: true, age: Duration::ZERO }, |view| view.cached(cx));
    let meta = QueryMeta {
        index: found.index.max(1),
        known_leader: standing.known_leader,
        last_contact: standing.last_contact.unwrap_or_default(),
        consistency,
        cached: query.cached.then(cached),
    };
    (found.value, meta)
}

/// How this agent's catalog stands to the leader's.
#[derive(Clone, Copy, Debug)]
struct Standing {
    known_leader: bool,
    /// When it was last known to be the same; `None` for never.
    last_contact: Option<Duration>,
}

impl Standing {
    fn of(cx: &Cx, consistency: Consistency) -> Self {
        if let Some(view) = &cx.view {
            let age = view.age(cx);
            // Who follows a server hears of what the leader does.
            return Self { known_leader: age.is_zero(), last_contact: Some(age) };
        }
        let status = cx.api.agent.status();
        let confirmed = status.is_leader || consistency != Consistency::Stale;
        let last_contact = if confirmed { Some(Duration::ZERO) } else { status.last_contact };
        Self { known_leader: status.leader.is_some(), last_contact }
    }

    fn is_older_than(self, most: Duration) -> bool {
        self.last_contact.is_none_or(|last| last > most)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::QueryOptions;
    use crate::http::{Options, params::Params, reply::Consistency};

    fn parse(query: &str) -> Result<QueryOptions, String> {
        QueryOptions::parse(&Params::parse(query).unwrap(), "", &Options::default()).map_err(|failure| failure.text)
    }

    #[test]
    fn waits() {
        for (query, index, seconds) in [
            ("", 0, 300),
            ("index=5", 5, 300),
            ("index=&wait=", 0, 300),
            ("index=5&wait=10s", 5, 10),
            ("index=5&wait=120000ms", 5, 120),
            ("index=5&wait=1h", 5, 600),
            ("index=5&wait=0s", 5, 300),
            ("index=5&wait=-5s", 5, 300),
        ] {
            let options = parse(query).unwrap();
            assert_eq!((options.index, options.wait), (index, Duration::from_secs(seconds)), "{query}");
        }
    }

    #[test]
    fn consistencies() {
        for (query, expected) in [
            ("", Consistency::Leader),
            ("stale", Consistency::Stale),
            ("stale=false", Consistency::Stale),
            ("max_stale=5s", Consistency::Stale),
            ("leader&max_stale=5s", Consistency::Stale),
            ("consistent", Consistency::Consistent),
            ("consistent=0", Consistency::Consistent),
        ] {
            assert_eq!(parse(query).unwrap().consistency, expected, "{query}");
        }
    }

    #[test]
    fn how_stale_an_answer_may_be() {
        let seconds = |query: &str, options: &Options| {
            let parsed = QueryOptions::parse(&Params::parse(query).unwrap(), "", options).unwrap();
            parsed.max_stale.map(|most| most.as_secs())
        };
        let bounded = Options { discovery_max_stale: Duration::from_secs(9), ..Options::default() };
        for (query, by_default, configured) in [
            ("", None, Some(9)),
            ("stale", None, None),
            ("max_stale=5s", Some(5), Some(5)),
            ("max_stale=0s", None, None),
            ("leader", None, None),
            ("consistent", None, None),
        ] {
            assert_eq!(seconds(query, &Options::default()), by_default, "{query}");
            assert_eq!(seconds(query, &bounded), configured, "{query}");
        }
    }

    #[test]
    fn stale_by_configuration() {
        let options = Options { discovery_max_stale: Duration::from_secs(1), ..Options::default() };
        for (query, expected) in
            [("", Consistency::Stale), ("leader", Consistency::Leader), ("consistent", Consistency::Consistent)]
        {
            let parsed = QueryOptions::parse(&Params::parse(query).unwrap(), "", &options).unwrap();
            assert_eq!(parsed.consistency, expected, "{query}");
        }
    }

    #[test]
    fn refusals() {
        for (query, text) in [
            ("index=abc", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("index=18446744073709551616", "Invalid index"),
            ("index=5&wait=abc", "Invalid wait time"),
            ("wait=10", "Invalid wait time"),
            ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
            ("max_stale=1s&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
            ("cached&consistent", "Cannot specify ?cached with ?consistent, conflicting semantics."),
            ("max_stale=x", "Invalid max_stale value \"x\""),
        ] {
            assert_eq!(parse(query), Err(text.to_owned()), "{query}");
        }
    }

    #[test]
    fn cache_control() {
        for (header, refused) in [
            ("", false),
            ("max-age=3, stale-if-error=4", false),
            ("must-revalidate", false),
            ("no-cache", false),
            ("max-age=x", true),
            ("Max-Age=3, stale-if-error=", true),
        ] {
            let parsed = QueryOptions::parse(&Params::default(), header, &Options::default());
            assert_eq!(parsed.is_err(), refused, "{header}");
        }
    }
}
