//! Questions under way, each asked once: who asks the same meanwhile waits for the first one's reply.
//!
//! That is also what a loop costs: a question that comes back to us through a recursor finds itself under way, and waits
//! for itself until the first has had enough. It is not sent again, so there is no storm.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::question::Question;
use crate::client::Transport;

/// Most different questions under way at once; others fail.
const FLIGHTS_MAX: usize = 1024;

/// A reply, shared by all who wait for it; `None` if there is none.
pub(super) type Landed = Option<Arc<[u8]>>;

type Name = (Box<[u8]>, Transport);

/// All questions under way.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Name, watch::Receiver<Option<Landed>>>>);

/// The right to answer a question for all who wait for it. Dropped, they wait no longer.
pub(super) struct Seat {
    flights: Arc<Flights>,
    name: Name,
    landed: watch::Sender<Option<Landed>>,
}

/// A place among those who wait.
pub(super) struct Waiting(watch::Receiver<Option<Landed>>);

impl Flights {
    /// Waits with the others who ask this, or has `start` ask it. `None` if too much is under way.
    pub(super) fn join(
        self: &Arc<Self>,
        question: &Question,
        transport: Transport,
        start: impl FnOnce(Seat),
    ) -> Option<Waiting> {
        let name = (question.sameness(), transport);
        let mut under_way = self.0.lock();
        if let Some(landed) = under_way.get(&name) {
            return Some(Waiting(landed.clone()));
        }
        if under_way.len() >= FLIGHTS_MAX {
            return None;
        }
        let (sender, landed) = watch::channel(None);
        under_way.insert(name.clone(), landed.clone());
        drop(under_way);
        start(Seat { flights: self.clone(), name, landed: sender });
        Some(Waiting(landed))
    }
}

impl Seat {
    /// Gives the reply to all who wait.
    pub(super) fn land(self, reply: Landed) {
        self.landed.send_replace(Some(reply));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.name);
    }
}

impl Waiting {
    /// The reply, once it is there.
    pub(super) async fn landed(mut self) -> Landed {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.as_ref()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kind;

    fn question(name: &[u8]) -> Question {
        Question::of_host(name, kind::A)
    }

    #[tokio::test]
    async fn the_same_question_is_asked_once_at_a_time() {
        let flights = Arc::new(Flights::default());
        let mut seat = None;
        let first = flights.join(&question(b"\x03www"), Transport::Udp, |given| seat = Some(given)).unwrap();
        let again = |_| panic!("it is under way");
        let second = flights.join(&question(b"\x03WWW"), Transport::Udp, again).unwrap();
        let mut others = Vec::new();
        flights.join(&question(b"\x03www"), Transport::Tcp, |given| others.push(given)).unwrap();
        flights.join(&question(b"\x03ftp"), Transport::Udp, |given| others.push(given)).unwrap();
        assert_eq!(others.len(), 2, "another transport, another name");
        seat.take().unwrap().land(Some(Arc::from(&b"reply"[..])));
        assert_eq!(first.landed().await.as_deref(), Some(&b"reply"[..]));
        assert_eq!(second.landed().await.as_deref(), Some(&b"reply"[..]));
        let third = flights.join(&question(b"\x03www"), Transport::Udp, |given| seat = Some(given)).unwrap();
        drop(seat);
        assert_eq!(third.landed().await, None, "given up");
    }

    #[test]
    fn only_so_many_are_under_way() {
        let flights = Arc::new(Flights::default());
        let mut seats = Vec::new();
        for number in 0..FLIGHTS_MAX {
            let text = format!("\x06{number:06}");
            assert!(flights.join(&question(text.as_bytes()), Transport::Udp, |seat| seats.push(seat)).is_some());
        }
        assert!(flights.join(&question(b"\x01x"), Transport::Udp, |seat| seats.push(seat)).is_none());
        assert!(flights.join(&question(b"\x06000001"), Transport::Udp, |seat| seats.push(seat)).is_some());
        assert_eq!(seats.len(), FLIGHTS_MAX);
        seats.pop();
        assert!(flights.join(&question(b"\x01x"), Transport::Udp, |seat| seats.push(seat)).is_some());
    }
}
