//! What recursors answered, and that they did not, for as long as that counts.
//!
//! ```text
//!   look ─► fresh | failed a moment ago | out of date, and to be asked again | nothing
//!   recursors answered ─► keep      recursors failed ─► fail
//! ```
//!
//! | rule | source |
//! |---|---|
//! | a failure counts for 5 s: a question nobody can answer is not asked at every turn | RFC 9520 section 3.2 |
//! | what is out of date is kept for `recursor_stale_max` more, and sent when nobody answers | RFC 8767 section 5 |
//! | such an answer is looked for again every 30 s at most | RFC 8767 section 5 |
//! | at either limit the least recently used goes first | |
//!
//! Pure: time is passed in.

use std::time::Duration;

use hashlink::LinkedHashMap;
use tokio::time::Instant;

use super::{question::Key, reply::Keepable};

/// How long a failure counts.
const FAILURE: Duration = Duration::from_secs(5);
/// How long it counts where there is an old answer to send.
const FAILURE_STALE: Duration = Duration::from_secs(30);
/// Bytes of answers for each entry that is allowed: 10,000 entries are 8 MB.
const BYTES_EACH: usize = 800;
/// What an entry takes beside its name and its message.
const OVERHEAD: usize = 192;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Entries; with 0 nothing is kept.
    pub(super) entries: usize,
    /// How long after its life an answer may be sent.
    pub(super) stale_max: Duration,
}

/// What there is for a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Miss,
    /// A failure that still counts.
    Failed,
    /// The answer.
    Fresh(Vec<u8>),
    /// An answer that is out of date: others may know better.
    Stale(Vec<u8>),
    /// An answer that is out of date, and a failure to get another that still counts.
    StaleFailed(Vec<u8>),
}

/// Answers under their questions.
pub(super) struct Cache {
    limits: Limits,
    /// The least recently used first.
    entries: LinkedHashMap<Key, Entry>,
    bytes: usize,
}

#[derive(Default)]
struct Entry {
    kept: Option<Kept>,
    failed_until: Option<Instant>,
}

struct Kept {
    reply: Keepable,
    since: Instant,
}

impl Kept {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether it may be sent at all.
    fn counts(&self, now: Instant, stale_max: Duration) -> bool {
        self.age(now) < self.reply.life().saturating_add(stale_max)
    }
}

impl Cache {
    /// An empty cache.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, entries: LinkedHashMap::new(), bytes: 0 }
    }

    /// What there is for this question now.
    pub(super) fn look(&mut self, key: &Key, now: Instant) -> Look {
        let stale_max = self.limits.stale_max;
        let Some(entry) = self.entries.to_back(key) else { return Look::Miss };
        let failed = entry.failed_until.is_some_and(|until| now < until);
        match entry.kept.as_ref().filter(|kept| kept.counts(now, stale_max)) {
            Some(kept) if kept.age(now) < kept.reply.life() => Look::Fresh(kept.reply.aged(kept.age(now))),
            Some(kept) if failed => Look::StaleFailed(kept.reply.stale()),
            Some(kept) => Look::Stale(kept.reply.stale()),
            None if failed => Look::Failed,
            None => {
                self.remove(key);
                Look::Miss
            }
        }
    }

    /// Keeps what recursors answered, if it may be kept; what was known before is out of date in any case.
    pub(super) fn keep(&mut self, key: &Key, reply: &[u8], now: Instant) {
        self.remove(key);
        if let Some(reply) = Keepable::new(reply, key.kind()) {
            self.insert(key, Entry { kept: Some(Kept { reply, since: now }), failed_until: None });
        }
    }

    /// Notes that no recursor answered.
    pub(super) fn fail(&mut self, key: &Key, now: Instant) {
        let stale_max = self.limits.stale_max;
        let before = self.remove(key).unwrap_or_default();
        let kept = before.kept.filter(|kept| kept.counts(now, stale_max));
        let counts = if kept.is_some() { FAILURE_STALE } else { FAILURE };
        self.insert(key, Entry { kept, failed_until: Some(now + counts) });
    }

    fn insert(&mut self, key: &Key, entry: Entry) {
        self.bytes += cost(key, &entry);
        self.entries.insert(key.clone(), entry);
        let Limits { entries, .. } = self.limits;
        while self.entries.len() > entries || self.bytes > entries.saturating_mul(BYTES_EACH) {
            let Some((key, entry)) = self.entries.pop_front() else { return };
            self.bytes -= cost(&key, &entry);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= cost(key, &entry);
        Some(entry)
    }
}

/// The bytes an entry takes.
fn cost(key: &Key, entry: &Entry) -> usize {
    OVERHEAD + key.bytes() + entry.kept.as_ref().map_or(0, |kept| kept.reply.bytes())
}

#[cfg(test)]
mod tests {
    use super::{super::question::Question, *};
    use crate::wire::kind;

    fn question(number: u32) -> Question {
        let text = format!("{number:08}");
        Question::of_host(&[&[8], text.as_bytes(), b"\x04test"].concat(), kind::A)
    }

