//! Counts of questions: each thread writes its own, a task reads them all now and then and passes on what was added.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::responder::Counts;

/// One thread's counts as others may read them; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    domain: AtomicU64,
    reverse: AtomicU64,
    overloaded: AtomicU64,
}

impl Tally {
    /// Shows the counts of the thread this tally belongs to.
    pub(crate) fn show(&self, counts: Counts) {
        self.domain.store(counts.domain, Ordering::Relaxed);
        self.reverse.store(counts.reverse, Ordering::Relaxed);
    }

    /// Adds to counts that several tasks share.
    pub(crate) fn add(&self, counts: Counts) {
        self.domain.fetch_add(counts.domain, Ordering::Relaxed);
        self.reverse.fetch_add(counts.reverse, Ordering::Relaxed);
    }

    /// Adds questions that were dropped because they had waited too long.
    pub(crate) fn add_overloaded(&self, count: u64) {
        self.overloaded.fetch_add(count, Ordering::Relaxed);
    }

    /// How many were dropped so far.
    pub(crate) fn overloaded(&self) -> u64 {
        self.overloaded.load(Ordering::Relaxed)
    }

    fn read(&self) -> Counts {
        Counts { domain: self.domain.load(Ordering::Relaxed), reverse: self.reverse.load(Ordering::Relaxed) }
    }
}

/// Passes counts on to the metrics recorder under the reference's names.
pub(super) struct Reporter {
    tallies: Vec<Arc<Tally>>,
    node: String,
    reported: Counts,
    overloaded: u64,
}

impl Reporter {
    pub(super) fn new(tallies: Vec<Arc<Tally>>, node: String) -> Self {
        Self { tallies, node, reported: Counts::default(), overloaded: 0 }
    }

    /// Reports what was added since the last report; `more` are counts kept elsewhere.
    pub(super) fn report(&mut self, more: &Tally) {
        let mut now = more.read();
        for tally in &self.tallies {
            let one = tally.read();
            now.domain += one.domain;
            now.reverse += one.reverse;
        }
        let added = |now: u64, before: u64| now.saturating_sub(before);
        let node = || self.node.clone();
        metrics::counter!("consul.dns.domain_query", "node" => node())
            .increment(added(now.domain, self.reported.domain));
        metrics::counter!("consul.dns.ptr_query", "node" => node())
            .increment(added(now.reverse, self.reported.reverse));
        self.reported = now;
        let overloaded = self.tallies.iter().map(|tally| tally.overloaded()).sum();
        metrics::counter!("consul.dns.overloaded", "node" => node()).increment(added(overloaded, self.overloaded));
        self.overloaded = overloaded;
    }
}
