//! Maintenance: a critical check that a person set, of a service or of the node. It is kept and synchronised like one
//! that was registered, and outlasts reloads and registrations of its service. Pure.

use super::{super::build::fold, super::definition::CheckSpec, Effect, LocalError, Records, Source};
use crate::catalog::model::Status;

/// The id of the node's check.
pub(crate) const NODE: &str = "_node_maintenance";
/// What the id of a service's check begins with; the service's id follows.
const SERVICE: &str = "_service_maintenance:";
/// The kind the catalog shows.
pub(super) const KIND: &str = "maintenance";

/// Whether a check of this folded id is of maintenance.
pub(super) fn is_one(key: &str) -> bool {
    key == NODE || key.starts_with(SERVICE)
}

impl Records {
    /// Puts the service of that id, or the node, into maintenance or ends it. Being there already it keeps its reason,
    /// as in Consul.
    pub(super) fn set_maintenance(
        &mut self,
        service_id: Option<&str>,
        enable: bool,
        reason: &str,
        token: &str,
        effect: &mut Effect,
    ) -> Result<(), LocalError> {
        let id = match service_id {
            None => NODE.to_owned(),
            Some(service_id) => {
                let service = self.service(&fold(service_id));
                let service = service.ok_or_else(|| LocalError::NoSuchService(service_id.to_owned()))?;
                format!("{SERVICE}{}", service.id)
            }
        };
        let key = fold(&id);
        if !enable {
            self.remove_check(&key, effect);
            return Ok(());
        }
        if self.check(&key).is_none() {
            self.put_check(spec(id, service_id, reason, token), Source::Api, None, effect);
        }
        Ok(())
    }
}

fn spec(id: String, service_id: Option<&str>, reason: &str, token: &str) -> CheckSpec {
    let (what, name) = match service_id {
        Some(_) => ("service", "Service Maintenance Mode"),
        None => ("node", "Node Maintenance Mode"),
    };
    let notes = match reason {
        "" => {
            format!(
                "Maintenance mode is enabled for this {what}, but no reason was provided. This is a default message."
            )
        }
        reason => reason.to_owned(),
    };
    CheckSpec {
        id,
        name: name.to_owned(),
        notes,
        service_id: service_id.unwrap_or_default().to_owned(),
        status: Some(Status::Critical),
        token: token.to_owned(),
        ..CheckSpec::default()
    }
}
