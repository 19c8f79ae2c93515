//! Putting an agent together, in the order in which each part can rely on those before it.
//!
//! ```text
//!   data directory ─► ports ─► keys ─► consensus (servers) ─► local registrations ─► calls ─► gossip ─► joining
//! ```
//!
//! What may refuse to start comes before anybody else can hear of this agent.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Agent, Inner, Options, Role, StartError,
    answer::{Answerer, ApiSlot},
    forward::Forward,
    found::Founding,
    identity::OwnNode,
    join::{self, Retry},
    listen::{Pool, Ports},
    servers::KnownServers,
};
use crate::{
    access::{Authorizer, Router},
    catalog::Catalog,
    datadir::DataDir,
    gossip::{self, Gossip, Keyring},
    health::Health,
    leader::{self, Duties, HealthReport, reconcile::Own},
    local::{
        self, Local, Proposer,
        validate::{ScriptPolicy, is_dns_label},
    },
    membership::{self, Member},
    raft::{self, Consensus},
    rpc::{self, Connections, message::Founder},
    view::{Feed, Views},
};

/// How soon after a further server has come this agent compares its registrations with the catalog.
const COMPARE_WITHIN: Duration = Duration::from_secs(3);

/// How often a server looks for servers of its datacenter it has not met between datacenters.
const SPREAD_INTERVAL: Duration = Duration::from_secs(30);

pub(super) async fn start(mut options: Options, authorizer: Arc<dyn Authorizer>) -> Result<Agent, StartError> {
    let (data_dir, node_id) = identify(&options)?;
    let ports = Ports::bind(&mut options).await?;
    warn_of_names(&options);
    let keys = Keys::load(&options)?;
    let node = OwnNode::new(&options, &node_id);
    let catalog = Arc::new(Catalog::default());
    let connections = Connections::default();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    // Gossip runs last, when this agent can be met. What needs the members follows a channel, which is empty until then.
    let members = Members::new();
    let servers = KnownServers::new(members.follow(), &options.datacenter);
    let (role, forward) = if options.server {
        let consensus = Consensus::start(consensus_options(&options, &node_id), catalog.clone()).await?;
        let forward = Forward::of_server(consensus.clone(), catalog.clone(), connections.clone(), options.rpc_hold);
        (Role::Server(consensus), forward)
    } else {
        let views = Views::new(
            &options.node_name,
            catalog.clone(),
            connections.clone(),
            Arc::new(servers.clone()),
            &tasks,
            stop.clone(),
        );
        let forward =
            Forward::of_client(servers.clone(), views.clone(), catalog.clone(), connections.clone(), options.rpc_hold);
        (Role::Client, forward)
    };
    let proposer: Arc<dyn Proposer> = Arc::new(forward.clone());
    let local = match load_local(&options, &node, &catalog, proposer.clone(), &tasks, &stop).await {
        Ok(local) => local,
        Err(error) => {
            stop.cancel();
            if let Role::Server(consensus) = &role {
                consensus.shutdown().await;
            }
            return Err(error);
        }
    };
    let api = Arc::new(ApiSlot::default());
    let own = Founder {
        raft_id: match &role {
            Role::Server(consensus) => consensus.raft_id(),
            Role::Client => 0,
        },
        node_id: node_id.clone(),
        name: options.node_name.clone(),
        address: SocketAddr::new(options.advertise, options.server_port).to_string(),
    };
    let Ports { server, lan, wan } = ports;
    if let (Role::Server(consensus), Some(listener)) = (&role, server) {
        let heard = consensus.clone();
        let feed = Feed::start(catalog.clone(), move || heard.status().last_contact, &tasks, &stop);
        let answerer = Answerer {
            own: own.clone(),
            datacenter: options.datacenter.clone(),
            consensus: consensus.clone(),
            catalog: catalog.clone(),
            feed,
            forward: forward.clone(),
            api: api.clone(),
        };
        rpc::serve(listener, Arc::new(answerer), consensus.clone(), &tasks, stop.clone());
    }
    let lan = start_lan(&options, &node_id, &keys, lan, &tasks, &stop);
    let wan = wan.map(|sockets| start_wan(&options, &node_id, &keys, sockets, &tasks, &stop));
    tasks.spawn(stop.clone().run_until_cancelled_owned(members.feed(lan.watch())));

    let health =
        Health::start(local.clone(), options.health.clone(), options.data_dir.clone(), &tasks, stop.clone()).await;
    let inner = Arc::new(Inner {
        router: Router::new(&options.datacenter),
        data_dir: Mutex::new(data_dir),
        node_id,
        catalog,
        local,
        health,
        role,
        forward,
        lan,
        wan,
        report: HealthReport::default(),
        api,
        authorizer,
        failure: watch::Sender::new(None),
        tasks,
        leaving: stop.child_token(),
        stop,
        options,
    });
    inner.clone().run(own, servers, connections, proposer);
    if let Err(error) = inner.join_at_start().await {
        let agent = Agent { inner };
        agent.shutdown().await;
        return Err(StartError::Join(error));
    }
    Ok(Agent { inner })
}

