//! What a member tells of itself, and how far it is on its way out. Spread beside foca's liveness, by broadcast and by
//! push/pull.
//!
//! A record is written by the member it is about; others may only add that it has left (`force-leave`). Of two records
//! about one address the later one wins everywhere, whatever the order they arrive in.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::{Buf, BufMut};

use super::codec::{WireError, get_address, get_text, put_address, put_text};

/// Longer ones are refused: nothing in Consul allows such a name.
const NAME_MAX_BYTES: usize = 512;
const ID_MAX_BYTES: usize = 128;
const TAGS_MAX: usize = 128;
const TAG_MAX_BYTES: usize = 1024;
/// A whole record; a member that tells more of itself is not understood by others.
pub(super) const RECORD_MAX_BYTES: usize = 8 * 1024;

/// How far a member is on its way out. The later one wins within one version of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Takes part.
    Here,
    /// Said that it is going.
    Leaving,
    /// Somebody said that it has left.
    Left,
    /// Somebody said that it is to be forgotten.
    Forgotten,
}

/// What is known of a member beside its liveness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it is reached.
    pub(super) address: SocketAddr,
    /// Which process speaks (see [`super::identity::Identity`]).
    pub(super) started: u64,
    /// Counts the changes this process made.
    pub(super) version: u32,
    /// How far it is on its way out.
    pub(super) standing: Standing,
    /// The member's name.
    pub(super) name: String,
    /// The node's UUID.
    pub(super) id: String,
    /// What it tells of itself.
    pub(super) tags: BTreeMap<String, String>,
}

impl Record {
    /// Orders the records about one address.
    pub(super) fn precedence(&self) -> (u64, u32, Standing) {
        (self.started, self.version, self.standing)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::with_capacity(384);
        put_address(&mut buf, self.address);
        buf.put_u64(self.started);
        buf.put_u32(self.version);
        buf.put_u8(self.standing as u8);
        put_text(&mut buf, &self.name);
        put_text(&mut buf, &self.id);
        buf.put_u16(u16::try_from(self.tags.len()).unwrap_or(u16::MAX));
        for (key, value) in self.tags.iter().take(usize::from(u16::MAX)) {
            put_text(&mut buf, key);
            put_text(&mut buf, value);
        }
        buf
    }

    /// Reads one from exactly these bytes. What a later version may have added behind is passed over.
    pub(super) fn decode(mut buf: &[u8]) -> Result<Self, WireError> {
        if buf.len() > RECORD_MAX_BYTES {
            return Err(WireError::TooLong("a member's record"));
        }
        let buf = &mut buf;
        let (address, started, version) = (get_address(buf)?, buf.try_get_u64()?, buf.try_get_u32()?);
        let standing = match buf.try_get_u8()? {
            0 => Standing::Here,
            1 => Standing::Leaving,
            2 => Standing::Left,
            3 => Standing::Forgotten,
            standing => return Err(WireError::Unknown("standing", standing)),
        };
        let name = get_text(buf, NAME_MAX_BYTES, "a member's name")?;
        let id = get_text(buf, ID_MAX_BYTES, "a member's id")?;
        let count = usize::from(buf.try_get_u16()?);
        if count > TAGS_MAX {
            return Err(WireError::TooLong("the list of a member's tags"));
        }
        let mut tags = BTreeMap::new();
        for _ in 0..count {
            tags.insert(get_text(buf, TAG_MAX_BYTES, "a tag")?, get_text(buf, TAG_MAX_BYTES, "a tag")?);
        }
        Ok(Self { address, started, version, standing, name, id, tags })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn record() -> Record {
        Record {
            address: "[::1]:8301".parse().unwrap(),
            started: 7,
            version: 3,
            standing: Standing::Leaving,
            name: "n1".to_owned(),
            id: "some-id".to_owned(),
            tags: [("role".to_owned(), "consul".to_owned()), ("segment".to_owned(), String::new())].into(),
        }
    }

    #[test]
    fn a_record_comes_back_and_may_grow() {
        let mut bytes = record().encode();
        assert_eq!(Record::decode(&bytes), Ok(record()));
        bytes.extend([1, 2, 3]);
        assert_eq!(Record::decode(&bytes), Ok(record()), "a later version's fields are passed over");
        for end in 0..record().encode().len() {
            assert_eq!(Record::decode(&bytes[..end]), Err(WireError::Short), "{end}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = |change: fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            Record::decode(&record.encode())
        };
        assert_eq!(long(|it| it.name = "x".repeat(513)), Err(WireError::TooLong("a member's name")));
        assert_eq!(long(|it| it.id = "x".repeat(129)), Err(WireError::TooLong("a member's id")));
        assert_eq!(
            long(|it| it.tags = (0..200).map(|n| (n.to_string(), String::new())).collect()),
            Err(WireError::TooLong("the list of a member's tags"))
        );
        assert_eq!(
            long(|it| it.tags = (0..20).map(|n| (n.to_string(), "x".repeat(1000))).collect()),
            Err(WireError::TooLong("a member's record"))
        );
    }

    #[test]
    fn a_later_process_then_a_later_version_then_a_later_standing_wins() {
        let base = record();
        let process = Record { started: 8, version: 0, standing: Standing::Here, ..record() };
        let version = Record { version: 4, standing: Standing::Here, ..record() };
        let standing = Record { standing: Standing::Left, ..record() };
        assert!(base.precedence() < standing.precedence());
        assert!(standing.precedence() < version.precedence());
        assert!(version.precedence() < process.precedence());
    }

    proptest! {
        #[test]
        fn garbage_never_harms(bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
        }
    }
}
