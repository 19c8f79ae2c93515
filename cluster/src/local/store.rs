//! Registrations on disk: one file each, under `services/` and `checks/` of the data directory, named by the SHA-256 of
//! the folded id.
//!
//! A file is a line `usher <what> <version> <crc32 of the rest>` and JSON. A file that is not whole is an error that
//! names it: starting without a registration that was acknowledged would be worse than not starting.
//!
//! A batch of changes is made so that a crash at any moment leaves every service with the checks it was acknowledged
//! with: all bytes are on disk beside their files first, then checks appear, then services; services go before checks.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    build,
    records::{FileChange, StoredCheck, StoredService},
};
use crate::datadir::{DataDirError, Staged, create_directory, is_temporary, refused, sync_directory};

/// The version of the files' form. A file of another is refused.
const VERSION: u32 = 1;
/// The largest file read. A registration by HTTP is far smaller; anything larger is not ours.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The directories the files live in.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    services: PathBuf,
    checks: PathBuf,
}

/// What was kept.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) services: Vec<StoredService>,
    pub(crate) checks: Vec<StoredCheck>,
}

impl Store {
    /// Opens the directories, making those that are not there.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, DataDirError> {
        let store = Self { services: data_dir.join("services"), checks: data_dir.join("checks") };
        for directory in [&store.services, &store.checks] {
            create_directory(directory).map_err(|source| refused(directory, source.to_string()))?;
        }
        sync_directory(data_dir).map_err(|source| refused(data_dir, source.to_string()))?;
        Ok(store)
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> Result<Restored, DataDirError> {
        let services = load_directory(&self.services, "service", |stored: &StoredService| {
            build::service_id(&stored.definition).to_owned()
        })?;
        let checks = load_directory(&self.checks, "check", |stored: &StoredCheck| stored.spec.id.clone())?;
        Ok(Restored { services, checks })
    }

    /// Makes a batch of changes durable. Of several for one file the last is meant. When this fails before the first file
    /// appears (a full disk), nothing has changed.
    pub(crate) fn commit(&self, changes: Vec<FileChange>) -> io::Result<()> {
        let mut services = BTreeMap::new();
        let mut checks = BTreeMap::new();
        for change in changes {
            match change {
                FileChange::WriteService(key, stored) => {
                    services.insert(name_of(&key), Some(encode("service", &*stored)?))
                }
                FileChange::RemoveService(key) => services.insert(name_of(&key), None),
                FileChange::WriteCheck(key, stored) => checks.insert(name_of(&key), Some(encode("check", &*stored)?)),
                FileChange::RemoveCheck(key) => checks.insert(name_of(&key), None),
            };
        }
        let new_checks = stage(&self.checks, &checks)?;
        let new_services = stage(&self.services, &services)?;
        for staged in new_checks.iter().chain(&new_services) {
            staged.sync()?;
        }
        publish(&self.checks, new_checks)?;
        publish(&self.services, new_services)?;
        remove(&self.services, &services)?;
        remove(&self.checks, &checks)
    }
}

/// Writes what is to be written, beside the files.
fn stage(directory: &Path, files: &BTreeMap<String, Option<Vec<u8>>>) -> io::Result<Vec<Staged>> {
    let written = files.iter().filter_map(|(name, bytes)| Some((name, bytes.as_ref()?)));
    written.map(|(name, bytes)| Staged::write(&directory.join(name), bytes)).collect()
}

fn publish(directory: &Path, all: Vec<Staged>) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    for staged in all {
        staged.publish()?;
    }
    sync_directory(directory)
}

fn remove(directory: &Path, files: &BTreeMap<String, Option<Vec<u8>>>) -> io::Result<()> {
    let mut removed = false;
    for (name, _) in files.iter().filter(|(_, bytes)| bytes.is_none()) {
        match fs::remove_file(directory.join(name)) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if removed { sync_directory(directory) } else { Ok(()) }
}

fn load_directory<T: DeserializeOwned>(
    directory: &Path,
    what: &str,
    id_of: impl Fn(&T) -> String,
) -> Result<Vec<T>, DataDirError> {
    let mut all = Vec::new();
    let entries = fs::read_dir(directory).map_err(|source| refused(directory, source.to_string()))?;
    for entry in entries {
        let path = entry.map_err(|source| refused(directory, source.to_string()))?.path();
        if is_temporary(&path) {
            fs::remove_file(&path).map_err(|source| refused(&path, source.to_string()))?;
            continue;
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name)) else {
            tracing::warn!(target: "agent", path = %path.display(), "File is no registration, it is left alone");
            continue;
        };
        let stored: T = load_file(&path, what).map_err(|reason| refused(&path, reason))?;
        if name_of(&build::fold(&id_of(&stored))) != name {
            return Err(refused(&path, format!("not the file of the {what} \"{}\" it holds", id_of(&stored))));
        }
        all.push(stored);
    }
    Ok(all)
}

fn load_file<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, String> {
    let size = fs::metadata(path).map_err(|source| source.to_string())?.len();
    if size > FILE_MAX_BYTES {
        return Err(format!("corrupt: {size} bytes are too many"));
    }
    decode(what, &fs::read(path).map_err(|source| source.to_string())?)
}

