//! Membership: who is in the pool, and who of them is alive (SWIM). The only place that names foca.
//!
//! ```text
//!   shell: sockets and tasks ──► envelope: version, cluster, encryption
//!     │
//!     ▼
//!   core (pure): foca, timers, table, health ──► records: names, tags, who left
//! ```
//!
//! foca finds out who is alive, by datagrams; the rest is ours: names and tags travel as its broadcasts and by push/pull
//! over TCP, which also heals what datagrams lost; statuses are serf's.

/// Logs in the name of a pool: `say!(pool, info, "...")`.
macro_rules! say {
    ($pool:expr, $level:ident, $($said:tt)*) => {
        match $pool {
            $crate::gossip::Pool::Lan => tracing::$level!(target: "agent.serf.lan", $($said)*),
            $crate::gossip::Pool::Wan => tracing::$level!(target: "agent.serf.wan", $($said)*),
        }
    };
}

mod codec;
mod core;
mod envelope;
mod exchange;
mod health;
mod identity;
mod keyring;
mod record;
mod shell;
mod snapshot;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod timing;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::keyring::{KeyOperation, KeyReport, Keyring, KeyringError};
use self::{
    core::{Core, Settings},
    envelope::{Envelope, OVERHEAD, Strangers},
    exchange::{Reply, Request},
    shell::{COMMANDS_MAX, Command, Owner, Shared},
    snapshot::Snapshot,
    stream::{AskError, Frames},
    table::Remembrance,
};
use crate::{
    membership::{Member, MemberStatus},
    net::{TcpListener, UdpSocket},
};

/// Which pool: decides timing and what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The agents of a datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

/// How an agent takes part in a pool.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Which one.
    pub(crate) pool: Pool,
    /// Who speaks together: agents of another cluster (datacenter) are refused. Empty in the WAN pool.
    pub(crate) cluster: String,
    /// The member's name, unique in the pool.
    pub(crate) name: String,
    /// The node's UUID, unique in the pool.
    pub(crate) id: String,
    /// Where others reach it (UDP and TCP).
    pub(crate) advertise: SocketAddr,
    /// What it tells of itself.
    pub(crate) tags: BTreeMap<String, String>,
    /// How long a failed member is tried before it is forgotten (Consul: 72 h).
    pub(crate) reconnect_timeout: Duration,
    /// Keys; without any, gossip is in the clear.
    pub(crate) keyring: Arc<Keyring>,
    /// Where the known members are kept over a restart; `None` keeps nothing.
    pub(crate) snapshot: Option<PathBuf>,
    /// Whether a member that left joins those it knew when it starts again.
    pub(crate) rejoin_after_leave: bool,
}

/// Why nobody was joined at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// Nobody answers there.
    #[error("Failed to join {address}: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Somebody answers who is not to be joined: another cluster, another key, another version, or this member's own
    /// name or id at another address (the text names both addresses).
    #[error("Failed to join {address}: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

/// Consul's: how long those that left are remembered.
const TOMBSTONE: Duration = Duration::from_secs(24 * 3600);
/// How long a key operation may take at one member.
const KEYS: Duration = Duration::from_secs(5);
/// Members asked at a time in a key operation.
const KEYS_AT_ONCE: usize = 16;
/// Changes of the members are written down at most this often.
const SNAPSHOT: Duration = Duration::from_secs(1);
/// How long leaving may take, whatever the network does.
const LEAVE: Duration = Duration::from_secs(10);
/// The longest pause between two tries to find those known before.
const REJOIN_MAX: Duration = Duration::from_secs(30);

/// A running member of a pool. Clones share it.
#[derive(Clone)]
pub(crate) struct Gossip {
    members: watch::Receiver<Arc<Vec<Member>>>,
    #[cfg_attr(not(test), allow(dead_code, reason = "what an agent tells does not change while it runs so far"))]
    tags: Arc<watch::Sender<BTreeMap<String, String>>>,
    name: Arc<str>,
    timing: timing::Timing,
    shared: Shared,
}

