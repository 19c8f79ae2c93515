//! The sockets: UDP, TCP and HTTPS by our own loops, TLS and QUIC through hickory-server; all call the same core.
//!
//! | | threads and tasks | limits |
//! |---|---|---|
//! | UDP | [`udp`]: a thread a core (at most 16) and address | 64 requests at a time, 1472 bytes of each |
//! | TCP | [`mod@tcp`]: a task a connection | 8,192 connections, 10 s between requests; more in [`mod@tcp`] |
//! | HTTPS | in [`mod@tcp`]: a task a connection and one a request | as TCP; 100 requests of one connection |
//! | TLS, QUIC | [`mod@hickory`]: through hickory-server | 10 s between requests |
//! | errands | a task a request | 1024 at once, SERVFAIL beyond |
//!
//! Everything is bound before anything is served: an error leaves nothing half started.

pub mod certificate;
mod hickory;
mod one;
pub(crate) mod shared;
pub(crate) mod tally;
mod tcp;
mod udp;

#[cfg(any(test, fuzzing))]
pub use self::tcp::fuzzed as fuzzed_frames;
use std::{
    io::{self, PipeWriter, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::server::ResolvesServerCert;
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle as TaskHandle};
use usher_cluster::{access::Authorizer, catalog::Catalog};

use self::{
    certificate::Certificate,
    shared::Shared,
    tally::{Reporter, Tally},
    tcp::Protocol,
    udp::Worker,
};
use crate::{
    client::{Client, Transport},
    errand,
    explain::{ExplainError, Explanation, Question},
    policy::Policy,
    responder::{Errand, Failure, Outcome, Responder},
};

/// Most threads that serve one address.
const THREADS_MAX: usize = 16;
/// How often counts are passed on.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How datagrams are received and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// By io_uring where the kernel can (Linux 6.1 and newer) and may, otherwise plainly.
    #[default]
    Auto,
    /// By `recvmmsg` and `sendmmsg`.
    Plain,
    /// By io_uring; plainly if that fails.
    Ring,
}

/// An address could not be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}: {source}")]
pub struct ListenError {
    /// `tcp`, `udp`, or what is spoken there: `tls`, `https`, `quic`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The system's error.
    pub source: io::Error,
}

/// Where DNS is served encrypted.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// DNS over TLS (RFC 7858).
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS (RFC 8484).
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
    /// What they are served with.
    pub certificate: Arc<Certificate>,
}

/// A running DNS interface. Dropping it stops it without waiting.
pub struct Server {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    bell: PipeWriter,
    sockets: Vec<Arc<UdpSocket>>,
    threads: Vec<JoinHandle<()>>,
    tcp: tcp::Running,
    hickory: hickory::Running,
    reporter: TaskHandle<()>,
}

