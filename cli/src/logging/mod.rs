//! The agent's log: to standard output, to a file, and to whoever runs `usher monitor`.
//!
//! ```text
//!   tracing event ─► Layer: level? ─► line ─┬─► queue ─► writer thread ─► stdout, log_file
//!                                           └─► queues of the monitors
//! ```
//!
//! No event waits for a slow reader: every queue has a limit, what does not fit is left out, and how much was left out
//! is told in the log itself. Standard output is held back until the start banner is printed.

mod file;
mod line;

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    time::SystemTime,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt as _};

pub use self::file::Rotation;
use self::{file::RotatingFile, line::Record};

/// Lines that wait to be written, and lines held back before the banner.
const WRITER_QUEUE: usize = 4_096;
/// Lines that wait for one monitor.
const MONITOR_QUEUE: usize = 512;
/// Monitors at a time; one more is refused.
const MAX_MONITORS: usize = 64;

/// How the log is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// The least important level written.
    pub level: Level,
    /// JSON lines instead of text.
    pub json: bool,
    /// A file to write to as well.
    pub file: Option<Rotation>,
}

/// The name of a level in configuration files (`log_level`), in any case.
pub fn level_by_name(name: &str) -> Option<Level> {
    Some(match name.to_ascii_uppercase().as_str() {
        "TRACE" => Level::TRACE,
        "DEBUG" => Level::DEBUG,
        "INFO" => Level::INFO,
        "WARN" => Level::WARN,
        "ERR" | "ERROR" => Level::ERROR,
        _ => return None,
    })
}

/// The log's centre. Clones share it.
#[derive(Clone)]
pub struct LogHub {
    inner: Arc<Inner>,
}

struct Inner {
    json: bool,
    /// The level of stdout and file, by [`rank`].
    level: AtomicUsize,
    /// The most talkative level anyone listens at, by [`rank`].
    loudest: AtomicUsize,
    monitors: Mutex<Vec<Monitor>>,
    writer: std_mpsc::SyncSender<Order>,
    /// Lines that did not fit the writer's queue.
    dropped: AtomicU64,
}

struct Monitor {
    level: usize,
    lines: mpsc::Sender<String>,
    dropped: Arc<AtomicU64>,
}

enum Order {
    /// A log line.
    Line(String),
    /// A line of the command itself, for standard output alone, never held back.
    Say(String),
    /// Standard output is no longer held back.
    OpenGate,
    /// Everything before this is written when the sender is answered.
    Flush(std_mpsc::SyncSender<()>),
}

/// The lines one monitor sees.
pub struct LogStream {
    lines: mpsc::Receiver<String>,
    dropped: Arc<AtomicU64>,
}

impl LogStream {
    /// The next line, without a line end; `None` when the log has ended.
    pub async fn next(&mut self) -> Option<String> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            return Some(format!("[WARN]  agent: {dropped} log lines were left out, this monitor reads too slowly"));
        }
        self.lines.recv().await
    }
}

impl LogHub {
    /// Opens the log. Nothing is heard before [`LogHub::install`], and nothing is printed before
    /// [`LogHub::open_gate`].
    pub fn open(options: Options) -> io::Result<Self> {
        let file = match options.file {
            Some(rotation) => Some(RotatingFile::open(rotation, SystemTime::now())?),
            None => None,
        };
        let (writer, orders) = std_mpsc::sync_channel(WRITER_QUEUE);
        std::thread::Builder::new().name("log".into()).spawn(move || write_all(&orders, file))?;
        let rank = rank(options.level);
        Ok(Self {
            inner: Arc::new(Inner {
                json: options.json,
                level: AtomicUsize::new(rank),
                loudest: AtomicUsize::new(rank),
                monitors: Mutex::new(Vec::new()),
                writer,
                dropped: AtomicU64::new(0),
            }),
        })
    }

    /// Makes this the log of the whole process; once.
    pub fn install(&self) {
        let registry = tracing_subscriber::registry().with(HubLayer(self.clone()));
        // A second call leaves the first in place: only tests do that.
        let _already_set = tracing::subscriber::set_global_default(registry);
    }

    /// Lets standard output through from now on.
    pub fn open_gate(&self) {
        self.order(Order::OpenGate);
    }

    /// Prints a line of the command itself (`==> …`) in order with the log.
    pub fn say(&self, line: impl Into<String>) {
        self.order(Order::Say(line.into()));
    }

    /// Waits until everything said so far is written.
    pub fn flush(&self) {
        let (done, wait) = std_mpsc::sync_channel(1);
        if self.inner.writer.send(Order::Flush(done)).is_ok() {
            // The writer answers or is gone; both end the wait.
            let _gone = wait.recv();
        }
    }