impl Gossip {
    /// Takes part in the pool through these sockets until `stop`.
    pub(crate) fn start(
        options: Options,
        udp: UdpSocket,
        tcp: TcpListener,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let known = options.snapshot.as_deref().map(Snapshot::read).unwrap_or_default();
        // Later than every former life, even where a clock was set back.
        let started = now_in_microseconds().max(known.started.saturating_add(1));
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let shared = Shared {
            pool: options.pool,
            cluster: options.cluster.as_str().into(),
            name: options.name.as_str().into(),
            frames: Frames::new(Envelope::new(&options.cluster, options.keyring.clone())),
            keyring: options.keyring.clone(),
            commands: sender,
            strangers: Arc::new(Strangers::default()),
            tasks: tasks.clone(),
            stop,
        };
        let core = Core::new(settings(&options, started), rng(), Instant::now());
        let (sender, members) = watch::channel(core.members().clone());
        let (new_tags, tags) = watch::channel(options.tags.clone());
        let gossip = Self {
            members,
            tags: Arc::new(new_tags),
            name: shared.name.clone(),
            timing: timing::Timing::of(options.pool),
            shared: shared.clone(),
        };
        let (asking, leaving) = (Owner::asking(), Vec::new());
        let owner = Owner { core, udp, shared: shared.clone(), commands, tags, members: sender, asking, leaving };
        tasks.spawn(owner.run());
        tasks.spawn(shell::accept(tcp, shared));
        if let Some(path) = options.snapshot.clone() {
            tasks.spawn(gossip.clone().keep(path, started, options.advertise));
        }
        if !known.members.is_empty() && (!known.left || options.rejoin_after_leave) {
            tasks.spawn(gossip.clone().rejoin(known.members));
        }
        gossip
    }

    /// Everybody known, itself included, ordered by name. Left and failed ones stay until they are reaped.
    pub(crate) fn members(&self) -> Arc<Vec<Member>> {
        self.members.borrow().clone()
    }

