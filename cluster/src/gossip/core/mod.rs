//! A member of a pool as a pure machine: datagrams, answers, time and commands in, datagrams, questions and a new list of
//! members out. Knows no socket; time is an argument, randomness is given at the start.
//!
//! ```text
//!   datagram ─┐                ┌─► datagrams
//!   time ─────┼─► foca, table ─┼─► questions to ask over TCP
//!   answer ───┤                └─► everybody's status
//!   command ──┘
//! ```
//!
//! Whoever drives it calls [`Core::on_time`] at [`Core::next_due`] and empties [`Core::take_outputs`] after every call.

mod duties;
mod effects;
mod exchanges;
mod leave;
mod said;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use foca::{Foca, State};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

pub(super) use self::exchanges::Answer;
use self::{effects::Effects, leave::Leave};
use super::{
    Pool,
    codec::DatagramCodec,
    exchange::Request,
    health::{Health, LATE},
    identity::Identity,
    record::{Record, Standing},
    table::{MEMBERS_MAX, Remembrance, SharedTable},
    timers::{Task, Timers},
    timing::{Timing, config},
};
use crate::membership::Member;

/// A record must fit a datagram beside its head and a few updates; a larger one travels by push/pull alone.
const BROADCAST_MAX_BYTES: usize = 1000;
/// Accusations remembered, to learn from those that were wrong; the oldest is forgotten.
const ACCUSED_MAX: usize = 16;

/// Who the member is, and how it behaves.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) pool: Pool,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) advertise: SocketAddr,
    pub(super) tags: BTreeMap<String, String>,
    /// When this process started.
    pub(super) started: u64,
    pub(super) remembrance: Remembrance,
    /// What the envelope takes of a datagram.
    pub(super) overhead: usize,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Output {
    /// Send this.
    Datagram { to: SocketAddr, payload: Vec<u8> },
    /// Ask this, and hand the answer to [`Core::on_reply`].
    Ask { to: SocketAddr, request: Request, deadline: Duration },
    /// The list of members is another.
    Members(Arc<Vec<Member>>),
    /// This member has left; nothing more comes of it.
    Left,
}

/// One member.
pub(super) struct Core {
    settings: Settings,
    timing: Timing,
    foca: Foca<Identity, DatagramCodec, StdRng, SharedTable>,
    table: SharedTable,
    timers: Timers,
    health: Health,
    rng: StdRng,
    effects: Effects,
    outputs: Vec<Output>,
    members: Arc<Vec<Member>>,
    /// Whose record is missing.
    missing: BTreeSet<SocketAddr>,
    /// Whether [`Task::Fetch`] is waiting.
    fetching: bool,
    /// Whom this member accused, with the incarnation.
    accused: Vec<(Identity, foca::Incarnation)>,
    /// foca's timers of those accusations, as long as they may still be shortened.
    suspicions: BTreeMap<SocketAddr, foca::Timer<Identity>>,
    /// How often failed members were called.
    calls: u64,
    leave: Option<Leave>,
    /// Whether everything was put off just before: not twice in a row, or a host that is always late would do nothing.
    put_off: bool,
    /// Whether it was said that another process has this address.
    said_doubled: bool,
}

