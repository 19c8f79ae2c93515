//! Which records go into the message: what the transport carries, what the client takes, and the habits of the
//! reference.
//!
//! The answer is written as it is and measured; only where it is too large is it cut. Pure: what a plan comes to is
//! said by the caller, who writes it.
//!
//! | rule | here |
//! |---|---|
//! | UDP: no more than `udp_payload_size` bytes, whatever the client takes | [`Limit`] |
//! | UDP without EDNS, or with at most 512 bytes: at most `min(8, udp_answer_limit)` answers of a service | [`plain_answers`] |
//! | when these are cut, the length counts with every name in full, else compressed | [`fit`] |
//! | an answer that is cut keeps one address for each target it names, and no other additional record | `sync` |
//! | the reference leaves 7 bytes free and forgets its own OPT; here all of the message is within the size | [`Limit`] |
//! | TC as the settings say, and where nothing at all could be sent | [`Truncation`] |
//! | other answers (the reference sends them at any length): additional records go, then answers with TC, then all | `whole` |
//! | TCP and all that is like it: 65,523 bytes, 4,096 answers, 1,024 of SRV | [`Limit`] |

use crate::{
    answer::{Answer, Cut},
    client::{Client, Transport},
    policy::{Policy, Truncation},
    wire::{
        HEADER,
        edns::Edns,
        kind,
        record::{Data, Record},
    },
    zone::Zone,
};

/// Size of a UDP message whatever the client (RFC 1035 2.3.4).
const UDP_MIN: usize = 512;
/// What the reference leaves free of a UDP message's size.
const UDP_FREE: usize = 7;
/// Most answers over UDP without EDNS, whatever the settings.
const UDP_ANSWERS_MAX: usize = 8;
/// Largest message of a stream.
const TCP_MAX: usize = 65_535;
/// What the reference fills of it.
const TCP_FILL: usize = 65_523;
/// Most answers in a stream.
const TCP_ANSWERS_MAX: usize = 4096;
/// Most SRV answers in a stream.
const TCP_SRV_MAX: usize = 1024;
/// Bytes of the smallest answer record: a pointer, its fixed part and an IPv4 address.
const ANSWER_MIN: usize = 16;
/// Up to here, names can be pointed at, and lengths reckoned without writing.
const REACH: usize = 0x3fff;
/// The reference looks for the best cut when it is this much over, and drops answers one by one below.
const FAR_OVER: usize = 100;

/// What a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Most bytes, all in all.
    max: usize,
    /// Most bytes without the OPT record.
    fill: usize,
    /// Bytes of the OPT record.
    opt: usize,
    /// Most answers of a service.
    pub most: usize,
    /// Whether `most` is the limit of messages of 512 bytes.
    plain: bool,
}

impl Limit {
    /// The limit of the reply to a request with this EDNS and type.
    pub fn new(client: &Client, edns: Option<&Edns>, kind: u16, zone: &Zone) -> Self {
        if client.transport != Transport::Udp {
            let most = if kind == kind::SRV { TCP_SRV_MAX } else { TCP_ANSWERS_MAX };
            return Self { max: TCP_MAX, fill: TCP_FILL, opt: 0, most, plain: false };
        }
        let most_bytes = usize::from(zone.policy.udp_payload_to(client.address)).max(UDP_MIN);
        let max = edns.map_or(UDP_MIN, |edns| usize::from(edns.size).clamp(UDP_MIN, most_bytes));
        let plain = max == UDP_MIN;
        let most = if plain { plain_answers(kind, zone) } else { max / ANSWER_MIN };
        let fill = if zone.policy.strict() { max } else { max - UDP_FREE };
        Self { max, fill, opt: 0, most, plain }
    }

    /// The same for a reply with an OPT record of so many bytes (0 for none).
    pub fn with_opt(self, opt: usize) -> Self {
        Self { opt, fill: self.fill.min(self.max.saturating_sub(opt)), ..self }
    }

    /// Most bytes of the message.
    pub fn max_bytes(&self) -> usize {
        self.max
    }
}

/// What goes into the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// So many of the answers.
    pub answers: usize,
    /// Whether the authority goes.
    pub authority: bool,
    /// Which additional records.
    pub additional: Additional,
    /// Whether TC is set.
    pub truncated: bool,
}

/// Which additional records go into the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Additional {
    /// The first ones.
    First(usize),
    /// The first ones of [`Scratch::picked`].
    Picked(usize),
}

impl Plan {
    /// Everything.
    fn all(answer: &Answer<'_>) -> Self {
        Self {
            answers: answer.answers.len(),
            authority: true,
            additional: Additional::First(answer.additional.len()),
            truncated: false,
        }
    }

