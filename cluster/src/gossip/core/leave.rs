//! Leaving: first everybody is told that this member is leaving, then that it is gone, so that nobody takes it for failed.

use tokio::time::Instant;

use super::{Core, Output};
use crate::{
    gossip::{record::Standing, timers::Task},
    membership::MemberStatus,
};

/// How far this member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Telling that it is leaving; so many steps still.
    Telling(u32),
    /// Telling that it is gone; so many steps still.
    Going(u32),
    /// Gone.
    Done,
}

impl Core {
    /// Starts leaving; [`Output::Left`] follows.
    pub(in crate::gossip) fn leave(&mut self, now: Instant) {
        match self.leave {
            Some(Leave::Done) => return self.outputs.push(Output::Left),
            Some(_) => return,
            None => {}
        }
        self.leave = Some(Leave::Telling(self.steps()));
        {
            let mut table = self.table.lock();
            table.set_now(now);
            table.change_own(|own| own.standing = Standing::Leaving);
            table.set_own_status(MemberStatus::Leaving);
        }
        self.tell_own();
        self.leave_step(now);
        self.settle(now);
    }

    pub(super) fn has_left(&self) -> bool {
        matches!(self.leave, Some(Leave::Going(_) | Leave::Done))
    }

    pub(in crate::gossip) fn is_leaving(&self) -> bool {
        self.leave.is_some()
    }

    pub(super) fn leave_step(&mut self, now: Instant) {
        let next = match self.leave {
            None | Some(Leave::Done) => return,
            Some(Leave::Telling(0)) => {
                say!(self.settings.pool, debug, "others were told that this member leaves");
                let result = self.foca.leave_cluster(&mut self.effects);
                self.note(result);
                self.table.lock().set_own_status(MemberStatus::Left);
                Leave::Going(self.steps())
            }
            Some(Leave::Telling(steps)) => {
                self.gossip();
                Leave::Telling(steps - 1)
            }
            Some(Leave::Going(0)) => {
                self.outputs.push(Output::Left);
                Leave::Done
            }
            Some(Leave::Going(steps)) => {
                self.gossip();
                Leave::Going(steps - 1)
            }
        };
        self.leave = Some(next);
        match next {
            Leave::Done => {}
            // Nobody is there to be told.
            _ if self.foca.num_members() == 0 => self.leave_step(now),
            _ => self.timers.schedule(now + self.timing.leave_step, Task::Leave),
        }
    }

    /// Each step tells three more, who tell others: a pool four times as large needs one more. Alone there is nothing
    /// to tell.
    fn steps(&self) -> u32 {
        match self.foca.num_members() {
            0 => 0,
            others => 2 + others.ilog2().div_ceil(2),
        }
    }
}
