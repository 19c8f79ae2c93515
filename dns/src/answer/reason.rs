//! Why an answer is negative or odd, in words for people and a code for programs (RFC 8914). Written only for clients
//! that speak EDNS; the words go into the bytes an answer keeps, so nothing is allocated.

use std::fmt::{Arguments, Write};

use super::{Answer, kept};

/// Info codes of RFC 8914 section 5.2.
pub(super) mod code {
    /// For which there is no code of its own.
    pub(crate) const OTHER: u16 = 0;
    /// An answer that may be out of date.
    pub(crate) const STALE: u16 = 3;
    /// A name that was missing, and may be there by now.
    pub(crate) const STALE_NXDOMAIN: u16 = 19;
    /// This server is not responsible for the name.
    pub(crate) const NOT_AUTHORITATIVE: u16 = 20;
    /// What is asked for is not served.
    pub(crate) const NOT_SUPPORTED: u16 = 21;
}

/// Most bytes of words; a plain UDP message has room for them beside a name and its SOA.
const WORDS_MAX: usize = 160;

impl Answer<'_> {
    /// Notes why this is the answer. The first reason stays: later ones follow from it.
    pub(super) fn explain(&mut self, code: u16, words: Arguments<'_>) {
        if !self.explains || self.error.is_some() {
            return;
        }
        let start = self.kept.len();
        let mut words_kept = Words { out: &mut self.kept, end: start + WORDS_MAX };
        // Words that do not fit are cut, and that is all that can go wrong.
        let _cut = words_kept.write_fmt(words);
        self.error = Some((code, kept(start, self.kept.len())));
    }
}

/// Takes as many whole characters as there is room for.
struct Words<'w> {
    out: &'w mut Vec<u8>,
    end: usize,
}

impl Write for Words<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.end.saturating_sub(self.out.len());
        let fits = text.floor_char_boundary(room);
        self.out.extend_from_slice(text.get(..fits).unwrap_or_default().as_bytes());
        if fits < text.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}
