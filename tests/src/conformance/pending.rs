//! What does not pass, and why: `testdata/conformance/pending.json`, and what passes only by Consul's letter
//! (`dns_config { compat = "consul" }`): `testdata/conformance/compat.json`.
//!
//! A list of entries: a file (by name without `.json`), either what it `waits_for` (a part that is not built yet) or
//! how it `differs` (on purpose, with a row in the README), and, where most of the file passes, the numbers of the
//! `steps` that do not. Listed steps are still made, as later steps build on them; a `wait` among them is made once. A
//! listed step that passes makes the test fail, so that the list tells the truth. A file listed as a whole is replayed
//! up to its first difference.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::case::{Action, Case, Step};

/// Set to `off`, every step counts: for another implementation, or to see all that is missing.
pub const USHER_PENDING: &str = "USHER_PENDING";

/// One entry of the list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The case file, without `.json`.
    pub file: String,
    /// The steps that wait; all of the file when not given.
    pub steps: Option<Vec<usize>>,
    /// The part that is missing.
    pub waits_for: Option<String>,
    /// How the product differs, on purpose.
    pub differs: Option<String>,
}

impl Entry {
    /// Why it is listed: exactly one of the two reasons.
    pub fn reason(&self) -> anyhow::Result<String> {
        match (&self.waits_for, &self.differs) {
            (Some(reason), None) if !reason.trim().is_empty() => Ok(format!("waits for: {reason}")),
            (None, Some(reason)) if !reason.trim().is_empty() => Ok(format!("differs: {reason}")),
            _ => bail!("{}: either `waits_for` or `differs` says why", self.file),
        }
    }
}

/// What of one file waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pending {
    /// Nothing.
    #[default]
    Nothing,
    /// These steps, each with the reason.
    Steps(BTreeMap<usize, String>),
    /// The file, with the reason.
    Whole(String),
}

impl Pending {
    /// Why a step is listed, if it is.
    pub fn reason(&self, step: usize) -> Option<&str> {
        match self {
            Self::Steps(steps) => steps.get(&step).map(String::as_str),
            Self::Nothing | Self::Whole(_) => None,
        }
    }
}

/// What passes by no letter.
pub fn load() -> anyhow::Result<Vec<Entry>> {
    read("pending.json")
}

/// What passes by Consul's letter alone.
pub fn load_compat() -> anyhow::Result<Vec<Entry>> {
    read("compat.json")
}

fn read(name: &str) -> anyhow::Result<Vec<Entry>> {
    let path = super::folder().join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// What waits of a file; nothing when [`USHER_PENDING`] says `off`.
pub fn of(file: &str) -> anyhow::Result<Pending> {
    if is_off() {
        return Ok(Pending::Nothing);
    }
    pick(&load()?, file)
}

/// What waits of a file and what differs by the letter of the RFCs; `None` if nothing differs.
pub fn by_default(file: &str) -> anyhow::Result<Option<Pending>> {
    let mut list = load_compat()?;
    if is_off() || list.iter().all(|entry| entry.file != file) {
        return Ok(None);
    }
    list.extend(load()?);
    pick(&list, file).map(Some)
}

fn is_off() -> bool {
    std::env::var(USHER_PENDING).is_ok_and(|value| value == "off")
}

fn pick(list: &[Entry], file: &str) -> anyhow::Result<Pending> {
    let mut steps = BTreeMap::new();
    for entry in list.iter().filter(|entry| entry.file == file) {
        let reason = entry.reason()?;
        match &entry.steps {
            None => return Ok(Pending::Whole(reason)),
            Some(numbers) => steps.extend(numbers.iter().map(|&number| (number, reason.clone()))),
        }
    }
    Ok(if steps.is_empty() { Pending::Nothing } else { Pending::Steps(steps) })
}

/// Whether every entry names a recorded file and steps of it that count, none twice, and a reason.
pub fn check(list: &[Entry]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for entry in list {
        let file = &entry.file;
        entry.reason()?;
        let case = Case::load(file)?;
        let Some(steps) = &entry.steps else {
            ensure!(seen.insert((file, None)), "{file}: listed twice");
            continue;
        };
        ensure!(!steps.is_empty(), "{file}: no steps");
        ensure!(!seen.contains(&(file, None)), "{file}: listed as a whole already");
        for &number in steps {
            let known = |step: &Step| step.counted() || matches!(step.action(), Action::Wait(_));
            ensure!(case.steps.get(number).is_some_and(known), "{file}: step {number} neither counts nor waits");
            ensure!(seen.insert((file, Some(number))), "{file}: step {number} is listed twice");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, steps: Option<Vec<usize>>, waits_for: &str) -> Entry {
        Entry { file: file.to_owned(), steps, waits_for: Some(waits_for.to_owned()), differs: None }
    }

    #[test]
    fn entries_of_a_file_are_put_together() {
        let list = [entry("a", Some(vec![1]), "x"), entry("a", Some(vec![3]), "y"), entry("b", None, "z")];
        let steps = BTreeMap::from([(1, "waits for: x".to_owned()), (3, "waits for: y".to_owned())]);
        assert_eq!(pick(&list, "a").unwrap(), Pending::Steps(steps));
        assert_eq!(pick(&list, "b").unwrap(), Pending::Whole("waits for: z".to_owned()));
        assert_eq!(pick(&list, "c").unwrap(), Pending::Nothing);
    }

    #[test]
    fn a_list_that_names_what_is_not_there_is_refused() {
        let bad = [
            vec![entry("no_such_file", None, "x")],
            vec![entry("dns_soa", None, " ")],
            vec![Entry { differs: Some("y".to_owned()), ..entry("dns_soa", None, "x") }],
            vec![entry("dns_soa", Some(vec![9999]), "x")],
            vec![entry("dns_soa", Some(vec![]), "x")],
            vec![entry("dns_soa", None, "x"), entry("dns_soa", None, "x")],
        ];
        for list in bad {
            assert!(check(&list).is_err(), "{list:?}");
        }
    }
}
