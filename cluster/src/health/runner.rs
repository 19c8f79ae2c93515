//! The task that runs the checks: follows which there are, starts what is due, takes what was found, and has those told
//! critical whose programs did not report.
//!
//! ```text
//!   specs ─► added, changed, removed ─► times ─► due ─► lanes (so many runs at once) ─► verdict ─► local
//! ```
//!
//! It wakes at least every [`LOOK`] while there is something to miss, and so knows when this process stood still (stopped,
//! starved): a run that fell into such a time and failed is repeated, and programs get the time back to report.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use imbl::ordmap::DiffItem;
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Outcome, STALL, Shared,
    lanes::{Lanes, Pace},
    output,
    probe::Probe,
    schedule::{Grid, LATE},
    verdict::Verdict,
};
use crate::{
    catalog::model::Status,
    due::Due,
    local::{Specs, definition::CheckSpec},
};

/// How long this task sleeps at most while there is something to miss.
const LOOK: Duration = Duration::from_millis(500);
/// Runs at once that only talk to others, where the process may have twice as many files open. What is due beyond that
/// waits in order, one entry a check.
const NETWORK_MAX: usize = 2048;
/// Runs at once that take a process.
const PROCESS_MAX: usize = 256;
/// Standing still for so long is worth a line of the log.
const LONG: Duration = Duration::from_secs(1);
/// How long a service that could not be removed is left.
const REAP_AGAIN: Duration = Duration::from_secs(1);

/// Runs until `stop`. Of `restored` the results are known from before the start.
pub(super) async fn run(shared: Arc<Shared>, restored: HashSet<String>, stop: CancellationToken) {
    let specs = shared.local.specs();
    let runner = Runner {
        shared,
        specs,
        seen: Specs::new(),
        checks: HashMap::new(),
        due: Due::default(),
        origin: Instant::now(),
        lanes: [Lanes::new(network_max()), Lanes::new(PROCESS_MAX)],
        runs: JoinSet::new(),
        ids: HashMap::new(),
        reaping: JoinSet::new(),
        stalls: 0,
        restored,
    };
    // What is under way ends with this task.
    stop.run_until_cancelled_owned(runner.run()).await;
}

struct Runner {
    shared: Arc<Shared>,
    specs: watch::Receiver<Specs>,
    /// Which checks this task knows of.
    seen: Specs,
    /// Those of them that look for themselves.
    checks: HashMap<String, Looking>,
    due: Due,
    /// When this task began: the first tick of all runs.
    origin: Instant,
    /// What only talks, and what takes a process.
    lanes: [Lanes<tokio::task::Id>; 2],
    runs: JoinSet<Outcome>,
    /// Which run is whose.
    ids: HashMap<tokio::task::Id, Run>,
    reaping: JoinSet<()>,
    /// How often this process stood still.
    stalls: u64,
    /// Checks whose status is a result from before the start, until they are taken in.
    restored: HashSet<String>,
}

/// A check that looks for itself.
struct Looking {
    spec: Arc<CheckSpec>,
    probe: Arc<Probe>,
    grid: Grid,
    verdict: Verdict,
    /// Its run that is under way, or waits in its lane.
    run: Option<Underway>,
    /// Whether its status is a result of a run.
    has_run: bool,
    /// How its last run was.
    pace: Pace,
}

enum Underway {
    Waiting { since: Instant },
    Running(tokio::task::AbortHandle),
}

struct Run {
    key: String,
    spec: Arc<CheckSpec>,
    began: Instant,
    /// Where it counts.
    pace: Pace,
    stalls: u64,
    repeated: bool,
}

impl Runner {
    async fn run(mut self) {
        loop {
            self.follow();
            self.expire();
            self.reap();
            self.queue_due();
            self.slow_down();
            self.start_waiting();
            let wake = self.next_wake();
            let ended = tokio::select! {
                changed = self.specs.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                Some(ended) = self.runs.join_next_with_id() => Some(ended),
                () = self.shared.earlier.notified() => None,
                () = sleep_until(wake) => None,
                Some(_) = self.reaping.join_next() => None,
            };
            // Before anything is judged that fell into it.
            self.notice_stall(wake);
            if let Some(ended) = ended {
                self.ended(ended);
            }
        }
    }

    /// When there is something to do, or to look at the clock.
    fn next_wake(&self) -> Option<Instant> {
        let tables = self.shared.tables.lock();
        let [network, process] = &self.lanes;
        let times = [self.due.next(), tables.deadlines.next(), tables.reaper.next(), network.next(), process.next()];
        let idle = self.runs.is_empty() && tables.deadlines.is_empty();
        drop(tables);
        let look = (!idle).then(|| Instant::now() + LOOK);
        times.into_iter().flatten().chain(look).min()
    }

    /// Gives time back if this task was to wake long ago.
    fn notice_stall(&mut self, wake: Option<Instant>) {
        let Some(late) = wake.map(|wake| wake.elapsed()).filter(|late| *late >= STALL) else { return };
        self.stalls += 1;
        metrics::counter!("usher.health.stalls").increment(1);
        let mut tables = self.shared.tables.lock();
        tables.deadlines.stalled(late);
        tables.reaper.stalled(late);
        drop(tables);
        if late >= LONG {
            tracing::warn!(target: "agent", "This process stood still for {late:?}: checks are given the time back");
        }
    }

