//! Replays the recorded cases of `testdata/conformance` against the binary under test.
//!
//! A case file is a list of steps and what the reference answered to each. [`case`] reads it, [`world`] starts a
//! fresh agent with what the file wants around it, [`observe`] makes a step and notes what came back, [`compare`]
//! holds that against the expectation, and [`run`] goes through the file and gives a [`run::Report`]. [`pending`] is
//! the list of what waits for a part that is not built.
//!
//! The recorded files are never edited. Their format and the rules of comparison are told in
//! `testdata/conformance/README.md`.

pub mod bindings;
pub mod case;
pub mod compare;
mod diff;
mod fixture;
pub mod mask;
pub mod observe;
pub mod pending;
pub mod run;
mod text;
pub mod world;

use std::path::PathBuf;

/// The folder of cases, their README and the pending list.
pub fn folder() -> PathBuf {
    crate::workspace().join("testdata/conformance")
}

/// The names of the recorded files, without `.json`, sorted.
pub fn recorded() -> Vec<String> {
    let cases = folder().join("cases");
    let entries = std::fs::read_dir(&cases).unwrap_or_else(|error| panic!("{}: {error}", cases.display()));
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names
}
