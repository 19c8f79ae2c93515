//! What those who run checks, and those who put hosts into maintenance, ask of the registrations.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Local, LocalError, LocalState, Records, Specs, Ticket,
    build::fold,
    definition::CheckSpec,
    records::{MAINTENANCE_OF_NODE, Operation, Target},
    sync::Mode,
};
use crate::catalog::{Catalog, model::Status};

impl Local {
    /// Puts a service of this agent (by its id), or the whole node, into maintenance, or ends it. Meanwhile a critical check
    /// says `reason`; it is kept like a registration.
    pub async fn set_maintenance(
        &self,
        service_id: Option<&str>,
        enable: bool,
        reason: &str,
        token: &str,
    ) -> Result<(), LocalError> {
        let target = match service_id {
            Some(id) => Target::Service(fold(id)),
            None => Target::Check(MAINTENANCE_OF_NODE.to_owned()),
        };
        let _lock = self.lock(&target).await;
        let (service_id, reason, token) = (service_id.map(str::to_owned), reason.to_owned(), token.to_owned());
        let effect = self.change(Operation::SetMaintenance { service_id, enable, reason, token }).await?;
        self.push_all(&effect, Mode::Registered).await;
        Ok(())
    }

    /// Removes the service of a check that has been critical for too long, if it still is.
    pub(crate) async fn reap(&self, check: &str, spec: &Arc<CheckSpec>) -> Result<bool, LocalError> {
        let Some(target) = self.records.load().target_of_check(check) else {
            return Ok(false);
        };
        let _lock = self.lock(&target).await;
        let effect = self.change(Operation::Reap { check: check.to_owned(), spec: spec.clone() }).await?;
        self.push_all(&effect, Mode::Registered).await;
        Ok(effect.known)
    }

    /// Follows which checks there are, by folded id. A result changes nothing of it.
    pub(crate) fn specs(&self) -> watch::Receiver<Specs> {
        self.specs.subscribe()
    }

    /// The definition of a check.
    pub(crate) fn spec(&self, key: &str) -> Option<Arc<CheckSpec>> {
        self.records.load().specs().get(key).cloned()
    }

    /// Takes the result of a check found with `spec`: it is shown soon, and the catalog follows. `None` if it says what is
    /// known already. Never waits.
    pub(crate) fn submit(&self, key: &str, spec: &Arc<CheckSpec>, status: Status, output: String) -> Option<Ticket> {
        self.inbox.submit(key, spec, status, output)
    }

    /// The newest result of a check, shown already or not.
    pub(crate) fn latest(&self, key: &str) -> Option<(Status, String)> {
        self.inbox.latest(key)
    }

    /// Everything that is registered now.
    pub(crate) fn table(&self) -> Arc<Records> {
        self.records.load_full()
    }

    /// Follows what is registered and its results.
    pub(crate) fn versions(&self) -> watch::Receiver<Arc<LocalState>> {
        self.shown.subscribe()
    }

    /// The catalog this agent reads.
    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The name of this agent's node.
    pub(crate) fn node_name(&self) -> String {
        self.node.load().name.clone()
    }

    /// Folded ids of all checks.
    pub(crate) fn check_keys(&self) -> Vec<String> {
        self.records.load().specs().keys().cloned().collect()
    }

    /// Lets results that came until now be told by the next comparison: at the start the catalog has most of them.
    pub(crate) fn forget_untold(&self) {
        self.outbox.forget();
    }

    /// Waits until a result is shown.
    pub(crate) async fn shown(&self, ticket: Ticket) -> Result<(), LocalError> {
        ticket.wait(self.done.clone()).await.map_err(|_| LocalError::Stopped)
    }
}
