//! Whether a recursor leads back to this agent, found out with names that nobody else asks for.
//!
//! ```text
//!   probe: <random token>.usher-loop.internal TXT ─► recursor ─► … ─► back to us: it loops, and is left out
//! ```
//!
//! A recursor is probed when it is new, when it failed, and now and then while it loops, so that it is taken back.
//! `internal` is a domain that is never delegated, so the probe of a recursor in order finds nothing, and resolvers do not
//! answer it by themselves as they do `test` and `invalid` (RFC 6303, RFC 6761). Pure: time and tokens are passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::wire::qname::QName;

/// How often a recursor that loops is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often one that fails is looked at, at most.
const SUSPECT: Duration = Duration::from_secs(10);
/// How long a token counts: who reads it later in a log cannot have a recursor left out.
const TOKEN_LIFE: Duration = Duration::from_secs(30);
/// What the names of probes end in.
const SUFFIX: &str = "usher-loop.internal";
const SUFFIX_LABELS: &[u8] = b"\x0ausher-loop\x08internal";

/// What tells one probe from another.
pub(super) type Token = [u8; 16];

/// What is known of one recursor.
#[derive(Debug)]
pub(super) struct Watch {
    probe: Option<(Token, Instant)>,
    came_back: bool,
    loops: bool,
    due: Option<Instant>,
}

impl Watch {
    /// A recursor nothing is known of: it is to be probed at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { probe: None, came_back: false, loops: false, due: Some(now) }
    }

    /// Whether it leads back to us.
    pub(super) fn loops(&self) -> bool {
        self.loops
    }

    /// When it is to be probed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A probe with this token is sent.
    pub(super) fn sent(&mut self, token: Token, now: Instant) {
        self.probe = Some((token, now));
        self.came_back = false;
        self.due = None;
    }

    /// A question with this token has reached us. Whether it is news that the recursor loops; `None` if the token is none
    /// of its own.
    pub(super) fn reached_us(&mut self, token: Token, now: Instant) -> Option<bool> {
        self.probe.filter(|(sent, since)| *sent == token && now < *since + TOKEN_LIFE)?;
        let news = !self.loops;
        self.came_back = true;
        self.loops = true;
        self.due = Some(now + LOOK_AGAIN);
        Some(news)
    }

    /// The probe was answered, or its time is over. Whether it is news that the recursor does not loop.
    pub(super) fn ended(&mut self) -> bool {
        let news = self.loops && !self.came_back;
        if news {
            self.loops = false;
            self.due = None;
        }
        news
    }

    /// A question to it failed: perhaps it went round. Whether a probe is due because of that.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        if self.due.is_some() {
            return false;
        }
        self.due = Some(self.probe.map_or(now, |(_, since)| now.max(since + SUSPECT)));
        true
    }
}

/// The labels of the name with this token.
pub(super) fn name(token: Token) -> Vec<u8> {
    let mut labels = vec![32];
    labels.extend(format!("{:032x}", u128::from_be_bytes(token)).into_bytes());
    labels.extend_from_slice(SUFFIX_LABELS);
    labels
}

/// The token in a name.
pub(super) fn token(name: &QName) -> Option<Token> {
    let digits = std::str::from_utf8(name.label(0)).ok()?;
    if name.before(SUFFIX, 2) != Some(1) || digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = [0xab; 16];

    fn read(labels: &[u8]) -> Option<Token> {
        let mut name = QName::default();
        name.set(labels).unwrap();
        token(&name)
    }

    #[test]
    fn names_carry_their_token_in_any_case() {
        assert_eq!(read(&name(TOKEN)), Some(TOKEN));
        assert_eq!(read(&name(TOKEN).to_ascii_uppercase()), Some(TOKEN));
        assert_eq!(read(&name([0; 16])), Some([0; 16]));
        for other in [&b"\x03www\x04test"[..], SUFFIX_LABELS, b"\x01a\x0ausher-loop\x08internal", b""] {
            assert_eq!(read(other), None);
        }
        assert_eq!(read(&[b"\x01x", name(TOKEN).as_slice()].concat()), None);
    }

    #[test]
    fn a_recursor_is_left_out_while_it_loops() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(start);
        assert_eq!(watch.reached_us([0; 16], start), None, "nothing was sent");
        assert_eq!(watch.due(), Some(start));
        watch.sent(TOKEN, start);
        assert_eq!((watch.due(), watch.loops()), (None, false));
        assert_eq!(watch.reached_us([1; 16], after(1)), None, "somebody else's");
        assert!(watch.reached_us(TOKEN, after(1)) == Some(true) && watch.loops());
        assert_eq!(watch.reached_us(TOKEN, after(1)), Some(false), "no news");
        assert!(!watch.ended());
        assert!(!watch.failed(after(2)));
        assert_eq!(watch.due(), Some(after(31)));
        watch.sent([2; 16], after(31));
        assert_eq!(watch.reached_us(TOKEN, after(31)), None, "the last one's");
        assert!(watch.loops(), "until the probe has ended");
        assert!(watch.ended() && !watch.loops());
        assert_eq!(watch.due(), None);
        assert!(watch.reached_us([2; 16], after(60)) == Some(true) && watch.loops(), "it took its time");
        assert_eq!(watch.due(), Some(after(90)));
        watch.sent(TOKEN, after(90));
        assert!(watch.ended());
        assert_eq!(watch.reached_us(TOKEN, after(121)), None, "read in a log");
    }

    #[test]
    fn one_that_fails_is_looked_at_now_and_then() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(start);
        assert!(!watch.failed(start), "it is due already");
        watch.sent(TOKEN, start);
        assert!(!watch.ended());
        assert!(watch.failed(after(3)));
        assert!(!watch.failed(after(4)));
        assert_eq!(watch.due(), Some(after(10)));
        watch.sent(TOKEN, after(10));
        assert!(!watch.ended());
        assert!(watch.failed(after(60)));
        assert_eq!(watch.due(), Some(after(60)));
    }
}
