//! Messages in a stream: two bytes of length before each (RFC 1035 4.2.2). Pure.

/// The message `bytes` begin with, and the bytes behind it; `None` if it has not come whole.
pub(super) fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Appends a message with its length. One that is empty, or longer than lengths can say, is no message and left out.
pub(super) fn push(stream: &mut Vec<u8>, message: &[u8]) {
    let Ok(length @ 1..) = u16::try_from(message.len()) else { return };
    stream.extend_from_slice(&length.to_be_bytes());
    stream.extend_from_slice(message);
}

/// A target of `dns/fuzz`: the first byte says in which pieces the rest comes as a stream. The same messages come out as
/// if it came at once, and what is written of them is read again.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "for `dns/fuzz`")]
pub fn fuzzed(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let (mut held, mut pieces, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
    for part in stream.chunks(usize::from(*piece).max(1)) {
        held.extend_from_slice(part);
        while let Some((message, rest)) = next(&held) {
            pieces.push(message.to_vec());
            push(&mut rewritten, message);
            let rest = rest.len();
            held.drain(..held.len() - rest);
        }
        assert!(held.len() < 2 + usize::from(u16::MAX), "what is held is less than one message");
    }
    let whole =
        |stream| std::iter::successors(next(stream), |(_, rest)| next(rest)).map(|(message, _)| message.to_vec());
    assert!(whole(stream).eq(pieces.iter().cloned()), "as if it came at once");
    let good = pieces.into_iter().filter(|message| !message.is_empty());
    assert!(whole(&rewritten).eq(good), "read again");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzing_began_with_and_found() {
        crate::fuzzing::replay("frames", fuzzed);
    }

    #[test]
    fn messages_come_out_as_they_went_in_wherever_the_stream_is_cut() {
        let long = vec![7; 65_535];
        let mut stream = Vec::new();
        for message in [&b"one"[..], b"", &long, b"x"] {
            push(&mut stream, message);
        }
        push(&mut stream, &vec![0; 65_536]);
        let wanted = [&b"one"[..], &long, b"x"];
        let whole: Vec<&[u8]> = std::iter::successors(next(&stream), |(_, rest)| next(rest)).map(|it| it.0).collect();
        assert_eq!(whole, wanted);
        for (cut, count) in [(0, 0), (1, 0), (4, 0), (5, 1), (6, 1), (65_541, 1), (65_542, 2), (65_544, 2), (65_545, 3)]
        {
            let part = &stream[..cut];
            assert_eq!(std::iter::successors(next(part), |(_, rest)| next(rest)).count(), count, "{cut}");
        }
        assert_eq!(next(b"\0\0x"), Some((&b""[..], &b"x"[..])), "an empty one is passed over");
    }
}
