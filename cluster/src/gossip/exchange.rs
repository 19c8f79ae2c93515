//! What two members ask each other over TCP: everything they know (push/pull), whether one is there although datagrams say
//! no, who one is, and the keys. One question and one answer a connection; framing and encryption are in `stream`.

use std::{collections::BTreeSet, sync::Arc};

use bytes::{Buf, BufMut};
use foca::{Member, State};
use sha2::{Digest as _, Sha256};

use super::{
    codec::{WireError, get_bytes, get_member, get_text, put_address, put_identity, put_member, put_text},
    identity::Identity,
    keyring::{KeyAnswer, KeyOperation},
    record::{RECORD_MAX_BYTES, Record},
};

/// Members and records of one state; more are refused.
const STATE_MAX: usize = 2 * super::table::MEMBERS_MAX;
const TEXT_MAX_BYTES: usize = 1024;
const KEYS_MAX: usize = 256;
/// Datagrams that answer the one in a check.
const PACKETS_MAX: usize = 8;

/// Everything a member knows, in a few bytes.
pub(super) type Digest = [u8; 16];

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// Push/pull: this is what I know, what do you know?
    Sync {
        /// Whether the asker comes to join: it is told why if it may not.
        join: bool,
        /// What it knows; its own record is the first.
        state: Everything,
    },
    /// Do you know the same as I? Only who does not is asked for everything.
    Compare(Digest),
    /// Are you there? Datagrams did not reach you.
    Check {
        /// Who asks.
        asker: Member<Identity>,
        /// What it thinks of the one it asks.
        suspicion: Member<Identity>,
        /// The ping, as foca wrote it; empty when there is none.
        ping: Vec<u8>,
    },
    /// Who are you?
    Who,
    /// Change your keys, or say which you have. Only encrypted.
    Keys(KeyOperation),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// To `Sync`: what the one asked knew before.
    Sync(Everything),
    /// To `Compare`: whether it is the same.
    Compared(bool),
    /// To `Check`.
    Check {
        /// The one asked, alive.
        member: Member<Identity>,
        /// What foca answered to the ping.
        packets: Vec<Vec<u8>>,
    },
    /// To `Who`.
    Who {
        /// The member's name.
        name: String,
        /// The node's UUID.
        id: String,
    },
    /// To `Keys`.
    Keys(KeyAnswer),
    /// No, for this reason.
    Refused(String),
}

/// Everything a member knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Everything {
    /// Everybody's liveness, the sender's own included, and for how many seconds it has been so.
    pub(super) members: Vec<(Member<Identity>, u32)>,
    /// Everybody's record; the sender's own is the first.
    pub(super) records: Vec<Arc<Record>>,
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        match self {
            Self::Sync { join, state } => {
                buf.put_u8(0);
                buf.put_u8(u8::from(*join));
                state.put(&mut buf);
            }
            Self::Check { asker, suspicion, ping } => {
                buf.put_u8(1);
                put_member(&mut buf, asker);
                put_member(&mut buf, suspicion);
                put_packet(&mut buf, ping);
            }
            Self::Who => buf.put_u8(2),
            Self::Keys(operation) => {
                buf.put_u8(3);
                let (kind, key) = match operation {
                    KeyOperation::List => (0, ""),
                    KeyOperation::Install(key) => (1, key.as_str()),
                    KeyOperation::Use(key) => (2, key.as_str()),
                    KeyOperation::Remove(key) => (3, key.as_str()),
                };
                buf.put_u8(kind);
                put_text(&mut buf, key);
            }
            Self::Compare(digest) => {
                buf.put_u8(4);
                buf.put_slice(digest);
            }
        }
        buf
    }

    pub(super) fn decode(mut buf: &[u8]) -> Result<Self, WireError> {
        let buf = &mut buf;
        match buf.try_get_u8()? {
            0 => Ok(Self::Sync { join: buf.try_get_u8()? != 0, state: Everything::get(buf)? }),
            1 => Ok(Self::Check { asker: get_member(buf)?, suspicion: get_member(buf)?, ping: get_packet(buf)? }),
            2 => Ok(Self::Who),
            3 => {
                let kind = buf.try_get_u8()?;
                let key = get_text(buf, TEXT_MAX_BYTES, "a key")?;
                Ok(Self::Keys(match kind {
                    0 => KeyOperation::List,
                    1 => KeyOperation::Install(key),
                    2 => KeyOperation::Use(key),
                    3 => KeyOperation::Remove(key),
                    _ => return Err(WireError::Unknown("key operation", kind)),
                }))
            }
            4 => Ok(Self::Compare(buf.try_get_u128()?.to_be_bytes())),
            kind => Err(WireError::Unknown("request", kind)),
        }
    }
}

