//! Recovery from a lost quorum: an operator says in a file which servers are the cluster from now on.
//!
//! `peers.json` beside the log, in Consul's format, is read at a start. What this server has (snapshot and log, committed
//! or not) becomes a snapshot whose configuration names exactly those servers, the log before it goes, and the file is
//! renamed to `peers.json.applied`. Every server that is to go on gets the same file while all are stopped. A file that
//! is not understood stops the start before anything is written; one that was interrupted is done again from the
//! beginning, with the same result. `peers.info` explains it to whoever looks for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use openraft::EntryPayload;
use serde::Deserialize;
use serde_json::Value;

use super::{
    StartError, codec,
    directory::sync_directory,
    disk::{Batch, Disk, Recovered},
    founding::keep,
    snapshot::Snapshots,
    types::{Membership, Server, SnapshotMeta, StoredMembership},
};
use crate::catalog::{Changes, State};

/// Entries read at once.
const STEP: u64 = 1024;
/// The largest file that is read.
const LARGEST: u64 = 1024 * 1024;

const INFO: &str = r#"This file only explains; nothing reads it.

When so many servers are lost for good that those left cannot elect a leader, the
servers that are to go on can be named by hand:

1. Stop all servers.
2. Put the same file "peers.json" beside this one on every server that is to go on:

   [
     {"id": "11111111-2222-3333-4444-555555555555", "address": "10.1.0.1:8300", "non_voter": false},
     {"id": "4611686018427387904", "address": "10.1.0.2:8300"}
   ]

   "id" is the server's node id (the file "node-id" in its data directory), or its
   Raft id, a number ("operator raft list-peers" and the log at the start tell it);
   a server this one has never known needs the number. "address" is the address and
   port of its server port. "non_voter" may be left out.
3. Start them. The file is renamed to "peers.json.applied" when that is done.

Everything this server has is kept, also what was perhaps never acknowledged. What
only lost servers had is lost. Servers that are not named must not be started again
with their old data.
"#;

/// One server as the file names it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
    address: String,
    #[serde(default)]
    non_voter: bool,
}

/// What an operator wants.
#[derive(Debug)]
pub(super) struct Wanted(Vec<Named>);

/// Writes the explanation, where it is missing.
pub(super) fn explain(path: &Path) -> Result<(), StartError> {
    let explained = path.try_exists().and_then(|is_there| match is_there {
        true => Ok(()),
        false => keep(path, INFO.as_bytes()),
    });
    explained.map_err(|error| StartError::io(path, error))
}

/// What the file says, if it is there. Nothing else is looked at.
pub(super) fn wanted(path: &Path) -> Result<Option<Wanted>, StartError> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::io(path, error)),
    };
    if length > LARGEST {
        return Err(StartError::damaged(path, format!("is larger than {LARGEST} bytes: it is no list of servers")));
    }
    let bytes = fs::read(path).map_err(|error| StartError::io(path, error))?;
    let named = parse(&bytes).map_err(|reason| StartError::damaged(path, reason))?;
    Ok(Some(Wanted(named)))
}

fn parse(bytes: &[u8]) -> Result<Vec<Named>, String> {
    let entries: Vec<Value> =
        serde_json::from_slice(bytes).map_err(|error| format!("is no JSON list of servers: {error}"))?;
    let mut named: Vec<Named> = Vec::new();
    for (position, entry) in entries.into_iter().enumerate() {
        let number = position + 1;
        let server: Named = serde_json::from_value(entry).map_err(|error| format!("server {number}: {error}"))?;
        if server.id.is_empty() {
            return Err(format!("server {number}: id: is empty"));
        }
        if server.address.parse::<std::net::SocketAddr>().is_err() {
            return Err(format!("server {number}: address: {:?} is no address and port", server.address));
        }
        if named.iter().any(|other| other.address == server.address) {
            return Err(format!("server {number}: address: {} is there twice", server.address));
        }
        named.push(server);
    }
    match named.iter().any(|server| !server.non_voter) {
        true => Ok(named),
        false => Err("names no server that votes".to_owned()),
    }
}