fn name_of(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn encode<T: Serialize>(what: &str, stored: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(stored)?;
    let mut bytes = format!("usher {what} {VERSION} {:08x}\n", crc32fast::hash(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, String> {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (head, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let head = std::str::from_utf8(head).map_err(|_| "corrupt: its first line is no text".to_owned())?;
    let words: Vec<&str> = head.split(' ').collect();
    let &["usher", kind, version, checksum] = words.as_slice() else {
        return Err("corrupt: its first line is not ours".to_owned());
    };
    if kind != what {
        return Err(format!("holds a {kind}, not a {what}"));
    }
    if version != VERSION.to_string() {
        return Err(format!("of version {version}, this program knows {VERSION}"));
    }
    if checksum != format!("{:08x}", crc32fast::hash(body)) {
        return Err("corrupt: its checksum differs".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| format!("corrupt: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::definition::{CheckSpec, ServiceDefinition};

    fn service(id: &str) -> FileChange {
        let definition =
            ServiceDefinition { id: id.to_owned(), name: "web".to_owned(), ..ServiceDefinition::default() };
        FileChange::WriteService(build::fold(id), Box::new(StoredService { definition }))
    }

    fn check(id: &str) -> FileChange {
        let spec = CheckSpec { id: id.to_owned(), name: "c".to_owned(), ..CheckSpec::default() };
        FileChange::WriteCheck(build::fold(id), Box::new(StoredCheck { spec, ..StoredCheck::default() }))
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    fn ids(store: &Store) -> (Vec<String>, Vec<String>) {
        let restored = Store::load(store).unwrap();
        let mut services: Vec<_> = restored.services.into_iter().map(|it| it.definition.id).collect();
        let mut checks: Vec<_> = restored.checks.into_iter().map(|it| it.spec.id).collect();
        services.sort();
        checks.sort();
        (services, checks)
    }

    fn only_file(store: &Store) -> PathBuf {
        fs::read_dir(&store.services).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn what_was_committed_is_loaded() {
        let (_directory, store) = store();
        store.commit(vec![service("a/b"), service("W2"), check("c1"), check("c2")]).unwrap();
        store
            .commit(vec![FileChange::RemoveService("w2".to_owned()), FileChange::RemoveCheck("c1".to_owned())])
            .unwrap();
        store.commit(vec![FileChange::RemoveService("never".to_owned())]).unwrap();
        assert_eq!(ids(&store), (vec!["a/b".to_owned()], vec!["c2".to_owned()]));
    }

    #[test]
    fn the_last_change_of_a_file_is_meant() {
        let (_directory, store) = store();
        store.commit(vec![service("a"), FileChange::RemoveService("a".to_owned())]).unwrap();
        store.commit(vec![FileChange::RemoveCheck("c".to_owned()), check("c")]).unwrap();
        assert_eq!(ids(&store), (vec![], vec!["c".to_owned()]));
    }

    #[test]
    fn a_damaged_file_is_refused_by_name_and_left_as_it_is() {
        let (_directory, store) = store();
        store.commit(vec![service("a")]).unwrap();
        let path = only_file(&store);
        let whole = fs::read(&path).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let cases: [(Vec<u8>, &str); 6] = [
            (Vec::new(), "first line is not ours"),
            (whole[..whole.len() - 1].to_vec(), "checksum differs"),
            (flipped, "checksum differs"),
            (b"{\"Service\":{}}".to_vec(), "first line is not ours"),
            (text.replace("service 1 ", "service 2 ").into_bytes(), "of version 2"),
            (text.replace("service 1 ", "check 1 ").into_bytes(), "holds a check"),
        ];
        for (bytes, expected) in cases {
            fs::write(&path, &bytes).unwrap();
            let error = Store::load(&store).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && error.contains(expected), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn a_file_under_another_name_is_refused() {
        let (_directory, store) = store();
        store.commit(vec![service("a")]).unwrap();
        fs::rename(only_file(&store), store.services.join(name_of("b"))).unwrap();
        assert!(Store::load(&store).unwrap_err().to_string().contains("not the file of the service \"a\""));
    }

    #[test]
    fn what_a_crash_left_half_written_is_cleared_and_what_is_not_ours_is_left() {
        let (_directory, store) = store();
        let half = store.services.join(format!("{}.tmp", name_of("a")));
        let other = store.services.join("notes.txt");
        fs::write(&half, "half").unwrap();
        fs::write(&other, "mine").unwrap();
        assert_eq!(ids(&store), (vec![], vec![]));
        assert!(!half.exists());
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    }

    #[test]
    fn a_batch_that_cannot_be_written_changes_nothing() {
        let (_directory, store) = store();
        store.commit(vec![service("a"), check("c")]).unwrap();
        // A directory in the way of the second temporary file: the first was written already.
        fs::create_dir(store.services.join(format!("{}.tmp", name_of("b")))).unwrap();
        let refused = store.commit(vec![check("d"), service("b"), FileChange::RemoveService("a".to_owned())]);
        assert!(refused.is_err());
        fs::remove_dir(store.services.join(format!("{}.tmp", name_of("b")))).unwrap();
        assert_eq!(ids(&store), (vec!["a".to_owned()], vec!["c".to_owned()]));
        assert_eq!(fs::read_dir(&store.checks).unwrap().count(), 1);
    }
}
