//! The first request line of a connection, mended: characters that have to be escaped in a URL and are not.
//!
//! `curl` sends what it is given, and `"` is the quote of filters: `?filter=Name=="web"`. Consul takes it; the parser behind
//! this would refuse it without a word. So these characters are escaped before it sees them. Only the first request of
//! a connection can be mended: where a later one begins only the parser knows, and clients that keep connections escape.

use std::{
    borrow::Cow,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once while the line is not complete.
const CHUNK: usize = 4096;
/// A line longer than this is handed on as it is, to be refused.
const LINE_MAX: usize = 128 * 1024;

/// Wraps a stream that brings requests.
pub(super) struct FirstLine<S> {
    stream: S,
    state: State,
}

enum State {
    /// The line is not complete; what there is of it.
    Reading(Vec<u8>),
    /// What was read is handed on from here.
    HandingOn { bytes: Vec<u8>, next: usize },
    /// Nothing stands between.
    Done,
}

impl<S> FirstLine<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, state: State::Reading(Vec::new()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstLine<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Reading(line) => {
                    let mut chunk = [0; CHUNK];
                    let mut read = ReadBuf::new(&mut chunk);
                    ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
                    line.extend_from_slice(read.filled());
                    if !read.filled().is_empty() && line.len() < LINE_MAX && end_of_line(line).is_none() {
                        continue;
                    }
                    this.state = State::HandingOn { bytes: mended(std::mem::take(line)), next: 0 };
                }
                State::HandingOn { bytes, next } => {
                    let rest = bytes.get(*next..).unwrap_or_default();
                    let some = rest.get(..buffer.remaining()).unwrap_or(rest);
                    buffer.put_slice(some);
                    *next += some.len();
                    if *next < bytes.len() {
                        return Poll::Ready(Ok(()));
                    }
                    let was_empty = bytes.is_empty();
                    this.state = State::Done;
                    if !was_empty {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Done => return Pin::new(&mut this.stream).poll_read(context, buffer),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstLine<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Where the first line that is not empty ends.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let length = bytes.get(begin..)?.iter().position(|byte| *byte == b'\n')?;
    Some(begin + length)
}

/// The bytes with the target of the first line escaped: what is between its first and its last blank.
fn mended(bytes: Vec<u8>) -> Vec<u8> {
    let target = end_of_line(&bytes).and_then(|end| {
        let line = bytes.get(..end)?;
        let first = line.iter().position(|byte| *byte == b' ')? + 1;
        let last = line.iter().rposition(|byte| *byte == b' ')?;
        line.get(first..last).map(|target| (first, last, escaped(target)))
    });
    match target {
        Some((first, last, Cow::Owned(target))) => {
            let (before, after) = (bytes.get(..first).unwrap_or_default(), bytes.get(last..).unwrap_or_default());
            [before, &target, after].concat()
        }
        _ => bytes,
    }
}

/// Go's parser takes these as they are.
fn escaped(target: &[u8]) -> Cow<'_, [u8]> {
    let is_taken = |byte: &u8| !matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..);
    if target.iter().all(is_taken) {
        return Cow::Borrowed(target);
    }
    let mut escaped = Vec::with_capacity(target.len() + 32);
    for byte in target {
        if is_taken(byte) {
            escaped.push(*byte);
        } else {
            escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn what_must_be_escaped_is() {
        for (given, expected) in [
            (
                "GET /a?filter=N==\"w\" HTTP/1.1\r\nX: \"y\"\r\n\r\n",
                "GET /a?filter=N==%22w%22 HTTP/1.1\r\nX: \"y\"\r\n\r\n",
            ),
            ("\r\nPUT /`<é> HTTP/1.1\nbody \"", "\r\nPUT /%60%3C%C3%A9%3E HTTP/1.1\nbody \""),
            ("GET /a%22?b HTTP/1.1\r\n", "GET /a%22?b HTTP/1.1\r\n"),
            ("\"no\" line", "\"no\" line"),
            ("GET \"\r\n", "GET \"\r\n"),
            ("GET a\" b\" HTTP/1.1\r\n", "GET a%22 b%22 HTTP/1.1\r\n"),
            ("", ""),
            ("\r\n\r\n", "\r\n\r\n"),
        ] {
            assert_eq!(String::from_utf8(mended(given.as_bytes().to_vec())).unwrap(), expected);
        }
    }

    /// However it comes in pieces and however little is taken at once.
    #[tokio::test]
    async fn bytes_arrive_whole_and_in_order() {
        let request = "GET /\"?\" HTTP/1.1\r\nHost: x\r\n\r\n".to_owned() + &"body\n".repeat(3000);
        let expected = request.replacen("/\"?\"", "/%22?%22", 1);
        for (piece, taken) in [(1, 7), (5, 1), (4096, 4096), (100_000, 64), (17, 100_000)] {
            let (mut client, server) = tokio::io::duplex(piece);
            let sent = request.clone();
            let sending = tokio::spawn(async move {
                for piece in sent.as_bytes().chunks(piece) {
                    client.write_all(piece).await.unwrap();
                }
            });
            let mut server = FirstLine::new(server);
            let (mut got, mut buffer) = (Vec::new(), vec![0; taken]);
            loop {
                match server.read(&mut buffer).await.unwrap() {
                    0 => break,
                    length => got.extend_from_slice(&buffer[..length]),
                }
            }
            sending.await.unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{piece} {taken}");
        }
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_handed_on_in_the_end() {
        let (mut client, server) = tokio::io::duplex(1024 * 1024);
        let mut server = FirstLine::new(server);
        client.write_all("a".repeat(LINE_MAX).as_bytes()).await.unwrap();
        let mut buffer = vec![0; LINE_MAX];
        let read = tokio::time::timeout(Duration::from_secs(30), server.read_exact(&mut buffer)).await;
        assert!(read.unwrap().is_ok());
        // And what ended in the middle, when it ends.
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(b"GET").await.unwrap();
        drop(client);
        let mut text = String::new();
        FirstLine::new(server).read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "GET");
    }
}
