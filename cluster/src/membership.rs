//! The table of agents: who they are, where they are reached and whether they are alive.
//!
//! This agent alone is in it until agents find each other.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::agent::Options;

/// Versions of Consul's protocols, as members are told them: clients choose what they may ask by these.
pub(crate) mod protocol {
    pub(crate) const CONSUL: &str = "2";
    pub(crate) const CONSUL_MIN: &str = "2";
    pub(crate) const CONSUL_MAX: &str = "3";
    pub(crate) const RAFT: &str = "3";
    pub(crate) const SERF_CURRENT: &str = "2";
    pub(crate) const SERF_MIN: &str = "1";
    pub(crate) const SERF_MAX: &str = "5";
}

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

/// The two tables: of this datacenter, and between datacenters.
#[derive(Debug)]
pub(crate) struct Membership {
    pools: RwLock<Pools>,
}

#[derive(Debug)]
struct Pools {
    lan: Vec<Member>,
    wan: Vec<Member>,
}

impl Membership {
    /// The tables of an agent that knows nobody else.
    pub(crate) fn alone(options: &Options, node_id: &str) -> Self {
        let wan = options.serf_wan_port.filter(|_| options.server).map(|port| Member {
            name: format!("{}.{}", options.node_name, options.datacenter),
            address: options.advertise_wan,
            port,
            tags: wan_tags(options, node_id),
            status: MemberStatus::Alive,
        });
        let lan = Member {
            name: options.node_name.clone(),
            address: options.advertise,
            port: options.serf_lan_port,
            tags: lan_tags(options, node_id),
            status: MemberStatus::Alive,
        };
        Self { pools: RwLock::new(Pools { lan: vec![lan], wan: wan.into_iter().collect() }) }
    }

    /// This datacenter's members.
    pub(crate) fn lan(&self) -> Vec<Member> {
        self.pools.read().lan.clone()
    }

    /// The members between datacenters.
    pub(crate) fn wan(&self) -> Vec<Member> {
        self.pools.read().wan.clone()
    }

    /// How many members this datacenter has.
    pub(crate) fn size(&self) -> usize {
        self.pools.read().lan.len()
    }

    /// This agent says that it is going.
    pub(crate) fn leave(&self) {
        let mut pools = self.pools.write();
        let Pools { lan, wan } = &mut *pools;
        for member in lan.iter_mut().chain(wan) {
            member.status = MemberStatus::Left;
        }
    }

    /// Forgets a failed member. A living one refutes that it is gone, so that nothing happens.
    pub(crate) fn force_leave(&self, name: &str) -> Result<(), String> {
        let pools = self.pools.read();
        if pools.lan.iter().chain(&pools.wan).any(|member| member.name == name) {
            return Ok(());
        }
        Err(format!("agent: No node found with name '{name}'"))
    }
}

/// What this agent tells of itself in its datacenter. The ports are those it listens at.
pub(crate) fn lan_tags(options: &Options, node_id: &str) -> BTreeMap<String, String> {
    let mut tags = wan_tags(options, node_id);
    if let Some(port) = options.serf_wan_port.filter(|_| options.server) {
        tags.insert("wan_join_port".to_owned(), port.to_string());
    }
    tags
}

/// What a server tells of itself in the pool between datacenters.
pub(crate) fn wan_tags(options: &Options, node_id: &str) -> BTreeMap<String, String> {
    let mut tags: BTreeMap<String, String> = [
        ("acls", "0"),
        ("dc", &options.datacenter),
        ("id", node_id),
        ("segment", ""),
        ("vsn", protocol::CONSUL),
        ("vsn_max", protocol::CONSUL_MAX),
        ("vsn_min", protocol::CONSUL_MIN),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    // Consul tells a revision after the colon; its clients expect one there.
    tags.insert("build".to_owned(), format!("{}:", options.version));
    if !options.server {
        tags.insert("role".to_owned(), "node".to_owned());
        return tags;
    }
    tags.insert("role".to_owned(), "consul".to_owned());
    tags.insert("port".to_owned(), options.server_port.to_string());
    tags.insert("raft_vsn".to_owned(), protocol::RAFT.to_owned());
    // As Consul: a server in development mode forms its cluster without saying so.
    if options.bootstrap_expect == 1 && options.data_dir.is_some() {
        tags.insert("bootstrap".to_owned(), "1".to_owned());
    }
    if options.bootstrap_expect > 1 {
        tags.insert("expect".to_owned(), options.bootstrap_expect.to_string());
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::options;

    fn alone(change: impl FnOnce(&mut Options)) -> Membership {
        let mut options =
            Options { server_port: 8300, serf_lan_port: 8301, serf_wan_port: Some(8302), ..options("n1") };
        change(&mut options);
        Membership::alone(&options, "some-id")
    }

    fn tag<'a>(member: &'a Member, key: &str) -> Option<&'a str> {
        member.tags.get(key).map(String::as_str)
    }

    #[test]
    fn a_server_tells_what_consuls_clients_look_for() {
        let members = alone(|_| ());
        let [lan] = members.lan().try_into().unwrap();
        assert_eq!((lan.name.as_str(), lan.port, lan.status), ("n1", 8301, MemberStatus::Alive));
        let expected = [
            ("role", "consul"),
            ("dc", "dc1"),
            ("id", "some-id"),
            ("port", "8300"),
            ("build", "0.1.0:"),
            ("vsn", "2"),
            ("raft_vsn", "3"),
            ("wan_join_port", "8302"),
            ("segment", ""),
            ("acls", "0"),
        ];
        for (key, value) in expected {
            assert_eq!(tag(&lan, key), Some(value), "{key}");
        }
        let [wan] = members.wan().try_into().unwrap();
        assert_eq!((wan.name.as_str(), wan.port), ("n1.dc1", 8302));
        assert_eq!(tag(&wan, "wan_join_port"), None);
    }

    #[test]
    fn bootstrap_is_told_by_servers_that_keep_their_cluster() {
        let bootstrap = |members: &Membership| members.lan()[0].tags.get("bootstrap").cloned();
        assert_eq!(bootstrap(&alone(|_| ())), None);
        assert_eq!(bootstrap(&alone(|it| it.data_dir = Some("/d".into()))), Some("1".to_owned()));
        assert_eq!(bootstrap(&alone(|it| (it.data_dir, it.bootstrap_expect) = (Some("/d".into()), 0))), None);
    }

    #[test]
    fn how_many_servers_are_expected_is_told_where_it_is_more_than_one() {
        let expect = |count| tag(&alone(|it| it.bootstrap_expect = count).lan()[0], "expect").map(str::to_owned);
        assert_eq!((expect(0), expect(1), expect(3)), (None, None, Some("3".to_owned())));
    }

    #[test]
    fn without_a_wan_port_there_is_no_wan_pool() {
        let members = alone(|it| it.serf_wan_port = None);
        assert!(members.wan().is_empty());
        assert_eq!(tag(&members.lan()[0], "wan_join_port"), None);
    }

    #[test]
    fn leaving_is_told_in_both_pools() {
        let members = alone(|_| ());
        members.leave();
        assert!(members.lan().iter().chain(&members.wan()).all(|member| member.status == MemberStatus::Left));
    }

    #[test]
    fn only_a_known_member_can_be_forced_to_leave() {
        let members = alone(|_| ());
        assert_eq!(members.force_leave("nosuch"), Err("agent: No node found with name 'nosuch'".to_owned()));
        assert_eq!(members.force_leave("n1"), Ok(()));
        assert_eq!(members.lan()[0].status, MemberStatus::Alive, "a living member refutes it");
    }
}
