//! HAProxy, whose backends are the instances that SRV answers name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::{Value, json};
use usher_tests::{
    agent::{Agent, Builder},
    backends::http::{Http as Backend, Mode},
    front::{Front, Place, program},
    http::Http,
    poll::{PATIENCE, eventually},
};

use crate::readme;

/// How many instances more than fill the UDP messages that are sent by default to other hosts.
const MANY: u16 = 60;
/// A weight of one in HAProxy, which takes DNS weights, of 16 bits, for its own, of 8.
const WEIGHT: u16 = 256;
/// The bits of a backend's administrative state that keep it out of use.
const MAINTENANCE: u32 = 0x3f;
/// The socket it is asked by how its backends are.
const STATS: &str = "stats";

/// HAProxy before the service `shop`, as the README has it but for `scheme` before Usher's address, and asking more often.
fn haproxy(program: &Path, scheme: &str, usher: u16) -> Front {
    let readme = readme::block("nameserver usher")
        .replace("tcp@127.0.0.1:8600", &format!("{scheme}127.0.0.1:{usher}"))
        .replace("hold nx", "timeout resolve 100ms\nhold valid 100ms\nhold nx");
    let arrange = |place: &Place<'_>| {
        let text = format!(
            "global
                log stdout format raw local0
                stats socket {stats} mode 600 level admin
            defaults
                mode http
                timeout connect 5s
                timeout client 10s
                timeout server 10s
            frontend shop
                bind 127.0.0.1:{port}
                default_backend shop
{readme}",
            stats = place.path(STATS),
            port = place.port(),
        );
        vec!["-db".into(), "-f".into(), place.write("haproxy.cfg", &text)]
    };
    Front::start_until(program, arrange, |place| command(place, "show info").is_ok())
}

/// What HAProxy says to a command.
fn command(place: &Place<'_>, words: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(place.folder.join(STATS))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{words}\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// The backends that are in use: `address:port weight`.
fn in_use(front: &Front) -> BTreeSet<String> {
    let state = command(&front.place(), "show servers state shop").unwrap();
    let mut lines = state.lines().skip(1);
    let names: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(' ').collect();
    lines
        .filter(|line| !line.is_empty())
        .map(|line| names.iter().copied().zip(line.split(' ')).collect::<BTreeMap<_, _>>())
        .filter(|server| server["srv_op_state"] == "2")
        .filter(|server| server["srv_admin_state"].parse().is_ok_and(|state: u32| state & MAINTENANCE == 0))
        .map(|server| format!("{}:{} {}", server["srv_addr"], server["srv_port"], server["srv_uweight"]))
        .collect()
}

fn becomes(front: &Front, want: &[String]) {
    let want: BTreeSet<String> = want.iter().cloned().collect();
    eventually("the backends in use", || match in_use(front) {
        got if got == want => Ok(()),
        got => Err(format!("{got:?}, not {want:?}")),
    });
}

/// A backend that says `name`, registered with that weight and a check that a test judges.
fn instance(agent: &Agent, name: &str, weight: u16) -> Backend {
    let backend = Backend::start();
    backend.set(Mode::Status(200, name.to_owned()));
    agent.put_ok("/v1/agent/service/register", &of(name, backend.acceptor().port(), weight));
    backend
}

fn of(name: &str, port: u16, weight: u16) -> Value {
    json!({
        "Name": "shop", "ID": name, "Address": "127.0.0.1", "Port": port,
        "Weights": {"Passing": weight, "Warning": 1},
        "Check": {"CheckID": name, "TTL": "1h", "Status": "passing"},
    })
}

fn shown(backend: &Backend, weight: u16) -> String {
    format!("127.0.0.1:{} {weight}", backend.acceptor().port())
}

/// Who answers a request through HAProxy.
fn served(front: &Front) -> Option<String> {
    let response = Http::local(front.address.port()).get("/").ok()?;
    (response.status == 200).then(|| response.text())
}

#[test]
fn backends_come_and_go_with_their_health() {
    let Some(program) = program("haproxy") else { return };
    let agent = Builder::dev().start();
    let one = instance(&agent, "one", WEIGHT);
    let front = haproxy(&program, "", agent.ports.dns);
    becomes(&front, &[shown(&one, 1)]);
    assert_eq!(served(&front).as_deref(), Some("one"));

    let two = instance(&agent, "two", 3 * WEIGHT);
    becomes(&front, &[shown(&one, 1), shown(&two, 3)]);
    agent.put_ok("/v1/agent/check/fail/one", &json!(null));
    becomes(&front, &[shown(&two, 3)]);
    assert_eq!(served(&front).as_deref(), Some("two"));

    agent.put_ok("/v1/agent/check/fail/two", &json!(null));
    becomes(&front, &[]);
    assert_eq!(served(&front), None, "nobody is left");

    agent.put_ok("/v1/agent/check/pass/one", &json!(null));
    becomes(&front, &[shown(&one, 1)]);
    assert_eq!(served(&front).as_deref(), Some("one"));

    agent.put_ok("/v1/agent/service/register", &of("one", one.acceptor().port(), 7 * WEIGHT));
    becomes(&front, &[shown(&one, 7)]);
}

/// The backends of [`MANY`] instances, found by an agent with these settings, at `scheme` before its address.
fn many(scheme: &str, dns_config: &Value) {
    let Some(program) = program("haproxy") else { return };
    let agent = Builder::dev().config(json!({"dns_config": dns_config})).start();
    for number in 1..=MANY {
        let mut instance = of(&format!("i{number}"), 1000 + number, WEIGHT);
        instance["Address"] = format!("127.0.1.{number}").into();
        agent.put_ok("/v1/agent/service/register", &instance);
    }
    let front = haproxy(&program, scheme, agent.ports.dns);
    let want: Vec<String> = (1..=MANY).map(|number| format!("127.0.1.{number}:{} 1", 1000 + number)).collect();
    becomes(&front, &want);
    agent.put_ok("/v1/agent/service/deregister/i1", &json!(null));
    becomes(&front, &want[1..]);
}

#[test]
fn many_backends_are_found_over_tcp() {
    // Over UDP HAProxy takes an answer that was cut for a whole one.
    many("tcp@", &json!({"udp_payload_size": 1232}));
}

#[test]
fn many_backends_are_found_in_large_messages() {
    many("", &json!({"udp_payload_size": 8192}));
}
