//! What the code under test logs in a simulation, and every packet turmoil tells of: printed for people, or added up to
//! a checksum that two equal runs must share.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing_subscriber::EnvFilter;

/// Panics of tasks: tokio keeps them to itself. One process runs one simulation.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

static PRINTS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static SUM: RefCell<crc32fast::Hasher> = RefCell::new(crc32fast::Hasher::new());
}

/// Listens to what is logged in this process as far as `filter` says. Not to be called on the simulation's thread: making
/// a subscriber draws randomness.
pub(super) fn listen(filter: &str, print: bool) {
    PRINTS.store(print, Ordering::Relaxed);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(|| Sink)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
}

/// The checksum of everything heard on this thread so far.
pub(super) fn checksum() -> u32 {
    SUM.with_borrow(|sum| sum.clone().finalize())
}

/// From now on panics anywhere in this process are noted.
pub(super) fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        PANICS.lock().unwrap().push(panic.to_string());
    }));
}

/// The panics there were since the last call.
pub(super) fn take_panics() -> Vec<String> {
    std::mem::take(&mut PANICS.lock().unwrap())
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SUM.with_borrow_mut(|sum| sum.update(bytes));
        if PRINTS.load(Ordering::Relaxed) {
            io::stdout().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
