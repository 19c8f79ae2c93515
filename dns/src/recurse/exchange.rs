//! One question to one server, and its reply, checked to be the reply to that question.
//!
//! Each question has a socket with a port of the system's choosing and a random id (RFC 5452): a forged reply has to
//! guess both, to come from the server's address, and to repeat the question. A reply that was cut is asked for again
//! over TCP (RFC 7766 section 5); if that fails, the cut one is better than none.
//!
//! These sockets are our own and not hickory-net's client streams. Its socket for UDP is not connected, so a server that
//! is not there is noticed after the timeout instead of at once; it takes no more than 512 bytes of a reply to a question
//! without EDNS; it reads the whole reply before anything else, so that one record it does not know fails all of it; it
//! writes the question anew, and a warning for each forged datagram; and it waits on for another reply than that of a server
//! that failed before it read the question.

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

use super::reply::{is_answer, is_cut};
use crate::{
    client::Transport,
    wire::{HEADER, flag, qname::QName, word},
};

/// Largest datagram taken; a longer one counts as cut. More than servers are told, and they need not keep to it.
const DATAGRAM_MAX: usize = 4096;

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

/// Asks `server` what `query` asks; the reply has an id of its own. Each transport may take `wait`.
pub(super) async fn ask(
    server: SocketAddr,
    query: &[u8],
    transport: Transport,
    wait: Duration,
) -> Result<Vec<u8>, AskError> {
    let id: u16 = rand::random();
    let mut query = query.to_vec();
    if let Some(slot) = query.get_mut(..2) {
        slot.copy_from_slice(&id.to_be_bytes());
    }
    let in_time = |result: Result<_, _>| result.unwrap_or(Err(AskError::Silent(wait)));
    if transport != Transport::Udp {
        return in_time(timeout(wait, by_stream(server, &query)).await);
    }
    let reply = in_time(timeout(wait, by_datagram(server, &query)).await)?;
    if !is_cut(&reply) {
        return Ok(reply);
    }
    let whole = in_time(timeout(wait, by_stream(server, &query)).await);
    Ok(whole.ok().filter(|whole| is_answer(whole)).unwrap_or(reply))
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, AskError> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that only this server is heard, and that it is not there.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut reply = vec![0; DATAGRAM_MAX + 1];
    loop {
        let length = socket.recv(&mut reply).await?;
        // Others may pretend to be the server: wait on for the right one.
        if is_reply(query, reply.get(..length).unwrap_or_default()) {
            reply.truncate(length);
            if length > DATAGRAM_MAX {
                cut(&mut reply, query);
            }
            reply.shrink_to_fit();
            return Ok(reply);
        }
    }
}

/// Makes a reply too long for us what the server would have made of it: its question, and TC.
pub(super) fn cut(reply: &mut Vec<u8>, query: &[u8]) {
    let question = QName::default().read(query, HEADER).unwrap_or(HEADER) + 4;
    reply.truncate(question);
    if let Some([_, _, high, ..]) = reply.first_chunk_mut::<HEADER>() {
        let [tc, _] = flag::TC.to_be_bytes();
        *high |= tc;
    }
    if let Some(counts) = reply.get_mut(6..HEADER) {
        counts.fill(0);
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
pub(super) fn is_reply(query: &[u8], reply: &[u8]) -> bool {
    let header = reply.len() >= HEADER && word(query, 0) == word(reply, 0);
    let response = word(reply, 2).is_some_and(|flags| flags & flag::QR != 0);
    if !header || !response {
        return false;
    }
    match word(reply, 4) {
        // A server that failed before it read the question. An answer has to say to what.
        Some(0) => !is_answer(reply),
        Some(1) => same_question(query, reply),
        _ => false,
    }
}

fn same_question(query: &[u8], reply: &[u8]) -> bool {
    let (mut asked, mut answered) = (QName::default(), QName::default());
    let (Some(asked_end), Some(answered_end)) = (asked.read(query, HEADER), answered.read(reply, HEADER)) else {
        return false;
    };
    // In full, as everybody writes it: a name that points into the header would be another once the id is.
    let in_full = answered_end == HEADER + answered.wire().len() + 1;
    let same_kind = query.get(asked_end..asked_end + 4) == reply.get(answered_end..answered_end + 4);
    in_full && same_kind && asked.wire().eq_ignore_ascii_case(answered.wire())
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
        let without_question = |code: u8| [&b"\x12\x34\x81"[..], &[code], b"\0\0\0\0\0\0\0\0"].concat();
        for (code, is_one) in [(1, true), (2, true), (5, true), (0, false), (3, false)] {
            assert_eq!(is_reply(query, &without_question(code)), is_one, "code {code} without the question");
        }
        let root = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01";
        assert!(is_reply(root, b"\x12\x34\x81\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01"));
        assert!(!is_reply(root, b"\x12\x34\x81\0\0\x01\0\0\0\0\0\0\xc0\x04\0\x02\0\x01"), "a pointer");
        assert!(!reply(|reply| reply[0] = 0), "another id");
        assert!(!reply(|reply| reply[2] = 0), "a question");
        assert!(!reply(|reply| reply[13] = b'x'), "another name");
        assert!(!reply(|reply| reply[22] = 28), "another type");
        assert!(!reply(|reply| reply.truncate(11)), "short");
        assert!(!reply(|reply| reply[5] = 2), "two questions");
    }
}
