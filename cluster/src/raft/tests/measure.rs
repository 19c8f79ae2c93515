//! Figures, printed for people; nothing is proven here.

use super::{
    cluster::{Cluster, until},
    *,
};

/// The default of the configuration.
const MULTIPLIER: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures and proves nothing"]
async fn how_soon_another_leads() {
    for _ in 0..6 {
        let started = Instant::now();
        let mut cluster = Cluster::found_with(3, true, |options| options.multiplier = MULTIPLIER).await;
        cluster.register(0..1).await;
        let founded = started.elapsed();
        let leader = cluster.leader().await;
        cluster.register(1..20).await;
        let gone = cluster.hosts.remove(leader);
        gone.stop().await;
        let stopped = Instant::now();
        cluster.register(20..21).await;
        eprintln!("first write after {founded:?}; leader stopped until next write {:?}", stopped.elapsed());
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures and proves nothing"]
async fn how_many_writes_a_second() {
    for (size, on_disk) in [(1, true), (3, true), (1, false), (3, false)] {
        let cluster = Cluster::found_with(size, on_disk, |options| options.multiplier = MULTIPLIER).await;
        cluster.register(0..1).await;
        let leader = cluster.leader().await;
        for (clients, writes) in [(1u64, 200u64), (32, 100)] {
            let started = Instant::now();
            let writing = (0..clients).map(|client| {
                let consensus = cluster.hosts[leader].consensus().clone();
                tokio::spawn(async move {
                    for number in 0..writes {
                        consensus.try_propose(registration(client * writes + number)).await.unwrap();
                    }
                })
            });
            for client in writing.collect::<Vec<_>>() {
                client.await.unwrap();
            }
            let rate = (clients * writes) as f64 / started.elapsed().as_secs_f64();
            eprintln!("{size} servers, on disk: {on_disk}, {clients} clients: {rate:.0} writes/s");
        }
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures and proves nothing"]
async fn how_soon_a_straggler_has_caught_up() {
    const WRITES: u64 = 20_000;
    let mut cluster = Cluster::found_with(3, true, |options| options.multiplier = MULTIPLIER).await;
    let behind = (cluster.leader().await + 1) % 3;
    let (options, directory) = cluster.hosts.remove(behind).stop().await;
    let leader = cluster.leader().await;
    let consensus = cluster.hosts[leader].consensus().clone();
    let writing = (0..64).map(|client| {
        let consensus = consensus.clone();
        tokio::spawn(async move {
            for number in (client..WRITES).step_by(64) {
                consensus.try_propose(registration(number)).await.unwrap();
            }
        })
    });
    for client in writing.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let wanted = consensus.status().applied_index;
    let started = Instant::now();
    let host = cluster::Host::start_with(options, directory).await;
    until("it has caught up", || host.consensus().status().applied_index >= wanted).await;
    eprintln!("{WRITES} writes behind until caught up: {:?}", started.elapsed());
    cluster.hosts.push(host);
    cluster.stop().await;
}
