//! Names of others: questions passed on to the recursors, and host names in the catalog followed to their addresses.
//!
//! Off the hot path: tasks with a deadline, each holding one of a limited number of permits.
//!
//! | rule | here |
//! |---|---|
//! | recursors in order, or in random order; each has `recursor_timeout` | [`exchange::ask`] |
//! | NOERROR and NXDOMAIN are passed on as they came; other codes, and silence, try the next | [`forward`] |
//! | the same transport as the client's; a cut answer over UDP goes to the client with TC | [`forward`] |
//! | all failed: SERVFAIL with RA | [`carry_out`] |
//! | a host name is asked for its A records only | [`find`] |
//! | a cut answer to that is asked again over TCP (the reference goes without) | [`find`] |

mod exchange;

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::Message,
    rr::{Name as HickoryName, RData},
};
use rand::seq::SliceRandom;
use tokio::task::JoinSet;

use crate::{
    answer::chase::{Known, Outside, OutsideData},
    fit::Transport,
    responder::{Errand, Outcome, Planned, Responder},
    serve::shared::Shared,
    wire::{HEADER, flag, kind, rcode, word},
    zone::Zone,
};

/// The longest an errand may take; clients have given up by then.
const ERRAND_TIME_MAX: Duration = Duration::from_secs(15);
/// Most names found out for one request; an answer follows no more than 32.
const NAMES_MAX: usize = 32;
/// Most times an answer is tried again with what was found out.
const ROUNDS_MAX: usize = 4;

/// Does what the request needs done elsewhere; returns the reply.
pub(crate) async fn carry_out(shared: &Shared, packet: &[u8], transport: Transport, errand: Errand) -> Vec<u8> {
    let done = tokio::time::timeout(ERRAND_TIME_MAX, async {
        match errand {
            Errand::Forward => forward(&shared.zone(), packet, transport).await,
            Errand::Names(names) => answered(shared, packet, transport, names).await,
        }
    });
    if let Ok(Some(reply)) = done.await {
        return reply;
    }
    let mut reply = Vec::new();
    Responder::new(0).fail(packet, &shared.zone(), &mut reply);
    reply
}

/// Answers again and again with what was found out, until nothing is missing.
async fn answered(shared: &Shared, packet: &[u8], transport: Transport, names: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    let seed = rand::random();
    let answer = |known: &Known| {
        let moment = shared.moment();
        let mut reply = Vec::new();
        // The same seed each time: the same instances are drawn, and need the same names.
        let outcome = Responder::new(seed).respond(packet, transport, &shared.view(&moment, Some(known)), &mut reply);
        match outcome {
            Outcome::Replied => Planned::Made(reply),
            Outcome::Dropped => Planned::Dropped,
            Outcome::Elsewhere(errand) => Planned::Elsewhere(errand),
        }
    };
    match find_out(shared, names, answer).await {
        Some(Planned::Made(reply)) => Some(reply),
        _ => None,
    }
}

/// Finds out the names, and has the answer made; until it needs no more names, or no more may be asked.
pub(crate) async fn find_out<T>(
    shared: &Shared,
    names: Vec<Vec<u8>>,
    answer: impl Fn(&Known) -> Planned<T>,
) -> Option<Planned<T>> {
    let zone = shared.zone();
    let mut known = Known::default();
    let mut asked = HashSet::new();
    let mut names = names;
    for _ in 0..ROUNDS_MAX {
        names.retain(|name| asked.len() < NAMES_MAX && asked.insert(name.clone()));
        let mut finding = JoinSet::new();
        for name in names {
            let zone = zone.clone();
            finding.spawn(async move { (find(&zone, &name).await, name) });
        }
        while let Some(Ok((found, name))) = finding.join_next().await {
            known.learn(&name, found);
        }
        match answer(&known) {
            Planned::Elsewhere(Errand::Names(more)) => names = more,
            done => return Some(done),
        }
    }
    known.close();
    Some(answer(&known))
}

