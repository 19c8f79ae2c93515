//! Blocking queries: what is asked for wakes them, nothing else does, and thousands of them cost little.
//!
//! That an unrelated change did not wake a query is shown without a clock: after many such changes comes the related
//! one, and the one answer that a query gets carries that one's index.

use std::time::Duration;

use serde_json::{Value, json};
use usher_tests::agent::{Agent, Builder};
use usher_tests::http::{Connection, Request, Response};
use usher_tests::poll::eventually;

/// Longer than any of these tests takes.
const WAIT: &str = "wait=9m";
const SILENCE: Duration = Duration::from_secs(90);

fn register(agent: &Agent, node: &str, more: Value) {
    let mut body = json!({"Node": node, "Address": "10.0.0.1"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    agent.put_ok("/v1/catalog/register", &body);
}

fn service(name: &str) -> Value {
    json!({"Service": {"Service": name, "Port": 80}})
}

/// Asks to be told of changes after what is there now.
fn watch(agent: &Agent, target: &str) -> (u64, Connection) {
    let now = agent.get(target).index().unwrap_or_else(|| panic!("{target} has an index"));
    let joint = if target.contains('?') { '&' } else { '?' };
    let request = Request::new("GET", &format!("{target}{joint}index={now}&{WAIT}")).timeout(SILENCE);
    (now, agent.http().open(&request).unwrap())
}

fn answer(connection: Connection) -> Response {
    let response = connection.response().unwrap_or_else(|error| panic!("a blocking query was not answered: {error}"));
    assert_eq!(response.status, 200);
    response
}

/// A query and the change it waits for.
struct Watched {
    target: &'static str,
    related: fn(&Agent),
}

fn critical(agent: &Agent) {
    register(agent, "n1", json!({"Check": {"Name": "c", "ServiceID": "web", "Status": "critical"}}));
}

fn another_web(agent: &Agent) {
    register(agent, "n2", service("web"));
}

fn a_web_gone(agent: &Agent) {
    agent.put_ok("/v1/catalog/deregister", &json!({"Node": "n1", "ServiceID": "web"}));
}

const WATCHED: [Watched; 9] = [
    Watched { target: "/v1/health/service/web", related: critical },
    Watched { target: "/v1/health/service/web?passing", related: critical },
    Watched { target: "/v1/health/service/web", related: another_web },
    Watched { target: "/v1/health/service/web", related: a_web_gone },
    Watched { target: "/v1/catalog/service/web", related: another_web },
    Watched { target: "/v1/catalog/service/web", related: a_web_gone },
    Watched { target: "/v1/health/checks/web", related: critical },
    Watched { target: "/v1/catalog/node/n1", related: a_web_gone },
    Watched { target: "/v1/health/node/n1", related: critical },
];

#[test]
fn only_what_was_asked_for_wakes_a_query() {
    for Watched { target, related } in WATCHED {
        let agent = Builder::dev().start();
        register(&agent, "n1", service("web"));
        register(&agent, "n1", json!({"Check": {"Name": "c", "ServiceID": "web", "Status": "passing"}}));
        let watches: Vec<(u64, Connection)> = (0..20).map(|_| watch(&agent, target)).collect();
        for number in 0..50 {
            let node = format!("other-{number}");
            register(&agent, &node, service("db"));
            register(&agent, &node, json!({"Check": {"Name": "c", "ServiceID": "db", "Status": "critical"}}));
            agent.put_ok("/v1/catalog/deregister", &json!({"Node": node}));
        }
        related(&agent);
        let after = agent.get(target).index().unwrap();
        for (before, connection) in watches {
            let index = answer(connection).index().unwrap();
            assert!(after > before, "{target}: the index grows");
            assert_eq!(index, after, "{target}: woken by the change it waited for, and by that alone");
        }
    }
}

#[test]
fn a_query_for_what_is_not_there_wakes_when_it_comes() {
    let agent = Builder::dev().start();
    register(&agent, "n1", service("db"));
    let targets = ["/v1/health/service/new", "/v1/catalog/service/new", "/v1/catalog/services", "/v1/catalog/nodes"];
    let watches = targets.map(|target| (target, watch(&agent, target)));
    register(&agent, "n9", service("new"));
    for (target, (before, connection)) in watches {
        let response = answer(connection);
        assert!(response.index().unwrap() > before, "{target}");
        assert!(response.text().contains("n"), "{target}");
        assert!(!response.json().is_null(), "{target}");
    }
}

#[test]
fn a_query_ends_when_its_time_is_over() {
    let agent = Builder::dev().start();
    register(&agent, "n1", service("web"));
    let index = agent.get("/v1/health/service/web").index().unwrap();
    let response = agent.get(&format!("/v1/health/service/web?index={index}&wait=50ms"));
    assert_eq!((response.status, response.index()), (200, Some(index)));
}

/// Far more than a waiting query needs, far less than a buffer or a task gone wrong would take.
const BYTES_A_QUERY: u64 = 64 * 1024;
const QUERIES: usize = 2_000;

#[test]
fn thousands_of_waiting_queries_cost_little_and_all_wake() {
    allow_files(4 * QUERIES as u64);
    let agent = Builder::dev().config(json!({"limits": {"http_max_conns_per_client": 10_000}})).start();
    register(&agent, "n1", service("web"));
    let before = agent.resident();
    let watches: Vec<Connection> = (0..QUERIES).map(|_| watch(&agent, "/v1/health/service/web").1).collect();
    // The last of them has been read when a later request is answered; then there are no more to come.
    register(&agent, "elsewhere", service("db"));
    let early = watches.iter().filter(|connection| connection.readable().unwrap()).count();
    assert_eq!(early, 0, "nobody is answered before there is something to tell");
    let each = agent.resident().saturating_sub(before) / QUERIES as u64;
    assert!(each < BYTES_A_QUERY, "{each} bytes for each waiting query");
    another_web(&agent);
    for connection in watches {
        assert_eq!(answer(connection).json().as_array().map(Vec::len), Some(2));
    }
    assert_eq!(agent.answer("web.service.consul A").len(), 1, "both are at the same address");
}

#[test]
fn one_client_has_so_many_connections_and_no_more() {
    let agent = Builder::dev().config(json!({"limits": {"http_max_conns_per_client": 10}})).start();
    register(&agent, "n1", service("web"));
    let index = agent.get("/v1/health/service/web").index().unwrap();
    let request = Request::new("GET", &format!("/v1/health/service/web?index={index}&{WAIT}"));
    let watches: Vec<Connection> = (0..10).map(|_| agent.http().open(&request).unwrap()).collect();
    eventually("an eleventh connection is refused", || match agent.http().get("/v1/status/leader") {
        Err(_) => Ok(()),
        Ok(response) if response.status == 429 => Ok(()),
        Ok(response) => Err(response.status),
    });
    drop(watches);
    eventually("room again", || agent.http().get("/v1/status/leader"));
}

/// Raises the limit on open files, for this process and the agents it starts.
fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.map_or(count, |current| current.max(count));
    let wanted = limit.maximum.map_or(current, |maximum| current.min(maximum));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    assert!(wanted >= count, "this test needs {count} open files, the system allows {wanted}");
}
