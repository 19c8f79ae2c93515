//! How many registrations a second one server makes durable, with one client and with several.
//!
//! `cargo bench -p usher-cluster --bench proposals -- [directory]`: with a directory the log is kept in a new folder in
//! it, else in memory.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use usher_cluster::{
    catalog::{
        Catalog,
        command::{Command, Registration},
        model::{Check, Service},
    },
    raft::{Consensus, Options},
};

const RUN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let directory = directory.map(|directory| directory.join(format!("proposals-{}", std::process::id())));
    let began = Instant::now();
    let consensus = Consensus::start(options(directory.clone()), Arc::new(Catalog::default())).await;
    let consensus = consensus.unwrap_or_else(|error| panic!("{error}"));
    println!("started in {:?}, {} KiB resident", began.elapsed(), resident());
    for clients in [1, 4, 32, 128] {
        run(&consensus, clients).await;
    }
    println!("{} KiB resident", resident());
    consensus.shutdown().await;

    let began = Instant::now();
    let Some(directory) = directory else { return };
    let consensus = Consensus::start(options(Some(directory.clone())), Arc::new(Catalog::default())).await;
    let consensus = consensus.unwrap_or_else(|error| panic!("{error}"));
    println!("restarted in {:?}: {} entries applied", began.elapsed(), consensus.status().applied_index);
    consensus.shutdown().await;
    let _ = std::fs::remove_dir_all(directory);
}

/// What the process takes of memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

async fn run(consensus: &Consensus, clients: u64) {
    let number = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + RUN;
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (consensus, number) = (consensus.clone(), number.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let command = registration(number.fetch_add(1, Ordering::Relaxed) % 1000);
                    let began = Instant::now();
                    if let Err(error) = consensus.propose(command, RUN).await {
                        panic!("{error}");
                    }
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap_or_default());
    }
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
    let rate = times.len() as f64 / RUN.as_secs_f64();
    println!("{clients:4} clients: {rate:8.0} a second, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

fn options(directory: Option<PathBuf>) -> Options {
    Options {
        directory,
        address: ([127, 0, 0, 1], 8300).into(),
        node_id: "9a1d6e0c-6f0e-4c7c-9f0d-6d1f0c6e7a10".to_owned(),
        node_name: "bench".to_owned(),
        bootstrap: true,
        multiplier: 5,
        snapshot_threshold: 16384,
        trailing_logs: 10240,
    }
}

/// About 300 bytes: a node with an instance and a check.
fn registration(number: u64) -> Command {
    let service = Service {
        id: format!("web-{number}"),
        name: format!("web-{}", number % 100),
        tags: vec!["v1".to_owned(), "primary".to_owned()],
        port: 8080,
        ..Service::default()
    };
    let check = Check {
        node: format!("node-{number}"),
        id: format!("service:web-{number}"),
        name: "web is up".to_owned(),
        status: "passing".into(),
        service_id: service.id.clone(),
        ..Check::default()
    };
    Command::Register(Registration {
        node: format!("node-{number}"),
        address: "10.1.2.3".to_owned(),
        datacenter: "dc1".to_owned(),
        service: Some(service),
        checks: vec![check],
        ..Registration::default()
    })
}
