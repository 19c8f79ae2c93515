//! What the log is told, in serf's words where people look for them.

use std::{collections::BTreeMap, net::SocketAddr};

use super::Core;
use crate::{
    gossip::table::Conflict,
    membership::{Member, MemberStatus},
};

impl Core {
    pub(super) fn note(&mut self, result: Result<(), foca::Error>) {
        match result {
            Ok(()) => {}
            Err(foca::Error::DataFromOurselves) if !std::mem::replace(&mut self.said_doubled, true) => say!(
                self.settings.pool,
                warn,
                "gossip arrives from this member's own address, {}: does another agent advertise it?",
                self.settings.advertise
            ),
            Err(error @ (foca::Error::NotConnected | foca::Error::IncompleteProbeCycle | foca::Error::Encode(_))) => {
                say!(self.settings.pool, error, "gossip: {error}");
            }
            Err(error) => say!(self.settings.pool, debug, "gossip: {error}"),
        }
    }

    /// The name of whoever is at `address`, or the address.
    pub(super) fn name_at(&self, address: SocketAddr) -> String {
        self.table.lock().entry(address).map_or_else(|| address.to_string(), |entry| entry.record.name.clone())
    }

    pub(super) fn log_conflict(&self, conflict: &Conflict) {
        let Conflict { claim, holder, claimant } = conflict;
        let pool = self.settings.pool;
        say!(pool, error, "{claim} is claimed by two living members, {holder} and {claimant}: {holder} keeps it");
    }

    /// In serf's words, which people look for.
    pub(super) fn log_changes(&self, members: &[Member]) {
        let before: BTreeMap<&str, &Member> = self.members.iter().map(|it| (it.name.as_str(), it)).collect();
        for member in members {
            let before = before.get(member.name.as_str()).copied();
            let event = match (before.map(|it| it.status), member.status) {
                (before, now) if before == Some(now) => "Update",
                (Some(MemberStatus::Leaving), MemberStatus::Alive)
                | (_, MemberStatus::None | MemberStatus::Leaving) => {
                    continue;
                }
                (_, MemberStatus::Alive) => "Join",
                (_, MemberStatus::Left) => "Leave",
                (_, MemberStatus::Failed) => "Failed",
            };
            if before != Some(member) {
                say!(self.settings.pool, info, "serf: EventMember{event}: {} {}", member.name, member.address);
            }
        }
    }
}
