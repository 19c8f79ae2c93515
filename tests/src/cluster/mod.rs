//! Clusters started by a test: many agents, each on an address of its own with the usual ports.
//!
//! ```text
//!   Cluster::loopback    127.x.y.1, 127.x.y.2, …   one kernel, no faults but those of processes
//!   Cluster::namespaces  10.213.x.1, …             one network namespace a host: packets can be lost (see `network`)
//! ```
//!
//! Hosts are named (`s1`, `c1`) and looked up by name: `cluster["s1"]`. What a test waits for has a deadline; the ends
//! of all logs are shown when it fails, and dropping the cluster ends every process. The binary may be another
//! implementation: nothing here asks for more than the reference can do.

mod host;
pub mod network;
mod waiting;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    ops::{Index, IndexMut},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use rand::RngExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::host::{Host, Role};
use self::network::Network;
use crate::agent::merge;

/// How much of each log a failed test shows.
const LOG_LINES: usize = 40;
const TRIES: usize = 1_000;

/// Networks of loopback addresses given out in this process.
static TAKEN: Mutex<BTreeSet<(u8, u8)>> = Mutex::new(BTreeSet::new());

/// Agents that belong together.
#[derive(Debug)]
pub struct Cluster {
    hosts: Vec<Host>,
    network: Option<Network>,
    net: [u8; 3],
    settings: Value,
    binary: Option<PathBuf>,
    folder: TempDir,
}

impl Cluster {
    /// Hosts on loopback addresses.
    pub fn loopback() -> Self {
        Self::on(free_net(), None)
    }

    /// Hosts in network namespaces; `Err` says why there can be none here.
    pub fn namespaces() -> Result<Self, String> {
        let network = Network::new()?;
        Ok(Self::on(network.net(), Some(network)))
    }

    fn on(net: [u8; 3], network: Option<Network>) -> Self {
        let folder = tempfile::Builder::new().prefix("usher-cluster-").tempdir().expect("a folder can be made");
        let settings = json!({
            "disable_update_check": true, "log_level": "debug", "performance": {"raft_multiplier": 1},
            "ports": {"grpc": -1}, "retry_interval": "1s",
        });
        Self { hosts: Vec::new(), network, net, settings, binary: None, folder }
    }

    /// Settings of all hosts that are added from now on; `null` takes one away.
    #[must_use]
    pub fn with(mut self, settings: Value) -> Self {
        merge(&mut self.settings, settings);
        self
    }

    /// Runs this binary instead of the one under test.
    #[must_use]
    pub fn of(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_path_buf());
        self
    }

    /// `count` servers that found a cluster together, started.
    #[must_use]
    pub fn servers(mut self, count: usize) -> Self {
        for _ in 0..count {
            let name = self.next_name("s");
            self.add(&name, Role::Server { founders: count }, json!({}));
        }
        self
    }

    /// `count` client agents, started.
    #[must_use]
    pub fn clients(mut self, count: usize) -> Self {
        for _ in 0..count {
            let name = self.next_name("c");
            self.add(&name, Role::Client, json!({}));
        }
        self
    }

    fn next_name(&self, kind: &str) -> String {
        format!("{kind}{}", self.hosts.iter().filter(|host| host.name.starts_with(kind)).count() + 1)
    }

    /// One more host, started; it joins the first three.
    pub fn add(&mut self, name: &str, role: Role, settings: Value) -> &mut Host {
        self.prepare(name, role, settings);
        let host = self.hosts.last_mut().expect("it was just added");
        host.start();
        host
    }

    /// One more host, not started yet.
    pub fn prepare(&mut self, name: &str, role: Role, settings: Value) -> &mut Host {
        let [a, b, c] = self.net;
        let number = u8::try_from(self.hosts.len() + 1).expect("a cluster has less than 250 hosts");
        let address = Ipv4Addr::new(a, b, c, number);
        let namespace = self.network.as_mut().map(|network| network.add_host(address));
        let first: Vec<String> = (1..=3).map(|number| Ipv4Addr::new(a, b, c, number).to_string()).collect();
        let mut all = self.settings.clone();
        merge(&mut all, json!({ "retry_join": first }));
        merge(&mut all, settings);
        let mut host = Host::new(name, address, role, all, &self.folder.path().join(name));
        host.run_in(namespace);
        host.run_binary(self.binary.clone());
        self.hosts.push(host);
        self.hosts.last_mut().expect("it was just added")
    }

    /// Every host.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Every host, to do something to.
    pub fn hosts_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }

    /// The names of the servers that run.
    pub fn running_servers(&self) -> Vec<String> {
        let running = |host: &&Host| host.is_server() && host.is_running();
        self.hosts.iter().filter(running).map(|host| host.name.clone()).collect()
    }

    /// What can be done to the network between the hosts.
    ///
    /// # Panics
    /// On loopback.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("these hosts have no network of their own")
    }

    /// Where a host is.
    pub fn address(&self, name: &str) -> Ipv4Addr {
        self[name].address
    }
}

impl Index<&str> for Cluster {
    type Output = Host;

    fn index(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).unwrap_or_else(|| panic!("there is no host {name}"))
    }
}

impl IndexMut<&str> for Cluster {
    fn index_mut(&mut self, name: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.name == name).unwrap_or_else(|| panic!("there is no host {name}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for host in &self.hosts {
            let log = host.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("the end of the log of {} ({}):\n{tail}\n", host.name, host.address);
        }
        if let Some(kept) = std::env::var_os("USHER_TEST_LOGS") {
            self.keep_logs(kept.as_ref());
        }
    }
}

impl Cluster {
    /// Whole logs for whoever looks for the cause, where `USHER_TEST_LOGS` names a folder.
    fn keep_logs(&self, folder: &Path) {
        let folder = folder.join(thread::current().name().unwrap_or("test").replace("::", "-"));
        let _ = std::fs::create_dir_all(&folder);
        for host in &self.hosts {
            let _ = std::fs::write(folder.join(&host.name), host.log());
        }
    }
}

/// `127.x.y` that nobody uses.
fn free_net() -> [u8; 3] {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        let (x, y) = (rand::rng().random_range(64..250), rand::rng().random_range(1..250));
        let unused = |port: u16| TcpListener::bind((Ipv4Addr::new(127, x, y, 1), port)).is_ok();
        if !taken.contains(&(x, y)) && unused(8300) && unused(8500) && taken.insert((x, y)) {
            return [127, x, y];
        }
    }
    panic!("no unused network of loopback addresses in {TRIES} tries")
}
