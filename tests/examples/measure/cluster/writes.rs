//! Writes: how long none is taken when the leader dies, how many a second three servers take, how soon one that missed
//! many has them all, and how soon a change made at one agent is answered by another.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::json;
use usher_tests::{
    cluster::{Cluster, Host},
    poll::{eventually, within},
};

use super::plain;
use crate::agent::Client;
use crate::figures::{Figure, figure, quantile, rounds};

const ROUNDS: usize = 5;
const REGISTERING: Duration = Duration::from_secs(8);
const CLIENTS: u64 = 32;
const MISSED: u64 = 100_000;
const CHANGES: u16 = 300;
/// The longest anything here may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Seconds from killing the leader until a write is acknowledged, at another server.
pub(super) fn leader_killed(binary: &Path) -> Result<Vec<Figure>> {
    let mut cluster = plain(Cluster::loopback(), binary).servers(3);
    cluster.formed();
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        let leader = cluster.leader();
        cluster.follower();
        let other = cluster.running_servers().into_iter().find(|name| *name != leader).context("another server")?;
        cluster[&leader].kill();
        let killed = Instant::now();
        within(LIMIT, || cluster[&other].try_register_elsewhere(&format!("round{round}")))
            .map_err(|error| anyhow!(error))?;
        seconds.push(killed.elapsed().as_secs_f64());
        cluster[&leader].start();
        cluster.formed();
    }
    Ok(rounds("leader killed until the next acknowledged write", "s", &seconds))
}

/// Registrations acknowledged a second, clients spread over three servers that keep everything on disk.
pub(super) fn registrations(binary: &Path) -> Result<Vec<Figure>> {
    let cluster = plain(Cluster::loopback(), binary).servers(3);
    cluster.formed();
    let rate = write_for(&cluster, REGISTERING, u64::MAX)?;
    Ok(vec![figure(format!("registrations a second, 3 servers, {CLIENTS} clients"), "/s", rate)])
}

/// Registers services by [`CLIENTS`] connections for this time or until so many are written; gives the rate.
fn write_for(cluster: &Cluster, time: Duration, most: u64) -> Result<f64> {
    let servers: Vec<std::net::Ipv4Addr> = cluster.running_servers().iter().map(|name| cluster.address(name)).collect();
    let (done, began) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..CLIENTS)
            .zip(servers.iter().cycle())
            .map(|(client, server)| {
                let done = &done;
                scope.spawn(move || -> Result<()> {
                    let mut connection = Client::connect((*server, 8500))?;
                    let mut count = 0u64;
                    while began.elapsed() < time && done.fetch_add(1, Ordering::Relaxed) < most {
                        let body = json!({
                            "Node": format!("host{client}"), "Address": "10.0.0.1",
                            "Service": {"ID": format!("s{client}-{count}"), "Service": format!("s{}", count % 100), "Port": count % 60_000},
                        });
                        let reply = connection.request("PUT", "/v1/catalog/register", &body.to_string())?;
                        ensure!(reply.trim() == "true", "registration refused: {reply}");
                        count += 1;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    Ok(done.load(Ordering::Relaxed).min(most) as f64 / began.elapsed().as_secs_f64())
}

/// Seconds from the start of a server that missed many writes until it has the last of them.
pub(super) fn catch_up(binary: &Path) -> Result<Vec<Figure>> {
    let mut cluster =
        plain(Cluster::loopback(), binary).with(json!({"autopilot": {"cleanup_dead_servers": false}})).servers(3);
    cluster.formed();
    let missing = cluster.follower();
    cluster[&missing].kill();
    let leader = cluster.leader();
    eventually("a write without it", || cluster[&leader].try_register_elsewhere("first"));
    write_for(&cluster, Duration::from_secs(600), MISSED)?;
    cluster[&leader].try_register_elsewhere("last").map_err(|error| anyhow!(error))?;
    let began = Instant::now();
    cluster[&missing].start();
    within(LIMIT, || has(&cluster[&missing], "last")).map_err(|error| anyhow!(error))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(vec![figure(format!("a server started again has {MISSED} writes it missed"), "s", seconds)])
}

fn has(host: &Host, service: &str) -> Result<(), String> {
    match host.try_json(&format!("/v1/catalog/service/{service}?stale"))? {
        found if found.as_array().is_some_and(|found| !found.is_empty()) => Ok(()),
        _ => Err(format!("{} has no {service}", host.name)),
    }
}

/// Milliseconds from a registration at one client agent until another's DNS answers with it.
pub(super) fn change_until_seen(binary: &Path) -> Result<Vec<Figure>> {
    let cluster = plain(Cluster::loopback(), binary).servers(3).clients(2);
    cluster.formed();
    let mut milliseconds = Vec::new();
    for port in 1000..1000 + CHANGES {
        let began = Instant::now();
        cluster["c1"].register("web", port);
        let wanted = format!(" {port} ");
        let end = began + LIMIT;
        loop {
            let seen = cluster["c2"].answers("web.service.consul SRV").unwrap_or_default();
            if seen.iter().any(|line| line.contains(&wanted)) {
                break;
            }
            if Instant::now() > end {
                bail!("port {port} was never answered");
            }
        }
        milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(vec![
        figure("change at one agent until another's DNS has it, p50", "ms", quantile(&milliseconds, 0.5)),
        figure("change at one agent until another's DNS has it, p99", "ms", quantile(&milliseconds, 0.99)),
    ])
}