    /// Takes in what changed of which checks there are.
    fn follow(&mut self) {
        let next = self.specs.borrow_and_update().clone();
        if next.ptr_eq(&self.seen) {
            return;
        }
        let now = Instant::now();
        let before = std::mem::replace(&mut self.seen, next.clone());
        for item in before.diff(&next) {
            match item {
                DiffItem::Add(key, spec) => {
                    let known = self.restored.contains(key);
                    self.add(key, spec, now, known);
                }
                DiffItem::Remove(key, spec) => {
                    self.remove(key, spec);
                    self.shared.journal.touch(key);
                }
                DiffItem::Update { old: (key, old), new: (_, new) } => {
                    if !Arc::ptr_eq(old, new) {
                        let known = self.checks.get(key).is_some_and(|looking| looking.has_run);
                        self.remove(key, old);
                        self.add(key, new, now, known);
                    }
                }
            }
        }
        // They were those of the start.
        self.restored = HashSet::new();
    }

    /// Begins to run a check. `known` says whether its status is a result.
    fn add(&mut self, key: &str, spec: &Arc<CheckSpec>, now: Instant, known: bool) {
        let (status, _) = self.shared.local.latest(key).unwrap_or_default();
        let mut tables = self.shared.tables.lock();
        self.shared.mind(&mut tables, key, spec, &status);
        if spec.ttl.is_some() {
            tables.deadlines.add(key, spec, now);
            // Its program may never say anything new; that it was heard must be known after a restart.
            self.shared.journal.touch(key);
        }
        drop(tables);
        let probe = match Probe::new(spec, &self.shared.options) {
            Ok(None) => return,
            Ok(Some(probe)) => Arc::new(probe),
            Err(error) => {
                tracing::warn!(target: "agent", "Check cannot be run: check={} error={error}", spec.id);
                let outcome = Outcome::new(Status::Critical, error.to_string());
                self.shared.submit(&mut self.shared.tables.lock(), key, spec, outcome);
                return;
            }
        };
        let grid = Grid::new(spec.interval.unwrap_or_default(), self.origin, now, self.checks.len(), rand::random());
        let verdict = if known { Verdict::known() } else { Verdict::unknown() };
        self.due.set(key, grid.next());
        let looking =
            Looking { spec: spec.clone(), probe, grid, verdict, run: None, has_run: known, pace: Pace::Quick };
        self.checks.insert(key.to_owned(), looking);
    }

    fn remove(&mut self, key: &str, spec: &Arc<CheckSpec>) {
        let mut tables = self.shared.tables.lock();
        tables.deadlines.remove(key, spec);
        tables.reaper.remove(key);
        drop(tables);
        self.due.remove(key);
        let Some(looking) = self.checks.remove(key) else { return };
        match looking.run {
            Some(Underway::Running(run)) => run.abort(),
            Some(Underway::Waiting { .. }) => {
                lanes_of(&mut self.lanes, &looking.spec).forget(key);
            }
            None => {}
        }
    }

    /// Tells those critical whose programs did not report in time.
    fn expire(&mut self) {
        let now = Instant::now();
        loop {
            let mut tables = self.shared.tables.lock();
            let Some((key, spec)) = tables.deadlines.expire(now) else { return };
            let (_, said) = self.shared.local.latest(&key).unwrap_or_default();
            tracing::warn!(target: "agent", "Check missed TTL, is now critical: check={}", spec.id);
            let outcome = Outcome::new(Status::Critical, output::expired(&said));
            self.shared.submit(&mut tables, &key, &spec, outcome);
        }
    }

