//! What the hosts of a simulation and its driver share: the history, the trace, the agents that run.
//!
//! One thread, so plain cells. Everything a host notes here stays when it crashes.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Display,
    rc::Rc,
    time::Duration,
};

use super::{
    faults::Host,
    history::{Answer, History, Key, Operation, Value},
};
use crate::{agent::Agent, gossip::Gossip, membership::Member};

/// The board everybody writes on. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Shared(Rc<Board>);

#[derive(Default)]
struct Board {
    now: Cell<Duration>,
    /// Whether agents are still asked for things.
    quiet: Cell<bool>,
    history: RefCell<History>,
    /// What was acknowledged at which index of the log.
    acknowledged: RefCell<BTreeMap<u64, (Key, Value)>>,
    trace: RefCell<Vec<String>>,
    violations: RefCell<Vec<String>>,
    agents: RefCell<BTreeMap<Host, Agent>>,
    /// The members of hosts that only gossip.
    pools: RefCell<BTreeMap<Host, Gossip>>,
    /// What each watcher saw last.
    seen: RefCell<BTreeMap<(Host, Key), Value>>,
    /// Everything each watcher saw: by host, how often it was started, and register.
    all_seen: RefCell<BTreeMap<(Host, u32, Key), Vec<Value>>>,
    starts: RefCell<BTreeMap<Host, u32>>,
    /// Hosts whose agents have registered their own services, once and for all.
    registered: RefCell<BTreeSet<Host>>,
    orders: RefCell<BTreeMap<Host, VecDeque<Order>>>,
    probed: RefCell<BTreeSet<Host>>,
}

/// What the driver has a host do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Its clock leaps ahead.
    Jump(Duration),
    /// Its agent leaves the cluster and ends.
    Leave,
    /// Everything is written and read through its agent.
    Probe,
}

thread_local! {
    static BOARD: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// The agent of a host of this thread's simulation, for code that cannot hold the board.
pub(super) fn agent_of(host: Host) -> Option<Agent> {
    BOARD.with_borrow(|board| board.as_ref()?.0.agents.borrow().get(&host).cloned())
}

impl Shared {
    /// The board of this thread's simulation.
    pub(super) fn begin() -> Self {
        let shared = Self::default();
        BOARD.set(Some(shared.clone()));
        shared
    }

    /// The time since the simulation began.
    pub(super) fn now(&self) -> Duration {
        self.0.now.get()
    }

    pub(super) fn set_now(&self, now: Duration) {
        self.0.now.set(now);
    }

    /// Whether nothing more is to be asked.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.quiet.get()
    }

    pub(super) fn set_quiet(&self, quiet: bool) {
        self.0.quiet.set(quiet);
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, line: impl Display) {
        let line = format!("{:>9.3} {line}", self.now().as_secs_f64());
        tracing::debug!(target: "simulation", "{line}");
        self.0.trace.borrow_mut().push(line);
    }

    /// Something is not as it must be.
    pub(super) fn violate(&self, what: impl Display) {
        self.note(format_args!("VIOLATION {what}"));
        self.0.violations.borrow_mut().push(what.to_string());
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.0.violations.borrow().clone()
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.0.trace.borrow().clone()
    }

    pub(super) fn history(&self) -> std::cell::Ref<'_, History> {
        self.0.history.borrow()
    }

    /// A value nobody wrote yet.
    pub(super) fn fresh_value(&self) -> u32 {
        self.0.history.borrow_mut().fresh_value()
    }

    pub(super) fn ask(&self, host: Host, key: Key, operation: Operation) -> (Key, usize) {
        let call = self.0.history.borrow_mut().ask(key, operation);
        self.note(format_args!("host {host} asks {call:?} {operation:?}"));
        call
    }

    pub(super) fn answer(&self, host: Host, call: (Key, usize), answer: Answer, why: &str) {
        self.note(format_args!("host {host} told {call:?} {answer:?} {why}"));
        self.0.history.borrow_mut().answer(call, answer);
    }

    /// A write was acknowledged with this index.
    pub(super) fn acknowledge(&self, index: u64, key: Key, value: Value) {
        if let Some(other) = self.0.acknowledged.borrow_mut().insert(index, (key, value)) {
            self.violate(format_args!("two writes were acknowledged at index {index}: {other:?}, {:?}", (key, value)));
        }
    }

    pub(super) fn acknowledged(&self) -> BTreeMap<u64, (Key, Value)> {
        self.0.acknowledged.borrow().clone()
    }

    /// The agents that run, by host.
    pub(super) fn agents(&self) -> BTreeMap<Host, Agent> {
        self.0.agents.borrow().clone()
    }

    pub(super) fn agent_started(&self, host: Host, agent: Agent) {
        self.note(format_args!("host {host} started"));
        *self.0.starts.borrow_mut().entry(host).or_default() += 1;
        self.0.agents.borrow_mut().insert(host, agent);
    }

    pub(super) fn gossip_started(&self, host: Host, gossip: Gossip) {
        self.note(format_args!("host {host} started"));
        self.0.pools.borrow_mut().insert(host, gossip);
    }

    /// Whom each running host takes for what.
    pub(super) fn members(&self) -> BTreeMap<Host, Vec<Member>> {
        let agents = self.0.agents.borrow();
        let pools = self.0.pools.borrow();
        let of_agents = agents.iter().map(|(host, agent)| (*host, agent.members_lan()));
        of_agents.chain(pools.iter().map(|(host, gossip)| (*host, gossip.members().to_vec()))).collect()
    }

    /// Forgets the agent of a host that is about to go, and what its watchers saw.
    pub(super) fn agent_gone(&self, host: Host) {
        self.note(format_args!("host {host} gone"));
        drop(self.0.agents.borrow_mut().remove(&host));
        drop(self.0.pools.borrow_mut().remove(&host));
        self.0.seen.borrow_mut().retain(|(of, _), _| *of != host);
    }

    pub(super) fn watcher_saw(&self, host: Host, key: Key, value: Value) {
        self.0.seen.borrow_mut().insert((host, key), value);
        let start = self.0.starts.borrow().get(&host).copied().unwrap_or_default();
        self.0.all_seen.borrow_mut().entry((host, start, key)).or_default().push(value);
    }

    pub(super) fn everything_seen(&self) -> BTreeMap<(Host, u32, Key), Vec<Value>> {
        self.0.all_seen.borrow().clone()
    }

    /// Whether this is the first time that the host registers its own service.
    pub(super) fn registers_first(&self, host: Host) -> bool {
        self.0.registered.borrow_mut().insert(host)
    }

    pub(super) fn seen_by_watcher(&self, host: Host, key: Key) -> Option<Value> {
        self.0.seen.borrow().get(&(host, key)).copied()
    }

    /// Has a host do something.
    pub(super) fn order(&self, host: Host, order: Order) {
        self.0.orders.borrow_mut().entry(host).or_default().push_back(order);
    }

    /// Forgets what a host was still to do.
    pub(super) fn cancel_orders(&self, host: Host) {
        self.0.orders.borrow_mut().remove(&host);
    }

    pub(super) fn next_order(&self, host: Host) -> Option<Order> {
        self.0.orders.borrow_mut().get_mut(&host)?.pop_front()
    }

    pub(super) fn probe_done(&self, host: Host) {
        self.note(format_args!("host {host} answers again"));
        self.0.probed.borrow_mut().insert(host);
    }

    /// Whether that many hosts have done their probes.
    pub(super) fn probes_done(&self, hosts: usize) -> bool {
        self.0.probed.borrow().len() == hosts
    }
}
