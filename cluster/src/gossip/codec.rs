//! How gossip is written: explicit fields in network order, lengths before texts. The version is in the envelope.
//!
//! Reading takes any bytes and answers with a value or [`WireError`]; it never allocates more than it was given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};

use super::identity::Identity;

/// Why bytes are not gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// A value that means nothing to this version.
    #[error("unknown {0} {1}")]
    Unknown(&'static str, u8),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// More than there may be.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// No room left to write it.
    #[error("no room left in the packet")]
    NoRoom,
}

impl From<bytes::TryGetError> for WireError {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Short
    }
}

/// The longest an identity gets.
const IDENTITY_MAX_BYTES: usize = 1 + 16 + 2 + 8 + 4;
/// The longest a member gets.
const MEMBER_MAX_BYTES: usize = IDENTITY_MAX_BYTES + 2 + 1;

pub(super) fn put_address(buf: &mut impl BufMut, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            buf.put_u8(4);
            buf.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            buf.put_u8(6);
            buf.put_slice(&ip.octets());
        }
    }
    buf.put_u16(address.port());
}

pub(super) fn get_address(buf: &mut impl Buf) -> Result<SocketAddr, WireError> {
    let ip = match buf.try_get_u8()? {
        4 => IpAddr::V4(Ipv4Addr::from(buf.try_get_u32()?)),
        6 => IpAddr::V6(Ipv6Addr::from(buf.try_get_u128()?)),
        family => return Err(WireError::Unknown("address family", family)),
    };
    Ok(SocketAddr::new(ip, buf.try_get_u16()?))
}

pub(super) fn put_identity(buf: &mut impl BufMut, identity: &Identity) {
    put_address(buf, identity.address);
    buf.put_u64(identity.started);
    buf.put_u32(identity.renewed);
}

pub(super) fn get_identity(buf: &mut impl Buf) -> Result<Identity, WireError> {
    Ok(Identity { address: get_address(buf)?, started: buf.try_get_u64()?, renewed: buf.try_get_u32()? })
}

pub(super) fn put_member(buf: &mut impl BufMut, member: &Member<Identity>) {
    put_identity(buf, member.id());
    buf.put_u16(member.incarnation());
    buf.put_u8(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
}

pub(super) fn get_member(buf: &mut impl Buf) -> Result<Member<Identity>, WireError> {
    let (identity, incarnation) = (get_identity(buf)?, buf.try_get_u16()?);
    let state = match buf.try_get_u8()? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        state => return Err(WireError::Unknown("state", state)),
    };
    Ok(Member::new(identity, incarnation, state))
}

