//! When a lease is renewed next, and what is told about it. Pure.

use std::time::Duration;

/// A lease is renewed this often while it lasts, so that one lost renewal costs nothing.
const RENEWALS: u32 = 3;
/// Into so many pauses a lease is parted while renewing fails, within bounds that spare the agent.
const RETRIES: u32 = 20;
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What is asked of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// One more lease.
    Renew,
    /// The whole registration, which is a lease, too.
    Register,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done.
    Done,
    /// The agent does not know the service.
    Forgotten,
    /// It was not done; the text says why.
    Failed(String),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// After this time.
    pub(super) wait: Duration,
    pub(super) request: Request,
    /// What the user should know now.
    pub(super) news: Option<String>,
}

/// The state of one lease.
#[derive(Debug)]
pub(super) struct Renewal {
    id: String,
    lease: Duration,
    /// What was told last, while it goes wrong: the same is not told twice.
    told: Option<String>,
}

impl Renewal {
    pub(super) fn new(id: &str, lease: Duration) -> Self {
        Self { id: id.to_owned(), lease, told: None }
    }

    /// The first step of a service that was just registered.
    pub(super) fn registered(&self) -> Step {
        Step { wait: self.lease / RENEWALS, request: Request::Renew, news: None }
    }

    /// The step after `request` had this outcome.
    pub(super) fn after(&mut self, request: Request, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Done => {
                let news = self.told.take().map(|_| format!("The lease of service \"{}\" is renewed again.", self.id));
                Step { news, ..self.registered() }
            }
            Outcome::Forgotten if request == Request::Renew => {
                let news = self.tell(format!("The agent has forgotten service \"{}\": registering it again.", self.id));
                Step { wait: Duration::ZERO, request: Request::Register, news }
            }
            Outcome::Forgotten => self.retry(request, "the agent has no such service"),
            Outcome::Failed(reason) => self.retry(request, &reason),
        }
    }

    fn retry(&mut self, request: Request, reason: &str) -> Step {
        let news = self.tell(format!("Error renewing the lease of service \"{}\": {reason}. Trying again.", self.id));
        Step { wait: (self.lease / RETRIES).clamp(RETRY_MIN, RETRY_MAX), request, news }
    }

    fn tell(&mut self, text: String) -> Option<String> {
        if self.told.as_ref() == Some(&text) {
            return None;
        }
        self.told = Some(text.clone());
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds to the next step, what it asks, and whether something is told.
    fn walk(lease: Duration, outcomes: &[Outcome]) -> Vec<(u128, Request, bool)> {
        let mut renewal = Renewal::new("web", lease);
        let mut steps = vec![renewal.registered()];
        for outcome in outcomes {
            let step = renewal.after(steps.last().unwrap().request, outcome.clone());
            steps.push(step);
        }
        steps.into_iter().map(|step| (step.wait.as_millis(), step.request, step.news.is_some())).collect()
    }

    #[test]
    fn renews_three_times_a_lease_and_quietly() {
        let steps = walk(Duration::from_secs(9), &[Outcome::Done, Outcome::Done]);
        assert_eq!(steps, [(3000, Request::Renew, false); 3]);
    }

    #[test]
    fn an_agent_that_is_away_is_asked_often_and_told_of_once() {
        let away = Outcome::Failed("away".into());
        let steps = walk(Duration::from_secs(9), &[away.clone(), away.clone(), Outcome::Done, Outcome::Done, away]);
        let expected = [
            (3000, Request::Renew, false),
            (450, Request::Renew, true),
            (450, Request::Renew, false),
            (3000, Request::Renew, true),
            (3000, Request::Renew, false),
            (450, Request::Renew, true),
        ];
        assert_eq!(steps, expected);
        for (lease, retry) in [(Duration::from_millis(100), 50), (Duration::from_secs(600), 1000)] {
            assert_eq!(walk(lease, &[Outcome::Failed("x".into())])[1].0, retry);
        }
    }

    #[test]
    fn an_agent_that_has_forgotten_is_told_everything_again() {
        let outcomes = [Outcome::Forgotten, Outcome::Failed("no".into()), Outcome::Done, Outcome::Done];
        let expected = [
            (3000, Request::Renew, false),
            (0, Request::Register, true),
            (450, Request::Register, true),
            (3000, Request::Renew, true),
            (3000, Request::Renew, false),
        ];
        assert_eq!(walk(Duration::from_secs(9), &outcomes), expected);
        // An agent that knows no such request, and never will, is not asked in a loop without a pause.
        assert_eq!(walk(Duration::from_secs(9), &[Outcome::Forgotten, Outcome::Forgotten])[2].0, 450);
    }
}
