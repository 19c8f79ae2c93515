//! Applying commands: decide first whether the command is refused, then carry it out without failing.
//!
//! ```text
//!   Registration ─► admit: refused, or what happens to the node ─► Edit: node, service, checks ─► Edit::finish
//!   Deregistration ───────────────────────────────────────────────► Edit: remove
//! ```
//!
//! What a command leaves as it was keeps its indexes and wakes nobody: agents repeat their registrations for ever.

use super::{
    admit::{NodeStep, admit},
    autopilot::Autopilot,
    command::{AutopilotChange, Command, Deregistration, Outcome, Refusal, Registration},
    edit::Edit,
    key::key,
    state::State,
    watch::Changes,
};

impl State {
    /// Applies one command as of Raft index `index`, and notes in `changes` which watchers to wake. Indexes must
    /// ascend. A refused command changes nothing.
    pub fn apply(&mut self, index: u64, command: Command, changes: &mut Changes) -> Outcome {
        match command {
            Command::Register(registration) => register(self, index, registration, changes),
            Command::Deregister(deregistration) => {
                deregister(self, index, &deregistration, changes);
                Ok(())
            }
            Command::Autopilot(change) => set_autopilot(self, index, change),
        }
    }
}

fn register(state: &mut State, index: u64, mut registration: Registration, changes: &mut Changes) -> Outcome {
    let step = admit(state, &registration)?;
    let (service, checks) = (registration.service.take(), std::mem::take(&mut registration.checks));
    let mut edit = Edit::new(state, index, changes, key(&registration.node));
    match step {
        NodeStep::Keep => {}
        NodeStep::Put => edit.put_node(registration, None),
        NodeStep::Rename { from } => {
            let create_index = edit.remove_node(&from);
            edit.put_node(registration, create_index);
        }
    }
    if let Some(service) = service {
        edit.put_service(service);
    }
    for check in checks {
        edit.put_check(check);
    }
    edit.finish();
    Ok(())
}

fn set_autopilot(state: &mut State, index: u64, change: AutopilotChange) -> Outcome {
    let AutopilotChange { config, cas, initial } = change;
    let known = &state.autopilot;
    if initial && known.modify_index > 0 {
        return Ok(());
    }
    if cas.is_some_and(|cas| cas != known.modify_index) {
        return Err(Refusal::Stale);
    }
    if known.modify_index > 0 && known.config == config {
        return Ok(());
    }
    let create_index = if known.create_index == 0 { index } else { known.create_index };
    state.autopilot = Autopilot { config, create_index, modify_index: index };
    Ok(())
}

/// An instance goes before a check, a check before the node: the order in which Consul looks at what is named.
fn deregister(state: &mut State, index: u64, deregistration: &Deregistration, changes: &mut Changes) {
    let node = key(&deregistration.node);
    let mut edit = Edit::new(state, index, changes, node.clone());
    if !deregistration.service_id.is_empty() {
        edit.remove_service(&deregistration.service_id);
    } else if !deregistration.check_id.is_empty() {
        edit.remove_check(&deregistration.check_id);
    } else {
        edit.remove_node(&node);
    }
    edit.finish();
}
