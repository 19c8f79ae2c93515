//! What is asked of the agents of a simulation: registers are written, removed and read through all of them at once, and
//! watched.
//!
//! A register is one service on a node of its own that no agent runs on; its value is in the metadata.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    faults::Host,
    history::{Answer, Key, Operation, Value},
    shared::Shared,
};
use crate::{
    agent::{Agent, AnswerApi, Destination, WriteError},
    catalog::{
        Interest, State, Topic,
        command::{Command, Deregistration, Registration},
        model::Service,
    },
    raft::ProposeError,
    rpc::message::{ApiRequest, ApiResponse},
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
    agent.answer_with(Arc::new(Registers { host }));
    for key in 0..KEYS {
        tokio::task::spawn_local(watch(shared.clone(), host, key, agent.clone()));
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
            _ => read(&shared, host, &agent, key).await,
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
    let read = match agent.is_server() {
        true => agent.linearize().await.map(|()| value_of(&agent.catalog().load(), key)).map_err(|it| it.to_string()),
        false => read_elsewhere(agent, key).await,
    };
    match read {
        Ok(value) => {
            shared.answer(host, call, Answer::Value(value), "");
            true
        }
        Err(error) => {
            shared.answer(host, call, Answer::Unknown, &error);
            false
        }
    }
}

/// Has a server read a register.
async fn read_elsewhere(agent: &Agent, key: Key) -> Result<Value, String> {
    let request = ApiRequest { method: "GET".to_owned(), uri: key.to_string(), ..ApiRequest::default() };
    let response = agent.forward(request, Destination::Any).await.map_err(|error| error.to_string())?;
    let body = String::from_utf8_lossy(&response.body).into_owned();
    match response.status {
        200 => Ok(body.parse().ok()),
        _ => Err(body),
    }
}

/// Reads registers for other agents: stands in for the HTTP API, which is not of this crate.
struct Registers {
    host: Host,
}

impl AnswerApi for Registers {
    fn answer(&self, request: ApiRequest) -> BoxFuture<'_, ApiResponse> {
        // Not kept: the agent keeps this.
        let agent = super::shared::agent_of(self.host);
        let key = request.uri.parse();
        async move {
            let (Some(agent), Ok(key)) = (agent, key) else {
                return ApiResponse { status: 500, body: b"no agent".to_vec(), ..ApiResponse::default() };
            };
            let (status, body) = match agent.linearize().await {
                Ok(()) => (200, value_of(&agent.catalog().load(), key).map_or(String::new(), |it| it.to_string())),
                Err(error) => (500, error.to_string()),
            };
            ApiResponse { status, body: body.into_bytes(), ..ApiResponse::default() }
        }
        .boxed()
    }
}

async fn watch(shared: Shared, host: Host, key: Key, agent: Agent) {
    // A client is sent what it asked for once, for as long as it holds on to it.
    let _lease = match agent.catalog().source() {
        None => None,
        Some(source) => loop {
            match source.want(Interest::service(&name(key))).await {
                Ok(lease) => break Some(lease),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        },
    };
    let mut watch = agent.catalog().watch(Topic::Service(name(key).into()));
    loop {
        let value = value_of(&agent.catalog().load(), key);
        shared.watcher_saw(host, key, value);
        watch.changed().await;
    }
}

/// What the catalog has under a register.
pub(super) fn value_of(state: &State, key: Key) -> Value {
    let instance = state.service_entry(&name(key))?.instance(&node(key), &name(key))?;
    instance.service.meta.get("value")?.parse().ok()
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
