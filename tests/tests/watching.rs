//! Watching: `usher watch` and the `watches` of an agent's configuration, with real handlers.
//!
//! Handlers append a line to a file: what is told, in order. That something is not told is shown without a clock: the
//! line after it is that of a later change.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use usher_tests::{
    agent::{Agent, Builder},
    backends::{
        http::{Http as HttpServer, Mode},
        tls::Authority,
    },
    binary,
    poll::{PATIENCE, eventually},
    process::Process,
};

fn register(agent: &Agent, node: &str, service: &str) {
    let service = json!({"Service": service, "ID": service, "Port": 80});
    agent.put_ok("/v1/catalog/register", &json!({"Node": node, "Address": "10.0.0.1", "Service": service}));
}

/// A handler that appends what it is told to a file as one line.
fn appending(file: &Path) -> Value {
    json!(["sh", "-c", "echo \"$CONSUL_INDEX $(cat)\" >> \"$0\"", file])
}

/// The JSON of every line of the file, with its index.
fn told(file: &Path) -> Vec<(u64, Value)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(index, json)| Some((index.parse().ok()?, serde_json::from_str(json).ok()?)))
        .collect()
}

/// Waits for that many lines.
fn told_times(file: &Path, times: usize) -> Vec<(u64, Value)> {
    eventually("a handler to be told", || {
        let told = told(file);
        if told.len() >= times { Ok(told) } else { Err(told) }
    })
}

/// The nodes of a list of instances.
fn nodes(told: &Value) -> Vec<&str> {
    told.as_array().into_iter().flatten().filter_map(|instance| instance["Node"]["Node"].as_str()).collect()
}

/// Writes the agent's configuration anew with these watches, and has it read.
fn reload(agent: &Agent, watches: &Value) {
    let mut config: Value = serde_json::from_slice(&fs::read(&agent.config).unwrap()).unwrap();
    config["watches"] = watches.clone();
    fs::write(&agent.config, config.to_string()).unwrap();
    agent.put_ok("/v1/agent/reload", &Value::Null);
}

fn files<const N: usize>() -> (tempfile::TempDir, [PathBuf; N]) {
    let folder = tempfile::tempdir().unwrap();
    let files = std::array::from_fn(|number| folder.path().join(number.to_string()));
    (folder, files)
}

#[test]
fn an_agent_tells_its_handlers_what_changes_and_nothing_else() {
    let (_folder, [web, passing]) = files();
    let agent = Builder::dev()
        .config(json!({"watches": [
            {"type": "service", "service": "web", "args": appending(&web)},
            {"type": "checks", "state": "critical", "handler_type": "script", "args": appending(&passing)},
        ]}))
        .start();
    assert_eq!(told_times(&web, 1).first().map(|(_, json)| json.clone()), Some(json!([])));
    register(&agent, "other", "db");
    register(&agent, "n1", "web");
    let (index, json) = told_times(&web, 2).remove(1);
    assert_eq!(nodes(&json), ["n1"]);
    assert!(index > 1);
    register(&agent, "other", "cache");
    register(&agent, "n2", "web");
    let (after, json) = told_times(&web, 3).remove(2);
    assert_eq!(nodes(&json), ["n1", "n2"]);
    assert!(after > index);
    agent.put_ok("/v1/catalog/deregister", &json!({"Node": "n1"}));
    assert_eq!(nodes(&told_times(&web, 4)[3].1), ["n2"]);

    let check = json!({"Node": "n2", "Address": "10.0.0.1", "Check": {"Name": "c", "Status": "critical"}});
    agent.put_ok("/v1/catalog/register", &check);
    let told = told_times(&passing, 2);
    assert_eq!((&told[0].1, told[1].1[0]["Name"].as_str()), (&json!([]), Some("c")));
}