    /// The additional records that go.
    pub fn additional<'s, 'a>(
        &self,
        answer: &'s Answer<'a>,
        scratch: &'s Scratch,
    ) -> impl Iterator<Item = &'s Record<'a>> + use<'s, 'a> {
        let (first, picked) = match self.additional {
            Additional::First(count) => (answer.additional.get(..count).unwrap_or_default(), &[][..]),
            Additional::Picked(count) => (&[][..], scratch.picked.get(..count).unwrap_or_default()),
        };
        first.iter().chain(picked.iter().filter_map(|at| answer.additional.get(*at as usize)))
    }

    /// The answers that go.
    pub fn answers<'s, 'a>(&self, answer: &'s Answer<'a>) -> &'s [Record<'a>] {
        answer.answers.get(..self.answers).unwrap_or_default()
    }
}

/// Lists kept between messages.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Places of additional records that each name a target.
    pub picked: Vec<u32>,
    /// After each answer: the bytes so far, and how many are picked.
    steps: Vec<(usize, usize)>,
}

/// Most answers of a service over UDP without EDNS. By the letter of the RFCs `a_record_limit`, if it is set, means what
/// it says there, too.
pub fn plain_answers(kind: u16, zone: &Zone) -> usize {
    let Policy { a_record_limit, udp_answer_limit, .. } = zone.policy;
    if zone.policy.strict() && a_record_limit > 0 && matches!(kind, kind::A | kind::AAAA | kind::ANY) {
        return a_record_limit;
    }
    udp_answer_limit.min(UDP_ANSWERS_MAX)
}

/// Decides what goes. `measure` writes a plan and says its length; the plan returned is the one written last.
pub fn fit(
    answer: &Answer<'_>,
    question: &[u8],
    limit: &Limit,
    zone: &Zone,
    scratch: &mut Scratch,
    mut measure: impl FnMut(&Plan, &Scratch) -> usize,
) -> Plan {
    let fitting = Fitting { answer, question, limit, zone };
    match answer.cut {
        Cut::Service => fitting.service(scratch, &mut measure),
        Cut::Whole => fitting.whole(scratch, &mut measure),
    }
}

/// Cuts the answer to a question of our own, as that of a client without EDNS.
pub fn shorten_inner(answer: &mut Answer<'_>, question: &[u8], zone: &Zone) {
    answer.answers.truncate(plain_answers(kind::ANY, zone));
    let mut length = HEADER + question.len() + 5;
    let fits = answer.answers.iter().take_while(|record| {
        length += 2 + Record::FIXED + record.data.len(question, &answer.kept);
        length <= UDP_MIN - UDP_FREE
    });
    let count = fits.count().max(1);
    answer.answers.truncate(count);
}

struct Fitting<'f, 'a> {
    answer: &'f Answer<'a>,
    question: &'f [u8],
    limit: &'f Limit,
    zone: &'f Zone,
}

impl Fitting<'_, '_> {
    fn service(&self, scratch: &mut Scratch, measure: &mut impl FnMut(&Plan, &Scratch) -> usize) -> Plan {
        let Limit { max, fill, opt, .. } = *self.limit;
        let count = self.answer.answers.len();
        if self.limit.plain && (self.answer.more || count > self.limit.most) {
            self.sync(scratch, false);
            let kept = self.best(scratch, count, self.limit.most);
            return self.settle(kept, scratch, measure);
        }
        let all = Plan::all(self.answer);
        if !self.answer.more {
            let length = measure(&all, scratch);
            if length <= fill + opt || (count <= 1 && length <= max) {
                return all;
            }
            self.sync(scratch, !self.zone.policy.disable_compression);
            let far = length.saturating_sub(opt) > max + FAR_OVER;
            let from = if far { count } else { count.saturating_sub(1) };
            return self.settle(self.best(scratch, count, from), scratch, measure);
        }
        self.sync(scratch, !self.zone.policy.disable_compression);
        self.settle(self.best(scratch, count, count), scratch, measure)
    }

    /// The most answers, at most `from`, whose reckoned length fits; one at least.
    fn best(&self, scratch: &Scratch, count: usize, from: usize) -> usize {
        let base = HEADER + self.question.len() + 5;
        let fitting =
            scratch.steps.iter().take(from.min(count)).take_while(|(bytes, _)| base + bytes <= self.limit.fill);
        fitting.count().max(usize::from(count > 0))
    }

    /// Writes the first `kept` answers with their addresses, fewer if that is still too much.
    fn settle(&self, kept: usize, scratch: &Scratch, measure: &mut impl FnMut(&Plan, &Scratch) -> usize) -> Plan {
        let fill = self.limit.fill + self.limit.opt;
        let mut kept = kept;
        if self.limit.max > REACH {
            // Beyond the reach of pointers lengths cannot be reckoned: search by writing.
            let (mut fits, mut over) = (0, self.answer.answers.len() + 1);
            while over - fits > 1 {
                let middle = fits + (over - fits) / 2;
                if measure(&self.cut(middle, scratch), scratch) <= fill { fits = middle } else { over = middle }
            }
            kept = fits.max(1);
        }
        loop {
            let plan = self.cut(kept, scratch);
            if measure(&plan, scratch) <= self.limit.max {
                return plan;
            }
            let bare = Plan { additional: Additional::Picked(0), ..plan };
            if kept == 1 && measure(&bare, scratch) <= self.limit.max {
                return bare;
            }
            let Some(fewer) = kept.checked_sub(1).filter(|fewer| *fewer > 0) else {
                return self.nothing(|plan| measure(plan, scratch));
            };
            kept = fewer;
        }
    }

