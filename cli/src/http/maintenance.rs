//! The checks that stand for maintenance: one of the node, one of each service taken out by hand. Pure.

/// What an instance's health is called meanwhile.
pub(super) const STATUS: &str = "maintenance";

/// The check of a node in maintenance.
const NODE: &str = "_node_maintenance";
/// What the check of a service in maintenance begins with; the service's id follows.
const SERVICE_PREFIX: &str = "_service_maintenance:";

/// Whether the check of that id stands for maintenance.
pub(super) fn is_maintenance(check_id: &str) -> bool {
    check_id == NODE || check_id.starts_with(SERVICE_PREFIX)
}
