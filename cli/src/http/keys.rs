//! The JSON and the error text of key operations in gossip's pools.
//!
//! Pure: reports in, what Consul's API says of them out.

use std::collections::BTreeMap;

use serde::Serialize;
use usher_cluster::agent::PoolKeys;

/// The keys of one pool.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeysView<'a> {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: &'a str,
    segment: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    messages: &'a BTreeMap<String, String>,
    keys: &'a BTreeMap<String, usize>,
    primary_keys: &'a BTreeMap<String, usize>,
    num_nodes: usize,
}

impl<'a> KeysView<'a> {
    /// Of this pool.
    pub(super) fn of(pool: &'a PoolKeys, datacenter: &'a str) -> Self {
        let report = &pool.report;
        Self {
            wan: pool.wan,
            datacenter,
            segment: "",
            messages: &report.messages,
            keys: &report.keys,
            primary_keys: &report.primary_keys,
            num_nodes: report.nodes,
        }
    }
}

/// Why not all members did it, one line each, in Consul's words; `None` if all did.
pub(super) fn problems(pools: &[PoolKeys], datacenter: &str) -> Option<String> {
    let mut pools: Vec<&PoolKeys> = pools.iter().filter(|pool| pool.report.errors > 0).collect();
    pools.sort_by_key(|pool| !pool.wan);
    let mut lines = Vec::new();
    for PoolKeys { wan, report } in pools {
        let pool = if *wan { "WAN".to_owned() } else { format!("{datacenter} (LAN)") };
        lines.push(format!("{pool} error: {}/{} nodes reported failure", report.errors, report.nodes));
        lines.extend(report.messages.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| {
            // A member of the wide pool is told by its node and datacenter, as it is named there.
            format!("{name}: {text}")
        }));
    }
    match lines.len() {
        0 => None,
        1 => Some(format!("1 error occurred:\n\t* {}\n\n", lines.concat())),
        count => Some(format!("{count} errors occurred:\n\t* {}\n\n", lines.join("\n\t* "))),
    }
}

#[cfg(test)]
mod tests {
    use usher_cluster::gossip::KeyReport;

    use super::*;

    fn pool(wan: bool, nodes: usize, messages: &[(&str, &str)]) -> PoolKeys {
        let keys = BTreeMap::from([("K=".to_owned(), nodes)]);
        let messages: BTreeMap<String, String> =
            messages.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let errors = messages.len();
        PoolKeys { wan, report: KeyReport { messages, primary_keys: keys.clone(), keys, nodes, errors } }
    }

    #[test]
    fn keys_as_consul_lists_them() {
        let pool = pool(false, 4, &[]);
        assert_eq!(
            serde_json::to_string(&KeysView::of(&pool, "dc1")).unwrap(),
            r#"{"WAN":false,"Datacenter":"dc1","Segment":"","Keys":{"K=":4},"PrimaryKeys":{"K=":4},"NumNodes":4}"#
        );
    }

    #[test]
    fn errors_as_consul_lists_them() {
        let text = "Keyring is empty (encryption not enabled)";
        assert_eq!(problems(&[pool(false, 4, &[])], "dc1"), None);
        assert_eq!(
            problems(&[pool(false, 1, &[("n1", text)]), pool(true, 1, &[("n1.dc1", text)])], "dc1").unwrap(),
            "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n\t* n1.dc1: Keyring is empty (encryption \
             not enabled)\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\t* n1: Keyring is empty (encryption not \
             enabled)\n\n"
        );
    }
}
