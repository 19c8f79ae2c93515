//! Series of ten seconds, as go-metrics keeps them for its JSON.
//!
//! The arithmetic is pure: which interval it is, is an argument. Of each series the interval under way and the one
//! before are kept, so memory does not grow with time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use parking_lot::Mutex;
use serde::Serialize;

use crate::http::limits::MAX_SERIES;

/// The length of an interval.
pub(super) const INTERVAL_SECONDS: u64 = 10;

/// The interval a time since 1970 is in.
pub(super) fn interval_at(since_epoch: Duration) -> u64 {
    since_epoch.as_secs() / INTERVAL_SECONDS
}

fn interval_now() -> u64 {
    interval_at(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// What was recorded in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Aggregate {
    interval: u64,
    count: u64,
    sum: f64,
    sum_of_squares: f64,
    min: f64,
    max: f64,
}

impl Aggregate {
    fn add(&mut self, value: f64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The deviation of a sample, 0 for a single value.
    fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let count = self.count as f64;
        let variance = (count * self.sum_of_squares - self.sum * self.sum) / (count * (count - 1.0));
        variance.max(0.0).sqrt()
    }
}

/// One series: the interval under way and the one before it in which something was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Series {
    current: Aggregate,
    last: Aggregate,
}

impl Series {
    fn add(&mut self, interval: u64, value: f64) {
        if self.current.interval != interval {
            self.last = std::mem::replace(&mut self.current, Aggregate { interval, ..Aggregate::default() });
        }
        self.current.add(value);
    }

    /// What was recorded in `interval`.
    fn of(&self, interval: u64) -> Option<Aggregate> {
        [self.current, self.last].into_iter().find(|aggregate| aggregate.interval == interval && aggregate.count > 0)
    }
}

/// A series that many record to: a counter or a histogram.
#[derive(Default)]
pub(super) struct Recorded(Mutex<Series>);

impl Recorded {
    fn add(&self, value: f64) {
        self.0.lock().add(interval_now(), value);
    }
}

impl CounterFn for Recorded {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _value: u64) {
        // Totals of others have no rate within an interval; Prometheus is told them.
    }
}

impl HistogramFn for Recorded {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

/// A value that is set.
#[derive(Default)]
pub(super) struct Set(Mutex<f64>);

impl GaugeFn for Set {
    fn increment(&self, value: f64) {
        *self.0.lock() += value;
    }

    fn decrement(&self, value: f64) {
        *self.0.lock() -= value;
    }

    fn set(&self, value: f64) {
        *self.0.lock() = value;
    }
}

/// Every series by name and labels.
#[derive(Default)]
pub(super) struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    counters: HashMap<Key, Arc<Recorded>>,
    samples: HashMap<Key, Arc<Recorded>>,
    gauges: HashMap<Key, Arc<Set>>,
}

impl Tables {
    /// Whether one more series may be kept.
    fn has_room(&self) -> bool {
        self.counters.len() + self.samples.len() + self.gauges.len() < MAX_SERIES
    }
}

impl Registry {
    pub(super) fn counter(&self, key: &Key) -> Option<Arc<Recorded>> {
        let mut tables = self.tables.lock();
        if let Some(found) = tables.counters.get(key) {
            return Some(Arc::clone(found));
        }
        let made = tables.has_room().then(Arc::<Recorded>::default)?;
        tables.counters.insert(key.clone(), Arc::clone(&made));
        Some(made)
    }

    pub(super) fn sample(&self, key: &Key) -> Option<Arc<Recorded>> {
        let mut tables = self.tables.lock();
        if let Some(found) = tables.samples.get(key) {
            return Some(Arc::clone(found));
        }
        let made = tables.has_room().then(Arc::<Recorded>::default)?;
        tables.samples.insert(key.clone(), Arc::clone(&made));
        Some(made)
    }

    pub(super) fn gauge(&self, key: &Key) -> Option<Arc<Set>> {
        let mut tables = self.tables.lock();
        if let Some(found) = tables.gauges.get(key) {
            return Some(Arc::clone(found));
        }
        let made = tables.has_room().then(Arc::<Set>::default)?;
        tables.gauges.insert(key.clone(), Arc::clone(&made));
        Some(made)
    }