impl Core {
    pub(super) fn new(settings: Settings, mut rng: StdRng, now: Instant) -> Self {
        let table = SharedTable::new(
            Record {
                address: settings.advertise,
                started: settings.started,
                version: 1,
                standing: Standing::Here,
                name: settings.name.clone(),
                id: settings.id.clone(),
                tags: settings.tags.clone(),
            },
            now,
        );
        let foca = Foca::with_custom_broadcast(
            Identity::new(settings.advertise, settings.started),
            config(settings.pool, 1, settings.overhead),
            rng.fork(),
            DatagramCodec,
            table.clone(),
        );
        let (members, _) = table.lock().view();
        let timing = Timing::of(settings.pool);
        let mut timers = Timers::default();
        timers.schedule(now + timing.sync.mul_f64(rng.random_range(0.1..1.0)), Task::Sync);
        timers.schedule(now + timing.reconnect, Task::Reconnect);
        timers.schedule(now + timing.reap, Task::Reap);
        Self {
            settings,
            timing,
            foca,
            table,
            timers,
            health: Health::default(),
            rng,
            effects: Effects::default(),
            outputs: Vec::new(),
            members: Arc::new(members),
            missing: BTreeSet::new(),
            fetching: false,
            accused: Vec::new(),
            suspicions: BTreeMap::new(),
            calls: 0,
            leave: None,
            put_off: false,
            said_doubled: false,
        }
    }

    /// Everybody known, itself included, ordered by name.
    pub(super) fn members(&self) -> &Arc<Vec<Member>> {
        &self.members
    }

    /// How well this member is, and how many it accuses.
    #[cfg(test)]
    pub(super) fn condition(&self) -> (Health, usize) {
        (self.health, self.accused.len())
    }

    /// How many foca heard of.
    #[cfg(test)]
    pub(super) fn heard_of(&self) -> usize {
        self.foca.iter_membership_state().len()
    }

