//! What is asked and answered over TCP: push/pull, checks of members datagrams do not reach, who one is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use foca::State;
use tokio::time::Instant;

use super::Core;
use crate::gossip::{
    core::Output,
    exchange::{Everything, Reply, Request},
    identity::Identity,
    record::{Record, Standing},
    table::Conflict,
    timers::Task,
    timing,
};

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gossip) enum Answer {
    /// This.
    Reply(Reply),
    /// Who asks claims what another claims already. Ask that one who it is: if it does not answer as said here, tell
    /// [`Core::declare_gone`] and answer again; otherwise refuse with `refusal`.
    AskFirst {
        /// Who had it first.
        holder: SocketAddr,
        /// What it answers if it is still there.
        expected: Reply,
        /// What to say then.
        refusal: String,
        /// The question, to ask it again.
        again: Box<Request>,
    },
}

enum Verdict {
    Refused(String),
    AskFirst { holder: SocketAddr, expected: Reply, refusal: String },
}

impl Core {
    /// The question that joins this member to whoever is asked.
    pub(in crate::gossip) fn join_request(&self, now: Instant) -> Request {
        Request::Sync { join: true, state: self.everything(now) }
    }

    /// Answers another member's question.
    pub(in crate::gossip) fn answer(&mut self, now: Instant, request: Request) -> Answer {
        self.table.lock().set_now(now);
        if self.is_leaving() && !matches!(request, Request::Who) {
            return Answer::Reply(Reply::Refused(format!("{} is leaving", self.settings.name)));
        }
        match request {
            Request::Sync { join, state } => self.answer_sync(now, join, state),
            Request::Check { asker, suspicion, ping } => Answer::Reply(self.answer_check(now, asker, suspicion, &ping)),
            Request::Compare(digest) => Answer::Reply(Reply::Compared(self.everything(now).digest() == digest)),
            Request::Who => Answer::Reply(self.who()),
            Request::Keys(_) => Answer::Reply(Reply::Refused("the keys are not kept here".to_owned())),
        }
    }

    /// Takes the answer to a question of [`Output::Ask`] or [`Core::join_request`] that `from` was asked.
    pub(in crate::gossip) fn on_reply(&mut self, now: Instant, from: SocketAddr, reply: Reply) {
        self.table.lock().set_now(now);
        if self.has_left() {
            return;
        }
        match reply {
            Reply::Sync(state) => {
                // Whom this member did not know is no news to those it meets now, but to those it knew before.
                let has_others = self.foca.num_members() > 0;
                self.learn(now, state, has_others);
            }
            Reply::Check { member, packets } => {
                let from_identity = *member.id();
                let result = self.foca.apply_many(std::iter::once(member), true, &mut self.effects);
                self.note(result);
                let was_silent = self.effects.unanswered(&from_identity).is_some();
                for packet in packets {
                    self.on_datagram(now, &packet);
                }
                if was_silent && self.effects.unanswered(&from_identity).is_none() {
                    let name = self.name_at(from);
                    say!(
                        self.settings.pool,
                        debug,
                        "{name} answers by TCP and not by UDP: packets are lost, or blocked"
                    );
                }
            }
            Reply::Compared(false) => self.ask_everything(now, from),
            Reply::Compared(true) => {}
            Reply::Refused(reason) => say!(self.settings.pool, debug, "{from} refused: {reason}"),
            Reply::Who { .. } | Reply::Keys(_) => {}
        }
        self.settle(now);
    }

    /// Nobody listens where something was asked: the host is there and the process is not. Who is suspected there as well
    /// has less time to refute.
    pub(in crate::gossip) fn on_nobody(&mut self, now: Instant, address: SocketAddr) {
        let timer = self.suspicions.remove(&address);
        if let Some(timer) = timer {
            let grace = self.health.stretch(2 * timing::config(self.settings.pool, 1, 0).probe_period);
            self.timers.schedule(now + grace, Task::Foca(timer));
        }
    }

    /// Asks whoever is at `to` whether it knows the same, which it mostly does; everything is exchanged if not.
    pub(super) fn compare(&mut self, now: Instant, to: SocketAddr) {
        let request = Request::Compare(self.everything(now).digest());
        self.outputs.push(Output::Ask { to, request, deadline: self.timing.exchange });
    }

    /// Exchanges everything known with whoever is at `to`.
    pub(super) fn ask_everything(&mut self, now: Instant, to: SocketAddr) {
        let request = Request::Sync { join: false, state: self.everything(now) };
        self.outputs.push(Output::Ask { to, request, deadline: self.timing.exchange });
    }

    /// Asks over TCP whether somebody is there, and says what is thought of it, so that it can refute.
    pub(super) fn check(&mut self, to: SocketAddr, ping: Vec<u8>) {
        let Some(suspicion) = self.known(to).cloned() else { return };
        let asker = self.own_member();
        let request = Request::Check { asker, suspicion, ping };
        self.outputs.push(Output::Ask { to, request, deadline: Duration::from_secs(5) });
    }

