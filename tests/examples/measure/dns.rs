//! What a DNS answer costs: CPU time of the server's process for each query that `dnsperf` got answered, random names
//! among 1,000 services of three instances. The echo beside it sends every datagram back: no server that answers one
//! datagram with one can cost much less.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, bind, recvfrom, sendto, socket, sockopt};

use crate::{
    agent::{Agent, free_ports},
    median,
};

/// The flag that makes this program the echo.
pub(crate) const ECHO: &str = "--echo";

const SERVICES: usize = 1_000;
const QUESTIONS: usize = 20_000;
const ROUNDS: usize = 3;
const SECONDS: &str = "4";
/// Threads of the echo, each with a socket of its own.
const ECHO_THREADS: usize = 2;

/// Sends back what comes to `port`, for ever.
pub(crate) fn echo(port: u16) -> Result<()> {
    let threads: Vec<_> = (0..ECHO_THREADS).map(|_| std::thread::spawn(move || echo_on(port))).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("the echo panicked"))??;
    }
    Ok(())
}

fn echo_on(port: u16) -> Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let mut buffer = [0_u8; 2048];
    loop {
        let (length, _, peer) = recvfrom(&socket, &mut buffer[..], RecvFlags::empty())?;
        let (Some(peer), Some(datagram)) = (peer, buffer.get_mut(..length)) else { continue };
        if let Some(flags) = datagram.get_mut(2) {
            *flags |= 0x84; // a response, from an authority
        }
        sendto(&socket, datagram, SendFlags::empty(), &peer)?;
    }
}

/// Prints the cost of A and SRV for each binary, beside the echo's.
pub(crate) fn compare(binaries: &[String]) -> Result<()> {
    if Command::new("dnsperf").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("\nDNS: skipped, dnsperf is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut servers = vec![Server::echo()?];
    for (at, binary) in binaries.iter().enumerate() {
        let home = folder.path().join(at.to_string());
        std::fs::create_dir(&home)?;
        let agent = Agent::spawn(binary, &home, &["-dev"])?;
        agent.wait_for_leader()?;
        agent.register_services(SERVICES)?;
        servers.push(Server { name: binary.clone(), port: agent.dns, process: agent.id(), _hold: Hold::Agent(agent) });
    }
    for kind in ["A", "SRV"] {
        let questions = folder.path().join(kind);
        std::fs::write(&questions, questions_of(kind))?;
        let mut samples = vec![(Vec::new(), Vec::new()); servers.len()];
        for _ in 0..ROUNDS {
            for (server, (cpu, rate)) in servers.iter().zip(&mut samples) {
                let (microseconds, per_second) = server.ask(&questions)?;
                cpu.push(microseconds);
                rate.push(per_second);
            }
        }
        let floor = samples.first().map_or(f64::NAN, |(cpu, _)| median(cpu));
        println!();
        for (server, (cpu, rate)) in servers.iter().zip(&samples) {
            let cost = median(cpu);
            println!(
                "{kind:3} {:44} {cost:6.2} us CPU a query, {:.2} of the echo, {:8.0} queries/s",
                server.name,
                cost / floor,
                median(rate)
            );
        }
    }
    Ok(())
}

/// Spread evenly, in an order that no cache likes.
fn questions_of(kind: &str) -> String {
    (0..QUESTIONS).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "svc{}.service.consul {kind}", at * 7_919 % SERVICES);
        text
    })
}

struct Server {
    name: String,
    port: u16,
    process: u32,
    _hold: Hold,
}

/// Whatever ends the server when it is dropped.
enum Hold {
    Agent(#[expect(dead_code, reason = "held to be dropped")] Agent),
    Echo(Child),
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Self::Echo(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    fn echo() -> Result<Self> {
        let [port] = free_ports()?;
        let child = Command::new(std::env::current_exe()?).args([ECHO, &port.to_string()]).spawn()?;
        Ok(Self { name: "UDP echo".to_owned(), port, process: child.id(), _hold: Hold::Echo(child) })
    }

    /// Microseconds of CPU a query, and queries a second.
    fn ask(&self, questions: &Path) -> Result<(f64, f64)> {
        let before = self.ticks()?;
        let output = Command::new("dnsperf")
            .args(["-s", "127.0.0.1", "-p", &self.port.to_string(), "-l", SECONDS])
            .args(["-c", "16", "-T", "2", "-q", "200", "-d"])
            .arg(questions)
            .output()
            .context("running dnsperf")?;
        let used = self.ticks()? - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |label: &str| -> Result<f64> {
            let line = text.lines().find(|line| line.contains(label)).with_context(|| format!("no {label}: {text}"))?;
            line.split_whitespace().find_map(|word| word.parse().ok()).context("no figure")
        };
        let per_tick = 1e6 / rustix::param::clock_ticks_per_second() as f64;
        Ok((used * per_tick / figure("Queries completed:")?, figure("Queries per second:")?))
    }

    /// Clock ticks of CPU the process has used (proc(5), fields 14 and 15 of `stat`).
    fn ticks(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        let (_, fields) = stat.rsplit_once(')').context("an odd stat line")?;
        Ok(fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0.0)).sum())
    }
}
