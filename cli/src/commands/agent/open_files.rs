//! How many files the agent may have open: what a shell or service manager gives by default (1,024) is little for one that
//! keeps a connection for each long poll and each running check.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// As many as the limits of everything here can add up to. Not more: programs that are started inherit it, and there are
/// some that close every file they might have, one by one.
const WANTED: u64 = 65_536;

/// Raises the limit as far as this process may, or to what is wanted.
pub(super) fn allow_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        warn!(target: "agent", %error, "No more than {} files can be open at once", current.unwrap_or_default());
    }
}
