//! Counts as others may read them: each thread shows its own, a task reads them all now and then and passes on what was
//! added.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::counts::{Asked, CODES, Counts, KINDS, NUMBERS, Services, TIMES};

/// One thread's counts; on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Tally {
    numbers: [AtomicU64; NUMBERS],
    overloaded: AtomicU64,
    /// How often services were to be handed over: whoever sees another number than the last time does.
    wanted: AtomicU32,
    services: Mutex<Services>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            numbers: [const { AtomicU64::new(0) }; NUMBERS],
            overloaded: AtomicU64::new(0),
            wanted: AtomicU32::new(0),
            services: Mutex::default(),
        }
    }
}

impl Tally {
    /// Shows the counts of the thread this tally belongs to.
    pub(crate) fn show(&self, mut counts: Counts) {
        for (slot, number) in self.numbers.iter().zip(counts.numbers()) {
            slot.store(*number, Ordering::Relaxed);
        }
    }

    /// Adds to counts that several tasks share.
    pub(crate) fn add(&self, mut counts: Counts) {
        for (slot, number) in self.numbers.iter().zip(counts.numbers()).filter(|(_, number)| **number > 0) {
            slot.fetch_add(*number, Ordering::Relaxed);
        }
    }

    /// Takes over the services counted, if they are asked for and were not handed over since: `seen` is what the caller
    /// saw last.
    pub(crate) fn take_wanted(&self, services: &mut Services, seen: &mut u32) {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted != *seen {
            *seen = wanted;
            self.take(services);
        }
    }

    /// Takes over the services counted.
    pub(crate) fn take(&self, services: &mut Services) {
        if !services.is_empty() {
            services.move_to(&mut self.services.lock().unwrap_or_else(PoisonError::into_inner));
        }
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
        let mut counts = Counts::default();
        for (number, slot) in counts.numbers().zip(&self.numbers) {
            *number = slot.load(Ordering::Relaxed);
        }
        counts
    }

    /// What was handed over since the last time; asks for the rest.
    fn services(&self, all: &mut HashMap<Box<str>, Asked>) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let taken = std::mem::take(&mut *self.services.lock().unwrap_or_else(PoisonError::into_inner));
        for (service, asked) in taken.each() {
            let all = all.entry(service.into()).or_default();
            all.questions += asked.questions;
            all.negative += asked.negative;
        }
    }
}

/// Passes counts on to the metrics recorder: the reference's names, and ours.
pub(super) struct Reporter {
    udp: Vec<Arc<Tally>>,
    node: String,
    reported: [Counts; 2],
    overloaded: u64,
}

impl Reporter {
    pub(super) fn new(udp: Vec<Arc<Tally>>, node: String) -> Self {
        Self { udp, node, reported: Default::default(), overloaded: 0 }
    }

    /// Reports what was added since the last report; `streams` are the counts of everything but UDP.
    pub(super) fn report(&mut self, streams: &Tally) {
        let mut udp = Counts::default();
        let mut services = HashMap::new();
        for tally in &self.udp {
            udp.add(tally.read());
            tally.services(&mut services);
        }
        streams.services(&mut services);
        let tcp = streams.read();
        let [udp_before, tcp_before] = std::mem::replace(&mut self.reported, [udp, tcp]);
        let (udp, tcp) = (udp.since(udp_before), tcp.since(tcp_before));
        self.report_all(udp, tcp);
        report_transport("udp", udp);
        report_transport("tcp", tcp);
        for (service, asked) in services {
            let service = service.into_string();
            metrics::counter!("dns.service.queries", "service" => service.clone()).increment(asked.questions);
            metrics::counter!("dns.service.negative", "service" => service).increment(asked.negative);
        }
    }

    fn report_all(&mut self, mut all: Counts, tcp: Counts) {
        all.add(tcp);
        let node = || self.node.clone();
        metrics::counter!("dns.domain_query", "node" => node()).increment(all.domain);
        metrics::counter!("dns.ptr_query", "node" => node()).increment(all.reverse);
        metrics::counter!("dns.limited").increment(all.limited);
        let overloaded = self.udp.iter().map(|tally| tally.overloaded()).sum::<u64>();
        metrics::counter!("dns.overloaded").increment(overloaded.wrapping_sub(self.overloaded));
        self.overloaded = overloaded;
    }
}

fn report_transport(transport: &'static str, counts: Counts) {
    for ((_, kind), count) in KINDS.iter().zip(counts.kinds) {
        metrics::counter!("dns.queries", "transport" => transport, "type" => *kind).increment(count);
    }
    for ((_, code), count) in CODES.iter().zip(counts.codes) {
        metrics::counter!("dns.replies", "transport" => transport, "rcode" => *code).increment(count);
    }
    metrics::counter!("dns.truncated", "transport" => transport).increment(counts.truncated);
    // As Prometheus has histograms: each bucket holds those below it, too; seconds.
    let mut below = 0;
    for (at, count) in counts.times.into_iter().enumerate() {
        below += count;
        let bound = TIMES.get(at).map_or_else(|| "+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
        metrics::counter!("dns.latency_bucket", "transport" => transport, "le" => bound).increment(below);
    }
    metrics::counter!("dns.latency_count", "transport" => transport).increment(below);
    metrics::counter!("dns.latency_nanoseconds", "transport" => transport).increment(counts.nanoseconds);
}
