//! Goes through a case file, step by step, and tells what differed.

use std::fmt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use regex::Regex;
use serde_json::Value;

use super::bindings::Var;
use super::case::{Action, Case, Step};
use super::compare::{compare, compare_until};
use super::observe::{Observation, observe};
use super::pending::Pending;
use super::text::plain;
use super::world::{StartError, World};

/// The time one file may take.
const FILE_BUDGET: Duration = Duration::from_secs(150);
/// Pause between two looks of a read that follows a change.
const PAUSE: Duration = Duration::from_millis(50);
/// A step that is known to differ is not looked at again for longer than this.
const PENDING_LAG: Duration = Duration::from_millis(300);
/// A port may be taken by another program between choosing and binding it.
const START_TRIES: usize = 3;
/// The most differences told of a step.
const MAX_DIFFERENCES: usize = 6;

/// What came of a file.
#[derive(Debug, Default)]
pub struct Report {
    /// How many counted steps passed.
    pub passed: usize,
    /// What differed and should not have.
    pub failures: Vec<Failure>,
    /// Steps (or the file) on the pending list that pass.
    pub stale: Vec<String>,
    /// The end of the agent's log, when anything failed.
    pub log: String,
}

/// A step that differed.
#[derive(Debug)]
pub struct Failure {
    /// The step's number, from 0.
    pub step: usize,
    /// What it does.
    pub label: String,
    /// The behaviour in words.
    pub note: String,
    /// How it differed.
    pub differences: Vec<String>,
}

impl Report {
    /// Whether everything is as the recording and the pending list say.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.stale.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            let note = if failure.note.is_empty() { String::new() } else { format!("  -- {}", failure.note) };
            writeln!(f, "step {} {}{note}", failure.step, failure.label)?;
            for difference in failure.differences.iter().take(MAX_DIFFERENCES) {
                writeln!(f, "    {difference}")?;
            }
            if failure.differences.len() > MAX_DIFFERENCES {
                writeln!(f, "    ... {} more", failure.differences.len() - MAX_DIFFERENCES)?;
            }
        }
        for stale in &self.stale {
            writeln!(f, "{stale}: passes; remove it from pending.json")?;
        }
        if !self.log.is_empty() {
            writeln!(f, "the end of the agent's log:\n{}", self.log)?;
        }
        Ok(())
    }
}

/// Replays a file against a binary.
pub fn run(binary: &Path, case: &Case, pending: &Pending) -> Report {
    let mut report = Report::default();
    let mut world = match start(binary, case) {
        Ok(world) => world,
        Err(reason) => {
            if !matches!(pending, Pending::Whole(_)) {
                report.not_run(case, 0, pending, &reason.to_string());
            }
            return report;
        }
    };
    let ended =
        Replay { world: &mut world, case, pending, report: &mut report, lag: Lag::default(), setup: None }.run();
    if let Err((number, reason)) = ended {
        report.not_run(case, number, pending, &format!("{reason:#}"));
    }
    if let Pending::Whole(_) = pending {
        if report.failures.is_empty() {
            report.stale.push("the whole file".to_owned());
        }
        report.failures.clear();
    }
    if !report.is_good() {
        report.log = world.log_tail(25);
    }
    report
}

fn start(binary: &Path, case: &Case) -> Result<World, StartError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match World::start(binary, case) {
            Err(StartError::Ended(..)) if tries < START_TRIES => {}
            other => return other,
        }
    }
}

impl Report {
    /// Every counted step from there on fails for the same reason, which is told once.
    fn not_run(&mut self, case: &Case, from: usize, pending: &Pending, reason: &str) {
        let mut reason = format!("not run: {reason}");
        for (number, step) in case.steps.iter().enumerate().skip(from) {
            if step.counted() && pending.reason(number).is_none() {
                let told = std::mem::replace(&mut reason, "not run".to_owned());
                self.failures.push(Failure::of(number, step, vec![told]));
            }
        }
    }
}

impl Failure {
    fn of(number: usize, step: &Step, differences: Vec<String>) -> Self {
        Self { step: number, label: step.label(), note: step.note.clone(), differences }
    }
}

