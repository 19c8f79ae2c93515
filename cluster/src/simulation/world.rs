//! One simulation: hosts with agents, a network, disks, and the run from forming a cluster to its recovery.
//!
//! ```text
//!   form ──► storm (the plan's faults; agents are asked all the time) ──► heal ──► recover ──► judge
//!            every tick: watchers; ten times a second: what was observed, members; every second: logs
//! ```
//!
//! The driver (this file) is outside of the hosts: it starts, crashes and cuts them off, and looks at agents from outside
//! between two ticks. The first violation ends the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Setup, Software,
    faults::{self, Fault, Host, Planned},
    invariants::{self, false_death::FalseDeath, log_matching, watchers::Watchers},
    log, observe, observer,
    shared::{Order, Shared},
    workload,
};
use crate::{
    access::AllowAll,
    agent::{Agent, Options},
    gossip::{self, Gossip, Pool},
    local::definition::ServiceDefinition,
    net::{TcpListener, UdpSocket, weather},
    raft::simulated::SimulatedDisk,
};

/// How far hosts run before they hear of each other: the grain of the network.
const TICK: Duration = Duration::from_millis(5);
/// The usual delay of the network, at most.
const DELAY: Duration = Duration::from_millis(12);
/// How long a cluster may take to form.
const FORMING: Duration = Duration::from_secs(30);
/// How long faults go on.
const STORM: Duration = Duration::from_secs(25);
/// How long everything may take to be well again after the last fault: reconnecting to members taken for dead is rare.
const RECOVERY: Duration = Duration::from_secs(120);
/// How long it may take until everybody knows that a host is dead.
const NOTICING: Duration = Duration::from_secs(20);
/// How long after a process ended its host falls silent: until then its connections are being closed.
const CLOSING: Duration = Duration::from_millis(100);
/// Segments and datagrams a host holds for one socket.
const BUFFER: usize = 4096;

/// What a run came to.
pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    /// Some figures, for people.
    pub(super) summary: String,
}

/// Runs one simulation on this thread, which must have been seeded.
pub(super) fn run(setup: &Setup) -> Report {
    observer::begin();
    let mut world = World::new(setup);
    world.shared.note(format_args!("{setup:?}"));
    let passed = world.form().and_then(|()| world.storm()).and_then(|()| world.recover());
    if let Err(Violated) = passed {
        return world.report();
    }
    for violation in invariants::judge(&world.shared) {
        world.shared.violate(violation);
    }
    world.report()
}

/// Something was violated: the board says what.
struct Violated;

struct World {
    sim: turmoil::Sim<'static>,
    shared: Shared,
    setup: Setup,
    disks: Vec<SimulatedDisk>,
    plan: Vec<Planned>,
    active: Vec<Planned>,
    /// Hosts without a process, and since when.
    down: Vec<(Host, Duration)>,
    /// Hosts whose agents were told to leave.
    leaving: Vec<Host>,
    watchers: Watchers,
    false_death: FalseDeath,
    _directory: tempfile::TempDir,
}

/// The address of a host.
pub(super) fn address(host: Host) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, u8::try_from(host + 1).unwrap()))
}

/// The name of a host's node.
pub(super) fn name(host: Host) -> String {
    format!("node-{host}")
}