    /// Everything of the interval before `now`, and which that is; each list is ordered by name.
    pub(super) fn show(&self, now: u64) -> (u64, Vec<GaugeView>, Vec<CounterView>, Vec<SampleView>) {
        let interval = now.saturating_sub(1);
        let tables = self.tables.lock();
        let aggregates = |series: &HashMap<Key, Arc<Recorded>>| {
            let mut views: Vec<SampleView> = series
                .iter()
                .filter_map(|(key, recorded)| Some(SampleView::new(key, recorded.0.lock().of(interval)?)))
                .collect();
            views.sort_by(|a, b| a.name.cmp(&b.name));
            views
        };
        let mut gauges: Vec<GaugeView> = tables
            .gauges
            .iter()
            .map(|(key, set)| GaugeView { name: key.name().to_owned(), value: *set.0.lock(), labels: labels(key) })
            .collect();
        gauges.sort_by(|a, b| a.name.cmp(&b.name));
        (interval, gauges, aggregates(&tables.counters), aggregates(&tables.samples))
    }
}

/// A gauge in JSON.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GaugeView {
    name: String,
    value: f64,
    labels: BTreeMap<String, String>,
}

/// A counter in JSON: the same figures as a sample.
pub(super) type CounterView = SampleView;

/// What was recorded in ten seconds, in JSON.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SampleView {
    name: String,
    count: u64,
    rate: f64,
    sum: f64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    labels: BTreeMap<String, String>,
}

impl SampleView {
    fn new(key: &Key, aggregate: Aggregate) -> Self {
        Self {
            name: key.name().to_owned(),
            count: aggregate.count,
            rate: aggregate.sum / INTERVAL_SECONDS as f64,
            sum: aggregate.sum,
            min: aggregate.min,
            max: aggregate.max,
            mean: aggregate.mean(),
            stddev: aggregate.deviation(),
            labels: labels(key),
        }
    }
}

fn labels(key: &Key) -> BTreeMap<String, String> {
    key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use metrics::{GaugeFn, Key};

    use super::{Registry, Series};
    use crate::http::limits::MAX_SERIES;

    #[test]
    fn figures_of_an_interval() {
        let mut series = Series::default();
        for value in [2.0, 4.0, 6.0] {
            series.add(7, value);
        }
        let aggregate = series.of(7).unwrap();
        assert_eq!((aggregate.count, aggregate.sum, aggregate.min, aggregate.max), (3, 12.0, 2.0, 6.0));
        assert_eq!((aggregate.mean(), aggregate.deviation()), (4.0, 2.0));
        assert_eq!(series.of(6), None);
    }

    #[test]
    fn the_interval_before_is_kept_and_older_ones_go() {
        let mut series = Series::default();
        series.add(7, 1.0);
        series.add(8, 2.0);
        assert_eq!(series.of(7).unwrap().sum, 1.0);
        series.add(9, 3.0);
        assert_eq!(series.of(7), None);
        assert_eq!(series.of(8).unwrap().sum, 2.0);
    }

    #[test]
    fn a_gauge_is_told_as_it_is() {
        let registry = Registry::default();
        registry.gauge(&Key::from_name("consul.b")).unwrap().set(3.0);
        registry.gauge(&Key::from_name("consul.a")).unwrap().increment(1.5);
        let (interval, gauges, counters, samples) = registry.show(100);
        assert_eq!(interval, 99);
        let found: Vec<_> = gauges.iter().map(|gauge| (gauge.name.as_str(), gauge.value)).collect();
        assert_eq!(found, [("consul.a", 1.5), ("consul.b", 3.0)]);
        assert!(counters.is_empty() && samples.is_empty());
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let registry = Registry::default();
        for number in 0..MAX_SERIES {
            assert!(registry.counter(&Key::from_name(format!("c{number}"))).is_some());
        }
        assert!(registry.counter(&Key::from_name("c0")).is_some());
        assert!(registry.counter(&Key::from_name("one too many")).is_none());
        assert!(registry.sample(&Key::from_name("one too many")).is_none());
        assert!(registry.gauge(&Key::from_name("one too many")).is_none());
    }
}
