//! What goes wrong in a simulation, and when: drawn from the seed before it begins.
//!
//! Pure: a plan is a list of faults with their beginning and end. The world brings them about.

use std::time::Duration;

use rand::{
    Rng, RngExt,
    seq::{IndexedRandom, SliceRandom},
};

/// The number of a host: servers first, then clients.
pub(super) type Host = usize;

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// The process ends at once: its connections are closed, what was not synced is gone. It starts again at the end.
    Kill(Host),
    /// The machine loses power: as above, but nobody is told.
    PowerLoss(Host),
    /// The agent leaves the cluster and ends; it starts again at the end.
    Leave(Host),
    /// Nothing passes between these hosts and the others. Streams go on where they were when it is over.
    Split(Vec<Host>),
    /// Nothing passes from one host to the other, while the other way is open. Bytes sent meanwhile are lost, and with
    /// them every stream they were part of.
    OneWay(Host, Host),
    /// This part of all datagrams is lost.
    Loss(f64),
    /// Everything takes up to this long.
    Delay(Duration),
    /// Syncing the disk takes up to this long.
    SlowDisk(Host, Duration),
    /// The host's clock leaps ahead (as seen from inside: the machine was suspended).
    ClockJump(Host, Duration),
}

impl Fault {
    /// Whether members may rightly be declared dead because of it.
    pub(super) fn may_look_like_death(&self) -> bool {
        match self {
            Self::Kill(_) | Self::PowerLoss(_) | Self::Leave(_) => true,
            Self::Split(_) | Self::OneWay(..) | Self::ClockJump(..) => true,
            Self::Loss(rate) => *rate > 0.1,
            Self::Delay(longest) => *longest > Duration::from_millis(200),
            Self::SlowDisk(..) => false,
        }
    }
}

/// A fault with its time, counted from the start of the simulation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) from: Duration,
    pub(super) until: Duration,
    pub(super) fault: Fault,
    /// Whether it hits the server that leads when it begins, in place of the one the plan names.
    pub(super) at_leader: bool,
}

impl Planned {
    /// Has it hit this server.
    pub(super) fn aim(&mut self, leader: Host) {
        match &mut self.fault {
            Fault::Kill(host)
            | Fault::PowerLoss(host)
            | Fault::Leave(host)
            | Fault::OneWay(host, _)
            | Fault::SlowDisk(host, _)
            | Fault::ClockJump(host, _) => *host = leader,
            Fault::Split(part) => *part = vec![leader],
            Fault::Loss(_) | Fault::Delay(_) => {}
        }
    }
}

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Everything.
    Storm,
    /// A tenth of the datagrams is lost, everything is delayed a little, disks are slow: nobody may be taken for dead.
    Drizzle,
}

/// A plan for that many servers and clients between two moments.
pub(super) fn plan(
    random: &mut impl Rng,
    weather: Weather,
    servers: usize,
    clients: usize,
    (from, until): (Duration, Duration),
) -> Vec<Planned> {
    let count = random.random_range(6..=16);
    let mut plan: Vec<Planned> = (0..count)
        .map(|_| {
            let start = random.random_range(from..until);
            let end = (start + Duration::from_millis(random.random_range(200..8_000))).min(until);
            let fault = fault(random, weather, servers, clients);
            Planned { from: start, until: end, fault, at_leader: random.random_bool(0.4) }
        })
        .collect();
    plan.sort_by_key(|planned| planned.from);
    plan
}

fn fault(random: &mut impl Rng, weather: Weather, servers: usize, clients: usize) -> Fault {
    let hosts = servers + clients;
    let kind = match weather {
        Weather::Storm => random.random_range(0..12),
        Weather::Drizzle => random.random_range(8..11),
    };
    let storm = weather == Weather::Storm;
    // Servers are where most can go wrong.
    let host = if random.random_bool(0.75) { random.random_range(0..servers) } else { random.random_range(0..hosts) };
    match kind {
        0 | 1 => Fault::Kill(host),
        2 => Fault::PowerLoss(host),
        3 | 4 => {
            let mut all: Vec<Host> = (0..hosts).collect();
            all.shuffle(random);
            all.truncate(random.random_range(1..=hosts.div_ceil(2)));
            Fault::Split(all)
        }
        5 => match (0..hosts).filter(|other| *other != host).collect::<Vec<_>>().choose(random) {
            Some(other) => Fault::OneWay(host, *other),
            None => Fault::Kill(host),
        },
        6 | 7 => Fault::ClockJump(host, Duration::from_millis(random.random_range(100..10_000))),
        8 => Fault::Loss(random.random_range(0.01..if storm { 0.4 } else { 0.1 })),
        9 => Fault::Delay(Duration::from_millis(random.random_range(10..if storm { 800 } else { 100 }))),
        10 => Fault::SlowDisk(host, Duration::from_millis(random.random_range(20..if storm { 2_000 } else { 200 }))),
        _ => Fault::Leave(host),
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn planned(seed: u64, weather: Weather) -> Vec<Planned> {
        let span = (Duration::from_secs(5), Duration::from_secs(30));
        plan(&mut StdRng::seed_from_u64(seed), weather, 3, 2, span)
    }

    #[test]
    fn plans_follow_from_the_seed_and_stay_within_their_time() {
        for seed in 0..200 {
            let plan = planned(seed, Weather::Storm);
            assert_eq!(plan, planned(seed, Weather::Storm));
            assert!(plan.iter().all(|it| it.from <= it.until && it.until <= Duration::from_secs(30)), "{plan:?}");
        }
        assert_ne!(planned(1, Weather::Storm), planned(2, Weather::Storm));
    }

    #[test]
    fn nothing_in_a_drizzle_looks_like_death() {
        assert!((0..200).flat_map(|seed| planned(seed, Weather::Drizzle)).all(|it| !it.fault.may_look_like_death()));
        assert!((0..20).flat_map(|seed| planned(seed, Weather::Storm)).any(|it| it.fault.may_look_like_death()));
    }
}
