//! An agent's life: signals, reload, sockets and files it is told to use, configurations it must refuse.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use usher_tests::agent::{Agent, Builder};
use usher_tests::binary::usher;
use usher_tests::command::{Plan, run};
use usher_tests::http::Http;
use usher_tests::poll::eventually;

fn services(agent: &Agent) -> Vec<String> {
    let services = agent.get("/v1/agent/services").json();
    let mut names: Vec<String> = services.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    names.sort();
    names
}

#[test]
fn signals_end_it_as_the_configuration_says() {
    let table = [
        (json!({}), Signal::INT, 1),
        (json!({}), Signal::TERM, 1),
        (json!({"leave_on_terminate": true}), Signal::TERM, 0),
        (json!({"skip_leave_on_interrupt": false}), Signal::INT, 0),
        (json!({"skip_leave_on_interrupt": true, "leave_on_terminate": true}), Signal::INT, 1),
    ];
    for (config, signal, code) in table {
        let mut agent = Builder::dev().config(config.clone()).start();
        agent.signal(signal);
        let status = agent.wait();
        assert_eq!(status.code(), Some(code), "{config} {signal:?}: {status}");
        let output = agent.output();
        assert_eq!(output.contains("Gracefully shutting down"), code == 0, "{config} {signal:?}\n{output}");
    }
}

#[test]
fn leave_ends_it_with_zero() {
    let mut agent = Builder::dev().start();
    let left = agent.cli(&["leave"]);
    assert_eq!((left.code, left.out().trim()), (0, "Graceful leave complete"), "{}", left.err());
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_reload_adds_and_removes_services() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("one.json", r#"{"service": {"name": "one", "port": 1}}"#);
    write("two.hcl", "service {\n  name = \"two\"\n  port = 2\n}\n");
    let mut agent =
        Builder::server(&data.path().join("d")).flag(&format!("-config-dir={}", folder.path().display())).start();
    assert_eq!(services(&agent), ["one", "two"]);
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "by-api"}));

    fs::remove_file(folder.path().join("one.json")).unwrap();
    write("three.json", r#"{"services": [{"name": "three", "tags": ["new"]}, {"name": "two", "port": 22}]}"#);
    fs::remove_file(folder.path().join("two.hcl")).unwrap();
    agent.signal(Signal::HUP);
    eventually("the files' services, and the API's", || match services(&agent) {
        now if now == ["by-api", "three", "two"] => Ok(()),
        other => Err(other),
    });
    assert_eq!(agent.get("/v1/agent/service/two").json()["Port"], 22);
    eventually("the catalog follows", || match agent.get("/v1/catalog/services").json() {
        known if known.get("one").is_none() && known["three"] == json!(["new"]) => Ok(()),
        other => Err(other),
    });

    // A file that cannot be read changes nothing, and its name is in the log.
    write("three.json", "{");
    agent.signal(Signal::HUP);
    agent.printed("three.json");
    assert_eq!(services(&agent), ["by-api", "three", "two"]);
    assert!(agent.ended().is_none());
}

#[test]
fn http_is_served_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let address = format!("unix://{}", socket.display());
    // A socket that an earlier agent left behind is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let config = json!({"addresses": {"http": &address}, "unix_sockets": {"mode": "0600"}});
    let mut agent = Builder::dev().config(config).spawn();
    let http = Http::Unix(socket.clone());
    eventually("a leader", || match http.get("/v1/status/leader") {
        Ok(response) if response.json() != "" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for flag in [vec![], vec![format!("-http-addr={address}")]] {
        let mut command = std::process::Command::new(usher());
        command.arg("members").args(&flag);
        if flag.is_empty() {
            command.env("CONSUL_HTTP_ADDR", &address);
        }
        let seen = run(&mut command, &Plan::default()).unwrap();
        assert_eq!(seen.code, 0, "{}", seen.err());
        assert!(seen.out().contains("alive"), "{}", seen.out());
    }
    agent.signal(Signal::TERM);
    agent.wait();
}

#[test]
fn it_writes_its_log_and_its_process_id_where_told() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("agent.pid");
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let mut agent = Builder::dev()
        .flag(&format!("-pid-file={}", pid.display()))
        .flag(&format!("-log-file={}", logs.join("agent.log").display()))
        .flag("-log-level=debug")
        .start();
    assert_eq!(fs::read_to_string(&pid).unwrap().trim(), agent.id().to_string());
    let text = || {
        let files = usher_tests::tree::files(&logs);
        let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.collect::<String>()
    };
    eventually("a log in the folder", || if text().contains("[INFO]") { Ok(()) } else { Err(text()) });
    agent.signal(Signal::TERM);
    agent.wait();
    assert!(!pid.exists(), "the file of the process id goes with the process");
    assert!(text().contains("Caught"), "{}", text());
}

