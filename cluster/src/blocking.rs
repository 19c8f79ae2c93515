//! File work, where it holds up no task.

use std::io;

/// Runs `work` on a thread for work that blocks. An error says that it panicked.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    // In a simulation another thread would let the machine decide what happens first.
    #[cfg(test)]
    if crate::simulation::is_running() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
