//! One request in, one reply out: the whole pure path, with the memory it works in.
//!
//! ```text
//!   packet ─► Request ─► answer ─► fit ─► reply          no allocation once the buffers have grown
//!                          └─► Elsewhere: somebody has to be asked first (`errand` does, and comes back)
//! ```
//!
//! Both shells go through here. Each thread has its own responder.

use usher_cluster::catalog::Interest;

use crate::{
    answer::{Answer, Desk, Store, View, answer},
    fit::{Limit, Plan, Scratch, Transport, fit},
    wire::{
        flag, rcode,
        request::{Request, Verdict},
        writer::{Section, Style, Tools, Writer},
    },
    zone::Zone,
};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It deserves no reply.
    Dropped,
    /// The reply is written.
    Replied,
    /// Others have to be asked first; nothing is written.
    Elsewhere(Errand),
}

/// What others have to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Parts of the catalog that are not held here.
    Fetch(Vec<Interest>),
    /// The client's own question.
    Forward,
    /// The addresses of these names (labels).
    Names(Vec<Vec<u8>>),
}

/// How many questions were asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// For names under our domains and those of others.
    pub domain: u64,
    /// For the names of addresses.
    pub reverse: u64,
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        let Self { domain, reverse } = self;
        Self { domain: domain.wrapping_sub(earlier.domain), reverse: reverse.wrapping_sub(earlier.reverse) }
    }
}

/// The memory of the pure path.
pub struct Responder {
    counts: Counts,
    request: Request,
    desk: Desk,
    store: Store,
    pen: Pen,
}

/// What writing takes.
#[derive(Default)]
pub struct Pen {
    tools: Tools,
    scratch: Scratch,
}

