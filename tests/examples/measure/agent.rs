//! The agent that is measured, and an HTTP connection to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use usher_tests::http::Http;

/// How long registrations are counted.
const REGISTERING: Duration = Duration::from_secs(3);

/// An agent on free ports, killed when dropped.
pub(crate) struct Agent {
    process: Child,
    pub(crate) http: u16,
    pub(crate) dns: u16,
}

impl Agent {
    pub(crate) fn spawn(binary: &str, directory: &Path, arguments: &[&str]) -> Result<Self> {
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

    pub(crate) fn wait_for_leader(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(mut client) = Client::connect(("127.0.0.1", self.http))
                && let Ok(body) = client.request("GET", "/v1/health/node/measure", "")
                && body.contains("serfHealth")
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("no leader within 60 s")
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `services` services of three instances each, on nodes other than the agent's own.
    pub(crate) fn register_services(&self, services: usize) -> Result<()> {
        let mut connection = Client::connect(("127.0.0.1", self.http))?;
        for instance in 0..services * 3 {
            let (service, at) = (instance / 3, instance % 3);
            let body = serde_json::json!({
                "Node": format!("host{}", service % 50), "Address": "127.0.0.1",
                "Service": {
                    "ID": format!("svc{service}-{at}"), "Service": format!("svc{service}"), "Port": 8000 + at,
                    "Address": format!("10.0.{}.{}", instance / 256, instance % 256),
                },
            });
            let reply = connection.request("PUT", "/v1/catalog/register", &body.to_string())?;
            ensure!(reply.trim() == "true", "registration refused: {reply}");
        }
        Ok(())
    }

    /// A connection to its API.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(("127.0.0.1", self.http))
    }

    /// The processor time it has used, all threads together (proc(5), fields 14 and 15 of `stat`).
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("an odd stat line")?;
        let ticks: f64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0.0)).sum();
        Ok(Duration::from_secs_f64(ticks / rustix::param::clock_ticks_per_second() as f64))
    }

    /// The index of the last entry of its log.
    pub(crate) fn log_index(&self) -> Result<u64> {
        let own = Http::local(self.http).get("/v1/agent/self")?.json();
        let index = own["Stats"]["raft"]["last_log_index"].as_str().context("no index of the log")?;
        Ok(index.parse()?)
    }

    pub(crate) fn rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// Catalog registrations acknowledged a second, `clients` connections each sending one after another.
    pub(crate) fn registrations(&self, clients: u64) -> Result<f64> {
        let done = AtomicU64::new(0);
        let began = Instant::now();
        let end = began + REGISTERING;
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..clients)
                .map(|client| {
                    let done = &done;
                    scope.spawn(move || -> Result<()> {
                        let mut connection = Client::connect(("127.0.0.1", self.http))?;
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
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: impl ToSocketAddrs) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, body: &str) -> Result<String> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.send(request.as_bytes())?;
        self.answer()
    }

    /// Sends requests, written as they are to go.
    pub(crate) fn send(&mut self, requests: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(requests)?)
    }

    /// The body of the next answer; an error when it says no.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut length = 0;
        let mut status = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            if line == "\r\n" {
                break;
            }
            if status.is_empty() {
                status = line.trim_end().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        ensure!(status.contains(" 200 "), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Ports free for both TCP and UDP at this moment.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
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
