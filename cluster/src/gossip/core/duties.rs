//! What comes round by itself: calls at failed members, records that are missing, forgetting.

use std::net::SocketAddr;

use foca::State;
use rand::seq::{IndexedRandom, IteratorRandom};
use tokio::time::Instant;

use super::Core;
use crate::{
    gossip::{identity::Identity, timers::Task},
    membership::MemberStatus,
};

/// Failed members called at a time.
const CALLED_AT_ONCE: usize = 2;
/// Every which call at failed members goes by TCP.
const CALL_BY_TCP: u64 = 6;

impl Core {
    pub(super) fn call_failed(&mut self, now: Instant) {
        self.calls = self.calls.wrapping_add(1);
        let failed: Vec<SocketAddr> = {
            let table = self.table.lock();
            table.entries().filter(|(_, it)| it.status == MemberStatus::Failed).map(|(address, _)| *address).collect()
        };
        let called: Vec<SocketAddr> = failed.sample(&mut self.rng, CALLED_AT_ONCE).copied().collect();
        for address in &called {
            if let Some(identity) = self.known(*address).map(|it| *it.id()) {
                let result = self.foca.announce(identity, &mut self.effects);
                self.note(result);
            }
        }
        if self.calls.is_multiple_of(CALL_BY_TCP)
            && let Some(address) = called.first()
        {
            self.ask_everything(now, *address);
        }
    }

    /// Asks one of those whose record is missing; it knows the others', too.
    pub(super) fn fetch(&mut self, now: Instant) {
        self.fetching = false;
        let missing: Vec<SocketAddr> = self.missing.iter().copied().collect();
        let Some(address) = missing.choose(&mut self.rng).copied() else { return };
        self.ask_everything(now, address);
        self.fetching = true;
        self.timers.schedule(now + 4 * self.timing.fetch, Task::Fetch);
    }

    pub(super) fn reap(&mut self) {
        let expired = self.table.lock().expired(self.settings.remembrance);
        for address in expired {
            if let Some(name) = self.table.lock().entry(address).map(|entry| entry.record.name.clone()) {
                say!(self.settings.pool, info, "serf: EventMemberReap: {name} {}", address.ip());
            }
            self.table.lock().remove(address);
        }
        // foca remembers only who has a record: others were never more than a rumour, or this member's own former lives.
        let forgotten: Vec<Identity> = {
            let table = self.table.lock();
            let down = self.foca.iter_membership_state().filter(|it| it.state() == State::Down).map(|it| *it.id());
            down.filter(|it| table.entry(it.address).is_none()).collect()
        };
        for identity in forgotten {
            let result = self.foca.handle_timer(foca::Timer::RemoveDown(identity), &mut self.effects);
            self.note(result);
        }
    }

    pub(super) fn random(&mut self, of: impl Fn(&foca::Member<Identity>) -> bool) -> Option<Identity> {
        let own = self.settings.advertise;
        let among = self.foca.iter_membership_state().filter(|it| it.id().address != own && of(it));
        among.choose(&mut self.rng).map(|it| *it.id())
    }
}
