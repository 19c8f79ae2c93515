//! EDNS (RFC 6891): what a request's OPT record says, and the OPT record of the reply.
//!
//! | RFC | option | read | written |
//! |---|---|---|---|
//! | 5001 | NSID | asked for or not | this server's name |
//! | 7828 | TCP keepalive | asked for or not | how long an idle connection is kept |
//! | 7830, 8467 | padding | asked for or not | up to a multiple of a block |
//! | 7871 | client subnet | checked, cut to its prefix | with scope 0: the answer is for everybody |
//! | 7873, 9018 | cookie | its lengths checked | the client's and ours |
//! | 8914 | extended errors | | why an answer is what it is |
//!
//! Options nobody here knows are passed over (RFC 6891 6.1.2).

use super::word;

/// The option that asks for the server's name.
const NSID: u16 = 3;
/// The option that carries the client's network.
const CLIENT_SUBNET: u16 = 8;
/// The option that carries cookies.
const COOKIE: u16 = 10;
/// The option that tells how long a connection is kept.
const KEEPALIVE: u16 = 11;
/// The option that fills a message.
const PADDING: u16 = 12;
/// The option that tells why.
const EXTENDED_ERROR: u16 = 15;
/// Bytes of an OPT record without options: its root owner, type, size, TTL and length.
const BARE: usize = 11;
/// The bit of the OPT record's TTL that asks for DNSSEC records (RFC 3225).
const DO: u32 = 0x8000;
/// Bytes of a client's cookie (RFC 7873 4).
const CLIENT_COOKIE: usize = 8;
/// Bytes of a server's cookie, least and most.
const SERVER_COOKIE: std::ops::RangeInclusive<usize> = 8..=32;

/// What the OPT record of a request said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The size of UDP messages the client takes.
    pub size: u16,
    /// The version the client speaks; 0 is the only one there is.
    pub version: u8,
    /// Whether DNSSEC records are wanted; to be sent back as it came.
    pub dnssec_ok: bool,
    /// The client's network, to be echoed.
    pub subnet: Option<Subnet>,
    /// The cookie.
    pub cookie: CookieOption,
    /// Whether the server's name is wanted.
    pub nsid: bool,
    /// Whether the client would keep its connection.
    pub keepalive: bool,
    /// Whether the client pads its messages.
    pub padding: bool,
}

/// A cookie option as it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieOption {
    /// There is none.
    #[default]
    None,
    /// Its length is no cookie's.
    Broken,
    /// The client's part alone.
    Client([u8; CLIENT_COOKIE]),
    /// The client's part, and what it has of a server, of 16 bytes (RFC 9018) or of another length (`None`).
    Both([u8; CLIENT_COOKIE], Option<[u8; 16]>),
}

/// A client subnet (RFC 7871), valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// 1 for IPv4, 2 for IPv6, 0 for none.
    pub family: u16,
    /// Bits of the address that count.
    pub prefix: u8,
    /// The address, bits beyond the prefix cleared.
    pub address: [u8; 16],
}

impl Subnet {
    /// The bytes of the address that are sent.
    pub fn bytes(&self) -> &[u8] {
        self.address.get(..usize::from(self.prefix).div_ceil(8)).unwrap_or_default()
    }
}

impl Edns {
    /// What the fixed part of the record says: the class is the size, the TTL holds version and flags.
    pub(super) fn fixed(class: u16, ttl: u32) -> Self {
        let [_extended_rcode, version, ..] = ttl.to_be_bytes();
        Self { size: class, version, dnssec_ok: ttl & DO != 0, ..Self::default() }
    }

    /// Takes in the options; `None` if they are broken.
    pub(super) fn read_options(&mut self, rdata: &[u8]) -> Option<()> {
        let mut at = 0;
        while at < rdata.len() {
            let code = word(rdata, at)?;
            let end = at + 4 + usize::from(word(rdata, at + 2)?);
            let data = rdata.get(at + 4..end)?;
            match code {
                NSID => self.nsid = true,
                CLIENT_SUBNET => self.subnet = Some(read_subnet(data)?),
                COOKIE => self.cookie = read_cookie(data),
                KEEPALIVE => self.keepalive = true,
                PADDING => self.padding = true,
                _ => {}
            }
            at = end;
        }
        Some(())
    }
}