/// What is there before, and after.
pub(super) struct Material<'a> {
    pub(super) disk: &'a mut Disk,
    pub(super) recovered: Recovered,
    pub(super) restored: Option<(SnapshotMeta, State)>,
    pub(super) snapshots: &'a Snapshots,
}

/// Makes the wanted servers the configuration; what it returns is what consensus begins from.
pub(super) fn apply(
    path: &Path,
    wanted: &Wanted,
    own_node_id: &str,
    material: Material<'_>,
) -> Result<(Recovered, Option<(SnapshotMeta, State)>), StartError> {
    let Material { disk, recovered, restored, snapshots } = material;
    let (meta, mut state) = restored.unwrap_or_default();
    let Some(last) = recovered.last.max(meta.last_log_id) else {
        let reason = "there is nothing to recover: this server has never been part of a cluster";
        return Err(StartError::damaged(path, reason));
    };
    let mut known = BTreeMap::new();
    learn(&mut known, meta.last_membership.membership());
    let first = meta.last_log_id.map_or(0, |last| last.index + 1);
    replay(disk, first..last.index.saturating_add(1), &mut state, &mut known)?;

    let membership =
        resolve(wanted, &known, own_node_id, disk.raft_id()).map_err(|reason| StartError::damaged(path, reason))?;
    tracing::warn!(target: "agent.server.raft", "{}: the configuration becomes {membership}", path.display());
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::new(Some(last), membership) };
    snapshots.keep(&meta, state.clone()).map_err(|error| StartError::io(path, error))?;
    let batch = Batch { committed: Some(last), purge: Some(last), ..Batch::default() };
    disk.commit(batch).map_err(|error| StartError::io(path, error))?;
    let done = fs::rename(path, path.with_extension("json.applied"))
        .and_then(|()| path.parent().map_or(Ok(()), sync_directory));
    done.map_err(|error| StartError::io(path, error))?;
    let recovered = Recovered {
        vote: recovered.vote,
        committed: Some(last),
        purged: Some(last),
        last: Some(last),
        ..Recovered::default()
    };
    Ok((recovered, Some((meta, state))))
}

/// Applies the entries behind the snapshot, and notes every server they name.
fn replay(
    disk: &Disk,
    range: std::ops::Range<u64>,
    state: &mut State,
    known: &mut BTreeMap<u64, Server>,
) -> Result<(), StartError> {
    let reader = disk.reader();
    let stopped = |error: io::Error| StartError::Stopped(error.to_string());
    let mut start = range.start;
    while start < range.end {
        let end = start.saturating_add(STEP).min(range.end);
        for (index, record) in reader.read(start..end).map_err(stopped)? {
            let entry = codec::decode_entry(index, &record).map_err(|error| stopped(error.into()))?;
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(proposal) => {
                    // What the catalog refused then it refuses now.
                    let _ = state.apply(index, proposal.into_command(), &mut Changes::default());
                }
                EntryPayload::Membership(membership) => learn(known, &membership),
            }
        }
        start = end;
    }
    Ok(())
}

fn learn(known: &mut BTreeMap<u64, Server>, membership: &Membership) {
    known.extend(membership.nodes().map(|(id, server)| (*id, server.clone())));
}