#[test]
fn watches_go_by_the_agents_unix_socket() {
    let (folder, [file]) = files();
    let socket = folder.path().join("http.sock");
    let agent = Builder::dev()
        .config(json!({
            "addresses": {"http": format!("unix://{} 127.0.0.1", socket.display())},
            "watches": [{"type": "services", "handler": format!("cat > {}", file.display())}],
        }))
        .start();
    register(&agent, "n1", "web");
    eventually("the services to be told", || {
        let told: Value = serde_json::from_slice(&fs::read(&file).unwrap_or_default()).unwrap_or_default();
        if told["web"] == json!([]) { Ok(()) } else { Err(told) }
    });
}

#[test]
fn a_reload_changes_the_watches_that_differ() {
    let (_folder, [kept, gone, new]) = files();
    let watch = |service: &str, file: &Path| json!({"type": "service", "service": service, "args": appending(file)});
    let agent = Builder::dev().config(json!({"watches": [watch("web", &kept), watch("web", &gone)]})).start();
    told_times(&kept, 1);
    told_times(&gone, 1);
    reload(&agent, &json!([watch("web", &new), watch("web", &kept)]));
    told_times(&new, 1);
    register(&agent, "n1", "web");
    // What was kept was not told again what it knew, and what is gone is told nothing.
    assert_eq!(nodes(&told_times(&kept, 2)[1].1), ["n1"]);
    assert_eq!(nodes(&told_times(&new, 2)[1].1), ["n1"]);
    assert_eq!(told(&gone).len(), 1);

    let mut config: Value = serde_json::from_slice(&fs::read(&agent.config).unwrap()).unwrap();
    config["watches"] = json!([watch("web", &kept), {"type": "nodes"}]);
    fs::write(&agent.config, config.to_string()).unwrap();
    let refused = agent.put("/v1/agent/reload", &Value::Null);
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("watches[1]: Must define a watch handler"), "{}", refused.text());
    register(&agent, "n2", "web");
    assert_eq!(nodes(&told_times(&new, 3)[2].1), ["n1", "n2"]);
}

#[test]
fn a_registration_of_the_agent_is_watched_by_its_hash() {
    let (_folder, [file]) = files();
    let agent = Builder::dev()
        .config(json!({
            "service": {"name": "web", "id": "w1", "port": 1},
            "watches": [{"type": "agent_service", "service_id": "w1", "args": appending(&file)}],
        }))
        .start();
    told_times(&file, 1);
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "other", "Port": 9}));
    for port in [2, 3] {
        agent.put_ok("/v1/agent/service/register", &json!({"Name": "web", "ID": "w1", "Port": port}));
        let told = told_times(&file, port);
        assert_eq!(told[port - 1].1["Port"], port);
    }
    assert_eq!(told(&file).len(), 3);
}

#[test]
fn an_http_handler_gets_the_json_as_a_request() {
    let server = HttpServer::start();
    server.set(Mode::Status(500, "not now".into()));
    let agent = Builder::dev()
        .config(json!({"watches": [{
            "type": "service", "service": "web", "tag": "v1", "handler_type": "http",
            "http_handler_config": {
                "path": format!("{}?x=y", server.url("/hook")), "method": "PUT",
                "header": {"X-Own": ["a"]}, "timeout": "5s",
            },
        }]}))
        .start();
    let seen = |times: usize| {
        eventually("requests of the handler", || {
            let seen = server.seen();
            if seen.len() >= times { Ok(seen) } else { Err(seen.len()) }
        })
    };
    // That it refuses changes nothing for the next time.
    seen(1);
    let service = json!({"Service": "web", "Tags": ["v1"]});
    agent.put_ok("/v1/catalog/register", &json!({"Node": "n1", "Address": "10.0.0.1", "Service": service}));
    let request = seen(2).remove(1);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/hook?x=y"));
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    assert_eq!((header("x-own"), header("content-type")), (Some("a"), Some("application/json")));
    assert!(header("x-consul-index").and_then(|index| index.parse::<u64>().ok()).is_some_and(|index| index > 1));
    assert_eq!(nodes(&serde_json::from_slice(&request.body).unwrap()), ["n1"]);
}

