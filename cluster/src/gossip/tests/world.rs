//! Many machines in one virtual world: a seeded network that loses, delays and parts, hosts that die, stall and start
//! again. Nothing waits; a minute among ten members takes milliseconds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::SocketAddr,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    gossip::{
        Pool,
        core::{Answer, Core, Output, Settings},
        envelope::OVERHEAD,
        exchange::{Reply, Request},
        table::Remembrance,
    },
    membership::{Member, MemberStatus},
};

/// One way through the network: 0.2 to 2 ms.
const DELAY_MICROS: std::ops::Range<u64> = 200..2000;
/// What TCP waits before it sends again: for its first packet, and for others.
const SYN_AGAIN: Duration = Duration::from_secs(1);
const DATA_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct World {
    pub(super) now: Instant,
    start: Instant,
    rng: StdRng,
    hosts: BTreeMap<SocketAddr, Host>,
    events: BinaryHeap<Reverse<Waiting>>,
    count: u64,
    lives: u64,
    /// The share of packets that is lost.
    pub(super) loss: f64,
    /// Hosts on different sides do not reach each other; those that are on none reach everybody.
    sides: BTreeMap<SocketAddr, usize>,
    unplugged: BTreeSet<SocketAddr>,
    /// What the first sends does not reach the second.
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    pub(super) remembrance: Remembrance,
    /// Bytes and datagrams sent, envelopes included.
    pub(super) sent: (u64, u64),
    /// Bytes of questions and answers over TCP.
    pub(super) asked: u64,
    /// Everything ever seen: who, of whom, what, when.
    pub(super) seen: Vec<(Duration, String, String, MemberStatus)>,
}

struct Host {
    core: Core,
    name: String,
    /// Does nothing before.
    stalled_until: Instant,
    /// What comes while it stalls is lost: its sockets are full.
    deaf: bool,
    has_left: bool,
}

struct Waiting {
    key: (Instant, u64),
    event: Event,
}

enum Event {
    Datagram { to: SocketAddr, payload: Vec<u8> },
    Question { from: SocketAddr, to: SocketAddr, request: Box<Request>, until: Instant },
    Reply { to: SocketAddr, from: SocketAddr, reply: Reply },
    Nobody { at: SocketAddr, to: SocketAddr },
}

pub(super) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::try_from(number / 250).unwrap(), u8::try_from(number % 250).unwrap() + 1], 8301))
}

