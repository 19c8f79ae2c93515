//! The keys of gossip: which one encrypts, which are understood, and how they are changed while everybody speaks.

use std::{collections::BTreeMap, path::PathBuf};

/// The keys of one pool (16, 24 or 32 bytes each, AES-GCM). Shared; changes are kept in its file.
#[derive(Debug, Default)]
pub struct Keyring {}

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
    pub fn load(_encrypt: Option<&str>, _file: Option<PathBuf>) -> Result<Self, KeyringError> {
        todo!()
    }

    /// Whether there is a key at all.
    pub fn is_encrypting(&self) -> bool {
        todo!()
    }
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
