//! Joining: from what people write (`host`, `host:port`, a DNS name with several addresses) to the members met there,
//! once or again and again.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gossip::{Gossip, JoinError};

/// After the first attempt that met nobody the next one comes that soon, whatever the interval.
const SOON: Duration = Duration::from_millis(250);
/// Addresses asked in one call; a longer list is refused.
const ADDRESSES_MAX: usize = 1024;
/// Addresses one name may stand for; the rest are not asked.
const CANDIDATES_MAX: usize = 64;
/// Addresses asked at the same time.
const AT_ONCE: usize = 16;
/// How long a name may take to be resolved.
const RESOLVE_TIME: Duration = Duration::from_secs(10);

/// Meets everyone in `addresses` (`host` or `host:port`); says how many were reached, or why none was.
pub(super) async fn join(gossip: &Gossip, port: u16, addresses: &[String]) -> Result<usize, String> {
    if addresses.len() > ADDRESSES_MAX {
        return Err(format!("too many addresses to join: {} (limit: {ADDRESSES_MAX})", addresses.len()));
    }
    let mut joined = 0;
    let mut problems = Vec::new();
    // At once, so that one that does not answer holds up nobody; told in the order they were given.
    let ask = |address: String| {
        let gossip = gossip.clone();
        async move { meet(&gossip, port, &address).await }
    };
    let mut meetings = stream::iter(addresses.to_vec()).map(ask).buffered(AT_ONCE);
    while let Some((met, wrong)) = meetings.next().await {
        joined += met;
        problems.extend(wrong);
    }
    if joined == 0 && !problems.is_empty() {
        let errors: Vec<String> = problems.into_iter().map(|problem| problem.text).collect();
        return Err(all(&errors));
    }
    // Told even where others were met: somebody must do something about a wrong key or a name used twice.
    for problem in problems.iter().filter(|problem| problem.refused) {
        tracing::warn!(target: "agent", "{}", problem.text);
    }
    Ok(joined)
}

/// Why somebody was not met.
struct Problem {
    text: String,
    /// Whether somebody is there who refuses, or is refused.
    refused: bool,
}

/// Joins again and again until somebody is met.
pub(super) struct Retry {
    pub(super) gossip: Gossip,
    /// The port where an address has none.
    pub(super) port: u16,
    pub(super) addresses: Vec<String>,
    pub(super) interval: Duration,
    /// Attempts; 0 for no limit.
    pub(super) max: u32,
    /// `LAN` or `WAN`, for the log.
    pub(super) pool: &'static str,
}

impl Retry {
    /// Runs until somebody is met, or `stop`; the error says that the attempts are used up.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), String> {
        stop.run_until_cancelled(self.until_met()).await.unwrap_or(Ok(()))
    }

    async fn until_met(&self) -> Result<(), String> {
        let pool = self.pool;
        tracing::info!(target: "agent", "Retry join is supported for the following discovery methods: cluster={pool}");
        tracing::info!(target: "agent", "Joining cluster...: cluster={pool}");
        let mut attempts = 0_u32;
        let mut soon = SOON;
        loop {
            let error = match join(&self.gossip, self.port, &self.addresses).await {
                Ok(met) => {
                    tracing::info!(target: "agent", "Join cluster completed. Synced with initial agents: cluster={pool} num_agents={met}");
                    return Ok(());
                }
                Err(error) => error,
            };
            attempts = attempts.saturating_add(1);
            if self.max > 0 && attempts >= self.max {
                return Err(format!("agent: max join retry exhausted, exiting ({pool}): {error}"));
            }
            tracing::warn!(
                target: "agent",
                error = %error.trim_end(),
                "Join cluster failed, will retry: cluster={pool} retry_interval={}s",
                self.interval.as_secs_f64()
            );
            if let Some(met) = self.soon_again(&mut soon).await {
                tracing::info!(target: "agent", "Join cluster completed. Synced with initial agents: cluster={pool} num_agents={met}");
                return Ok(());
            }
        }
    }

    /// Waits the interval out. As long as `soon` is shorter than it, tries now and then meanwhile, each time after twice
    /// the pause: hosts that start together should not wait half a minute for each other.
    async fn soon_again(&self, soon: &mut Duration) -> Option<usize> {
        let until = Instant::now() + self.interval;
        while Instant::now() + *soon < until {
            tokio::time::sleep(*soon).await;
            *soon *= 2;
            if let Ok(met) = join(&self.gossip, self.port, &self.addresses).await {
                return Some(met);
            }
        }
        tokio::time::sleep_until(until).await;
        None
    }
}

