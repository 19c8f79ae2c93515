//! What a teaching text has its reader type, with `usher` in place of `consul`, and what the reader is told to see.
//!
//! Only the ports differ from the text (tests run side by side): they come from a configuration file.

use std::fs;
use std::path::Path;

use regex::Regex;
use rustix::process::Signal;
use serde_json::{Value, json};
use usher_tests::agent::{Agent, Builder};
use usher_tests::dns;
use usher_tests::poll::eventually;
use usher_tests::typed::{self, Step, Terminal};
use usher_tests::workspace;

/// The value that the start banner shows beside a name.
fn shown(banner: &str, name: &str) -> String {
    let line = Regex::new(&format!(r"(?m)^ *{}: (.*)$", regex::escape(name))).unwrap();
    let found = line.captures(banner).unwrap_or_else(|| panic!("the banner does not show {name}:\n{banner}"));
    found[1].trim().to_owned()
}

fn node_name(agent: &Agent) -> String {
    agent.get("/v1/agent/self").json()["Config"]["NodeName"].as_str().expect("an agent has a name").to_owned()
}

#[test]
fn a_new_reader_starts_an_agent_and_finds_out_what_it_is() {
    let agent = Builder::dev().start();
    // It answers before the last line of its banner is out.
    agent.printed("Encrypt: ");
    let (banner, ports) = (agent.output(), agent.ports);
    let version = shown(&banner, "Version");
    assert!(Regex::new(r"^'?v?\d+\.\d+\.\d+").unwrap().is_match(&version), "{version}");
    let id = shown(&banner, "Node ID");
    assert!(Regex::new(r"^'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'$").unwrap().is_match(&id), "{id}");
    assert_eq!(shown(&banner, "Node name"), format!("'{}'", node_name(&agent)));
    assert!(shown(&banner, "Datacenter").starts_with("'dc1'"), "{banner}");
    assert!(shown(&banner, "Server").starts_with("true"), "{banner}");
    let client = shown(&banner, "Client Addr");
    for part in ["127.0.0.1".to_owned(), format!("HTTP: {}", ports.http), format!("DNS: {}", ports.dns)] {
        assert!(client.contains(&part), "{part} in {client}");
    }
    let cluster = shown(&banner, "Cluster Addr");
    for part in ["127.0.0.1".to_owned(), format!("LAN: {}", ports.serf_lan), format!("WAN: {}", ports.serf_wan)] {
        assert!(cluster.contains(&part), "{part} in {cluster}");
    }
    assert!(shown(&banner, "Encrypt").contains("Gossip: false"), "{banner}");
    let log =
        Regex::new(r"(?m)^ *\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d{4}) \[(INFO|WARN|DEBUG)\] +\w+").unwrap();
    eventually(
        "a log with time and level",
        || if log.is_match(&agent.output()) { Ok(()) } else { Err(agent.output()) },
    );
}

#[test]
fn the_reader_asks_for_the_members() {
    let agent = Builder::dev().start();
    let seen = agent.cli(&["members"]);
    assert_eq!(seen.code, 0, "{}", seen.err());
    let out = seen.out();
    let mut lines = out.lines();
    let heading: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heading, ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]);
    let row: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(row.len(), heading.len(), "{out}");
    assert_eq!(row[0], node_name(&agent));
    assert_eq!(row[1], format!("127.0.0.1:{}", agent.ports.serf_lan));
    assert_eq!(row[2..4], ["alive", "server"]);
    assert_eq!(row[5..], ["2", "dc1", "<all>"]);
    assert_eq!(lines.next(), None, "one member");

    let detailed = agent.cli(&["members", "-detailed"]).out();
    for part in ["Tags", "dc=dc1", "role=consul", "vsn=2"] {
        assert!(detailed.contains(part), "{part} in {detailed}");
    }
    let nodes = agent.get("/v1/catalog/nodes").json();
    assert_eq!((&nodes[0]["Node"], &nodes[0]["Address"]), (&json!(row[0]), &json!("127.0.0.1")));
    let asked = format!("{}.node.consul", row[0].to_lowercase());
    assert_eq!(agent.answer(&format!("{asked} A")), [format!("{asked}. 0 A 127.0.0.1")]);
}

#[test]
fn the_reader_stops_the_agent_with_ctrl_c() {
    let mut agent = Builder::dev().start();
    agent.signal(Signal::INT);
    let status = agent.wait();
    let output = agent.output();
    // 1.5 says "Caught signal: interrupt", 1.8 "Caught: signal=interrupt".
    assert!(Regex::new(r"(?m)Caught( signal)?:.*\binterrupt\b").unwrap().is_match(&output), "{output}");
    assert!(Regex::new(r"(?i)graceful shutdown disabled|gracefully").unwrap().is_match(&output), "{output}");
    assert!(status.code().is_some(), "it ended by itself, not by the signal: {status}");
}

/// A service in a file, as the text has it, in a folder for `-config-dir`.
fn service_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_service(folder.path(), &json!({"service": {"name": "web", "tags": ["rails"], "port": 80}}));
    folder
}

fn write_service(folder: &Path, definition: &Value) {
    fs::write(folder.join("web.json"), definition.to_string()).unwrap();
}

