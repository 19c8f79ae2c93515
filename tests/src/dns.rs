//! A DNS client: questions over UDP and TCP, answers as the lines a zone file would have.
//!
//! hickory-proto takes messages apart; the text of names and records is made here, byte for byte as the recorded cases
//! have it (escapes as RFC 1035 5.1 writes them), and does not depend on how that library prints things.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use rand::RngExt as _;

/// How long a server may take to answer unless told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// What a question may ask for beside name and type.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ask over TCP.
    pub tcp: bool,
    /// The size of EDNS; without EDNS when `None`.
    pub edns: Option<u16>,
    /// EDNS client subnet, as `192.0.2.0/24`.
    pub subnet: Option<String>,
    /// The DO bit.
    pub dnssec: bool,
    /// Recursion desired.
    pub recursion: bool,
    /// The CD bit.
    pub checking_disabled: bool,
    /// The AD bit.
    pub authentic: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tcp: false,
            edns: None,
            subnet: None,
            dnssec: false,
            recursion: true,
            checking_disabled: false,
            authentic: false,
        }
    }
}

/// The EDNS option of extended errors.
const EXTENDED_ERROR: u16 = 15;
/// The size of EDNS where only another option asked for it.
const DEFAULT_EDNS: u16 = 1232;

/// A question as a message, under a random id. `question` is `NAME TYPE [CLASS]`.
pub fn query(question: &str, options: &Options) -> anyhow::Result<Message> {
    let mut words = question.split_whitespace();
    let name = parse_name(words.next().context("a question has a name")?)?;
    let kind = parse_type(words.next().context("a question has a type")?)?;
    let class = words.next().map_or(Ok(DNSClass::IN), str::parse)?;
    let id = rand::rng().random_range(1..=u16::MAX);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = options.recursion;
    message.metadata.checking_disabled = options.checking_disabled;
    message.metadata.authentic_data = options.authentic;
    let mut query = Query::query(name, kind);
    query.set_query_class(class);
    message.add_query(query);
    if options.edns.is_some() || options.dnssec || options.subnet.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(options.edns.unwrap_or(DEFAULT_EDNS)).set_version(0);
        edns.set_dnssec_ok(options.dnssec);
        if let Some(subnet) = &options.subnet {
            edns.options_mut().insert(EdnsOption::Subnet(parse_subnet(subnet)?));
        }
        message.set_edns(edns);
    }
    Ok(message)
}

/// Sends a packet to the port on this host and gives the packet that comes back.
pub fn exchange(port: u16, packet: &[u8], tcp: bool, timeout: Duration) -> io::Result<Vec<u8>> {
    exchange_at((Ipv4Addr::LOCALHOST, port).into(), packet, tcp, timeout)
}

/// The same to any server.
pub fn exchange_at(addr: SocketAddr, packet: &[u8], tcp: bool, timeout: Duration) -> io::Result<Vec<u8>> {
    if tcp {
        let mut stream = connect(addr, timeout)?;
        send_framed(&mut stream, packet)?;
        return read_framed(&mut stream);
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(addr)?;
    socket.send(packet)?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// A TCP connection to a DNS server with limits on every wait.
pub fn connect(addr: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes a message behind its length, as TCP wants it.
pub fn send_framed(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat())
}

/// Reads one message behind its length.
pub fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}

/// Takes a packet apart; anything after the message is an error.
pub fn parse(packet: &[u8]) -> anyhow::Result<Message> {
    let mut decoder = BinDecoder::new(packet);
    let message = Message::read(&mut decoder)?;
    ensure!(decoder.is_empty(), "{} bytes after the message", decoder.len());
    Ok(message)
}

/// Asks the DNS server on that port of this host. `question` is `NAME TYPE`.
pub fn ask(port: u16, question: &str) -> anyhow::Result<Message> {
    ask_with(port, question, &Options::default())
}

/// Asks with options.
pub fn ask_with(port: u16, question: &str, options: &Options) -> anyhow::Result<Message> {
    ask_at((Ipv4Addr::LOCALHOST, port).into(), question, options, TIMEOUT)
}

/// Asks any server.
pub fn ask_at(addr: SocketAddr, question: &str, options: &Options, timeout: Duration) -> anyhow::Result<Message> {
    let message = query(question, options)?;
    let answer = parse(&exchange_at(addr, &message.to_vec()?, options.tcp, timeout)?)?;
    ensure!(answer.metadata.id == message.metadata.id, "wrong id in the answer");
    Ok(answer)
}

/// Records as lines: `name ttl type data`, the class only where it is not IN. Names are in lower case.
pub fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(line).collect()
}

fn line(record: &Record) -> String {
    let class = match record.dns_class {
        DNSClass::IN => String::new(),
        other => format!("{} ", class_text(other)),
    };
    let owner = name_text(&record.name).to_lowercase();
    format!("{owner} {} {class}{} {}", record.ttl, type_text(record.record_type()), data_text(&record.data))
}