/// RFC 7871 6. A family of 0 is what `dig +subnet=0` sends.
fn read_subnet(data: &[u8]) -> Option<Subnet> {
    let (&[high, low, prefix, scope], sent) = data.split_first_chunk::<4>()?;
    let family = u16::from_be_bytes([high, low]);
    let bits = match family {
        0 => 0,
        1 => 32,
        2 => 128,
        _ => return None,
    };
    if prefix > bits || (family != 0 && scope > bits) {
        return None;
    }
    let mut address = [0; 16];
    for (at, (kept, byte)) in address.iter_mut().zip(sent).enumerate() {
        let left = usize::from(prefix).saturating_sub(at * 8);
        *kept = match left {
            0 => 0,
            1..8 => byte & (0xff_u8 << (8 - left)),
            _ => *byte,
        };
    }
    Some(Subnet { family, prefix, address })
}

fn read_cookie(data: &[u8]) -> CookieOption {
    let Some((client, server)) = data.split_first_chunk::<CLIENT_COOKIE>() else { return CookieOption::Broken };
    match server.len() {
        0 => CookieOption::Client(*client),
        length if SERVER_COOKIE.contains(&length) => CookieOption::Both(*client, server.try_into().ok()),
        _ => CookieOption::Broken,
    }
}

/// The OPT record of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opt<'a> {
    /// The size of UDP messages this server takes.
    pub size: u16,
    /// The response code, of which the record carries the high bits.
    pub rcode: u8,
    /// The client's DO bit.
    pub dnssec_ok: bool,
    /// The client's network.
    pub subnet: Option<Subnet>,
    /// This server's name.
    pub nsid: Option<&'a [u8]>,
    /// The client's cookie and ours.
    pub cookie: Option<[u8; 24]>,
    /// How long an idle connection is kept, in tenths of a second.
    pub keepalive: Option<u16>,
    /// Why: an info code (RFC 8914 4) and words.
    pub error: Option<(u16, &'a [u8])>,
    /// The message is filled up to a multiple of this, if it is not 0.
    pub block: usize,
}

impl Opt<'_> {
    /// Its bytes, without padding.
    pub fn bytes(&self) -> usize {
        let option = |data: Option<usize>| data.map_or(0, |length| 4 + length);
        BARE + option(self.subnet.map(|subnet| 4 + subnet.bytes().len()))
            + option(self.nsid.map(<[u8]>::len))
            + option(self.cookie.map(|cookie| cookie.len()))
            + option(self.keepalive.map(|_| 2))
            + option(self.error.map(|(_, text)| 2 + text.len()))
    }

    /// The record's TTL: the high bits of the response code, version 0, DO.
    pub(super) fn ttl(&self) -> u32 {
        u32::from(self.rcode >> 4) << 24 | if self.dnssec_ok { DO } else { 0 }
    }

    /// Appends the options to the message, which may come to `most` bytes. What may be left out and does not fit is: the
    /// words of the error, then the name.
    pub(super) fn write_options(&self, most: usize, out: &mut Vec<u8>) {
        let over = (out.len() + self.bytes()).saturating_sub(BARE + most);
        let words = self.error.map_or(0, |(_, words)| words.len());
        if let Some(subnet) = &self.subnet {
            let [high, low] = subnet.family.to_be_bytes();
            option(CLIENT_SUBNET, &[&[high, low, subnet.prefix, 0], subnet.bytes()], out);
        }
        if let Some(name) = self.nsid.filter(|_| over <= words) {
            option(NSID, &[name], out);
        }
        if let Some(cookie) = &self.cookie {
            option(COOKIE, &[cookie], out);
        }
        if let Some(tenths) = self.keepalive {
            option(KEEPALIVE, &[&tenths.to_be_bytes()], out);
        }
        if let Some((code, words)) = self.error {
            let words = if over == 0 { words } else { &[] };
            option(EXTENDED_ERROR, &[&code.to_be_bytes(), words], out);
        }
        if let Some(missing) = self.padding(out.len() + 4, most) {
            option(PADDING, &[], out);
            let length = out.len();
            if let (Some(slot), Ok(count)) = (out.get_mut(length - 2..), u16::try_from(missing)) {
                slot.copy_from_slice(&count.to_be_bytes());
                out.resize(length + missing, 0);
            }
        }
    }

    /// How many bytes fill a message of `length` to the next block, or to `most` if that is nearer.
    fn padding(&self, length: usize, most: usize) -> Option<usize> {
        if self.block == 0 || length > most {
            return None;
        }
        Some(length.next_multiple_of(self.block).min(most) - length)
    }
}

