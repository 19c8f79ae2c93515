//! The recorder: gives every metric one handle that feeds both the exporter and our own series.

use std::sync::Arc;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{
    Metrics,
    series::{Recorded, Registry, Set},
};

/// Puts the prefix before names and doubles handles.
pub(super) struct Recorder {
    prefix: &'static str,
    exporter: PrometheusRecorder,
    registry: Arc<Registry>,
}

impl Recorder {
    pub(super) fn new(prefix: &'static str, exporter: PrometheusRecorder, registry: Arc<Registry>) -> Self {
        Self { prefix, exporter, registry }
    }

    fn prefixed(&self, key: &Key) -> Key {
        let name = format!("{}.{}", self.prefix, key.name());
        Key::from_parts(name, key.labels().cloned().collect::<Vec<_>>())
    }
}

/// One counter in two places.
struct BothCounters {
    exporter: Counter,
    own: Arc<Recorded>,
}

impl CounterFn for BothCounters {
    fn increment(&self, value: u64) {
        self.exporter.increment(value);
        CounterFn::increment(&*self.own, value);
    }

    fn absolute(&self, value: u64) {
        self.exporter.absolute(value);
        self.own.absolute(value);
    }
}

/// One gauge in two places.
struct BothGauges {
    exporter: Gauge,
    own: Arc<Set>,
}

impl GaugeFn for BothGauges {
    fn increment(&self, value: f64) {
        self.exporter.increment(value);
        self.own.increment(value);
    }

    fn decrement(&self, value: f64) {
        self.exporter.decrement(value);
        self.own.decrement(value);
    }

    fn set(&self, value: f64) {
        self.exporter.set(value);
        self.own.set(value);
    }
}

/// One histogram in two places.
struct BothHistograms {
    exporter: Histogram,
    own: Arc<Recorded>,
}

impl HistogramFn for BothHistograms {
    fn record(&self, value: f64) {
        self.exporter.record(value);
        self.own.record(value);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let key = self.prefixed(key);
        let Some(own) = self.registry.counter(&key) else { return Counter::noop() };
        Counter::from_arc(Arc::new(BothCounters { exporter: self.exporter.register_counter(&key, metadata), own }))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let key = self.prefixed(key);
        let Some(own) = self.registry.gauge(&key) else { return Gauge::noop() };
        Gauge::from_arc(Arc::new(BothGauges { exporter: self.exporter.register_gauge(&key, metadata), own }))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let key = self.prefixed(key);
        let Some(own) = self.registry.sample(&key) else { return Histogram::noop() };
        Histogram::from_arc(Arc::new(BothHistograms {
            exporter: self.exporter.register_histogram(&key, metadata),
            own,
        }))
    }
}

/// The process's recorder: the one within [`Metrics`].
pub(super) struct Shared(pub(super) Metrics);

impl metrics::Recorder for Shared {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.inner.recorder.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.inner.recorder.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.inner.recorder.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.inner.recorder.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.inner.recorder.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.inner.recorder.register_histogram(key, metadata)
    }
}
