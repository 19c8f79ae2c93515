//! The API as a client meets it: a whole agent in this process, and bytes on a socket.

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use usher_cluster::{
    access::{AllowAll, Authorizer, Permission},
    agent::Agent,
};

use super::{Api, Control, Listener, Metrics, Options, serve};
use crate::logging::{self, LogHub};

/// The longest anything here may take; nothing should come near it.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that serves on a port of its own.
pub(super) struct Served {
    pub(super) api: Arc<Api>,
    port: u16,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    orders: mpsc::Receiver<Control>,
}

pub(super) async fn served(options: Options, authorizer: Arc<dyn Authorizer>, socket: Option<&Path>) -> Served {
    let agent = Agent::start(agent_options(), authorizer).await.unwrap();
    agent.linearize().await.unwrap();
    served_by(agent, options, socket).await
}

pub(super) async fn served_by(agent: Agent, options: Options, socket: Option<&Path>) -> Served {
    let (control, orders) = mpsc::channel(1);
    let api = Arc::new(Api {
        agent,
        dns: None,
        log: LogHub::open(logging::Options { level: tracing::Level::ERROR, json: false, file: None }).unwrap(),
        options: ArcSwap::from_pointee(options),
        metrics: Metrics::new(),
        control,
        debug_config: json!({}),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut listeners = vec![Listener::Tcp(listener)];
    listeners.extend(socket.map(|path| Listener::Unix(UnixListener::bind(path).unwrap())));
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(listeners, Arc::clone(&api), shutdown.clone()));
    Served { api, port, shutdown, serving, orders }
}

pub(super) fn agent_options() -> usher_cluster::agent::Options {
    usher_cluster::agent::Options {
        node_name: "n1".to_owned(),
        node_id: None,
        datacenter: "dc1".to_owned(),
        data_dir: None,
        server: true,
        bootstrap_expect: 1,
        bind: Ipv4Addr::LOCALHOST.into(),
        advertise: Ipv4Addr::LOCALHOST.into(),
        advertise_wan: Ipv4Addr::LOCALHOST.into(),
        server_port: 0,
        serf_lan_port: 0,
        serf_wan_port: Some(0),
        node_meta: std::collections::BTreeMap::new(),
        tagged_addresses: std::collections::BTreeMap::new(),
        raft_multiplier: 1,
        rpc_hold: Duration::from_secs(7),
        snapshot_threshold: 16_384,
        trailing_logs: 10_240,
        services: Vec::new(),
        checks: Vec::new(),
        enable_local_script_checks: false,
        enable_remote_script_checks: false,
        version: "0.1.0".to_owned(),
        ..Default::default()
    }
}

async fn simple() -> Served {
    served(Options::default(), Arc::new(AllowAll), None).await
}

/// A response, taken apart.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Told {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap()
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: &str) -> Told {
        ask(self.connect().await, method, path, body).await
    }

    pub(super) async fn register(&self, service: &str) {
        let body = json!({"Node": "x", "Address": "10.0.0.1", "Service": {"Service": service}});
        let told = self.ask("PUT", "/v1/catalog/register", &body.to_string()).await;
        assert_eq!((told.status, told.body.as_str()), (200, "true"));
    }
}

/// Sends one request on a connection of its own and reads until that is closed.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, method: &str, path: &str, body: &str) -> Told {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Told {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Told { status, head: head.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn over_the_network_and_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let served = served(Options::default(), Arc::new(AllowAll), Some(&path)).await;
    let tcp = served.ask("GET", "/v1/status/leader", "").await;
    let unix = ask(UnixStream::connect(&path).await.unwrap(), "GET", "/v1/status/leader", "").await;
    assert_eq!((tcp.status, tcp.header("Content-Type")), (200, "application/json"));
    assert_eq!(tcp.json(), unix.json());
    assert!(!tcp.json().as_str().unwrap().is_empty());
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let served = simple().await;
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /v1/catalog/datacenters HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS /v1/agent/self HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "200", "404"]);
    assert!(text.contains("[\"dc1\"]"));
    assert!(text.contains("Allow: OPTIONS,GET\r\n"));
}