fn data_text(data: &RData) -> String {
    let lower = |name: &Name| name_text(name).to_lowercase();
    match data {
        RData::A(address) => address.to_string(),
        RData::AAAA(address) => address.to_string(),
        RData::CNAME(name) => lower(name),
        RData::NS(name) => lower(name),
        RData::PTR(name) => lower(name),
        RData::MX(mx) => format!("{} {}", mx.preference, name_text(&mx.exchange)),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, lower(&srv.target)),
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            lower(&soa.mname),
            lower(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        RData::TXT(txt) => {
            let quoted: Vec<String> = txt.txt_data.iter().map(|text| quote(text)).collect();
            quoted.join(" ")
        }
        other => format!("{other:?}"),
    }
}

/// A name as a zone file writes it, with its final dot.
pub fn name_text(name: &Name) -> String {
    if name.is_root() {
        return ".".to_owned();
    }
    let mut text = String::new();
    for label in name.iter() {
        for &byte in label {
            match byte {
                b'"' | b'(' | b')' | b'.' | b';' | b'\\' | b'@' | b'$' => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                0x21..=0x7e => text.push(char::from(byte)),
                _ => push_decimal(&mut text, byte),
            }
        }
        text.push('.');
    }
    text
}

fn quote(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in text {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            _ => push_decimal(&mut out, byte),
        }
    }
    out.push('"');
    out
}

fn push_decimal(text: &mut String, byte: u8) {
    write!(text, "\\{byte:03}").expect("a string can be written to");
}

/// A name from its text, absolute whether or not it ends in a dot.
pub fn parse_name(text: &str) -> anyhow::Result<Name> {
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let mut label = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' => labels.push(std::mem::take(&mut label)),
            b'\\' => label.push(unescape(&mut bytes)?),
            other => label.push(other),
        }
    }
    if !label.is_empty() {
        labels.push(label);
    }
    if text == "." {
        labels.clear();
    }
    let mut name = Name::from_labels(labels.iter().map(Vec::as_slice))?;
    name.set_fqdn(true);
    Ok(name)
}

fn unescape(bytes: &mut std::str::Bytes<'_>) -> anyhow::Result<u8> {
    let first = bytes.next().context("a name ends in a backslash")?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let digits = [Some(first), bytes.next(), bytes.next()];
    let mut value = 0u16;
    for digit in digits {
        let digit = digit.filter(u8::is_ascii_digit).context("an escape has three digits")?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).context("an escape is a byte")
}

fn parse_subnet(text: &str) -> anyhow::Result<ClientSubnet> {
    let (address, bits) = text.split_once('/').context("a subnet has a length")?;
    Ok(ClientSubnet::new(address.parse()?, bits.parse()?, 0))
}

/// The client subnet of an answer: address, prefix asked, prefix that counts.
pub fn subnet(message: &Message) -> Option<(IpAddr, u8, u8)> {
    match message.edns.as_ref()?.option(EdnsCode::Subnet)? {
        EdnsOption::Subnet(subnet) => Some((subnet.addr(), subnet.source_prefix(), subnet.scope_prefix())),
        _ => None,
    }
}

/// Why an answer is what it is: the code and the words of its extended error (RFC 8914).
pub fn extended_error(message: &Message) -> Option<(u16, String)> {
    let options = message.edns.as_ref()?.options();
    options.as_ref().iter().find_map(|(code, option)| match option {
        EdnsOption::Unknown(_, data) if u16::from(*code) == EXTENDED_ERROR => {
            let (info, words) = data.split_first_chunk::<2>()?;
            Some((u16::from_be_bytes(*info), String::from_utf8_lossy(words).into_owned()))
        }
        _ => None,
    })
}

fn parse_type(text: &str) -> anyhow::Result<RecordType> {
    if let Some(number) = text.strip_prefix("TYPE") {
        return Ok(RecordType::from(number.parse::<u16>()?));
    }
    match text.parse() {
        Ok(kind) => Ok(kind),
        Err(_) => bail!("unknown type {text}"),
    }
}

/// The mnemonic of a type, or `TYPEn`.
pub fn type_text(kind: RecordType) -> String {
    match kind {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// The mnemonic of a class, or `CLASSn`.
pub fn class_text(class: DNSClass) -> String {
    match class {
        DNSClass::Unknown(number) => format!("CLASS{number}"),
        known => known.to_string(),
    }
}

/// The mnemonic of a response code.
pub fn code_text(code: ResponseCode) -> String {
    match u16::from(code) {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        16 => "BADVERS".to_owned(),
        other => format!("RCODE{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_with_the_escapes_of_rfc_1035() {
        let table = [
            ("web.service.consul", "web.service.consul."),
            (".", "."),
            (r"a\.b.c.", r"a\.b.c."),
            (r"\001\255x.", r"\001\255x."),
        ];
        for (text, shown) in table {
            assert_eq!(name_text(&parse_name(text).unwrap()), shown, "{text}");
        }
        assert!(parse_name(r"\300.").is_err());
        assert!(parse_name(r"a\").is_err());
    }

    #[test]
    fn text_is_quoted_byte_for_byte() {
        assert_eq!(quote(b"a=\"b\\\"\n\xff"), r#""a=\"b\\\"\010\255""#);
    }
}