    /// Follows the changes of [`Gossip::members`].
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.members.clone()
    }

    /// Meets whoever is at `address` (push/pull over TCP); when this returns, its members are known here.
    pub(crate) async fn join(&self, address: SocketAddr) -> Result<(), JoinError> {
        let stopped = || JoinError::Unreachable { address, reason: "this agent has stopped".to_owned() };
        let (sender, request) = oneshot::channel();
        self.command(Command::JoinRequest(sender)).await;
        let request = request.await.map_err(|_| stopped())?;
        let reply =
            self.shared.frames.ask(address, &request, self.timing.exchange).await.map_err(|error| match error {
                AskError::Refused(reason) => JoinError::Refused { address, reason },
                error => JoinError::Unreachable { address, reason: error.to_string() },
            })?;
        if !matches!(reply, Reply::Sync(_)) {
            return Err(JoinError::Refused { address, reason: "the answer is to another question".to_owned() });
        }
        let (sender, done) = oneshot::channel();
        self.command(Command::Reply { from: address, reply, done: Some(sender) }).await;
        done.await.map_err(|_| stopped())
    }

    /// Tells everybody that this member leaves (status `leaving`, then `left`), and waits until some know.
    pub(crate) async fn leave(&self) {
        let (sender, done) = oneshot::channel();
        self.command(Command::Leave(sender)).await;
        if timeout(LEAVE, done).await.is_err() {
            say!(self.shared.pool, debug, "leaving took too long");
        }
    }

    /// Makes a failed member a left one; with `prune` it is forgotten at once everywhere. A living one refutes it.
    /// The error's text is Consul's (`agent: No node found with name 'x'`).
    pub(crate) async fn force_leave(&self, name: &str, prune: bool) -> Result<(), String> {
        let (sender, done) = oneshot::channel();
        self.command(Command::ForceLeave { name: name.to_owned(), prune, done: sender }).await;
        done.await.map_err(|_| "this agent has stopped".to_owned())?
    }

    /// Tells others from now on these tags.
    #[cfg_attr(not(test), allow(dead_code, reason = "what an agent tells does not change while it runs so far"))]
    pub(crate) fn set_tags(&self, tags: BTreeMap<String, String>) {
        self.tags.send_replace(tags);
    }

    /// Does a key operation at every living member and here, and says how it went.
    pub(crate) async fn keys(&self, operation: KeyOperation) -> KeyReport {
        let members = self.members();
        let alive: Vec<Member> = members.iter().filter(|it| it.status == MemberStatus::Alive).cloned().collect();
        let answers = futures_util::stream::iter(alive).map(|member| {
            let operation = operation.clone();
            async move {
                let answer = self.keys_of(&member, operation).await;
                (member.name, answer)
            }
        });
        let mut answers = answers.buffer_unordered(KEYS_AT_ONCE);
        let mut report = KeyReport::default();
        while let Some((name, answer)) = answers.next().await {
            report.count(&name, answer);
        }
        report
    }

    async fn keys_of(&self, member: &Member, operation: KeyOperation) -> Result<keyring::KeyAnswer, String> {
        if *member.name == *self.name {
            let keyring = self.shared.keyring.clone();
            return crate::blocking::run(move || keyring.apply(&operation)).await.map_err(|it| it.to_string());
        }
        let address = SocketAddr::new(member.address, member.port);
        match self.shared.frames.ask(address, &Request::Keys(operation), KEYS).await {
            Ok(Reply::Keys(answer)) => Ok(answer),
            Ok(_) => Err("the answer is to another question".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn command(&self, command: Command) {
        // The owner ends with the agent: whoever waits for an answer then sees that none comes.
        let _ = self.shared.commands.send(command).await;
    }

    /// Writes down whom this member knows, whenever that changes and once more at the end.
    async fn keep(mut self, path: PathBuf, started: u64, own: SocketAddr) {
        let mut written = None;
        loop {
            let snapshot = Snapshot::of(started, own, &self.members.borrow_and_update());
            if written.as_ref() != Some(&snapshot) {
                let (path, snapshot) = (path.clone(), snapshot.clone());
                // A slow disk must not hold up gossip. It fails only if the runtime ends.
                let _ = crate::blocking::run(move || snapshot.write(&path)).await;
            }
            let stopped = self.shared.stop.is_cancelled();
            if stopped && written.as_ref() == Some(&snapshot) {
                return;
            }
            written = Some(snapshot);
            if stopped {
                continue;
            }
            let stop = self.shared.stop.clone();
            let waited = async {
                let _ = self.members.changed().await;
                sleep(SNAPSHOT).await;
            };
            stop.run_until_cancelled(waited).await;
        }
    }

    /// Looks for those known before the restart, until somebody is found.
    async fn rejoin(self, mut known: Vec<SocketAddr>) {
        known.shuffle(&mut rng());
        let (pool, mut pause) = (self.shared.pool, Duration::from_secs(1));
        let is_alone = || self.members.borrow().iter().filter(|it| table::is_active(it.status)).count() <= 1;
        let searched = async {
            while is_alone() {
                for address in &known {
                    match self.join(*address).await {
                        Ok(()) => return say!(pool, info, "rejoined {address}, which this agent knew before"),
                        Err(error) => say!(pool, debug, "rejoining: {error}"),
                    }
                }
                sleep(pause).await;
                pause = (2 * pause).min(REJOIN_MAX);
            }
        };
        let stop = self.shared.stop.clone();
        stop.run_until_cancelled(searched).await;
    }
}

fn settings(options: &Options, started: u64) -> Settings {
    Settings {
        pool: options.pool,
        name: options.name.clone(),
        id: options.id.clone(),
        advertise: options.advertise,
        tags: options.tags.clone(),
        started,
        remembrance: Remembrance { failed: options.reconnect_timeout, left: TOMBSTONE },
        overhead: OVERHEAD,
    }
}

/// The one place where gossip takes its randomness from.
fn rng() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}

fn now_in_microseconds() -> u64 {
    let now = crate::clock::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
