//! Whom this member knew, on disk, so that it finds them again after a restart without being told.
//!
//! Nothing depends on it: a file that is missing or torn costs the rejoining, and is replaced.

use std::{fs, net::SocketAddr, path::Path};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::table::is_active;
use crate::{
    datadir,
    membership::{Member, MemberStatus},
};

/// Kept at most; any one of them suffices.
const MEMBERS_MAX: usize = 256;
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Snapshot {
    /// When this process started (see [`super::identity::Identity`]): the next one starts later, whatever its clock says.
    pub(super) started: u64,
    /// Whether it left on its own accord.
    pub(super) left: bool,
    /// Where the others were.
    pub(super) members: Vec<SocketAddr>,
}

impl Snapshot {
    pub(super) fn of(started: u64, own: SocketAddr, members: &[Member]) -> Self {
        let address = |member: &Member| SocketAddr::new(member.address, member.port);
        Self {
            started,
            left: members.iter().any(|it| address(it) == own && it.status == MemberStatus::Left),
            members: members
                .iter()
                .filter(|it| is_active(it.status) || it.status == MemberStatus::Failed)
                .map(address)
                .filter(|it| *it != own)
                .take(MEMBERS_MAX)
                .collect(),
        }
    }

    pub(super) fn read(path: &Path) -> Self {
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::default(),
            Ok(metadata) if metadata.len() > FILE_MAX_BYTES => {
                warn!(path = %path.display(), "the list of known members is too long and is not used");
                return Self::default();
            }
            _ => {}
        }
        let read = fs::read(path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        read.unwrap_or_else(|error| {
            warn!(path = %path.display(), %error, "the list of known members cannot be read and is not used");
            Self::default()
        })
    }

    pub(super) fn write(&self, path: &Path) {
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            let bytes = serde_json::to_vec(self)?;
            datadir::write_atomically(path, &bytes)
        });
        if let Err(error) = written {
            warn!(path = %path.display(), %error, "the list of known members cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(last: u8, status: MemberStatus) -> Member {
        let address = std::net::IpAddr::from([10, 0, 0, last]);
        Member { name: format!("n{last}"), address, port: 8301, tags: Default::default(), status }
    }

    #[test]
    fn those_who_may_be_there_are_kept() {
        let own = SocketAddr::from(([10, 0, 0, 1], 8301));
        let mut members = vec![
            member(1, MemberStatus::Alive),
            member(2, MemberStatus::Alive),
            member(3, MemberStatus::Failed),
            member(4, MemberStatus::Left),
        ];
        let snapshot = Snapshot::of(5, own, &members);
        assert_eq!(snapshot.members.iter().map(|it| it.ip().to_string()).collect::<Vec<_>>(), ["10.0.0.2", "10.0.0.3"]);
        assert!(!snapshot.left);
        members[0].status = MemberStatus::Left;
        assert!(Snapshot::of(5, own, &members).left);
    }

    #[test]
    fn a_torn_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serf/local.snapshot");
        assert_eq!(Snapshot::read(&path), Snapshot::default());
        let snapshot = Snapshot { started: 7, left: true, members: vec!["10.0.0.2:8301".parse().unwrap()] };
        snapshot.write(&path);
        assert_eq!(Snapshot::read(&path), snapshot);
        fs::write(&path, &fs::read(&path).unwrap()[..10]).unwrap();
        assert_eq!(Snapshot::read(&path), Snapshot::default());
        snapshot.write(&path);
        assert_eq!(Snapshot::read(&path), snapshot);
    }
}
