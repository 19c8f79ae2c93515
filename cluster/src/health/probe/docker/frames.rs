//! What a program in a container prints comes in frames: a byte that says which stream, three of zero, four with the
//! length, the bytes. Pure.

/// Length of a frame's head.
const HEAD: usize = 8;

/// Reads frames from pieces of any size.
#[derive(Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
    /// Whether this is no stream of frames: it is taken as it is.
    raw: bool,
}

impl Frames {
    /// Gives what was printed to `printed`; nothing is held back but an incomplete head.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut printed: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.raw {
                return printed(bytes);
            }
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= payload.len();
                printed(payload);
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at((HEAD - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(head);
            bytes = rest;
            match *self.head.as_slice() {
                // Engines that were asked for a terminal send no frames.
                [stream, ..] if stream > 2 => self.give_up(&mut printed),
                [0..=2, 0, 0, 0, a, b, c, d] => {
                    self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.head.clear();
                }
                [_, _, _, _, _, _, _, _] => self.give_up(&mut printed),
                _ => {}
            }
        }
    }

    fn give_up(&mut self, printed: &mut impl FnMut(&[u8])) {
        self.raw = true;
        printed(&self.head);
        self.head.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> String {
        let (mut frames, mut text) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            frames.read(piece, |printed| text.extend_from_slice(printed));
        }
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn frames_are_read_from_pieces_of_any_size() {
        let stream = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x04err\n\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!";
        for piece in 1..=stream.len() {
            assert_eq!(read(stream, piece), "outerr\n!");
            assert_eq!(read(b"plain text, no frames", piece), "plain text, no frames");
            assert_eq!(read(b"raw", piece), "raw");
            assert_eq!(read(b"\x01\0\0\x01 not a head", piece), "\u{1}\0\0\u{1} not a head");
        }
    }
}
