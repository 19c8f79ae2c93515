//! The API of a client agent: a server and a client in this process, and bytes on the client's socket.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use usher_cluster::{
    access::AllowAll,
    agent::{self, Agent},
};

use super::{
    Options,
    tests::{Served, Told, agent_options, served, served_by},
};

/// The longest anything here may take; nothing should come near it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Pair {
    server: Served,
    client: Served,
}

impl Pair {
    async fn start(options: Options) -> Self {
        let server = served(Options::default(), Arc::new(AllowAll), None).await;
        let client = agent::Options {
            node_name: "c1".to_owned(),
            server: false,
            bootstrap_expect: 0,
            serf_wan_port: None,
            start_join: vec![format!("127.0.0.1:{}", server.api.agent.options().serf_lan_port)],
            rpc_hold: Duration::from_secs(1),
            ..agent_options()
        };
        let client = Agent::start(client, Arc::new(AllowAll)).await.unwrap();
        let pair = Self { server, client: served_by(client, options, None).await };
        // Who the server is comes with gossip.
        pair.until("/v1/status/leader", |told| told.status == 200 && told.body.contains(':')).await;
        pair
    }

    async fn get(&self, path: &str) -> Told {
        self.client.ask("GET", path, "").await
    }

    async fn until(&self, path: &str, done: impl Fn(&Told) -> bool) -> Told {
        let asking = async {
            loop {
                let told = self.get(path).await;
                if done(&told) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap()
    }

    async fn end(self) {
        self.client.api.agent.shutdown().await;
        self.server.api.agent.shutdown().await;
    }
}

fn instances(told: &Told) -> usize {
    told.json().as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_asked_of_a_server_and_told_in_the_clients_form() {
    let response_headers = vec![("X-Extra".to_owned(), "of the client".to_owned())];
    let pair = Pair::start(Options { response_headers, ..Options::default() }).await;
    pair.server.register("web").await;
    let nodes = pair.get("/v1/catalog/nodes?pretty").await;
    assert_eq!(nodes.status, 200, "{nodes:?}");
    assert!(nodes.body.contains("\n    {\n"), "readable: {}", nodes.body);
    assert!(nodes.header("X-Consul-Index").parse::<u64>().unwrap() > 1);
    for (name, value) in [
        ("X-Consul-Knownleader", "true"),
        ("X-Consul-Lastcontact", "0"),
        ("X-Consul-Effective-Consistency", "leader"),
        ("Content-Type", "application/json"),
        ("X-Extra", "of the client"),
    ] {
        assert_eq!(nodes.header(name), value, "{name}");
    }
    assert!(pair.get("/v1/catalog/services").await.body.contains("\"web\":[]"));
    assert_eq!(instances(&pair.get("/v1/catalog/service/web").await), 1);
    assert_eq!(
        instances(&pair.get("/v1/health/state/any").await),
        instances(&pair.get("/v1/health/state/passing").await)
    );
    let refused = pair.get("/v1/catalog/nodes?index=x").await;
    assert_eq!((refused.status, refused.body.as_str()), (400, "Invalid index"));
    assert_eq!(pair.get("/v1/agent/self").await.json()["Config"]["NodeName"], "c1", "the agent's own stays there");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_registered_at_a_client_is_in_the_catalog_when_it_is_answered() {
    let pair = Pair::start(Options::default()).await;
    for port in [80, 81, 80] {
        let body = json!({"Name": "web", "Port": port}).to_string();
        assert_eq!(pair.client.ask("PUT", "/v1/agent/service/register", &body).await.status, 200);
        for served in [&pair.server, &pair.client] {
            let told = served.ask("GET", "/v1/catalog/service/web", "").await;
            assert_eq!(told.json()[0]["ServicePort"], port);
            assert_eq!(told.json()[0]["Node"], "c1");
        }
    }
    assert_eq!(pair.client.ask("PUT", "/v1/agent/service/deregister/web", "").await.status, 200);
    assert_eq!(instances(&pair.get("/v1/catalog/service/web").await), 0);
    let body = json!({"Node": "ext", "Address": "10.9.9.9", "Service": {"Service": "ext"}}).to_string();
    assert_eq!(pair.client.ask("PUT", "/v1/catalog/register", &body).await.status, 200);
    assert_eq!(instances(&pair.get("/v1/health/service/ext").await), 1);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_and_cached_reads_come_from_the_clients_view() {
    let pair = Pair::start(Options::default()).await;
    pair.server.register("web").await;
    let first = pair.get("/v1/health/service/web?cached").await;
    assert_eq!((instances(&first), first.header("X-Cache")), (1, "MISS"));
    let second = pair.get("/v1/health/service/web?cached&stale").await;
    assert_eq!((instances(&second), second.header("X-Cache"), second.header("Age")), (1, "HIT", "0"));
    assert_eq!(second.header("X-Consul-Effective-Consistency"), "stale");
    assert_eq!(first.header("X-Consul-Index"), second.header("X-Consul-Index"));
    for path in ["/v1/catalog/service/web", "/v1/catalog/node/x", "/v1/catalog/node-services/x", "/v1/health/node/x"] {
        let (own, asked) = (pair.get(&format!("{path}?stale")).await, pair.get(path).await);
        assert_eq!((own.status, &own.body), (asked.status, &asked.body), "{path}");
        assert_eq!(own.header("X-Consul-Index"), asked.header("X-Consul-Index"), "{path}");
    }
    assert_eq!(instances(&pair.get("/v1/catalog/service/nosuch?stale").await), 0);
    assert_eq!(pair.get("/v1/catalog/service/web?stale&dc=dc9").await.body, "No path to datacenter");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_are_answered_by_changes_at_the_server_and_of_the_view() {
    let pair = Pair::start(Options::default()).await;
    pair.server.register("web").await;
    for consistency in ["", "&stale"] {
        let first = pair.get(&format!("/v1/health/service/web?wait=1m{consistency}")).await;
        let index: u64 = first.header("X-Consul-Index").parse().unwrap();
        let path = format!("/v1/health/service/web?index={index}&wait=1m{consistency}");
        let body =
            json!({"Node": "x", "Address": "10.0.0.1", "Service": {"Service": "web", "Port": index}}).to_string();
        let (told, ()) = tokio::join!(tokio::time::timeout(PATIENCE, pair.get(&path)), async {
            assert_eq!(pair.server.ask("PUT", "/v1/catalog/register", &body).await.status, 200);
        });
        let told = told.expect("answered by the change, not after a minute");
        assert_eq!(told.json()[0]["Service"]["Port"], index, "{path}");
        assert!(told.header("X-Consul-Index").parse::<u64>().unwrap() > index);
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_a_client_answers_what_it_holds_and_says_how_old_it_is() {
    let pair = Pair::start(Options::default()).await;
    pair.server.register("web").await;
    assert_eq!(instances(&pair.get("/v1/health/service/web?stale").await), 1);
    pair.server.api.agent.shutdown().await;
    let old = |told: &Told| told.header("X-Consul-Lastcontact").parse::<u64>().unwrap() > 0;
    let told = pair.until("/v1/health/service/web?stale", old).await;
    assert_eq!((told.status, instances(&told), told.header("X-Consul-Knownleader")), (200, 1, "false"));
    for path in ["/v1/health/service/web", "/v1/catalog/nodes?stale", "/v1/health/service/web?max_stale=1ms"] {
        let told = pair.get(path).await;
        assert_eq!((told.status, told.body.as_str()), (500, "No cluster leader"), "{path}");
        assert_eq!(told.header("X-Consul-Knownleader"), "false", "{path}");
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_hold_wherever_the_answer_is_made() {
    let pair = Pair::start(Options::default()).await;
    for (node, rack, port, status) in
        [("x", "r1", 80, "passing"), ("y", "r1", 81, "critical"), ("z", "r2", 80, "passing")]
    {
        let body = json!({
            "Node": node, "Address": "10.0.0.1", "NodeMeta": {"rack": rack},
            "Service": {"Service": "web", "Port": port, "Tags": ["a", node], "Meta": {"port": port.to_string()}},
            "Check": {"Name": "c", "ServiceID": "web", "Status": status},
        });
        assert_eq!(pair.client.ask("PUT", "/v1/catalog/register", &body.to_string()).await.status, 200);
    }
    for (path, count) in [
        ("/v1/catalog/service/web?filter=ServicePort==80", 2),
        ("/v1/catalog/service/web?tag=a&node-meta=rack:r1&filter=ServicePort==80", 1),
        ("/v1/catalog/service/web?tag=a&tag=y&filter=ServicePort==80", 0),
        ("/v1/health/service/web?passing&tag=a&filter=Node.Meta.rack!=r2", 1),
        ("/v1/health/service/web?filter=Checks.Status==critical", 1),
        ("/v1/health/checks/web?node-meta=rack:r1&filter=Status==passing", 1),
        ("/v1/health/state/any?filter=ServiceName==web+and+Node!=x", 2),
        ("/v1/health/node/x?filter=ServiceID==web", 1),
        ("/v1/catalog/nodes?filter=Meta.rack==r1", 2),
    ] {
        for consistency in ["", "&stale"] {
            let path = format!("{path}{consistency}");
            let whole = path.replace("filter=", "x=");
            // The members are still being written: the list may change between two questions, but not for ever.
            let (told, index) = loop {
                let before = pair.get(&whole).await.header("X-Consul-Index").to_owned();
                let told = pair.get(&path).await;
                if before == pair.get(&whole).await.header("X-Consul-Index") {
                    break (told, before);
                }
            };
            assert_eq!((told.status, instances(&told)), (200, count), "{path}: {}", told.body);
            assert_eq!(told.header("X-Consul-Index"), index, "{path}");
        }
    }
    for (path, expected) in
        [("/v1/catalog/node/x?filter=Port==99", json!({})), ("/v1/catalog/node-services/x?filter=Port==99", json!([]))]
    {
        assert_eq!(pair.get(path).await.json()["Services"], expected, "{path}");
    }
    for path in ["/v1/catalog/nodes", "/v1/health/service/web", "/v1/health/node/x?stale"] {
        let joint = if path.contains('?') { '&' } else { '?' };
        let told = pair.get(&format!("{path}{joint}index=1000000&filter=nosuch==1")).await;
        assert_eq!((told.status, told.header("X-Consul-Knownleader")), (500, "false"), "{path}");
        let expected = "Failed to create boolean expression evaluator: Selector \"nosuch\" is not valid (at 1:1;";
        assert!(told.body.starts_with(expected), "{path}: {}", told.body);
    }
    // What the filter leaves out still moves the index: the client asks from there on.
    let path = "/v1/health/service/web?stale&filter=Service.Port==99";
    let index: u64 = pair.get(path).await.header("X-Consul-Index").parse().unwrap();
    let waiting = format!("{path}&index={index}&wait=1m");
    let (told, ()) = tokio::join!(tokio::time::timeout(PATIENCE, pair.get(&waiting)), pair.server.register("web"));
    let told = told.expect("answered by the change, not after a minute");
    assert_eq!(told.body, "[]");
    assert!(told.header("X-Consul-Index").parse::<u64>().unwrap() > index);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_own_lists_are_filtered_there() {
    let pair = Pair::start(Options::default()).await;
    for (id, port) in [("w1", 80), ("w2", 81)] {
        let body =
            json!({"Name": "web", "ID": id, "Port": port, "Check": {"TTL": "1h", "Status": "passing"}}).to_string();
        assert_eq!(pair.client.ask("PUT", "/v1/agent/service/register", &body).await.status, 200);
    }
    let keys = |told: Told| told.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(pair.get("/v1/agent/services?filter=Port==81").await), ["w2"]);
    assert_eq!(keys(pair.get("/v1/agent/checks?filter=ServiceID==w1+and+Type==ttl").await), ["service:w1"]);
    assert_eq!(pair.get("/v1/agent/services?filter=Port==82").await.body, "{}");
    let refused = pair.get("/v1/agent/checks?filter=Port==82").await;
    assert_eq!((refused.status, refused.header("X-Consul-Knownleader")), (500, ""));
    assert!(refused.body.contains("Selector \"Port\" is not valid"), "{}", refused.body);
    pair.end().await;
}
