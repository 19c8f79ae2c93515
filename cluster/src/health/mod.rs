//! Health: the checks of this agent are run, their results judged, and what follows from them is done.
//!
//! ```text
//!   local: specs ─► schedule ─► probe (I/O) ─► Outcome ─► verdict (thresholds) ─┐
//!          a program's report ─► deadlines (TTL) ──────────────────────────────┼─► local: result ─► catalog
//!          catalog, local state ─► alias ──────────────────────────────────────┘        │
//!          deregistration ◄── reaper (critical for too long) ◄───────────────────────────┘
//! ```
//!
//! Which checks there are is `local`'s business and followed from there: an unchanged one goes on undisturbed whatever
//! else a reload or a registration changes. Nothing here knows consensus, DNS or the HTTP API.
//!
//! One task (`runner`) keeps the times of all checks and starts what is due; a report of a program touches two tables in
//! memory and, if it says nothing new, nothing else. Another (`journal`) keeps the results for the next start.

pub mod options;
pub(crate) mod probe;

mod alias;
mod deadlines;
mod follower;
mod journal;
mod lanes;
mod output;
mod reaper;
mod runner;
mod schedule;
mod verdict;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::options::Options;
use self::{
    deadlines::Deadlines,
    journal::{Journal, Kept},
    reaper::Reaper,
};
use crate::{
    catalog::model::Status,
    local::{Local, Ticket, definition::CheckSpec, fold, lease_check_id},
};

/// What one run of a check found, or a program reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The result.
    pub(crate) status: Status,
    /// For people: what was answered, printed or went wrong.
    pub(crate) output: String,
    /// Whether this host lacked what the run needed: that says nothing of what was checked.
    pub(crate) inconclusive: bool,
}

impl Outcome {
    pub(crate) fn new(status: Status, output: String) -> Self {
        Self { status, output, inconclusive: false }
    }
}

/// Why a program's report of a check was refused. Clients match the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// No check of that id.
    #[error("CheckID \"{0}\" does not have associated TTL")]
    NoTtl(String),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopped,
}

/// The running checks of an agent. Clones share them.
#[derive(Clone)]
pub(crate) struct Health {
    shared: Arc<Shared>,
}

/// What those who report and the task that runs share.
struct Shared {
    local: Arc<Local>,
    options: Options,
    /// The one option a reload changes.
    discard_output: AtomicBool,
    tables: Mutex<Tables>,
    /// Something is due earlier than the task knows.
    earlier: Notify,
    journal: Arc<Journal>,
}

#[derive(Default)]
struct Tables {
    deadlines: Deadlines,
    reaper: Reaper,
}

impl Health {
    /// Runs the checks of `local` on `tasks` until `stop`. When this returns, those that were here before show the results
    /// they had then, as kept in `data_dir`.
    pub(crate) async fn start(
        local: Arc<Local>,
        options: Options,
        data_dir: Option<PathBuf>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let journal = Arc::new(if data_dir.is_some() { Journal::default() } else { Journal::of_nobody() });
        let shared = Shared {
            local,
            discard_output: AtomicBool::new(options.discard_output),
            options,
            tables: Mutex::default(),
            earlier: Notify::new(),
            journal: journal.clone(),
        };
        let shared = Arc::new(shared);
        let mut restored = HashSet::new();
        if let Some(data_dir) = data_dir {
            let path = data_dir.clone();
            let kept = crate::blocking::run(move || journal::read(&path)).await.unwrap_or_default();
            restored = shared.restore(kept).await;
            tasks.spawn(journal.run(shared.clone(), data_dir, stop.clone()));
        }
        tasks.spawn(follower::run(shared.clone(), tasks.clone(), stop.clone()));
        tasks.spawn(runner::run(shared.clone(), restored, stop));
        Self { shared }
    }

    /// Takes what a reload changes: whether output is thrown away from now on (what is known stays), and what is in the
    /// files of certificates.
    pub(crate) fn reload(&self, discard_output: bool) {
        self.shared.discard_output.store(discard_output, Ordering::Relaxed);
        probe::tls::read_again();
    }