/// How long reads may still lag behind the changes made so far.
#[derive(Debug, Default)]
struct Lag {
    end: Option<Instant>,
    length: Duration,
}

impl Lag {
    fn after(&mut self, step: &Step) {
        let seconds = step.lag();
        if seconds > 0.0 {
            self.length = Duration::from_secs_f64(seconds);
            let end = Instant::now() + self.length;
            self.end = Some(self.end.map_or(end, |earlier| earlier.max(end)));
        }
    }

    fn until(&self, patience: f64) -> Option<Instant> {
        Some(self.end?.min(Instant::now() + self.length.mul_f64(patience)))
    }
}

struct Replay<'a> {
    world: &'a mut World,
    case: &'a Case,
    pending: &'a Pending,
    report: &'a mut Report,
    lag: Lag,
    /// A preparing step that went wrong: told beside later differences.
    setup: Option<String>,
}

impl Replay<'_> {
    fn run(mut self) -> Result<(), (usize, anyhow::Error)> {
        let start = Instant::now();
        for (number, step) in self.case.steps.iter().enumerate() {
            if start.elapsed() > FILE_BUDGET {
                return Err((number, anyhow::anyhow!("the file's time is used up")));
            }
            self.step(number, step).map_err(|reason| (number, reason))?;
            self.lag.after(step);
            if matches!(self.pending, Pending::Whole(_)) && !self.report.failures.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn step(&mut self, number: usize, step: &Step) -> anyhow::Result<()> {
        match step.action() {
            Action::Sleep(seconds) => sleep(Duration::from_secs_f64(seconds)), // the recording's own time
            Action::Config(config) => {
                self.world.write_config(config.as_object().context("a configuration is an object")?)?;
            }
            Action::Wait(inner) => self.wait(number, step, inner)?,
            Action::Setup(_) => self.set_up(number, step)?,
            _ => self.counted(number, step)?,
        }
        Ok(())
    }

    fn wait(&mut self, number: usize, step: &Step, inner: &Step) -> anyhow::Result<()> {
        let seconds = step.timeout.unwrap_or(8.0) * self.world.patience().max(0.5);
        let waits = self.pending.reason(number);
        let end = Instant::now() + if waits.is_some() { PENDING_LAG } else { Duration::from_secs_f64(seconds) };
        loop {
            let seen = observe(self.world, inner)?;
            let differences = compare_until(&self.world.bindings, inner, &step.until, &seen);
            if differences.is_empty() || Instant::now() > end {
                save(self.world, step, &seen);
                if let (true, Some(reason)) = (differences.is_empty(), waits) {
                    self.report.stale.push(format!("step {number} {} ({reason})", step.label()));
                }
                self.note_setup(number, step, differences.first().cloned());
                return Ok(());
            }
            sleep(step.every.map_or(PAUSE, Duration::from_secs_f64));
        }
    }

    fn set_up(&mut self, number: usize, step: &Step) -> anyhow::Result<()> {
        let mut seen = Observation::default();
        for count in 1..=step.times.unwrap_or(1) {
            if step.times.is_some() {
                for (name, value) in
                    [("i", format!("{count}")), ("ii", format!("{count:02}")), ("iii", format!("{count:03}"))]
                {
                    self.world.bindings.vars.insert(name.to_owned(), Var::Value(value.into()));
                }
            }
            seen = observe(self.world, step)?;
            if seen.view.get("status") != Some(&200.into()) {
                break;
            }
        }
        save(self.world, step, &seen);
        let good = seen.view.get("status").and_then(Value::as_u64).is_some_and(|status| (200..300).contains(&status));
        let what = || {
            let parts = ["error", "status", "text", "json"];
            parts.iter().filter_map(|part| seen.view.get(*part)).map(plain).collect::<Vec<_>>().join(" ")
        };
        self.note_setup(number, step, (!good).then(what));
        Ok(())
    }

    fn note_setup(&mut self, number: usize, step: &Step, problem: Option<String>) {
        if let Some(problem) = problem {
            self.setup = Some(format!("step {number} {}: {problem}", step.label()));
        }
    }

    fn counted(&mut self, number: usize, step: &Step) -> anyhow::Result<()> {
        let waits = self.pending.reason(number);
        let (seen, mut differences) = self.look(step, waits.is_some())?;
        save(self.world, step, &seen);
        match (differences.is_empty(), waits) {
            (true, None) => self.report.passed += 1,
            (true, Some(reason)) => {
                self.report.stale.push(format!("step {number} {} ({reason})", step.label()));
            }
            (false, Some(_)) => {}
            (false, None) => {
                differences
                    .extend(self.setup.iter().map(|setup| format!("(before that, a preparation failed: {setup})")));
                self.report.failures.push(Failure::of(number, step, differences));
            }
        }
        Ok(())
    }

    /// Makes the step; a read that follows a change is made again until it agrees or the change's time is over.
    fn look(&mut self, step: &Step, expected_to_differ: bool) -> anyhow::Result<(Observation, Vec<String>)> {
        let mut seen = observe(self.world, step)?;
        let mut differences = compare(&self.world.bindings, step, &seen);
        if differences.is_empty() || !step.is_read() {
            return Ok((seen, differences));
        }
        let Some(mut until) = self.lag.until(self.world.patience()) else { return Ok((seen, differences)) };
        if expected_to_differ {
            until = until.min(Instant::now() + PENDING_LAG);
        }
        let waited = Instant::now() < until;
        while !differences.is_empty() && Instant::now() < until && self.world.alive() {
            sleep(PAUSE);
            seen = observe(self.world, step)?;
            differences = compare(&self.world.bindings, step, &seen);
        }
        if waited && !differences.is_empty() && !expected_to_differ {
            self.world.in_vain();
        }
        Ok((seen, differences))
    }
}

/// Keeps what a step wants kept. What cannot be had gets a name of its own, so that later steps fail in words.
fn save(world: &mut World, step: &Step, seen: &Observation) {
    for (name, source) in &step.save {
        match pick(source, seen) {
            Some(value) => _ = world.bindings.vars.insert(name.clone(), value),
            None => {
                _ = world
                    .bindings
                    .vars
                    .entry(name.clone())
                    .or_insert_with(|| Var::Value(format!("unset-{name}").into()))
            }
        }
    }
}

fn pick(source: &str, seen: &Observation) -> Option<Var> {
    let text = || match (seen.view.get("text"), seen.view.get("stdout")) {
        (Some(text), _) => Some(plain(text)),
        (None, Some(lines)) => Some(super::diff::strings(Some(lines)).join("\n")),
        (None, None) => None,
    };
    if source == "raw" {
        return Some(Var::Bytes(seen.raw.clone()));
    }
    let value = if source == "text" {
        text()?.into()
    } else if let Some(name) = source.strip_prefix("header:") {
        seen.header(name)?.into()
    } else if let Some(pattern) = source.strip_prefix("find:") {
        Regex::new(pattern).ok()?.captures(&text()?)?.get(1)?.as_str().into()
    } else {
        let path = source.strip_prefix("json:")?;
        path.split('.')
            .try_fold(seen.view.get("json")?, |value, part| match value {
                Value::Array(list) => list.get(part.parse::<usize>().ok()?),
                other => other.get(part),
            })?
            .clone()
    };
    Some(Var::Value(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_saved_from_where_the_step_says() {
        let mut seen = Observation { raw: b"raw".to_vec(), ..Observation::default() };
        seen.headers.insert("x-consul-index".to_owned(), "7".to_owned());
        seen.view.insert("json".to_owned(), json!([{"ModifyIndex": 12}]));
        seen.view.insert("text".to_owned(), json!("id is abc."));
        let table = [
            ("header:X-Consul-Index", Some("7")),
            ("json:0.ModifyIndex", Some("12")),
            ("json:1.ModifyIndex", None),
            ("raw", Some("raw")),
            ("text", Some("id is abc.")),
            (r"find:id is (\w+)", Some("abc")),
            ("else", None),
        ];
        for (source, wanted) in table {
            let found = pick(source, &seen).map(|var| var.text());
            assert_eq!(found.as_deref(), wanted, "{source}");
        }
    }
}
