//! Figures of the virtual world, to tune by: `cargo test -p usher-cluster --lib gossip::tests::measures -- --ignored
//! --nocapture`.

use std::time::Duration;

use super::world::{World, name};
use crate::membership::MemberStatus;

fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:.2?}, p95 {:.2?}, most {:.2?}", at(0.5), at(0.95), at(1.0))
}

#[test]
#[ignore = "prints figures and proves nothing"]
fn how_soon_a_dead_host_is_failed_everywhere() {
    let cases = [(3, 0.0, 200), (10, 0.0, 200), (10, 0.1, 200), (30, 0.0, 40), (100, 0.0, 5)];
    for (hosts, loss, seeds, end) in cases
        .iter()
        .flat_map(|(hosts, loss, seeds)| [(*hosts, *loss, *seeds, "process"), (*hosts, *loss, *seeds, "host")])
    {
        let times = (0..seeds).map(|seed| {
            let mut world = World::of(seed, hosts);
            world.loss = loss;
            world.run_for(Duration::from_millis(2000 + 37 * seed));
            if end == "host" {
                world.unplug(1)
            } else {
                world.kill(1)
            }
            world.until("failed", |world| world.all_see(&name(1), Some(MemberStatus::Failed)))
        });
        println!("{hosts} hosts, {loss} loss, a {end} ends: {}", summary(times.collect()));
    }
}

#[test]
#[ignore = "prints figures and proves nothing"]
fn how_often_a_living_host_is_failed() {
    for (hosts, loss, seeds) in [(10, 0.0, 20), (10, 0.1, 60), (10, 0.25, 60), (30, 0.25, 10), (10, 0.4, 10)] {
        let alarms: usize = (0..seeds)
            .map(|seed| {
                let mut world = World::of(seed, hosts);
                let since = world.elapsed();
                world.loss = loss;
                world.run_for(Duration::from_secs(60));
                world.false_alarms(since)
            })
            .sum();
        println!("{hosts} hosts, {loss} loss, 60 s: {alarms} hosts failed wrongly in {seeds} runs");
    }
}

#[test]
#[ignore = "prints figures and proves nothing"]
fn how_much_is_sent() {
    for hosts in [3, 10, 30, 100] {
        let mut world = World::of(1, hosts);
        world.run_for(Duration::from_secs(60));
        let (before, asked) = (world.sent, world.asked);
        world.run_for(Duration::from_secs(60));
        let (bytes, datagrams) = (world.sent.0 - before.0, world.sent.1 - before.1);
        let each = 60 * hosts as u64;
        println!(
            "{hosts} hosts at rest: {} bytes/s by UDP, {} by TCP, {:.1} datagrams/s each",
            bytes / each,
            (world.asked - asked) / each,
            datagrams as f64 / each as f64
        );
    }
}
