//! What was acknowledged is still there after kill -9 at any moment, and after a clean end.
//!
//! Seen from outside: registrations that a client was told are done, a kill, a start, and the registrations again. The
//! random moments come from a seed; a failure prints it, `USHER_TEST_SEED=<seed>` replays it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use usher_tests::agent::{Agent, Builder};
use usher_tests::http::{Http, Request};
use usher_tests::poll::eventually;
use usher_tests::ports::Ports;
use usher_tests::seed;

/// How long agents are killed and started again, and at least how often.
const KILLING: Duration = Duration::from_secs(12);
const MIN_ROUNDS: u32 = 4;
const CLIENTS: u64 = 4;

/// Through which API a client registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Agent,
    Catalog,
}

impl Way {
    fn register(self, name: &str) -> Request {
        match self {
            Self::Agent => put("/v1/agent/service/register", &json!({"Name": name, "Port": 80})),
            Self::Catalog => put(
                "/v1/catalog/register",
                &json!({"Node": format!("node-{name}"), "Address": "10.0.0.1", "Service": {"Service": name}}),
            ),
        }
    }

    fn deregister(self, name: &str) -> Request {
        match self {
            Self::Agent => put(&format!("/v1/agent/service/deregister/{name}"), &json!({})),
            Self::Catalog => put("/v1/catalog/deregister", &json!({"Node": format!("node-{name}")})),
        }
    }
}

fn put(target: &str, body: &Value) -> Request {
    Request::new("PUT", target).body(body.to_string())
}

/// What a client was told: services that are there, and services that are gone. What was asked for but never answered
/// is in neither.
#[derive(Debug, Default)]
struct Told {
    there: BTreeSet<(Way, String)>,
    gone: BTreeSet<(Way, String)>,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.there.retain(|entry| !other.gone.contains(entry));
        self.there.extend(other.there);
        self.gone.extend(other.gone);
    }

    fn names(set: &BTreeSet<(Way, String)>, way: Way) -> impl Iterator<Item = &String> {
        set.iter().filter(move |(other, _)| *other == way).map(|(_, name)| name)
    }
}

/// Registers and deregisters until the agent no longer answers.
fn client(http: &Http, way: Way, prefix: &str, mut random: StdRng, end: &AtomicBool) -> Told {
    let mut told = Told::default();
    for count in 0.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let old = told.there.iter().nth(random.random_range(0..told.there.len().max(1))).cloned();
        let done = |request| http.send(&request).is_ok_and(|response| response.status == 200);
        match old {
            Some(entry) if random.random_bool(0.2) => {
                // From now on it may be gone, whatever the answer.
                told.there.remove(&entry);
                if done(way.deregister(&entry.1)) {
                    told.gone.insert(entry);
                }
            }
            _ => {
                let name = format!("{prefix}-{count}");
                if done(way.register(&name)) {
                    told.there.insert((way, name));
                }
            }
        }
    }
    told
}

fn work_until_killed(agent: &mut Agent, round: u32, random: &mut StdRng) -> Told {
    let end = AtomicBool::new(false);
    let http = agent.http();
    let moment = Instant::now() + Duration::from_millis(random.random_range(0..700)); // of the crash
    let mut all = Told::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let way = if number % 2 == 0 { Way::Catalog } else { Way::Agent };
                let (prefix, random) = (format!("r{round}-c{number}"), StdRng::seed_from_u64(random.random()));
                let (http, end) = (&http, &end);
                scope.spawn(move || client(http, way, &prefix, random, end))
            })
            .collect();
        while Instant::now() < moment {
            thread::park_timeout(moment.saturating_duration_since(Instant::now()));
        }
        agent.kill();
        end.store(true, Ordering::Relaxed);
        for client in clients {
            all.add(client.join().expect("a client does not fail"));
        }
    });
    all
}

/// Whether the agent knows what clients were told.
fn check(agent: &Agent, told: &Told) -> Result<(), String> {
    let keys = |target: &str| -> BTreeSet<String> {
        let json = agent.get(target).json();
        json.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let (catalog, local) = (keys("/v1/catalog/services"), keys("/v1/agent/services"));
    for (way, seen) in [(Way::Catalog, &catalog), (Way::Agent, &local), (Way::Agent, &catalog)] {
        let lost: Vec<&String> = Told::names(&told.there, way).filter(|name| !seen.contains(*name)).collect();
        let back: Vec<&String> = Told::names(&told.gone, way).filter(|name| seen.contains(*name)).collect();
        if !lost.is_empty() || !back.is_empty() {
            return Err(format!("acknowledged through {way:?}, but lost: {lost:?}; deregistered, but there: {back:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_acknowledged_registration_survives_kill_9() {
    let mut random = seed::random();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = Builder::server(&data).ports(Ports::free());
    let mut told = Told::default();
    let mut id = None;
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < KILLING || round < MIN_ROUNDS {
        round += 1;
        if random.random_bool(0.25) {
            // Killed while it starts.
            let mut agent = builder.spawn();
            thread::park_timeout(Duration::from_millis(random.random_range(0..150)));
            agent.kill();
        }
        let mut agent = builder.start();
        let now = agent.node_id();
        assert_eq!(*id.get_or_insert_with(|| now.clone()), now, "the node id is kept");
        // The agent's own services reach the catalog again soon after its start; the rest is there at once.
        eventually("everything acknowledged", || check(&agent, &told));
        told.add(work_until_killed(&mut agent, round, &mut random));
    }
    eprintln!("{round} rounds, {} registrations, {} deregistrations", told.there.len(), told.gone.len());
    assert!(told.there.len() > 20, "the clients got something done");
}

#[test]
fn a_clean_end_keeps_everything_too() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Builder::server(&folder.path().join("data"));
    let mut agent = builder.start();
    let id = agent.node_id();
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "web", "Port": 80}));
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n", "Address": "10.0.0.1", "Service": {"Service": "db"}}));
    agent.signal(rustix::process::Signal::TERM);
    agent.wait();
    let agent = builder.start();
    assert_eq!(agent.node_id(), id);
    eventually("both services", || match agent.get("/v1/catalog/services").json() {
        services if services.get("web").is_some() && services.get("db").is_some() => Ok(()),
        other => Err(other),
    });
}
