//! Putting consensus together: open what is on disk, begin from it, form a cluster of one where that is asked for.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use openraft::{
    ChangeMembers, RaftLogReader,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, Fatal, RaftError},
};

use super::{
    Consensus, Metrics, Options, Raft, StartError, compaction,
    contact::Contact,
    current,
    directory::{Contents, Directory},
    disk::{Disk, Recovered},
    failure::Failure,
    founding::Pledges,
    inbound,
    log_store::LogStore,
    network::{Addresses, Network},
    recovery::{self, Material},
    snapshot::Snapshots,
    state_machine::StateMachine,
    timing,
    transfer::Receiver,
    types::{LogId, Server, SnapshotMeta, TypeConfig},
};
use crate::catalog::{Catalog, State};

pub(super) async fn start(options: Options, catalog: Arc<Catalog>) -> Result<Consensus, StartError> {
    let failure = Failure::new();
    let opened = Opened::find(&options, failure.clone()).await?;
    let Opened { raft_id, log, snapshots, restored, pledges } = opened;

    tracing::info!(
        target: "agent.server.raft",
        "starting: server={raft_id} last_index={} snapshot_index={}",
        log.tail().last().map_or(0, |last| last.index),
        restored.as_ref().and_then(|(meta, _)| meta.last_log_id).map_or(0, |last| last.index),
    );
    let config = timing::config(&options).validate().map_err(|error| StartError::Stopped(error.to_string()))?;
    let lease = timing::lease(&config);
    let last = log.tail().last();
    let addresses = Addresses::default();
    let machine = StateMachine::new(catalog, snapshots.clone(), restored);
    let raft =
        Raft::new(raft_id, Arc::new(config), Network::new(raft_id, addresses.clone()), log.clone(), machine).await;
    let raft = raft.map_err(|fatal| stopped(&fatal))?;
    let me = Server { node_id: options.node_id, name: options.node_name, address: options.address.to_string() };
    tokio::spawn(watch_for_the_end(raft.metrics(), failure.clone()));
    tokio::spawn(keep_addresses(raft.clone(), addresses));
    tokio::spawn(compaction::run(raft.clone(), log.tail().clone()));

    if options.bootstrap && last.is_none() && log.clone().read_vote().await.is_ok_and(|vote| vote.is_none()) {
        let members = BTreeMap::from([(raft_id, me.clone())]);
        raft.initialize(members).await.map_err(|error| StartError::Stopped(error.to_string()))?;
    }
    if is_only_voter(&raft, raft_id).await? {
        lead(&raft, log.tail().last()).await?;
        tell_address(&raft, raft_id, me).await?;
    }
    Ok(Consensus {
        raft,
        raft_id,
        log,
        receiver: Receiver::new(snapshots.clone()),
        snapshots,
        failure,
        pledges,
        changes: Arc::default(),
        contact: Contact::default(),
        lease,
        inbound: inbound::budget(),
    })
}

/// What consensus begins from.
struct Opened {
    raft_id: u64,
    log: LogStore,
    snapshots: Snapshots,
    restored: Option<(SnapshotMeta, State)>,
    pledges: Pledges,
}

impl Opened {
    /// What this server kept, or nothing.
    async fn find(options: &Options, failure: Failure) -> Result<Self, StartError> {
        #[cfg(test)]
        if let Some(disk) = super::simulated::disk_of(options.address.ip()) {
            let (raft_id, log) = disk.open(failure, new_raft_id, compaction::DISK_BYTES);
            let (snapshots, restored) = disk.snapshots();
            return Ok(Self { raft_id, log, snapshots, restored, pledges: disk.pledges() });
        }
        let Some(path) = options.directory.clone() else {
            return Ok(Self::in_memory());
        };
        let node_id = options.node_id.clone();
        let opened = crate::blocking::run(move || Self::in_directory(&path, &node_id, failure)).await;
        opened.map_err(|error| StartError::Stopped(error.to_string()))?
    }

    fn in_memory() -> Self {
        Self {
            raft_id: new_raft_id(),
            log: LogStore::in_memory(compaction::MEMORY_BYTES),
            snapshots: Snapshots::in_memory(),
            restored: None,
            pledges: Pledges::in_memory(),
        }
    }

