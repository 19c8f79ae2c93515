//! The founding of a cluster: which servers this one has promised to found it with, and the founding itself.
//!
//! A promise is given once and kept on disk beside the log, so that two groups of servers can never found two clusters
//! that both believe to have this one: whoever wants to found asks all founders for it first. Only a server whose log
//! never held anything gives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::errors::{InitializeError, RaftError};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    Consensus, StartError,
    codec::{self, Kind},
    directory::sync_directory,
    types::Server,
};
use crate::rpc::message::Founder;

/// Why a cluster is not founded, or not promised to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FoundingError {
    /// It is, or was, part of a cluster.
    #[error("this server is part of a cluster already")]
    NotPristine,
    /// It has promised to found one with others.
    #[error(
        "this server has promised to found a cluster with other servers: {founders:?}; if one of these is gone for good, \
         stop this server and remove {file}"
    )]
    Promised {
        /// With whom.
        founders: BTreeSet<u64>,
        /// Where the promise is kept.
        file: String,
    },
    /// It is asked to found one without itself.
    #[error("this server ({0}) is not among the founders")]
    NotAmong(u64),
    /// The promise cannot be kept.
    #[error("the promise cannot be kept on disk: {0}")]
    Disk(String),
    /// Consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// The promise, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pledge {
    founders: BTreeSet<u64>,
}

/// Where the promise is kept. Clones share it.
#[derive(Clone)]
pub(super) struct Pledges {
    /// Nowhere but in memory, or a file.
    path: Option<PathBuf>,
    given: Arc<Mutex<Option<Pledge>>>,
}

impl Pledges {
    /// For a server that keeps nothing on disk.
    pub(super) fn in_memory() -> Self {
        Self { path: None, given: Arc::default() }
    }

    /// Reads the promise at `path`, if one was given.
    pub(super) fn open(path: PathBuf) -> Result<Self, StartError> {
        let given = match fs::read(&path) {
            Ok(bytes) => {
                let pledge = codec::decode(Kind::Pledge, &bytes);
                Some(pledge.map_err(|error| StartError::damaged(&path, error.to_string()))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StartError::io(&path, error)),
        };
        Ok(Self { path: Some(path), given: Arc::new(Mutex::new(given)) })
    }

    /// Promises, unless another promise was given. It is on disk when this returns.
    async fn give(&self, founders: BTreeSet<u64>) -> Result<(), FoundingError> {
        let mut given = self.given.lock().await;
        if let Some(pledge) = &*given {
            return match pledge.founders == founders {
                true => Ok(()),
                false => {
                    let file = self
                        .path
                        .as_ref()
                        .map_or("nothing: it is in memory".to_owned(), |path| path.display().to_string());
                    Err(FoundingError::Promised { founders: pledge.founders.clone(), file })
                }
            };
        }
        let pledge = Pledge { founders };
        if let Some(path) = self.path.clone() {
            let disk = |error: String| FoundingError::Disk(format!("{}: {error}", path.display()));
            let record = codec::encode(Kind::Pledge, &pledge).map_err(|error| disk(error.to_string()))?;
            let target = path.clone();
            let kept = crate::blocking::run(move || keep(&target, &record)).await;
            kept.map_err(io::Error::other).and_then(|kept| kept).map_err(|error| disk(error.to_string()))?;
        }
        *given = Some(pledge);
        Ok(())
    }
}

/// Writes a file that is there whole or not at all, also after the machine died.
pub(super) fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

impl Consensus {
    /// Whether the log has never held anything, nor a vote been given: this server may found a cluster, or be taken into
    /// one.
    pub(crate) fn is_pristine(&self) -> bool {
        self.log.tail().is_pristine()
    }

    /// Promises to found a cluster with exactly these servers, this one among them. Given once, and again for the same.
    pub(crate) async fn pledge(&self, founders: &[Founder]) -> Result<(), FoundingError> {
        let ids: BTreeSet<u64> = founders.iter().map(|founder| founder.raft_id).collect();
        if !ids.contains(&self.raft_id) {
            return Err(FoundingError::NotAmong(self.raft_id));
        }
        if !self.is_pristine() {
            return Err(FoundingError::NotPristine);
        }
        self.pledges.give(ids).await
    }

    /// Founds a cluster with exactly these servers as voters and stands for election. One of the founders does this, when
    /// all of them have promised; the others get it from the log. Done again it changes nothing.
    pub(crate) async fn form(&self, founders: &[Founder]) -> Result<(), FoundingError> {
        let members: BTreeMap<u64, Server> =
            founders.iter().map(|founder| (founder.raft_id, Server::from(founder))).collect();
        let ids: BTreeSet<u64> = members.keys().copied().collect();
        match self.pledge(founders).await {
            Ok(()) => {}
            Err(FoundingError::NotPristine) if self.voters() == ids => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.raft.initialize(members).await {
            // It stands for election by itself.
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => Err(FoundingError::NotAmong(self.raft_id)),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(FoundingError::NotPristine),
            Err(RaftError::Fatal(fatal)) => Err(FoundingError::Stopped(fatal.to_string())),
        }
    }

    fn voters(&self) -> BTreeSet<u64> {
        super::current(&mut self.raft.metrics()).membership_config.membership().voter_ids().collect()
    }
}

impl From<&Founder> for Server {
    fn from(founder: &Founder) -> Self {
        Self { node_id: founder.node_id.clone(), name: founder.name.clone(), address: founder.address.clone() }
    }
}