#[test]
fn an_http_handler_is_verified_unless_that_is_not_wanted() {
    let authority = Authority::new();
    let server = HttpServer::start_tls(&authority);
    let watch = |path: &str, skip: bool| {
        let config = json!({"path": server.url(path), "tls_skip_verify": skip});
        json!({"type": "nodes", "handler_type": "http", "http_handler_config": config})
    };
    let agent = Builder::dev().config(json!({"watches": [watch("/verified", false), watch("/any", true)]})).start();
    agent.printed("Failed to run watch handler");
    eventually("the other to be told", || if server.count() > 0 { Ok(()) } else { Err("nothing was sent") });
    assert!(server.seen().iter().all(|seen| seen.target == "/any"));
}

/// A shell line that notes the ids of itself and of a child, and then hangs.
fn hanging(file: &Path) -> String {
    format!("sleep 90 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", file.display())
}

/// The processes a hanging handler has noted.
fn hangs(file: &Path) -> Vec<String> {
    eventually("a handler to hang", || {
        let text = fs::read_to_string(file).unwrap_or_default();
        let ids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if ids.len() == 2 { Ok(ids) } else { Err(text) }
    })
}

fn all_gone(ids: &[String]) {
    eventually("handlers to be gone", || {
        let runs = |id: &&String| {
            let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // Who is dead and waits to be collected does not run.
            !status.is_empty() && !status.contains(") Z ")
        };
        match ids.iter().find(runs) {
            None => Ok(()),
            Some(id) => Err(id.clone()),
        }
    });
}

#[test]
fn a_handler_that_hangs_ends_with_its_watch() {
    let (_folder, [reloaded, stopped]) = files();
    let watch = |file: &Path| json!({"type": "nodes", "handler": hanging(file)});
    let mut agent = Builder::dev().config(json!({"watches": [watch(&reloaded), watch(&stopped)]})).start();
    let (first, second) = (hangs(&reloaded), hangs(&stopped));
    reload(&agent, &json!([watch(&stopped)]));
    all_gone(&first);
    agent.signal(Signal::INT);
    agent.wait();
    all_gone(&second);
}

#[test]
fn handlers_that_fail_are_told_in_the_log_and_the_watch_goes_on() {
    let (_folder, [file]) = files();
    let line = format!("cat >> {0}; echo >> {0}; echo on purpose; exit 7", file.display());
    let agent = Builder::dev().config(json!({"watches": [{"type": "services", "handler": line}]})).start();
    agent.printed("Failed to run watch handler");
    assert!(agent.printed("exit status 7").contains("services"));
    register(&agent, "n1", "web");
    eventually("the second change", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.contains("\"web\"") { Ok(()) } else { Err(text) }
    });
}

#[test]
fn watches_that_make_no_sense_stop_the_start_and_name_their_place() {
    for (watch, expected) in [
        (json!({"type": "bogus", "args": ["true"]}), "watches[0].type: Unsupported watch type: bogus"),
        (json!({"type": "service", "args": ["true"]}), "watches[0].service: Must specify a single service to watch"),
        (json!({"type": "nodes", "args": ["true"], "handler": "true"}), "Cannot specify both 'handler' and 'args'"),
        (json!({"type": "nodes", "args": "true"}), "'watches[0].args' expected a list of strings"),
        (json!({"type": "nodes", "bogus": 1}), "watches[0].bogus"),
    ] {
        let ended = Builder::dev().config(json!({"watches": [watch]})).refused();
        assert!(ended.err().contains(expected), "{}", ended.err());
    }
    let agent = Builder::dev().config(json!({"watches": [{"type": "key", "key": "a", "args": ["true"]}]})).start();
    agent.printed("watches[0] has no effect: watch type key needs the key-value store");
}

