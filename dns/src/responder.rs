//! One request in, one reply out: the whole pure path, with the memory it works in.
//!
//! ```text
//!   packet ─► Request ─► answer ─► fit ─► reply          no allocation once the buffers have grown
//!                          └─► Elsewhere: somebody has to be asked first (`errand` does, and comes back)
//! ```
//!
//! Both shells go through here. Each thread has its own responder.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use hickory_proto::rr::RecordType;
use usher_cluster::catalog::Interest;

use crate::{
    answer::{Answer, Desk, Store, View, answer},
    client::{Client, Transport},
    cookie,
    counts::{Counts, Services},
    fit::{Limit, Plan, Scratch, fit},
    limit::{self, Limiter},
    policy::Compat,
    wire::{
        edns::{CookieOption, Edns, Opt},
        flag,
        name::display,
        rcode,
        request::{Request, Verdict},
        word,
        writer::{Section, Style, Tools, Writer},
    },
};

/// The blocks that padded replies are filled up to (RFC 8467 4.1).
const PADDING_BLOCK: usize = 468;

/// Why a question fails that had to be found out elsewhere: an info code of RFC 8914 and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u16,
    words: &'static str,
}

impl Failure {
    /// Too many questions wait for others already.
    pub const BUSY: Self = Self { code: 0, words: "too many questions wait for others already" };
    /// No server of the cluster told what is not held here.
    pub const NO_SERVER: Self = Self { code: 14, words: "no server of the cluster could be asked" };
    /// No recursor answered.
    pub const NO_RECURSOR: Self = Self { code: 22, words: "no recursor answered" };
}

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
    /// The addresses of these names (labels), each with its type.
    Names(Vec<(Vec<u8>, u16)>),
}

