//! Who is connected: at most so many in all and of one address, and who has to go when another one comes.
//!
//! Connections note in their own place when they were last of use; only who looks for one that can go reads it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

/// How many connections there may be, and what they may hold.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections in all.
    all: usize,
    /// Connections of one address.
    one: usize,
    /// Bytes held for slow clients, all connections together.
    bytes: usize,
}

/// In force. A thousand of one address is for hosts with many programs, all of which ask from 127.0.0.1.
pub(super) const LIMITS: Limits = Limits { all: 8192, one: 1024, bytes: 64 << 20 };

/// Bits of an IPv6 address that tell clients apart: one client has all addresses behind them.
const IPV6_BITS: u32 = 64;
/// The mark of a connection that is being answered, in its word.
const BUSY: u64 = 1;

/// All connections.
pub(super) struct Places {
    limits: Limits,
    began: Instant,
    bytes: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    taken: HashMap<u64, Taken>,
    of_address: HashMap<IpAddr, usize>,
    last: u64,
    closed: bool,
}

struct Taken {
    address: IpAddr,
    /// Milliseconds when it was last of use, above the mark [`BUSY`].
    word: Arc<AtomicU64>,
    tell: oneshot::Sender<Leave>,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Make room.
    Now,
    /// Answer what was received, then go.
    Finished,
}

/// A connection's place; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    word: Arc<AtomicU64>,
    /// What the connection holds.
    pub(super) held: Held,
    /// Says when to leave.
    pub(super) told: oneshot::Receiver<Leave>,
}

/// Bytes held for a slow client; none when dropped.
pub(super) struct Held {
    places: Arc<Places>,
    bytes: usize,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, began: Instant::now(), bytes: AtomicUsize::new(0), table: Mutex::default() }
    }

    /// A place for a connection of `address`; `None` if there is none and nobody who could leave.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = client(address);
        let mut table = self.table.lock();
        if table.closed {
            return None;
        }
        if table.of_address.get(&address).is_some_and(|count| *count >= self.limits.one) {
            table.send_away(|taken| taken.address == address)?;
        } else if table.taken.len() >= self.limits.all {
            table.send_away(|_| true)?;
        }
        let (tell, told) = oneshot::channel();
        let word = Arc::new(AtomicU64::new(self.idle_word(Instant::now())));
        table.last += 1;
        let number = table.last;
        table.taken.insert(number, Taken { address, word: word.clone(), tell });
        *table.of_address.entry(address).or_default() += 1;
        drop(table);
        Some(Place { places: self.clone(), number, word, held: Held { places: self.clone(), bytes: 0 }, told })
    }

    /// Tells everybody to finish, and lets nobody in any more.
    pub(super) fn close(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        table.of_address.clear();
        for (_, taken) in table.taken.drain() {
            let _it_may_have_left = taken.tell.send(Leave::Finished);
        }
    }

    fn idle_word(&self, last: Instant) -> u64 {
        let since = last.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX >> 1) << 1
    }
}

impl Table {
    /// Makes the one of those that may leave that has been idle for longest leave; `None` if there is none.
    fn send_away(&mut self, may: impl Fn(&Taken) -> bool) -> Option<()> {
        let idle = self.taken.iter().filter(|(_, taken)| may(taken)).filter_map(|(number, taken)| {
            let word = taken.word.load(Ordering::Relaxed);
            (word & BUSY == 0).then_some((word, *number))
        });
        let (_, number) = idle.min()?;
        let taken = self.remove(number)?;
        let _it_may_have_left = taken.tell.send(Leave::Now);
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Taken> {
        let taken = self.taken.remove(&number)?;
        if let Some(count) = self.of_address.get_mut(&taken.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&taken.address);
            }
        }
        Some(taken)
    }
}

