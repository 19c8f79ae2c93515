//! What keeps checks busy, as cheaply as it can be done: programs that report, and servers that are looked at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::agent::{Agent, Client};

/// The pause between two batches of reports of one connection.
const BATCH: Duration = Duration::from_millis(100);
/// Connections that report.
const CONNECTIONS: usize = 4;

/// Programs that report to their checks again and again.
pub(super) struct Reporters {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Reporters {
    /// Reports to each of these checks once in `every`, spread evenly, requests of one batch sent together.
    pub(super) fn start(agent: &Agent, checks: &[String], every: Duration) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let slots = usize::try_from(every.as_millis() / BATCH.as_millis())?;
        let mut threads = Vec::new();
        for part in checks.chunks(checks.len().div_ceil(CONNECTIONS)) {
            let batches: Vec<(Vec<u8>, usize)> = part.chunks(part.len().div_ceil(slots)).map(batch).collect();
            let (mut client, ended) = (agent.client()?, Arc::clone(&ended));
            threads.push(std::thread::spawn(move || report(&mut client, &batches, every, &ended)));
        }
        Ok(Self { ended, threads })
    }

    /// Ends them; an error if one of them had failed.
    pub(super) fn end(self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a reporter panicked"))??;
        }
        Ok(())
    }
}

fn batch(checks: &[String]) -> (Vec<u8>, usize) {
    let line = |check: &String| {
        format!("PUT /v1/agent/check/pass/{check} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    };
    (checks.iter().map(line).collect::<String>().into_bytes(), checks.len())
}

fn report(client: &mut Client, batches: &[(Vec<u8>, usize)], every: Duration, ended: &AtomicBool) -> Result<()> {
    let pause = every / u32::try_from(batches.len())?;
    let mut due = Instant::now();
    for (requests, count) in batches.iter().cycle() {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        client.send(requests)?;
        for _ in 0..*count {
            client.answer()?;
        }
        due += pause;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// HTTP servers that say 200 to everything.
pub(super) struct Servers {
    pub(super) ports: Vec<u16>,
    answered: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Servers {
    /// So many servers, on one thread.
    pub(super) fn start(count: usize) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let answered = Arc::new(AtomicUsize::new(0));
        let mut ports = Vec::new();
        for _ in 0..count {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
            ports.push(listener.local_addr()?.port());
            let answered = Arc::clone(&answered);
            runtime.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&answered)));
                }
            });
        }
        Ok(Self { ports, answered, _runtime: runtime })
    }

    /// How many requests were answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, answered: Arc<AtomicUsize>) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut buffer = [0; 2048];
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..) {
        match stream.read(room).await {
            Ok(read @ 1..) => length += read,
            _ => return,
        }
        if buffer.get(..length).is_some_and(|bytes| bytes.ends_with(b"\r\n\r\n")) {
            answered.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
            length = 0;
        }
    }
}
