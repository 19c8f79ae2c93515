//! How soon DNS follows: from the death of a backend, and from a result a program reports.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rand::RngExt as _;
use serde_json::json;
use usher_tests::{backends::http::Http, dns};

use crate::{
    agent::Agent,
    figures::{Figure, spread},
};

const BACKENDS: usize = 50;
const REPORTING: usize = 60;
const REPORTS: usize = 300;
const LIMIT: Duration = Duration::from_secs(60);

/// Seconds from the death of a backend whose check runs every second until DNS does not answer it.
pub(super) fn backends(binary: &Path) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let agent = start(binary, folder.path())?;
    let mut client = agent.client()?;
    let backends: Vec<Http> = (0..BACKENDS).map(|_| Http::start()).collect();
    for (number, backend) in backends.iter().enumerate() {
        let check = json!({"HTTP": backend.url("/"), "Interval": "1s"});
        let body = json!({"Name": format!("web{number}"), "Port": 80, "Check": check});
        client.request("PUT", "/v1/agent/service/register", &body.to_string())?;
    }
    for number in 0..BACKENDS {
        wait(&agent, &format!("web{number}"), true)?;
    }
    let mut seconds = Vec::new();
    for (number, backend) in backends.iter().enumerate() {
        // At any moment between two runs.
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..1000)));
        backend.down();
        let died = Instant::now();
        wait(&agent, &format!("web{number}"), false)?;
        seconds.push(died.elapsed().as_secs_f64());
    }
    Ok(spread("backend died until DNS does not answer it, interval 1 s", "s", &seconds))
}

/// Milliseconds from the call that reports a failure until DNS does not answer the service. Each service changes seldom: it
/// is what flaps that is held back.
pub(super) fn reports(binary: &Path) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let agent = start(binary, folder.path())?;
    let mut client = agent.client()?;
    for number in 0..REPORTING {
        let check = json!({"CheckID": format!("web{number}-check"), "TTL": "10m"});
        let body = json!({"Name": format!("web{number}"), "Port": 80, "Check": check});
        client.request("PUT", "/v1/agent/service/register", &body.to_string())?;
    }
    let mut milliseconds = Vec::new();
    for number in (0..REPORTING).cycle().take(REPORTS) {
        let service = format!("web{number}");
        client.request("PUT", &format!("/v1/agent/check/pass/{service}-check"), "")?;
        wait(&agent, &service, true)?;
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(20..80)));
        let began = Instant::now();
        client.request("PUT", &format!("/v1/agent/check/fail/{service}-check"), "")?;
        wait(&agent, &service, false)?;
        milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(spread("failure reported until DNS does not answer the service", "ms", &milliseconds))
}

/// A server that keeps everything on disk.
fn start(binary: &Path, folder: &Path) -> Result<Agent> {
    let binary = binary.to_str().context("the binary's name is not UTF-8")?;
    let data = folder.join("data");
    let data = data.to_str().context("the temporary folder's name is not UTF-8")?;
    let agent = Agent::spawn(binary, folder, &["-server", "-bootstrap-expect=1", "-data-dir", data])?;
    agent.wait_for_leader()?;
    Ok(agent)
}

/// Asks DNS until it answers the service, or does not.
fn wait(agent: &Agent, service: &str, answered: bool) -> Result<()> {
    let end = Instant::now() + LIMIT;
    let question = format!("{service}.service.consul A");
    while dns::ask(agent.dns, &question)?.answers.is_empty() == answered {
        if Instant::now() > end {
            bail!("{service}: answered is not {answered} within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
