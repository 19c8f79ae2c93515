//! A raw step: a packet as it stands, and whether and how the DNS server reacts.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;

use super::{Observation, unhex};
use crate::conformance::case::Step;
use crate::conformance::world::World;
use crate::dns;

/// How long silence has to last to count as no answer.
const SILENCE: f64 = 0.8;
/// How long each wait on a connection with several messages may last.
const PIPELINE_TIMEOUT: Duration = Duration::from_secs(2);
/// The id of the first of several messages; the others count up.
const FIRST_ID: u16 = 0x4000;
/// The length of a DNS header.
const HEADER: usize = 12;

pub(super) fn observe(world: &mut World, step: &Step, hex: &str) -> anyhow::Result<Observation> {
    let packet = unhex(hex)?;
    let port = world.port("dns");
    if step.pipeline.is_some() || step.split {
        return Ok(several(port, &packet, step.pipeline.unwrap_or(1), step.split));
    }
    let timeout = Duration::from_secs_f64(step.timeout.unwrap_or(SILENCE));
    let answer = match dns::exchange(port, &packet, step.tcp, timeout) {
        Ok(answer) => answer,
        Err(error) if silent(&error) => {
            let mut seen = Observation::default();
            seen.set("answered", false);
            return Ok(seen);
        }
        Err(error) => return Ok(Observation::error(error.to_string())),
    };
    if answer.len() < HEADER {
        return Ok(Observation::error(format!("answer of {} bytes", answer.len())));
    }
    let word = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    let flags = word(2);
    let mut seen = Observation::default();
    seen.set("answered", true);
    seen.set("id_echoed", packet.len() >= 2 && answer[..2] == packet[..2]);
    seen.set("rcode", flags & 15);
    seen.set("opcode", flags >> 11 & 15);
    seen.set("qr", flags & 0x8000 != 0);
    seen.set("counts", json!([word(4), word(6), word(8), word(10)]));
    Ok(seen)
}

/// Several messages on one connection, or each in single bytes.
fn several(port: u16, packet: &[u8], count: u16, split: bool) -> Observation {
    let mut ids = Vec::new();
    let mut codes = Vec::new();
    if let Err(error) = pipeline(port, packet, count, split, &mut ids, &mut codes) {
        let mut seen = Observation::error(format!("{error} after {} answers", ids.len()));
        seen.set("answered", false);
        return seen;
    }
    codes.sort_unstable();
    codes.dedup();
    ids.sort_unstable();
    let mut seen = Observation::default();
    seen.set("answered", true);
    seen.set("answers", ids.len());
    seen.set("rcodes", codes);
    seen.set("ids_echoed", ids == (FIRST_ID..FIRST_ID + count).collect::<Vec<_>>());
    seen
}

fn pipeline(
    port: u16,
    packet: &[u8],
    count: u16,
    split: bool,
    ids: &mut Vec<u16>,
    codes: &mut Vec<u8>,
) -> io::Result<()> {
    let mut stream = dns::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PIPELINE_TIMEOUT)?;
    for number in 0..count {
        let length = packet.len() as u16;
        let id = FIRST_ID + number;
        let framed = [&length.to_be_bytes(), &id.to_be_bytes(), packet.get(2..).unwrap_or_default()].concat();
        for piece in framed.chunks(if split { 1 } else { framed.len() }) {
            stream.write_all(piece)?;
        }
    }
    for _ in 0..count {
        let answer = dns::read_framed(&mut stream)?;
        if answer.len() < HEADER {
            return Err(io::Error::other(format!("answer of {} bytes", answer.len())));
        }
        ids.push(u16::from_be_bytes([answer[0], answer[1]]));
        codes.push(answer[3] & 15);
    }
    Ok(())
}

fn silent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock | UnexpectedEof | ConnectionReset)
}
