//! What checks look at: real servers and programs that pass, fail, hang, flood and die when a test tells them to.
//!
//! ```text
//!   Acceptor ─► Http (plain, TLS), Grpc (gRPC health, HTTP/2), Tcp      Unix socket ─► Docker      UDP ─► Udp, Dns
//!   Script: a file that a check runs
//! ```
//!
//! Every server has a port of its own that stays its own while it is down, so that it can die (connections are refused,
//! those that were open break) and come back. They run on one runtime of this library, tests on their own threads; what a
//! server was asked is kept for the test to look at. Dropping one ends it. Knows nothing of agents.

pub mod body;
pub mod dns;
pub mod docker;
pub mod grpc;
pub mod http;
pub mod script;
pub mod tls;
pub mod udp;

use std::{
    fmt,
    future::Future,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::{
    net::TcpStream,
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};

use crate::ports::free_port;

/// The runtime all servers run on.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().thread_name("backends");
        builder.build().expect("a runtime can be made")
    })
}

/// A lock that a failed test leaves usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a task and waits until everything it held is closed.
pub(crate) fn end(task: JoinHandle<()>) {
    task.abort();
    let _ = runtime().block_on(task); // the end of a task that was told to end
}

type Serve = Arc<dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A TCP port of 127.0.0.1 whose connections are served, while it is up.
pub struct Acceptor {
    port: u16,
    serve: Serve,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Acceptor {
    /// A port that is up; each connection gets its own future, which ends with the server.
    pub fn start<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serve: Serve = Arc::new(move |stream| Box::pin(serve(stream)));
        let acceptor = Self { port: free_port(), serve, task: Mutex::new(None) };
        acceptor.up();
        acceptor
    }

    /// Listens again, on the same port. One that is up stays as it is.
    pub fn up(&self) {
        let mut task = lock(&self.task);
        if task.is_some() {
            return;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
        let listener = listener.unwrap_or_else(|error| panic!("port {}: {error}", self.port));
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let serve = Arc::clone(&self.serve);
        *task = Some(runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes a listener");
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        connections.spawn(serve(stream));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        }));
    }

    /// Dies: nobody listens any more, and open connections are closed. One that is down stays as it is.
    pub fn down(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            end(task);
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.down();
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acceptor({})", self.port)
    }
}

/// A server that takes connections and says nothing.
pub fn silent() -> Acceptor {
    Acceptor::start(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
}
