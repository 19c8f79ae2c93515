//! The table of agents: who they are, where they are reached and whether they are alive.

use std::collections::BTreeMap;

/// One agent as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node's name (`<name>.<datacenter>` in the WAN pool).
    pub name: String,
    /// The advertised address.
    pub address: std::net::IpAddr,
    /// The gossip port.
    pub port: u16,
    /// What it tells of itself: `role`, `dc`, `id`, `vsn`, `build`, `port`, …
    pub tags: BTreeMap<String, String>,
    /// Whether it is there.
    pub status: MemberStatus,
}

/// Serf's life cycle of a member; the numbers are those of Consul's HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// Not known.
    None = 0,
    /// Answers.
    Alive = 1,
    /// Said it is going.
    Leaving = 2,
    /// Went on its own accord.
    Left = 3,
    /// Fell silent.
    Failed = 4,
}

impl MemberStatus {
    /// The text of the `members` command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}