    /// When [`Core::on_time`] is to be called.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.next_due()
    }

    /// What is to be done since the last call.
    pub(super) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Does what is due. A member that finds itself late does not judge others by what it may have missed: everything is
    /// put off by as much, so that what waits in its sockets is read first.
    pub(super) fn on_time(&mut self, now: Instant) {
        let late = self.next_due().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        if late >= LATE && !self.put_off {
            self.put_off = true;
            self.health.was_late(late);
            say!(self.settings.pool, debug, "gossip runs {late:?} late; local health is {}", self.health.score());
            self.timers.put_off(late);
            return;
        }
        self.put_off = false;
        self.table.lock().set_now(now);
        while let Some(task) = self.timers.take_due(now) {
            self.run(now, task);
            self.settle(now);
        }
    }

    /// A datagram came, out of its envelope.
    pub(super) fn on_datagram(&mut self, now: Instant, payload: &[u8]) {
        if self.has_left() {
            return;
        }
        self.table.lock().set_now(now);
        let result = self.foca.handle_data(payload, &mut self.effects);
        self.note(result);
        self.evict_rumours();
        self.settle(now);
    }

    /// Tells others from now on these tags.
    pub(super) fn set_tags(&mut self, now: Instant, tags: BTreeMap<String, String>) {
        self.table.lock().set_now(now);
        if self.table.lock().own().tags == tags {
            return;
        }
        self.table.lock().change_own(|own| own.tags = tags);
        self.tell_own();
        self.settle(now);
    }

    /// Makes a failed member a left one, or with `prune` a forgotten one, everywhere.
    pub(super) fn force_leave(&mut self, now: Instant, name: &str, prune: bool) -> Result<(), String> {
        if name == self.settings.name {
            return Ok(());
        }
        self.table.lock().set_now(now);
        let record = self.table.lock().named(name).map(|entry| entry.record.clone());
        let Some(record) = record else {
            return Err(format!("agent: No node found with name '{name}'"));
        };
        let standing = if prune { Standing::Forgotten } else { Standing::Left };
        let record = Record { standing: record.standing.max(standing), ..(*record).clone() };
        self.spread(record);
        self.gossip();
        self.settle(now);
        Ok(())
    }

    /// A member that says it is somebody who is there already: the one that was there does not answer any more.
    pub(super) fn declare_gone(&mut self, now: Instant, address: SocketAddr) {
        self.table.lock().set_now(now);
        let down = self.known(address).map(|it| foca::Member::new(*it.id(), it.incarnation(), State::Down));
        if let Some(down) = down {
            let result = self.foca.apply_many(std::iter::once(down), true, &mut self.effects);
            self.note(result);
            self.gossip();
        }
        self.settle(now);
    }

    fn run(&mut self, now: Instant, task: Task) {
        match task {
            Task::Foca(timer) => self.run_foca(timer),
            Task::Sync => {
                let among = self.foca.num_members() + 1;
                let next = self.timing.sync_among(among).mul_f64(self.rng.random_range(0.9..1.1));
                self.timers.schedule(now + next, Task::Sync);
                let partner = self.random(|member| member.state() != State::Down);
                if let Some(partner) = partner {
                    self.compare(now, partner.address);
                }
            }
            Task::Reconnect => {
                self.timers.schedule(now + self.timing.reconnect, Task::Reconnect);
                self.call_failed(now);
            }
            Task::Fetch => self.fetch(now),
            Task::Reap => {
                self.timers.schedule(now + self.timing.reap, Task::Reap);
                self.reap();
            }
            Task::Leave => self.leave_step(now),
        }
    }

    fn run_foca(&mut self, timer: foca::Timer<Identity>) {
        if self.has_left() {
            return;
        }
        let is_probe = matches!(timer, foca::Timer::ProbeRandomMember(_));
        if let foca::Timer::SendIndirectProbe { probed_id, .. } = &timer
            && let Some(ping) = self.effects.unanswered(probed_id).map(<[u8]>::to_vec)
        {
            self.check(probed_id.address, ping);
        }
        let was_probing = self.effects.probe.is_some();
        let result = self.foca.handle_timer(timer, &mut self.effects);
        self.note(result);
        if is_probe {
            self.learn_from_accusations();
            match self.effects.silent.take() {
                Some(silent) => self.accuse(silent),
                None if was_probing => self.health.probe_answered(),
                None => {}
            }
        }
    }

    /// foca suspects this member from now on. It is told so directly, by TCP: datagrams may be what fails.
    fn accuse(&mut self, silent: Identity) {
        let Some(incarnation) = self.known(silent.address).map(foca::Member::incarnation) else { return };
        say!(self.settings.pool, info, "Suspect {} has failed, no acks received", self.name_at(silent.address));
        if self.accused.len() >= ACCUSED_MAX {
            self.accused.remove(0);
        }
        self.accused.push((silent, incarnation));
        self.check(silent.address, Vec::new());
    }

    fn learn_from_accusations(&mut self) {
        let accused = std::mem::take(&mut self.accused);
        for (identity, incarnation) in accused {
            match self.known(identity.address) {
                Some(it) if it.id().started != identity.started || it.state() == State::Down => {}
                Some(it) if it.id().renewed > identity.renewed || it.incarnation() > incarnation => {
                    self.health.accused_wrongly();
                }
                Some(_) => self.accused.push((identity, incarnation)),
                None => {}
            }
        }
    }

    /// foca remembers whomever it hears of, and anybody can make up members: where there are too many, those nobody has a
    /// record of go.
    fn evict_rumours(&mut self) {
        if self.foca.iter_membership_state().len() <= MEMBERS_MAX {
            return;
        }
        let rumours: Vec<Identity> = {
            let table = self.table.lock();
            let all = self.foca.iter_membership_state().map(|it| *it.id());
            all.filter(|it| table.entry(it.address).is_none()).collect()
        };
        let down = rumours.iter().map(|it| foca::Member::down(*it));
        let result = self.foca.apply_many(down, false, &mut self.effects);
        self.note(result);
        for rumour in rumours {
            let result = self.foca.handle_timer(foca::Timer::RemoveDown(rumour), &mut self.effects);
            self.note(result);
        }
    }

    /// Does what foca wants done, and makes the new list of members if there is one.
    fn settle(&mut self, now: Instant) {
        // Telling others that a record is wrong may make further effects, which are few: what is disputed or outranked
        // is exceeded by the first answer.
        for _ in 0..4 {
            self.take_effects(now);
            if !std::mem::take(&mut self.effects.changed) && !self.table.lock().has_changed() {
                return;
            }
            self.refresh(now);
            self.defend();
        }
        self.take_effects(now);
    }

    fn take_effects(&mut self, now: Instant) {
        for (timer, after) in self.effects.timers.drain(..) {
            use foca::Timer::{ChangeSuspectToDown, ProbeRandomMember, SendIndirectProbe};
            let after = match timer {
                ProbeRandomMember(_) | SendIndirectProbe { .. } | ChangeSuspectToDown { .. } => {
                    self.health.stretch(after)
                }
                _ => after,
            };
            if let ChangeSuspectToDown { member_id, .. } = &timer {
                if self.suspicions.len() >= ACCUSED_MAX {
                    self.suspicions.pop_first();
                }
                self.suspicions.insert(member_id.address, timer.clone());
            }
            self.timers.schedule(now + after, Task::Foca(timer));
        }
        for (to, payload) in self.effects.sends.drain(..) {
            self.outputs.push(Output::Datagram { to: to.address, payload });
        }
    }

    fn refresh(&mut self, now: Instant) {
        let mut table = self.table.lock();
        self.missing = table.refresh(self.foca.iter_membership_state());
        let (members, conflicts) = table.view();
        drop(table);
        conflicts.iter().for_each(|conflict| self.log_conflict(conflict));
        if !self.missing.is_empty() && !std::mem::replace(&mut self.fetching, true) {
            self.timers.schedule(now + self.timing.fetch, Task::Fetch);
        }
        if members != **self.members {
            self.log_changes(&members);
            self.members = Arc::new(members);
            self.outputs.push(Output::Members(self.members.clone()));
        }
        let config = config(self.settings.pool, self.foca.num_members() + 1, self.settings.overhead);
        let result = self.foca.set_config(config);
        self.note(result);
    }

    /// Answers what others say of this member that is not so.
    fn defend(&mut self) {
        let (disputed, outranked) = {
            let mut table = self.table.lock();
            (table.take_disputed(), table.take_outranked())
        };
        if let Some(version) = disputed {
            self.table.lock().change_own(|own| own.version = own.version.max(version));
            say!(self.settings.pool, info, "others say that this member has left: refuted");
            self.tell_own();
            self.gossip();
        }
        if let Some(started) = outranked {
            self.outrank(started);
        }
    }

    /// Others remember a process at this address that started later, by a clock that was ahead: become later than it.
    fn outrank(&mut self, started: u64) {
        let own = *self.foca.identity();
        if started < own.started {
            return;
        }
        let identity = Identity::new(own.address, started.saturating_add(1));
        self.table.lock().change_own(|own| own.started = identity.started);
        let result = self.foca.change_identity(identity, &mut self.effects);
        self.note(result);
        self.effects.incarnation = 0;
        self.tell_own();
    }

    /// Spreads this member's own record.
    fn tell_own(&mut self) {
        let bytes = self.table.lock().own().encode();
        self.broadcast(&bytes);
    }

    /// Takes a record and spreads it if it is new.
    fn spread(&mut self, record: Record) {
        let bytes = record.encode();
        if bytes.len() > BROADCAST_MAX_BYTES {
            self.table.lock().offer(record);
            return;
        }
        self.broadcast(&bytes);
    }

    fn broadcast(&mut self, bytes: &[u8]) {
        if bytes.len() > BROADCAST_MAX_BYTES {
            return;
        }
        let result = self.foca.add_broadcast(bytes).map(|_new| ());
        self.note(result);
    }

    fn gossip(&mut self) {
        let result = self.foca.gossip(&mut self.effects);
        self.note(result);
    }

    /// What foca knows of who is at `address`.
    fn known(&self, address: SocketAddr) -> Option<&foca::Member<Identity>> {
        self.foca.iter_membership_state().find(|it| it.id().address == address)
    }
}
