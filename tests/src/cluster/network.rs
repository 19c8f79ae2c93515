//! A network of namespaces on a bridge, in which packets can be made to disappear.
//!
//! ```text
//!   test ── bridge 10.213.x.254 ──┬── lan0 10.213.x.1  (namespace of the first host)
//!                                 └── lan0 10.213.x.2  …
//! ```
//!
//! Faults are rules of nftables at the entrance of each host, for packets of other hosts alone: they vanish without a
//! trace, as in a real network, and the test itself (from .254) always gets through. Needs root, `ip` and `nft`.
//! Namespaces are named after the test's process; what a killed test left behind is removed by the next one.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rand::RngExt as _;

/// What names of namespaces and bridges begin with.
const PREFIX: &str = "ut";
const GATEWAY: u8 = 254;
const TABLE: &str = "table inet faults";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A bridge and the namespaces of hosts on it; removed when dropped.
#[derive(Debug)]
pub struct Network {
    id: String,
    net: [u8; 3],
    hosts: Vec<(String, Ipv4Addr)>,
}

impl Network {
    /// An empty network, or why there can be none.
    pub(super) fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        for tool in ["ip", "nft"] {
            run(tool, &["-V"]).map_err(|error| format!("{tool} is needed: {error}"))?;
        }
        remove_leftovers();
        let id = format!("{PREFIX}{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = free_net()?;
        let network = Self { id, net, hosts: Vec::new() };
        let [a, b, c] = net;
        let bridge = network.bridge();
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{a}.{b}.{c}.{GATEWAY}/24"), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        Ok(network)
    }

    pub(super) fn net(&self) -> [u8; 3] {
        self.net
    }

    fn bridge(&self) -> String {
        format!("{}b", self.id)
    }

    /// A namespace for one more host; gives its name.
    pub(super) fn add_host(&mut self, address: Ipv4Addr) -> String {
        let namespace = format!("{}h{}", self.id, self.hosts.len() + 1);
        let outer = format!("{}v{}", self.id, self.hosts.len() + 1);
        let (address, bridge) = (format!("{address}/24"), self.bridge());
        let steps: [Vec<&str>; 6] = [
            vec!["netns", "add", &namespace],
            vec!["link", "add", &outer, "type", "veth", "peer", "name", "lan0", "netns", &namespace],
            vec!["link", "set", &outer, "master", &bridge, "up"],
            vec!["-n", &namespace, "addr", "add", &address, "dev", "lan0"],
            vec!["-n", &namespace, "link", "set", "lan0", "up"],
            vec!["-n", &namespace, "link", "set", "lo", "up"],
        ];
        for step in steps {
            run("ip", &step).unwrap_or_else(|error| panic!("{error}"));
        }
        self.hosts
            .push((namespace.clone(), address.split('/').next().and_then(|ip| ip.parse().ok()).expect("as given")));
        namespace
    }

    /// Every host loses this share of the packets that reach it, of those other hosts send; 0 ends it.
    pub fn lose(&self, percent: u32) {
        for (namespace, _) in &self.hosts {
            let rule = match percent {
                0 => String::new(),
                some => format!("ip saddr != {} numgen random mod 100 < {some} drop", self.gateway()),
            };
            rules(namespace, &rule);
        }
    }

    /// The two hosts no longer reach each other.
    pub fn cut(&self, one: Ipv4Addr, other: Ipv4Addr) {
        self.separate(&[one], &[other]);
    }

    /// No host of one side reaches one of the other; replaces the faults there were.
    pub fn separate(&self, one: &[Ipv4Addr], other: &[Ipv4Addr]) {
        for (here, there) in [(one, other), (other, one)] {
            for address in here {
                let there: Vec<String> = there.iter().map(ToString::to_string).collect();
                rules(self.namespace(*address), &format!("ip saddr {{ {} }} drop", there.join(", ")));
            }
        }
    }

    /// One host reaches nobody and nobody reaches it.
    pub fn isolate(&self, address: Ipv4Addr) {
        let others: Vec<Ipv4Addr> =
            self.hosts.iter().map(|(_, other)| *other).filter(|other| *other != address).collect();
        self.separate(&[address], &others);
    }

    /// The packets of `one` no longer reach `other`; the way back stays.
    pub fn cut_one_way(&self, one: Ipv4Addr, other: Ipv4Addr) {
        rules(self.namespace(other), &format!("ip saddr {one} drop"));
    }

    /// Everything gets through again.
    pub fn heal(&self) {
        self.lose(0);
    }

    fn gateway(&self) -> String {
        let [a, b, c] = self.net;
        format!("{a}.{b}.{c}.{GATEWAY}")
    }

    fn namespace(&self, address: Ipv4Addr) -> &str {
        let host = self.hosts.iter().find(|(_, other)| *other == address);
        host.map(|(namespace, _)| namespace.as_str()).unwrap_or_else(|| panic!("no host has the address {address}"))
    }

    /// How many bytes a host has received and sent.
    pub fn bytes(&self, address: Ipv4Addr) -> u64 {
        let namespace = self.namespace(address);
        let text = output("ip", &["netns", "exec", namespace, "cat", "/proc/net/dev"])
            .unwrap_or_else(|error| panic!("{error}"));
        let line = text.lines().find_map(|line| line.trim().strip_prefix("lan0:")).expect("a host has the interface");
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        fields[0] + fields[8]
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (namespace, _) in &self.hosts {
            let _ = run("ip", &["netns", "del", namespace]);
        }
        let _ = run("ip", &["link", "del", &self.bridge()]);
    }
}

/// The one chain of a host's faults, with this rule or none.
fn rules(namespace: &str, rule: &str) {
    let chain = format!("chain entrance {{\ntype filter hook input priority 0\n{rule}\n}}");
    let script = format!("add {TABLE}\ndelete {TABLE}\n{TABLE} {{\n{chain}\n}}");
    run("ip", &["netns", "exec", namespace, "nft", &script]).unwrap_or_else(|error| panic!("{error}"));
}

/// A network that has no interface here.
fn free_net() -> Result<[u8; 3], String> {
    let known = output("ip", &["-4", "addr"])?;
    for _ in 0..100 {
        let net = [10, 213, rand::rng().random_range(0..=255)];
        if !known.contains(&format!(" 10.213.{}.", net[2])) {
            return Ok(net);
        }
    }
    Err("no free network in 100 tries".to_owned())
}

/// Namespaces and bridges of tests whose process is gone.
fn remove_leftovers() {
    let owner = |name: &str| name.strip_prefix(PREFIX)?.split_once('x')?.0.parse::<u32>().ok();
    let gone = |name: &str| owner(name).is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists());
    let names = output("ip", &["netns", "list"]).unwrap_or_default();
    for name in names.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| gone(name)) {
        let _ = run("ip", &["netns", "del", name]);
    }
    let links = output("ip", &["-o", "link", "show", "type", "bridge"]).unwrap_or_default();
    for name in links.lines().filter_map(|line| line.split(": ").nth(1)).filter(|name| gone(name)) {
        let _ = run("ip", &["link", "del", name]);
    }
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    output(program, words).map(drop)
}

fn output(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
