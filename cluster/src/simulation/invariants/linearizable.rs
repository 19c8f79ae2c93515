//! Registers are linearizable: M. Herlihy and J. Wing, "Linearizability: A Correctness Condition for Concurrent Objects"
//! (1990). Writes through any agent and consistent reads at any server; a write whose fate is unknown may have happened
//! or not, one that was said not to be done has not.

use crate::simulation::{
    linearizability::{self, Verdict},
    shared::Shared,
};

pub(in crate::simulation) fn check(shared: &Shared) -> Vec<String> {
    let history = shared.history();
    let judged = history.calls().iter().map(|(key, calls)| (key, linearizability::check(calls)));
    let mut violations = Vec::new();
    for (key, verdict) in judged {
        match verdict {
            Verdict::Linearizable => {}
            Verdict::Violated => violations.push(format!("linearizability: the answers of register {key} cannot be")),
            Verdict::Undecided => shared.note(format_args!("register {key}: too many orders to try them all")),
        }
    }
    violations
}
