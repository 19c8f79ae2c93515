//! The first bytes of every connection to the server port, and the answer to them.
//!
//! ```text
//!   caller:  protocol (1) │ "USH" │ version (1) │ sender (8, big endian) │ target (8)
//!   server:  0 welcome, or 1 and a text why not (length (1), bytes) before it closes
//! ```
//!
//! Sender and target are raft ids on connections of the consensus, so that a server that was wiped, or that has taken
//! over another's address, is never taken for the one that was meant; 0 elsewhere.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::net::TcpStream;

const MAGIC: [u8; 3] = *b"USH";
const VERSION: u8 = 1;
const LENGTH: usize = 21;
const WELCOME: u8 = 0;
const REFUSED: u8 = 1;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Protocol {
    /// Consensus: entries, heartbeats, votes.
    Raft = 1,
    /// Calls and subscriptions.
    Calls = 2,
    /// One snapshot.
    Snapshot = 3,
}

/// How a caller introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Greeting {
    /// What it wants.
    pub(crate) protocol: Protocol,
    /// Its raft id, or 0.
    pub(crate) sender: u64,
    /// The raft id of the server it means, or 0.
    pub(crate) target: u64,
}

impl Greeting {
    /// The greeting of a connection for calls: anybody may ask any server.
    pub(crate) const CALLS: Self = Self { protocol: Protocol::Calls, sender: 0, target: 0 };

    fn to_bytes(self) -> [u8; LENGTH] {
        let [a, b, c] = MAGIC;
        let mut bytes = [0; LENGTH];
        let (head, ids) = bytes.split_at_mut(5);
        let (sender, target) = ids.split_at_mut(8);
        head.copy_from_slice(&[self.protocol as u8, a, b, c, VERSION]);
        sender.copy_from_slice(&self.sender.to_be_bytes());
        target.copy_from_slice(&self.target.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; LENGTH]) -> Result<Self, String> {
        let [protocol, a, b, c, version, ids @ ..] = bytes;
        if [a, b, c] != MAGIC {
            return Err("this is the server port of Usher, which is not what was spoken to it".to_owned());
        }
        if version != VERSION {
            return Err(format!("version {version} of the server protocol is not known (this is {VERSION})"));
        }
        let protocol = match protocol {
            1 => Protocol::Raft,
            2 => Protocol::Calls,
            3 => Protocol::Snapshot,
            other => return Err(format!("protocol {other} is not known")),
        };
        let ids = u128::from_be_bytes(ids);
        Ok(Self { protocol, sender: (ids >> 64) as u64, target: ids as u64 })
    }
}

/// Connects to a server and greets it. The whole of it takes at most `deadline`.
pub(crate) async fn dial(address: SocketAddr, greeting: Greeting, deadline: Duration) -> io::Result<TcpStream> {
    let dialled = timeout(deadline, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&greeting.to_bytes()).await?;
        read_answer(&mut stream).await?;
        Ok(stream)
    });
    dialled.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))?
}

async fn read_answer<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<()> {
    let answer = stream.read_u8().await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "connection closed"),
        _ => error,
    })?;
    match answer {
        WELCOME => Ok(()),
        REFUSED => {
            let length = stream.read_u8().await?;
            let mut text = vec![0; usize::from(length)];
            stream.read_exact(&mut text).await?;
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "whoever answers there is no server of this program")),
    }
}

/// Reads a caller's greeting.
pub(crate) async fn receive<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Result<Greeting, String>> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes).await?;
    Ok(Greeting::from_bytes(bytes))
}

/// Lets a caller in.
pub(crate) async fn welcome<W: AsyncWrite + Unpin>(stream: &mut W) -> io::Result<()> {
    stream.write_all(&[WELCOME]).await
}

/// Tells a caller why not.
pub(crate) async fn refuse<W: AsyncWrite + Unpin>(stream: &mut W, reason: &str) -> io::Result<()> {
    let text: Vec<u8> = reason.bytes().take(usize::from(u8::MAX)).collect();
    let mut answer = vec![REFUSED, u8::try_from(text.len()).unwrap_or(u8::MAX)];
    answer.extend(text);
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn greetings_arrive_as_they_were_sent() {
        for protocol in [Protocol::Raft, Protocol::Calls, Protocol::Snapshot] {
            let greeting = Greeting { protocol, sender: u64::MAX - 1, target: 7 };
            let bytes = greeting.to_bytes();
            assert_eq!(receive(&mut &bytes[..]).await.unwrap(), Ok(greeting));
        }
    }

    #[test]
    fn what_is_no_greeting_is_told_what_it_has_met() {
        let good = Greeting::CALLS.to_bytes();
        for (position, byte, text) in [(0, 9, "protocol 9"), (1, b'X', "server port"), (4, 2, "version 2")] {
            let mut bytes = good;
            bytes[position] = byte;
            let refusal = Greeting::from_bytes(bytes).unwrap_err();
            assert!(refusal.contains(text), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let mut bytes = Vec::new();
        refuse(&mut bytes, &"x".repeat(300)).await.unwrap();
        let error = read_answer(&mut &bytes[..]).await.unwrap_err();
        assert_eq!(error.to_string(), "x".repeat(255));
        assert!(read_answer(&mut &[][..]).await.unwrap_err().to_string().contains("closed"));
        assert!(read_answer(&mut &b"HTTP"[..]).await.is_err());
        read_answer(&mut &[WELCOME][..]).await.unwrap();
    }
}
