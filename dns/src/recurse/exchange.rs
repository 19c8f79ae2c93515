//! One question to one server, and its reply, checked to be the reply to that question.
//!
//! Each question has a socket with a port of the system's choosing and a random id (RFC 5452): a forged reply has to
//! guess both, and to repeat the question.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{
    client::Transport,
    wire::{HEADER, flag, qname::QName, word},
};

/// Largest datagram a reply may come in.
const DATAGRAM_MAX: usize = 65_535;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("no reply within {0:?}")]
    Silent(Duration),
    /// What came is no reply to the question.
    #[error("reply does not fit the question")]
    Unrelated,
}

/// Asks `server` what `packet` asks; the reply has an id of its own.
pub(super) async fn ask(
    server: SocketAddr,
    packet: &[u8],
    transport: Transport,
    wait: Duration,
) -> Result<Vec<u8>, AskError> {
    let id: u16 = rand::random();
    let mut query = packet.to_vec();
    if let Some(slot) = query.get_mut(..2) {
        slot.copy_from_slice(&id.to_be_bytes());
    }
    let exchange = async {
        match transport {
            Transport::Udp => by_datagram(server, &query).await,
            Transport::Tcp => by_stream(server, &query).await,
        }
    };
    timeout(wait, exchange).await.unwrap_or(Err(AskError::Silent(wait)))
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, AskError> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut reply = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut reply).await?;
        // Others may send to the port, too: wait on for the right one.
        if is_reply(query, reply.get(..length).unwrap_or_default()) {
            reply.truncate(length);
            reply.shrink_to_fit();
            return Ok(reply);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, AskError> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = u16::try_from(query.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    if is_reply(query, &reply) { Ok(reply) } else { Err(AskError::Unrelated) }
}

/// Whether `reply` answers `query`: the id, the response bit, and the question if it is repeated.
fn is_reply(query: &[u8], reply: &[u8]) -> bool {
    let header = reply.len() >= HEADER && word(query, 0) == word(reply, 0);
    let response = word(reply, 2).is_some_and(|flags| flags & flag::QR != 0);
    if !header || !response {
        return false;
    }
    match word(reply, 4) {
        // A server that failed before it read the question.
        Some(0) => true,
        Some(1) => same_question(query, reply),
        _ => false,
    }
}

fn same_question(query: &[u8], reply: &[u8]) -> bool {
    let (mut asked, mut answered) = (QName::default(), QName::default());
    let (Some(asked_end), Some(answered_end)) = (asked.read(query, HEADER), answered.read(reply, HEADER)) else {
        return false;
    };
    let same_kind = query.get(asked_end..asked_end + 4) == reply.get(answered_end..answered_end + 4);
    same_kind && asked.wire().eq_ignore_ascii_case(answered.wire())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_to_the_question_is_one() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03wWw\x03com\0\0\x01\0\x01";
        let reply = |change: fn(&mut Vec<u8>)| {
            let mut reply = query.to_vec();
            reply[2] |= 0x80;
            change(&mut reply);
            is_reply(query, &reply)
        };
        assert!(reply(|_| {}));
        assert!(reply(|reply| reply[13..16].copy_from_slice(b"www")), "letters' case does not matter");
        assert!(reply(|reply| {
            reply[5] = 0;
            reply.truncate(12);
        }));
        assert!(!reply(|reply| reply[0] = 0), "another id");
        assert!(!reply(|reply| reply[2] = 0), "a question");
        assert!(!reply(|reply| reply[13] = b'x'), "another name");
        assert!(!reply(|reply| reply[22] = 28), "another type");
        assert!(!reply(|reply| reply.truncate(11)), "short");
        assert!(!reply(|reply| reply[5] = 2), "two questions");
    }
}
