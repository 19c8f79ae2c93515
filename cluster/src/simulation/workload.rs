//! What is asked of the agents of a simulation: registers are written, removed and read through all of them at once, and
//! watched.
//!
//! A register is one service on a node of its own that no agent runs on; its value is in the metadata.

use std::{collections::BTreeMap, time::Duration};

use super::{
    faults::Host,
    history::{Answer, Key, Operation, Value},
    shared::Shared,
};
use crate::{
    agent::{Agent, WriteError},
    catalog::{
        State, Topic,
        command::{Command, Deregistration, Registration},
        model::Service,
    },
    raft::ProposeError,
};

/// How many registers there are: few, so that those who use them meet.
pub(super) const KEYS: Key = 4;
/// How many ask through one agent at once.
const ASKERS: usize = 2;

/// Asks for as long as the host runs, or until all is to be quiet.
pub(super) fn begin(shared: &Shared, host: Host, agent: &Agent) {
    for _ in 0..ASKERS {
        tokio::task::spawn_local(ask(shared.clone(), host, agent.clone()));
    }
    if agent.is_server() {
        for key in 0..KEYS {
            tokio::task::spawn_local(watch(shared.clone(), host, key, agent.clone()));
        }
    }
}

async fn ask(shared: Shared, host: Host, agent: Agent) {
    loop {
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..400))).await;
        if shared.is_quiet() {
            continue;
        }
        let key = rand::random_range(0..KEYS);
        match rand::random_range(0..10) {
            0..5 => write(&shared, host, &agent, key, Some(shared.fresh_value())).await,
            5 => write(&shared, host, &agent, key, None).await,
            _ if agent.is_server() => read(&shared, host, &agent, key).await,
            _ => false,
        };
    }
}

/// Writes a register and notes what came of it. Whether it was acknowledged.
pub(super) async fn write(shared: &Shared, host: Host, agent: &Agent, key: Key, value: Value) -> bool {
    let call = shared.ask(host, key, Operation::Write(value));
    let applied = match agent.write("", command(key, value)).await {
        Ok(applied) => applied,
        // The product says of this error that nothing was done, and is held to it.
        Err(error @ WriteError::Propose(ProposeError::NoLeader)) => {
            shared.answer(host, call, Answer::NotDone, &error.to_string());
            return false;
        }
        Err(error) => {
            shared.answer(host, call, Answer::Unknown, &error.to_string());
            return false;
        }
    };
    match applied.outcome {
        Ok(()) => {
            shared.acknowledge(applied.index, key, value);
            shared.answer(host, call, Answer::Value(value), &format!("at {}", applied.index));
        }
        Err(refusal) => shared.violate(format_args!("a register could not be written: {refusal}")),
    }
    true
}

/// Reads a register so that everything acknowledged before is seen.
pub(super) async fn read(shared: &Shared, host: Host, agent: &Agent, key: Key) -> bool {
    let call = shared.ask(host, key, Operation::Read);
    match agent.linearize().await {
        Ok(()) => {
            let value = value_of(&agent.catalog().load(), key);
            shared.answer(host, call, Answer::Value(value), "");
            true
        }
        Err(error) => {
            shared.answer(host, call, Answer::Unknown, &error.to_string());
            false
        }
    }
}

async fn watch(shared: Shared, host: Host, key: Key, agent: Agent) {
    let mut watch = agent.catalog().watch(Topic::Service(name(key).into()));
    loop {
        let value = value_of(&agent.catalog().load(), key);
        shared.watcher_saw(host, key, value);
        watch.changed().await;
    }
}

/// What the catalog has under a register.
pub(super) fn value_of(state: &State, key: Key) -> Value {
    let entry = state.node_entry(&node(key))?;
    entry.service(&name(key))?.meta.get("value")?.parse().ok()
}

fn name(key: Key) -> String {
    format!("register-{key}")
}

fn node(key: Key) -> String {
    format!("elsewhere-{key}")
}

fn command(key: Key, value: Value) -> Command {
    let Some(value) = value else {
        return Command::Deregister(Deregistration { node: node(key), service_id: name(key), ..Default::default() });
    };
    let service = Service {
        id: name(key),
        name: name(key),
        meta: BTreeMap::from([("value".to_owned(), value.to_string())]),
        ..Service::default()
    };
    Command::Register(Registration {
        node: node(key),
        address: "10.9.9.9".to_owned(),
        datacenter: "dc1".to_owned(),
        service: Some(service),
        ..Registration::default()
    })
}
