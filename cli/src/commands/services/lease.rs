//! `usher services register -lease`: a service that is answered while its program shows signs of life.
//!
//! ```text
//!   register ─► start the program ─► renew, renew, … ─► the program ends ─► deregister ─► end as it ended
//!                     └─► cannot be started: deregister
//! ```
//!
//! Without a program the lease is declared and others renew it. With one (`-exec`) this process stays beside it: signals
//! go on to the program, and whatever happens to the agent meanwhile (it is away, it has forgotten the service) is made
//! good as soon as it is back. Should this process be killed, the lease runs out and the service goes.

mod program;
mod renewal;

use std::{convert::Infallible, pin::pin, process::ExitCode, time::Duration};

use tokio::time::{sleep, timeout};
use usher_cluster::local::definition::ServiceDefinition;

use self::{
    program::{Program, Signals},
    renewal::{Outcome, Renewal, Request},
};
use super::body::registration;
use crate::{
    client::{Client, ClientError},
    commands::error::{CommandError, Doing},
    config::duration,
    output::Output,
    values::go_time,
};

/// How long deregistering may be tried at the end; the lease ends what could not be reached.
const LEAVING_MAX: Duration = Duration::from_secs(5);
/// Time between two tries of it.
const LEAVING_RETRY: Duration = Duration::from_millis(100);
/// The least time a renewal and a registration get.
const RENEWAL_MIN: Duration = Duration::from_secs(1);
const REGISTRATION_MIN: Duration = Duration::from_secs(10);

/// The flags about leases.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct LeaseFlags {
    /// Answer the service only while it is renewed within this time, such as 10s: by -exec, or by
    /// its program with PUT /v1/agent/service/renew/<id>.
    #[arg(long, value_name = "time", value_parser = go_time)]
    lease: Option<Duration>,
    /// Time after the end of a lease at which the service is removed. The default is three leases.
    #[arg(long, value_name = "time", value_parser = go_time)]
    lease_deregister_after: Option<Duration>,
    /// Program with its arguments, given as the last words: -exec <command> or -- <command>. It is
    /// run while the service is registered, and the service is removed when it ends. Wants a lease.
    #[arg(last = true, value_name = "command")]
    exec: Vec<String>,
}

impl LeaseFlags {
    /// Writes what the flags say into a definition.
    pub fn declare(&self, service: &mut ServiceDefinition) {
        service.lease = self.lease;
        service.lease_deregister_after = self.lease_deregister_after;
    }

    /// The program to run and its arguments; empty for none.
    pub fn program(&self) -> &[String] {
        &self.exec
    }
}

/// Registers the one service, runs `words` while its lease is renewed, and ends as the program does.
pub async fn run(
    services: &[ServiceDefinition],
    words: &[String],
    client: &Client,
    out: &mut Output,
) -> Result<ExitCode, CommandError> {
    let [service] = services else {
        return Err(CommandError::Usage(format!("A program is run for one service, not for {}.", services.len())));
    };
    let Some(lease) = service.lease else {
        return Err(CommandError::Usage("A program is run with a lease: say how long it lasts (-lease=10s).".into()));
    };
    let held = Held { service, lease, client };
    let mut signals = Signals::listen().map_err(|error| CommandError::Other(format!("cannot listen: {error}")))?;
    tokio::select! {
        registered = held.register() => registered.doing(held.failed_to_register())?,
        signal = signals.next() => {
            held.deregister(out).await;
            return Ok(program::ended_by(signal));
        }
    }
    let mut program = match Program::start(words) {
        // Standard output is the program's.
        Ok(program) => {
            out.problem(format!("Registered service: {}", service.name));
            program
        }
        Err(error) => {
            held.deregister(out).await;
            out.problem(error.to_string());
            return Ok(error.code());
        }
    };
    let code = held.while_it_lives(&mut program, &mut signals, out).await;
    held.deregister(out).await;
    code.map_err(|error| CommandError::Other(format!("cannot wait for the program: {error}")))
}

/// A service that is registered with a lease.
struct Held<'a> {
    service: &'a ServiceDefinition,
    lease: Duration,
    client: &'a Client,
}

impl Held<'_> {
    fn id(&self) -> &str {
        if self.service.id.is_empty() { &self.service.name } else { &self.service.id }
    }

    fn failed_to_register(&self) -> String {
        format!("Error registering service \"{}\"", self.service.name)
    }

    async fn register(&self) -> Result<(), ClientError> {
        self.client.put(self.client.agent("/v1/agent/service/register"), Some(&registration(self.service))).await
    }

    /// Renews until the program ends, and hands signals on meanwhile.
    async fn while_it_lives(
        &self,
        program: &mut Program,
        signals: &mut Signals,
        out: &mut Output,
    ) -> std::io::Result<ExitCode> {
        let mut renewing = pin!(self.renew_for_ever(out));
        loop {
            tokio::select! {
                biased;
                ended = program.ended() => return ended,
                signal = signals.next() => program.signal(signal),
                never = &mut renewing => match never {},
            }
        }
    }

    async fn renew_for_ever(&self, out: &mut Output) -> Infallible {
        let mut renewal = Renewal::new(self.id(), self.lease);
        let mut step = renewal.registered();
        loop {
            sleep(step.wait).await;
            let outcome = self.ask(step.request).await;
            step = renewal.after(step.request, outcome);
            if let Some(news) = &step.news {
                out.problem(news);
            }
        }
    }

    async fn ask(&self, request: Request) -> Outcome {
        let limit = match request {
            Request::Renew => (self.lease / 3).max(RENEWAL_MIN),
            Request::Register => self.lease.max(REGISTRATION_MIN),
        };
        let asked = async {
            match request {
                Request::Renew => {
                    let request = self.client.agent("/v1/agent/service/renew").segment(self.id());
                    self.client.put(request, None).await
                }
                Request::Register => self.register().await,
            }
        };
        match timeout(limit, asked).await {
            Ok(Ok(())) => Outcome::Done,
            // No such service, or one without a lease.
            Ok(Err(ClientError::Status { code: 404 | 400, .. })) if request == Request::Renew => Outcome::Forgotten,
            Ok(Err(ClientError::Status { code: 404, .. })) => Outcome::Forgotten,
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed(format!("no answer within {}", duration::format(limit))),
        }
    }

    /// Removes the service; what cannot be done soon is left to the lease, and told.
    async fn deregister(&self, out: &mut Output) {
        let mut problem = "no answer".to_owned();
        let trying = async {
            loop {
                let request = self.client.agent("/v1/agent/service/deregister").segment(self.id());
                match self.client.put(request, None).await {
                    Ok(()) => return,
                    Err(error) => problem = error.to_string(),
                }
                sleep(LEAVING_RETRY).await;
            }
        };
        if timeout(self.lease.min(LEAVING_MAX), trying).await.is_err() {
            out.problem(format!(
                "Error deregistering service \"{}\": {problem}. It is not answered any more once its lease has run out.",
                self.id()
            ));
        }
    }
}
