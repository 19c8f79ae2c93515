//! The wall clock: for what lasts longer than a process. How much time has passed is asked of `tokio::time`.

use std::time::SystemTime;

/// What time it is.
pub(crate) fn now() -> SystemTime {
    #[cfg(test)]
    if let Some(now) = crate::simulation::wall_clock() {
        return now;
    }
    SystemTime::now()
}
