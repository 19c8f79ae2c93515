//! What is counted of questions and replies. Plain numbers, each written by one thread; `serve::tally` shows them to others.

use std::{collections::HashMap, time::Duration};

use crate::wire::{flag, kind, rcode, word};

/// Types that are told apart, and what they are called; others share the last place.
pub(crate) const KINDS: [(u16, &str); 9] = [
    (kind::A, "A"),
    (kind::AAAA, "AAAA"),
    (kind::SRV, "SRV"),
    (kind::PTR, "PTR"),
    (kind::TXT, "TXT"),
    (kind::ANY, "ANY"),
    (kind::SOA, "SOA"),
    (kind::NS, "NS"),
    (0, "other"),
];

/// Response codes that are told apart, and what they are called; others share the last place.
pub(crate) const CODES: [(u8, &str); 7] = [
    (rcode::NOERROR, "noerror"),
    (rcode::NXDOMAIN, "nxdomain"),
    (rcode::SERVFAIL, "servfail"),
    (rcode::REFUSED, "refused"),
    (rcode::FORMERR, "formerr"),
    (rcode::NOTIMP, "notimp"),
    (u8::MAX, "other"),
];

/// The upper bounds of the times that are told apart, in microseconds; longer ones share the last place.
pub(crate) const TIMES: [u64; 16] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// Most services that are told apart; others share one place, the name of which is empty.
const SERVICES_MAX: usize = 512;

/// How often something was, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions for names under our domains and those of others.
    pub domain: u64,
    /// Questions for the names of addresses.
    pub reverse: u64,
    /// Questions by [`KINDS`].
    pub(crate) kinds: [u64; KINDS.len()],
    /// Replies by [`CODES`].
    pub(crate) codes: [u64; CODES.len()],
    /// Replies that said they were cut.
    pub(crate) truncated: u64,
    /// Replies that rate limiting cut down or held back.
    pub(crate) limited: u64,
    /// Replies by how long they took ([`TIMES`]).
    pub(crate) times: [u64; TIMES.len() + 1],
    /// How long all of them took together, in nanoseconds.
    pub(crate) nanoseconds: u64,
}

impl Counts {
    /// Counts a question.
    pub(crate) fn question(&mut self, asked: u16, reverse: bool) {
        *(if reverse { &mut self.reverse } else { &mut self.domain }) += 1;
        add(&mut self.kinds, KINDS.iter().position(|(kind, _)| *kind == asked), 1);
    }

    /// Counts a reply by its header.
    pub(crate) fn reply(&mut self, message: &[u8]) {
        let flags = word(message, 2).unwrap_or(u16::from(rcode::SERVFAIL));
        let code = u8::try_from(flags & 15).unwrap_or(rcode::SERVFAIL);
        add(&mut self.codes, CODES.iter().position(|(own, _)| *own == code), 1);
        self.truncated += u64::from(flags & flag::TC != 0);
    }

    /// Counts `replies` that took that long, each.
    pub(crate) fn took(&mut self, time: Duration, replies: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        add(&mut self.times, TIMES.iter().position(|bound| micros <= *bound), replies);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(replies);
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
    }

    /// Every number, in a fixed order.
    pub(crate) fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { domain, reverse, kinds, codes, truncated, limited, times, nanoseconds } = self;
        let single = [domain, reverse, truncated, limited, nanoseconds].into_iter();
        single.chain(kinds).chain(codes).chain(times)
    }

    /// Adds other counts.
    pub(crate) fn add(&mut self, mut other: Self) {
        for (own, other) in self.numbers().zip(other.numbers()) {
            *own = own.wrapping_add(*other);
        }
    }

    /// What was added since `earlier`.
    pub(crate) fn since(mut self, mut earlier: Self) -> Self {
        for (own, earlier) in self.numbers().zip(earlier.numbers()) {
            *own = own.wrapping_sub(*earlier);
        }
        self
    }
}

/// How many numbers [`Counts`] holds.
pub(crate) const NUMBERS: usize = 5 + KINDS.len() + CODES.len() + TIMES.len() + 1;

fn add(numbers: &mut [u64], place: Option<usize>, count: u64) {
    let number = match place {
        Some(place) => numbers.get_mut(place),
        None => numbers.last_mut(),
    };
    if let Some(number) = number {
        *number += count;
    }
}

/// How often services were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    by_name: HashMap<Box<str>, Asked>,
    /// Those beyond the limit.
    others: Asked,
}

/// How often one was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Questions.
    pub(crate) questions: u64,
    /// Of these, those for which there was nothing.
    pub(crate) negative: u64,
}

impl Services {
    /// Counts a question for a service that there is.
    pub(crate) fn question(&mut self, service: &str, negative: bool) {
        self.note(service, Asked { questions: 1, negative: u64::from(negative) });
    }

    /// Moves everything into `other`.
    pub(crate) fn move_to(&mut self, other: &mut Self) {
        for (service, asked) in self.by_name.drain() {
            other.note(&service, asked);
        }
        other.others.add(std::mem::take(&mut self.others));
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Each service with its counts; the one without a name stands for those beyond the limit.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, Asked)> {
        let others = Some(("", self.others)).filter(|(_, others)| others.questions > 0);
        self.by_name.iter().map(|(service, asked)| (&**service, *asked)).chain(others)
    }

    fn note(&mut self, service: &str, asked: Asked) {
        if let Some(own) = self.by_name.get_mut(service) {
            return own.add(asked);
        }
        if self.by_name.len() >= SERVICES_MAX {
            return self.others.add(asked);
        }
        self.by_name.insert(service.into(), asked);
    }
}

impl Asked {
    fn add(&mut self, other: Self) {
        self.questions += other.questions;
        self.negative += other.negative;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_place_of_its_own_has_the_last() {
        let mut counts = Counts::default();
        counts.question(kind::SRV, false);
        counts.question(999, true);
        counts.reply(b"\0\0\x82\x03");
        counts.reply(b"\0\0\x80\x0f");
        counts.took(Duration::from_micros(5), 2);
        counts.took(Duration::from_secs(60), 1);
        assert_eq!((counts.domain, counts.reverse, counts.truncated), (1, 1, 1));
        assert_eq!((counts.kinds[2], counts.kinds[8]), (1, 1));
        assert_eq!((counts.codes[1], counts.codes[6]), (1, 1));
        assert_eq!((counts.times[0], counts.times[16]), (2, 1));
        assert_eq!(counts.nanoseconds, 60_000_010_000);
        assert_eq!(counts.numbers().count(), NUMBERS);
        let mut twice = counts;
        twice.add(counts);
        assert_eq!(twice.since(counts), counts);
    }

    #[test]
    fn services_beyond_the_limit_share_a_place() {
        let mut services = Services::default();
        for number in 0..SERVICES_MAX + 10 {
            services.question(&format!("s{number}"), number % 2 == 0);
        }
        let mut all = Services::default();
        services.move_to(&mut all);
        assert!(services.is_empty());
        assert_eq!(all.each().count(), SERVICES_MAX + 1);
        assert_eq!(all.others, Asked { questions: 10, negative: 5 });
        assert_eq!(all.each().map(|(_, asked)| asked.questions).sum::<u64>(), 522);
    }
}
