//! How well this member itself is (Lifeguard's local health awareness): a member whose own loop runs late, or whose
//! accusations are refuted, takes more time before it accuses others.

use std::time::Duration;

/// Being late by less than this says nothing.
pub(super) const LATE: Duration = Duration::from_millis(250);
/// As Consul's.
const WORST: u32 = 8;

/// 0 is well; each step more stretches the times of probing and suspecting by once their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    score: u32,
}

impl Health {
    /// Somebody answered a probe.
    pub(super) fn probe_answered(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// Whom this member accused is alive.
    pub(super) fn accused_wrongly(&mut self) {
        self.worse(1);
    }

    /// This member did something later than it wanted to.
    pub(super) fn was_late(&mut self, by: Duration) {
        if by >= LATE {
            self.worse(if by >= Duration::from_secs(1) { 2 } else { 1 });
        }
    }

    /// A time of probing or suspecting, as long as this member needs it.
    pub(super) fn stretch(self, time: Duration) -> Duration {
        time * (1 + self.score)
    }

    pub(super) fn score(self) -> u32 {
        self.score
    }

    fn worse(&mut self, steps: u32) {
        self.score = (self.score + steps).min(WORST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_well_takes_more_time_until_it_is_well_again() {
        let (mut health, second) = (Health::default(), Duration::from_secs(1));
        assert_eq!(health.stretch(second), second);
        health.was_late(LATE / 2);
        assert_eq!(health.score(), 0, "a little late is not ill");
        health.was_late(LATE);
        health.was_late(second);
        health.accused_wrongly();
        assert_eq!(health.stretch(second), second * 5);
        for _ in 0..20 {
            health.accused_wrongly();
        }
        assert_eq!(health.score(), WORST);
        for _ in 0..20 {
            health.probe_answered();
        }
        assert_eq!(health, Health::default());
    }
}