#[test]
fn the_log_is_json_where_asked() {
    let agent = Builder::dev().flag("-log-json").start();
    let line = |text: &str| serde_json::from_str::<Value>(text).ok().filter(|line| line["@level"].is_string());
    let found = eventually("a line of JSON", || agent.output().lines().find_map(line).ok_or_else(|| agent.output()));
    assert!(found["@message"].is_string() && found["@timestamp"].is_string(), "{found}");
}

#[test]
fn a_bad_configuration_is_told_with_file_and_key() {
    // Name, text, and what standard error must say beside the file's name.
    let table: [(&str, &str, &[&str]); 8] = [
        ("unknown.json", r#"{"prots": {"dns": 1}}"#, &["prots"]),
        ("nested.json", r#"{"ports": {"dsn": 1}}"#, &["dsn"]),
        ("service.json", r#"{"service": {"name": "a", "prot": 1}}"#, &["prot"]),
        ("type.json", r#"{"ports": {"dns": "many"}}"#, &["dns"]),
        ("type.hcl", "ports {\n  dns = [\"a\"]\n}\n", &["dns"]),
        ("syntax.json", "{\"server\": true,", &[]),
        ("syntax.hcl", "server = = true\n", &[]),
        ("unknown.hcl", "sevrer = true\n", &["sevrer"]),
    ];
    for (name, text, words) in table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let agent = Builder::dev().flag(&format!("-config-file={}", path.display())).refused();
        let validate = validate(&path);
        for (way, ended) in [("agent", agent), ("validate", validate)] {
            assert_ne!(ended.code, 0, "{way} {name}");
            let error = ended.err();
            for word in words.iter().chain([&name]) {
                assert!(error.contains(word), "{way}: {word} should be named:\n{error}\n{}", ended.out());
            }
            assert!(!error.contains("panicked"), "{error}");
        }
    }
}

fn validate(path: &Path) -> usher_tests::command::Ended {
    let mut command = std::process::Command::new(usher());
    run(command.arg("validate").arg(path), &Plan::default()).unwrap()
}

#[test]
fn impossible_settings_are_refused_in_words() {
    let table: [(Value, &[&str]); 5] = [
        (json!({"datacenter": "dc one"}), &["datacenter"]),
        (json!({"ports": {"dns": 70_000}}), &["dns", "70000"]),
        (json!({"log_level": "loud"}), &["log level", "loud"]),
        (json!({"node_id": "nonsense"}), &["node_id", "nonsense"]),
        (json!({"bind_addr": "nowhere.invalid"}), &["bind", "nowhere.invalid"]),
    ];
    for (config, words) in table {
        eprintln!("{config}");
        let error = Builder::dev().config(config.clone()).refused().err();
        let lower = error.to_lowercase().replace('_', " ");
        for word in words {
            assert!(lower.contains(&word.replace('_', " ")), "{config}: {word} should be named:\n{error}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Builder::dev().flag("-config-file=/nowhere/at-all.json").refused().err();
    assert!(error.contains("/nowhere/at-all.json"), "{error}");
    let error = Builder::dev().flag("-no-such-flag").refused().err();
    assert!(error.contains("no-such-flag"), "{error}");
}

#[test]
fn a_known_key_without_effect_is_told_in_the_log() {
    let config = json!({"connect": {"enabled": false}, "primary_gateways": ["gateway"], "non_voting_server": false});
    let agent = Builder::dev().config(config.clone()).start();
    for key in config.as_object().unwrap().keys() {
        let line = agent.printed(key);
        assert!(line.contains("[WARN]"), "{line}");
    }
}

#[test]
fn ports_can_be_switched_off() {
    let mut agent = Builder::dev().config(json!({"ports": {"dns": -1}})).start();
    assert!(usher_tests::dns::ask(agent.ports.dns, "consul SOA").is_err());
    assert!(agent.ended().is_none());
}

#[test]
fn it_takes_more_connections_than_a_shell_lets_it() {
    let agent = Builder::dev().open_files(64).start();
    let index = agent.get("/v1/catalog/nodes").header("X-Consul-Index").expect("an index").to_owned();
    let request = format!("GET /v1/catalog/nodes?index={index}&wait=5m HTTP/1.1\r\nHost: a\r\n\r\n");
    let waiting: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", agent.ports.http)).expect("taken");
            stream.write_all(request.as_bytes()).expect("sent");
            stream
        })
        .collect();
    assert_eq!(agent.get("/v1/status/leader").status, 200);
    drop(waiting);
}
