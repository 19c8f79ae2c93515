//! Measures agents side by side in one run: time from spawn to the first DNS answer, memory at rest, and durable
//! registrations a second with one client and with 32.
//!
//!     cargo run --release -p usher-tests --example measure -- target/release/usher [OTHER-BINARY ...]
//!
//! Every binary is started as `agent -server -bootstrap-expect=1 -data-dir` (for the start: `agent -dev`) on free
//! ports of 127.0.0.1, in turn, `ROUNDS` times; the medians are printed with the ratio to the last binary. Absolute
//! figures depend on the machine and its disk: only those of one run compare.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

const ROUNDS: usize = 5;
const SECONDS: u64 = 3;

fn main() -> Result<()> {
    let binaries: Vec<String> = std::env::args().skip(1).collect();
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
    Ok(())
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

struct Agent {
    process: Child,
    http: u16,
    dns: u16,
}

impl Agent {
    fn spawn(binary: &str, directory: &Path, arguments: &[&str]) -> Result<Self> {
        let [dns, http, lan, wan, server] = free_ports()?;
        let config = directory.join("agent.json");
        let text = serde_json::json!({
            "node_name": "measure", "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "log_level": "err",
            "disable_update_check": true, "performance": {"raft_multiplier": 1}, "limits": {"http_max_conns_per_client": 1000},
            "ports": {"dns": dns, "http": http, "serf_lan": lan, "serf_wan": wan, "server": server, "grpc": -1}
        });
        std::fs::write(&config, text.to_string())?;
        let process = Command::new(binary)
            .arg("agent")
            .arg("-config-file")
            .arg(&config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {binary}"))?;
        Ok(Self { process, http, dns })
    }

    fn wait_for_leader(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(mut client) = Client::connect(self.http)
                && let Ok(body) = client.request("GET", "/v1/health/node/measure", "")
                && body.contains("serfHealth")
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("no leader within 60 s")
    }

    fn rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// Catalog registrations acknowledged a second, `clients` connections each sending one after another.
    fn registrations(&self, clients: u64) -> Result<f64> {
        let done = AtomicU64::new(0);
        let began = Instant::now();
        let end = began + Duration::from_secs(SECONDS);
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..clients)
                .map(|client| {
                    let done = &done;
                    scope.spawn(move || -> Result<()> {
                        let mut connection = Client::connect(self.http)?;
                        let mut count = 0u64;
                        while Instant::now() < end {
                            let body = format!(
                                r#"{{"Node":"host{client}","Address":"10.0.0.{client}","Service":{{"ID":"s{clients}-{count}","Service":"s{}","Port":{}}}}}"#,
                                count % 100,
                                count % 60_000,
                            );
                            let reply = connection.request("PUT", "/v1/catalog/register", &body)?;
                            ensure!(reply.trim() == "true", "registration refused: {reply}");
                            count += 1;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(())
                    })
                })
                .collect();
            for worker in workers {
                match worker.join() {
                    Ok(result) => result?,
                    Err(_) => bail!("a client panicked"),
                }
            }
            Ok(())
        })?;
        Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One kept-alive HTTP connection.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn request(&mut self, method: &str, path: &str, body: &str) -> Result<String> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Ports free for both TCP and UDP at this moment.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        *port = tcp.local_addr()?.port();
        let udp = UdpSocket::bind(("127.0.0.1", *port))?;
        held.push((tcp, udp));
    }
    Ok(ports)
}
