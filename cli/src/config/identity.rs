//! Names and ids: of the node, its datacenter, its metadata, and of users and groups on the host.

use std::{collections::BTreeMap, fs};

use super::{ConfigError, Warning};

/// Pairs of node metadata.
const MAX_META_PAIRS: usize = 64;
/// Bytes of a metadata key.
const MAX_META_KEY: usize = 128;
/// Bytes of a metadata value.
const MAX_META_VALUE: usize = 512;
/// Bytes of a DNS label.
const MAX_LABEL: usize = 63;

/// A datacenter's name in lower case, or why it is none.
pub(super) fn datacenter(name: &str) -> Result<String, ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::Invalid("datacenter cannot be empty".into()));
    }
    let name = name.to_lowercase();
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-') {
        return Err(ConfigError::Invalid(format!("datacenter cannot be \"{name}\". Please use only [a-z0-9-_]")));
    }
    Ok(name)
}

/// The node's name as given, or the host's.
pub(super) fn node_name(given: &str, warnings: &mut Vec<Warning>) -> Result<String, ConfigError> {
    let mut name = given.trim().to_owned();
    if name.is_empty() {
        name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    if name.is_empty() {
        return Err(ConfigError::Invalid("node_name cannot be empty".into()));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        warnings.push(Warning(format!(
            "Node name \"{name}\" will not be discoverable via DNS due to invalid characters. \
             Valid characters include all alpha-numerics and dashes."
        )));
    } else if name.len() > MAX_LABEL {
        warnings.push(Warning(format!(
            "Node name \"{name}\" will not be discoverable via DNS due to it being too long. \
             Valid lengths are between 1 and 63 bytes."
        )));
    }
    Ok(name)
}

/// A node id in lower case; `None` when it is not given.
pub(super) fn node_id(given: &str) -> Result<Option<String>, ConfigError> {
    if given.is_empty() {
        return Ok(None);
    }
    let id = given.to_ascii_lowercase();
    if id.len() != 36 || uuid::Uuid::try_parse(&id).is_err() {
        return Err(ConfigError::Invalid(format!("node_id \"{given}\" is not a UUID")));
    }
    Ok(Some(id))
}

/// Checks the pairs of a node by Consul's limits.
pub(super) fn check_node_meta(meta: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    check_meta(meta).map_err(|problem| ConfigError::Invalid(format!("node_meta invalid: {problem}")))
}

/// The pairs of a node or a service; the error says what is wrong with which.
pub(super) fn check_meta(meta: &BTreeMap<String, String>) -> Result<(), String> {
    if meta.len() > MAX_META_PAIRS {
        return Err(format!("Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"));
    }
    for (key, value) in meta {
        let problem = if key.is_empty() {
            "Key cannot be blank".to_owned()
        } else if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            "Key contains invalid characters".to_owned()
        } else if key.len() > MAX_META_KEY {
            format!("Key is too long (limit: {MAX_META_KEY} characters)")
        } else if key.starts_with("consul-") {
            "Key prefix 'consul-' is reserved for internal use".to_owned()
        } else if value.len() > MAX_META_VALUE {
            format!("Value is too long (limit: {MAX_META_VALUE} characters)")
        } else {
            continue;
        };
        return Err(format!("Couldn't load metadata pair ('{key}', '{value}'): {problem}"));
    }
    Ok(())
}

/// A user's id by number or name.
pub(super) fn user(text: &str) -> Result<Option<u32>, ConfigError> {
    account(text, "/etc/passwd", "unix_sockets.user")
}

/// A group's id by number or name.
pub(super) fn group(text: &str) -> Result<Option<u32>, ConfigError> {
    account(text, "/etc/group", "unix_sockets.group")
}

fn account(text: &str, file: &str, key: &str) -> Result<Option<u32>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let accounts = fs::read_to_string(file).unwrap_or_default();
    match account_id(&accounts, text) {
        Some(id) => Ok(Some(id)),
        None => Err(ConfigError::Invalid(format!("{key}: \"{text}\" is not known on this host"))),
    }
}

/// The id in `name:password:id:…`.
fn account_id(accounts: &str, name: &str) -> Option<u32> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datacenters() {
        assert_eq!(datacenter("DC-East_1").unwrap(), "dc-east_1");
        for (name, problem) in [
            ("", "datacenter cannot be empty"),
            ("DC One!", "datacenter cannot be \"dc one!\". Please use only [a-z0-9-_]"),
            ("a.b", "datacenter cannot be \"a.b\". Please use only [a-z0-9-_]"),
        ] {
            assert_eq!(datacenter(name).unwrap_err().to_string(), problem);
        }
    }

    #[test]
    fn names_that_dns_cannot_say_are_warned_of() {
        let mut warnings = Vec::new();
        assert_eq!(node_name(" n1 ", &mut warnings).unwrap(), "n1");
        assert!(warnings.is_empty());
        node_name("a b", &mut warnings).unwrap();
        node_name(&"x".repeat(64), &mut warnings).unwrap();
        assert!(warnings[0].0.contains("invalid characters") && warnings[1].0.contains("too long"));
        assert!(!node_name("", &mut warnings).unwrap().is_empty());
    }

    #[test]
    fn node_ids() {
        let id = "8C258007-15C9-E32C-F9BB-8C82174B630E";
        assert_eq!(node_id(id).unwrap().unwrap(), id.to_lowercase());
        assert_eq!(node_id("").unwrap(), None);
        for bad in ["x", "8c25800715c9e32cf9bb8c82174b630e", "8C258007-15C9-E32C-F9BB-8C82174B630G"] {
            assert!(node_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn node_metadata() {
        let problem = |key: &str, value: &str| {
            check_node_meta(&BTreeMap::from([(key.to_owned(), value.to_owned())])).err().map(|error| error.to_string())
        };
        assert_eq!(problem("a-b_C1", "any thing"), None);
        assert_eq!(
            problem("a b", "c").unwrap(),
            "node_meta invalid: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters"
        );
        assert!(problem("", "c").unwrap().ends_with("Key cannot be blank"));
        assert!(problem("consul-x", "c").unwrap().ends_with("reserved for internal use"));
        assert!(problem(&"k".repeat(129), "c").unwrap().contains("Key is too long"));
        assert!(problem("k", &"v".repeat(513)).unwrap().contains("Value is too long"));
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_node_meta(&many).is_err());
    }

    #[test]
    fn accounts_by_number_or_name() {
        let file = "root:x:0:0:root:/root:/bin/sh\nweb:x:1001:1002::/:/bin/false\nbroken\n";
        assert_eq!(account_id(file, "web"), Some(1001));
        assert_eq!(account_id(file, "broken"), None);
        assert_eq!(user("1234").unwrap(), Some(1234));
        assert!(user("no such user").unwrap_err().to_string().starts_with("unix_sockets.user"));
    }
}
