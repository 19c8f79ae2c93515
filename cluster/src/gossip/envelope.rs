//! What every datagram and every frame is wrapped in: version, cluster, and encryption where there are keys.
//!
//! ```text
//!   0x55 | version | flags | cluster (4) | payload                       in the clear
//!   0x55 | version | flags | cluster (4) | nonce (12), ciphertext, tag   encrypted; the head is authenticated
//! ```
//!
//! Whatever does not belong here is told apart, so that it can be said why.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    Pool,
    keyring::{Keyring, SEAL_BYTES},
};

const MAGIC: u8 = 0x55;
/// The version of gossip: datagrams and exchanges. Others are refused.
const VERSION: u8 = 1;
const ENCRYPTED: u8 = 1;
const REFUSAL: u8 = 2;
pub(super) const HEAD_BYTES: usize = 7;
/// What the envelope takes of a datagram, whether there are keys now or later.
pub(super) const OVERHEAD: usize = HEAD_BYTES + SEAL_BYTES;

/// Wraps and unwraps what members of one cluster say to each other.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    cluster: [u8; 4],
    keyring: Arc<Keyring>,
}

/// What is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) payload: Vec<u8>,
    pub(super) encrypted: bool,
    /// The payload is a text, in the clear, that says why what was sent is refused.
    pub(super) refusal: bool,
}

/// Why it does not belong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum Stranger {
    /// Not gossip at all.
    #[error("it is not gossip")]
    Garbage,
    /// Another version.
    #[error("it is gossip of version {0}, and version 1 is spoken here")]
    Version(u8),
    /// Another cluster.
    #[error("it comes from another cluster")]
    Cluster,
    /// In the clear where there are keys.
    #[error("it is not encrypted, and gossip is encrypted here: the key is missing there")]
    Clear,
    /// Encrypted where there are no keys.
    #[error("it is encrypted, and gossip is not encrypted here: the key is missing here")]
    Encrypted,
    /// Encrypted with another key.
    #[error("it is encrypted with a key that is not known here")]
    Key,
}

impl Envelope {
    pub(super) fn new(cluster: &str, keyring: Arc<Keyring>) -> Self {
        let digest: [u8; 32] = Sha256::digest(cluster.as_bytes()).into();
        let [a, b, c, d, ..] = digest;
        Self { cluster: [a, b, c, d], keyring }
    }

    pub(super) fn seal(&self, payload: Vec<u8>) -> Vec<u8> {
        if !self.keyring.is_encrypting() {
            return [&self.head(0)[..], &payload].concat();
        }
        let head = self.head(ENCRYPTED);
        // There is a key and there will be: the last one cannot be removed.
        let sealed = self.keyring.seal(&head, payload).unwrap_or_default();
        [&head[..], &sealed].concat()
    }

    /// Says in the clear, since there may be no common key, why something is refused.
    pub(super) fn refuse(&self, reason: &str) -> Vec<u8> {
        [&self.head(REFUSAL)[..], reason.as_bytes()].concat()
    }

    pub(super) fn open(&self, bytes: &[u8]) -> Result<Opened, Stranger> {
        let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(Stranger::Garbage)?;
        let [magic, version, flags, cluster @ ..] = *head;
        if magic != MAGIC {
            return Err(Stranger::Garbage);
        }
        if version != VERSION {
            return Err(Stranger::Version(version));
        }
        // A refusal says itself why, and may come from another cluster.
        if flags & REFUSAL != 0 {
            return Ok(Opened { payload: body.to_vec(), encrypted: false, refusal: true });
        }
        if cluster != self.cluster {
            return Err(Stranger::Cluster);
        }
        let payload = match (flags & ENCRYPTED != 0, self.keyring.is_encrypting()) {
            (false, false) => body.to_vec(),
            (false, true) => return Err(Stranger::Clear),
            (true, false) => return Err(Stranger::Encrypted),
            (true, true) => self.keyring.open(head, body).ok_or(Stranger::Key)?,
        };
        Ok(Opened { payload, encrypted: flags & ENCRYPTED != 0, refusal: false })
    }

