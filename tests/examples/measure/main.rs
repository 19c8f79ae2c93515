//! Measures agents side by side in one run: time from spawn to the first DNS answer, memory at rest, durable
//! registrations a second with one client and with 32; and, where `dnsperf` is installed, what a DNS answer costs beside
//! a bare UDP echo.
//!
//!     cargo run --release -p usher-tests --example measure -- target/release/usher [OTHER-BINARY ...]
//!
//! With `cluster` or `health` before the binaries, clusters or checks are measured instead (see there).
//!
//! Every binary is started as `agent -server -bootstrap-expect=1 -data-dir` (for the start: `agent -dev`) on free
//! ports of 127.0.0.1, in turn, `ROUNDS` times; the medians are printed with the ratio to the last binary. Absolute
//! figures depend on the machine and its disk: only those of one run compare.

mod agent;
mod cluster;
mod dns;
mod figures;
mod health;

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use agent::Agent;
use anyhow::{Context, Result, bail, ensure};

const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let binaries: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, port] = binaries.as_slice()
        && flag == dns::ECHO
    {
        return dns::echo(port.parse()?);
    }
    if let [part, binaries @ ..] = binaries.as_slice()
        && part == cluster::PART
    {
        return cluster::compare(binaries);
    }
    if let [part, binaries @ ..] = binaries.as_slice()
        && part == health::PART
    {
        return health::compare(binaries);
    }
    ensure!(!binaries.is_empty(), "usage: measure BINARY [OTHER-BINARY ...]");
    let mut samples = vec![Samples::default(); binaries.len()];
    for _ in 0..ROUNDS {
        for (binary, sample) in binaries.iter().zip(&mut samples) {
            sample.start_ms.push(time_to_first_answer(binary)?);
            measure_server(binary, sample)?;
        }
    }
    let last = samples.last().cloned().unwrap_or_default();
    println!("{:44} {:>16} {:>14} {:>14} {:>14}", "", "first answer", "RSS at rest", "1 client", "32 clients");
    for (binary, sample) in binaries.iter().zip(&samples) {
        println!(
            "{:44} {:>13.0} ms {:>10.1} MiB {:>12.0}/s {:>12.0}/s   x{:.2} and x{:.2} of the last",
            binary,
            median(&sample.start_ms),
            median(&sample.rss_mib),
            median(&sample.single),
            median(&sample.many),
            median(&sample.single) / median(&last.single),
            median(&sample.many) / median(&last.many),
        );
    }
    dns::compare(&binaries)
}

#[derive(Clone, Default)]
struct Samples {
    start_ms: Vec<f64>,
    rss_mib: Vec<f64>,
    single: Vec<f64>,
    many: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds from spawning `agent -dev` until a question about its own node is answered NOERROR.
fn time_to_first_answer(binary: &str) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let began = Instant::now();
    let agent = Agent::spawn(binary, directory.path(), &["-dev"])?;
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07measure\x04node\x06consul\x00\x00\x01\x00\x01";
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    let deadline = began + Duration::from_secs(30);
    let mut reply = [0; 512];
    while Instant::now() < deadline {
        socket.send_to(question, ("127.0.0.1", agent.dns)).context("sending the question")?;
        if let Ok(length) = socket.recv(&mut reply)
            && length > 12
            && reply.get(3).is_some_and(|flags| flags & 15 == 0)
            && reply.get(7).is_some_and(|answers| *answers > 0)
        {
            return Ok(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    bail!("{binary}: no answer from DNS within 30 s")
}

fn measure_server(binary: &str, sample: &mut Samples) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let data = data.to_str().context("the temporary folder's name is not UTF-8")?;
    let agent = Agent::spawn(binary, directory.path(), &["-server", "-bootstrap-expect=1", "-data-dir", data])?;
    agent.wait_for_leader()?;
    std::thread::sleep(Duration::from_secs(1)); // at rest: what follows the election is done
    sample.rss_mib.push(agent.rss_mib()?);
    sample.single.push(agent.registrations(1)?);
    sample.many.push(agent.registrations(32)?);
    Ok(())
}