    fn key(number: u32) -> Key {
        question(number).key.unwrap()
    }

    /// An address, with this TTL, and `padding` bytes of another record.
    fn reply(number: u32, ttl: u8, padding: u16) -> Vec<u8> {
        let mut reply = question(number).query;
        reply[2] |= 0x80;
        reply[7] = 2;
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, 80]);
        reply.extend([0xc0, 12, 0xff, 1, 0, 1, 0, 0, 0, ttl]);
        reply.extend(padding.to_be_bytes());
        reply.extend(vec![0; padding.into()]);
        reply
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn cache(entries: usize, stale_max: Duration) -> Cache {
        Cache::new(Limits { entries, stale_max })
    }

    /// What there is, as a word; with the TTL of an answer.
    fn word(look: &Look) -> String {
        // Where the TTL of the first record ends: behind header, question, owner, type and class.
        let ttl = |reply: &[u8]| reply[12 + 15 + 4 + 9];
        match look {
            Look::Miss => "miss".into(),
            Look::Failed => "failed".into(),
            Look::Fresh(reply) => format!("fresh {}", ttl(reply)),
            Look::Stale(reply) => format!("stale {}", ttl(reply)),
            Look::StaleFailed(reply) => format!("stale, failed {}", ttl(reply)),
        }
    }

    #[test]
    fn answers_live_age_and_are_forgotten() {
        let start = Instant::now();
        // Seconds since the start, what happens (if anything), what is there then; without stale answers, and with.
        let cases: &[(u64, &str, &str, &str)] = &[
            (0, "", "miss", "miss"),
            (0, "fail", "failed", "failed"),
            (4, "", "failed", "failed"),
            (5, "", "miss", "miss"),
            (6, "keep", "fresh 10", "fresh 10"),
            (9, "", "fresh 7", "fresh 7"),
            (15, "", "fresh 1", "fresh 1"),
            (16, "", "miss", "stale 30"),
            (17, "fail", "failed", "stale, failed 30"),
            (22, "", "miss", "stale, failed 30"),
            (46, "", "miss", "stale, failed 30"),
            (47, "", "miss", "stale 30"),
            (48, "keep", "fresh 10", "fresh 10"),
            (3657, "", "miss", "stale 30"),
            (3658, "", "miss", "miss"),
            (3659, "keep", "fresh 10", "fresh 10"),
            (3660, "keep 0", "miss", "miss"),
        ];
        for (with_stale, mut cache) in [(false, cache(10, Duration::ZERO)), (true, cache(10, HOUR))] {
            for (seconds, event, without, with) in cases {
                let now = start + Duration::from_secs(*seconds);
                match *event {
                    "keep" => cache.keep(&key(1), &reply(1, 10, 0), now),
                    "keep 0" => cache.keep(&key(1), &reply(1, 0, 0), now),
                    "fail" => cache.fail(&key(1), now),
                    _ => {}
                }
                let want = if with_stale { with } else { without };
                assert_eq!(word(&cache.look(&key(1), now)), *want, "{seconds} s, stale answers: {with_stale}");
            }
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let now = Instant::now();
        let mut cache = cache(3, Duration::ZERO);
        for number in 1..=3 {
            cache.keep(&key(number), &reply(number, 10, 0), now);
        }
        assert_eq!(word(&cache.look(&key(1), now)), "fresh 10");
        cache.fail(&key(4), now);
        let left: Vec<String> = (1..=4).map(|number| word(&cache.look(&key(number), now))).collect();
        assert_eq!(left, ["fresh 10", "miss", "fresh 10", "failed"]);
    }

    #[test]
    fn neither_many_names_nor_large_answers_take_more_than_the_limit() {
        let now = Instant::now();
        let mut cache = cache(100, HOUR);
        for number in 0..5000 {
            cache.keep(&key(number), &reply(number, 10, 700), now);
            cache.fail(&key(number + 10_000), now);
            assert!(cache.entries.len() <= 100 && cache.bytes <= 100 * BYTES_EACH, "{number}");
        }
        assert!(cache.bytes > 50 * BYTES_EACH, "it is used");
        cache.keep(&key(1), &reply(1, 10, 60_000), now);
        assert!(matches!(cache.look(&key(1), now), Look::Fresh(_)), "one large answer has room");
        let sum: usize = cache.entries.iter().map(|(key, entry)| cost(key, entry)).sum();
        assert_eq!(cache.bytes, sum);
        cache.keep(&key(2), &reply(2, 10, 65_000), now);
        cache.keep(&key(3), &reply(3, 10, 65_000), now);
        assert!(cache.bytes <= 100 * BYTES_EACH);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let now = Instant::now();
        let mut cache = cache(0, HOUR);
        cache.keep(&key(1), &reply(1, 10, 0), now);
        cache.fail(&key(2), now);
        assert_eq!((word(&cache.look(&key(1), now)), word(&cache.look(&key(2), now))), ("miss".into(), "miss".into()));
        assert_eq!((cache.entries.len(), cache.bytes), (0, 0));
    }
}