impl Server {
    /// Listens at every address, UDP and TCP, and answers from `catalog` by `policy`.
    pub async fn start(
        addresses: &[SocketAddr],
        policy: Policy,
        catalog: Arc<Catalog>,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, ListenError> {
        Self::start_by(Backend::Auto, addresses, None, policy, catalog, authorizer).await
    }

    /// The same, encrypted too where that is asked for, with the way datagrams are received chosen.
    pub async fn start_by(
        backend: Backend,
        addresses: &[SocketAddr],
        encrypted: Option<&Encrypted>,
        policy: Policy,
        catalog: Arc<Catalog>,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, ListenError> {
        let node = policy.node_name.clone();
        let shared = Shared::new(policy, addresses, catalog, authorizer).map_err(|error| ListenError {
            protocol: "udp",
            address: addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?;
        let bound = Bound::all(addresses, encrypted)?;
        bound.serve(backend, Arc::new(shared), node)
    }

    /// Answers by `policy` from now on. A policy no answer could be made by is refused, and the old one stays.
    pub fn reconfigure(&self, policy: Policy) {
        if let Err(error) = self.shared.reconfigure(policy) {
            tracing::error!(%error, "DNS settings are not taken over");
        }
    }

    /// Who is told how old the catalog may be.
    pub fn freshness(&self) -> Freshness {
        Freshness { shared: self.shared.clone() }
    }

    /// Who explains answers, for as long as anybody wants to know.
    pub fn explainer(&self) -> Explainer {
        Explainer { shared: self.shared.clone() }
    }

    /// Stops answering: returns when every thread has ended and every port is free.
    pub async fn shutdown(mut self) {
        self.halt();
        self.tcp.shutdown().await;
        self.hickory.shutdown().await;
        self.shared.end().await;
        let threads = std::mem::take(&mut self.threads);
        let ended = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !ended.await.unwrap_or(false) {
            tracing::error!("a DNS thread ended with a panic");
        }
        self.sockets.clear();
    }

    fn halt(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tcp.halt();
        self.hickory.halt();
        // Those who wait are woken by what is in the pipe or by the end of their socket, and look up by themselves, too.
        let _pipe_is_full = (&self.bell).write(&[0]);
        self.sockets.iter().for_each(|socket| udp::wake(socket));
        self.shared.ending.cancel();
        self.reporter.abort();
    }
}

/// Tells answers how old the catalog may be.
pub struct Freshness {
    shared: Arc<Shared>,
}

impl Freshness {
    /// Says how long the catalog may have been out of date; `None` if it is not. Answers say so then (RFC 8914).
    pub fn set_stale(&self, since: Option<Duration>) {
        self.shared.set_stale(since);
    }
}

/// Explains what is answered, and why.
#[derive(Clone)]
pub struct Explainer {
    shared: Arc<Shared>,
}

impl Explainer {
    /// Asks for `name` and the type called `kind`, as a client at this host would over UDP (or TCP), and tells the whole
    /// way of the question. What others have to be asked is asked.
    pub async fn explain(&self, name: &str, kind: &str, transport: Transport) -> Result<Explanation, ExplainError> {
        let question = Question::new(name, kind)?;
        let client = Client { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..Client::by(transport) };
        let mut reply = Vec::new();
        if let Some(errand) = self.ask(&question, &client, &mut reply) {
            reply = match self.shared.errands.clone().try_acquire_owned() {
                Ok(_permit) => errand::reply(&self.shared, &question.packet, errand, &client).await,
                Err(_) => errand::failed(&self.shared, &question.packet, Failure::BUSY, &client),
            };
        }
        let moment = self.shared.moment();
        Ok(question.explain(&self.shared.view(&moment, None), &reply))
    }

    fn ask(&self, question: &Question, client: &Client, reply: &mut Vec<u8>) -> Option<Errand> {
        let moment = self.shared.moment();
        let view = self.shared.view(&moment, None);
        match Responder::new(rand::random()).respond(&question.packet, client, &view, reply) {
            Outcome::Elsewhere(errand) => Some(errand),
            Outcome::Dropped | Outcome::Replied => None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Sockets that are bound, and not served yet.
#[derive(Default)]
struct Bound {
    udp: Vec<(SocketAddr, UdpSocket)>,
    /// How many sockets share one address.
    workers: usize,
    tcp: Vec<(TcpListener, Protocol)>,
    tls: Vec<(SocketAddr, TcpListener)>,
    quic: Vec<(SocketAddr, tokio::net::UdpSocket)>,
    certificate: Option<Arc<dyn ResolvesServerCert>>,
}

impl Bound {
    /// Binds every address. TCP goes first: two of us may share a UDP port (SO_REUSEPORT), but never a TCP port.
    fn all(addresses: &[SocketAddr], encrypted: Option<&Encrypted>) -> Result<Self, ListenError> {
        let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        let mut bound = Self { workers, ..Self::default() };
        for &address in addresses {
            bound.tcp.push((tcp::bind(address).map_err(failed("tcp", address))?, Protocol::Dns));
            for _ in 0..workers {
                bound.udp.push((address, udp::bind(address).map_err(failed("udp", address))?));
            }
        }
        if let Some(encrypted) = encrypted {
            bound.encrypted(encrypted)?;
        }
        Ok(bound)
    }

    fn encrypted(&mut self, encrypted: &Encrypted) -> Result<(), ListenError> {
        let certificate: Arc<dyn ResolvesServerCert> = encrypted.certificate.clone();
        for &address in &encrypted.tls {
            self.tls.push((address, tcp::bind(address).map_err(failed("tls", address))?));
        }
        for &address in &encrypted.https {
            let protocol = Protocol::https(certificate.clone()).map_err(io::Error::other);
            let protocol = protocol.map_err(failed("https", address))?;
            self.tcp.push((tcp::bind(address).map_err(failed("https", address))?, protocol));
        }
        for &address in &encrypted.quic {
            self.quic.push((address, hickory::bind_quic(address).map_err(failed("quic", address))?));
        }
        self.certificate = Some(certificate);
        Ok(())
    }

    fn serve(self, backend: Backend, shared: Arc<Shared>, node: String) -> Result<Server, ListenError> {
        let stop = Arc::new(AtomicBool::new(false));
        let first = self.udp.first().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |(address, _)| *address);
        let (rung, bell) = io::pipe().map_err(|source| ListenError { protocol: "udp", address: first, source })?;
        let rung = Arc::new(rung);
        let tallies: Vec<_> = self.udp.iter().map(|_| Arc::new(Tally::default())).collect();
        let counted = tallies.iter().chain([&shared.udp_errands]).cloned().collect();
        let reporter = tokio::spawn(report(Reporter::new(counted, node), shared.clone()));
        let hickory = match &self.certificate {
            None => hickory::Running::none(),
            Some(certificate) => hickory::serve(self.tls, self.quic, certificate, &shared)?,
        };
        let tcp = tcp::Running::new(shared.clone());
        for (listener, protocol) in self.tcp {
            tcp.serve(listener, protocol);
        }
        let (sockets, threads) = (Vec::new(), Vec::new());
        let mut server = Server { shared, stop, bell, sockets, threads, tcp, hickory, reporter };
        for (number, ((address, socket), tally)) in self.udp.into_iter().zip(tallies).enumerate() {
            let socket = Arc::new(socket);
            let worker = Worker {
                socket: socket.clone(),
                address,
                shared: server.shared.clone(),
                tally,
                stop: server.stop.clone(),
                bell: rung.clone(),
                runtime: Handle::current(),
                seed: rand::random(),
                workers: self.workers,
                backend,
                limits: udp::Limits::default(),
            };
            server.sockets.push(socket);
            let thread = thread::Builder::new().name(format!("dns-udp-{number}")).spawn(move || worker.run());
            // Without its thread the socket would swallow its share of the questions: `server` is dropped and stops.
            server.threads.push(thread.map_err(|source| ListenError { protocol: "udp", address, source })?);
        }
        server.shared.recursors().watch();
        Ok(server)
    }
}

fn failed(protocol: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> ListenError {
    move |source| ListenError { protocol, address, source }
}

async fn report(mut reporter: Reporter, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    loop {
        ticks.tick().await;
        reporter.report(&shared.tcp_tally);
    }
}
