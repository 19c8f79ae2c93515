//! A member that is a server, as its tags tell. Pure.

use std::net::SocketAddr;

use crate::membership::{Member, MemberStatus};

/// A server, as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerMember {
    /// The node's name.
    pub(crate) name: String,
    /// The node's UUID.
    pub(crate) node_id: String,
    /// Its datacenter.
    pub(crate) datacenter: String,
    /// Where consensus and calls are reached.
    pub(crate) address: SocketAddr,
    /// How many servers it expects to found a cluster with; 0 if it founds none.
    pub(crate) expect: u32,
    /// Whether it founds one alone.
    pub(crate) bootstrap: bool,
    /// Its version.
    pub(crate) version: String,
    /// Whether it is there.
    pub(crate) status: MemberStatus,
}

impl ServerMember {
    /// The member's server, if it is one that says where it is reached.
    pub(crate) fn of(member: &Member) -> Option<Self> {
        let tag = |key: &str| member.tags.get(key).map_or("", String::as_str);
        if tag("role") != "consul" {
            return None;
        }
        let port = tag("port").parse().ok().filter(|port| *port != 0)?;
        let build = tag("build");
        Some(Self {
            name: member.name.clone(),
            node_id: tag("id").to_owned(),
            datacenter: tag("dc").to_owned(),
            address: SocketAddr::new(member.address, port),
            expect: tag("expect").parse().unwrap_or(0),
            bootstrap: tag("bootstrap") == "1",
            version: build.split_once(':').map_or(build, |(version, _)| version).to_owned(),
            status: member.status,
        })
    }

    /// Whether it can be asked.
    pub(crate) fn is_alive(&self) -> bool {
        self.status == MemberStatus::Alive
    }
}

impl Member {
    /// The node's UUID, as it tells it.
    pub(crate) fn id(&self) -> &str {
        self.tags.get("id").map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(tags: &[(&str, &str)]) -> Member {
        Member {
            name: "n1".to_owned(),
            address: "10.0.0.1".parse().unwrap(),
            port: 8301,
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            status: MemberStatus::Alive,
        }
    }

    #[test]
    fn tags_make_a_server_or_not() {
        let server = ServerMember::of(&member(&[
            ("role", "consul"),
            ("port", "8300"),
            ("id", "u"),
            ("dc", "dc1"),
            ("expect", "3"),
            ("build", "0.1.0:abc"),
        ]))
        .unwrap();
        assert_eq!(server.address, "10.0.0.1:8300".parse().unwrap());
        assert_eq!((server.expect, server.bootstrap, server.version.as_str()), (3, false, "0.1.0"));
        for tags in [
            &[("role", "node"), ("port", "8300")][..],
            &[("role", "consul")],
            &[("role", "consul"), ("port", "0")],
            &[("role", "consul"), ("port", "70000")],
        ] {
            assert_eq!(ServerMember::of(&member(tags)), None, "{tags:?}");
        }
    }
}
