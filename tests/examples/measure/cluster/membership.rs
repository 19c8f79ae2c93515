//! Membership: how soon the dead are noticed, whether the living are taken for dead, and what being there costs.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use serde_json::json;
use usher_tests::{
    cluster::Cluster,
    poll::{eventually, within},
};

use super::plain;
use crate::figures::{Figure, figure, rounds};

const ROUNDS: usize = 5;
const WATCHING: Duration = Duration::from_secs(60);
const SETTLING: Duration = Duration::from_secs(20);
const RESTING: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);

/// Seconds from killing a host until no server's DNS answers with it, among ten agents.
pub(super) fn host_killed(binary: &Path) -> Result<Vec<Figure>> {
    let mut cluster = plain(Cluster::loopback(), binary).servers(3).clients(7);
    cluster.formed();
    for name in ["c1", "c2"] {
        cluster[name].register("web", 80);
    }
    let (dead, alive) = (cluster.address("c1").to_string(), cluster.address("c2").to_string());
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        cluster.answered_everywhere("web.service.consul A", &[&dead, &alive]);
        settle(&cluster);
        cluster["c1"].kill();
        let killed = Instant::now();
        for name in ["s1", "s2", "s3"] {
            within(LIMIT, || match cluster[name].answers("web.service.consul A")? {
                lines if lines.iter().any(|line| line.ends_with(&dead)) => Err(format!("{name} still answers it")),
                _ => Ok(()),
            })
            .map_err(|error| anyhow!(error))?;
        }
        seconds.push(killed.elapsed().as_secs_f64());
        cluster["c1"].start();
        cluster.formed();
    }
    Ok(rounds("host killed until no server's DNS answers it, 10 agents", "s", &seconds))
}

/// Waits until everybody knows everybody to be alive.
fn settle(cluster: &Cluster) {
    for host in cluster.hosts() {
        eventually("everybody is known to be alive", || {
            let members = host.try_members()?;
            let alive = members.values().filter(|state| *state == "alive").count();
            if alive == cluster.hosts().len() { Ok(()) } else { Err(format!("{}: {members:?}", host.name)) }
        });
    }
}

/// How many living members are taken for dead by somebody, while packets are lost.
pub(super) fn false_alarms(binary: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for percent in [0, 10, 25] {
        let cluster = match Cluster::namespaces() {
            Ok(cluster) => plain(cluster, binary).servers(3).clients(7),
            Err(reason) => {
                eprintln!("false alarms are not measured: {reason}");
                return Ok(Vec::new());
            }
        };
        cluster.formed();
        settle(&cluster);
        cluster.network().lose(percent);
        let end = Instant::now() + WATCHING;
        let mut alarms = BTreeSet::new();
        let mut now: BTreeSet<(String, String)> = BTreeSet::new();
        let mut count = 0;
        while Instant::now() < end {
            now.clear();
            for host in cluster.hosts() {
                let members = host.try_members().map_err(|error| anyhow!(error))?;
                let dead = members.into_iter().filter(|(_, state)| state != "alive");
                now.extend(dead.map(|(name, _)| (host.name.clone(), name)));
            }
            count += now.difference(&alarms).count();
            alarms.clone_from(&now);
            std::thread::sleep(Duration::from_millis(100));
        }
        figures.push(figure(
            format!("false alarms in 60 s at {percent} % loss, 10 agents (all views)"),
            "",
            count as f64,
        ));
    }
    Ok(figures)
}

/// What a client agent among thirty costs that has nothing to do.
pub(super) fn idle(binary: &Path) -> Result<Vec<Figure>> {
    let (cluster, counted) = match Cluster::namespaces() {
        Ok(cluster) => (cluster, true),
        Err(reason) => {
            eprintln!("bytes are not counted: {reason}");
            (Cluster::loopback(), false)
        }
    };
    let cluster = plain(cluster, binary).with(json!({"log_level": "err"})).servers(3).clients(27);
    cluster.formed();
    settle(&cluster);
    std::thread::sleep(SETTLING);
    let address = cluster.address("c1");
    let bytes = || if counted { cluster.network().bytes(address) } else { 0 };
    let (time, received, began) = (cluster["c1"].processor_time(), bytes(), Instant::now());
    std::thread::sleep(RESTING);
    let seconds = began.elapsed().as_secs_f64();
    let processor = (cluster["c1"].processor_time() - time).as_secs_f64() * 1000.0 / seconds;
    let mut figures = vec![figure("an idle agent among 30: processor time a second", "ms", processor)];
    if counted {
        figures.push(figure(
            "an idle agent among 30: received and sent a second",
            "B",
            (bytes() - received) as f64 / seconds,
        ));
    }
    Ok(figures)
}
