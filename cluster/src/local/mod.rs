//! What this agent itself has registered: kept on disk, and kept true in the catalog (anti-entropy).

pub mod definition;

use std::{collections::BTreeMap, sync::Arc};

use self::definition::{CheckSpec, ServiceDefinition};
use crate::catalog::model::{Check, Service};

/// Where a definition came from: decides what a reload replaces and what is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration file: read anew at every start and reload.
    Config,
    /// The HTTP API: kept on disk until deregistered.
    Api,
}

/// This agent's registrations at one moment.
#[derive(Clone, Debug, Default)]
pub struct LocalState {
    /// By service id.
    pub services: BTreeMap<String, Arc<Service>>,
    /// By check id.
    pub checks: BTreeMap<String, Arc<Check>>,
}

/// Why a registration was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The definition is not valid; the text says where.
    #[error("{0}")]
    Invalid(String),
    /// It could not be kept on disk.
    #[error("cannot keep the registration: {0}")]
    Io(#[from] std::io::Error),
    /// A check names a service that is not registered here.
    #[error("ServiceID \"{0}\" does not exist")]
    UnknownService(String),
}

/// The store of local registrations.
pub struct Local {}

impl Local {
    /// What is registered now.
    pub fn state(&self) -> Arc<LocalState> {
        unimplemented!()
    }

    /// Validates, keeps and registers a service; returns once the catalog has it, or (no leader within the hold time)
    /// once it is kept and its synchronisation is under way.
    pub async fn register_service(
        &self,
        _definition: ServiceDefinition,
        _source: Source,
        _replace_existing_checks: bool,
    ) -> Result<(), LocalError> {
        unimplemented!()
    }

    /// Removes a service and its checks; an unknown id is no error (`false`).
    pub async fn deregister_service(&self, _id: &str) -> Result<bool, LocalError> {
        unimplemented!()
    }

    /// Keeps and registers a check alone.
    pub async fn register_check(&self, _check: CheckSpec, _source: Source) -> Result<(), LocalError> {
        unimplemented!()
    }

    /// Removes a check; an unknown id is no error (`false`).
    pub async fn deregister_check(&self, _id: &str) -> Result<bool, LocalError> {
        unimplemented!()
    }

    /// Waits for the next change of what is registered, from the version `seen`. Never returns the same version.
    pub async fn changed(&self, _seen: &Arc<LocalState>) -> Arc<LocalState> {
        unimplemented!()
    }
}