#[test]
fn the_command_prints_what_is_there() {
    let agent = Builder::dev().start();
    register(&agent, "n1", "web");
    let printed = |words: &[&str]| -> Value {
        let ended = agent.cli(&[&["watch"], words].concat());
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.err());
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {}", ended.out()))
    };
    assert_eq!(printed(&["-type=services"])["web"], json!([]));
    assert!(printed(&["-type", "nodes"]).as_array().is_some_and(|nodes| nodes.len() == 2));
    assert_eq!(nodes(&printed(&["-type=service", "-service=web", "-passingonly=true"])), ["n1"]);
    assert_eq!(printed(&["-type=service", "-service=web", "-tag=nosuch"]), json!([]));
    assert_eq!(printed(&["-type=checks", "-state", "passing", "-stale"])[0]["CheckID"], "serfHealth");
    assert_eq!(printed(&["-type=checks", "-service=web"]), json!([]));

    for (words, expected) in [
        (&["-type=bogus"][..], "Unsupported watch type: bogus"),
        (&[], "Watch type must be specified"),
        (&["-type=key"], "Must specify a single key to watch"),
        (&["-type=key", "-key=a"], "needs the key-value store"),
        (&["-type=nodes", "-service=a"], "Invalid parameters: [service]"),
        (&["-type=service", "-service=a", "-passingonly=maybe"], "-passingonly"),
        (&["-type=nodes", "-http-addr=127.0.0.1:1"], "Error querying agent: no agent answers"),
        (&["-type=nodes", "-http-addr=127.0.0.1:1", "true"], "Error querying agent: no agent answers"),
        (&["-type=nodes", "-datacenter=nosuch"], "No path to datacenter"),
        (&["-type=nodes", "exit 3"], "Error executing handler: exit status 3"),
        (&["-type=nodes", "-shell=false", "/nonexistent"], "Error executing handler: cannot run /nonexistent"),
    ] {
        let ended = agent.cli(&[&["watch"], words].concat());
        assert!(ended.code == 1 && ended.err().contains(expected), "{words:?}: {} {}", ended.code, ended.err());
    }
}

#[test]
fn the_command_runs_a_command_at_every_change() {
    let (folder, [file, ids]) = files();
    let agent = Builder::dev().start();
    let watch = |words: &[&str]| {
        let mut command = Command::new(binary::usher());
        command.args(["watch", "-type=service", "-service=web"]).args(words);
        command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.ports.http)).env("SHELL", "/bin/sh");
        Process::spawn(&mut command, &folder.path().join("output")).unwrap()
    };
    let line = "echo \"$CONSUL_INDEX $(cat)\" >> \"$0\"";
    let mut process = watch(&["-shell=false", "sh", "-c", line, file.to_str().unwrap()]);
    told_times(&file, 1);
    register(&agent, "n1", "web");
    assert_eq!(nodes(&told_times(&file, 2)[1].1), ["n1"]);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).and_then(|status| status.code()), Some(0));

    let mut process = watch(&[&hanging(&ids)]);
    let running = hangs(&ids);
    process.signal(Signal::INT);
    assert_eq!(process.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    all_gone(&running);
}

// The agent that comes back has forgotten everything: its indexes begin anew.
#[test]
fn the_command_outlasts_its_agent() {
    let (folder, [file]) = files();
    let builder = Builder::dev();
    let mut agent = builder.start();
    register(&agent, "filler", "filler");
    let mut command = Command::new(binary::usher());
    let line = format!("echo \"$CONSUL_INDEX $(cat)\" >> {}", file.display());
    command.args(["watch", "-type=service", "-service=web", &line]).env("SHELL", "/bin/sh");
    command.env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.ports.http));
    let mut process = Process::spawn(&mut command, &folder.path().join("output")).unwrap();
    told_times(&file, 1);
    let ports = agent.ports;
    agent.kill();
    eventually("the watch to notice", || {
        let output = process.output();
        if output.contains("Watch errored") { Ok(()) } else { Err(output) }
    });
    let agent = builder.ports(ports).start();
    register(&agent, "n1", "web");
    assert_eq!(nodes(&told_times(&file, 2)[1].1), ["n1"]);
    assert!(process.ended().is_none());
}
