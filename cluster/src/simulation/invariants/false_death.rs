//! Nobody is taken for dead without a cause: the accuracy of A. Das, I. Gupta and A. Motivala, "SWIM" (2002), as far as
//! it is asked for here: loss of a tenth of all datagrams, small delays and slow disks are no cause.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    membership::MemberStatus,
    simulation::{faults::Host, shared::Shared},
};

/// How long after the end of a cause it may still be one: rumours of it are still under way.
const AFTERMATH: Duration = Duration::from_secs(30);

/// Who takes whom for dead.
#[derive(Debug, Default)]
pub(in crate::simulation) struct FalseDeath {
    last_cause: Option<Duration>,
    accused: BTreeSet<(Host, String)>,
}

impl FalseDeath {
    /// Looks at what the running agents say of each other; `cause` says whether something looks like death now.
    pub(in crate::simulation) fn look(&mut self, shared: &Shared, now: Duration, cause: bool) -> Vec<String> {
        if cause {
            self.last_cause = Some(now);
        }
        let excused = self.last_cause.is_some_and(|last| now < last + AFTERMATH);
        let accused: BTreeSet<_> = shared
            .members()
            .into_iter()
            .flat_map(|(host, members)| members.into_iter().map(move |member| (host, member)))
            .filter(|(_, member)| matches!(member.status, MemberStatus::Failed | MemberStatus::Left))
            .map(|(host, member)| (host, member.name))
            .collect();
        let new = accused.difference(&self.accused);
        let violation =
            |(host, name): &(Host, String)| format!("false death: host {host} takes {name} for dead without a cause");
        let violations = if excused { Vec::new() } else { new.map(violation).collect() };
        self.accused = accused;
        violations
    }
}
