//! Results of checks in the table: what was found replaces status and output, and nothing else. Pure.
//!
//! A result counts only while the definition it was found with is still the one in the table.

use std::{collections::HashMap, sync::Arc};

use super::{super::definition::CheckSpec, Effect, Records};
use crate::catalog::model::{Check, Status};

/// What is now known of a check.
#[derive(Clone, Debug)]
pub(crate) struct CheckResult {
    /// The definition it was found with.
    pub(crate) spec: Arc<CheckSpec>,
    pub(crate) status: Status,
    pub(crate) output: String,
}

/// A check whose result changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Its folded id.
    pub(crate) key: String,
    /// Whether its status did, and not only what is said of it.
    pub(crate) status: bool,
}

/// A result from before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Which definition it was found with (see [`fingerprint`]).
    pub(crate) fingerprint: u32,
    pub(crate) status: Status,
    pub(crate) output: String,
}

/// Tells definitions apart across restarts.
pub(crate) fn fingerprint(spec: &CheckSpec) -> u32 {
    // A definition always becomes JSON: its maps have text keys. Were it not so, no result would be remembered.
    crc32fast::hash(&serde_json::to_vec(spec).unwrap_or_default())
}

impl Records {
    /// Takes results; says which checks they changed.
    pub(crate) fn set_results(&mut self, results: impl IntoIterator<Item = (String, CheckResult)>) -> Vec<Noted> {
        let mut noted = Vec::new();
        for (key, CheckResult { spec, status, output }) in results {
            let Some(kept) = self.checks.get(&key) else { continue };
            if !Arc::ptr_eq(&kept.spec, &spec) || (kept.check.status == status && kept.check.output == output) {
                continue;
            }
            let changed = kept.check.status != status;
            let check = Arc::new(Check { status, output, ..(*kept.check).clone() });
            let kept = super::KeptCheck { check: check.clone(), ..kept.clone() };
            Arc::make_mut(&mut self.shown).checks.insert(check.id.clone(), check);
            self.checks.insert(key.clone(), kept);
            noted.push(Noted { key, status: changed });
        }
        noted
    }

    /// Gives the checks that are there the results they had before the start, and keeps the others' for the checks that
    /// come until [`Records::forget`].
    pub(crate) fn remember(&mut self, remembered: HashMap<String, Remembered>) {
        self.remembered = Arc::new(remembered);
        let results: Vec<_> = self
            .specs
            .iter()
            .filter_map(|(key, spec)| {
                let Check { status, output, .. } = self.remembered(key, spec)?;
                Some((key.clone(), CheckResult { spec: spec.clone(), status, output }))
            })
            .collect();
        self.set_results(results);
    }

    /// Checks that come from now on are new.
    pub(crate) fn forget(&mut self) {
        self.remembered = Arc::default();
    }

    /// The result a check had before the start.
    pub(super) fn remembered(&self, key: &str, spec: &CheckSpec) -> Option<Check> {
        let known = self.remembered.get(key)?;
        (known.fingerprint == fingerprint(spec)).then(|| Check {
            status: known.status.clone(),
            output: known.output.clone(),
            ..Check::default()
        })
    }

    /// Removes the service of a check that is critical; `false` if it is no longer.
    pub(super) fn reap(&mut self, key: &str, spec: &Arc<CheckSpec>, effect: &mut Effect) -> bool {
        let Some(kept) = self.checks.get(key).filter(|kept| Arc::ptr_eq(&kept.spec, spec)) else { return false };
        if kept.check.status != Status::Critical || kept.check.service_id.is_empty() {
            return false;
        }
        let service = super::build::fold(&kept.check.service_id);
        self.remove_service(&service, effect)
    }
}