/// Passes the client's own question on; `None` if nobody answered it.
async fn forward(zone: &Zone, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let id = word(packet, 0)?;
    for recursor in recursors(zone) {
        let asked = exchange::ask(recursor, packet, transport, zone.policy.recursor_timeout).await;
        let mut reply = match asked {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%recursor, %error, "recursor failed");
                continue;
            }
        };
        let code = word(&reply, 2).map_or(0, |flags| flags & 15);
        if code != u16::from(rcode::NOERROR) && code != u16::from(rcode::NXDOMAIN) {
            tracing::debug!(%recursor, code, "recursor has no answer");
            continue;
        }
        reply.get_mut(..2)?.copy_from_slice(&id.to_be_bytes());
        return Some(within(reply, packet, transport));
    }
    None
}

/// A reply larger than the client takes becomes its question and TC: recursors know the client's size, but need not
/// keep to it.
fn within(reply: Vec<u8>, packet: &[u8], transport: Transport) -> Vec<u8> {
    let mut request = crate::wire::request::Request::default();
    let _verdict_is_known = request.read(packet);
    let size = request.edns.map_or(512, |edns| usize::from(edns.size).max(512));
    if transport == Transport::Tcp || reply.len() <= size {
        return reply;
    }
    let mut cut = reply;
    cut.truncate(HEADER + request.name.wire().len() + 5);
    if let Some([.., flags_high, _]) = cut.get_mut(..4) {
        *flags_high |= u8::try_from(flag::TC >> 8).unwrap_or(0);
    }
    if let Some(counts) = cut.get_mut(6..HEADER) {
        counts.fill(0);
    }
    cut
}

/// The addresses and aliases a recursor has for a name, asked as for A; nothing if none answers.
async fn find(zone: &Zone, name: &[u8]) -> Vec<Outside> {
    let query = question(name);
    let timeout = zone.policy.recursor_timeout;
    for recursor in recursors(zone) {
        let mut asked = exchange::ask(recursor, &query, Transport::Udp, timeout).await;
        if asked.as_ref().is_ok_and(|reply| word(reply, 2).is_some_and(|flags| flags & flag::TC != 0)) {
            asked = exchange::ask(recursor, &query, Transport::Tcp, timeout).await;
        }
        match asked {
            Ok(reply) => return records(&reply),
            Err(error) => tracing::debug!(%recursor, %error, "recursor failed"),
        }
    }
    Vec::new()
}

fn question(name: &[u8]) -> Vec<u8> {
    let mut query = vec![0, 0];
    query.extend_from_slice(&flag::RD.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend_from_slice(name);
    query.push(0);
    query.extend_from_slice(&kind::A.to_be_bytes());
    query.extend_from_slice(&crate::wire::IN.to_be_bytes());
    query
}

fn records(reply: &[u8]) -> Vec<Outside> {
    let Ok(message) = Message::from_vec(reply) else { return Vec::new() };
    let records = message.answers.iter().filter_map(|record| {
        let data = match &record.data {
            RData::A(address) => OutsideData::A(address.0),
            RData::AAAA(address) => OutsideData::Aaaa(address.0),
            RData::CNAME(target) => OutsideData::Cname(labels(&target.0)?),
            _ => return None,
        };
        Some(Outside { owner: labels(&record.name)?, ttl: record.ttl, data })
    });
    records.collect()
}

fn labels(name: &HickoryName) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.iter() {
        out.push(u8::try_from(label.len()).ok()?);
        out.extend_from_slice(label);
    }
    Some(out)
}

/// The recursors in the order to ask them.
fn recursors(zone: &Zone) -> Vec<SocketAddr> {
    let mut recursors = zone.policy.recursors.clone();
    if zone.policy.recursor_random {
        recursors.shuffle(&mut rand::rng());
    }
    recursors
}