impl World {
    fn new(setup: &Setup) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(setup.seed)
            .enable_random_order()
            .tick_duration(TICK)
            .min_message_latency(Duration::from_micros(100))
            .max_message_latency(DELAY)
            .simulation_duration(Duration::from_secs(3600))
            .tcp_capacity(BUFFER)
            .udp_capacity(BUFFER)
            .build();
        let shared = Shared::begin();
        let directory = tempfile::tempdir().unwrap();
        let hosts = setup.servers + setup.clients;
        let disks = (0..hosts).map(|host| SimulatedDisk::install(address(host))).collect();
        for host in 0..hosts {
            let shared = shared.clone();
            match setup.software {
                Software::Agents => {
                    let options = options(setup, host, directory.path());
                    sim.host(address(host), move || run_agent(shared.clone(), host, options.clone()));
                }
                Software::Gossip => {
                    let snapshot = directory.path().join(host.to_string());
                    sim.host(address(host), move || run_gossip(shared.clone(), host, snapshot.clone()));
                }
            }
        }
        Self {
            sim,
            shared,
            setup: setup.clone(),
            disks,
            plan: Vec::new(),
            active: Vec::new(),
            down: Vec::new(),
            leaving: Vec::new(),
            watchers: Watchers::default(),
            false_death: FalseDeath::default(),
            _directory: directory,
        }
    }

    /// Waits until there is one cluster.
    fn form(&mut self) -> Result<(), Violated> {
        self.shared.set_quiet(true);
        self.until_well(FORMING, "forming a cluster")?;
        self.shared.set_quiet(false);
        Ok(())
    }

    /// Lets the plan's faults happen, while agents are asked for things.
    fn storm(&mut self) -> Result<(), Violated> {
        let from = self.sim.elapsed();
        let mut random = StdRng::seed_from_u64(self.setup.seed);
        let span = (from + Duration::from_secs(1), from + STORM);
        self.plan = faults::plan(&mut random, self.setup.weather, self.setup.servers, self.setup.clients, span);
        while self.sim.elapsed() < from + STORM {
            self.step()?;
        }
        Ok(())
    }

    /// Ends all faults and waits until everything is as if there had been none.
    fn recover(&mut self) -> Result<(), Violated> {
        self.plan.clear();
        let ends: Vec<Planned> = std::mem::take(&mut self.active);
        ends.iter().for_each(|planned| self.end(&planned.fault));
        self.apply_network();
        self.shared.set_quiet(true);
        self.until_well(RECOVERY, "recovering")?;
        self.bury()?;
        if self.setup.software == Software::Gossip {
            return Ok(());
        }
        for host in 0..self.hosts() {
            self.shared.order(host, Order::Probe);
        }
        let until = self.sim.elapsed() + RECOVERY;
        while !self.shared.probes_done(self.hosts()) {
            if self.sim.elapsed() >= until {
                self.shared.violate("liveness: writes and reads do not succeed in a cluster that is well");
                return Err(Violated);
            }
            self.step()?;
        }
        self.until_well(RECOVERY, "settling after the last writes")
    }

    /// Has a host die for good while all else is well: everybody must notice. Then it comes back.
    fn bury(&mut self) -> Result<(), Violated> {
        // The last one is a client, where there is one; a cluster of one has nobody who could notice.
        let host = self.hosts() - 1;
        if host == 0 {
            return Ok(());
        }
        self.crash(host);
        let until = self.sim.elapsed() + NOTICING;
        while let Err(reason) = invariants::completeness::check(&self.shared, &name(host)) {
            if self.sim.elapsed() >= until {
                self.shared.violate(format_args!("completeness: {NOTICING:?} after the death of host {host} {reason}"));
                return Err(Violated);
            }
            self.step()?;
        }
        self.shared.note(format_args!("the death of host {host} is noticed"));
        self.restart(host);
        self.until_well(RECOVERY, "after a death")
    }

    fn until_well(&mut self, limit: Duration, what: &str) -> Result<(), Violated> {
        let until = self.sim.elapsed() + limit;
        loop {
            self.step()?;
            if !self.sim.elapsed().as_millis().is_multiple_of(100) {
                continue;
            }
            let Err(reason) = invariants::convergence::check(&self.shared, &self.setup) else {
                self.shared.note(format_args!("well: {what}"));
                return Ok(());
            };
            if self.sim.elapsed().as_millis().is_multiple_of(5000) {
                self.shared.note(format_args!("not well yet: {reason}"));
            }
            if self.sim.elapsed() >= until {
                self.shared.violate(format_args!("liveness: {what} takes more than {limit:?}: {reason}"));
                return Err(Violated);
            }
        }
    }

    fn hosts(&self) -> usize {
        self.setup.servers + self.setup.clients
    }

    /// One tick of everything, and a look at what it did.
    fn step(&mut self) -> Result<(), Violated> {
        self.change_weather();
        if let Err(error) = self.sim.step() {
            self.shared.violate(format_args!("a host ended: {error}"));
        }
        let now = self.sim.elapsed();
        self.shared.set_now(now);
        self.look(now);
        if self.shared.violations().is_empty() { Ok(()) } else { Err(Violated) }
    }

    fn look(&mut self, now: Duration) {
        for violation in self.watchers.look(&self.shared) {
            self.shared.violate(violation);
        }
        let at = |period: u128| now.as_millis().is_multiple_of(period);
        if at(100) {
            for violation in observe(|it| it.take_violations()) {
                self.shared.violate(violation);
            }
            let storm = self.active.iter().any(|it| it.fault.may_look_like_death())
                || !self.down.is_empty()
                || !self.leaving.is_empty();
            for violation in self.false_death.look(&self.shared, now, storm) {
                self.shared.violate(violation);
            }
        }
        for panic in log::take_panics() {
            self.shared.violate(format_args!("a panic: {panic}"));
        }
        if at(500) {
            self.note_status();
        }
        if at(1000)
            && let Err(violation) = log_matching::check(&self.disks)
        {
            self.shared.violate(violation);
        }
    }

    fn note_status(&self) {
        self.shared.note(format_args!("checksum of everything logged and sent: {:08x}", log::checksum()));
        for (host, agent) in self.shared.agents() {
            let status = agent.status();
            self.shared.note(format_args!(
                "host {host}: {} term {} last {} committed {} applied {}",
                status.role, status.term, status.last_log_index, status.commit_index, status.applied_index,
            ));
        }
        for (host, members) in self.shared.members() {
            let members: Vec<_> = members.iter().map(|it| format!("{}={}", it.name, it.status.as_str())).collect();
            self.shared.note(format_args!("host {host} knows {}", members.join(" ")));
        }
    }

    /// Begins and ends what the plan has for this moment.
    fn change_weather(&mut self) {
        let now = self.sim.elapsed();
        let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|it: &Planned| it.until <= now);
        let over: Vec<Planned> = over;
        self.active = active;
        let due = self.plan.iter().take_while(|it| it.from <= now).count();
        let begins: Vec<Planned> = self.plan.drain(..due).collect();
        let silent = self.down.iter().any(|(_, since)| now >= *since + CLOSING && now < *since + CLOSING + TICK);
        if over.is_empty() && begins.is_empty() && !silent {
            return;
        }
        for planned in over {
            self.end(&planned.fault);
        }
        for mut planned in begins {
            if let Some(leader) = self.leader().filter(|_| planned.at_leader) {
                planned.aim(leader);
            }
            self.begin(&planned);
            self.active.push(planned);
        }
        self.apply_network();
    }

    /// Who leads, of the servers that run: the one of the latest term.
    fn leader(&self) -> Option<Host> {
        let statuses = self.shared.agents().into_iter().map(|(host, agent)| (host, agent.status()));
        statuses.filter(|(_, status)| status.is_leader).max_by_key(|(_, status)| status.term).map(|(host, _)| host)
    }

    fn begin(&mut self, planned: &Planned) {
        self.shared.note(format_args!("begins: {:?} until {:?}", planned.fault, planned.until));
        match planned.fault {
            Fault::Kill(host) => self.crash(host),
            Fault::PowerLoss(host) => {
                let others: Vec<Host> = (0..self.hosts()).filter(|other| *other != host).collect();
                others.iter().for_each(|other| self.sim.partition(address(host), address(*other)));
                self.crash(host);
            }
            Fault::Leave(host) => {
                if !self.is_down(host) && !self.leaving.contains(&host) {
                    self.leaving.push(host);
                    self.shared.agent_gone(host);
                    self.shared.order(host, Order::Leave);
                }
            }
            Fault::SlowDisk(host, longest) => self.disks[host].set_sync_time(longest / 4, longest),
            Fault::ClockJump(host, by) => self.shared.order(host, Order::Jump(by)),
            Fault::Split(_) | Fault::OneWay(..) | Fault::Loss(_) | Fault::Delay(_) => {}
        }
    }

    fn end(&mut self, fault: &Fault) {
        self.shared.note(format_args!("ends: {fault:?}"));
        match *fault {
            Fault::Kill(host) | Fault::PowerLoss(host) => self.restart(host),
            Fault::Leave(host) if self.leaving.contains(&host) => {
                self.crash(host);
                self.restart(host);
            }
            Fault::SlowDisk(host, _) => self.disks[host].set_usual_sync_time(),
            _ => {}
        }
    }

    fn crash(&mut self, host: Host) {
        if self.down.iter().any(|(down, _)| *down == host) {
            return;
        }
        self.down.push((host, self.sim.elapsed()));
        self.leaving.retain(|leaving| *leaving != host);
        self.shared.cancel_orders(host);
        self.shared.agent_gone(host);
        self.disks[host].crash(rand::random());
        // One that has left is not there any more.
        if self.sim.is_host_running(address(host)) {
            self.sim.crash(address(host));
        }
    }

    fn restart(&mut self, host: Host) {
        if !self.down.iter().any(|(down, _)| *down == host) {
            return;
        }
        self.down.retain(|(down, _)| *down != host);
        self.apply_network();
        self.sim.bounce(address(host));
    }

    /// Makes the network what the faults of this moment say.
    fn apply_network(&mut self) {
        let now = self.sim.elapsed();
        let silent = |host| self.down.iter().any(|(down, since)| *down == host && now >= *since + CLOSING);
        let powerless = |host| self.active.iter().any(|it| it.fault == Fault::PowerLoss(host)) && self.is_down(host);
        let dead = |host| silent(host) || powerless(host);
        let split = |a: Host, b: Host| {
            self.active
                .iter()
                .any(|it| matches!(&it.fault, Fault::Split(part) if part.contains(&a) != part.contains(&b)))
        };
        let blocked = |from, to| self.active.iter().any(|it| it.fault == Fault::OneWay(from, to));
        let mut cut = BTreeSet::new();
        for a in 0..self.hosts() {
            for b in a + 1..self.hosts() {
                let (one, other) = (address(a), address(b));
                if dead(a) || dead(b) {
                    self.sim.partition(one, other);
                } else if split(a, b) {
                    self.sim.hold(one, other);
                    cut.extend([(one, other), (other, one)]);
                } else {
                    self.sim.release(one, other);
                    for (from, to) in [(a, b), (b, a)] {
                        if blocked(from, to) {
                            self.sim.partition_oneway(address(from), address(to));
                        }
                    }
                }
            }
        }
        weather::set_cut(cut);
        let loss = self.active.iter().filter_map(|it| if let Fault::Loss(rate) = it.fault { Some(rate) } else { None });
        weather::set_loss(loss.fold(0.0, f64::max));
        let delay =
            self.active.iter().filter_map(|it| if let Fault::Delay(longest) = it.fault { Some(longest) } else { None });
        self.sim.set_max_message_latency(delay.max().unwrap_or(DELAY));
    }

    fn is_down(&self, host: Host) -> bool {
        self.down.iter().any(|(down, _)| *down == host)
    }

    fn report(&self) -> Report {
        let (terms, applied) = observe(|it| it.progress());
        let (answered, open) = self.shared.history().counts();
        let summary = format!(
            "{:?} servers={} clients={} seconds={} terms={terms} entries={applied} answered={answered} open={open}",
            self.setup.weather,
            self.setup.servers,
            self.setup.clients,
            self.sim.elapsed().as_secs()
        );
        Report { violations: self.shared.violations(), trace: self.shared.trace(), summary }
    }
}

