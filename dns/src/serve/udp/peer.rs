//! Whose request it was: the address a datagram came from and, on a wildcard socket, the one it came to.
//!
//! Both are kept as the kernel said them (a `sockaddr`, a control message) and given back to it unchanged with the
//! reply, which so leaves from the address that was asked.
#![allow(unsafe_code, reason = "sendmsg with a control message has no safe binding here")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::AsRawFd,
};

/// Words of a socket address: `sockaddr_in6` has 28 bytes.
pub(super) const NAME: usize = 4;
/// Words for one `IP_PKTINFO` or `IPV6_PKTINFO`, aligned as a control message.
pub(super) const CONTROL: usize = 5;

/// Whose request it was, as the kernel said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Peer {
    pub(super) name: [u64; NAME],
    pub(super) control: [u64; CONTROL],
    pub(super) name_len: u32,
    pub(super) control_len: u32,
}

impl Peer {
    /// Whether a reply to one and a reply to the other go from the same address to the same address and port.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        // The first word of a name has port and family, of IPv4 the address, too: it tells most of them apart.
        let ([port, own @ ..], [other_port, others @ ..]) = (self.name, other.name);
        port == other_port
            && own == others
            && self.control_len == other.control_len
            && (self.control_len == 0 || self.control == other.control)
    }

    /// The address it came from.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let [first, second, third, _] = self.name.map(u64::to_ne_bytes);
        match self.family() {
            libc::AF_INET => {
                let [.., a, b, c, d] = first;
                Some(Ipv4Addr::new(a, b, c, d).into())
            }
            libc::AF_INET6 => {
                let mut octets = [0; 16];
                let (high, low) = octets.split_at_mut(8);
                high.copy_from_slice(&second);
                low.copy_from_slice(&third);
                Some(Ipv6Addr::from(octets).into())
            }
            _ => None,
        }
    }

    /// Sends one reply to it.
    pub(super) fn send(&self, socket: &UdpSocket, reply: &[u8]) -> io::Result<()> {
        let mut iovec = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
        let mut header = empty_header();
        self.put_into(&mut header);
        header.msg_iov = &raw mut iovec;
        header.msg_iovlen = 1;
        // SAFETY: the header points to this peer, to `iovec` and through it to `reply`, all alive and only read.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the header of a reply point to it, which it does for as long as this peer stays where it is.
    pub(super) fn put_into(&self, header: &mut libc::msghdr) {
        header.msg_name = (&raw const self.name).cast_mut().cast();
        header.msg_namelen = self.name_len;
        if self.control_len > 0 {
            header.msg_control = (&raw const self.control).cast_mut().cast();
            header.msg_controllen = self.control_len as _;
        }
    }

    /// Clears the interface index: the reply is to leave from the same address, by whatever way the routes say.
    pub(super) fn forget_interface(&mut self) {
        let data = size_of::<libc::cmsghdr>();
        let family = self.family();
        let index = match family {
            libc::AF_INET => data,
            libc::AF_INET6 => data + 16,
            _ => return,
        };
        // A link-local address means nothing without its interface.
        if self.control_len == 0 || (family == libc::AF_INET6 && self.is_link_local()) {
            return;
        }
        if let Some(word) = self.control.get_mut(index / size_of::<u64>()) {
            let mut bytes = word.to_ne_bytes();
            for byte in bytes.iter_mut().skip(index % size_of::<u64>()).take(4) {
                *byte = 0;
            }
            *word = u64::from_ne_bytes(bytes);
        }
    }

    fn family(&self) -> libc::c_int {
        let [first, second, ..] = self.name.first().copied().unwrap_or_default().to_ne_bytes();
        u16::from_ne_bytes([first, second]).into()
    }

    fn is_link_local(&self) -> bool {
        let first = self.control.get(size_of::<libc::cmsghdr>() / size_of::<u64>()).map(|word| word.to_ne_bytes());
        matches!(first, Some([0xfe, second, ..]) if second & 0xc0 == 0x80)
    }
}

/// A message header that says nothing yet.
pub(super) fn empty_header() -> libc::msghdr {
    // SAFETY: integers and pointers only; all bytes zero is null and 0.
    unsafe { std::mem::zeroed() }
}
