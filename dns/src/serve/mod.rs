//! The sockets: UDP and TCP, both by our own loops; both call the same core.
//!
//! | | threads and tasks | limits |
//! |---|---|---|
//! | UDP | [`udp`]: a thread a core (at most 16) and address | 32 requests at a time, 1472 bytes of each |
//! | TCP | [`mod@tcp`]: a task a connection | 8,192 connections, 10 s between requests; more in [`mod@tcp`] |
//! | errands | a task a request | 1024 at once, SERVFAIL beyond |
//!
//! Everything is bound before anything is served: an error leaves nothing half started.

pub(crate) mod shared;
pub(crate) mod tally;
mod tcp;
mod udp;

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

use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle as TaskHandle};
use usher_cluster::{access::Authorizer, catalog::Catalog};

use self::{
    shared::Shared,
    tally::{Reporter, Tally},
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
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The system's error.
    pub source: io::Error,
}

/// A running DNS interface. Dropping it stops it without waiting.
pub struct Server {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    bell: PipeWriter,
    sockets: Vec<Arc<UdpSocket>>,
    threads: Vec<JoinHandle<()>>,
    tcp: tcp::Running,
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
        Self::start_by(Backend::Auto, addresses, policy, catalog, authorizer).await
    }

    /// [`Server::start`] with the way datagrams are received chosen by hand.
    pub async fn start_by(
        backend: Backend,
        addresses: &[SocketAddr],
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
        let bound = Bound::all(addresses)?;
        bound.serve(backend, Arc::new(shared), node)
    }

    /// Answers by `policy` from now on. A policy no answer could be made by is refused, and the old one stays.
    pub fn reconfigure(&self, policy: Policy) {
        if let Err(error) = self.shared.reconfigure(policy) {
            tracing::error!(%error, "DNS settings are not taken over");
        }
    }

    /// Who explains answers, for as long as anybody wants to know.
    pub fn explainer(&self) -> Explainer {
        Explainer { shared: self.shared.clone() }
    }

    /// Stops answering: returns when every thread has ended and every port is free.
    pub async fn shutdown(mut self) {
        self.halt();
        self.tcp.shutdown().await;
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
        // Those who wait are woken by what is in the pipe or by the end of their socket, and look up by themselves, too.
        let _pipe_is_full = (&self.bell).write(&[0]);
        self.sockets.iter().for_each(|socket| udp::wake(socket));
        self.shared.ending.cancel();
        self.reporter.abort();
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
struct Bound {
    udp: Vec<(SocketAddr, UdpSocket)>,
    tcp: Vec<TcpListener>,
}

impl Bound {
    /// Binds every address. TCP goes first: two of us may share a UDP port (SO_REUSEPORT), but never a TCP port.
    fn all(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let mut bound = Self { udp: Vec::new(), tcp: Vec::new() };
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        for &address in addresses {
            let failed = |protocol| move |source| ListenError { protocol, address, source };
            bound.tcp.push(tcp::bind(address).map_err(failed("tcp"))?);
            for _ in 0..threads {
                bound.udp.push((address, udp::bind(address).map_err(failed("udp"))?));
            }
        }
        Ok(bound)
    }

    fn serve(self, backend: Backend, shared: Arc<Shared>, node: String) -> Result<Server, ListenError> {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = self.udp.len() / self.tcp.len().max(1);
        let first = self.udp.first().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |(address, _)| *address);
        let (rung, bell) = io::pipe().map_err(|source| ListenError { protocol: "udp", address: first, source })?;
        let rung = Arc::new(rung);
        let tallies: Vec<_> = self.udp.iter().map(|_| Arc::new(Tally::default())).collect();
        let counted = tallies.iter().chain([&shared.udp_errands]).cloned().collect();
        let reporter = tokio::spawn(report(Reporter::new(counted, node), shared.clone()));
        let tcp = tcp::serve(self.tcp, &shared);
        let (sockets, threads) = (Vec::new(), Vec::new());
        let mut server = Server { shared, stop, bell, sockets, threads, tcp, reporter };
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
                workers,
                backend,
                late: udp::LATE,
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

async fn report(mut reporter: Reporter, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    loop {
        ticks.tick().await;
        reporter.report(&shared.tcp_tally);
    }
}
