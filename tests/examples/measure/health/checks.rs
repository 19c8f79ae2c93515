//! What 12,000 checks of one agent cost: 10,000 that programs report to every ten seconds, 2,000 that request a page every
//! five, each of a service of its own. All is well all the time.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use usher_tests::http::{Http, Request};

use super::load::{Reporters, Servers};
use crate::{
    agent::{Agent, Client},
    figures::{Figure, figure},
};

const REPORTED: usize = 10_000;
const REPORTED_EVERY: Duration = Duration::from_secs(10);
const REQUESTED: usize = 2_000;
const REQUESTED_EVERY: Duration = Duration::from_secs(5);
const SERVERS: usize = 20;
/// How long all may take until they pass; then it is measured as it is, and told how many do not.
const LIMIT: Duration = Duration::from_secs(120);
const WARMING: Duration = Duration::from_secs(20);
const WATCHING: Duration = Duration::from_secs(60);
/// Connections that register.
const CONNECTIONS: usize = 8;

/// A server that keeps everything on disk.
pub(super) fn durable(binary: &Path) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let data = data.to_str().context("the temporary folder's name is not UTF-8")?;
    measure(binary, folder.path(), &["-server", "-bootstrap-expect=1", "-data-dir", data], "server")
}

/// `agent -dev`.
pub(super) fn in_memory(binary: &Path) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    measure(binary, folder.path(), &["-dev"], "-dev")
}

fn measure(binary: &Path, folder: &Path, flags: &[&str], kind: &str) -> Result<Vec<Figure>> {
    let binary = binary.to_str().context("the binary's name is not UTF-8")?;
    let agent = Agent::spawn(binary, folder, flags)?;
    agent.wait_for_leader()?;
    let servers = Servers::start(SERVERS)?;
    let began = Instant::now();
    register(&agent, &servers)?;
    let registered = began.elapsed();
    let checks: Vec<String> = (0..REPORTED).map(|number| format!("t{number}-check")).collect();
    let reporters = Reporters::start(&agent, &checks, REPORTED_EVERY)?;
    wait_until_well(&agent)?;
    std::thread::sleep(WARMING);

    let before = Moment::of(&agent, &servers)?;
    std::thread::sleep(WATCHING);
    let after = Moment::of(&agent, &servers)?;
    let ill = not_passing(&agent)?;
    reporters.end()?;
    let seconds = (after.at - before.at).as_secs_f64();
    let due = REQUESTED as f64 * seconds / REQUESTED_EVERY.as_secs_f64();
    let name = |what: &str| format!("12,000 checks, {kind}: {what}");
    Ok(vec![
        figure(name("processor time a second"), "ms", (after.used - before.used).as_secs_f64() * 1000.0 / seconds),
        figure(name("resident memory"), "MiB", agent.rss_mib()?),
        figure(name("requests done of those due"), "%", 100.0 * (after.answered - before.answered) as f64 / due),
        figure(name("runs that were late or left out"), "", after.late - before.late),
        figure(name("entries of the log meanwhile"), "", (after.log - before.log) as f64),
        figure(name("checks not passing at the end"), "", ill as f64),
        figure(name("time to register them"), "s", registered.as_secs_f64()),
    ])
}

/// What is known of an agent at one time.
struct Moment {
    at: Instant,
    used: Duration,
    log: u64,
    answered: usize,
    late: f64,
}

impl Moment {
    fn of(agent: &Agent, servers: &Servers) -> Result<Self> {
        Ok(Self {
            late: late(agent)?,
            log: agent.log_index()?,
            answered: servers.answered(),
            used: agent.processor_time()?,
            at: Instant::now(),
        })
    }
}

/// Runs that began later than they should have or not at all, as the agent counts them; not a number where it does not.
fn late(agent: &Agent) -> Result<f64> {
    let metrics = Http::local(agent.http).get("/v1/agent/metrics?format=prometheus")?;
    if metrics.status != 200 {
        return Ok(f64::NAN);
    }
    // A counter is there from its first count on.
    let metrics = metrics.text();
    let figure = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|figure| figure.trim().parse().ok()).unwrap_or(0.0)
    };
    Ok(figure("usher_health_late") + figure("usher_health_skipped"))
}

fn register(agent: &Agent, servers: &Servers) -> Result<()> {
    let mut all: Vec<Value> = Vec::with_capacity(REPORTED + REQUESTED);
    for number in 0..REPORTED {
        all.push(service(&format!("t{number}"), json!({"TTL": "1m", "Status": "passing"})));
    }
    for (number, port) in (0..REQUESTED).zip(servers.ports.iter().cycle()) {
        let interval = format!("{}s", REQUESTED_EVERY.as_secs());
        let check = json!({"HTTP": format!("http://127.0.0.1:{port}/{number}"), "Interval": interval});
        all.push(service(&format!("h{number}"), check));
    }
    std::thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(CONNECTIONS));
        let threads: Vec<_> = parts
            .map(|part| {
                scope.spawn(move || -> Result<()> {
                    let mut client: Client = agent.client()?;
                    for body in part {
                        client.request("PUT", "/v1/agent/service/register", &body.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a client panicked"),
        })
    })
}

fn service(name: &str, mut check: Value) -> Value {
    check["CheckID"] = json!(format!("{name}-check"));
    json!({"Name": name, "Port": 80, "Check": check})
}

fn not_passing(agent: &Agent) -> Result<usize> {
    let request = Request::new("GET", "/v1/agent/checks").timeout(Duration::from_secs(60));
    let checks = Http::local(agent.http).send(&request)?.json();
    let checks = checks.as_object().context("no list of checks")?;
    ensure!(checks.len() == REPORTED + REQUESTED, "{} checks", checks.len());
    Ok(checks.values().filter(|check| check["Status"] != "passing").count())
}

fn wait_until_well(agent: &Agent) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while not_passing(agent)? > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
