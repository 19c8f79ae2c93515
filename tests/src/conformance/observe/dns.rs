//! A DNS step: the question, once or many times, and the answer's code, flags and sections.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record};
use serde_json::{Map, Value};

use super::Observation;
use crate::conformance::case::{Opts, Step};
use crate::conformance::world::World;
use crate::dns;

/// A record of the reference's own, not part of what is compared.
const DROPPED_TXT: &str = "consul-network-segment=";

pub(super) fn observe(world: &mut World, step: &Step, question: &str) -> anyhow::Result<Observation> {
    let question = world.bindings.text(question);
    let options = options(&step.opts);
    let timeout = Duration::from_secs_f64(step.timeout.unwrap_or(3.0) * world.patience());
    let port = world.port("dns");
    let times = step.repeat.unwrap_or(1);
    let start = Instant::now();
    let mut seen = Observation::default();
    let mut orders = HashSet::new();
    for _ in 0..times {
        let query = dns::query(&question, &options)?;
        let packet = match dns::exchange(port, &query.to_vec()?, options.tcp, timeout) {
            Ok(packet) => packet,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                world.in_vain();
                return Ok(Observation::error("no answer"));
            }
            Err(error) => return Ok(Observation::error(error.to_string())),
        };
        let answer = match dns::parse(&packet) {
            Ok(answer) => answer,
            Err(error) => return Ok(Observation::error(format!("cannot parse the answer: {error:#}"))),
        };
        if answer.metadata.id != query.metadata.id {
            return Ok(Observation::error("wrong id in the answer"));
        }
        let view = view(&answer);
        orders.insert(view.get("answer").map(Value::to_string));
        if seen.view.is_empty() {
            seen.view = view;
        }
        seen.size = packet.len();
    }
    if times > 1 {
        seen.set("orders_vary", orders.len() > 1);
    }
    seen.elapsed = start.elapsed();
    Ok(seen)
}

fn options(opts: &Opts) -> dns::Options {
    dns::Options {
        tcp: opts.tcp,
        edns: opts.edns,
        subnet: opts.ecs.clone(),
        dnssec: opts.dnssec,
        recursion: opts.rd.unwrap_or(true),
        checking_disabled: opts.cd,
        authentic: opts.ad,
    }
}

fn view(message: &Message) -> Map<String, Value> {
    let head = &message.metadata;
    let flags = [
        (head.authoritative, "AA"),
        (head.truncation, "TC"),
        (head.recursion_desired, "RD"),
        (head.recursion_available, "RA"),
        (head.message_type != MessageType::Response, "notQR"),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let question = message.queries.iter().map(|query| {
        let (class, kind) = (dns::class_text(query.query_class), dns::type_text(query.query_type));
        format!("{} {class} {kind}", dns::name_text(&query.name))
    });
    let mut view = Map::new();
    let mut set = |key: &str, value: Value| view.insert(key.to_owned(), value);
    set("rcode", dns::code_text(head.response_code).into());
    set("flags", flags.join(" ").into());
    set("question", question.collect());
    set("answer", section(&message.answers));
    set("authority", section(&message.authorities));
    set("additional", section(&message.additionals));
    set("opt", message.edns.is_some().into());
    if let Some((address, source, scope)) = dns::subnet(message) {
        set("ecs", format!("{address}/{source} scope {scope}").into());
    }
    view
}

fn section(records: &[Record]) -> Value {
    let kept: Vec<Record> = records.iter().filter(|record| !dropped(record)).cloned().collect();
    dns::lines(&kept).into_iter().map(any_serial).collect()
}

fn dropped(record: &Record) -> bool {
    match &record.data {
        RData::TXT(txt) => txt.txt_data.first().is_some_and(|text| text.starts_with(DROPPED_TXT.as_bytes())),
        _ => false,
    }
}

/// An SOA line with the mark of any serial: it differs from run to run, but is never zero.
fn any_serial(line: String) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    if let Some(kind) = words.iter().take(4).position(|word| *word == "SOA")
        && let Some(serial) = words.get_mut(kind + 3)
        && *serial != "0"
    {
        *serial = "<uint>";
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_serial_but_zero_is_one() {
        let line =
            |serial: &str| any_serial(format!("consul. 0 SOA ns.consul. host.consul. {serial} 3600 600 86400 0"));
        assert_eq!(line("17"), "consul. 0 SOA ns.consul. host.consul. <uint> 3600 600 86400 0");
        assert_eq!(line("0"), "consul. 0 SOA ns.consul. host.consul. 0 3600 600 86400 0");
        assert_eq!(any_serial("a. 0 TXT \"SOA a b 5\"".to_owned()), "a. 0 TXT \"SOA a b 5\"");
    }
}
