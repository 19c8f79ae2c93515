//! The agent's metrics: recorded anywhere through the `metrics` crate, shown by `/v1/agent/metrics`.
//!
//! ```text
//!   counter! gauge! histogram! ─► Recorder ─┬─► the exporter's registry ─► ?format=prometheus
//!                                           └─► series of ten seconds   ─► JSON as go-metrics has it
//! ```
//!
//! Whoever records names a metric without its prefix (`http.GET.v1.agent.self`); the recorder puts `consul.` before
//! it, which dashboards expect. The number of series is bounded.

mod recorder;
mod series;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use metrics::{Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use serde::Serialize;
use usher_cluster::{agent::Agent, catalog::model::Status};

use self::{
    recorder::Recorder,
    series::{CounterView, GaugeView, Registry, SampleView},
};

/// What every metric's name begins with.
const PREFIX: &str = "consul";

/// The quantiles told to Prometheus.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// How often what was recorded is put in order; between times it is kept one by one.
pub(super) const UPKEEP: Duration = Duration::from_secs(5);

const METADATA: Metadata<'static> = Metadata::new("usher", Level::INFO, None);

/// The metrics of this process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    recorder: Recorder,
    prometheus: PrometheusHandle,
    registry: Arc<Registry>,
    /// How long requests took, by method and path.
    requests: Mutex<HashMap<(String, &'static str), Histogram>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of their own, which only [`Metrics::install`] lets others record to.
    pub fn new() -> Self {
        // The quantiles are a constant within 0 and 1; were they not, the exporter's own would be told.
        let builder = PrometheusBuilder::new().set_quantiles(&QUANTILES).unwrap_or_else(|_| PrometheusBuilder::new());
        let exporter = builder.build_recorder();
        let prometheus = exporter.handle();
        let registry = Arc::new(Registry::default());
        let recorder = Recorder::new(PREFIX, exporter, Arc::clone(&registry));
        Self { inner: Arc::new(Inner { recorder, prometheus, registry, requests: Mutex::default() }) }
    }

    /// Makes these the metrics of the whole process; once.
    pub fn install(&self) -> Result<(), String> {
        metrics::set_global_recorder(recorder::Shared(self.clone())).map_err(|error| error.to_string())
    }

    /// Puts in order what was recorded since the last time.
    pub(super) fn upkeep(&self) {
        self.inner.prometheus.run_upkeep();
    }

    /// Records how long a request took. `pattern` is its route, so that the number of series stays small.
    pub(super) fn request(&self, method: &str, pattern: &'static str, took: Duration) {
        let mut requests = self.inner.requests.lock();
        let histogram = requests.entry((method.to_owned(), pattern)).or_insert_with(|| {
            let name = format!("http.{method}{}", dotted(pattern));
            self.inner.recorder.register_histogram(&Key::from_name(name), &METADATA)
        });
        histogram.record(took.as_secs_f64() * 1e3);
    }

    /// Sets the gauges that are looked up rather than recorded.
    fn measure(&self, agent: &Agent) {
        let set = |name: &'static str, value: f64| {
            let labels: Vec<Label> = Vec::new();
            self.inner.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
        };
        let memory = memory(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        set("runtime.alloc_bytes", memory.private as f64);
        set("runtime.sys_bytes", memory.resident as f64);
        set("runtime.num_tasks", tokio::runtime::Handle::current().metrics().num_alive_tasks() as f64);
        let status = agent.status();
        set("raft.applied_index", status.applied_index as f64);
        set("raft.last_index", status.last_log_index as f64);
        let local = agent.local().state();
        set("agent.services", local.services.len() as f64);
        let in_state = |status: &Status| local.checks.values().filter(|check| check.status == *status).count() as f64;
        set("agent.checks.passing", in_state(&Status::Passing));
        set("agent.checks.warning", in_state(&Status::Warning));
        set("agent.checks.critical", in_state(&Status::Critical));
    }

    /// As go-metrics shows them: the last ten seconds that are complete.
    pub(super) fn summary(&self, agent: &Agent) -> Summary {
        self.measure(agent);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (interval, gauges, counters, samples) = self.inner.registry.show(series::interval_at(now));
        Summary { timestamp: timestamp(interval), gauges, points: Vec::new(), counters, samples }
    }

    /// The text format of Prometheus.
    pub(super) fn prometheus(&self, agent: &Agent) -> String {
        self.measure(agent);
        self.inner.prometheus.render()
    }
}

/// The answer of `/v1/agent/metrics`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    timestamp: String,
    gauges: Vec<GaugeView>,
    points: Vec<()>,
    counters: Vec<CounterView>,
    samples: Vec<SampleView>,
}

/// The begin of an interval, as Go prints a time.
fn timestamp(interval: u64) -> String {
    let seconds = i64::try_from(interval.saturating_mul(series::INTERVAL_SECONDS)).unwrap_or_default();
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// A route's pattern as part of a metric's name: `/v1/catalog/node/` is `.v1.catalog.node._`.
fn dotted(pattern: &str) -> String {
    let mut name = pattern.replace('/', ".");
    if name.ends_with('.') {
        name.push('_');
    }
    name
}

/// Bytes of memory in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    /// Of this process alone.
    private: u64,
    /// With what is mapped from files.
    resident: u64,
}

/// Reads `/proc/self/status`.
fn memory(status: &str) -> Memory {
    let size = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kilobytes.saturating_mul(1024))
    };
    Memory { private: size("RssAnon").unwrap_or_default(), resident: size("VmRSS").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Memory, Metrics, dotted, memory, timestamp};

    #[test]
    fn requests_are_told_to_prometheus() {
        let metrics = Metrics::new();
        metrics.request("GET", "/v1/agent/self", Duration::from_millis(2));
        metrics.request("GET", "/v1/agent/self", Duration::from_millis(4));
        metrics.upkeep();
        let text = metrics.inner.prometheus.render();
        assert!(text.contains("consul_http_GET_v1_agent_self_count 2"), "{text}");
        assert!(text.contains("consul_http_GET_v1_agent_self{quantile=\"0.99\"}"), "{text}");
    }

    #[test]
    fn names() {
        assert_eq!(dotted("/v1/agent/self"), ".v1.agent.self");
        assert_eq!(dotted("/v1/catalog/node/"), ".v1.catalog.node._");
        assert_eq!(timestamp(179_534_337), "2026-11-22 10:29:30 +0000 UTC");
    }

    #[test]
    fn memory_of_the_process() {
        let status = "Name:\tx\nVmRSS:\t   2048 kB\nRssAnon:\t 1024 kB\n";
        assert_eq!(memory(status), Memory { private: 1_048_576, resident: 2_097_152 });
        assert_eq!(memory(""), Memory::default());
    }
}