impl Reply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        match self {
            Self::Sync(state) => {
                buf.put_u8(0);
                state.put(&mut buf);
            }
            Self::Check { member, packets } => {
                buf.put_u8(1);
                put_member(&mut buf, member);
                put_count(&mut buf, packets.len());
                packets.iter().for_each(|packet| put_packet(&mut buf, packet));
            }
            Self::Who { name, id } => {
                buf.put_u8(2);
                put_text(&mut buf, name);
                put_text(&mut buf, id);
            }
            Self::Keys(answer) => {
                buf.put_u8(3);
                put_text(&mut buf, &answer.message);
                buf.put_u8(u8::from(answer.failed));
                put_text(&mut buf, &answer.primary);
                put_count(&mut buf, answer.keys.len());
                answer.keys.iter().for_each(|key| put_text(&mut buf, key));
            }
            Self::Refused(reason) => {
                buf.put_u8(4);
                put_text(&mut buf, reason);
            }
            Self::Compared(same) => {
                buf.put_u8(5);
                buf.put_u8(u8::from(*same));
            }
        }
        buf
    }

    pub(super) fn decode(mut buf: &[u8]) -> Result<Self, WireError> {
        let buf = &mut buf;
        match buf.try_get_u8()? {
            0 => Ok(Self::Sync(Everything::get(buf)?)),
            1 => {
                let member = get_member(buf)?;
                let count = get_count(buf, PACKETS_MAX, "the list of packets")?;
                Ok(Self::Check { member, packets: (0..count).map(|_| get_packet(buf)).collect::<Result<_, _>>()? })
            }
            2 => Ok(Self::Who {
                name: get_text(buf, TEXT_MAX_BYTES, "a name")?,
                id: get_text(buf, TEXT_MAX_BYTES, "an id")?,
            }),
            3 => {
                let message = get_text(buf, TEXT_MAX_BYTES, "a message")?;
                let failed = buf.try_get_u8()? != 0;
                let primary = get_text(buf, TEXT_MAX_BYTES, "a key")?;
                let count = get_count(buf, KEYS_MAX, "the list of keys")?;
                let keys = (0..count).map(|_| get_text(buf, TEXT_MAX_BYTES, "a key")).collect::<Result<_, _>>()?;
                Ok(Self::Keys(KeyAnswer { message, failed, primary, keys }))
            }
            4 => Ok(Self::Refused(get_text(buf, TEXT_MAX_BYTES, "a reason")?)),
            5 => Ok(Self::Compared(buf.try_get_u8()? != 0)),
            kind => Err(WireError::Unknown("reply", kind)),
        }
    }
}

impl Everything {
    fn put(&self, buf: &mut Vec<u8>) {
        put_count(buf, self.members.len());
        for (member, seconds) in &self.members {
            put_member(buf, member);
            buf.put_u32(*seconds);
        }
        put_count(buf, self.records.len());
        for record in &self.records {
            put_packet(buf, &record.encode());
        }
    }

    fn get(buf: &mut &[u8]) -> Result<Self, WireError> {
        let count = get_count(buf, STATE_MAX, "the list of members")?;
        let members =
            (0..count).map(|_| Ok((get_member(buf)?, buf.try_get_u32()?))).collect::<Result<_, WireError>>()?;
        let count = get_count(buf, STATE_MAX, "the list of records")?;
        let record = |buf: &mut &[u8]| {
            let length = usize::from(buf.try_get_u16()?);
            if length > RECORD_MAX_BYTES {
                return Err(WireError::TooLong("a member's record"));
            }
            let (record, rest) = buf.split_at_checked(length).ok_or(WireError::Short)?;
            *buf = rest;
            Record::decode(record).map(Arc::new)
        };
        Ok(Self { members, records: (0..count).map(|_| record(buf)).collect::<Result<_, _>>()? })
    }

    /// The same wherever the same is known, in whatever order. Suspicions come and go, and how long somebody has been gone
    /// is counted by everybody alone: neither counts.
    pub(super) fn digest(&self) -> Digest {
        let mut lines: Vec<Vec<u8>> = Vec::with_capacity(self.members.len() + self.records.len());
        let known: BTreeSet<_> = self.records.iter().map(|record| record.address).collect();
        for (member, _) in &self.members {
            let is_down = member.state() == State::Down;
            // A rumour of somebody who is gone and was never met is forgotten by everybody in their own time.
            if is_down && !known.contains(&member.id().address) {
                continue;
            }
            let mut line = vec![u8::from(is_down)];
            put_identity(&mut line, member.id());
            line.put_u16(if is_down { 0 } else { member.incarnation() });
            lines.push(line);
        }
        for record in &self.records {
            let (started, version, standing) = record.precedence();
            let mut line = vec![2 + standing as u8];
            put_address(&mut line, record.address);
            line.put_u64(started);
            line.put_u32(version);
            lines.push(line);
        }
        lines.sort_unstable();
        let digest: [u8; 32] = Sha256::digest(lines.concat()).into();
        let mut short = Digest::default();
        short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        short
    }

    /// Who sent it: by its own record and its own liveness.
    pub(super) fn sender(&self) -> Option<(Identity, &Arc<Record>)> {
        let record = self.records.first()?;
        let (member, _) = self.members.iter().find(|(member, _)| member.id().address == record.address)?;
        (member.id().started == record.started).then_some((*member.id(), record))
    }
}