fn option(code: u16, pieces: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[u8]) -> Option<Edns> {
        let mut edns = Edns::fixed(1232, 0);
        edns.read_options(options).map(|()| edns)
    }

    #[test]
    fn client_subnets_are_checked_and_cut_to_their_prefix() {
        let subnet = |bytes: &[u8]| read(bytes).map(|edns| edns.subnet.map(|subnet| subnet.bytes().to_vec()));
        assert_eq!(subnet(b""), Some(None));
        assert_eq!(subnet(b"\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02"), Some(Some(vec![10, 1, 2])));
        assert_eq!(subnet(b"\0\x08\0\x07\0\x01\x14\0\x0a\x01\xff"), Some(Some(vec![10, 1, 0xf0])));
        assert_eq!(subnet(b"\0\x08\0\x06\0\x01\x18\0\x0a\x01"), Some(Some(vec![10, 1, 0])), "one byte short");
        assert_eq!(subnet(b"\0\x08\0\x04\0\0\0\0"), Some(Some(vec![])));
        let bad: &[&[u8]] = &[
            b"\0\x08\0\x02\0\x01",
            b"\0\x08\0\x04\0\x01\xff\0",
            b"\0\x08\0\x04\0\x03\0\0",
            b"\0\x08\0\x04\0\0\x08\0",
            b"\0\x0a\0\x04",
            b"\0",
        ];
        for options in bad {
            assert_eq!(read(options), None, "{options:02x?}");
        }
    }

    #[test]
    fn cookies_have_8_bytes_or_16_to_40() {
        let cookie = |length: usize| {
            let mut options = vec![0, 10];
            options.extend(u16::try_from(length).unwrap().to_be_bytes());
            options.extend((0..length).map(|byte| u8::try_from(byte).unwrap()));
            read(&options).unwrap().cookie
        };
        let client = [0, 1, 2, 3, 4, 5, 6, 7];
        let server = [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
        assert_eq!(cookie(8), CookieOption::Client(client));
        assert_eq!(cookie(16), CookieOption::Both(client, None));
        assert_eq!(cookie(24), CookieOption::Both(client, Some(server)));
        assert_eq!(cookie(40), CookieOption::Both(client, None));
        for broken in [0, 7, 9, 15, 41] {
            assert_eq!(cookie(broken), CookieOption::Broken, "{broken} bytes");
        }
    }

    #[test]
    fn version_flags_and_options_are_read() {
        let edns = Edns::fixed(4096, 0x0501_8000);
        assert_eq!((edns.size, edns.version, edns.dnssec_ok), (4096, 1, true));
        let all = read(b"\0\x03\0\0\0\x0b\0\0\0\x0c\0\x02\0\0\xfd\xe9\0\x01x").unwrap();
        assert!(all.nsid && all.keepalive && all.padding, "and what is unknown is passed over");
        assert_eq!(read(b"").unwrap(), Edns { size: 1232, ..Edns::default() });
    }

    #[test]
    fn a_reply_s_length_is_what_is_written() {
        let subnet = Subnet { family: 1, prefix: 24, address: [10, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
        let opt = Opt {
            subnet: Some(subnet),
            nsid: Some(b"n1"),
            cookie: Some([7; 24]),
            keepalive: Some(100),
            error: Some((22, b"no leader")),
            ..Opt::default()
        };
        let mut out = Vec::new();
        opt.write_options(512, &mut out);
        assert_eq!(BARE + out.len(), opt.bytes());
        assert_eq!(out.get(..11), Some(&b"\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02"[..]));
    }

    #[test]
    fn the_error_s_words_and_then_the_name_go_where_there_is_no_room() {
        let opt = Opt { nsid: Some(b"n1"), cookie: Some([7; 24]), error: Some((22, b"no leader")), ..Opt::default() };
        let length = |most: usize| {
            let mut out = Vec::new();
            opt.write_options(most, &mut out);
            out.len()
        };
        let (name, cookie, code, words) = (6, 28, 6, 9);
        assert_eq!(length(49), name + cookie + code + words);
        assert_eq!(length(48), name + cookie + code);
        assert_eq!(length(40), name + cookie + code);
        assert_eq!(length(39), cookie + code);
    }

    #[test]
    fn padding_fills_the_block_but_not_more_than_may_be_sent() {
        let padded = |written: usize, most: usize| {
            let mut out = vec![1; written];
            Opt { block: 128, ..Opt::default() }.write_options(most, &mut out);
            out.len()
        };
        assert_eq!(padded(100, 512), 128);
        assert_eq!(padded(124, 512), 128, "an option without data");
        assert_eq!(padded(125, 512), 256);
        assert_eq!(padded(400, 450), 450);
        assert_eq!(padded(449, 450), 449, "no room for the option itself");
    }
}
