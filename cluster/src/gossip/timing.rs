//! How quick each pool is. LAN: twice Consul's pace, so that a host that died is noticed in half the time; WAN: Consul's.

use std::{
    num::{NonZeroU8, NonZeroU32, NonZeroUsize},
    time::Duration,
};

use super::Pool;

/// A datagram, envelope included: what passes every network of today in one piece.
const DATAGRAM_MAX_BYTES: usize = 1400;

/// The times foca does not know of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Between push/pulls with a random member, in a pool of up to 32.
    pub(super) sync: Duration,
    /// Between calls at failed members by UDP; by TCP every sixth time.
    pub(super) reconnect: Duration,
    /// Before a record that did not come by itself is asked for.
    pub(super) fetch: Duration,
    /// Between the steps of leaving.
    pub(super) leave_step: Duration,
    /// How often is looked for what is to be forgotten.
    pub(super) reap: Duration,
    /// How long a whole exchange over TCP may take.
    pub(super) exchange: Duration,
}

impl Timing {
    pub(super) fn of(pool: Pool) -> Self {
        let (sync, reconnect, fetch, leave_step, exchange) = match pool {
            Pool::Lan => (30_000, 5_000, 300, 200, 10_000),
            Pool::Wan => (60_000, 15_000, 1_000, 500, 30_000),
        };
        Self {
            sync: Duration::from_millis(sync),
            reconnect: Duration::from_millis(reconnect),
            fetch: Duration::from_millis(fetch),
            leave_step: Duration::from_millis(leave_step),
            reap: Duration::from_secs(15),
            exchange: Duration::from_millis(exchange),
        }
    }

    /// Between push/pulls in a pool of `members`: once more its length whenever the pool doubles beyond 32.
    pub(super) fn sync_among(&self, members: usize) -> Duration {
        let doublings = u32::try_from(members.div_ceil(32)).unwrap_or(u32::MAX).next_power_of_two().trailing_zeros();
        self.sync * (1 + doublings)
    }
}

/// foca's settings in a pool of `members`, where the envelope takes `overhead` of every datagram.
pub(super) fn config(pool: Pool, members: usize, overhead: usize) -> foca::Config {
    let size = NonZeroU32::new(u32::try_from(members).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
    let base = match pool {
        Pool::Lan => lan(size),
        Pool::Wan => foca::Config::new_wan(size),
    };
    foca::Config {
        // Everything about a member must reach everybody although a few packets in ten are lost.
        max_transmissions: base.max_transmissions.max(TRANSMISSIONS_MIN),
        max_packet_size: NonZeroUsize::new(DATAGRAM_MAX_BYTES.saturating_sub(overhead)).unwrap_or(NonZeroUsize::MIN),
        // Push/pull spreads what announcing would, and failed members are called by ourselves: foca would stop when it is
        // alone, and cannot tell those that failed from those that left.
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        // Forgetting is ours as well.
        remove_down_after: None,
        ..base
    }
}

const TRANSMISSIONS_MIN: NonZeroU8 = NonZeroU8::new(10).expect("it is not zero");

fn lan(size: NonZeroU32) -> foca::Config {
    let base = foca::Config::new_lan(size);
    foca::Config {
        probe_period: base.probe_period / 2,
        probe_rtt: Duration::from_millis(200),
        suspect_to_down_after: base.suspect_to_down_after / 2,
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_pull_slows_down_as_the_pool_grows() {
        let timing = Timing::of(Pool::Lan);
        for (members, expected) in [(0, 30), (1, 30), (32, 30), (33, 60), (64, 60), (65, 90), (128, 90), (1000, 180)] {
            assert_eq!(timing.sync_among(members), Duration::from_secs(expected), "{members}");
        }
    }

    #[test]
    fn a_pool_that_grows_keeps_what_foca_does_not_let_change() {
        for pool in [Pool::Lan, Pool::Wan] {
            let (small, large) = (config(pool, 1, 41), config(pool, 1000, 41));
            assert_eq!((small.probe_period, small.probe_rtt), (large.probe_period, large.probe_rtt));
            assert!(small.suspect_to_down_after < large.suspect_to_down_after);
            assert!(small.max_transmissions < large.max_transmissions);
            assert_eq!(large.max_packet_size.get(), 1359);
        }
    }
}
