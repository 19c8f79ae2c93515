//! An agent that runs: its parts, what is asked of the whole, and its end.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use usher_cluster::{
    access::{AllowAll, Authorizer},
    agent::{Agent, Declared},
    catalog::Interest,
    membership::MemberStatus,
};
use usher_dns::serve::{Backend, Encrypted, Freshness, Server, certificate::Certificate};

use super::{
    AgentError, banner, complain, listeners,
    pid_file::PidFile,
    signals::{Request, Signals},
};
use crate::{
    config::{self, AgentFlags, CertificateFiles, Config, EncryptedDns, HttpListen},
    http::{self, Api, Control, Metrics},
    logging::LogHub,
    watch::agent::Watches,
};

/// Orders from the HTTP API that wait; who gives one more waits to give it.
const CONTROL_QUEUE: usize = 8;
/// How long a graceful leave may take.
const LEAVE_TIME: Duration = Duration::from_secs(15);
/// How long requests that are under way may take to end.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How often DNS is told how old the catalog may be.
const TELL_AGE: Duration = Duration::from_secs(1);

/// What the names of settings begin with that a reload puts in force; every other change waits for a restart.
const RELOADED: [&str; 12] = [
    "AllowWriteHTTPFrom",
    "DNS",
    "DefaultQueryTime",
    "DiscardCheckOutput",
    "DiscoveryMaxStale",
    "EnableDebug",
    "HTTP",
    "Logging.LogLevel",
    "MaxQueryTime",
    "NodeMeta",
    "TranslateWANAddrs",
    "Watches",
];
/// Settings among those that need new sockets.
const NOT_RELOADED: [&str; 7] =
    ["DNSAddrs", "DNSHTTPSPort", "DNSPort", "DNSQUICPort", "DNSTLSPort", "HTTPAddrs", "HTTPPort"];

/// All parts of a running agent.
pub(super) struct Running {
    flags: AgentFlags,
    config: Config,
    log: LogHub,
    agent: Agent,
    /// `None` when DNS is switched off.
    dns: Option<Server>,
    /// What DNS is encrypted with, if it is.
    certificate: Option<Arc<Certificate>>,
    api: Arc<Api>,
    http: JoinHandle<()>,
    stop_http: CancellationToken,
    control: mpsc::Receiver<Control>,
    signals: Signals,
    watches: Watches,
    _socket_files: Vec<listeners::SocketPath>,
    _pid_file: Option<PidFile>,
}

impl Running {
    /// Starts every part; when this returns, questions are answered.
    pub(super) async fn start(flags: AgentFlags, config: Config, log: LogHub) -> Result<Self, AgentError> {
        let signals = Signals::listen()?;
        config.health.tls.check().map_err(AgentError::Certificates)?;
        let http_sockets = listeners::open_http(&config)?;
        let certificate = read_certificate(&config.encrypted_dns)?;
        listeners::probe_dns(&config.dns_addrs, &config.encrypted_dns)?;
        let metrics = Metrics::new();
        metrics.install().map_err(AgentError::Metrics)?;

        let authorizer: Arc<dyn Authorizer> = Arc::new(AllowAll);
        let agent = Agent::start(config.agent_options(), authorizer.clone()).await?;
        // Only now: where another agent holds the data directory the file is its own.
        let pid_file = match &config.pid_file {
            None => None,
            Some(path) => Some(
                PidFile::write(path)
                    .map_err(|source| AgentError::PidFile { path: path.display().to_string(), source })?,
            ),
        };
        let dns = start_dns(&config, certificate.clone(), &agent, authorizer).await?;
        let (orders, control) = mpsc::channel(CONTROL_QUEUE);
        let api = Arc::new(Api {
            agent: agent.clone(),
            dns: dns.as_ref().map(usher_dns::serve::Server::explainer),
            log: log.clone(),
            options: ArcSwap::from_pointee(config.http_options()),
            metrics,
            control: orders,
            debug_config: config.debug_config(agent.node_id()),
        });
        let stop_http = CancellationToken::new();
        let http = tokio::spawn(http::serve(http_sockets.listeners, api.clone(), stop_http.clone()));
        if let Some(dns) = &dns {
            tokio::spawn(tell_age(agent.clone(), config.node_name.clone(), dns.freshness(), stop_http.clone()));
        }
        let mut running = Self {
            flags,
            config,
            log,
            agent,
            dns,
            certificate,
            api,
            http,
            stop_http,
            control,
            signals,
            watches: Watches::default(),
            _socket_files: http_sockets.files,
            _pid_file: pid_file,
        };
        running.announce();
        running.watches.set(&running.config.watches, &running.config.http_addrs);
        Ok(running)
    }