impl Inner {
    /// Starts the tasks that last as long as the agent.
    fn run(
        self: Arc<Self>,
        own: Founder,
        servers: KnownServers,
        connections: Connections,
        proposer: Arc<dyn Proposer>,
    ) {
        let options = &self.options;
        if let Role::Server(consensus) = &self.role {
            let duties = Duties {
                own: {
                    let OwnNode { name, datacenter, tagged_addresses, meta, .. } = OwnNode::new(options, &self.node_id);
                    Own { name, datacenter, tagged_addresses, meta }
                },
                consensus: consensus.clone(),
                catalog: self.catalog.clone(),
                proposer,
                local: self.local.clone(),
                members: self.lan.watch(),
                connections: connections.clone(),
                autopilot: options.autopilot.clone(),
                report: self.report.clone(),
            };
            self.tasks.spawn(leader::run(duties, self.stop.clone()));
            if options.bootstrap_expect > 1 && consensus.is_pristine() {
                let founding = Founding {
                    expect: options.bootstrap_expect,
                    consensus: consensus.clone(),
                    connections,
                    servers,
                    members: self.lan.watch(),
                    own,
                    datacenter: options.datacenter.clone(),
                };
                self.tasks.spawn(founding.run(self.stop.clone()));
            }
        }
        if let Some(wan) = &self.wan {
            let spread = spread(self.lan.watch(), wan.clone());
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(spread));
        }
        let lan = self.lan.clone();
        let (members, random) = (move || lan.members().len(), || rand::random::<f64>());
        self.tasks.spawn(local::run_syncer(self.local.clone(), members, random, self.leaving.clone()));
        self.tasks.spawn(local::run_telling(self.local.clone(), self.leaving.clone()));
        let compare = compare_with_servers(self.lan.watch(), self.local.clone());
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(compare));
        self.retry_joins();
    }

    /// Meets those who must be met at the start.
    async fn join_at_start(&self) -> Result<(), String> {
        let options = &self.options;
        if !options.start_join.is_empty() {
            join::join(&self.lan, options.serf_lan_port, &options.start_join).await?;
        }
        match (&self.wan, options.serf_wan_port) {
            (Some(wan), Some(port)) if !options.start_join_wan.is_empty() => {
                join::join(wan, port, &options.start_join_wan).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Meets those who are to be met sooner or later; who is never met ends the agent, if that is wished for.
    fn retry_joins(self: Arc<Self>) {
        let options = &self.options;
        let mut retries = Vec::new();
        if !options.retry_join.is_empty() {
            retries.push(Retry {
                gossip: self.lan.clone(),
                port: options.serf_lan_port,
                addresses: options.retry_join.clone(),
                interval: options.retry_interval,
                max: options.retry_max,
                pool: "LAN",
            });
        }
        if let (Some(wan), Some(port)) = (&self.wan, options.serf_wan_port)
            && !options.retry_join_wan.is_empty()
        {
            retries.push(Retry {
                gossip: wan.clone(),
                port,
                addresses: options.retry_join_wan.clone(),
                interval: options.retry_interval_wan,
                max: options.retry_max_wan,
                pool: "WAN",
            });
        }
        for retry in retries {
            let (failure, stop) = (self.failure.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                if let Err(reason) = retry.run(stop).await {
                    failure.send_if_modified(|first| {
                        let is_first = first.is_none();
                        first.get_or_insert(reason);
                        is_first
                    });
                }
            });
        }
    }
}

/// The members as other parts follow them, from before gossip runs.
struct Members(watch::Sender<Arc<Vec<Member>>>);

impl Members {
    fn new() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }

    fn follow(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.0.subscribe()
    }

    /// Hands on what gossip says.
    async fn feed(self, mut source: watch::Receiver<Arc<Vec<Member>>>) {
        loop {
            let now = source.borrow_and_update().clone();
            self.0.send_replace(now);
            if source.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Has this agent's registrations compared with the catalog when it meets the first server, and when further ones come:
/// what was registered, or removed from the catalog, while none was in reach is put right then and not at the next turn.
async fn compare_with_servers(mut lan: watch::Receiver<Arc<Vec<Member>>>, local: Arc<Local>) {
    let mut known = BTreeSet::new();
    loop {
        let servers: BTreeSet<(String, SocketAddr)> = lan
            .borrow_and_update()
            .iter()
            .filter(|member| member.status == membership::MemberStatus::Alive)
            .filter(|member| member.tags.get("role").is_some_and(|role| role == "consul"))
            .map(|member| (member.name.clone(), SocketAddr::new(member.address, member.port)))
            .collect();
        let met = servers.difference(&known).next().is_some();
        if met && !known.is_empty() {
            // All agents hear of a new server at once, and none is in a hurry.
            tokio::time::sleep(COMPARE_WITHIN.mul_f64(rand::random::<f64>())).await;
        }
        if met {
            local.request_comparison();
        }
        known = servers;
        if lan.changed().await.is_err() {
            return;
        }
    }
}

/// The servers of a datacenter know each other between datacenters, too, without being told: each meets those it does
/// not know.
async fn spread(mut lan: watch::Receiver<Arc<Vec<Member>>>, wan: Gossip) {
    loop {
        let known = wan.members();
        let unknown: Vec<SocketAddr> = lan
            .borrow_and_update()
            .iter()
            .filter(|member| member.status == membership::MemberStatus::Alive)
            .filter_map(|member| {
                let dc = member.tags.get("dc")?;
                let long = format!("{}.{dc}", member.name);
                let port = member.tags.get("wan_join_port")?.parse().ok()?;
                let is_known = known.iter().any(|it| it.name == long && it.status == membership::MemberStatus::Alive);
                (!is_known).then_some(SocketAddr::new(member.address, port))
            })
            .collect();
        for address in unknown {
            if let Err(error) = wan.join(address).await {
                tracing::debug!(target: "agent.server", %error, "cannot meet a server in the WAN pool yet");
            }
        }
        // Whoever could not be met is tried again after a while.
        if let Ok(Err(_)) = tokio::time::timeout(SPREAD_INTERVAL, lan.changed()).await {
            return;
        }
    }
}

/// The key rings of both pools.
struct Keys {
    lan: Arc<Keyring>,
    wan: Arc<Keyring>,
}

impl Keys {
    fn load(options: &Options) -> Result<Self, StartError> {
        let file = |name: &str| serf_file(options, name).filter(|_| !options.disable_keyring_file);
        let key = options.encrypt.as_deref();
        Ok(Self {
            lan: Arc::new(Keyring::load(key, file("local.keyring"))?),
            wan: Arc::new(Keyring::load(
                key.filter(|_| options.server),
                file("remote.keyring").filter(|_| options.server),
            )?),
        })
    }
}

fn serf_file(options: &Options, name: &str) -> Option<std::path::PathBuf> {
    options.data_dir.as_deref().map(|path: &Path| path.join("serf").join(name))
}

fn start_lan(
    options: &Options,
    node_id: &str,
    keys: &Keys,
    sockets: Pool,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Gossip {
    let pool = gossip::Options {
        pool: gossip::Pool::Lan,
        cluster: options.datacenter.clone(),
        name: options.node_name.clone(),
        id: node_id.to_owned(),
        advertise: SocketAddr::new(options.advertise, options.serf_lan_port),
        tags: membership::lan_tags(options, node_id),
        reconnect_timeout: options.reconnect_timeout,
        keyring: keys.lan.clone(),
        snapshot: serf_file(options, "local.snapshot"),
        rejoin_after_leave: options.rejoin_after_leave,
    };
    Gossip::start(pool, sockets.udp, sockets.tcp, tasks, stop.clone())
}

fn start_wan(
    options: &Options,
    node_id: &str,
    keys: &Keys,
    sockets: Pool,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Gossip {
    let pool = gossip::Options {
        pool: gossip::Pool::Wan,
        cluster: String::new(),
        name: format!("{}.{}", options.node_name, options.datacenter),
        id: node_id.to_owned(),
        advertise: SocketAddr::new(options.advertise_wan, options.serf_wan_port.unwrap_or_default()),
        tags: membership::wan_tags(options, node_id),
        reconnect_timeout: options.reconnect_timeout_wan,
        keyring: keys.wan.clone(),
        snapshot: serf_file(options, "remote.snapshot"),
        rejoin_after_leave: options.rejoin_after_leave,
    };
    Gossip::start(pool, sockets.udp, sockets.tcp, tasks, stop.clone())
}

/// Opens the data directory, if there is one, and says who the node is.
fn identify(options: &Options) -> Result<(Option<DataDir>, String), StartError> {
    let fresh = Uuid::new_v4();
    let configured = options.node_id.as_deref();
    let Some(path) = &options.data_dir else {
        return Ok((None, configured.map_or_else(|| fresh.to_string(), str::to_ascii_lowercase)));
    };
    let data_dir = DataDir::open(path)?;
    let node_id = data_dir.node_id(configured, fresh)?;
    Ok((Some(data_dir), node_id))
}

fn consensus_options(options: &Options, node_id: &str) -> raft::Options {
    raft::Options {
        directory: options.data_dir.as_ref().map(|path| path.join("raft")),
        address: SocketAddr::new(options.advertise, options.server_port),
        node_id: node_id.to_owned(),
        node_name: options.node_name.clone(),
        bootstrap: options.bootstrap_expect == 1,
        multiplier: options.raft_multiplier,
        snapshot_threshold: options.snapshot_threshold,
        trailing_logs: options.trailing_logs,
    }
}

/// Loads what was registered and adds what the configuration declares. The catalog follows once there is a leader.
async fn load_local(
    options: &Options,
    node: &OwnNode,
    catalog: &Arc<Catalog>,
    proposer: Arc<dyn Proposer>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<Local>, StartError> {
    let scripts =
        ScriptPolicy { from_config: options.enable_local_script_checks, from_api: options.enable_remote_script_checks };
    let local_options = local::Options {
        node: node.clone(),
        server: options.server,
        scripts,
        data_dir: options.data_dir.clone(),
        update_interval: options.health.update_interval,
    };
    let local = Local::start(local_options, catalog.clone(), proposer, tasks, stop.clone()).await?;
    local.reload(options.services.clone(), options.checks.clone()).await?;
    Ok(local)
}

fn warn_of_names(options: &Options) {
    if !is_dns_label(&options.node_name) {
        tracing::warn!(
            target: "agent",
            node_name = %options.node_name,
            "Node name will not be discoverable via DNS due to invalid characters. Valid characters include all \
             alpha-numerics and dashes."
        );
    }
}
