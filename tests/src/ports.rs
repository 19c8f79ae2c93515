//! Free loopback ports for agents that run side by side.
//!
//! A port is free when TCP and UDP can both be bound on it. The range lies below the kernel's ephemeral ports, so
//! that no outgoing connection takes one in between; within this process none is given twice. Another program may
//! still be faster: who starts an agent tries again with other ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

use rand::RngExt as _;

const RANGE: std::ops::Range<u16> = 20_100..31_900;
const TRIES: usize = 1_000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on 127.0.0.1 that nobody listens on, neither TCP nor UDP.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        let port = rand::rng().random_range(RANGE);
        if taken.contains(&port) {
            continue;
        }
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        if tcp.is_ok() && udp.is_ok() {
            taken.insert(port);
            return port;
        }
    }
    panic!("no free port in {TRIES} tries between {} and {}", RANGE.start, RANGE.end)
}

/// The ports of one agent.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// DNS, UDP and TCP.
    pub dns: u16,
    /// The HTTP API.
    pub http: u16,
    /// Gossip within the datacenter.
    pub serf_lan: u16,
    /// Gossip between datacenters.
    pub serf_wan: u16,
    /// RPC between servers.
    pub server: u16,
}

impl Ports {
    /// Five ports that are free now.
    pub fn free() -> Self {
        Self { dns: free_port(), http: free_port(), serf_lan: free_port(), serf_wan: free_port(), server: free_port() }
    }
}
