//! The keys of gossip: which one encrypts, which are understood, and how they are changed while everybody speaks.
//!
//! Rotation loses nothing: a new key is first understood everywhere (install), then used, and only then is the old one
//! removed. Changes are on disk before they are acknowledged.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey},
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::{Mutex, RwLock};

use crate::datadir;

/// What encryption adds to a message.
pub(super) const SEAL_BYTES: usize = NONCE_BYTES + 16;
const NONCE_BYTES: usize = 12;
/// Keys of one ring; every datagram that cannot be read is tried with each.
const KEYS_MAX: usize = 32;
/// Far more than so many keys need.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// The keys of one pool (16, 24 or 32 bytes each, AES-GCM). Shared; changes are kept in its file.
#[derive(Default)]
pub struct Keyring {
    /// The first one encrypts.
    keys: RwLock<Vec<Key>>,
    file: Option<PathBuf>,
    /// Held while keys are changed, which writes the file: others go on reading the keys meanwhile.
    changing: Mutex<()>,
}

#[derive(Clone)]
struct Key {
    text: String,
    cipher: Arc<LessSafeKey>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Not base64 of 16, 24 or 32 bytes.
    #[error("{0}")]
    Invalid(String),
    /// The file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Keyring {
    /// The keys in `file` (a JSON list of base64 texts, the first one encrypts), or, where there is none, `encrypt`
    /// alone, which is then kept in `file`. Neither: no encryption.
    pub fn load(encrypt: Option<&str>, file: Option<PathBuf>) -> Result<Self, KeyringError> {
        let encrypt = encrypt.map(Key::parse).transpose().map_err(KeyringError::Invalid)?;
        let kept = file.as_deref().map(read).transpose()?.flatten();
        let keyring = |keys| Self { keys: RwLock::new(keys), file: file.clone(), changing: Mutex::default() };
        match (kept, encrypt) {
            (Some(kept), encrypt) => {
                if encrypt.is_some_and(|key| kept.iter().all(|it| it.text != key.text)) {
                    tracing::warn!(
                        "`encrypt` is not among the keys kept on disk, which are used: it was changed after the ring was made"
                    );
                }
                Ok(keyring(kept))
            }
            (None, Some(key)) => {
                let keys = vec![key];
                let keyring = keyring(keys.clone());
                keyring.write(&keys).map_err(|error| keyring.unwritten(&error))?;
                Ok(keyring)
            }
            (None, None) => Ok(keyring(Vec::new())),
        }
    }

    /// Whether there is a key at all.
    pub fn is_encrypting(&self) -> bool {
        !self.keys.read().is_empty()
    }

    /// Does a key operation here; what to answer with.
    pub(super) fn apply(&self, operation: &KeyOperation) -> KeyAnswer {
        let (failed, message) = match self.change(operation) {
            Ok(()) => (false, String::new()),
            Err(message) => (true, message),
        };
        let keys: Vec<String> = self.keys.read().iter().map(|key| key.text.clone()).collect();
        let primary = keys.first().cloned().unwrap_or_default();
        KeyAnswer { failed, message, primary, keys }
    }

    fn change(&self, operation: &KeyOperation) -> Result<(), String> {
        let _changing = self.changing.lock();
        let mut keys = self.keys.read().clone();
        if keys.is_empty() {
            return Err(match operation {
                KeyOperation::List => "Keyring is empty (encryption not enabled)".to_owned(),
                _ => "No keyring to modify (encryption not enabled)".to_owned(),
            });
        }
        let position = |keys: &[Key], text: &str| keys.iter().position(|key| key.text == text);
        match operation {
            KeyOperation::List => return Ok(()),
            KeyOperation::Install(text) => {
                let key = Key::parse(text)?;
                if position(&keys, &key.text).is_some() {
                    return Ok(());
                }
                if keys.len() >= KEYS_MAX {
                    return Err(format!("the keyring is full: it holds {KEYS_MAX} keys"));
                }
                keys.push(key);
            }
            KeyOperation::Use(text) => match position(&keys, text) {
                None => return Err("Requested key is not in the keyring".to_owned()),
                Some(0) => return Ok(()),
                Some(position) => {
                    let key = keys.remove(position);
                    keys.insert(0, key);
                }
            },
            KeyOperation::Remove(text) => match position(&keys, text) {
                None => return Ok(()),
                Some(0) => return Err("Removing the primary key is not allowed".to_owned()),
                Some(position) => {
                    keys.remove(position);
                }
            },
        }
        self.write(&keys).map_err(|error| self.unwritten(&error).to_string())?;
        *self.keys.write() = keys;
        Ok(())
    }

