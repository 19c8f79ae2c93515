//! Any bytes as a recursor's reply, through everything that is done with one short of sockets: is it the reply to the
//! question, may it be kept, what is it when it is older, what does a client get, what addresses are in it.
//!
//! Here, because nobody else may know these parts. Compiled for tests, and for `dns/fuzz`.

use std::time::Duration;

use hickory_proto::op::Message;
use tokio::time::Instant;

use super::{
    cache::{Cache, Limits, Look},
    exchange,
    question::{Asker, Question},
    records::{Frame, frames},
    reply::{self, Keepable, LIFE_MAX, addressed},
};
use crate::{
    client::Transport,
    wire::{HEADER, IN, flag, kind, qname::QName, word},
};

/// The name asked for where the reply has none.
const NAME: &[u8] = b"\x03wWw\x07eXample\x03com";
/// How long what is out of date is sent.
const STALE: Duration = Duration::from_secs(3600);
/// The client's id.
const ID: [u8; 2] = *b"\xc1\xd2";

/// The first byte says how the client asks, the rest is the reply.
pub fn run(bytes: &[u8]) {
    let Some((how, came)) = bytes.split_first() else { return };
    let packet = packet(*how, came);
    let (Some(asker), Some(question)) = (Asker::of(&packet), Question::of_client(&packet)) else {
        panic!("a good question is refused: {packet:02x?}");
    };
    let mut came = came.to_vec();
    if let Some(id) = came.get_mut(..2) {
        // The id it is asked with is drawn; here it is 0.
        id.fill(0);
    }
    check_addresses(&came);
    let asked_for = question.key.as_ref().map_or(kind::A, super::question::Key::kind);
    if let Some(kept) = Keepable::new(&came, asked_for) {
        check_ages(&kept, &came);
    }
    if !exchange::is_reply(&question.query, &came) {
        return;
    }
    let mut cut = came.clone();
    exchange::cut(&mut cut, &question.query);
    assert!(cut.len() <= came.len() && reply::is_cut(&cut), "cut");
    if !reply::is_answer(&came) {
        return;
    }
    send(&came, &asker);
    let Some(key) = &question.key else { return };
    let start = Instant::now();
    let mut cache = Cache::new(Limits { entries: 100, stale_max: STALE });
    cache.keep(key, &came, start);
    for seconds in [0, 1, 29, 900, 86_400, 89_999, 90_001] {
        match cache.look(key, start + Duration::from_secs(seconds)) {
            Look::Fresh(message) | Look::Stale(message) | Look::StaleFailed(message) => {
                assert_eq!(message.len(), came.len(), "{seconds} s");
                assert!(seconds <= 90_000, "kept for too long");
                send(&message, &asker);
            }
            Look::Miss | Look::Failed => {}
        }
    }
}

/// A client's request for what the reply says was asked.
fn packet(how: u8, came: &[u8]) -> Vec<u8> {
    let mut name = QName::default();
    let behind = name.read(came, HEADER);
    let asked = behind.and_then(|at| Some((word(came, at)?, word(came, at + 2)?)));
    let (kind, class) = asked.unwrap_or((kind::A, IN));
    let edns = how & 1 != 0;
    let mut packet = ID.to_vec();
    packet.extend_from_slice(&[how >> 1 & 1, how & 0x30, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
    packet.extend_from_slice(if behind.is_some() { name.wire() } else { NAME });
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&class.to_be_bytes());
    if edns {
        let sizes = [0, 512, 600, 1232, 4096, 65_535, 513, 1];
        let size: u16 = sizes.get(usize::from(how >> 5)).copied().unwrap_or_default();
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&size.to_be_bytes());
        packet.extend_from_slice(&[0, 0, how << 4 & 0x80, 0, 0, 0]);
    }
    packet
}

/// What is sent to a client, over each transport.
fn send(message: &[u8], asker: &Asker) {
    let udp = addressed(message.to_vec(), asker, Transport::Udp).unwrap_or_default();
    assert!(udp.len() <= asker.size, "{} bytes of {}", udp.len(), asker.size);
    let tcp = addressed(message.to_vec(), asker, Transport::Tcp).unwrap_or_default();
    assert_eq!(tcp.len(), message.len(), "whole over TCP");
    for sent in [&udp, &tcp] {
        assert_eq!(sent.get(..2), Some(&ID[..]), "the client's id");
        assert_eq!(word(sent, 2).map(|flags| flags & flag::QR), Some(flag::QR), "a reply");
    }
    if udp.len() < message.len() {
        // Others read it: a question alone.
        assert!(reply::is_cut(&udp), "cut, and does not say so");
        let read = Message::from_vec(&udp);
        let questions = read.as_ref().map(|message| message.queries.len());
        assert_eq!(questions.ok(), Some(1), "{udp:02x?} of {message:02x?}");
        let name = asker.name.wire();
        assert_eq!(udp.len(), HEADER + name.len() + 5, "nothing behind the question: {udp:02x?}");
        assert_eq!(udp.get(HEADER..HEADER + name.len()), Some(name), "in the client's letters");
    }
}

/// What is changed in a reply that was kept.
fn check_ages(kept: &Keepable, came: &[u8]) {
    assert!(kept.life() <= Duration::from_secs(LIFE_MAX.into()) && !kept.life().is_zero(), "{:?}", kept.life());
    let before = frames(came).unwrap_or_default();
    for message in [kept.aged(Duration::ZERO), kept.aged(kept.life() - Duration::from_secs(1)), kept.stale()] {
        let after = frames(&message).unwrap_or_default();
        assert_eq!(message.len(), came.len(), "as long as it was");
        let places = |frames: &[Frame]| frames.iter().map(|frame| (frame.kind, frame.data.clone())).collect::<Vec<_>>();
        assert_eq!(places(&before), places(&after), "no record moves");
        // Nothing but TTLs and a flag is another.
        let ttls: Vec<usize> = before.iter().filter_map(Frame::ttl_at).map(usize::from).collect();
        for (at, (old, new)) in came.iter().zip(&message).enumerate() {
            let may = at == 2 || ttls.iter().any(|ttl| (*ttl..ttl + 4).contains(&at));
            assert!(old == new || may, "byte {at}");
        }
    }
}

/// Addresses and aliases are found under names that can be written.
fn check_addresses(came: &[u8]) {
    for outside in super::records(came) {
        assert!(outside.owner.len() < 255, "an owner of {} bytes", outside.owner.len());
    }
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn what_fuzzing_began_with_and_found() {
        crate::fuzzing::replay("recursor_reply", run);
    }
}
