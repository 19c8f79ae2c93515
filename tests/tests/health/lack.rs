//! An agent that may open no more files: that says nothing of what it checks.

use std::net::TcpListener;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use usher_tests::{agent::Builder, binary::is_ours, poll::eventually};

use crate::checks::{answered, not_answered, register};

#[test]
fn what_cannot_be_looked_at_stays_what_it_is() {
    if !is_ours() {
        return;
    }
    let agent = Builder::dev().start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound").to_string();
    register(&agent, "web", json!({"TCP": address, "Interval": "200ms"}));
    answered(&agent, "web");
    let agent_id = i32::try_from(agent.id()).ok().and_then(Pid::from_raw);
    let limit = |limit| prlimit(agent_id, Resource::Nofile, limit).expect("the limit is set");
    let usual = limit(Rlimit { current: Some(3), ..rustix::process::getrlimit(Resource::Nofile) });
    eventually("several looks that failed", || {
        let failed = agent.output().matches("Check could not be run on this host").count();
        if failed > 5 { Ok(()) } else { Err(failed) }
    });
    limit(usual);
    answered(&agent, "web");
    assert!(!agent.output().contains("Check is now critical"), "it was never critical");
    drop(listener);
    not_answered(&agent, "web");
}
