//! What was acknowledged is still there: after kill -9 at any moment, and when files or ports are not as they should
//! be.
//!
//! Everything is seen from outside: registrations that a client was told are done, a kill, a start, and the same
//! registrations again. A start that cannot succeed says why on standard error, names the file or the port, ends with a
//! code that is not zero, and leaves the data directory as it was, byte for byte.
//!
//! The random moments come from a seed; a failure prints it, `USHER_TEST_SEED=<seed>` replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use usher_tests::agent::{Agent, Builder};
use usher_tests::command::Ended;
use usher_tests::http::{Http, Request};
use usher_tests::poll::eventually;
use usher_tests::ports::Ports;
use usher_tests::tree::{files, tree};

fn seed() -> u64 {
    let given = std::env::var("USHER_TEST_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seed = given.unwrap_or_else(|| rand::rng().random());
    eprintln!("USHER_TEST_SEED={seed}");
    seed
}

fn server(data: &Path) -> Builder {
    Builder::server(data).config(json!({"node_name": "keeper", "performance": {"raft_multiplier": 1}}))
}

fn node_id(agent: &Agent) -> String {
    agent.get("/v1/agent/self").json()["Config"]["NodeID"].as_str().expect("an agent has an id").to_owned()
}

// === kill -9 at any moment ===

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
    let mut random = StdRng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = server(&data).ports(Ports::free());
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
        let now = node_id(&agent);
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
    let builder = server(&folder.path().join("data"));
    let mut agent = builder.start();
    let id = node_id(&agent);
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "web", "Port": 80}));
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n", "Address": "10.0.0.1", "Service": {"Service": "db"}}));
    agent.signal(rustix::process::Signal::TERM);
    agent.wait();
    let agent = builder.start();
    assert_eq!(node_id(&agent), id);
    eventually("both services", || match agent.get("/v1/catalog/services").json() {
        services if services.get("web").is_some() && services.get("db").is_some() => Ok(()),
        other => Err(other),
    });
}

// === starts that must be refused ===

/// A data directory with a past: registrations, restarts and a snapshot.
struct Past {
    folder: TempDir,
    services: BTreeSet<String>,
}

impl Past {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let past = Self { services: (0..60).map(|number| format!("s{number}")).collect(), folder };
        let builder = server(&past.data()).config(json!({"raft_snapshot_threshold": 20, "raft_trailing_logs": 5}));
        let mut agent = builder.start();
        for name in &past.services {
            agent.put_ok(
                "/v1/catalog/register",
                &json!({"Node": format!("node-{name}"), "Address": "10.0.0.1", "Service": {"Service": name}}),
            );
        }
        agent.signal(rustix::process::Signal::TERM);
        agent.wait();
        past
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A copy to be damaged.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for path in files(&self.data()) {
            let to = copy.path().join(path.strip_prefix(self.data()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
        copy
    }

    /// Files of the log and the snapshots, relative to the data directory.
    fn consensus_files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let all = files(&self.data().join("raft"));
        let relative = all.iter().map(|path| path.strip_prefix(self.data()).unwrap().to_path_buf());
        let full = relative.filter(|path| fs::metadata(self.data().join(path)).unwrap().len() > 0);
        full.partition(|path| !path.to_string_lossy().contains("snapshot"))
    }
}

/// That the start is refused, with these words on standard error, and the folder left as it is.
fn refused(builder: &Builder, folder: &Path, words: &[&str]) -> Ended {
    let before = tree(folder);
    let ended = builder.refused();
    let error = ended.err();
    for word in words {
        assert!(error.contains(word), "standard error should name {word}:\n{error}\nstandard output:\n{}", ended.out());
    }
    assert_eq!(error.lines().filter(|line| line.contains("panicked")).count(), 0, "{error}");
    assert!(tree(folder) == before, "the folder has changed: {}", changes(&before, folder));
    ended
}

fn changes(before: &BTreeMap<PathBuf, Option<Vec<u8>>>, folder: &Path) -> String {
    let after = tree(folder);
    let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let all: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).filter(changed).collect();
    format!("{all:?}")
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_touched() {
    let past = Past::make();
    let data = past.data();
    type Pick = fn(&Ports) -> u16;
    let table: [(&str, Pick, bool, bool); 5] = [
        ("dns", |ports| ports.dns, true, true),
        ("http", |ports| ports.http, true, false),
        ("server", |ports| ports.server, true, false),
        ("serf_lan", |ports| ports.serf_lan, true, true),
        ("serf_wan", |ports| ports.serf_wan, true, true),
    ];
    for (name, pick, tcp, udp) in table {
        for (protocol, used) in [("tcp", tcp), ("udp", udp)] {
            if !used {
                continue;
            }
            let ports = Ports::free();
            let port = pick(&ports);
            let _tcp = (protocol == "tcp").then(|| TcpListener::bind(("127.0.0.1", port)).unwrap());
            let _udp = (protocol == "udp").then(|| UdpSocket::bind(("127.0.0.1", port)).unwrap());
            eprintln!("{name} {protocol} {port}");
            refused(&server(&data).ports(ports), &data, &[&format!(":{port}"), "in use"]);
        }
    }
}

#[test]
fn two_agents_never_share_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let first = Builder::dev().start();
    let taken = [
        ("dns", first.ports.dns),
        ("http", first.ports.http),
        ("server", first.ports.server),
        ("serf_lan", first.ports.serf_lan),
        ("serf_wan", first.ports.serf_wan),
    ];
    for (name, port) in taken {
        eprintln!("{name} {port}");
        let second = Builder::dev().config(json!({"ports": {name: port}}));
        refused(&second, folder.path(), &[&format!(":{port}"), "in use"]);
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "not a folder").unwrap();
    refused(&server(&file), folder.path(), &["a-file"]);
    // Nobody, not even root, makes folders there.
    let nowhere = Path::new("/proc/usher-data");
    refused(&server(nowhere), folder.path(), &["/proc/usher-data"]);
    // No data directory at all.
    let none = Builder::dev().config(json!({"data_dir": null}));
    assert!(none.start().ended().is_none(), "-dev needs none");
}