impl Responder {
    /// A responder whose random order comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            counts: Counts::default(),
            request: Request::default(),
            desk: Desk::new(seed),
            store: Store::default(),
            pen: Pen::default(),
        }
    }

    /// How many questions were asked so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Replies to `packet` into `out`, which is emptied first.
    pub fn respond(&mut self, packet: &[u8], transport: Transport, view: &View<'_>, out: &mut Vec<u8>) -> Outcome {
        let style = Style { compress: !view.zone.policy.disable_compression, share_targets: true };
        let write = |request: &Request, answer: &Answer<'_>, limit: &Limit, pen: &mut Pen| {
            let Pen { tools, scratch } = pen;
            let write = |plan: &Plan, scratch: &Scratch| written(out, tools, request, answer, plan, scratch, style);
            fit(answer, request.name.wire(), limit, view.zone, scratch, write);
        };
        match self.request.read(packet) {
            Verdict::Drop => return Outcome::Dropped,
            Verdict::Reject { rcode, question } => {
                reject(&self.request, rcode, question, &mut self.pen.tools, out);
                return Outcome::Replied;
            }
            Verdict::Answer => {}
        }
        self.answered(transport, view, write).map_or_else(Outcome::Elsewhere, |()| Outcome::Replied)
    }

    /// Makes the answer and hands it with its plan to `take`: for a shell that writes messages itself. `measure` says
    /// how long such a message is; it is asked only about those that might be too long.
    pub fn plan<T>(
        &mut self,
        packet: &[u8],
        transport: Transport,
        view: &View<'_>,
        measure: impl Fn(&Request, &Answer<'_>, &Plan, &Scratch) -> usize,
        take: impl FnOnce(&Request, &Answer<'_>, &Plan, &Scratch) -> T,
    ) -> Planned<T> {
        match self.request.read(packet) {
            Verdict::Drop => return Planned::Dropped,
            Verdict::Reject { rcode, .. } => return Planned::Rejected(rcode),
            Verdict::Answer => {}
        }
        let mut taken = None;
        let made = self.answered(transport, view, |request, answer, limit, pen| {
            let Pen { scratch, .. } = pen;
            // In full a message is never shorter than compressed: one that fits in full need not be written to know.
            let measure = |plan: &Plan, scratch: &Scratch| {
                let length = in_full(request, answer, plan, scratch, limit);
                if length <= limit.most_bytes() { length } else { measure(request, answer, plan, scratch) }
            };
            let plan = fit(answer, request.name.wire(), limit, view.zone, scratch, measure);
            taken = Some(take(request, answer, &plan, scratch));
        });
        match (made, taken) {
            (Ok(()), Some(taken)) => Planned::Made(taken),
            (Ok(()), None) => Planned::Dropped,
            (Err(errand), _) => Planned::Elsewhere(errand),
        }
    }

    fn answered(
        &mut self,
        transport: Transport,
        view: &View<'_>,
        write: impl FnOnce(&Request, &Answer<'_>, &Limit, &mut Pen),
    ) -> Result<(), Errand> {
        let Self { counts, request, desk, store, pen } = self;
        match request.name.label(request.name.labels().saturating_sub(1)) {
            b"arpa" => counts.reverse += 1,
            _ => counts.domain += 1,
        }
        let limit = Limit::new(transport, request.edns.as_ref(), request.kind, view.zone);
        let mut made = store.lend();
        answer(request, limit.most, view, desk, &mut made);
        let done = match errand(&mut made) {
            Some(errand) => Err(errand),
            None => {
                write(request, &made, &limit, pen);
                Ok(())
            }
        };
        store.keep(made);
        done
    }

    /// Writes SERVFAIL in reply to `packet`: what had to be found out elsewhere could not be.
    pub fn fail(&mut self, packet: &[u8], zone: &Zone, out: &mut Vec<u8>) -> Outcome {
        if self.request.read(packet) != Verdict::Answer {
            return Outcome::Dropped;
        }
        let flags = failed_flags(&self.request);
        let style = Style { compress: !zone.policy.disable_compression, share_targets: true };
        let request = &self.request;
        let mut writer = Writer::begin(out, &mut self.pen.tools, request, &[], flags, style);
        writer.question(request);
        if let Some(edns) = &request.edns {
            writer.edns(edns);
        }
        writer.finish();
        Outcome::Replied
    }
}

/// What became of a request whose reply is written elsewhere.
#[derive(Debug)]
pub enum Planned<T> {
    /// It deserves no reply.
    Dropped,
    /// It is refused with this code.
    Rejected(u8),
    /// The answer was taken.
    Made(T),
    /// Others have to be asked first.
    Elsewhere(Errand),
}

/// The flags of a reply.
pub fn flags(request: &Request, answer: &Answer<'_>, plan: &Plan) -> u16 {
    let set = |bit: u16, on: bool| if on { bit } else { 0 };
    request.reply_flags()
        | set(flag::AA, answer.authoritative)
        | set(flag::TC, plan.truncated)
        | set(flag::RA, answer.recursion)
        | u16::from(answer.rcode)
}

/// The flags of a failure to find out something elsewhere.
pub fn failed_flags(request: &Request) -> u16 {
    request.reply_flags() | flag::RA | u16::from(rcode::SERVFAIL)
}

fn errand(answer: &mut Answer<'_>) -> Option<Errand> {
    if !answer.needs.is_empty() {
        return Some(Errand::Fetch(std::mem::take(&mut answer.needs)));
    }
    if answer.forward {
        return Some(Errand::Forward);
    }
    if answer.wants.is_empty() {
        return None;
    }
    Some(Errand::Names(answer.wants.iter().map(|name| name.to_vec()).collect()))
}

fn reject(request: &Request, rcode: u8, question: bool, tools: &mut Tools, out: &mut Vec<u8>) {
    let flags = request.reject_flags(rcode) | u16::from(rcode);
    let style = Style { compress: true, share_targets: true };
    let mut writer = Writer::begin(out, tools, request, &[], flags, style);
    if question {
        writer.question(request);
    }
    writer.finish();
}

/// Writes what the plan says; returns the message's length.
fn written(
    out: &mut Vec<u8>,
    tools: &mut Tools,
    request: &Request,
    answer: &Answer<'_>,
    plan: &Plan,
    scratch: &Scratch,
    style: Style,
) -> usize {
    let mut writer = Writer::begin(out, tools, request, &answer.kept, flags(request, answer, plan), style);
    writer.question(request);
    for record in plan.answers(answer) {
        writer.record(Section::Answer, record);
    }
    for record in &answer.authority {
        writer.record(Section::Authority, record);
    }
    for record in plan.additional(answer, scratch) {
        writer.record(Section::Additional, record);
    }
    if let Some(edns) = request.edns.as_ref().filter(|_| answer.edns) {
        writer.edns(edns);
    }
    writer.finish()
}

/// The length of what the plan says with every name in full.
fn in_full(request: &Request, answer: &Answer<'_>, plan: &Plan, scratch: &Scratch, limit: &Limit) -> usize {
    let question = request.name.wire();
    let records = plan.answers(answer).iter().chain(&answer.authority).chain(plan.additional(answer, scratch));
    let records: usize = records.map(|record| record.len(question, &answer.kept)).sum();
    crate::wire::HEADER + question.len() + 5 + records + limit.opt_bytes()
}