    /// Takes a program's report of the check of that id, which counts until its TTL has passed. Returns once the agent
    /// shows it and a new status would outlast this process; whether there is a leader does not matter.
    pub(crate) async fn report(&self, id: &str, status: Status, output: String) -> Result<(), ReportError> {
        let shared = &self.shared;
        let key = fold(id);
        let spec = shared.local.spec(&key).filter(|spec| spec.ttl.is_some());
        let spec = spec.ok_or_else(|| ReportError::NoTtl(id.to_owned()))?;
        tracing::debug!(target: "agent", "Check status updated: check={} status={}", spec.id, status.as_str());
        let output = output::limit(output, output_max(&spec, &shared.options));
        let (ticket, is_new) = {
            // The report and what it sets go together: a deadline that passes meanwhile comes before or after both.
            let mut tables = shared.tables.lock();
            tables.deadlines.report(&key, &spec, Instant::now());
            let is_new = shared.local.latest(&key).is_none_or(|(known, _)| known != status);
            (shared.submit(&mut tables, &key, &spec, Outcome::new(status, output)), is_new)
        };
        let Some(ticket) = ticket else { return Ok(()) };
        shared.local.shown(ticket).await.map_err(|_| ReportError::Stopped)?;
        if is_new {
            shared.journal.written(shared.journal.touch(&key)).await;
        }
        Ok(())
    }
}

impl Health {
    /// Who registers is heard of: the time of checks that wait for reports begins anew, as in Consul, and a lease is
    /// renewed. `checks` are their folded ids.
    pub(crate) async fn begin_anew(&self, checks: &[String]) {
        for key in checks {
            let Some(spec) = self.shared.local.spec(key).filter(|spec| spec.ttl.is_some()) else { continue };
            self.shared.tables.lock().deadlines.report(key, &spec, Instant::now());
            if *key == fold(&lease_check_id(&spec.service_id)) {
                // One that was removed in this moment needs no renewal.
                let _gone = self.report(&spec.id, Status::Passing, String::new()).await;
            }
        }
    }
}

impl Shared {
    /// Takes what is now known of a check.
    fn submit(&self, tables: &mut Tables, key: &str, spec: &Arc<CheckSpec>, outcome: Outcome) -> Option<Ticket> {
        let Outcome { status, output, .. } = outcome;
        self.mind(tables, key, spec, &status);
        let output = if self.discard_output.load(Ordering::Relaxed) { String::new() } else { output };
        let ticket = self.local.submit(key, spec, status, output)?;
        self.journal.touch(key);
        Some(ticket)
    }

    /// Gives checks the results they had before this agent started; says which.
    async fn restore(&self, kept: journal::Restored) -> HashSet<String> {
        // At least; and none at all, if the clock was set back.
        let away = kept.heard.map_or(Duration::ZERO, |heard| {
            crate::clock::now().duration_since(heard).unwrap_or_default().saturating_sub(journal::UNHEARD)
        });
        let specs = self.local.specs().borrow().clone();
        let mut restored = HashSet::new();
        let mut last = None;
        for (key, Kept { status, output }) in kept.results {
            let Some(spec) = specs.get(&key) else { continue };
            // Whoever could not report for longer than it may has missed its time, as if this agent had run.
            let missed = spec.ttl.is_some_and(|ttl| away > ttl);
            let result = if missed { (Status::Critical, output::expired(&output)) } else { (status, output) };
            last = self.local.submit(&key, spec, result.0, result.1).or(last);
            restored.insert(key);
        }
        if let Some(last) = last {
            // An agent that is stopped already shows nothing to anybody.
            let _stopped = self.local.shown(last).await;
            self.local.forget_untold();
        }
        restored
    }

    /// Notes since when a check is critical.
    fn mind(&self, tables: &mut Tables, key: &str, spec: &CheckSpec, status: &Status) {
        let first = tables.reaper.next();
        tables.reaper.note(key, spec, status, self.options.deregister_min, Instant::now());
        if tables.reaper.next() != first {
            self.earlier.notify_one();
        }
    }
}

/// Bytes of output kept of a check.
fn output_max(spec: &CheckSpec, options: &Options) -> usize {
    let own = spec.output_max_size.and_then(|size| usize::try_from(size).ok());
    own.filter(|size| *size > 0).unwrap_or(options.output_max_size)
}

/// How long this process must have stood still for time to be given back.
const STALL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