/// The configuration that is wanted, with Raft ids.
fn resolve(
    wanted: &Wanted,
    known: &BTreeMap<u64, Server>,
    own_node_id: &str,
    own_raft_id: u64,
) -> Result<Membership, String> {
    let (mut servers, mut voters) = (BTreeMap::new(), BTreeSet::new());
    for (position, named) in wanted.0.iter().enumerate() {
        let number = position + 1;
        let raft_id = match named.id.parse::<u64>() {
            Ok(raft_id) => raft_id,
            Err(_) if named.id.eq_ignore_ascii_case(own_node_id) => own_raft_id,
            Err(_) => newest_of(known, &named.id).ok_or_else(|| {
                format!(
                    "server {number}: id: {} is not known here, or not as one server; give its Raft id, a number",
                    named.id
                )
            })?,
        };
        let known = known.get(&raft_id).cloned().unwrap_or_default();
        let server = Server { address: named.address.clone(), ..known };
        if servers.insert(raft_id, server).is_some() {
            return Err(format!("server {number}: id: {} is there twice", named.id));
        }
        if !named.non_voter {
            voters.insert(raft_id);
        }
    }
    if !servers.contains_key(&own_raft_id) {
        return Err(format!("does not name this server, whose id is {own_node_id} (Raft id {own_raft_id})"));
    }
    Membership::new(vec![voters], servers).map_err(|error| error.to_string())
}

/// A server that was wiped has been part of the cluster under more than one Raft id: one of them, as far as it is the
/// only one.
fn newest_of(known: &BTreeMap<u64, Server>, node_id: &str) -> Option<u64> {
    let mut ids = known.iter().filter(|(_, server)| server.node_id.eq_ignore_ascii_case(node_id)).map(|(id, _)| *id);
    ids.next().filter(|_| ids.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_told_by_server_and_field() {
        for (text, expected) in [
            ("{", "is no JSON list of servers"),
            ("{}", "is no JSON list of servers"),
            ("[]", "names no server that votes"),
            (r#"["10.1.0.1:8300"]"#, "server 1: invalid type"),
            (r#"[{"id": "a"}]"#, "server 1: missing field `address`"),
            (r#"[{"id": "", "address": "10.1.0.1:1"}]"#, "server 1: id: is empty"),
            (r#"[{"id": "a", "address": "nonsense"}]"#, r#"server 1: address: "nonsense" is no address and port"#),
            (r#"[{"id": "a", "address": "10.1.0.1:1", "voter": true}]"#, "server 1: unknown field `voter`"),
            (r#"[{"id": "a", "address": "10.1.0.1:1", "non_voter": true}]"#, "names no server that votes"),
            (
                r#"[{"id": "a", "address": "10.1.0.1:1"}, {"id": "b", "address": "10.1.0.1:1"}]"#,
                "server 2: address: 10.1.0.1:1 is there twice",
            ),
        ] {
            let reason = parse(text.as_bytes()).unwrap_err();
            assert!(reason.starts_with(expected), "{text}: {reason}");
        }
    }

    #[test]
    fn servers_are_named_by_node_or_raft_id() {
        let server = |node_id: &str| Server { node_id: node_id.to_owned(), ..Server::default() };
        let known =
            BTreeMap::from([(1, server("own")), (2, server("other")), (3, server("twice")), (4, server("TWICE"))]);
        let of = |ids: &[&str]| {
            let named = ids.iter().zip(1..).map(|(id, port)| Named {
                id: (*id).to_owned(),
                address: format!("10.0.0.1:{port}"),
                non_voter: port > 2,
            });
            resolve(&Wanted(named.collect()), &known, "own", 1)
        };
        let membership = of(&["OWN", "2", "77"]).unwrap();
        assert_eq!(membership.voter_ids().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(membership.get_node(&2).unwrap(), &Server { address: "10.0.0.1:2".to_owned(), ..server("other") });
        assert_eq!(membership.get_node(&77).unwrap().address, "10.0.0.1:3");
        for (ids, expected) in [
            (&["own", "nobody"][..], "server 2: id: nobody is not known here"),
            (&["own", "twice"][..], "server 2: id: twice is not known here"),
            (&["own", "1"][..], "server 2: id: 1 is there twice"),
            (&["2"][..], "does not name this server, whose id is own (Raft id 1)"),
        ] {
            let reason = of(ids).unwrap_err();
            assert!(reason.starts_with(expected), "{ids:?}: {reason}");
        }
    }
}
