//! The bytes on disk: those of today, those of yesterday, and what must not pass for either.

use proptest::prelude::*;

use super::*;
use crate::catalog::{
    command::{Deregistration, Registration},
    model::{Check, Service, Status},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn registration() -> Entry {
    let service = Service {
        id: "web1".to_owned(),
        name: "web".to_owned(),
        tags: vec!["v1".to_owned()],
        port: 80,
        ..Service::default()
    };
    let check = Check { id: "up".to_owned(), status: Status::Passing, ..Check::default() };
    let command = Command::Register(Registration {
        node: "n1".to_owned(),
        address: "10.0.0.1".to_owned(),
        service: Some(service),
        checks: vec![check],
        ..Registration::default()
    });
    Entry { log_id: log_id(3, 7), payload: EntryPayload::Normal(Proposal(Arc::new(command))) }
}

fn deregistration() -> Entry {
    let command = Command::Deregister(Deregistration { node: "n1".to_owned(), ..Deregistration::default() });
    Entry { log_id: log_id(3, 8), payload: EntryPayload::Normal(Proposal(Arc::new(command))) }
}

fn configuration() -> Entry {
    let server = Server { node_id: "id".to_owned(), name: "n1".to_owned(), address: "127.0.0.1:8300".to_owned() };
    let membership = Membership::new(vec![BTreeSet::from([5])], BTreeMap::from([(5, server)])).unwrap();
    Entry { log_id: log_id(0, 0), payload: EntryPayload::Membership(membership) }
}

fn blank() -> Entry {
    Entry { log_id: log_id(2, 1), payload: EntryPayload::Blank }
}

type Made = fn() -> Entry;

/// Bytes that were on disks once. They must be read for ever: add, never change.
const STORED_ENTRIES: &[(&str, Made)] = &[
    (
        "
        010183a47465726d03a5696e64657807a77061796c6f616481a7436f6d6d616e6481a8526567697374657289a76e6f64655f
        6964a0a46e6f6465a26e31a761646472657373a831302e302e302e31aa6461746163656e746572a0b07461676765645f6164
        6472657373657380a96e6f64655f6d65746180b0736b69705f6e6f64655f757064617465c2a7736572766963658ba26964a4
        77656231a46e616d65a3776562a47461677391a27631a761646472657373a0b07461676765645f61646472657373657380a4
        6d65746180a4706f727450a77765696768747382a770617373696e6701a77761726e696e6701b3656e61626c655f7461675f
        6f76657272696465c2ac6372656174655f696e64657800ac6d6f646966795f696e64657800a6636865636b73918da46e6f64
        65a0a26964a27570a46e616d65a0a6737461747573a770617373696e67a56e6f746573a0a66f7574707574a0aa7365727669
        63655f6964a0ac736572766963655f6e616d65a0ac736572766963655f7461677390a46b696e64a0aa646566696e6974696f
        6e8aa468747470a0af746c735f7365727665725f6e616d65a0af746c735f736b69705f766572696679c2a668656164657280
        a66d6574686f64a0a4626f6479a0a3746370a0ab696e74657276616c5f6e7300aa74696d656f75745f6e7300d92464657265
        6769737465725f637269746963616c5f736572766963655f61667465725f6e7300ac6372656174655f696e64657800ac6d6f
        646966795f696e64657800284c4c6f",
        registration,
    ),
    (
        "
        010183a47465726d03a5696e64657808a77061796c6f616481a7436f6d6d616e6481aa4465726567697374657283a46e6f64
        65a26e31aa736572766963655f6964a0a8636865636b5f6964a08b03d699",
        deregistration,
    ),
    (
        "
        010183a47465726d00a5696e64657800a77061796c6f616481aa4d656d6265727368697082a6766f74657273919105a77365
        7276657273810583a76e6f64655f6964a26964a46e616d65a26e31a761646472657373ae3132372e302e302e313a38333030
        461f1725",
        configuration,
    ),
    ("010183a47465726d02a5696e64657801a77061796c6f6164a5426c616e6b8b983316", blank),
];
const STORED_VOTE: &str = "020183a47465726d04a9766f7465645f666f7205a9636f6d6d6974746564c3da6b35bc";
const STORED_POSITION: &str =
    "030183a873657175656e636509a9636f6d6d697474656482a47465726d03a5696e64657807a6707572676564c03a3ba6db";
const STORED_IDENTITY: &str = "040181a7726166745f69640549618784";

#[test]
fn bytes_of_version_1_are_read() {
    for (bytes, entry) in STORED_ENTRIES {
        let entry = entry();
        assert_eq!(decode_entry(entry.log_id.index, &unhex(bytes)).unwrap(), entry);
    }
    let vote = unhex(STORED_VOTE);
    assert_eq!(decode_vote(&vote).unwrap(), Vote::new_committed(4, 5));
    let position: Position = decode(Kind::Position, &unhex(STORED_POSITION)).unwrap();
    let committed = Some(StoredId { term: 3, index: 7 });
    assert_eq!(position, Position { sequence: 9, committed, purged: None });
    let identity: Identity = decode(Kind::Identity, &unhex(STORED_IDENTITY)).unwrap();
    assert_eq!(identity, Identity { raft_id: 5 });
}

/// What is written today is what the constants hold, and where this fails older versions may not read it. Commands are
/// not among it: they grow fields, which older versions pass over.
#[test]
fn bytes_of_version_1_are_written() {
    for (bytes, entry) in STORED_ENTRIES {
        let entry = entry();
        if !matches!(entry.payload, EntryPayload::Normal(_)) {
            assert_eq!(hex(&encode_entry(&entry).unwrap()), hex(&unhex(bytes)));
        }
    }
    assert_eq!(hex(&encode_vote(&Vote::new_committed(4, 5)).unwrap()), STORED_VOTE);
    let committed = Some(StoredId { term: 3, index: 7 });
    let position = Position { sequence: 9, committed, purged: None };
    assert_eq!(hex(&encode(Kind::Position, &position).unwrap()), STORED_POSITION);
    assert_eq!(hex(&encode(Kind::Identity, &Identity { raft_id: 5 }).unwrap()), STORED_IDENTITY);
}

/// A record with another head and a checksum that fits.
fn with_head(kind: u8, version: u8, record: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, version];
    bytes.extend_from_slice(&record[HEAD..record.len() - TAIL]);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn what_is_not_known_is_an_error_that_says_so() {
    let record = encode_entry(&registration()).unwrap();
    assert_eq!(decode_entry(7, &with_head(1, 1, &record)).unwrap(), registration());
    assert_eq!(decode_entry(7, &with_head(1, 2, &record)).unwrap_err(), CodecError::Version { found: 2 });
    assert_eq!(decode_entry(7, &with_head(99, 1, &record)).unwrap_err(), CodecError::Kind { found: 99, expected: 1 });
    assert!(matches!(decode_entry(8, &record).unwrap_err(), CodecError::Body(_)));

    #[derive(Serialize)]
    struct Later {
        term: u64,
        index: u64,
        payload: LaterPayload,
    }
    #[derive(Serialize)]
    enum LaterPayload {
        Command(LaterCommand),
        Checkpoint,
    }
    #[derive(Serialize)]
    enum LaterCommand {
        Transact { steps: u64 },
    }
    let later = Later { term: 1, index: 1, payload: LaterPayload::Command(LaterCommand::Transact { steps: 2 }) };
    let error = decode_entry(1, &encode(Kind::Entry, &later).unwrap()).unwrap_err();
    assert!(error.to_string().contains("Transact"), "{error}");
    let later = Later { term: 1, index: 1, payload: LaterPayload::Checkpoint };
    let error = decode_entry(1, &encode(Kind::Entry, &later).unwrap()).unwrap_err();
    assert!(error.to_string().contains("Checkpoint"), "{error}");
}

#[test]
fn a_field_that_was_added_later_is_no_error() {
    #[derive(Serialize)]
    struct LaterPosition {
        sequence: u64,
        lease: &'static str,
    }
    let bytes = encode(Kind::Position, &LaterPosition { sequence: 3, lease: "new" }).unwrap();
    let position: Position = decode(Kind::Position, &bytes).unwrap();
    assert_eq!(position, Position { sequence: 3, ..Position::default() });
}

#[test]
fn any_changed_or_missing_byte_is_seen() {
    let record = encode_entry(&registration()).unwrap();
    for place in 0..record.len() {
        for bit in [0x01, 0x80] {
            let mut changed = record.clone();
            changed[place] ^= bit;
            assert_eq!(decode_entry(7, &changed).unwrap_err(), CodecError::Damaged, "byte {place}");
        }
        assert!(decode_entry(7, &record[..place]).is_err(), "{place} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn entries_come_back(term in any::<u64>(), index in any::<u64>(), node in ".*", port in any::<i64>(), output in ".*") {
        let service = Service { name: node.clone(), port, ..Service::default() };
        let check = Check { output, status: Status::from(node.as_str()), ..Check::default() };
        let service = Some(service);
        let command = Command::Register(Registration { node, service, checks: vec![check], ..Registration::default() });
        let entry = Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(Arc::new(command))) };
        prop_assert_eq!(decode_entry(index, &encode_entry(&entry).unwrap()).unwrap(), entry);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(decode_entry(0, &bytes).is_err());
        // The same with a head and a checksum that fit: no panic, whatever the body is.
        let mut record = vec![Kind::Entry as u8, VERSION];
        record.extend_from_slice(&bytes);
        let checksum = crc32fast::hash(&record);
        record.extend_from_slice(&checksum.to_le_bytes());
        let _ = decode_entry(0, &record);
    }
}
