//! What must hold in every simulation, one file each, with where it comes from.
//!
//! Two are judged where they are observed: one leader a term, and state machine safety ([`super::observer`]).

pub(super) mod acknowledged;
pub(super) mod completeness;
pub(super) mod convergence;
pub(super) mod false_death;
pub(super) mod linearizable;
pub(super) mod log_matching;
pub(super) mod monotonic;
pub(super) mod one_leader;
pub(super) mod state_machine;
pub(super) mod watchers;

use super::shared::Shared;

/// What is judged once everything is over.
pub(super) fn judge(shared: &Shared) -> Vec<String> {
    let mut violations = acknowledged::check(shared);
    violations.extend(linearizable::check(shared));
    violations.extend(monotonic::check(shared));
    violations
}
