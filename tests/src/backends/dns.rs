//! A DNS server over UDP whose one zone can be changed: what checks that ask a resolver are pointed at.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};

use super::{lock, udp::Udp};
use crate::dns::name_text;

/// The addresses of each name, which is in lower case and ends in a dot.
type Zone = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

/// A running server.
#[derive(Debug)]
pub struct Dns {
    zone: Zone,
    udp: Udp,
}

impl Dns {
    /// A server that knows no name.
    pub fn start() -> Self {
        let zone = Zone::default();
        let shared = Arc::clone(&zone);
        Self { zone, udp: Udp::start(move |packet| answer(&shared, packet)) }
    }

    /// Gives a name these addresses; none takes the name away.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let name = format!("{}.", name.to_lowercase().trim_end_matches('.'));
        let mut zone = lock(&self.zone);
        match addresses {
            [] => zone.remove(&name),
            some => zone.insert(name, some.to_vec()),
        };
    }

    /// Where it listens.
    pub fn udp(&self) -> &Udp {
        &self.udp
    }
}

fn answer(zone: &Zone, packet: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(packet).ok()?;
    let query = question.queries.first()?;
    let mut response = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    response.metadata.recursion_available = true;
    response.metadata.recursion_desired = question.metadata.recursion_desired;
    response.add_query(query.clone());
    match lock(zone).get(&name_text(query.name()).to_lowercase()) {
        None => response.metadata.response_code = ResponseCode::NXDomain,
        Some(addresses) if query.query_type() == RecordType::A => {
            let record = |address: &Ipv4Addr| Record::from_rdata(query.name().clone(), 60, RData::A(A(*address)));
            response.add_answers(addresses.iter().map(record));
        }
        Some(_) => {}
    }
    response.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{ask, code_text, lines};

    #[test]
    fn the_zone_can_be_changed() {
        let server = Dns::start();
        let port = server.udp().address().port();
        assert_eq!(code_text(ask(port, "db.test A").unwrap().metadata.response_code), "NXDOMAIN");
        server.set("db.test", &[Ipv4Addr::new(192, 0, 2, 7)]);
        assert_eq!(lines(&ask(port, "DB.test A").unwrap().answers), ["db.test. 60 A 192.0.2.7"]);
        assert!(ask(port, "db.test AAAA").unwrap().answers.is_empty());
    }
}
