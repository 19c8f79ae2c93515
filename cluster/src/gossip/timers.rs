//! What is to be done when: one ordered heap, so that nothing is lost and what belongs before something else stays there
//! even when both are late.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use tokio::time::Instant;

use super::identity::Identity;

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// foca's own.
    Foca(foca::Timer<Identity>),
    /// A push/pull with a random member.
    Sync,
    /// Calls at failed members.
    Reconnect,
    /// Asks for records that are missing.
    Fetch,
    /// Forgets what is old.
    Reap,
    /// The next step of leaving.
    Leave,
}

impl Task {
    /// Orders what is due at one moment: foca demands that an indirect probe goes before the next probe.
    fn rank(&self) -> u8 {
        match self {
            Self::Foca(foca::Timer::SendIndirectProbe { .. }) => 0,
            Self::Foca(foca::Timer::ProbeRandomMember(_)) => 1,
            Self::Foca(_) => 2,
            _ => 3,
        }
    }
}

/// What waits. Its size is bounded by what schedules: a handful of our own, and of foca's a handful and one a suspicion.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Waiting>>,
    count: u64,
}

#[derive(Debug)]
struct Waiting {
    /// When, what goes first then, and what was scheduled first.
    key: (Instant, u8, u64),
    task: Task,
}

impl Timers {
    pub(super) fn schedule(&mut self, due: Instant, task: Task) {
        self.count = self.count.wrapping_add(1);
        self.heap.push(Reverse(Waiting { key: (due, task.rank(), self.count), task }));
    }

    /// When there is something to be done next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(waiting)| waiting.key.0)
    }

    /// Takes the next thing that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Task> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(waiting)| waiting.task)
    }

    /// Puts everything off by `delay`, as if the time in between had not passed.
    pub(super) fn put_off(&mut self, delay: Duration) {
        let waiting = std::mem::take(&mut self.heap).into_vec();
        self.heap = waiting
            .into_iter()
            .map(|Reverse(Waiting { key: (due, rank, count), task })| {
                Reverse(Waiting { key: (due + delay, rank, count), task })
            })
            .collect();
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_indirect_probe_goes_before_the_next_probe() {
        let (now, mut timers) = (Instant::now(), Timers::default());
        let indirect = Task::Foca(foca::Timer::SendIndirectProbe {
            probed_id: Identity::new("10.0.0.1:1".parse().unwrap(), 1),
            token: 0,
        });
        let probe = Task::Foca(foca::Timer::ProbeRandomMember(0));
        timers.schedule(now, Task::Sync);
        timers.schedule(now, probe.clone());
        timers.schedule(now, indirect.clone());
        timers.schedule(now + Duration::from_secs(1), Task::Reap);
        assert_eq!(std::iter::from_fn(|| timers.take_due(now)).collect::<Vec<_>>(), [indirect, probe, Task::Sync]);
        assert_eq!(timers.next_due(), Some(now + Duration::from_secs(1)));
        timers.put_off(Duration::from_secs(5));
        assert_eq!(timers.take_due(now + Duration::from_secs(5)), None);
        assert_eq!(timers.take_due(now + Duration::from_secs(6)), Some(Task::Reap));
    }
}
