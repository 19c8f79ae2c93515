//! The socket of a thread: how it is set up, woken, and asked how long its datagrams have waited.
#![allow(
    unsafe_code,
    reason = "IP_PKTINFO, SIOCGSTAMPNS and a shutdown of a socket nobody connected have no safe binding"
)]

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::LOOK_UP;

/// Bytes of requests the system may hold for a thread that is busy; it counts its own overhead too, so that about 2,700
/// questions fit. Those that come when it is full are dropped by the system.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Says when the datagram received last arrived (`linux/sockios.h`; not in libc).
const SIOCGSTAMPNS: u64 = 0x8907;

/// A socket bound to `address`, which others of ours may be bound to, too.
pub(in crate::serve) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    // Less than asked for is no reason not to serve.
    let _as_much_as_allowed = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_read_timeout(Some(LOOK_UP))?;
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    if address.ip().is_unspecified() {
        tell_local_address(&socket, address)?;
    }
    // Nothing has arrived yet: this only makes the system note times from now on.
    let _none_yet = last_arrival(&socket);
    Ok(socket)
}

/// Makes everybody who waits for a datagram on the socket return.
pub(in crate::serve) fn wake(socket: &UdpSocket) {
    // SAFETY: no memory is involved. On an unconnected UDP socket the call reports ENOTCONN, but Linux marks the socket
    // as shut down all the same and wakes its readers.
    let _enotconn = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RD) };
}

/// How long ago something arrived. A wall clock that is set back makes it zero, one that is set forward costs the batch at
/// hand.
pub(super) fn age(arrival: SystemTime) -> Duration {
    SystemTime::now().duration_since(arrival).unwrap_or_default()
}

/// When the datagram that was received last arrived.
pub(super) fn last_arrival(socket: &UdpSocket) -> Option<SystemTime> {
    let mut stamp = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the request writes one timespec, and is given the address of one.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSTAMPNS as _, &raw mut stamp) };
    if done < 0 {
        return None;
    }
    let since = Duration::new(u64::try_from(stamp.tv_sec).ok()?, u32::try_from(stamp.tv_nsec).ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// Asks the kernel to say which address each datagram came to.
fn tell_local_address(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    // SAFETY: the option takes an int, and its address and size are given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