    /// Says that everything runs: to people, to the log, to the service manager.
    fn announce(&self) {
        for line in banner::lines(&self.config, self.agent.node_id()) {
            self.log.say(line);
        }
        self.log.say("\n==> Log data will now stream in as it occurs:\n");
        self.log.open_gate();
        for warning in &self.config.warnings {
            warn!(target: "agent", "{warning}");
        }
        for address in &self.config.dns_addrs {
            info!(target: "agent", %address, network = "udp", "Started DNS server");
            info!(target: "agent", %address, network = "tcp", "Started DNS server");
        }
        let EncryptedDns { tls, https, quic, .. } = &self.config.encrypted_dns;
        for (addresses, network) in [(tls, "tls"), (https, "https"), (quic, "quic")] {
            for address in addresses {
                info!(target: "agent", %address, network, "Started DNS server");
            }
        }
        for listen in &self.config.http_addrs {
            let network = if matches!(listen, HttpListen::Tcp(_)) { "tcp" } else { "unix" };
            info!(target: "agent", address = %listen, network, "Started HTTP server");
        }
        self.log.say("==> Usher agent running!");
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            warn!(target: "agent", %error, "cannot tell the service manager that the agent is ready");
        }
    }

    /// Runs until something ends the agent, ends every part, and says the exit code.
    pub(super) async fn until_end(mut self) -> u8 {
        let code = self.wait().await;
        self.stop().await;
        info!(target: "agent", code, "Exit code");
        code
    }

    async fn wait(&mut self) -> u8 {
        loop {
            let agent = self.agent.clone();
            tokio::select! {
                request = self.signals.next() => match request {
                    Request::Reload => {
                        info!(target: "agent", signal = request.name(), "Caught");
                        if let Err(error) = self.reload().await {
                            error!(target: "agent", %error, "Failed to reload the configuration");
                        }
                    }
                    request => return self.end_by_signal(request).await,
                },
                Some(order) = self.control.recv() => match order {
                    Control::Reload(answer) => answer_to(answer, self.reload().await),
                    Control::Leave(answer) => {
                        let left = self.leave().await;
                        answer_to(answer, ());
                        return left;
                    }
                },
                reason = agent.failed() => {
                    error!(target: "agent", reason, "The agent cannot go on");
                    self.log.flush();
                    complain(&reason);
                    return 1;
                }
            }
        }
    }

    async fn end_by_signal(&mut self, request: Request) -> u8 {
        info!(target: "agent", signal = request.name(), "Caught");
        let graceful = match request {
            Request::Interrupt => !self.config.skip_leave_on_interrupt,
            _ => self.config.leave_on_terminate,
        };
        if !graceful {
            info!(target: "agent", "Graceful shutdown disabled. Exiting");
            return 1;
        }
        info!(target: "agent", "Gracefully shutting down agent...");
        self.leave().await
    }

    /// Leaves the cluster; a signal or too much time ends the attempt.
    async fn leave(&mut self) -> u8 {
        let agent = self.agent.clone();
        let drain = self.config.leave_drain;
        let leaving = async {
            let alone = agent.members_lan().iter().filter(|member| member.status == MemberStatus::Alive).count() < 2;
            agent.leave().await;
            // Others need the time to send their questions elsewhere; alone there is nobody to wait for.
            if !alone {
                tokio::time::sleep(drain).await;
            }
        };
        tokio::select! {
            () = leaving => 0,
            request = self.signals.next_end() => {
                info!(target: "agent", signal = request.name(), "Caught second signal, exiting");
                1
            }
            () = tokio::time::sleep(LEAVE_TIME + drain) => {
                warn!(target: "agent", "Timeout on graceful leave. Exiting");
                1
            }
        }
    }

    /// Ends every part, clients first; a signal meanwhile ends the waiting.
    async fn stop(self) {
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Stopping]) {
            warn!(target: "agent", %error, "cannot tell the service manager that the agent stops");
        }
        info!(target: "agent", "Requesting shutdown");
        self.stop_http.cancel();
        let Self { dns, agent, http, mut signals, watches, .. } = self;
        drop(watches);
        let ending = async {
            if tokio::time::timeout(DRAIN_TIME, http).await.is_err() {
                warn!(target: "agent", "requests under way did not end in time");
            }
            if let Some(dns) = dns {
                dns.shutdown().await;
            }
            agent.shutdown().await;
        };
        tokio::select! {
            () = ending => info!(target: "agent", "shutdown complete"),
            request = signals.next_end() => {
                warn!(target: "agent", signal = request.name(), "Caught another signal, exiting before the shutdown is complete");
            }
        }
    }

    /// Reads the certificate of encrypted DNS again, for connections to come. One that cannot be used is told of, and the
    /// one of before stays.
    async fn replace_certificate(&self, files: Option<CertificateFiles>) {
        let (Some(certificate), Some(files)) = (self.certificate.clone(), files) else { return };
        let settings = files.settings;
        let replacing = tokio::task::spawn_blocking(move || certificate.replace(&files.certificate, &files.key));
        if let Ok(Err(error)) = replacing.await {
            let settings = settings.join(", ");
            error!(target: "agent", settings, %error, "The new certificate of DNS cannot be used, the old one stays");
        }
    }

    /// Reads the configuration again and puts in force what can be changed while running.
    async fn reload(&mut self) -> Result<(), String> {
        info!(target: "agent", "Reloading configuration...");
        let flags = self.flags.clone();
        let new = tokio::task::spawn_blocking(move || config::load(&flags))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let tls = self.config.health.tls.clone();
        tokio::task::spawn_blocking(move || tls.check()).await.map_err(|error| error.to_string())??;
        let declared = Declared {
            services: new.services.clone(),
            checks: new.checks.clone(),
            node_meta: new.node_meta.clone(),
            discard_check_output: new.health.discard_output,
        };
        self.agent.reload(declared).await?;
        self.log.set_level(new.log.level);
        if let Some(dns) = &self.dns {
            dns.reconfigure(new.dns_policy());
        }
        self.replace_certificate(new.encrypted_dns.files.clone()).await;
        self.api.options.store(Arc::new(new.http_options()));
        self.watches.set(&new.watches, &self.config.http_addrs);
        let node_id = self.agent.node_id();
        tell_changes(&self.config.debug_config(node_id), &new.debug_config(node_id));
        for warning in new.warnings.iter().filter(|warning| !self.config.warnings.contains(warning)) {
            warn!(target: "agent", "{warning}");
        }
        // What a restart has to bring into force stays as it is.
        self.config.services = new.services;
        self.config.checks = new.checks;
        self.config.watches = new.watches;
        self.config.node_meta = new.node_meta;
        self.config.health.discard_output = new.health.discard_output;
        self.config.dns = new.dns;
        self.config.encrypted_dns.files = new.encrypted_dns.files;
        self.config.http = new.http;
        self.config.log.level = new.log.level;
        self.config.warnings = new.warnings;
        Ok(())
    }
}