    /// Encrypts with the first key: nonce, then ciphertext and tag. `None` without keys.
    pub(super) fn seal(&self, context: &[u8], mut text: Vec<u8>) -> Option<Vec<u8>> {
        let cipher = self.keys.read().first()?.cipher.clone();
        // Drawn at random: 2^32 messages may be encrypted with one key before a repetition is to be feared, which at ten
        // a second from each of a hundred members is seven weeks. It takes a rotation, as in Consul, to go beyond.
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(SEAL_BYTES + text.len());
        sealed.extend_from_slice(&nonce);
        // Only texts of more than 64 GiB cannot be encrypted; frames are limited to far less.
        let nonce = Nonce::assume_unique_for_key(nonce);
        cipher.seal_in_place_append_tag(nonce, Aad::from(context), &mut text).ok()?;
        sealed.append(&mut text);
        Some(sealed)
    }

    /// Decrypts with whichever key fits.
    pub(super) fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_BYTES)?;
        let ciphers: Vec<_> = self.keys.read().iter().map(|key| key.cipher.clone()).collect();
        ciphers.into_iter().find_map(|cipher| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut text = text.to_vec();
            let length = cipher.open_in_place(nonce, Aad::from(context), &mut text).ok()?.len();
            text.truncate(length);
            Some(text)
        })
    }

    fn write(&self, keys: &[Key]) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let texts: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
        datadir::write_atomically(path, &serde_json::to_vec_pretty(&texts)?)
    }

    fn unwritten(&self, error: &io::Error) -> KeyringError {
        KeyringError::File {
            path: self.file.clone().unwrap_or_default(),
            reason: format!("cannot be written: {error}"),
        }
    }
}

/// Keys are not shown.
impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keyring").field("keys", &self.keys.read().len()).field("file", &self.file).finish()
    }
}

impl Key {
    fn parse(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("Error decoding key: {error}"))?;
        let algorithm: &Algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return Err("key size must be 16, 24 or 32 bytes".to_owned()),
        };
        let key = UnboundKey::new(algorithm, &bytes).map_err(|_| "the key cannot be used".to_owned())?;
        // One text for one key, however it was written.
        Ok(Self { text: STANDARD.encode(&bytes), cipher: Arc::new(LessSafeKey::new(key)) })
    }
}

fn read(path: &Path) -> Result<Option<Vec<Key>>, KeyringError> {
    let wrong = |reason: String| KeyringError::File { path: path.to_owned(), reason };
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    if length > FILE_MAX_BYTES {
        return Err(wrong(format!("is not a key ring: it has {length} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let texts: Vec<String> =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is not a JSON list of keys: {error}")))?;
    if texts.is_empty() || texts.len() > KEYS_MAX {
        return Err(wrong(format!("holds {} keys: it must hold 1 to {KEYS_MAX}", texts.len())));
    }
    let keys = texts
        .iter()
        .enumerate()
        .map(|(position, text)| Key::parse(text).map_err(|reason| wrong(format!("key {}: {reason}", position + 1))));
    keys.collect::<Result<_, _>>().map(Some)
}

/// What is to be done with the keys, everywhere. Keys are base64 texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOperation {
    /// Say which there are.
    List,
    /// Understand a further key.
    Install(String),
    /// Encrypt with a key that is understood.
    Use(String),
    /// Forget a key, which must not be the one that encrypts.
    Remove(String),
}

/// How a key operation went at one member, and the keys it has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyAnswer {
    pub(super) failed: bool,
    pub(super) message: String,
    pub(super) primary: String,
    pub(super) keys: Vec<String>,
}

/// How a key operation went in one pool (Consul's `/v1/operator/keyring`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Errors and answers by member name; empty where there was no error.
    pub messages: BTreeMap<String, String>,
    /// How many members have each key.
    pub keys: BTreeMap<String, usize>,
    /// How many members encrypt with each key.
    pub primary_keys: BTreeMap<String, usize>,
    /// How many members there are.
    pub nodes: usize,
    /// How many of them did not do it.
    pub errors: usize,
}

