//! What foca wants done, gathered while it works.

use std::time::Duration;

use foca::{Message, Notification, Runtime, Timer};

use crate::gossip::identity::Identity;

/// Gathered since it was last emptied, and what must be remembered of the probe under way.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Datagrams to send.
    pub(super) sends: Vec<(Identity, Vec<u8>)>,
    /// Timers to set.
    pub(super) timers: Vec<(Timer<Identity>, Duration)>,
    /// Whether somebody came, went or was replaced.
    pub(super) changed: bool,
    /// Who did not answer a probe.
    pub(super) silent: Option<Identity>,
    /// The probe under way.
    pub(super) probe: Option<Probe>,
    /// This member's incarnation: foca tells it in every datagram.
    pub(super) incarnation: foca::Incarnation,
}

/// A probe under way.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) target: Identity,
    pub(super) number: foca::ProbeNumber,
    /// The ping as foca wrote it.
    pub(super) ping: Vec<u8>,
    pub(super) answered: bool,
}

impl Effects {
    /// The ping of the probe of `target`, if it is not answered yet.
    pub(super) fn unanswered(&self, target: &Identity) -> Option<&[u8]> {
        self.probe.as_ref().filter(|it| it.target == *target && !it.answered).map(|it| it.ping.as_slice())
    }

    fn answer(&mut self, from: Identity, number: foca::ProbeNumber) {
        if let Some(probe) = self.probe.as_mut().filter(|it| it.target == from && it.number == number) {
            probe.answered = true;
        }
    }
}

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => self.changed = true,
            Notification::ProbeFailed(_, target) => self.silent = Some(*target),
            Notification::DataReceived(header) => match &header.message {
                Message::Ack(number) => self.answer(header.src, *number),
                Message::ForwardedAck { origin, probe_number } => self.answer(*origin, *probe_number),
                _ => {}
            },
            Notification::DataSent(header) => {
                self.incarnation = header.src_incarnation;
                if let (Message::Ping(number), Some((_, ping))) = (&header.message, self.sends.last()) {
                    let (number, ping) = (*number, ping.clone());
                    self.probe = Some(Probe { target: header.dst, number, ping, answered: false });
                }
            }
            Notification::Rejoin(_) => self.incarnation = 0,
            Notification::Active | Notification::Idle | Notification::Defunct => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((event, after));
    }
}