    fn answer_sync(&mut self, now: Instant, join: bool, state: Everything) -> Answer {
        let Some((sender, record)) = state.sender() else {
            return Answer::Reply(Reply::Refused("it does not say who it is".to_owned()));
        };
        // Who asks itself learns nothing.
        if sender.address == self.settings.advertise && sender.started == self.foca.identity().started {
            return Answer::Reply(Reply::Sync(self.everything(now)));
        }
        if join && let Some(verdict) = self.judge(record) {
            return match verdict {
                Verdict::Refused(reason) => Answer::Reply(Reply::Refused(reason)),
                Verdict::AskFirst { holder, expected, refusal } => {
                    let again = Box::new(Request::Sync { join, state });
                    Answer::AskFirst { holder, expected, refusal, again }
                }
            };
        }
        let reply = Reply::Sync(self.everything(now));
        self.learn(now, state, true);
        Answer::Reply(reply)
    }

    /// Whether a newcomer claims to be somebody else.
    fn judge(&self, record: &Record) -> Option<Verdict> {
        if record.address == self.settings.advertise {
            let own = &self.settings.name;
            return Some(Verdict::Refused(format!(
                "{} is the address of '{own}', which is alive and was asked to let '{}' in",
                record.address, record.name
            )));
        }
        let table = self.table.lock();
        let Conflict { claim, holder, claimant } = table.conflict_of(record)?;
        let refusal = format!("{claim} is taken: {holder} has it, {claimant} wants it");
        let Some(entry) = table.entry(holder) else {
            return Some(Verdict::Refused(refusal));
        };
        let expected = Reply::Who { name: entry.record.name.clone(), id: entry.record.id.clone() };
        Some(Verdict::AskFirst { holder, expected, refusal })
    }

    fn answer_check(
        &mut self,
        now: Instant,
        asker: foca::Member<Identity>,
        suspicion: foca::Member<Identity>,
        ping: &[u8],
    ) -> Reply {
        let to = asker.id().address;
        let result = self.foca.apply_many([asker, suspicion].into_iter(), true, &mut self.effects);
        self.note(result);
        self.settle(now);
        let before = self.outputs.len();
        if !ping.is_empty() {
            self.on_datagram(now, ping);
        }
        let mut packets = Vec::new();
        let caused = self.outputs.split_off(before);
        for output in caused {
            match output {
                Output::Datagram { to: target, payload } if target == to => packets.push(payload),
                other => self.outputs.push(other),
            }
        }
        Reply::Check { member: self.own_member(), packets }
    }

    fn who(&self) -> Reply {
        Reply::Who { name: self.settings.name.clone(), id: self.settings.id.clone() }
    }

    fn own_member(&self) -> foca::Member<Identity> {
        foca::Member::new(*self.foca.identity(), self.effects.incarnation, State::Alive)
    }

    /// Everything known here, this member first.
    fn everything(&self, now: Instant) -> Everything {
        let table = self.table.lock();
        let mut state =
            Everything { members: vec![(self.own_member(), 0)], records: vec![Arc::new(table.own().clone())] };
        for member in self.foca.iter_membership_state().filter(|it| it.id().address != self.settings.advertise) {
            let since = table.entry(member.id().address).map_or(now, |entry| entry.since);
            let seconds = now.saturating_duration_since(since).as_secs();
            state.members.push((member.clone(), u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        state.records.extend(table.entries().map(|(_, entry)| entry.record.clone()));
        state
    }

    /// Takes what another knows. What is new is told to others if `spread`.
    fn learn(&mut self, now: Instant, state: Everything, spread: bool) {
        let own = self.settings.advertise;
        let Everything { mut members, mut records } = state;
        // Whom nobody has a record of may be made up; who is real is heard of again.
        let standing: BTreeMap<SocketAddr, Standing> = {
            let table = self.table.lock();
            let known = table.entries().map(|(address, entry)| (*address, entry.record.standing));
            known.chain(records.iter().map(|it| (it.address, it.standing))).collect()
        };
        members.retain(|(member, _)| member.id().address == own || standing.contains_key(&member.id().address));
        // Those who are gone for so long that they are forgotten here are not remembered again.
        let outlived: BTreeSet<SocketAddr> = members
            .iter()
            .filter(|(member, seconds)| {
                let address = member.id().address;
                let kept = standing.get(&address).map(|it| self.settings.remembrance.of(*it)).unwrap_or_default();
                member.state() == State::Down
                    && self.known(address).is_none()
                    && Duration::from_secs(u64::from(*seconds)) >= kept
            })
            .map(|(member, _)| member.id().address)
            .collect();
        members.retain(|(member, _)| !outlived.contains(&member.id().address));
        records.retain(|record| !outlived.contains(&record.address));
        for record in records {
            if spread && record.address != own {
                self.spread((*record).clone());
            } else {
                self.table.lock().offer((*record).clone());
            }
        }
        for (member, seconds) in members.iter().filter(|(member, _)| member.state() == State::Down) {
            if let Some(since) = now.checked_sub(Duration::from_secs(u64::from(*seconds))) {
                self.table.lock().tell_since(member.id().address, since);
            }
        }
        if let Some(started) =
            members.iter().map(|(member, _)| member.id()).filter(|it| it.address == own).map(|it| it.started).max()
            && started > self.foca.identity().started
        {
            self.outrank(started);
        }
        let result = self.foca.apply_many(members.into_iter().map(|(member, _)| member), spread, &mut self.effects);
        self.note(result);
        self.evict_rumours();
        self.settle(now);
    }
}