fn put_count(buf: &mut Vec<u8>, count: usize) {
    buf.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn get_count(buf: &mut &[u8], max: usize, what: &'static str) -> Result<usize, WireError> {
    usize::try_from(buf.try_get_u32()?).ok().filter(|count| *count <= max).ok_or(WireError::TooLong(what))
}

/// Bytes of at most 65,535: datagrams and records are far below.
fn put_packet(buf: &mut Vec<u8>, packet: &[u8]) {
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    buf.put_u16(length);
    buf.put_slice(packet.get(..usize::from(length)).unwrap_or_default());
}

fn get_packet(buf: &mut &[u8]) -> Result<Vec<u8>, WireError> {
    let length = usize::from(buf.try_get_u16()?);
    get_bytes(buf, length)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::gossip::record::Standing;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 8301))
    }

    fn record(last: u8) -> Arc<Record> {
        Arc::new(Record {
            address: address(last),
            started: 1,
            version: 1,
            standing: Standing::Here,
            name: format!("n{last}"),
            id: String::new(),
            tags: [("role".to_owned(), "node".to_owned())].into(),
        })
    }

    fn everything() -> Everything {
        let member = |last, state| (Member::new(Identity::new(address(last), 1), 3, state), 7);
        Everything {
            members: vec![member(1, State::Alive), member(2, State::Suspect), member(3, State::Down)],
            records: vec![record(1), record(2), record(3)],
        }
    }

    #[test]
    fn questions_and_answers_come_back() {
        let member = everything().members[0].0.clone();
        let requests = [
            Request::Sync { join: true, state: everything() },
            Request::Compare([7; 16]),
            Request::Check { asker: member.clone(), suspicion: member.clone(), ping: vec![1, 2, 3] },
            Request::Who,
            Request::Keys(KeyOperation::List),
            Request::Keys(KeyOperation::Install("a".into())),
            Request::Keys(KeyOperation::Use("b".into())),
            Request::Keys(KeyOperation::Remove("c".into())),
        ];
        for request in requests {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Ok(request));
            for end in 0..bytes.len() {
                assert!(Request::decode(&bytes[..end]).is_err());
            }
        }
        let keys = KeyAnswer { failed: true, message: "m".into(), primary: "p".into(), keys: vec!["k".into()] };
        let replies = [
            Reply::Sync(everything()),
            Reply::Compared(true),
            Reply::Check { member, packets: vec![vec![1], vec![]] },
            Reply::Who { name: "n".into(), id: "i".into() },
            Reply::Keys(keys),
            Reply::Refused("no".into()),
        ];
        for reply in replies {
            let bytes = reply.encode();
            assert_eq!(Reply::decode(&bytes), Ok(reply));
            for end in 0..bytes.len() {
                assert!(Reply::decode(&bytes[..end]).is_err());
            }
        }
    }

    #[test]
    fn the_sender_is_who_its_first_record_says() {
        assert_eq!(everything().sender().map(|(identity, _)| identity), Some(Identity::new(address(1), 1)));
        let mut other = everything();
        other.members.remove(0);
        assert!(other.sender().is_none());
        assert!(Everything::default().sender().is_none());
    }

    #[test]
    fn a_digest_tells_what_matters_and_nothing_else() {
        let digest = everything().digest();
        let changed = |change: fn(&mut Everything)| {
            let mut other = everything();
            change(&mut other);
            other.digest() != digest
        };
        let id = |last| Identity::new(address(last), 1);
        assert!(!changed(|it| it.members.reverse()) && !changed(|it| it.records.reverse()), "order");
        assert!(!changed(|it| it.members[0].1 = 100), "age");
        assert!(!changed(|it| it.members.push((Member::down(Identity::new(address(9), 1)), 0))), "a rumour");
        assert!(!changed(|_| ()));
        let alive = |last| Member::new(Identity::new(address(last), 1), 3, State::Alive);
        let mut refuted = everything();
        refuted.members[1].0 = alive(2);
        assert_eq!(refuted.digest(), digest, "a suspicion");
        let mut back = everything();
        back.members[2].0 = alive(3);
        assert_ne!(back.digest(), digest, "somebody who is back");
        let mut later = everything();
        later.members[0].0 = Member::new(id(1), 4, State::Alive);
        assert_ne!(later.digest(), digest, "an incarnation");
        assert!(changed(|it| it.records[1] = Arc::new(Record { version: 2, ..(*it.records[1]).clone() })), "tags");
        assert!(
            changed(|it| it.records[2] = Arc::new(Record { standing: Standing::Left, ..(*it.records[2]).clone() })),
            "a standing"
        );
        assert!(changed(|it| drop(it.records.pop())), "a record that is missing");
    }

    proptest! {
        #[test]
        fn garbage_never_harms(bytes: Vec<u8>, kind in 0..6u8) {
            let bytes = [&[kind][..], &bytes].concat();
            let _ = (Request::decode(&bytes), Reply::decode(&bytes));
        }
    }
}