#[tokio::test]
async fn a_waiting_read_is_answered_when_its_service_changes() {
    let served = simple().await;
    served.register("web").await;
    let first = served.ask("GET", "/v1/health/service/web", "").await;
    let path = format!("/v1/health/service/web?index={}&wait=10m", first.header("X-Consul-Index"));
    let waiting = tokio::spawn(ask(served.connect().await, "GET", &path.leak()[..], ""));
    // Whether the request waits already or comes after the change, what it must tell is the same.
    served.register("other").await;
    let body = json!({"Node": "y", "Address": "10.0.0.2", "Service": {"Service": "web"}});
    served.ask("PUT", "/v1/catalog/register", &body.to_string()).await;
    let second = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    let index = |told: &Told| told.header("X-Consul-Index").parse::<u64>().unwrap();
    assert!(index(&second) > index(&first));
    assert_eq!(second.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_waiting_look_at_a_local_service_is_answered_when_it_changes() {
    let served = simple().await;
    assert_eq!(served.ask("PUT", "/v1/agent/service/register", r#"{"Name":"web","Port":80}"#).await.status, 200);
    let first = served.ask("GET", "/v1/agent/service/web", "").await;
    let hash = first.header("X-Consul-Contenthash");
    assert_eq!(first.json()["ContentHash"], hash);
    let path = format!("/v1/agent/service/web?hash={hash}&wait=10m");
    let waiting = tokio::spawn(ask(served.connect().await, "GET", &path.leak()[..], ""));
    assert_eq!(served.ask("PUT", "/v1/agent/service/register", r#"{"Name":"web","Port":81}"#).await.status, 200);
    let second = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(second.json()["Port"], 81);
    assert_eq!(served.ask("PUT", "/v1/agent/service/deregister/web", "").await.status, 200);
    let gone = served.ask("GET", "/v1/agent/service/web", "").await;
    assert_eq!((gone.status, gone.body.as_str()), (404, "unknown service ID: web"));
}

#[tokio::test]
async fn stopping_answers_those_who_wait_and_ends() {
    let served = simple().await;
    let mut stream = served.connect().await;
    let request = b"GET /v1/catalog/nodes?index=1000000&wait=10m HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    // The server has taken the connection once it answers another one opened later.
    served.ask("GET", "/v1/status/leader", "").await;
    served.shutdown.cancel();
    let told = read(&mut stream).await;
    assert_eq!(told.status, 200);
    tokio::time::timeout(PATIENCE, served.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, served.port)).await.is_err());
}

#[tokio::test]
async fn one_connection_too_many_is_refused() {
    let options = Options { http_max_conns_per_client: 2, ..Options::default() };
    let served = served(options, Arc::new(AllowAll), None).await;
    let (_first, _second) = (served.connect().await, served.connect().await);
    let third = read(&mut served.connect().await).await;
    assert_eq!((third.status, third.body.contains("too many concurrent connections")), (429, true));
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_waited_for() {
    let served = simple().await;
    let mut stream = served.connect().await;
    let head = b"PUT /v1/catalog/register HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert_eq!(read(&mut stream).await.status, 413);
}

#[tokio::test]
async fn namespaces_are_refused_where_they_would_divide() {
    let served = simple().await;
    let told = served.ask("GET", "/v1/health/service/web?ns=x", "").await;
    let text = "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature";
    assert_eq!((told.status, told.body.as_str()), (400, text));
    assert_eq!(served.ask("PUT", "/v1/agent/service/register?ns=x", "{\"Name\": \"a\"}").await.status, 400);
    assert_eq!(served.ask("GET", "/v1/agent/services?ns=", "").await.status, 200);
    assert_eq!(served.ask("GET", "/v1/catalog/nodes?ns=x", "").await.status, 200);
}

/// What curl sends of `curl 'http://…?filter=Service=="web"'`.
#[tokio::test]
async fn quotes_need_not_be_escaped() {
    let served = simple().await;
    served.register("web").await;
    let told = served.ask("GET", "/v1/catalog/node-services/x?filter=Service==\"web\"", "").await;
    assert_eq!(told.status, 200);
    assert_eq!(told.json()["Services"][0]["Service"], "web");
}

#[tokio::test]
async fn an_overlong_head_is_refused() {
    let options = Options { max_header_bytes: 16 * 1024, ..Options::default() };
    let served = served(options, Arc::new(AllowAll), None).await;
    let mut stream = served.connect().await;
    let head = format!("GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(20_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read(&mut stream).await.status, 431);
}

/// Permits only what the test says.
struct Only(fn(&Permission<'_>) -> bool);

impl Authorizer for Only {
    fn allows(&self, token: &str, permission: &Permission<'_>) -> bool {
        token == "key" && (self.0)(permission)
    }
}

#[tokio::test]
async fn nobody_reads_or_changes_what_they_may_not() {
    let served = served(Options::default(), Arc::new(Only(|_| true)), None).await;
    let told = served.ask("PUT", "/v1/agent/service/register?token=key", r#"{"Name":"web","Check":{"TTL":"1h"}}"#);
    assert_eq!(told.await.status, 200);
    for (method, path, body) in [
        ("GET", "/v1/agent/self", ""),
        ("GET", "/v1/agent/host", ""),
        ("GET", "/v1/agent/metrics", ""),
        ("GET", "/v1/agent/monitor", ""),
        ("GET", "/v1/agent/service/web", ""),
        ("PUT", "/v1/agent/join/127.0.0.1", ""),
        ("PUT", "/v1/agent/force-leave/x", ""),
        ("PUT", "/v1/agent/leave", ""),
        ("PUT", "/v1/agent/reload", ""),
        ("PUT", "/v1/agent/service/register", r#"{"Name":"x"}"#),
        ("PUT", "/v1/agent/service/deregister/web", ""),
        ("PUT", "/v1/agent/check/register", r#"{"Name":"x","TTL":"1h"}"#),
        ("PUT", "/v1/agent/check/deregister/service:web", ""),
        ("PUT", "/v1/catalog/register", r#"{"Node":"x","Address":"1.1.1.1"}"#),
        ("PUT", "/v1/catalog/deregister", r#"{"Node":"x"}"#),
        ("GET", "/v1/operator/raft/configuration", ""),
    ] {
        let told = served.ask(method, path, body).await;
        assert_eq!((told.status, told.body.as_str()), (403, "Permission denied"), "{method} {path}");
    }
    for (path, expected) in [
        ("/v1/agent/members", json!([])),
        ("/v1/agent/services", json!({})),
        ("/v1/agent/checks", json!({})),
        ("/v1/agent/health/service/name/web", json!([])),
        ("/v1/catalog/nodes", json!([])),
        ("/v1/catalog/services", json!({})),
        ("/v1/catalog/service/web", json!([])),
        ("/v1/catalog/node/n1", json!(null)),
        ("/v1/catalog/node-services/n1", json!({"Node": null, "Services": null})),
        ("/v1/health/node/n1", json!([])),
        ("/v1/health/checks/web", json!([])),
        ("/v1/health/state/any", json!([])),
        ("/v1/health/service/web", json!([])),
    ] {
        assert_eq!(served.ask("GET", path, "").await.json(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_node_may_be_read_without_its_services() {
    let only_nodes = |permission: &Permission<'_>| {
        matches!(permission, Permission::NodeRead(_) | Permission::NodeWrite(_) | Permission::ServiceWrite(_))
    };
    let served = served(Options::default(), Arc::new(Only(only_nodes)), None).await;
    let body = json!({"Node": "x", "Address": "10.0.0.1", "Service": {"Service": "web"}});
    served.ask("PUT", "/v1/catalog/register?token=key", &body.to_string()).await;
    let node = served.ask("GET", "/v1/catalog/node/x?token=key", "").await.json();
    assert_eq!((&node["Node"]["Node"], &node["Services"]), (&json!("x"), &json!({})));
    assert_eq!(served.ask("GET", "/v1/catalog/service/web?token=key", "").await.json(), json!([]));
}

#[tokio::test]
async fn orders_reach_the_process_and_their_answers_the_client() {
    let mut served = simple().await;
    let mut orders = std::mem::replace(&mut served.orders, mpsc::channel(1).1);
    let process = tokio::spawn(async move {
        let Some(Control::Reload(done)) = orders.recv().await else { panic!("no reload") };
        done.send(Err("file c.json: line 3".to_owned())).unwrap();
        let Some(Control::Leave(done)) = orders.recv().await else { panic!("no leave") };
        done.send(()).unwrap();
    });
    let reload = served.ask("PUT", "/v1/agent/reload", "").await;
    assert_eq!((reload.status, reload.body.as_str()), (500, "file c.json: line 3"));
    assert_eq!(served.ask("PUT", "/v1/agent/leave", "").await.status, 200);
    process.await.unwrap();
    // Nobody takes orders any more.
    assert_eq!(served.ask("PUT", "/v1/agent/leave", "").await.status, 500);
}