    fn cut(&self, kept: usize, scratch: &Scratch) -> Plan {
        let picked = kept.checked_sub(1).and_then(|last| scratch.steps.get(last)).map_or(0, |(_, picked)| *picked);
        let short = kept < self.answer.answers.len() || self.answer.more;
        let by_size = if self.limit.plain { kept < self.answer.answers.len().min(self.limit.most) } else { short };
        let truncated = match self.zone.policy.truncation {
            Truncation::Never => false,
            Truncation::BySize => by_size || (short && kept == 0),
            Truncation::Always => short,
        };
        Plan { answers: kept, authority: true, additional: Additional::Picked(picked), truncated }
    }

    fn whole(&self, scratch: &Scratch, measure: &mut impl FnMut(&Plan, &Scratch) -> usize) -> Plan {
        let all = Plan::all(self.answer);
        let max = self.limit.max;
        if measure(&all, scratch) <= max {
            return all;
        }
        let bare = Plan { additional: Additional::First(0), ..all };
        if measure(&bare, scratch) <= max {
            let plan = |count| Plan { additional: Additional::First(count), ..all };
            return most(self.answer.additional.len(), plan, |plan| measure(plan, scratch) <= max);
        }
        let plan = |count| Plan { answers: count, truncated: true, ..bare };
        let best = most(self.answer.answers.len(), plan, |plan| measure(plan, scratch) <= max);
        if best.answers > 0 { best } else { self.nothing(|plan| measure(plan, scratch)) }
    }

    /// TC alone, with the authority if there is room for its names.
    fn nothing(&self, mut measure: impl FnMut(&Plan) -> usize) -> Plan {
        let nothing = Plan { answers: 0, authority: true, additional: Additional::First(0), truncated: true };
        if measure(&nothing) <= self.limit.max {
            return nothing;
        }
        let bare = Plan { authority: false, ..nothing };
        measure(&bare);
        bare
    }

    /// Picks for each target the first record of its name, and of the names that one is an alias of; reckons lengths
    /// with names pointed to (`tight`) or in full. Ends with the first answer that is too much by any reckoning.
    fn sync(&self, scratch: &mut Scratch, tight: bool) {
        let Answer { answers, additional, kept, .. } = self.answer;
        let Scratch { picked, steps } = scratch;
        picked.clear();
        steps.clear();
        let mut bytes = 0;
        let mut from = 0;
        for (place, record) in answers.iter().enumerate() {
            if bytes > self.limit.max && self.limit.max <= REACH {
                return;
            }
            bytes += self.length(record, tight);
            let before = answers.get(..place).unwrap_or_default();
            let Data::Srv(srv) = &record.data else {
                steps.push((bytes, picked.len()));
                continue;
            };
            let mut target = srv.target;
            let mut again = before.iter().any(|earlier| match &earlier.data {
                Data::Srv(earlier) => earlier.target.same(&target, self.question, kept),
                _ => false,
            });
            while !again {
                let is_target = |record: &Record<'_>| record.owner.same(&target, self.question, kept);
                let found = (from..additional.len()).find(|at| additional.get(*at).is_some_and(is_target));
                let Some((at, found)) = found.and_then(|at| Some((at, additional.get(at)?))) else { break };
                let number = u32::try_from(at).unwrap_or(u32::MAX);
                again = picked.contains(&number);
                if !again {
                    from = from.max(at);
                    picked.push(number);
                    bytes += self.length(found, tight);
                }
                let Data::Cname(next) = found.data else { break };
                target = next;
            }
            steps.push((bytes, picked.len()));
        }
    }

    /// The record's bytes; `tight` if its owner is pointed to.
    fn length(&self, record: &Record<'_>, tight: bool) -> usize {
        let kept = &self.answer.kept;
        if tight {
            return 2 + Record::FIXED + record.data.len(self.question, kept);
        }
        record.len(self.question, kept)
    }
}

/// The plan of most records, `0..=all`, that fits; the one of none if none does. It is the one written last.
fn most(all: usize, plan: impl Fn(usize) -> Plan, mut fits: impl FnMut(&Plan) -> bool) -> Plan {
    let (mut good, mut over) = (0, all + 1);
    while over - good > 1 {
        let middle = good + (over - good) / 2;
        if fits(&plan(middle)) { good = middle } else { over = middle }
    }
    let best = plan(good);
    fits(&best);
    best
}
