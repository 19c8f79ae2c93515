//! What is due when: an ordered queue in which each key stands once. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// The queue. It holds as many entries as it was given keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Due {
    at: HashMap<Arc<str>, Instant>,
    order: BTreeSet<(Instant, Arc<str>)>,
}

impl Due {
    /// Has `key` be due at `at`, and at no other time.
    pub(crate) fn set(&mut self, key: &str, at: Instant) {
        let key = match self.at.get_key_value(key) {
            None => Arc::from(key),
            Some((key, before)) => {
                let (key, before) = (key.clone(), *before);
                self.order.remove(&(before, key.clone()));
                key
            }
        };
        self.at.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// When `key` is due.
    pub(crate) fn get(&self, key: &str) -> Option<Instant> {
        self.at.get(key).copied()
    }

    /// Takes `key` out.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some((key, at)) = self.at.remove_entry(key) {
            self.order.remove(&(at, key));
        }
    }

    /// When the first is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Has everything be due later by `time`.
    pub(crate) fn postpone(&mut self, time: Duration) {
        self.at.values_mut().for_each(|at| *at += time);
        self.order = std::mem::take(&mut self.order).into_iter().map(|(at, key)| (at + time, key)).collect();
    }

    /// Takes the first one that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Arc<str>)> {
        if self.next()? > now {
            return None;
        }
        let (at, key) = self.order.pop_first()?;
        self.at.remove(&key);
        Some((at, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_due_once_in_order() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut due = Due::default();
        for (key, seconds) in [("a", 3), ("b", 1), ("c", 2), ("a", 1), ("b", 4), ("d", 1)] {
            due.set(key, at(seconds));
        }
        due.remove("d");
        due.remove("nosuch");
        assert_eq!((due.next(), due.get("b")), (Some(at(1)), Some(at(4))));
        let mut popped = Vec::new();
        while let Some((_, key)) = due.pop(at(3)) {
            popped.push(key);
        }
        assert_eq!(popped, [Arc::from("a"), Arc::from("c")]);
        due.postpone(Duration::from_secs(1));
        assert_eq!(due.pop(at(4)), None);
        assert_eq!(due.pop(at(5)), Some((at(5), Arc::from("b"))));
        assert_eq!(due.next(), None);
    }
}