    fn in_directory(path: &Path, node_id: &str, failure: Failure) -> Result<Self, StartError> {
        let (directory, contents) = Directory::open(path)?;
        let peers = directory.peers();
        let wanted = recovery::wanted(&peers)?;
        let info = directory.peers_info();
        let snapshots_path = directory.snapshots();
        let pledges = Pledges::open(directory.pledge())?;
        let log_path = directory.log();
        let mut restored = None;
        let (mut disk, mut recovered) = match contents {
            Contents::Nothing => (Disk::create(directory, new_raft_id())?, Recovered::default()),
            Contents::Log => Disk::open(directory, |recovered| {
                restored = Snapshots::newest_in(&snapshots_path)?;
                fits(recovered, restored.as_ref().map(|(meta, _)| meta))
                    .map_err(|reason| StartError::damaged(&log_path, reason))
            })?,
        };
        let raft_id = disk.raft_id();
        let snapshots = Snapshots::in_directory(snapshots_path)?;
        if let Some(wanted) = wanted {
            let material = Material { disk: &mut disk, recovered, restored, snapshots: &snapshots };
            (recovered, restored) = recovery::apply(&peers, &wanted, node_id, material)?;
        }
        recovery::explain(&info)?;
        let log = LogStore::on_disk(disk, recovered, failure, compaction::DISK_BYTES)
            .map_err(|error| StartError::io(&log_path, error))?;
        Ok(Self { raft_id, log, snapshots, restored, pledges })
    }
}

/// Whether the snapshot holds what was dropped from the log.
fn fits(recovered: &Recovered, snapshot: Option<&SnapshotMeta>) -> Result<(), String> {
    let covered = snapshot.and_then(|meta| meta.last_log_id);
    match recovered.purged {
        Some(purged) if covered < Some(purged) => {
            let found =
                covered.map_or("there is none".to_owned(), |covered| format!("the newest ends at {}", covered.index));
            Err(format!(
                "begins behind entry {}, so a snapshot of what was before is needed, but {found}",
                purged.index
            ))
        }
        _ => Ok(()),
    }
}

/// Never 0, and within what every signed 64-bit integer holds.
fn new_raft_id() -> u64 {
    loop {
        let id = rand::random::<u64>() >> 1;
        if id != 0 {
            return id;
        }
    }
}

async fn is_only_voter(raft: &Raft, raft_id: u64) -> Result<bool, StartError> {
    let voters = raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<Vec<_>>()).await;
    Ok(voters.map_err(|fatal| stopped(&fatal))? == [raft_id])
}

/// Becomes the leader at once (nobody else could) and waits until everything in the log is applied.
async fn lead(raft: &Raft, last: Option<LogId>) -> Result<(), StartError> {
    raft.trigger().elect(false).await.map_err(|fatal| stopped(&fatal))?;
    let mut metrics = raft.metrics();
    loop {
        let now = current(&mut metrics);
        now.running_state.map_err(|fatal| stopped(&fatal))?;
        if now.current_leader == Some(now.id) && now.last_applied >= last {
            return Ok(());
        }
        metrics.changed().await.map_err(|_| StartError::Stopped("it ended while starting".to_owned()))?;
    }
}

/// Brings this server's name and address in the configuration up to date, after a start with others.
async fn tell_address(raft: &Raft, raft_id: u64, me: Server) -> Result<(), StartError> {
    let known = current(&mut raft.metrics()).membership_config.membership().get_node(&raft_id).cloned();
    if known.as_ref() == Some(&me) {
        return Ok(());
    }
    loop {
        let change = ChangeMembers::SetNodes(BTreeMap::from([(raft_id, me.clone())]));
        match raft.change_membership(change, true).await {
            Ok(_) => return Ok(()),
            // The lease of a leader of a moment is not there yet.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                tokio::time::sleep(super::FIRST_PAUSE).await;
            }
            Err(error) => return Err(StartError::Stopped(error.to_string())),
        }
    }
}

/// Notes why openraft ended, unless it was told to.
async fn watch_for_the_end(mut metrics: Metrics, failure: Failure) {
    loop {
        match current(&mut metrics).running_state {
            Ok(()) => {}
            Err(Fatal::Stopped) => return,
            Err(fatal) => return failure.note(&fatal.to_string()),
        }
        if metrics.changed().await.is_err() {
            return failure.note("it ended unexpectedly");
        }
    }
}

/// Has the network know where the servers of the configuration in force are.
async fn keep_addresses(raft: Raft, addresses: Addresses) {
    let mut servers = raft.server_metrics();
    // The metrics' channel goes with consensus; a clone of it must not keep it.
    drop(raft);
    loop {
        let membership = servers.borrow_and_update().membership_config.clone();
        addresses.learn(membership.membership());
        if servers.changed().await.is_err() {
            return;
        }
    }
}

fn stopped(fatal: &Fatal<TypeConfig>) -> StartError {
    StartError::Stopped(fatal.to_string())
}
