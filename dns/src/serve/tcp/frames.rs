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

#[cfg(test)]
mod tests {
    use super::*;

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