fn options(setup: &Setup, host: Host, directory: &std::path::Path) -> Options {
    let server = host < setup.servers;
    let others = (0..setup.servers).filter(|other| *other != host);
    Options {
        node_name: name(host),
        node_id: Some(format!("00000000-0000-4000-8000-{host:012}")),
        data_dir: Some(directory.join(host.to_string())),
        server,
        bootstrap_expect: if server { u32::try_from(setup.servers).unwrap() } else { 0 },
        retry_join: others.map(|other| address(other).to_string()).collect(),
        retry_interval: Duration::from_secs(2),
        bind: address(host),
        advertise: address(host),
        advertise_wan: address(host),
        serf_wan_port: None,
        raft_multiplier: setup.multiplier,
        snapshot_threshold: setup.snapshot_threshold,
        trailing_logs: setup.snapshot_threshold / 4,
        version: "0.1.0".to_owned(),
        ..Options::default()
    }
}

/// What runs on a host.
async fn run_agent(shared: Shared, host: Host, options: Options) -> turmoil::Result {
    let agent = match Agent::start(options, Arc::new(AllowAll)).await {
        Ok(agent) => agent,
        Err(error) => {
            shared.violate(format_args!("host {host} does not start: {error}"));
            return Ok(());
        }
    };
    shared.agent_started(host, agent.clone());
    tokio::task::spawn_local(watch_for_failure(shared.clone(), host, agent.clone()));
    tokio::task::spawn_local(register_own(shared.clone(), host, agent.clone()));
    workload::begin(&shared, host, &agent);
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        match shared.next_order(host) {
            Some(Order::Jump(by)) => tokio::time::advance(by).await,
            Some(Order::Leave) => {
                agent.leave().await;
                agent.shutdown().await;
                shared.note(format_args!("host {host} has left"));
                return Ok(());
            }
            Some(Order::Probe) => drop(tokio::task::spawn_local(probe(shared.clone(), host, agent.clone()))),
            None => {}
        }
    }
}