/// The memory of the pure path.
pub struct Responder {
    counts: Counts,
    services: Services,
    limiter: Limiter,
    share: u32,
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
            services: Services::default(),
            limiter: Limiter::default(),
            share: 1,
            request: Request::default(),
            desk: Desk::new(seed),
            store: Store::default(),
            pen: Pen::default(),
        }
    }

    /// The same as one of `responders` that answer together: a limited rate is divided among them.
    pub fn one_of(self, responders: usize) -> Self {
        Self { share: u32::try_from(responders).unwrap_or(u32::MAX).max(1), ..self }
    }

    /// How many questions were asked so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Replies to `packet` into `out`, which is emptied first.
    pub fn respond(&mut self, packet: &[u8], client: &Client, view: &View<'_>, out: &mut Vec<u8>) -> Outcome {
        out.clear();
        let mut outcome = self.reply(packet, client, view, out);
        if outcome == Outcome::Replied && view.zone.policy.responses_per_second > 0 {
            outcome = self.limited(client, view, out);
        }
        if outcome == Outcome::Replied {
            self.counts.reply(out);
            if view.zone.policy.log_queries {
                self.log(client, out);
            }
        }
        outcome
    }

    /// One line of log for the question and its reply.
    fn log(&self, client: &Client, reply: &[u8]) {
        let Request { name, kind, .. } = &self.request;
        let flags = word(reply, 2).unwrap_or(0);
        let asked = display(name.wire());
        tracing::info!(
            client = %client.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            transport = ?client.transport,
            name = asked,
            r#type = %RecordType::from(*kind),
            rcode = flags & 15,
            answers = word(reply, 6).unwrap_or(0),
            truncated = flags & flag::TC != 0,
            bytes = reply.len(),
            "DNS query"
        );
    }

    /// Counts `replies` that took that long, each.
    pub fn took(&mut self, time: Duration, replies: u64) {
        self.counts.took(time, replies);
    }

    /// How often services were asked for since this was last emptied.
    pub(crate) fn services(&mut self) -> &mut Services {
        &mut self.services
    }

    fn reply(&mut self, packet: &[u8], client: &Client, view: &View<'_>, out: &mut Vec<u8>) -> Outcome {
        let Self { counts, services, request, desk, store, pen, .. } = self;
        match request.read(packet, view.zone.policy.compat) {
            Verdict::Drop => return Outcome::Dropped,
            Verdict::Reject { rcode, question } => {
                let flags = request.reject_flags(rcode) | low(rcode);
                let by_letter = request.edns.filter(|_| view.zone.policy.strict());
                let opt = opt(by_letter, rcode, None, client, view);
                Bare { question, flags, opt }.write(request, client, pen, view, out);
                return Outcome::Replied;
            }
            Verdict::Answer => {}
        }
        counts.question(request.kind, request.name.label(request.name.labels().saturating_sub(1)) == b"arpa");
        let limit = Limit::new(client, request.edns.as_ref(), request.kind, view.zone);
        let mut made = store.lend();
        answer(request, limit.most, view, desk, &mut made);
        let outcome = match errand(&mut made) {
            Some(errand) => Outcome::Elsewhere(errand),
            None => {
                if let Some(service) = made.service {
                    services.question(service, made.answers.is_empty());
                }
                reply(request, &made, limit, client, pen, view, out);
                Outcome::Replied
            }
        };
        store.keep(made);
        outcome
    }

    /// What becomes of the reply in `out` if only so many may be sent.
    fn limited(&mut self, client: &Client, view: &View<'_>, out: &mut Vec<u8>) -> Outcome {
        let Self { counts, request, limiter, share, pen, .. } = self;
        let Some(address) = client.address.filter(|_| client.transport == Transport::Udp) else {
            return Outcome::Replied;
        };
        if has_good_cookie(request.edns.as_ref(), address, view) {
            return Outcome::Replied;
        }
        let most = (view.zone.policy.responses_per_second / *share).max(1);
        match limiter.judge(address, said(request, out), most, view.now) {
            limit::Verdict::Send => Outcome::Replied,
            limit::Verdict::Drop => {
                counts.limited += 1;
                out.clear();
                Outcome::Dropped
            }
            limit::Verdict::CutDown => {
                counts.limited += 1;
                let why = Some((0, &b"too many replies to this network: ask over TCP, or with a cookie"[..]));
                let opt = opt(request.edns, rcode::NOERROR, why, client, view);
                let flags = request.reply_flags() | flag::TC;
                Bare { question: true, flags, opt }.write(request, client, pen, view, out);
                Outcome::Replied
            }
        }
    }

    /// Writes SERVFAIL in reply to `packet`: what had to be found out elsewhere could not be.
    pub fn fail(
        &mut self,
        packet: &[u8],
        failure: Failure,
        client: &Client,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Self { request, pen, .. } = self;
        if request.read(packet, view.zone.policy.compat) != Verdict::Answer {
            return Outcome::Dropped;
        }
        let why = (failure.code, failure.words.as_bytes());
        let opt = opt(request.edns, rcode::SERVFAIL, Some(why), client, view);
        let flags = request.reply_flags() | flag::RA | low(rcode::SERVFAIL);
        Bare { question: true, flags, opt }.write(request, client, pen, view, out);
        Outcome::Replied
    }
}

/// What the reply in `out` says.
fn said<'r>(request: &'r Request, out: &[u8]) -> limit::Kind<'r> {
    let code = word(out, 2).unwrap_or(0) & 15;
    let has_answers = word(out, 6).is_some_and(|answers| answers > 0);
    match u8::try_from(code).unwrap_or(rcode::SERVFAIL) {
        rcode::NOERROR if has_answers => limit::Kind::Answer(request.name.wire(), request.kind),
        rcode::NOERROR | rcode::NXDOMAIN => limit::Kind::Negative,
        _ => limit::Kind::Error,
    }
}

fn has_good_cookie(edns: Option<&Edns>, client: IpAddr, view: &View<'_>) -> bool {
    let (Some(Edns { cookie: CookieOption::Both(theirs, Some(ours)), .. }), Some(secret)) =
        (edns, view.zone.policy.cookie_secret.as_ref())
    else {
        return false;
    };
    cookie::is_good(secret, *theirs, *ours, client, view.now)
}

/// The bits of a response code that travel in the header.
fn low(rcode: u8) -> u16 {
    u16::from(rcode & 15)
}

