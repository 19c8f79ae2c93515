//! Starts that cannot succeed: they say why on standard error, name the file or the port, end with a code that is not
//! zero, and leave the data directory as it was, byte for byte.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use serde_json::json;
use tempfile::TempDir;
use usher_tests::agent::Builder;
use usher_tests::command::Ended;
use usher_tests::poll::eventually;
use usher_tests::ports::Ports;
use usher_tests::seed;
use usher_tests::tree::{Tree, files, tree};

/// A data directory with a past: registrations, restarts and a snapshot.
struct Past {
    folder: TempDir,
    services: BTreeSet<String>,
}

impl Past {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let past = Self { services: (0..60).map(|number| format!("s{number}")).collect(), folder };
        let builder =
            Builder::server(&past.data()).config(json!({"raft_snapshot_threshold": 20, "raft_trailing_logs": 5}));
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

impl Past {
    /// After damage to a file: the start is refused and the file named, or all is there. Nothing is lost in silence.
    fn refused_or_whole(&self, data: &Path, damaged: &Path) {
        let before = tree(data);
        let mut agent = Builder::server(data).spawn();
        let ended = eventually("ready or ended", || match (agent.ended(), agent.ready()) {
            (Some(status), _) => Ok(Some(status)),
            (None, Ok(())) => Ok(None),
            (None, Err(reason)) => Err(reason),
        });
        match ended {
            Some(status) => {
                assert!(!status.success());
                assert!(agent.output().contains(&damaged.display().to_string()), "{}", agent.output());
                unchanged(&before, data);
            }
            None => {
                let services = agent.get("/v1/catalog/services").json();
                let lost: Vec<&String> = self.services.iter().filter(|name| services.get(*name).is_none()).collect();
                assert!(lost.is_empty(), "lost without a word: {lost:?}");
            }
        }
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
    unchanged(&before, folder);
    ended
}

/// That every file is as it was, but for the lock: it holds the number of the process that had it last.
fn unchanged(before: &Tree, folder: &Path) {
    let after = tree(folder);
    let changed = |path: &&PathBuf| before.get(*path) != after.get(*path) && !path.ends_with("lock");
    let all: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).filter(changed).collect();
    assert!(all.is_empty(), "the folder has changed: {all:?}");
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
            refused(&Builder::server(&data).ports(ports), &data, &[&format!(":{port}"), "in use"]);
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
    refused(&Builder::server(&file), folder.path(), &["a-file"]);
    // Nobody, not even root, makes folders there.
    let nowhere = Path::new("/proc/usher-data");
    refused(&Builder::server(nowhere), folder.path(), &["/proc/usher-data"]);
    // No data directory at all.
    let none = Builder::dev().config(json!({"data_dir": null}));
    assert!(none.start().ended().is_none(), "-dev needs none");
}

#[test]
fn a_second_agent_on_the_same_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let builder = Builder::server(&data);
    let mut first = builder.start();
    let id = first.node_id();
    first.put_ok("/v1/agent/service/register", &json!({"Name": "before", "Port": 80}));
    let ended = builder.refused();
    assert!(ended.err().contains(&data.display().to_string()), "{}", ended.err());
    // The first one is none the worse for it.
    first.put_ok("/v1/agent/service/register", &json!({"Name": "after", "Port": 80}));
    first.kill();
    let again = builder.start();
    assert_eq!(again.node_id(), id);
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
    let (files, _) = past.consensus_files();
    let size = |path: &&PathBuf| fs::metadata(past.data().join(path)).unwrap().len();
    let log = files.iter().max_by_key(size).expect("there is a log");
    for file in &files {
        for (what, how) in damages() {
            eprintln!("{} {what}", file.display());
            let copy = past.copy();
            damage(&copy.path().join(file), how);
            if file == log {
                refused(&Builder::server(copy.path()), copy.path(), &[&file.display().to_string()]);
            } else {
                past.refused_or_whole(copy.path(), file);
            }
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
        let ended = refused(&Builder::server(copy.path()), copy.path(), &[]);
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
        refused(&Builder::server(copy.path()), copy.path(), &["node-id"]);
    }
}

/// A flipped bit may hit unused space.
#[test]
fn a_flipped_bit_is_found_or_harmless() {
    const FLIPS: usize = 12;
    let mut random = seed::random();
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
        past.refused_or_whole(copy.path(), file);
    }
}