    fn head(&self, flags: u8) -> [u8; HEAD_BYTES] {
        let [a, b, c, d] = self.cluster;
        [MAGIC, VERSION, flags, a, b, c, d]
    }
}

/// Whom the log spoke of: once an hour for each sender and reason, not for each packet.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: Mutex<HashMap<(IpAddr, Stranger), Instant>>,
}

impl Strangers {
    /// At it nothing is logged until old ones are forgotten.
    const MAX: usize = 1024;
    const REMEMBERED: Duration = Duration::from_secs(3600);

    /// Logs that something from `sender` was refused, unless that was done lately.
    pub(super) fn log(&self, now: Instant, pool: Pool, sender: IpAddr, reason: Stranger) -> bool {
        let mut seen = self.seen.lock();
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= Self::REMEMBERED;
        if seen.get(&(sender, reason)).is_some_and(|at| !is_old(at)) {
            return false;
        }
        if seen.len() >= Self::MAX {
            seen.retain(|_, at| !is_old(at));
        }
        if seen.len() >= Self::MAX {
            return false;
        }
        seen.insert((sender, reason), now);
        drop(seen);
        say!(pool, warn, "what {sender} sends is refused: {reason}");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAECAwQFBgcICQoLDA0ODw==";
    const B: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn envelope(cluster: &str, key: Option<&str>) -> Envelope {
        Envelope::new(cluster, Arc::new(Keyring::load(key, None).unwrap()))
    }

    #[test]
    fn strangers_are_told_apart() {
        let opened = |from: &Envelope, to: &Envelope| to.open(&from.seal(b"hello".to_vec()));
        let (clear, encrypted) = (envelope("dc1", None), envelope("dc1", Some(A)));
        for (from, to, encrypted) in [(&clear, &clear, false), (&encrypted, &encrypted, true)] {
            let expected = Opened { payload: b"hello".to_vec(), encrypted, refusal: false };
            assert_eq!(opened(from, to), Ok(expected));
        }
        assert_eq!(opened(&clear, &encrypted), Err(Stranger::Clear));
        assert_eq!(opened(&encrypted, &clear), Err(Stranger::Encrypted));
        assert_eq!(opened(&encrypted, &envelope("dc1", Some(B))), Err(Stranger::Key));
        assert_eq!(opened(&clear, &envelope("dc2", None)), Err(Stranger::Cluster));
        assert_eq!(opened(&encrypted, &envelope("dc2", Some(A))), Err(Stranger::Cluster));
        let mut other = clear.seal(b"hello".to_vec());
        other[1] = 9;
        assert_eq!(clear.open(&other), Err(Stranger::Version(9)));
        for garbage in [&b""[..], b"U", b"GET / HTTP/1.1\r\n", &[MAGIC, VERSION, 0, 0, 0, 0]] {
            assert_eq!(clear.open(garbage), Err(Stranger::Garbage), "{garbage:?}");
        }
    }

    #[test]
    fn what_was_changed_on_its_way_is_refused() {
        let envelope = envelope("dc1", Some(A));
        let sealed = envelope.seal(b"hello".to_vec());
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        for position in HEAD_BYTES..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert_eq!(envelope.open(&changed), Err(Stranger::Key), "{position}");
        }
    }

    #[test]
    fn a_refusal_is_understood_by_everybody() {
        let refusal = envelope("dc1", Some(A)).refuse("because");
        let expected = Opened { payload: b"because".to_vec(), encrypted: false, refusal: true };
        assert_eq!(envelope("dc2", Some(B)).open(&refusal), Ok(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_logged_once_each() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let sender = IpAddr::from([10, 0, 0, 1]);
        assert!(strangers.log(now, Pool::Lan, sender, Stranger::Key));
        assert!(!strangers.log(now, Pool::Lan, sender, Stranger::Key));
        assert!(strangers.log(now, Pool::Lan, sender, Stranger::Cluster));
        assert!(strangers.log(now + Strangers::REMEMBERED, Pool::Lan, sender, Stranger::Key));
        for n in 0..5000u32 {
            strangers.log(now, Pool::Lan, IpAddr::from(n.to_be_bytes()), Stranger::Key);
        }
        assert!(strangers.seen.lock().len() <= Strangers::MAX);
    }
}
