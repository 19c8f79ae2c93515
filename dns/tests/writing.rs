//! What we write is what hickory-proto, an independent reader, reads: names, cases, data, counts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::query;
use hickory_proto::op::Message;
use proptest::{collection::vec, prelude::*};
use usher_dns::policy::Compat;
use usher_dns::wire::{
    flag,
    name::{Bytes, Name, display, encoded},
    record::{Data, Record, Soa, Srv},
    request::{Request, Verdict},
    writer::{Section, Style, Tools, Writer},
};

/// A record, owned; names are indexes into the case's list.
#[derive(Clone, Debug)]
enum Kind {
    A(u32),
    Aaaa(u128),
    Cname(usize),
    Ns(usize),
    Ptr(usize),
    Soa(usize, usize),
    Srv(u16, usize),
    Txt(Vec<u8>),
}

/// Names of few labels, so that they share endings in every way; cases differ.
fn name() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        Just("a"),
        Just("A"),
        Just("node"),
        Just("dc1"),
        Just("consul"),
        Just("a-rather-long-label-of-some-service")
    ];
    vec(label, 1..8).prop_map(|labels| labels.join("."))
}

fn kind() -> impl Strategy<Value = Kind> {
    let name = || 0..8_usize;
    prop_oneof![
        1 => any::<u32>().prop_map(Kind::A),
        1 => any::<u128>().prop_map(Kind::Aaaa),
        1 => name().prop_map(Kind::Cname),
        1 => name().prop_map(Kind::Ns),
        1 => name().prop_map(Kind::Ptr),
        1 => (name(), name()).prop_map(|(mname, rname)| Kind::Soa(mname, rname)),
        3 => (any::<u16>(), name()).prop_map(|(port, target)| Kind::Srv(port, target)),
        1 => vec(97..123_u8, 0..200).prop_map(Kind::Txt),
    ]
}

fn data<'a>(kind: &Kind, names: &[Name<'a>], text: &'a [u8]) -> Data<'a> {
    match kind {
        Kind::A(bits) => Data::A(Ipv4Addr::from(*bits)),
        Kind::Aaaa(bits) => Data::Aaaa(Ipv6Addr::from(*bits)),
        Kind::Cname(name) => Data::Cname(names[*name]),
        Kind::Ns(name) => Data::Ns(names[*name]),
        Kind::Ptr(name) => Data::Ptr(names[*name]),
        Kind::Soa(mname, rname) => {
            Data::Soa(Soa { mname: names[*mname], rname: names[*rname], serial: 7, timers: [1, 2, 3, 4] })
        }
        Kind::Srv(port, target) => Data::Srv(Srv { priority: 1, weight: 2, port: *port, target: names[*target] }),
        Kind::Txt(_) => Data::Txt(Bytes::Lent(text)),
    }
}

fn shown(kind: &Kind, names: &[String]) -> String {
    let dotted = |at: &usize| format!("{}.", names[*at]);
    match kind {
        Kind::A(bits) => Ipv4Addr::from(*bits).to_string(),
        Kind::Aaaa(bits) => Ipv6Addr::from(*bits).to_string(),
        Kind::Cname(name) | Kind::Ns(name) | Kind::Ptr(name) => dotted(name),
        Kind::Soa(mname, rname) => format!("{} {} 7 1 2 3 4", dotted(mname), dotted(rname)),
        Kind::Srv(port, target) => format!("1 2 {port} {}", dotted(target)),
        Kind::Txt(text) => String::from_utf8(text.clone()).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_is_read(
        asked in name(),
        names in proptest::array::uniform8(name()),
        splits in proptest::array::uniform8(0..4_usize),
        records in vec((0..9_usize, kind()), 0..40),
        compress in any::<bool>(),
        share_targets in any::<bool>(),
    ) {
        let mut request = Request::default();
        let (packet, _) = query(&format!("{asked} A"));
        prop_assert_eq!(request.read(&packet, Compat::Consul), Verdict::Answer);
        let labels: Vec<Vec<u8>> = names.iter().map(|name| encoded(name).unwrap()).collect();
        // Cut between labels, as heads and tails are.
        let pieces: Vec<Name<'_>> = labels.iter().zip(splits).map(|(labels, split)| {
            let mut at = 0;
            for _ in 0..split {
                at += labels.get(at).map_or(0, |len| usize::from(*len) + 1);
            }
            Name::lent(&labels[..at], &labels[at..])
        }).collect();
        let texts: Vec<Vec<u8>> = records.iter().map(|(_, kind)| match kind {
            Kind::Txt(text) => [&[u8::try_from(text.len()).unwrap()][..], text].concat(),
            _ => Vec::new(),
        }).collect();

        let (mut out, mut tools) = (Vec::new(), Tools::default());
        let style = Style { compress, share_targets };
        let mut writer = Writer::begin(&mut out, &mut tools, &request, &[], flag::QR | flag::AA, style);
        writer.question(&request);
        let mut in_full = 12 + request.name.wire().len() + 5;
        for ((owner, kind), text) in records.iter().zip(&texts) {
            let owner = pieces.get(*owner).copied().unwrap_or(Name::Question);
            let record = Record { owner, ttl: 5, data: data(kind, &pieces, text) };
            in_full += record.len(request.name.wire(), &[]);
            writer.record(Section::Answer, &record);
        }
        let length = writer.finish();
        prop_assert_eq!(length, out.len());
        prop_assert!(if compress { length <= in_full } else { length == in_full }, "{} of {}", length, in_full);

        let message = Message::from_vec(&out).unwrap();
        prop_assert_eq!(message.queries[0].name.to_ascii(), format!("{asked}."));
        let want: Vec<String> = records.iter().map(|(owner, kind)| {
            format!("{}. {}", names.get(*owner).unwrap_or(&asked), shown(kind, &names))
        }).collect();
        let got: Vec<String> = message.answers.iter().map(|record| format!("{} {}", record.name.to_ascii(), record.data)).collect();
        prop_assert_eq!(got, want);
    }
}

#[test]
fn repeated_names_are_pointed_to_and_targets_are_not_compressed() {
    let mut request = Request::default();
    request.read(&query("web.service.consul SRV").0, Compat::Consul);
    let target = encoded("h1.node.dc1.consul").unwrap();
    let target = Name::lent(&target, &[]);
    let (mut out, mut tools) = (Vec::new(), Tools::default());
    let style = Style { compress: true, share_targets: true };
    let mut writer = Writer::begin(&mut out, &mut tools, &request, &[], flag::QR, style);
    writer.question(&request);
    let srv = Data::Srv(Srv { priority: 1, weight: 1, port: 80, target });
    writer.record(Section::Answer, &Record { owner: Name::Question, ttl: 0, data: srv });
    let address = Data::A(Ipv4Addr::new(10, 0, 0, 1));
    writer.record(Section::Additional, &Record { owner: target, ttl: 0, data: address });
    writer.finish();
    let shown = |range: std::ops::Range<usize>| out[range].to_vec();
    assert_eq!(shown(36..38), [0xc0, 12], "the owner is the question");
    assert_eq!(display(&out[54..73]), "h1.node.dc1.consul.", "in full: RFC 2782");
    assert_eq!(shown(74..76), [0xc0, 54], "and pointed to");
}