/// Reads the certificate of encrypted DNS, if that is on.
fn read_certificate(encrypted: &EncryptedDns) -> Result<Option<Arc<Certificate>>, AgentError> {
    let Some(CertificateFiles { certificate, key, settings }) = &encrypted.files else { return Ok(None) };
    let read = Certificate::read(certificate, key);
    let read = read.map_err(|source| AgentError::DnsCertificate { settings: *settings, source })?;
    Ok(Some(Arc::new(read)))
}

/// Tells DNS how old the catalog may be: on a server when nobody leads, on others when no server is in reach.
async fn tell_age(agent: Agent, node: String, freshness: Freshness, stop: CancellationToken) {
    let own = Interest::node(&node.to_ascii_lowercase());
    let mut ticks = tokio::time::interval(TELL_AGE);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let stale = match agent.catalog().source() {
            Some(source) => source.age(&own).filter(|age| *age >= TELL_AGE),
            None => {
                let status = agent.status();
                let led = status.is_leader || status.leader.is_some();
                if led { None } else { Some(status.last_contact.unwrap_or_default()) }
            }
        };
        freshness.set_stale(stale);
    }
}

async fn start_dns(
    config: &Config,
    certificate: Option<Arc<Certificate>>,
    agent: &Agent,
    authorizer: Arc<dyn Authorizer>,
) -> Result<Option<Server>, AgentError> {
    let EncryptedDns { tls, https, quic, .. } = config.encrypted_dns.clone();
    let encrypted = certificate.map(|certificate| Encrypted { tls, https, quic, certificate });
    if config.dns_addrs.is_empty() && encrypted.is_none() {
        return Ok(None);
    }
    let catalog = agent.catalog().clone();
    let policy = config.dns_policy();
    let (addresses, encrypted) = (&config.dns_addrs, encrypted.as_ref());
    Ok(Some(Server::start_by(Backend::Auto, addresses, encrypted, policy, catalog, authorizer).await?))
}