/// The reply's OPT record, if the request has one.
fn opt<'o>(
    asked: Option<Edns>,
    rcode: u8,
    error: Option<(u16, &'o [u8])>,
    client: &Client,
    view: &View<'o>,
) -> Option<Opt<'o>> {
    let asked = asked?;
    let policy = &view.zone.policy;
    if policy.compat == Compat::Consul {
        return Some(Opt { size: asked.size, subnet: asked.subnet, ..Opt::default() });
    }
    Some(Opt {
        size: policy.advertised(),
        rcode,
        dnssec_ok: asked.dnssec_ok,
        subnet: asked.subnet,
        nsid: asked.nsid.then_some(policy.node_name.as_bytes()),
        cookie: cookie(asked.cookie, client, view),
        keepalive: client.idle.filter(|_| asked.keepalive).map(tenths),
        error,
        block: if asked.padding && client.transport.encrypted() { PADDING_BLOCK } else { 0 },
    })
}

/// The client's cookie with a fresh one of ours.
fn cookie(asked: CookieOption, client: &Client, view: &View<'_>) -> Option<[u8; 24]> {
    let theirs = match asked {
        CookieOption::Client(theirs) | CookieOption::Both(theirs, _) => theirs,
        CookieOption::None | CookieOption::Broken => return None,
    };
    Some(cookie::of(view.zone.policy.cookie_secret.as_ref()?, theirs, client.address?, view.now))
}

fn tenths(idle: Duration) -> u16 {
    u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX)
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
    Some(Errand::Names(answer.wants.iter().map(|(name, kind)| (name.to_vec(), *kind)).collect()))
}

/// A reply without records.
struct Bare<'o> {
    question: bool,
    flags: u16,
    opt: Option<Opt<'o>>,
}

impl Bare<'_> {
    fn write(&self, request: &Request, client: &Client, pen: &mut Pen, view: &View<'_>, out: &mut Vec<u8>) {
        let mut writer = Writer::begin(out, &mut pen.tools, request, &[], self.flags, style(client, view));
        if self.question {
            writer.question(request);
        }
        if let Some(opt) = &self.opt {
            writer.opt(opt, Limit::new(client, request.edns.as_ref(), request.kind, view.zone).max_bytes());
        }
        writer.finish();
    }
}

/// Writes as much of the answer as goes.
fn reply(
    request: &Request,
    answer: &Answer<'_>,
    limit: Limit,
    client: &Client,
    pen: &mut Pen,
    view: &View<'_>,
    out: &mut Vec<u8>,
) {
    let Pen { tools, scratch } = pen;
    let why = answer.error.map(|(code, words)| (code, words.of(&answer.kept)));
    let asked = request.edns.filter(|_| answer.edns);
    let opt = opt(asked, answer.rcode, why, client, view);
    let limit = limit.with_opt(opt.map_or(0, |opt| opt.bytes()));
    let flags = flags(request, answer);
    let write = |plan: &Plan, scratch: &Scratch| {
        let flags = flags | if plan.truncated { flag::TC } else { 0 };
        let mut writer = Writer::begin(out, tools, request, &answer.kept, flags, style(client, view));
        writer.question(request);
        for record in plan.answers(answer) {
            writer.record(Section::Answer, record);
        }
        for record in answer.authority.iter().filter(|_| plan.authority) {
            writer.record(Section::Authority, record);
        }
        for record in plan.additional(answer, scratch) {
            writer.record(Section::Additional, record);
        }
        if let Some(opt) = &opt {
            writer.opt(opt, limit.max_bytes());
        }
        writer.finish()
    };
    fit(answer, request.name.wire(), &limit, view.zone, scratch, write);
}

/// How names are written. Over TLS and QUIC hickory-server writes the reply anew, compressed in its own way and in long
/// messages less than we would: what fits in full fits there.
fn style(client: &Client, view: &View<'_>) -> Style {
    match client.transport {
        Transport::Tls | Transport::Quic => Style { compress: false, share_targets: false },
        _ => Style { compress: !view.zone.policy.disable_compression, share_targets: true },
    }
}

/// The flags of a reply that is not cut.
fn flags(request: &Request, answer: &Answer<'_>) -> u16 {
    let set = |bit: u16, on: bool| if on { bit } else { 0 };
    request.reply_flags() | set(flag::AA, answer.authoritative) | set(flag::RA, answer.recursion) | low(answer.rcode)
}
