//! Names of others: questions passed on to the recursors, and host names in the catalog followed to their addresses.
//!
//! Off the hot path: part of an errand.
//!
//! | rule | here |
//! |---|---|
//! | recursors in order, or in random order; each has `recursor_timeout` | [`exchange::ask`] |
//! | NOERROR and NXDOMAIN are passed on as they came; other codes, and silence, try the next | [`forward`] |
//! | the same transport as the client's; a cut answer over UDP goes to the client with TC | [`forward`] |
//! | all failed: SERVFAIL with RA | `errand` |
//! | a host name is asked for its A records only | [`find`] |
//! | a cut answer to that is asked again over TCP (the reference goes without) | [`find`] |

mod exchange;

use std::net::SocketAddr;

use hickory_proto::{
    op::Message,
    rr::{Name as HickoryName, RData},
};
use rand::seq::SliceRandom;

use crate::{
    answer::chase::{Outside, OutsideData},
    client::Transport,
    wire::{HEADER, flag, kind, rcode, word},
    zone::Zone,
};

/// Passes the client's own question on; `None` if nobody answered it.
pub(crate) async fn forward(zone: &Zone, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
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
    let _verdict_is_known = request.read(packet, crate::policy::Compat::Consul);
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
pub(crate) async fn find(zone: &Zone, name: &[u8]) -> Vec<Outside> {
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
