//! Agents as everybody else sees them: who they are, where they are reached, whether they are alive, and what an agent
//! tells of itself. How that is found out is gossip's.

use std::collections::BTreeMap;

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

    fn of(change: impl FnOnce(&mut Options)) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let mut options =
            Options { server_port: 8300, serf_lan_port: 8301, serf_wan_port: Some(8302), ..options("n1") };
        change(&mut options);
        (lan_tags(&options, "some-id"), wan_tags(&options, "some-id"))
    }

    fn tag<'a>(tags: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
        tags.get(key).map(String::as_str)
    }

    #[test]
    fn a_server_tells_what_consuls_clients_look_for() {
        let (lan, wan) = of(|_| ());
        let expected = [
            ("role", "consul"),
            ("dc", "dc1"),
            ("id", "some-id"),
            ("port", "8300"),
            ("build", "0.1.0:"),
            ("vsn", "2"),
            ("raft_vsn", "3"),
            ("segment", ""),
            ("acls", "0"),
        ];
        for (key, value) in expected {
            assert_eq!((tag(&lan, key), tag(&wan, key)), (Some(value), Some(value)), "{key}");
        }
        assert_eq!((tag(&lan, "wan_join_port"), tag(&wan, "wan_join_port")), (Some("8302"), None));
    }

    #[test]
    fn a_client_tells_less() {
        let (lan, _) = of(|it| it.server = false);
        assert_eq!(tag(&lan, "role"), Some("node"));
        for key in ["port", "raft_vsn", "wan_join_port", "bootstrap", "expect"] {
            assert_eq!(tag(&lan, key), None, "{key}");
        }
    }

    #[test]
    fn bootstrap_is_told_by_servers_that_keep_their_cluster() {
        let bootstrap = |change: fn(&mut Options)| tag(&of(change).0, "bootstrap").map(str::to_owned);
        assert_eq!(bootstrap(|_| ()), None);
        assert_eq!(bootstrap(|it| it.data_dir = Some("/d".into())), Some("1".to_owned()));
        assert_eq!(bootstrap(|it| (it.data_dir, it.bootstrap_expect) = (Some("/d".into()), 0)), None);
    }

    #[test]
    fn how_many_servers_are_expected_is_told_where_it_is_more_than_one() {
        let expect = |count| tag(&of(|it| it.bootstrap_expect = count).0, "expect").map(str::to_owned);
        assert_eq!((expect(0), expect(1), expect(3)), (None, None, Some("3".to_owned())));
    }

    #[test]
    fn without_a_wan_port_none_is_told() {
        assert_eq!(tag(&of(|it| it.serf_wan_port = None).0, "wan_join_port"), None);
    }
}
