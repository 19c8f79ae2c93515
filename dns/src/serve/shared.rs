//! What all shells of one DNS interface share: the catalog, the settings in force, and the limit of errands.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, Guard};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use usher_cluster::{
    access::Authorizer,
    catalog::{Catalog, Source, State},
};

use super::tally::Tally;
use crate::{
    answer::{View, chase::Known},
    client::Transport,
    counts::Counts,
    policy::Policy,
    recurse::{Recursors, own},
    zone::{SettingError, Zone},
};

/// Most requests that wait for others at once; those beyond are answered SERVFAIL.
const ERRANDS_MAX: u32 = 1024;
/// Stands for a catalog that is not out of date.
const CURRENT: u32 = u32::MAX;

/// Shared by the threads and tasks of a DNS interface.
pub(crate) struct Shared {
    catalog: Arc<Catalog>,
    zone: ArcSwap<Zone>,
    authorizer: Arc<dyn Authorizer>,
    recursors: ArcSwap<Recursors>,
    listening: Vec<SocketAddr>,
    /// The secret of cookies where none is configured: as old as this process.
    cookie_secret: [u8; 16],
    runtime: Handle,
    nothing_known: Known,
    /// Permits for errands.
    pub(crate) errands: Arc<Semaphore>,
    /// Cancelled when errands are to be given up.
    pub(crate) ending: CancellationToken,
    /// For how many seconds the catalog may have been out of date; [`CURRENT`] if it is not.
    stale: AtomicU32,
    /// Counts of what was asked over anything but UDP.
    pub(crate) tcp_tally: Tally,
    /// Counts of what errands replied over UDP.
    pub(crate) udp_errands: Arc<Tally>,
}

/// One moment to answer from.
pub(crate) struct Moment {
    state: Guard<Arc<State>>,
    zone: Guard<Arc<Zone>>,
    now: u32,
    stale: Option<u32>,
}

impl Shared {
    /// What an interface by this policy shares. Called within the runtime that its tasks are to run in.
    pub(crate) fn new(
        policy: Policy,
        listening: &[SocketAddr],
        catalog: Arc<Catalog>,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, SettingError> {
        let cookie_secret = rand::random();
        let zone = prepare(policy, listening, cookie_secret)?;
        let (ending, runtime) = (CancellationToken::new(), Handle::current());
        Ok(Self {
            catalog,
            recursors: ArcSwap::from_pointee(Recursors::new(&zone.policy, &ending, runtime.clone())),
            zone: ArcSwap::from_pointee(zone),
            authorizer,
            listening: listening.to_vec(),
            cookie_secret,
            runtime,
            nothing_known: Known::default(),
            errands: Arc::new(Semaphore::new(ERRANDS_MAX as usize)),
            ending,
            tcp_tally: Tally::default(),
            udp_errands: Arc::default(),
            stale: AtomicU32::new(CURRENT),
        })
    }

    /// Puts other settings in force.
    pub(crate) fn reconfigure(&self, policy: Policy) -> Result<(), SettingError> {
        let zone = prepare(policy, &self.listening, self.cookie_secret)?;
        // What others answered outlives changes of other settings.
        if !self.recursors.load().are_of(&zone.policy) {
            let recursors = Recursors::new(&zone.policy, &self.ending, self.runtime.clone());
            recursors.watch();
            self.recursors.store(Arc::new(recursors));
        }
        self.zone.store(Arc::new(zone));
        Ok(())
    }

    /// The catalog and the settings as they are now.
    pub(crate) fn moment(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The serial is 32 bits and wraps, as serials do.
        let now = u32::try_from(since.as_secs() & u64::from(u32::MAX)).unwrap_or_default();
        let stale = Some(self.stale.load(Ordering::Relaxed)).filter(|seconds| *seconds != CURRENT);
        Moment { state: self.catalog.load(), zone: self.zone.load(), now, stale }
    }

    /// Says how long the catalog may have been out of date; `None` if it is not.
    pub(crate) fn set_stale(&self, since: Option<Duration>) {
        let seconds = |age: Duration| u32::try_from(age.as_secs()).unwrap_or(CURRENT).min(CURRENT - 1);
        self.stale.store(since.map_or(CURRENT, seconds), Ordering::Relaxed);
    }

    /// A moment to answer from, with what is known of names of others.
    pub(crate) fn view<'a>(&'a self, moment: &'a Moment, known: Option<&'a Known>) -> View<'a> {
        View {
            state: &moment.state,
            zone: &moment.zone,
            authorizer: &*self.authorizer,
            known: known.unwrap_or(&self.nothing_known),
            now: moment.now,
            stale: moment.stale,
        }
    }

    /// Gives up every errand and waits until none is left: they hold sockets.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        let _all_of_them = self.errands.acquire_many(ERRANDS_MAX).await;
    }

    /// Counts a reply that an errand brought.
    pub(crate) fn count_errand(&self, transport: Transport, reply: &[u8], time: Duration) {
        let mut counts = Counts::default();
        counts.reply(reply);
        counts.took(time, 1);
        let tally = if transport == Transport::Udp { &*self.udp_errands } else { &self.tcp_tally };
        tally.add(counts);
    }

    /// Where the catalog gets what it does not hold, if it is a partial one.
    pub(crate) fn source(&self) -> Option<Arc<dyn Source>> {
        self.catalog.source()
    }

    /// Who is asked for names of others.
    pub(crate) fn recursors(&self) -> Arc<Recursors> {
        self.recursors.load_full()
    }
}

/// The settings, without recursors that are ourselves: a question would come back at once.
fn prepare(mut policy: Policy, listening: &[SocketAddr], secret: [u8; 16]) -> Result<Zone, SettingError> {
    policy.cookie_secret.get_or_insert(secret);
    let interfaces = if policy.recursors.is_empty() { Vec::new() } else { own::interfaces() };
    policy.recursors.retain(|recursor| {
        let ours = own::is_own(*recursor, listening, &interfaces);
        if ours {
            tracing::warn!(%recursor, "recursor is this agent's own DNS address, leaving it out");
        }
        !ours
    });
    Zone::new(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recursors_that_are_ourselves_are_left_out() {
        let recursors = ["127.0.0.1:8600", "127.0.0.1:53", "192.0.2.1:8600"].map(|text| text.parse().unwrap()).to_vec();
        let kept = |listening: &str| {
            let policy = Policy { recursors: recursors.clone(), ..Policy::default() };
            let zone = prepare(policy, &[listening.parse().unwrap()], [0; 16]).unwrap();
            zone.policy.recursors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(kept("127.0.0.1:8600"), ["127.0.0.1:53", "192.0.2.1:8600"]);
        assert_eq!(kept("0.0.0.0:8600"), ["127.0.0.1:53", "192.0.2.1:8600"]);
        assert_eq!(kept("[::]:8600"), ["127.0.0.1:8600", "127.0.0.1:53", "192.0.2.1:8600"]);
    }
}
