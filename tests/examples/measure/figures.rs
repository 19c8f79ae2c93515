//! Parts of a measurement that are run for every binary, and their figures side by side.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::median;

/// What one measure gives: a figure, its unit, and its name.
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
}

pub(crate) fn figure(name: impl Into<String>, unit: &'static str, value: f64) -> Figure {
    Figure { name: name.into(), unit, value }
}

/// Measures one binary. Every binary gives the same figures in the same order.
pub(crate) type Measure = fn(&Path) -> Result<Vec<Figure>>;

/// Measures every binary, part by part (those that `MEASURE` names), and prints each figure with its ratio to the last
/// binary's.
pub(crate) fn compare(word: &str, parts: &[(&str, Measure)], binaries: &[String]) -> Result<()> {
    ensure!(!binaries.is_empty(), "usage: measure {word} BINARY [OTHER-BINARY ...]");
    let binaries: Vec<PathBuf> = binaries.iter().map(std::fs::canonicalize).collect::<Result<_, _>>()?;
    let wanted = std::env::var("MEASURE").ok();
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|part| part == name));
    for (_, measure) in parts.iter().filter(|(name, _)| is_wanted(name)) {
        let mut columns: Vec<Vec<Figure>> = Vec::new();
        for binary in &binaries {
            columns.push(measure(binary).with_context(|| format!("measuring {}", binary.display()))?);
        }
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

/// How many thousandths, hundredths, … of a second values are: median, nine in ten, 99 in 100 and the highest.
pub(crate) fn spread(name: &str, unit: &'static str, values: &[f64]) -> Vec<Figure> {
    let part = |label: &str, part| figure(format!("{name}, {label} of {}", values.len()), unit, quantile(values, part));
    vec![part("p50", 0.5), part("p90", 0.9), part("p99", 0.99), part("worst", 1.0)]
}
