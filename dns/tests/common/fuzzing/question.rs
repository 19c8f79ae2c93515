//! Questions that are good, made from bytes: names of the catalog and others, every type, EDNS with options.

use usher_dns::{
    client::{Client, Transport},
    policy::Compat,
};

use super::reply::{Said, each_server};

/// What names are put together from; other labels come from the bytes.
const LABELS: &[&str] = &[
    "web",
    "_web",
    "_tcp",
    "a",
    "b",
    "v1",
    "_and",
    "_or",
    "big",
    "six",
    "both",
    "sick",
    "dead",
    "ext",
    "toward",
    "ring",
    "one",
    "far",
    "odd",
    "wordy",
    "n01",
    "NODE",
    "d0",
    "node",
    "with",
    "dots",
    "svc",
    "service",
    "dc1",
    "dc2",
    "consul",
    "alt",
    "test",
    "addr",
    "0a000001",
    "20010db8000000000000000000000000",
    "ns",
    "hosted",
    "prefix*",
    "*",
    "0",
    "10",
    "4",
    "in-addr",
    "ip6",
    "arpa",
    "query",
    "connect",
    "virtual",
    "ingress",
    "example",
    "com",
];
/// What names end with.
const ENDS: &[&[&str]] = &[
    &["service", "consul"],
    &["node", "consul"],
    &["service", "dc1", "consul"],
    &["service", "alt", "test"],
    &["addr", "consul"],
    &["consul"],
    &["in-addr", "arpa"],
    &["ip6", "arpa"],
    &[],
];
const KINDS: &[u16] = &[1, 2, 5, 6, 12, 13, 16, 28, 33, 35, 43, 48, 64, 65, 255, 257];
const OPTIONS: &[u16] = &[3, 8, 10, 11, 12, 15, 65_001];
/// The options whose data can be wrong.
const DELICATE: [u16; 2] = [8, 10];
/// Bytes of labels in a name.
const NAME_MAX: usize = 254;

/// Takes bytes from the front; zeros when they are over.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn one(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.one(), self.one()])
    }

    fn some(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.one()).collect()
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.one()) % from.len()]
    }
}

/// A question.
struct Made {
    packet: Vec<u8>,
    /// Nothing in it can be wrong.
    good: bool,
}

fn make(bytes: &[u8]) -> Made {
    let mut bytes = Bytes(bytes);
    let (flags, shape) = (bytes.one(), bytes.one());
    let edns = shape & 1 != 0;
    // RD in the high byte; AD and CD in the low one.
    let mut packet = vec![bytes.one(), bytes.one(), flags & 1, flags & 0x30, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    let name = name(&mut bytes, usize::from(shape >> 1 & 7));
    packet.extend_from_slice(&name);
    packet.push(0);
    let kind = if shape & 0x10 != 0 { bytes.word() } else { bytes.of(KINDS) };
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    let mut good = true;
    if edns {
        let size = bytes.word();
        let mut options = Vec::new();
        for _ in 0..shape >> 5 {
            let code = bytes.of(OPTIONS);
            good &= !DELICATE.contains(&code);
            let length = bytes.one() % 48;
            options.extend_from_slice(&code.to_be_bytes());
            options.extend_from_slice(&[0, length]);
            options.extend(bytes.some(length.into()));
        }
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&size.to_be_bytes());
        packet.extend_from_slice(&[0, 0, flags & 0x80, 0]);
        packet.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
        packet.extend_from_slice(&options);
    }
    Made { packet, good }
}

/// Labels.
fn name(bytes: &mut Bytes<'_>, labels: usize) -> Vec<u8> {
    let mut name = Vec::new();
    let end = bytes.of(ENDS);
    for _ in 0..labels {
        let which = bytes.one();
        let label = match which {
            0..192 => LABELS[usize::from(which) % LABELS.len()].as_bytes().to_vec(),
            _ => bytes.some(usize::from(which) - 191).into_iter().take(63).collect(),
        };
        push(&mut name, &label);
    }
    end.iter().for_each(|label| push(&mut name, label.as_bytes()));
    name
}

fn push(name: &mut Vec<u8>, label: &[u8]) {
    if name.len() + 1 + label.len() <= NAME_MAX {
        name.push(u8::try_from(label.len()).unwrap());
        name.extend_from_slice(label);
    }
}

/// The target.
pub fn run(bytes: &[u8]) {
    const FORMERR: u16 = 1;
    let Made { packet, good } = make(bytes);
    each_server(|server| {
        let Some([stream, datagram]) = server.ask_all(&packet) else { panic!("no reply to {packet:02x?}") };
        if server.world.zone.policy.compat == Compat::Rfc && good {
            assert_ne!(stream.code, FORMERR, "{packet:02x?}");
        }
        for (transport, said) in [(Transport::Tcp, &stream), (Transport::Udp, &datagram)] {
            let Some(other) = server.ask_another(&packet, &Client::by(transport)) else { panic!("no other reply") };
            compare(said, &other, &packet);
        }
    });
}

/// Who answers must not matter: other instances may be drawn, but of the same kind and as many. What an alias leads to is
/// of any length, and so is what fits.
fn compare(one: &Said, other: &Said, packet: &[u8]) {
    assert_eq!((one.code, one.authoritative), (other.code, other.authoritative), "{packet:02x?}");
    if !one.truncated && !other.truncated && !one.aliased && !other.aliased {
        assert_eq!(one.counts[..2], other.counts[..2], "{packet:02x?}");
    }
}
