//! The servers of this datacenter as gossip knows them, and which of them a client agent asks.
//!
//! Each agent asks one server at a time, keeps to it while it answers, and goes to another one now and then, so that the
//! agents spread over the servers, also over those that came later. A server that failed goes to the end of the line.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{leader::server::ServerMember, membership::Member, view::servers::Servers};

/// How long one server is kept to, at least (Consul: two minutes, and more in large clusters).
const KEEP: Duration = Duration::from_secs(120);
/// How long a server that failed is asked only if there is no other.
const AVOID: Duration = Duration::from_secs(10);

/// The servers to ask. Clones share it.
#[derive(Clone)]
pub(crate) struct KnownServers {
    members: watch::Receiver<Arc<Vec<Member>>>,
    datacenter: Arc<str>,
    choice: Arc<Mutex<Choice>>,
}

#[derive(Debug, Default)]
struct Choice {
    /// Asked now, and since when.
    current: Option<(SocketAddr, Instant)>,
    failed: HashMap<SocketAddr, Instant>,
}

impl KnownServers {
    /// The servers of `datacenter` among `members`.
    pub(crate) fn new(members: watch::Receiver<Arc<Vec<Member>>>, datacenter: &str) -> Self {
        Self { members, datacenter: Arc::from(datacenter), choice: Arc::default() }
    }

    /// Every server of the datacenter, in any status.
    pub(crate) fn all(&self) -> Vec<ServerMember> {
        let members = self.members.borrow();
        let servers = members.iter().filter_map(ServerMember::of);
        servers.filter(|server| *server.datacenter == *self.datacenter).collect()
    }

    fn alive(&self) -> Vec<SocketAddr> {
        self.all().into_iter().filter(ServerMember::is_alive).map(|server| server.address).collect()
    }
}

impl Servers for KnownServers {
    fn pick(&self) -> Option<SocketAddr> {
        let alive = self.alive();
        self.choice.lock().pick(&alive, Instant::now(), rand::random())
    }

    fn failed(&self, server: SocketAddr) {
        self.choice.lock().fail(server, Instant::now());
    }

    fn alive(&self) -> BoxStream<'static, Vec<SocketAddr>> {
        let (servers, members) = (self.clone(), self.members.clone());
        stream::unfold((servers, members, true), async |(servers, mut members, first)| {
            if !first {
                members.changed().await.ok()?;
            }
            // Seen before it is read, so that what comes while it is read is seen next.
            members.mark_unchanged();
            let alive = Self::alive(&servers);
            Some((alive, (servers, members, false)))
        })
        .boxed()
    }
}

impl Choice {
    /// The server to ask; `random` chooses where there is a choice.
    fn pick(&mut self, alive: &[SocketAddr], now: Instant, random: u64) -> Option<SocketAddr> {
        self.failed.retain(|server, at| alive.contains(server) && now.duration_since(*at) < AVOID);
        if let Some((server, since)) = self.current
            && now.duration_since(since) < KEEP
            && alive.contains(&server)
            && !self.failed.contains_key(&server)
        {
            return Some(server);
        }
        let good: Vec<_> = alive.iter().filter(|server| !self.failed.contains_key(server)).copied().collect();
        let from = if good.is_empty() { alive } else { &good };
        let index = usize::try_from(random % (from.len().max(1) as u64)).unwrap_or(0);
        let server = *from.get(index)?;
        self.current = Some((server, now));
        Some(server)
    }

    fn fail(&mut self, server: SocketAddr, now: Instant) {
        self.failed.insert(server, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 8300))
    }

    #[test]
    fn a_server_is_kept_to_until_it_fails_or_its_time_is_over() {
        let (mut choice, start) = (Choice::default(), Instant::now());
        let alive = [server(1), server(2), server(3)];
        assert_eq!(choice.pick(&alive, start, 1), Some(server(2)));
        assert_eq!(choice.pick(&alive, start, 2), Some(server(2)), "kept to");
        choice.fail(server(2), start);
        assert_eq!(choice.pick(&alive, start, 1), Some(server(3)), "of the two others");
        assert_eq!(choice.pick(&alive, start + KEEP, 0), Some(server(1)), "time to go on");
        assert_eq!(choice.pick(&alive[1..], start + KEEP, 0), Some(server(2)), "the one asked is gone");
    }

    #[test]
    fn failed_servers_are_asked_when_there_is_no_other() {
        let (mut choice, start) = (Choice::default(), Instant::now());
        choice.fail(server(1), start);
        assert_eq!(choice.pick(&[server(1)], start, 7), Some(server(1)));
        assert_eq!(choice.pick(&[], start, 7), None);
    }
}