#[test]
fn a_second_agent_on_the_same_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = server(&data);
    let mut first = builder.start();
    let id = node_id(&first);
    first.put_ok("/v1/agent/service/register", &json!({"Name": "before", "Port": 80}));
    let ended = builder.refused();
    assert!(ended.err().contains(&data.display().to_string()), "{}", ended.err());
    // The first one is none the worse for it.
    first.put_ok("/v1/agent/service/register", &json!({"Name": "after", "Port": 80}));
    first.kill();
    let again = builder.start();
    assert_eq!(node_id(&again), id);
    eventually("both services", || match again.get("/v1/catalog/services").json() {
        services if services.get("before").is_some() && services.get("after").is_some() => Ok(()),
        other => Err(other),
    });
}

/// A way to damage a file.
type Damage = (&'static str, fn(&mut Vec<u8>));

fn damages() -> [Damage; 4] {
    [
        ("its first kilobyte overwritten", |bytes| bytes.iter_mut().take(1024).for_each(|byte| *byte = !*byte)),
        ("cut to half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("emptied", Vec::clear),
        ("its bytes all zero", |bytes| bytes.fill(0)),
    ]
}

fn damage(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_log_is_named_and_left_alone() {
    let past = Past::make();
    let (log, _) = past.consensus_files();
    assert!(!log.is_empty(), "there is a log");
    for file in &log {
        for (what, how) in damages() {
            eprintln!("{} {what}", file.display());
            let copy = past.copy();
            damage(&copy.path().join(file), how);
            refused(&server(copy.path()), copy.path(), &[&file.display().to_string()]);
        }
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_left_alone() {
    let past = Past::make();
    let (_, snapshots) = past.consensus_files();
    assert!(
        !snapshots.is_empty(),
        "sixty writes with a threshold of twenty make a snapshot: {:?}",
        files(&past.data())
    );
    for (what, how) in damages() {
        eprintln!("snapshots {what}");
        let copy = past.copy();
        for file in &snapshots {
            damage(&copy.path().join(file), how);
        }
        let ended = refused(&server(copy.path()), copy.path(), &[]);
        let named = snapshots.iter().any(|file| ended.err().contains(&file.display().to_string()));
        assert!(named, "one of {snapshots:?} should be named:\n{}", ended.err());
    }
}

#[test]
fn a_damaged_node_id_is_named_and_left_alone() {
    let past = Past::make();
    for (what, how) in
        [("nonsense", "not an id"), ("empty", ""), ("too long", "1b4e28ba-2fa1-11d2-883f-0016d3cca427-and-more")]
    {
        eprintln!("{what}");
        let copy = past.copy();
        fs::write(copy.path().join("node-id"), how).unwrap();
        refused(&server(copy.path()), copy.path(), &["node-id"]);
    }
}

/// A flipped bit may hit unused space. Then all is there; else the start is refused. Never is anything lost in silence.
#[test]
fn a_flipped_bit_is_found_or_harmless() {
    const FLIPS: usize = 12;
    let mut random = StdRng::seed_from_u64(seed());
    let past = Past::make();
    let (log, snapshots) = past.consensus_files();
    let all: Vec<&PathBuf> = log.iter().chain(&snapshots).collect();
    for _ in 0..FLIPS {
        let copy = past.copy();
        let file = all[random.random_range(0..all.len())];
        let (at, bit) = (random.random::<u64>() as usize, random.random_range(0..8));
        damage(&copy.path().join(file), |bytes| {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            eprintln!("{} byte {at} bit {bit}", file.display());
        });
        let before = tree(copy.path());
        let mut agent = server(copy.path()).spawn();
        let running = eventually("ready or ended", || match (agent.ended(), agent.ready()) {
            (Some(status), _) => Ok(Err(status)),
            (None, Ok(())) => Ok(Ok(())),
            (None, Err(reason)) => Err(reason),
        });
        match running {
            Ok(()) => {
                let services = agent.get("/v1/catalog/services").json();
                let lost: Vec<&String> = past.services.iter().filter(|name| services.get(*name).is_none()).collect();
                assert!(lost.is_empty(), "lost without a word: {lost:?}");
            }
            Err(status) => {
                assert!(!status.success());
                assert!(agent.output().contains(&file.display().to_string()), "{}", agent.output());
                assert!(tree(copy.path()) == before, "the folder has changed: {}", changes(&before, copy.path()));
            }
        }
    }
}
