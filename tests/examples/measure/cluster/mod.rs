//! Measures clusters side by side in one run:
//!
//!     cargo run --release -p usher-tests --example measure -- cluster target/release/usher [OTHER-BINARY ...]
//!
//! Settings are the defaults of each binary. What counts packets needs network namespaces (root, `ip`, `nft`) and is
//! left out where there are none. `MEASURE=part,part` measures these parts alone.

mod membership;
mod writes;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;
use usher_tests::cluster::Cluster;

use crate::median;

/// The word before the binaries.
pub(crate) const PART: &str = "cluster";

/// What one measure gives: a figure, its unit, and its name.
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
}

pub(crate) fn figure(name: impl Into<String>, unit: &'static str, value: f64) -> Figure {
    Figure { name: name.into(), unit, value }
}

type Measure = fn(&Path) -> Result<Vec<Figure>>;

const PARTS: [(&str, Measure); 7] = [
    ("leader", writes::leader_killed),
    ("host", membership::host_killed),
    ("alarms", membership::false_alarms),
    ("idle", membership::idle),
    ("registrations", writes::registrations),
    ("catch-up", writes::catch_up),
    ("change", writes::change_until_seen),
];

/// Measures every binary, part by part, and prints each figure with its ratio to the last binary's.
pub(crate) fn compare(binaries: &[String]) -> Result<()> {
    ensure!(!binaries.is_empty(), "usage: measure {PART} BINARY [OTHER-BINARY ...]");
    let binaries: Vec<PathBuf> = binaries.iter().map(std::fs::canonicalize).collect::<Result<_, _>>()?;
    let wanted = std::env::var("MEASURE").ok();
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|part| part == name));
    for (_, measure) in PARTS.iter().filter(|(name, _)| is_wanted(name)) {
        let columns: Vec<Vec<Figure>> = binaries.iter().map(|binary| measure(binary)).collect::<Result<_>>()?;
        print(&columns);
    }
    Ok(())
}

fn print(columns: &[Vec<Figure>]) {
    let Some(last) = columns.last() else { return };
    for (row, reference) in last.iter().enumerate() {
        let values: Vec<f64> = columns.iter().filter_map(|column| column.get(row)).map(|figure| figure.value).collect();
        let texts: Vec<String> = values.iter().map(|value| format!("{value:>10.2} {:<4}", reference.unit)).collect();
        let ratios: Vec<String> =
            values.iter().take(values.len() - 1).map(|value| format!("x{:.3}", value / reference.value)).collect();
        println!("{:58} {} {}", reference.name, texts.join(" "), ratios.join(" "));
    }
}

/// A cluster with default settings that runs this binary.
pub(crate) fn plain(cluster: Cluster, binary: &Path) -> Cluster {
    cluster.of(binary).with(json!({
        "log_level": "err", "performance": null, "retry_interval": null, "limits": {"http_max_conns_per_client": 1000},
    }))
}

/// One in `part` of the values is above this.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = ((sorted.len() as f64) * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The median, lowest and highest of several rounds as figures.
pub(crate) fn rounds(name: &str, unit: &'static str, values: &[f64]) -> Vec<Figure> {
    let highest = values.iter().copied().fold(f64::NAN, f64::max);
    vec![
        figure(format!("{name}, median of {}", values.len()), unit, median(values)),
        figure(format!("{name}, worst of {}", values.len()), unit, highest),
    ]
}
