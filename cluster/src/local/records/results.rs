//! Results of checks in the table: what was found replaces status and output, and nothing else. Pure.
//!
//! A result counts only while the definition it was found with is still the one in the table.

use std::sync::Arc;

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

impl Records {
    /// Takes results; says which checks they changed.
    pub(crate) fn set_results(&mut self, results: impl IntoIterator<Item = (String, CheckResult)>) -> Vec<Noted> {
        let mut noted = Vec::new();
        for (key, CheckResult { spec, status, output }) in results {
            let Some(kept) = self.checks.get(&key) else { continue };
            if !same(&kept.spec, &spec) || (kept.check.status == status && kept.check.output == output) {
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

    /// Removes the service of a check that is critical; `false` if it is no longer.
    pub(super) fn reap(&mut self, key: &str, spec: &Arc<CheckSpec>, effect: &mut Effect) -> bool {
        let Some(kept) = self.checks.get(key).filter(|kept| same(&kept.spec, spec)) else { return false };
        if kept.check.status != Status::Critical || kept.check.service_id.is_empty() {
            return false;
        }
        let service = super::build::fold(&kept.check.service_id);
        self.remove_service(&service, effect)
    }
}

/// Whether two definitions are one: what was removed and registered again as it was is the same, too.
fn same(left: &Arc<CheckSpec>, right: &Arc<CheckSpec>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}