/// Meets whoever is behind one address; a name may stand for several.
async fn meet(gossip: &Gossip, default_port: u16, address: &str) -> (usize, Vec<Problem>) {
    let candidates = match resolve(address, default_port).await {
        Ok(candidates) => candidates,
        Err(text) => return (0, vec![Problem { text, refused: false }]),
    };
    let mut met = 0;
    let mut problems = Vec::new();
    for candidate in candidates {
        match gossip.join(candidate).await {
            Ok(()) => met += 1,
            Err(error) => {
                let refused = matches!(error, JoinError::Refused { .. });
                problems.push(Problem { text: error.to_string(), refused });
            }
        }
    }
    (met, problems)
}

async fn resolve(address: &str, default_port: u16) -> Result<Vec<SocketAddr>, String> {
    let failed = |reason: &str| format!("Failed to resolve {address}: {reason}");
    if address.contains("provider=") {
        return Err(failed("discovery by cloud providers is not supported: give addresses or a DNS name"));
    }
    let (host, port) = split(address, default_port).map_err(|reason| failed(&reason))?;
    // What is an address needs no resolver, which a simulated network has not got.
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = tokio::time::timeout(RESOLVE_TIME, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| failed("no answer in time"))?.map_err(|error| failed(&error.to_string()))?;
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort();
    found.dedup();
    found.truncate(CANDIDATES_MAX);
    if found.is_empty() { Err(failed("no such host")) } else { Ok(found) }
}

/// The host and the port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
fn split(address: &str, default_port: u16) -> Result<(&str, u16), String> {
    if address.parse::<IpAddr>().is_ok() {
        return Ok((address, default_port));
    }
    if let Some(bare) = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Ok((bare, default_port));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Ok((address, default_port));
    };
    let port = port.parse().map_err(|_| format!("invalid port \"{port}\""))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// Several errors in the form Consul's clients know.
fn all(errors: &[String]) -> String {
    let head =
        if let [_] = errors { "1 error occurred:".to_owned() } else { format!("{} errors occurred:", errors.len()) };
    let list: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
    format!("{head}\n{list}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_resolved_is_told_with_its_address() {
        let error = resolve("provider=aws tag_key=x", 8301).await.unwrap_err();
        assert!(error.starts_with("Failed to resolve provider=aws tag_key=x: discovery by cloud"), "{error}");
        assert_eq!(
            resolve("10.0.0.1:99999", 7).await.unwrap_err(),
            "Failed to resolve 10.0.0.1:99999: invalid port \"99999\""
        );
        assert_eq!(resolve("10.0.0.1", 7).await, Ok(vec!["10.0.0.1:7".parse().unwrap()]));
        assert_eq!(resolve("[::1]:8", 7).await, Ok(vec!["[::1]:8".parse().unwrap()]));
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let cases = [
            ("host", Ok(("host", 7))),
            ("host:1", Ok(("host", 1))),
            ("10.0.0.1", Ok(("10.0.0.1", 7))),
            ("::1", Ok(("::1", 7))),
            ("[::1]", Ok(("::1", 7))),
            ("[::1]:1", Ok(("::1", 1))),
            ("host:99999", Err("invalid port \"99999\"".to_owned())),
            ("host:", Err("invalid port \"\"".to_owned())),
        ];
        for (address, expected) in cases {
            assert_eq!(split(address, 7), expected, "{address}");
        }
    }

    #[test]
    fn several_errors_are_listed_as_consul_does() {
        let one = ["a".to_owned()];
        assert_eq!(all(&one), "1 error occurred:\n\t* a\n\n");
        assert_eq!(all(&["a".to_owned(), "b".to_owned()]), "2 errors occurred:\n\t* a\n\t* b\n\n");
    }
}