/// What runs on a host that only gossips.
async fn run_gossip(shared: Shared, host: Host, snapshot: std::path::PathBuf) -> turmoil::Result {
    let advertise = SocketAddr::new(address(host), 8301);
    let options = gossip::Options {
        pool: Pool::Lan,
        cluster: "dc1".to_owned(),
        name: name(host),
        id: format!("00000000-0000-4000-8000-{host:012}"),
        advertise,
        tags: BTreeMap::new(),
        reconnect_timeout: Duration::from_secs(72 * 3600),
        keyring: Arc::default(),
        snapshot: Some(snapshot),
        rejoin_after_leave: false,
    };
    let (udp, tcp) = (UdpSocket::bind(advertise).await?, TcpListener::bind(advertise).await?);
    let gossip = Gossip::start(options, udp, tcp, &TaskTracker::new(), CancellationToken::new());
    shared.gossip_started(host, gossip.clone());
    let mut joined = host == 0;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(Order::Jump(by)) = shared.next_order(host) {
            tokio::time::advance(by).await;
        }
        joined = joined || gossip.join(SocketAddr::new(address(0), 8301)).await.is_ok();
    }
}

async fn watch_for_failure(shared: Shared, host: Host, agent: Agent) {
    let reason = agent.failed().await;
    shared.violate(format_args!("host {host} cannot go on: {reason}"));
}

/// Registers a service of this agent's own: once, after a restart it must still be there.
async fn register_own(shared: Shared, host: Host, agent: Agent) {
    if !shared.registers_first(host) {
        return;
    }
    let definition = ServiceDefinition { name: format!("own-{host}"), port: 80, ..ServiceDefinition::default() };
    if let Err(error) = agent.register_service(definition, false).await {
        shared.violate(format_args!("host {host} cannot register its service: {error}"));
    }
}

/// Writes and reads every register, until that succeeds.
async fn probe(shared: Shared, host: Host, agent: Agent) {
    for key in 0..workload::KEYS {
        while !workload::write(&shared, host, &agent, key, Some(shared.fresh_value())).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while !workload::read(&shared, host, &agent, key).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    shared.probe_done(host);
}
