//! The watches of an agent's configuration: each runs by itself against the agent's own HTTP API. A reload ends those that
//! are gone and starts those that are new; what has not changed goes on.

use std::{net::IpAddr, time::Duration};

use tokio::task::JoinHandle;

use super::{
    call,
    engine::{self, Change, Told},
    handler::{self, Speech},
    spec::{Handler, Watch},
};
use crate::{
    client::{
        Client, ClientError,
        address::Address,
        settings::{Settings, TlsSettings},
    },
    config::HttpListen,
};

/// A watch with its handler, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// What is watched.
    pub watch: Watch,
    /// Who is told.
    pub handler: Handler,
}

/// The watches under way; they end when this is dropped.
#[derive(Debug, Default)]
pub struct Watches(Vec<Running>);

#[derive(Debug)]
struct Running {
    watching: Watching,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its handler's process group goes with it.
        self.task.abort();
    }
}

impl Watches {
    /// Brings what runs in line with `wanted`, asking the agent that listens at `listeners`.
    pub fn set(&mut self, wanted: &[Watching], listeners: &[HttpListen]) {
        let mut before = std::mem::take(&mut self.0);
        for watching in wanted {
            let known = before.iter().position(|running| running.watching == *watching);
            match known {
                Some(at) => self.0.push(before.swap_remove(at)),
                None => self.0.extend(start(watching, listeners)),
            }
        }
    }
}

fn start(watching: &Watching, listeners: &[HttpListen]) -> Option<Running> {
    let Some(address) = own_address(listeners) else {
        tracing::warn!(target: "agent.watch", watch = %watching.watch, "A watch needs the HTTP API, which is off");
        return None;
    };
    let settings = Settings {
        address,
        token: watching.watch.token.clone(),
        token_file: None,
        basic_auth: None,
        datacenter: String::new(),
        stale: false,
        tls: TlsSettings::default(),
    };
    let client = match Client::new(settings) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(target: "agent.watch", watch = %watching.watch, %error, "A watch cannot be started");
            return None;
        }
    };
    let mine = watching.clone();
    let task = tokio::spawn(async move {
        let mut told = Logged { watching: &mine };
        match engine::run(&client, &mine.watch, &mut told).await {}
    });
    Some(Running { watching: watching.clone(), task })
}

/// Where this agent reaches its own HTTP API.
fn own_address(listeners: &[HttpListen]) -> Option<Address> {
    Some(match listeners.first()? {
        HttpListen::Unix(path) => Address::Unix(path.clone()),
        HttpListen::Tcp(address) => {
            let host = match address.ip() {
                IpAddr::V4(any) if any.is_unspecified() => "127.0.0.1".to_owned(),
                IpAddr::V6(any) if any.is_unspecified() => "::1".to_owned(),
                ip => ip.to_string(),
            };
            Address::Tcp { host, port: address.port(), tls: false, prefix: String::new() }
        }
    })
}

/// Tells a handler, and the log what became of it.
struct Logged<'a> {
    watching: &'a Watching,
}

/// A configured watch has no end of its own.
enum Never {}

impl Told for Logged<'_> {
    type End = Never;

    async fn change(&mut self, change: &Change) -> Result<(), Never> {
        let watch = &self.watching.watch;
        let told = match &self.watching.handler {
            Handler::Command(command) => handler::run_command(command, change, Speech::Kept).await,
            Handler::Http(http) => call::send(http, change).await,
        };
        match told {
            Ok(said) => {
                tracing::debug!(target: "agent.watch", %watch, output = said, "watch handler output");
            }
            Err(error) => {
                tracing::error!(target: "agent.watch", %watch, %error, "Failed to run watch handler");
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &ClientError, wait: Duration) {
        tracing::error!(target: "agent.watch", watch = %self.watching.watch, %error, retry = ?wait, "Watch errored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_asks_itself() {
        let tcp = |text: &str| vec![HttpListen::Tcp(text.parse().unwrap())];
        let at = |listeners: &[HttpListen]| own_address(listeners).map(|address| address.to_string());
        assert_eq!(at(&[]), None);
        assert_eq!(at(&tcp("0.0.0.0:8500")).as_deref(), Some("http://127.0.0.1:8500"));
        assert_eq!(at(&tcp("[::]:8500")).as_deref(), Some("http://[::1]:8500"));
        assert_eq!(at(&tcp("10.0.0.1:80")).as_deref(), Some("http://10.0.0.1:80"));
        assert_eq!(at(&[HttpListen::Unix("/run/u.sock".into())]).as_deref(), Some("unix:///run/u.sock"));
    }
}