/// A text of at most 65,535 bytes; a longer one must have been refused before.
pub(super) fn put_text(buf: &mut impl BufMut, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    buf.put_u16(length);
    buf.put_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

pub(super) fn get_text(buf: &mut impl Buf, max: usize, what: &'static str) -> Result<String, WireError> {
    let length = usize::from(buf.try_get_u16()?);
    if length > max {
        return Err(WireError::TooLong(what));
    }
    String::from_utf8(get_bytes(buf, length)?).map_err(|_| WireError::Text)
}

pub(super) fn get_bytes(buf: &mut impl Buf, length: usize) -> Result<Vec<u8>, WireError> {
    if buf.remaining() < length {
        return Err(WireError::Short);
    }
    let mut bytes = vec![0; length];
    buf.copy_to_slice(&mut bytes);
    Ok(bytes)
}

/// What foca writes and reads its datagrams with.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramCodec;

impl Codec<Identity> for DatagramCodec {
    type Error = WireError;

    fn encode_header(&mut self, header: &Header<Identity>, mut buf: impl BufMut) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(3 * IDENTITY_MAX_BYTES + 4);
        put_header(&mut bytes, header);
        put_whole(&mut buf, &bytes)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, WireError> {
        let kind = buf.try_get_u8()?;
        let (src, src_incarnation) = (get_identity(&mut buf)?, buf.try_get_u16()?);
        let dst = get_identity(&mut buf)?;
        Ok(Header { src, src_incarnation, dst, message: get_message(kind, &mut buf)? })
    }

    fn encode_member(&mut self, member: &Member<Identity>, mut buf: impl BufMut) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(MEMBER_MAX_BYTES);
        put_member(&mut bytes, member);
        put_whole(&mut buf, &bytes)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, WireError> {
        get_member(&mut buf)
    }
}

/// All or nothing: foca sends what was written before.
fn put_whole(buf: &mut impl BufMut, bytes: &[u8]) -> Result<(), WireError> {
    if buf.remaining_mut() < bytes.len() {
        return Err(WireError::NoRoom);
    }
    buf.put_slice(bytes);
    Ok(())
}

fn put_header(buf: &mut Vec<u8>, header: &Header<Identity>) {
    let (kind, probe) = match &header.message {
        Message::Ping(number) => (0, Some((None, *number))),
        Message::Ack(number) => (1, Some((None, *number))),
        Message::PingReq { target, probe_number } => (2, Some((Some(target), *probe_number))),
        Message::IndirectPing { origin, probe_number } => (3, Some((Some(origin), *probe_number))),
        Message::IndirectAck { target, probe_number } => (4, Some((Some(target), *probe_number))),
        Message::ForwardedAck { origin, probe_number } => (5, Some((Some(origin), *probe_number))),
        Message::Announce => (6, None),
        Message::Feed => (7, None),
        Message::Gossip => (8, None),
        Message::Broadcast => (9, None),
        Message::TurnUndead => (10, None),
    };
    buf.put_u8(kind);
    put_identity(buf, &header.src);
    buf.put_u16(header.src_incarnation);
    put_identity(buf, &header.dst);
    if let Some((third, number)) = probe {
        buf.put_u8(number);
        if let Some(third) = third {
            put_identity(buf, third);
        }
    }
}

fn get_message(kind: u8, buf: &mut impl Buf) -> Result<Message<Identity>, WireError> {
    Ok(match kind {
        0 => Message::Ping(buf.try_get_u8()?),
        1 => Message::Ack(buf.try_get_u8()?),
        2..=5 => {
            let (probe_number, third) = (buf.try_get_u8()?, get_identity(buf)?);
            match kind {
                2 => Message::PingReq { target: third, probe_number },
                3 => Message::IndirectPing { origin: third, probe_number },
                4 => Message::IndirectAck { target: third, probe_number },
                _ => Message::ForwardedAck { origin: third, probe_number },
            }
        }
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return Err(WireError::Unknown("message", kind)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity() -> impl Strategy<Value = Identity> {
        let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
        (ip, any::<u16>(), any::<u64>(), any::<u32>()).prop_map(|(ip, port, started, renewed)| Identity {
            address: SocketAddr::new(ip, port),
            started,
            renewed,
        })
    }

    fn message() -> impl Strategy<Value = Message<Identity>> {
        (0..=10u8, any::<u8>(), identity()).prop_map(|(kind, probe_number, third)| {
            let mut bytes = vec![probe_number];
            put_identity(&mut bytes, &third);
            get_message(kind, &mut bytes.as_slice()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn headers_come_back(src in identity(), dst in identity(), src_incarnation: u16, message in message()) {
            let header = Header { src, src_incarnation, dst, message };
            let mut bytes = Vec::new();
            DatagramCodec.encode_header(&header, &mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            prop_assert_eq!(DatagramCodec.decode_header(&mut rest).unwrap(), header);
            prop_assert!(rest.is_empty());
            for end in 0..bytes.len() {
                prop_assert_eq!(DatagramCodec.decode_header(&bytes[..end]), Err(WireError::Short));
            }
        }

        #[test]
        fn members_come_back(id in identity(), incarnation: u16, state in 0..3usize) {
            let member = Member::new(id, incarnation, [State::Alive, State::Suspect, State::Down][state]);
            let mut bytes = Vec::new();
            DatagramCodec.encode_member(&member, &mut bytes).unwrap();
            prop_assert!(bytes.len() <= MEMBER_MAX_BYTES);
            prop_assert_eq!(DatagramCodec.decode_member(bytes.as_slice()).unwrap(), member.clone());
            let mut narrow = [0u8; 5];
            prop_assert_eq!(DatagramCodec.encode_member(&member, narrow.as_mut_slice()), Err(WireError::NoRoom));
            prop_assert_eq!(narrow, [0; 5], "a member that does not fit leaves nothing behind");
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_harms(bytes: Vec<u8>) {
            let _ = DatagramCodec.decode_header(bytes.as_slice());
            let _ = DatagramCodec.decode_member(bytes.as_slice());
            let _ = get_text(&mut bytes.as_slice(), 10, "text");
        }
    }
}