impl Place {
    /// Notes when the connection was last of use, and whether it is being answered.
    pub(super) fn note(&self, last: Instant, busy: bool) {
        let word = self.places.idle_word(last) | if busy { BUSY } else { 0 };
        self.word.store(word, Ordering::Relaxed);
    }
}

impl Held {
    /// Notes how many bytes are held; `false` if that is too much for all connections together.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.bytes, bytes);
        // Most connections hold nothing, before and after: they need not touch what all share.
        if bytes == before {
            return true;
        }
        let all = &self.places.bytes;
        if bytes < before {
            all.fetch_sub(before - bytes, Ordering::Relaxed);
            return true;
        }
        let more = bytes - before;
        all.fetch_add(more, Ordering::Relaxed) + more <= self.places.limits.bytes
    }

    /// Nothing yet, for another thing that is held.
    pub(super) fn another(&self) -> Self {
        Self { places: self.places.clone(), bytes: 0 }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table.lock().remove(self.number);
    }
}

/// What stands for one client: its address, or of IPv6 its network.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_BITS))).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn places(all: usize, one: usize) -> Arc<Places> {
        Arc::new(Places::new(Limits { all, one, bytes: 100 }))
    }

    fn enter(places: &Arc<Places>, address: &str) -> Option<Place> {
        places.enter(address.parse().unwrap())
    }

    fn told(place: &mut Place) -> Option<Leave> {
        place.told.try_recv().ok()
    }

    #[test]
    fn the_one_idle_for_longest_makes_room() {
        let places = places(3, 3);
        let began = places.began;
        let mut three = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| enter(&places, address).unwrap());
        for (place, (seconds, busy)) in three.iter().zip([(1, true), (3, false), (2, false)]) {
            place.note(began + Duration::from_secs(seconds), busy);
        }
        let four = enter(&places, "10.0.0.4").unwrap();
        four.note(began + Duration::from_secs(4), true);
        assert_eq!(three.each_mut().map(told), [None, None, Some(Leave::Now)]);
        three[1].note(began + Duration::from_secs(3), true);
        assert!(enter(&places, "10.0.0.5").is_none(), "all are being answered");
        drop(four);
        assert!(enter(&places, "10.0.0.5").is_some(), "one left");
        drop(three);
        assert_eq!(places.table.lock().taken.len(), 0);
        assert!(places.table.lock().of_address.is_empty());
    }

    #[test]
    fn one_address_takes_places_of_its_own_alone() {
        let places = places(10, 2);
        let mut other = enter(&places, "2001:db8:0:1::1").unwrap();
        let mut first = enter(&places, "2001:db8::1").unwrap();
        let mut second = enter(&places, "2001:db8::2").unwrap();
        first.note(places.began + Duration::from_secs(1), false);
        second.note(places.began + Duration::from_secs(2), false);
        let third = enter(&places, "2001:db8::3").unwrap();
        assert_eq!((told(&mut other), told(&mut first), told(&mut second)), (None, Some(Leave::Now), None));
        second.note(places.began, true);
        third.note(places.began, true);
        assert!(enter(&places, "2001:db8::4").is_none());
        assert!(enter(&places, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn what_slow_clients_make_us_hold_is_limited_in_all() {
        let places = places(2, 2);
        let mut one = enter(&places, "10.0.0.1").unwrap();
        let mut other = enter(&places, "10.0.0.1").unwrap();
        assert!(one.held.set(60) && other.held.set(40) && one.held.set(50) && other.held.set(50));
        assert!(!other.held.set(51));
        drop(other);
        assert!(one.held.set(40));
        let mut more = one.held.another();
        assert!(more.set(60) && !one.held.set(41));
    }

    #[test]
    fn at_the_end_everybody_is_told_and_nobody_comes_in() {
        let places = places(2, 2);
        let mut one = enter(&places, "10.0.0.1").unwrap();
        places.close();
        assert_eq!(told(&mut one), Some(Leave::Finished));
        assert!(enter(&places, "10.0.0.1").is_none());
    }
}