#[test]
fn the_reader_defines_a_service_in_a_file_and_looks_it_up() {
    let folder = service_folder();
    let agent = Builder::dev().flag(&format!("-config-dir={}", folder.path().display())).start();
    eventually("web in the catalog", || match agent.answer("web.service.consul A") {
        found if found == ["web.service.consul. 0 A 127.0.0.1"] => Ok(()),
        other => Err(other),
    });
    let name = node_name(&agent).to_lowercase();
    let srv = agent.dns("web.service.consul SRV");
    assert_eq!(dns::lines(&srv.answers), [format!("web.service.consul. 0 SRV 1 1 80 {name}.node.dc1.consul.")]);
    let additional = dns::lines(&srv.additionals);
    assert!(additional.contains(&format!("{name}.node.dc1.consul. 0 A 127.0.0.1")), "{additional:?}");
    assert_eq!(agent.answer("rails.web.service.consul A"), ["rails.web.service.consul. 0 A 127.0.0.1"]);
    assert_eq!(agent.answer("php.web.service.consul A"), Vec::<String>::new());

    let found = agent.get("/v1/catalog/service/web").json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    for (key, value) in [("ServiceName", json!("web")), ("ServiceTags", json!(["rails"])), ("ServicePort", json!(80))] {
        assert_eq!(found[0][key], value, "{key}");
    }
    let healthy = agent.get("/v1/health/service/web?passing").json();
    assert_eq!(healthy[0]["Service"]["ID"], "web");
    assert_eq!(healthy[0]["Checks"][0]["Status"], "passing");
}

#[test]
fn the_reader_changes_the_file_and_reloads() {
    let folder = service_folder();
    let agent = Builder::dev().flag(&format!("-config-dir={}", folder.path().display())).start();
    eventually("web on port 80", || match &agent.get("/v1/catalog/service/web").json()[0]["ServicePort"] {
        port if *port == 80 => Ok(()),
        other => Err(other.clone()),
    });
    write_service(folder.path(), &json!({"service": {"name": "web", "tags": ["rails"], "port": 8080}}));
    let reloaded = agent.cli(&["reload"]);
    assert_eq!(reloaded.code, 0, "{}", reloaded.err());
    assert!(reloaded.out().contains("Configuration reload triggered"), "{}", reloaded.out());
    eventually("web on port 8080", || match &agent.get("/v1/catalog/service/web").json()[0]["ServicePort"] {
        port if *port == 8080 => Ok(()),
        other => Err(other.clone()),
    });
}

#[test]
fn the_reader_registers_by_http() {
    let agent = Builder::dev().start();
    let redis = json!({"ID": "redis1", "Name": "redis", "Tags": ["primary", "v1"], "Address": "127.0.0.1", "Port": 8000,
        "Meta": {"redis_version": "4.0"}, "EnableTagOverride": false, "Weights": {"Passing": 10, "Warning": 1}});
    agent.put_ok("/v1/agent/service/register", &redis);
    assert_eq!(agent.get("/v1/agent/services").json()["redis1"]["Port"], 8000);
    eventually("redis by DNS", || match agent.answer("redis.service.consul SRV") {
        found if found == ["redis.service.consul. 0 SRV 1 10 8000 7f000001.addr.dc1.consul."] => Ok(()),
        other => Err(other),
    });
    assert_eq!(agent.answer("primary.redis.service.consul A"), ["primary.redis.service.consul. 0 A 127.0.0.1"]);
    assert_eq!(agent.get("/v1/health/service/redis").json()[0]["Service"]["Meta"]["redis_version"], "4.0");
    assert_eq!(agent.get("/v1/catalog/services").json()["redis"], json!(["primary", "v1"]));

    agent.put_ok("/v1/agent/service/deregister/redis1", &json!({}));
    eventually("redis gone", || match agent.answer("redis.service.consul A") {
        found if found.is_empty() => Ok(()),
        other => Err(other),
    });
}

#[test]
fn the_reader_registers_by_command() {
    let agent = Builder::dev().start();
    write_service(agent.folder(), &json!({"service": {"name": "web", "tags": ["rails"], "port": 80}}));
    let registered = agent.cli(&["services", "register", "web.json"]);
    assert_eq!((registered.code, registered.out().trim()), (0, "Registered service: web"), "{}", registered.err());
    eventually("web in the list", || match agent.cli(&["catalog", "services"]).out() {
        list if list.lines().any(|line| line == "web") => Ok(()),
        list => Err(list),
    });
    let gone = agent.cli(&["services", "deregister", "-id=web"]);
    assert_eq!((gone.code, gone.out().trim()), (0, "Deregistered service: web"), "{}", gone.err());
}

#[test]
fn the_reader_finds_help_and_the_version() {
    let agent = Builder::dev().start();
    let version = agent.cli(&["version"]);
    assert_eq!(version.code, 0);
    assert!(Regex::new(r"v\d+\.\d+\.\d+").unwrap().is_match(&version.out()), "{}", version.out());
    let help = agent.cli(&["--help"]);
    let text = help.out() + &help.err();
    for command in ["agent", "members", "services", "catalog", "reload", "leave"] {
        assert!(text.contains(command), "{command} in the help:\n{text}");
    }
    let nobody = agent.cli(&["members", "-http-addr=127.0.0.1:1"]);
    assert_ne!(nobody.code, 0);
    assert!(nobody.err().contains("127.0.0.1:1"), "{}", nobody.err());
}

/// The sections of the README that a reader can type on one machine with one agent at a time, each with the agent of
/// the first.
#[test]
fn the_readme_is_typed_as_it_stands() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let agent = Step { command: "usher agent -dev".to_owned(), promised: Vec::new() };
    for heading in
        ["## Five minutes", "## Health decides who is answered", "## Answers that can be steered, and say why"]
    {
        let steps = typed::section(&readme, heading);
        let missing = typed::missing(&steps);
        if !missing.is_empty() {
            eprintln!("{heading} is not typed here: there is no {missing:?}");
            continue;
        }
        let mut terminal = Terminal::open();
        terminal.type_in(&agent);
        terminal.type_all(&steps);
    }
}
