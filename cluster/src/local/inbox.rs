//! Results of checks on their way to the writer: of each check only the newest waits, so that it holds no more than there
//! are checks, and nobody who has found a result ever waits for room.
//!
//! ```text
//!   submit ─► equal to what is known: nothing ─► waiting ─► taken by the writer ─► published ─► done
//! ```

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::records::{CheckResult, Noted, Records};
use crate::{catalog::model::Status, local::definition::CheckSpec};

/// Results that are waiting or being taken.
pub(super) struct Inbox {
    records: Arc<ArcSwap<Records>>,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    /// How many results were ever taken in: the number of the last.
    last: u64,
    /// By folded id.
    waiting: BTreeMap<String, CheckResult>,
    /// What the writer took and has not published yet.
    taken: BTreeMap<String, CheckResult>,
}

/// A result that was taken in: until when its writing is to be awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Says how far the writer has come.
pub(super) type Done = watch::Receiver<u64>;

impl Inbox {
    pub(super) fn new(records: Arc<ArcSwap<Records>>) -> Self {
        Self { records, state: Mutex::default(), arrived: Notify::new() }
    }

    /// Takes a result of the check of that folded id; `None` if it says what is known already.
    pub(super) fn submit(&self, key: &str, spec: &Arc<CheckSpec>, status: Status, output: String) -> Option<Ticket> {
        let mut state = self.state.lock();
        let same =
            |known: &CheckResult| Arc::ptr_eq(&known.spec, spec) && known.status == status && known.output == output;
        // What is waiting comes after what was taken, and that after what is published.
        let known = match state.waiting.get(key).or_else(|| state.taken.get(key)) {
            Some(newest) => same(newest),
            None => {
                let records = self.records.load();
                records.check(key).is_some_and(|check| check.status == status && check.output == output)
            }
        };
        if known {
            return None;
        }
        state.last += 1;
        let ticket = Ticket(state.last);
        state.waiting.insert(key.to_owned(), CheckResult { spec: spec.clone(), status, output });
        drop(state);
        self.arrived.notify_one();
        Some(ticket)
    }

    /// What is known of a check, newer than what is published if there is something.
    pub(super) fn latest(&self, key: &str) -> Option<(Status, String)> {
        let state = self.state.lock();
        if let Some(newest) = state.waiting.get(key).or_else(|| state.taken.get(key)) {
            return Some((newest.status.clone(), newest.output.clone()));
        }
        let records = self.records.load();
        records.check(key).map(|check| (check.status.clone(), check.output.clone()))
    }

    /// Waits until there is something to take.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Puts everything that waits into `records`; says which checks it changed, and the number of the last result.
    pub(super) fn take(&self, records: &mut Records) -> (Vec<Noted>, u64) {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            return (Vec::new(), state.last);
        }
        state.taken = std::mem::take(&mut state.waiting);
        let (taken, last) = (state.taken.clone(), state.last);
        drop(state);
        (records.set_results(taken), last)
    }

    /// What was taken is published.
    pub(super) fn published(&self) {
        self.state.lock().taken.clear();
    }
}

impl Ticket {
    /// Waits until the result is published; an error says that the writer has ended.
    pub(super) async fn wait(self, mut done: Done) -> Result<(), watch::error::RecvError> {
        done.wait_for(|done| *done >= self.0).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::local::{Source, records::Operation};

    fn table() -> (Arc<ArcSwap<Records>>, Arc<CheckSpec>) {
        let mut records = Records::new("n1");
        let spec = CheckSpec {
            id: "c".to_owned(),
            name: "c".to_owned(),
            ttl: Some(Duration::from_secs(1)),
            ..CheckSpec::default()
        };
        records.apply(Operation::RegisterCheck { spec: Box::new(spec), source: Source::Api }).unwrap();
        let spec = records.specs().get("c").unwrap().clone();
        (Arc::new(ArcSwap::from_pointee(records)), spec)
    }

    #[test]
    fn only_what_differs_from_the_newest_is_taken_in() {
        let (records, spec) = table();
        let inbox = Inbox::new(records.clone());
        let say = |status: Status, output: &str| inbox.submit("c", &spec, status, output.to_owned()).is_some();
        assert!(!say(Status::Critical, ""), "what it began with");
        assert!(say(Status::Passing, ""));
        assert!(!say(Status::Passing, ""), "while it waits");
        let mut next = Records::clone(&records.load());
        let (noted, last) = inbox.take(&mut next);
        assert_eq!((noted, last), (vec![Noted { key: "c".to_owned(), status: true }], 1));
        assert!(!say(Status::Passing, ""), "while it is being published");
        assert!(say(Status::Critical, ""), "although that is what is published still");
        records.store(Arc::new(next));
        inbox.published();
        let mut next = Records::clone(&records.load());
        assert_eq!(inbox.take(&mut next).0.len(), 1);
        assert_eq!(next.check("c").unwrap().status, Status::Critical);
        assert_eq!(inbox.latest("c"), Some((Status::Critical, String::new())));
    }

    #[test]
    fn of_one_check_the_newest_result_counts_and_that_of_another_definition_does_not() {
        let (records, spec) = table();
        let inbox = Inbox::new(records.clone());
        inbox.submit("c", &spec, Status::Passing, "a".to_owned());
        inbox.submit("c", &spec, Status::Warning, "b".to_owned());
        let mut next = Records::clone(&records.load());
        inbox.take(&mut next);
        let check = next.check("c").unwrap();
        assert_eq!((check.status.clone(), check.output.as_str()), (Status::Warning, "b"));
        let other = Arc::new(CheckSpec { notes: "other".to_owned(), ..CheckSpec::clone(&spec) });
        inbox.submit("c", &other, Status::Passing, "c".to_owned());
        assert_eq!(inbox.take(&mut next).0, []);
    }
}