    /// Removes services that were critical for too long.
    fn reap(&mut self) {
        let now = Instant::now();
        while let Some(key) = { self.shared.tables.lock().reaper.reap(now) } {
            let Some(spec) = self.seen.get(&*key).cloned() else { continue };
            let shared = self.shared.clone();
            self.reaping.spawn(async move {
                match shared.local.reap(&key, &spec).await {
                    Ok(true) => tracing::info!(
                        target: "agent",
                        "Check for service has been critical for too long; deregistered service: service={} check={}",
                        spec.service_id,
                        spec.id
                    ),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(target: "agent", "Cannot remove service: service={} error={error}", spec.service_id);
                        shared.tables.lock().reaper.again(&key, Instant::now() + REAP_AGAIN);
                        shared.earlier.notify_one();
                    }
                }
            });
        }
    }

    /// Has what is due wait for its turn.
    fn queue_due(&mut self) {
        let now = Instant::now();
        while let Some((at, key)) = self.due.pop(now) {
            let Some(looking) = self.checks.get_mut(&*key) else { continue };
            let mut skipped = looking.grid.advance(now);
            self.due.set(&key, looking.grid.next());
            if looking.run.is_some() {
                skipped += 1;
            } else {
                looking.run = Some(Underway::Waiting { since: at });
                lanes_of(&mut self.lanes, &looking.spec).wait(key.to_string(), looking.pace);
            }
            if skipped > 0 {
                metrics::counter!("usher.health.skipped").increment(skipped);
            }
        }
    }

    /// Counts the runs that are slow by now where they belong.
    fn slow_down(&mut self) {
        let now = Instant::now();
        for lanes in &mut self.lanes {
            let is_quick = |run: &Run| run.pace == Pace::Quick;
            while let Some(id) = lanes.slow_down(now, |id| self.ids.get(id).is_some_and(is_quick)) {
                if let Some(run) = self.ids.get_mut(&id) {
                    run.pace = Pace::Slow;
                }
            }
        }
    }

    /// Starts what waits, as far as there is room.
    fn start_waiting(&mut self) {
        for lanes in 0..self.lanes.len() {
            while let Some((key, pace)) = self.lanes.get_mut(lanes).and_then(Lanes::take) {
                self.start(key, pace, false);
            }
        }
    }

    /// Starts a run that has got a place.
    fn start(&mut self, key: String, pace: Pace, repeated: bool) {
        // Whoever is removed does not wait any more.
        let Some(looking) = self.checks.get_mut(&key) else { return };
        if let Some(Underway::Waiting { since }) = looking.run
            && since.elapsed() > LATE
        {
            metrics::counter!("usher.health.late").increment(1);
        }
        let probe = looking.probe.clone();
        let handle = self.runs.spawn(async move { probe.run().await });
        let began = Instant::now();
        if pace == Pace::Quick {
            lanes_of(&mut self.lanes, &looking.spec).began(handle.id(), began);
        }
        let run = Run { key, spec: looking.spec.clone(), began, pace, stalls: self.stalls, repeated };
        self.ids.insert(handle.id(), run);
        looking.run = Some(Underway::Running(handle));
    }

    /// Takes what a run found.
    fn ended(&mut self, ended: Result<(tokio::task::Id, Outcome), tokio::task::JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) => (error.id(), None),
        };
        let Some(Run { key, spec, began, pace, stalls, repeated }) = self.ids.remove(&id) else { return };
        let current = self.checks.get_mut(&key).filter(|looking| Arc::ptr_eq(&looking.spec, &spec));
        let Some(looking) = current else {
            return lanes_of(&mut self.lanes, &spec).ended(pace);
        };
        looking.run = None;
        if let Some(outcome) = &outcome
            && outcome.status != Status::Passing
            && stalls != self.stalls
            && !repeated
        {
            // It may have failed because this process stood still: that says nothing of what was checked.
            return self.start(key, pace, true);
        }
        lanes_of(&mut self.lanes, &spec).ended(pace);
        let outcome = outcome.unwrap_or_else(|| {
            tracing::error!(target: "agent", "A run of a check broke off: check={}", spec.id);
            Outcome::new(Status::Critical, "The run of this check broke off: a fault of the agent".to_owned())
        });
        looking.pace = Pace::of(began.elapsed());
        let (known, _) = self.shared.local.latest(&key).unwrap_or_default();
        if outcome.inconclusive {
            return self.note_inconclusive(&key, &spec, known, outcome);
        }
        looking.has_run = true;
        let judged = looking.verdict.judge(&spec, &known, outcome.status.clone());
        tracing::debug!(target: "agent", "Check was run: check={} status={}", spec.id, outcome.status.as_str());
        if let Some(status) = judged {
            if status != known {
                tell(&spec, &status);
            }
            let outcome = Outcome::new(status, outcome.output);
            self.shared.submit(&mut self.shared.tables.lock(), &key, &spec, outcome);
        }
    }

    /// A run found nothing out: the check stays what it is. Of one that is nothing yet it is said why.
    fn note_inconclusive(&self, key: &str, spec: &Arc<CheckSpec>, known: Status, outcome: Outcome) {
        metrics::counter!("usher.health.inconclusive").increment(1);
        tracing::warn!(target: "agent", "Check could not be run on this host: check={} reason={}", spec.id, outcome.output);
        if !self.checks.get(key).is_some_and(|looking| looking.has_run) {
            let outcome = Outcome::new(known, outcome.output);
            self.shared.submit(&mut self.shared.tables.lock(), key, spec, outcome);
        }
    }
}

/// Where runs of a check count.
fn lanes_of<'a>(lanes: &'a mut [Lanes<tokio::task::Id>; 2], spec: &CheckSpec) -> &'a mut Lanes<tokio::task::Id> {
    let [network, process] = lanes;
    if spec.args.is_empty() { network } else { process }
}

/// Runs at once that only talk: as many as leave half of the files this process may open to everything else.
fn network_max() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(usize::MAX).min(NETWORK_MAX)
}

fn tell(spec: &CheckSpec, status: &Status) {
    match status {
        Status::Passing => tracing::info!(target: "agent", "Check is now passing: check={}", spec.id),
        status => tracing::warn!(target: "agent", "Check is now {}: check={}", status.as_str(), spec.id),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
