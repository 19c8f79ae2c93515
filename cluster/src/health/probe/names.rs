//! Names of hosts to addresses: by the system's hosts file, then by the resolvers it names; as Go does without the C
//! library, and so Consul. No thread waits for an answer, so that names whose resolver is silent hold up no other check.
//!
//! ```text
//!   name ─► hosts ─► what is known, as long as its TTL says ─► resolvers, all of them asked ─► addresses, IPv4 first
//! ```
//!
//! The two files are read again when they have changed. Of `/etc/nsswitch.conf` nothing is known here.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{Name, RecordType},
};
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::text;
use crate::blocking;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// For how long an answer is kept at most, and that there is none.
const KEPT: Duration = Duration::from_secs(30);
const KEPT_NONE: Duration = Duration::from_secs(1);
/// Names that are kept.
const NAMES_MAX: u64 = 4096;
/// Questions under way on one connection over TCP.
const ASKED_MAX: usize = 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The names as this host sees them.
pub(super) static SYSTEM: LazyLock<Names> =
    LazyLock::new(|| Names::new("/etc/resolv.conf".into(), "/etc/hosts".into(), None));

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("no such host")]
    Unknown,
    #[error("i/o timeout")]
    Timeout,
    #[error("{}", text::io_error(.0))]
    Io(#[source] Arc<io::Error>),
    #[error("{0}")]
    Other(String),
}

/// What the two files say, kept up to date.
pub(super) struct Names {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    /// Where resolvers listen, if not at their port.
    port: Option<u16>,
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    known: Known,
    written: Written,
    looked: Instant,
}

/// What the files said when they were read.
#[derive(Clone)]
struct Known {
    hosts: Arc<Hosts>,
    resolver: TokioResolver,
}

/// When the files were written last.
type Written = [Option<SystemTime>; 2];

impl Names {
    fn new(resolv_conf: PathBuf, hosts: PathBuf, port: Option<u16>) -> Self {
        Self { resolv_conf, hosts, port, current: Mutex::default() }
    }

    /// The addresses of a name; at least one. Dropped, it is not asked for any more.
    pub(super) async fn addresses(&'static self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        // Names that are none by the rules of hosts (RFC 952) are in use: `my_db`.
        let name = Name::from_str_relaxed(name).map_err(|_| NameError::Unknown)?;
        let Known { hosts, resolver } = self.known().await?;
        let mut addresses = of_hosts(&hosts, &name);
        if addresses.is_empty() {
            let found = resolver.lookup_ip(name).await.map_err(|error| NameError::from(&error))?;
            addresses.extend(found.iter());
        }
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() { Err(NameError::Unknown) } else { Ok(addresses) }
    }

    /// What the files say now, or said a moment ago.
    async fn known(&'static self) -> Result<Known, NameError> {
        let before = {
            let mut current = self.current.lock();
            let before = current.clone();
            if let Some(current) = current.as_mut() {
                if current.looked.elapsed() < LOOK {
                    return Ok(current.known.clone());
                }
                // One looks, the others go on meanwhile.
                current.looked = Instant::now();
            }
            before
        };
        let looked = Instant::now();
        let read = blocking::run(move || -> Result<Current, NameError> {
            let written = self.written();
            let known = match before {
                Some(before) if before.written == written => before.known,
                _ => self.read()?,
            };
            Ok(Current { known, written, looked })
        });
        let current = read.await.map_err(|error| NameError::Other(error.to_string()))??;
        let known = current.known.clone();
        *self.current.lock() = Some(current);
        Ok(known)
    }

    fn written(&self) -> Written {
        [&self.resolv_conf, &self.hosts].map(|path| fs::metadata(path).and_then(|it| it.modified()).ok())
    }

    fn read(&self) -> Result<Known, NameError> {
        let (servers, mut options) = self.servers();
        // Which resolver knows which names is not known: what one does not have another is asked for.
        let trusted = servers.name_servers().len() < 2;
        let (domain, search, mut servers) = servers.into_parts();
        for server in &mut servers {
            server.trust_negative_responses = trusted;
            if let Some(port) = self.port {
                server.connections.iter_mut().for_each(|connection| connection.port = port);
            }
        }
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = NAMES_MAX;
        options.positive_max_ttl = Some(KEPT);
        options.negative_max_ttl = Some(KEPT_NONE);
        options.max_active_requests = ASKED_MAX;
        let config = ResolverConfig::from_parts(domain, search, servers);
        let resolver =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build();
        let resolver = resolver.map_err(|error| NameError::from(&error))?;
        Ok(Known { hosts: Arc::new(self.read_hosts()), resolver })
    }

    /// Without a file, or without a resolver in it, there is one on this host (resolv.conf(5)).
    fn servers(&self) -> (ResolverConfig, ResolverOpts) {
        let own = || {
            let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
        };
        match fs::read(&self.resolv_conf).map(parse_resolv_conf) {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::warn!(target: "agent.checks", path = %self.resolv_conf.display(), %error, "No resolver is named");
                own()
            }
            Err(error) => {
                self.complain(&self.resolv_conf, &error);
                own()
            }
        }
    }

    fn read_hosts(&self) -> Hosts {
        let mut hosts = Hosts::default();
        let read = fs::File::open(&self.hosts).and_then(|file| hosts.read_hosts_conf(file));
        if let Err(error) = read {
            self.complain(&self.hosts, &error);
        }
        hosts
    }

    fn complain(&self, path: &std::path::Path, error: &io::Error) {
        if error.kind() != ErrorKind::NotFound {
            tracing::warn!(target: "agent.checks", path = %path.display(), %error, "Names of hosts cannot be read");
        }
    }
}

/// What the hosts file has of a name. A resolver would be asked for the family that is not in it.
fn of_hosts(hosts: &Hosts, name: &Name) -> Vec<IpAddr> {
    let found = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    found.flat_map(|lookup| lookup.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>()).collect()
}

impl From<&NetError> for NameError {
    fn from(error: &NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            NetError::Io(error) if error.kind() == ErrorKind::TimedOut => Self::Timeout,
            NetError::Io(error) => Self::Io(error.clone()),
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => match response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => Self::Unknown,
                code => Self::Other(format!("the resolver says {}", format!("{code:?}").to_ascii_uppercase())),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