/// Who asked may have gone meanwhile.
fn answer_to<T>(answer: oneshot::Sender<T>, value: T) {
    let _gone = answer.send(value);
}

/// Logs which settings a reload has changed, and which need a restart.
fn tell_changes(old: &Value, new: &Value) {
    for (name, value) in changes(old, new) {
        if is_reloaded(&name) {
            info!(target: "agent", setting = name, value, "Reloaded");
        } else {
            warn!(target: "agent", setting = name, value, "Changed in the configuration, but needs a restart");
        }
    }
}

/// The settings that differ, with their new values; those in a group by the group's name and their own.
fn changes(old: &Value, new: &Value) -> Vec<(String, String)> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Vec::new() };
    let mut changes = Vec::new();
    for (name, value) in new {
        match (old.get(name), value) {
            (Some(before), now) if before == now => {}
            (Some(before @ Value::Object(_)), Value::Object(_)) => {
                let within = self::changes(before, value).into_iter();
                changes.extend(within.map(|(inner, value)| (format!("{name}.{inner}"), value)));
            }
            (_, Value::String(text)) => changes.push((name.clone(), text.clone())),
            (_, other) => changes.push((name.clone(), other.to_string())),
        }
    }
    changes
}

fn is_reloaded(name: &str) -> bool {
    RELOADED.iter().any(|beginning| name.starts_with(beginning)) && !NOT_RELOADED.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_reload_changes() {
        for (name, reloaded) in [
            ("DNSNodeTTL", true),
            ("HTTPResponseHeaders", true),
            ("DNSAddrs", false),
            ("DiscardCheckOutput", true),
            ("CheckUpdateInterval", false),
            ("NodeMeta", true),
            ("NodeName", false),
            ("Logging.LogLevel", true),
            ("Logging.LogJSON", false),
        ] {
            assert_eq!(is_reloaded(name), reloaded, "{name}");
        }
    }

    #[test]
    fn changes_by_name() {
        let old = json!({"A": "x", "B": 1, "C": {"D": true, "E": [1]}, "F": null});
        let new = json!({"A": "y", "B": 1, "C": {"D": false, "E": [1], "G": 2}, "F": []});
        let expected = [("A", "y"), ("C.D", "false"), ("C.G", "2"), ("F", "[]")];
        assert_eq!(changes(&old, &new), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(changes(&new, &new), []);
    }
}
