//! Who foca speaks of: a host's gossip address and which life of the host is meant.
//!
//! Names and tags are not here (see `record`), so that a datagram costs a few dozen bytes.

use std::net::SocketAddr;

/// One life of the member at an address. A process that starts again has a later `started`, a living one that was
/// declared dead goes on under the next `renewed`; the later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    /// Where it is reached, by UDP and TCP.
    pub(super) address: SocketAddr,
    /// When the process started: microseconds since 1970 of its own clock, or one more than what others remember.
    pub(super) started: u64,
    /// How often it came back from being declared dead.
    pub(super) renewed: u32,
}

impl Identity {
    /// The first life of a process.
    pub(super) fn new(address: SocketAddr, started: u64) -> Self {
        Self { address, started, renewed: 0 }
    }

    /// Orders the lives at one address.
    pub(super) fn life(&self) -> (u64, u32) {
        (self.started, self.renewed)
    }
}

impl foca::Identity for Identity {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewed: self.renewed.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life() > adversary.life()
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity as _;

    use super::*;

    #[test]
    fn a_later_life_wins() {
        let first = Identity::new("10.0.0.1:8301".parse().unwrap(), 5);
        let renewed = first.renew().unwrap();
        let restarted = Identity::new(first.address, 6);
        for (winner, loser) in [(renewed, first), (restarted, first), (restarted, renewed)] {
            assert!(winner.win_addr_conflict(&loser) && !loser.win_addr_conflict(&winner), "{winner:?} {loser:?}");
        }
        assert_eq!(Identity { renewed: u32::MAX, ..first }.renew(), None);
    }
}
