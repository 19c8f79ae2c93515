//! What two members ask each other over TCP: everything they know (push/pull), whether one is there although datagrams say
//! no, who one is, and the keys. One question and one answer a connection; framing and encryption are in `stream`.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use foca::Member;

use super::{
    codec::{WireError, get_bytes, get_member, get_text, put_member, put_text},
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