    /// Changes the level of standard output and file.
    pub fn set_level(&self, level: Level) {
        self.inner.level.store(rank(level), Ordering::Relaxed);
        self.retune(&mut self.inner.monitors.lock());
    }

    /// Listens to the log at `level`, whatever the agent's own level is. `None` when too many do already.
    pub fn try_subscribe(&self, level: Level) -> Option<LogStream> {
        let (lines, receiver) = mpsc::channel(MONITOR_QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut monitors = self.inner.monitors.lock();
        monitors.retain(|monitor| !monitor.lines.is_closed());
        if monitors.len() >= MAX_MONITORS {
            return None;
        }
        monitors.push(Monitor { level: rank(level), lines, dropped: dropped.clone() });
        self.retune(&mut monitors);
        Some(LogStream { lines: receiver, dropped })
    }

    /// Like [`LogHub::try_subscribe`]; where too many listen already the stream has ended.
    pub fn subscribe(&self, level: Level) -> LogStream {
        self.try_subscribe(level)
            .unwrap_or_else(|| LogStream { lines: mpsc::channel(1).1, dropped: Arc::new(AtomicU64::new(0)) })
    }

    /// Tells `tracing` which events are worth making.
    fn retune(&self, monitors: &mut Vec<Monitor>) {
        monitors.retain(|monitor| !monitor.lines.is_closed());
        let own = self.inner.level.load(Ordering::Relaxed);
        let loudest = monitors.iter().map(|monitor| monitor.level).fold(own, usize::max);
        self.inner.loudest.store(loudest, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    fn order(&self, order: Order) {
        if self.inner.writer.try_send(order).is_err() {
            self.inner.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn loudest_for(&self, metadata: &Metadata<'_>) -> usize {
        let loudest = self.inner.loudest.load(Ordering::Relaxed);
        if line::is_own(metadata.target()) || loudest >= rank(Level::TRACE) {
            return loudest;
        }
        // Consensus warns of every heartbeat a dead server does not answer: at the usual level that would be all there is.
        let quiet = if loudest >= rank(Level::DEBUG) { Level::WARN } else { Level::ERROR };
        loudest.min(rank(quiet))
    }

    fn hears(&self, metadata: &Metadata<'_>) -> bool {
        rank(*metadata.level()) <= self.loudest_for(metadata)
    }

    fn write(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let module = line::module(event.metadata().target());
        let record = Record::of(event);
        let now = Timestamp::now();
        let line = if self.inner.json { record.json(now, level, module) } else { record.text(now, level, module) };
        self.tell_monitors(rank(level), &line);
        if rank(level) > self.inner.level.load(Ordering::Relaxed) {
            return;
        }
        let dropped = self.inner.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let note = format!("    {now:.3} [WARN]  agent: {dropped} log lines were left out, the output is too slow");
            self.order(Order::Line(note));
        }
        self.order(Order::Line(line));
    }

    fn tell_monitors(&self, rank: usize, line: &str) {
        let mut monitors = self.inner.monitors.lock();
        let mut gone = false;
        for monitor in monitors.iter().filter(|monitor| rank <= monitor.level) {
            match monitor.lines.try_send(line.trim_start().to_owned()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    monitor.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => gone = true,
            }
        }
        if gone {
            self.retune(&mut monitors);
        }
    }
}

/// Levels as numbers: the more talkative, the higher.
fn rank(level: Level) -> usize {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

/// The writer thread: ends when the hub is gone.
fn write_all(orders: &std_mpsc::Receiver<Order>, mut file: Option<RotatingFile>) {
    let mut held: Option<Vec<String>> = Some(Vec::new());
    // Nobody is there to be told of a failing standard output; the agent goes on without.
    let print = |line: &str| {
        let mut out = io::stdout().lock();
        let _closed = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    };
    while let Ok(order) = orders.recv() {
        match order {
            Order::Say(line) => print(&line),
            Order::OpenGate => held.take().into_iter().flatten().for_each(|line| print(&line)),
            Order::Flush(done) => {
                let _nobody_waits = done.send(());
            }
            Order::Line(line) => {
                if let Some(open) = &mut file
                    && let Err(error) = open.write_line(&line, SystemTime::now())
                {
                    print(&format!(
                        "    [ERROR] agent: cannot write the log file, going on without: error=\"{error}\""
                    ));
                    file = None;
                }
                match &mut held {
                    Some(held) if held.len() < WRITER_QUEUE => held.push(line),
                    Some(_) => {}
                    None => print(&line),
                }
            }
        }
    }
}

struct HubLayer(LogHub);

impl<S: Subscriber> Layer<S> for HubLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && self.0.hears(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        metadata.is_event() && self.0.hears(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.inner.loudest.load(Ordering::Relaxed) {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            3 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.0.write(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(level: Level, file: Option<Rotation>) -> LogHub {
        LogHub::open(Options { level, json: false, file }).unwrap()
    }

    /// What `tracing` thinks worth making is one value of the process: tests that look at it take turns.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    fn with_hub<T>(hub: &LogHub, run: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(HubLayer(hub.clone())), || {
            tracing::callsite::rebuild_interest_cache();
            run()
        })
    }

    #[tokio::test]
    async fn a_monitor_hears_its_own_level() {
        let _turn = TURN.lock().await;
        let hub = hub(Level::WARN, None);
        let mut debug = hub.subscribe(Level::DEBUG);
        let mut error = hub.subscribe(Level::ERROR);
        with_hub(&hub, || {
            tracing::debug!(target: "agent.http", code = 200, "Request finished");
            tracing::trace!(target: "agent", "unheard");
            tracing::error!(target: "agent", "bad");
        });
        let line = debug.next().await.unwrap();
        assert!(line.ends_with("[DEBUG] agent.http: Request finished: code=200"), "{line}");
        assert!(debug.next().await.unwrap().ends_with("[ERROR] agent: bad"));
        assert!(error.next().await.unwrap().ends_with("[ERROR] agent: bad"));
    }

    #[tokio::test]
    async fn a_slow_monitor_is_told_what_it_missed() {
        let _turn = TURN.lock().await;
        let hub = hub(Level::INFO, None);
        let mut slow = hub.subscribe(Level::INFO);
        with_hub(&hub, || {
            for number in 0..MONITOR_QUEUE + 5 {
                tracing::info!(target: "agent", number, "line");
            }
        });
        assert!(slow.next().await.unwrap().contains("5 log lines were left out"));
        assert!(slow.next().await.unwrap().ends_with("number=0"));
    }

    #[tokio::test]
    async fn one_monitor_too_many_gets_nothing() {
        let _turn = TURN.lock().await;
        let hub = hub(Level::INFO, None);
        let streams: Vec<LogStream> = (0..MAX_MONITORS).map(|_| hub.subscribe(Level::INFO)).collect();
        assert_eq!(hub.subscribe(Level::INFO).next().await, None);
        drop(streams);
        assert!(hub.try_subscribe(Level::INFO).is_some());
    }

    #[test]
    fn libraries_are_heard_when_something_is_wrong() {
        let _turn = TURN.blocking_lock();
        let hub = hub(Level::DEBUG, None);
        let heard = |target: &str, level: Level| {
            let loudest = if line::is_own(target) { 3 } else { 1 };
            rank(level) <= loudest.min(hub.inner.loudest.load(Ordering::Relaxed))
        };
        assert!(heard("agent", Level::DEBUG) && heard("openraft", Level::WARN) && !heard("openraft", Level::INFO));
        let mut monitor = hub.subscribe(Level::DEBUG);
        let speak = || {
            tracing::info!(target: "openraft::core", "chatter");
            tracing::warn!(target: "openraft::core", "worry");
            tracing::error!(target: "openraft::core", "trouble");
        };
        with_hub(&hub, speak);
        assert!(monitor.lines.try_recv().unwrap().ends_with("[WARN]  agent.server.raft: worry"));
        drop(monitor);
        hub.set_level(Level::INFO);
        let mut monitor = hub.subscribe(Level::INFO);
        with_hub(&hub, speak);
        assert!(monitor.lines.try_recv().unwrap().ends_with("[ERROR] agent.server.raft: trouble"));
    }

    #[test]
    fn the_file_gets_every_line_of_the_level_and_the_level_can_change() {
        let _turn = TURN.blocking_lock();
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/", folder.path().display());
        let max_age = std::time::Duration::from_secs(3600);
        let hub = hub(Level::INFO, Some(Rotation { path, max_bytes: 0, max_age, max_files: 0 }));
        with_hub(&hub, || {
            tracing::debug!(target: "agent", "one");
            tracing::info!(target: "agent", "two");
            hub.set_level(Level::DEBUG);
            tracing::debug!(target: "agent", "three");
        });
        hub.flush();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(file).unwrap();
        let said: Vec<&str> = text.lines().filter_map(|line| line.rsplit(": ").next()).collect();
        assert_eq!(said, ["two", "three"]);
    }

    #[test]
    fn levels_by_name() {
        for (name, level) in
            [("trace", Level::TRACE), ("WARN", Level::WARN), ("err", Level::ERROR), ("Error", Level::ERROR)]
        {
            assert_eq!(level_by_name(name), Some(level));
        }
        assert_eq!(level_by_name("bogus"), None);
    }
}