impl KeyReport {
    /// Counts one member's answer, or why there is none.
    pub(super) fn count(&mut self, name: &str, answer: Result<KeyAnswer, String>) {
        self.nodes += 1;
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => KeyAnswer { failed: true, message: reason, ..KeyAnswer::default() },
        };
        self.errors += usize::from(answer.failed);
        if !answer.message.is_empty() {
            self.messages.insert(name.to_owned(), answer.message);
        }
        if answer.failed {
            return;
        }
        *self.primary_keys.entry(answer.primary).or_default() += 1;
        for key in answer.keys {
            *self.keys.entry(key).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAECAwQFBgcICQoLDA0ODw==";
    const B: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn ring(encrypt: &str) -> Keyring {
        Keyring::load(Some(encrypt), None).unwrap()
    }

    #[test]
    fn keys_have_16_24_or_32_bytes() {
        for bytes in [16, 24, 32] {
            assert!(Keyring::load(Some(&STANDARD.encode(vec![7u8; bytes])), None).unwrap().is_encrypting());
        }
        for wrong in [STANDARD.encode([7u8; 20]), "no base64!".to_owned(), String::new()] {
            assert!(matches!(Keyring::load(Some(&wrong), None), Err(KeyringError::Invalid(_))), "{wrong}");
        }
        assert!(!Keyring::load(None, None).unwrap().is_encrypting());
    }

    #[test]
    fn only_the_same_key_in_the_same_context_opens() {
        let (ring, other) = (ring(A), ring(B));
        let sealed = ring.seal(b"context", b"text".to_vec()).unwrap();
        assert_eq!(sealed.len(), 4 + SEAL_BYTES);
        assert_eq!(ring.open(b"context", &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(ring.open(b"another", &sealed), None);
        assert_eq!(other.open(b"context", &sealed), None);
        assert_eq!(ring.open(b"context", &sealed[..10]), None);
        assert_ne!(ring.seal(b"context", b"text".to_vec()).unwrap(), sealed, "a nonce is used once");
        assert_eq!(Keyring::default().seal(b"", Vec::new()), None);
    }

    #[test]
    fn a_rotation_loses_nothing() {
        let (one, two) = (ring(A), ring(A));
        let heard = |from: &Keyring, to: &Keyring| to.open(b"", &from.seal(b"", b"x".to_vec()).unwrap()).is_some();
        let steps = [KeyOperation::Install(B.into()), KeyOperation::Use(B.into()), KeyOperation::Remove(A.into())];
        for operation in &steps {
            for ring in [&one, &two] {
                assert!(!ring.apply(operation).failed);
                assert!(heard(&one, &two) && heard(&two, &one), "{operation:?}");
            }
        }
        assert_eq!(one.apply(&KeyOperation::List).keys, [B]);
    }

    #[test]
    fn what_cannot_be_done_is_said_as_consul_says_it() {
        let failed = |ring: &Keyring, operation| {
            let answer = ring.apply(&operation);
            assert!(answer.failed);
            answer.message
        };
        assert_eq!(failed(&ring(A), KeyOperation::Use(B.into())), "Requested key is not in the keyring");
        assert_eq!(failed(&ring(A), KeyOperation::Remove(A.into())), "Removing the primary key is not allowed");
        assert_eq!(failed(&ring(A), KeyOperation::Install("AAAA".into())), "key size must be 16, 24 or 32 bytes");
        assert_eq!(failed(&Keyring::default(), KeyOperation::List), "Keyring is empty (encryption not enabled)");
        assert_eq!(
            failed(&Keyring::default(), KeyOperation::Install(A.into())),
            "No keyring to modify (encryption not enabled)"
        );
    }

    #[test]
    fn the_file_outlives_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serf/local.keyring");
        let load = |encrypt: Option<&str>| Keyring::load(encrypt, Some(file.clone()));
        assert!(!load(None).unwrap().is_encrypting());
        let ring = load(Some(A)).unwrap();
        assert!(!ring.apply(&KeyOperation::Install(B.into())).failed);
        assert!(!ring.apply(&KeyOperation::Use(B.into())).failed);
        let kept = load(Some(A)).unwrap().apply(&KeyOperation::List);
        assert_eq!((kept.primary.as_str(), kept.keys.as_slice()), (B, &[B.to_owned(), A.to_owned()][..]));
        for torn in ["", "[", "[]", "{}", "[\"AAAA\"]", "[1]"] {
            fs::write(&file, torn).unwrap();
            assert!(matches!(load(Some(A)), Err(KeyringError::File { .. })), "{torn}");
        }
    }

    #[test]
    fn a_report_counts_members_and_errors() {
        let mut report = KeyReport::default();
        report.count("n1", Ok(ring(A).apply(&KeyOperation::List)));
        report.count("n2", Ok(ring(A).apply(&KeyOperation::Use(B.into()))));
        report.count("n3", Err("no answer".to_owned()));
        assert_eq!((report.nodes, report.errors), (3, 2));
        assert_eq!(report.keys, [(A.to_owned(), 1)].into());
        assert_eq!(report.messages.keys().collect::<Vec<_>>(), ["n2", "n3"]);
    }
}
