//! DNS cookies (RFC 7873) as several servers can make and check them alike (RFC 9018): who sends a good one has been
//! answered at its address before, so its address is not forged. Pure: secret, address and time are given.

use std::{hash::Hasher, net::IpAddr};

use siphasher::sip::SipHasher24;

/// The version of RFC 9018, and three reserved bytes.
const VERSION: [u8; 4] = [1, 0, 0, 0];
/// Seconds a cookie is good for (RFC 9018 4.3).
const OLDEST: u32 = 3600;
/// Seconds another server's clock may be ahead.
const NEWEST: u32 = 300;

/// The client's part and ours, made at `now` (seconds since 1970).
pub(crate) fn of(secret: &[u8; 16], theirs: [u8; 8], client: IpAddr, now: u32) -> [u8; 24] {
    let mut cookie = [0; 24];
    let (made, sum) = (now.to_be_bytes(), hash(secret, theirs, now, client));
    for (slot, byte) in cookie.iter_mut().zip(theirs.iter().chain(&VERSION).chain(&made).chain(&sum)) {
        *slot = *byte;
    }
    cookie
}

/// Whether `ours` is a cookie that was made for this client not too long ago.
pub(crate) fn is_good(secret: &[u8; 16], theirs: [u8; 8], ours: [u8; 16], client: IpAddr, now: u32) -> bool {
    let [v0, v1, v2, v3, t0, t1, t2, t3, sum @ ..] = ours;
    let made = u32::from_be_bytes([t0, t1, t2, t3]);
    // Serial arithmetic (RFC 1982): the time wraps in 2106.
    let in_time = now.wrapping_sub(made) <= OLDEST || made.wrapping_sub(now) <= NEWEST;
    [v0, v1, v2, v3] == VERSION && in_time && sum == hash(secret, theirs, made, client)
}

/// RFC 9018 4.4.
fn hash(secret: &[u8; 16], theirs: [u8; 8], made: u32, client: IpAddr) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&theirs);
    hasher.write(&VERSION);
    hasher.write(&made.to_be_bytes());
    match client {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] =
        [0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48, 0xe7, 0xdc, 0x84, 0x9e, 0x37, 0xbf, 0xcf];
    const THEIRS: [u8; 8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];

    /// RFC 9018 appendix A.1.
    #[test]
    fn the_rfc_s_example_comes_out() {
        let cookie = of(&SECRET, THEIRS, "198.51.100.100".parse().unwrap(), 1_559_731_985);
        let hex: String = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "2464c4abcf10c957010000005cf79f111f8130c3eee29480");
    }

    #[test]
    fn a_cookie_is_good_for_its_client_and_for_an_hour() {
        let client = "198.51.100.100".parse().unwrap();
        let (_, ours) =
            of(&SECRET, THEIRS, client, 10_000).split_first_chunk::<8>().map(|(a, b)| (*a, b.to_vec())).unwrap();
        let ours: [u8; 16] = ours.try_into().unwrap();
        let good = |client: &str, now| is_good(&SECRET, THEIRS, ours, client.parse().unwrap(), now);
        assert!(good("198.51.100.100", 10_000) && good("198.51.100.100", 13_600) && good("198.51.100.100", 9_700));
        assert!(!good("198.51.100.100", 13_601) && !good("198.51.100.100", 9_699), "out of time");
        assert!(!good("198.51.100.101", 10_000), "somebody else's");
        assert!(!is_good(&[0; 16], THEIRS, ours, client, 10_000), "another secret's");
        assert!(!is_good(&SECRET, [0; 8], ours, client, 10_000), "for another cookie of the client");
    }
}