pub(super) fn name(number: usize) -> String {
    format!("n{number}")
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            hosts: BTreeMap::new(),
            events: BinaryHeap::new(),
            count: 0,
            lives: 0,
            loss: 0.0,
            sides: BTreeMap::new(),
            unplugged: BTreeSet::new(),
            cuts: BTreeSet::new(),
            remembrance: Remembrance { failed: Duration::from_secs(72 * 3600), left: Duration::from_secs(24 * 3600) },
            sent: (0, 0),
            asked: 0,
            seen: Vec::new(),
        }
    }

    /// So many hosts that know each other.
    pub(super) fn of(seed: u64, hosts: usize) -> Self {
        let mut world = Self::new(seed);
        for number in 0..hosts {
            world.start(number, &name(number));
            if number > 0 {
                world.join(number, 0);
            }
            world.run_for(Duration::from_millis(50));
        }
        world.until("everybody knows everybody", |world| world.all_see_alive());
        world
    }

    pub(super) fn start(&mut self, number: usize, name: &str) {
        self.start_with(number, name, |_| ());
    }

    pub(super) fn start_with(&mut self, number: usize, name: &str, change: impl FnOnce(&mut Settings)) {
        self.lives += 1;
        self.unplugged.remove(&address(number));
        let mut settings = Settings {
            pool: Pool::Lan,
            name: name.to_owned(),
            id: format!("id of {name}"),
            advertise: address(number),
            tags: (0..10).map(|n| (format!("tag{n}"), format!("value of tag {n}"))).collect(),
            started: 1_000_000 + self.lives,
            remembrance: self.remembrance,
            overhead: OVERHEAD,
        };
        change(&mut settings);
        let core = Core::new(settings, StdRng::from_rng(&mut self.rng), self.now);
        let host = Host { core, name: name.to_owned(), stalled_until: self.now, deaf: false, has_left: false };
        self.hosts.insert(address(number), host);
    }

    /// Ends the process; its host refuses connections.
    pub(super) fn kill(&mut self, number: usize) {
        self.hosts.remove(&address(number)).unwrap();
    }

    /// Ends the host; nothing answers.
    pub(super) fn unplug(&mut self, number: usize) {
        self.kill(number);
        self.unplugged.insert(address(number));
    }

    pub(super) fn stall(&mut self, number: usize, time: Duration, deaf: bool) {
        let until = self.now + time;
        let host = self.host(number);
        (host.stalled_until, host.deaf) = (until, deaf);
    }

    /// Hosts reach those of their own group only; without groups everybody reaches everybody.
    pub(super) fn part(&mut self, groups: &[&[usize]]) {
        self.sides.clear();
        for (side, group) in groups.iter().enumerate() {
            self.sides.extend(group.iter().map(|number| (address(*number), side)));
        }
    }

    /// Nothing that `from` sends reaches `to` any more.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((address(from), address(to)));
    }

    pub(super) fn join(&mut self, number: usize, to: usize) {
        let request = self.hosts[&address(number)].core.join_request(self.now);
        self.ask(address(number), address(to), request, Duration::from_secs(10));
    }

    /// Joins at once and says what was answered.
    pub(super) fn join_now(&mut self, number: usize, to: usize) -> Result<(), String> {
        let now = self.now;
        let mut request = self.hosts[&address(number)].core.join_request(now);
        let reply = loop {
            let answer = self.host(to).core.answer(now, request);
            self.perform(address(to));
            match answer {
                Answer::Reply(reply) => break reply,
                Answer::AskFirst { holder, expected, refusal, again } => {
                    let is_there = self.hosts.get_mut(&holder).map(|it| it.core.answer(now, Request::Who));
                    if is_there == Some(Answer::Reply(expected)) {
                        break Reply::Refused(refusal);
                    }
                    self.host(to).core.declare_gone(now, holder);
                    request = *again;
                }
            }
        };
        if let Reply::Refused(reason) = reply {
            return Err(reason);
        }
        self.host(number).core.on_reply(now, address(to), reply);
        self.perform(address(number));
        Ok(())
    }

    pub(super) fn leave(&mut self, number: usize) {
        let now = self.now;
        self.host(number).core.leave(now);
        self.perform(address(number));
        self.until("it has left", |world| world.hosts[&address(number)].has_left);
    }

    /// Does something at a host.
    pub(super) fn at<R>(&mut self, number: usize, act: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let now = self.now;
        let result = act(&mut self.host(number).core, now);
        self.perform(address(number));
        result
    }

    pub(super) fn members(&self, number: usize) -> &[Member] {
        self.hosts[&address(number)].core.members()
    }

    pub(super) fn status(&self, at: usize, of: &str) -> Option<MemberStatus> {
        self.members(at).iter().find(|it| it.name == of).map(|it| it.status)
    }

    /// Whether every living host shows this one so.
    pub(super) fn all_see(&self, of: &str, status: Option<MemberStatus>) -> bool {
        let others = self.hosts.values().filter(|host| host.name != of && !host.has_left);
        others.into_iter().all(|host| host.core.members().iter().find(|it| it.name == of).map(|it| it.status) == status)
    }

    pub(super) fn all_see_alive(&self) -> bool {
        let names: Vec<&str> = self.hosts.values().filter(|it| !it.has_left).map(|it| it.name.as_str()).collect();
        names.iter().all(|name| self.all_see(name, Some(MemberStatus::Alive)))
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// How long it takes; at most five minutes.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        self.within(Duration::from_secs(300), what, is_so)
    }

    pub(super) fn within(&mut self, time: Duration, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + time);
        while !is_so(self) {
            assert!(self.step(end), "{what}: not within {time:?}");
        }
        self.now - start
    }

    /// Does the next thing that is due until `end`.
    fn step(&mut self, end: Instant) -> bool {
        let event = self.events.peek().map(|Reverse(waiting)| waiting.key.0);
        let timer = self
            .hosts
            .iter()
            .filter_map(|(address, host)| Some((host.core.next_due()?.max(host.stalled_until), *address)))
            .min();
        let is_event = match (event, timer) {
            (Some(event), Some((timer, _))) => event <= timer,
            (event, _) => event.is_some(),
        };
        let due = if is_event { event } else { timer.map(|(due, _)| due) };
        let Some(due) = due.filter(|due| *due <= end) else { return false };
        self.now = self.now.max(due);
        if is_event {
            let Reverse(waiting) = self.events.pop().unwrap();
            self.happen(waiting.event);
        } else if let Some((_, address)) = timer {
            self.hosts.get_mut(&address).unwrap().core.on_time(self.now);
            self.perform(address);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        let to = match &event {
            Event::Datagram { to, .. } | Event::Question { to, .. } | Event::Reply { to, .. } => *to,
            Event::Nobody { at, .. } => *at,
        };
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&to) else { return };
        if host.stalled_until > now {
            if host.deaf && matches!(event, Event::Datagram { .. }) {
                return;
            }
            let until = host.stalled_until;
            return self.schedule(until, event);
        }
        match event {
            Event::Datagram { payload, .. } => host.core.on_datagram(now, &payload),
            Event::Reply { from, reply, .. } => host.core.on_reply(now, from, reply),
            Event::Nobody { to, .. } => host.core.on_nobody(now, to),
            Event::Question { from, request, until, .. } => {
                self.asked += u64::try_from(request.encode().len() + OVERHEAD).unwrap();
                if let Answer::Reply(reply) = host.core.answer(now, *request) {
                    self.asked += u64::try_from(reply.encode().len() + OVERHEAD).unwrap();
                    self.perform(to);
                    let at = now + self.tcp_delay(1);
                    if at <= until && self.reaches(to, from) {
                        self.schedule(at, Event::Reply { to: from, from: to, reply });
                    }
                }
            }
        }
        self.perform(to);
    }

    fn perform(&mut self, at: SocketAddr) {
        let Some(host) = self.hosts.get_mut(&at) else { return };
        for output in host.core.take_outputs() {
            match output {
                Output::Datagram { to, payload } => {
                    self.sent.0 += u64::try_from(payload.len() + OVERHEAD).unwrap();
                    self.sent.1 += 1;
                    let is_lost = self.rng.random_bool(self.loss) || !self.reaches(at, to);
                    if !is_lost {
                        let delay = Duration::from_micros(self.rng.random_range(DELAY_MICROS));
                        self.schedule(self.now + delay, Event::Datagram { to, payload });
                    }
                }
                Output::Ask { to, request, deadline } => self.ask(at, to, request, deadline),
                Output::Members(members) => {
                    let host = &self.hosts[&at];
                    let news = members.iter().map(|it| (self.elapsed(), host.name.clone(), it.name.clone(), it.status));
                    let news: Vec<_> = news.collect();
                    self.seen.extend(news);
                }
                Output::Left => self.hosts.get_mut(&at).unwrap().has_left = true,
            }
        }
    }

    fn ask(&mut self, from: SocketAddr, to: SocketAddr, request: Request, deadline: Duration) {
        // Who is not reached is waited for in vain.
        if !self.reaches(from, to) || !self.reaches(to, from) || self.unplugged.contains(&to) {
            return;
        }
        if !self.hosts.contains_key(&to) {
            let at = self.now + self.tcp_again(SYN_AGAIN, 2) + self.tcp_delay(2);
            return self.schedule(at, Event::Nobody { at: from, to });
        }
        let syn = self.tcp_again(SYN_AGAIN, 2);
        let at = self.now + syn + self.tcp_delay(3);
        let until = self.now + deadline;
        if at <= until {
            self.schedule(at, Event::Question { from, to, request: Box::new(request), until });
        }
    }

    /// So many ways through the network, the last of which carries data that is sent until it arrives.
    fn tcp_delay(&mut self, ways: u32) -> Duration {
        let delay = Duration::from_micros(self.rng.random_range(DELAY_MICROS));
        delay * ways + self.tcp_again(DATA_AGAIN, 1)
    }

    /// How long TCP waits in all because packets are lost, `ways` of which must arrive.
    fn tcp_again(&mut self, first: Duration, ways: i32) -> Duration {
        let (mut waited, mut pause) = (Duration::ZERO, first);
        while waited < Duration::from_secs(30) && !self.rng.random_bool((1.0 - self.loss).powi(ways)) {
            waited += pause;
            pause *= 2;
        }
        waited
    }

    fn reaches(&self, from: SocketAddr, to: SocketAddr) -> bool {
        match (self.sides.get(&from), self.sides.get(&to)) {
            (Some(from), Some(to)) if from != to => false,
            _ => !self.cuts.contains(&(from, to)),
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.push(Reverse(Waiting { key: (at, self.count), event }));
    }

    fn host(&mut self, number: usize) -> &mut Host {
        self.hosts.get_mut(&address(number)).unwrap()
    }

    /// Living hosts that somebody saw in a state that means their end, since `since`.
    pub(super) fn false_alarms(&self, since: Duration) -> usize {
        let living: BTreeSet<&str> = self.hosts.values().map(|it| it.name.as_str()).collect();
        let is_gone = |status| matches!(status, MemberStatus::Failed | MemberStatus::Left);
        let wrong = self
            .seen
            .iter()
            .filter(|(at, _, of, status)| *at >= since && is_gone(*status) && living.contains(of.as_str()));
        wrong.map(|(_, _, of, _)| of).collect::<BTreeSet<_>>().len()
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}
