//! The flags every command has that asks an agent.
//!
//! Values stay as typed; [`super::settings`] puts them over the environment.

use std::path::PathBuf;

use clap::Args;

/// How to reach the agent.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "HTTP API options")]
pub struct HttpFlags {
    /// Address of the agent's HTTP API: host:port, http://…, https://… or unix://path of a socket. Also taken from
    /// USHER_HTTP_ADDR or CONSUL_HTTP_ADDR; the default is http://127.0.0.1:8500.
    #[arg(long, value_name = "address")]
    pub http_addr: Option<String>,
    /// ACL token to send. Also USHER_HTTP_TOKEN or CONSUL_HTTP_TOKEN; the default is the agent's own token.
    #[arg(long, value_name = "value")]
    pub token: Option<String>,
    /// File with the ACL token, used instead of any other. Also USHER_HTTP_TOKEN_FILE or CONSUL_HTTP_TOKEN_FILE.
    #[arg(long, value_name = "file")]
    pub token_file: Option<PathBuf>,
    /// File with the CA certificates to trust. Also USHER_CACERT or CONSUL_CACERT.
    #[arg(long, value_name = "file")]
    pub ca_file: Option<PathBuf>,
    /// Directory of CA certificates to trust. Also USHER_CAPATH or CONSUL_CAPATH.
    #[arg(long, value_name = "directory")]
    pub ca_path: Option<PathBuf>,
    /// Certificate to show to an agent that verifies its clients. Also USHER_CLIENT_CERT or CONSUL_CLIENT_CERT.
    #[arg(long, value_name = "file")]
    pub client_cert: Option<PathBuf>,
    /// Key of that certificate. Also USHER_CLIENT_KEY or CONSUL_CLIENT_KEY.
    #[arg(long, value_name = "file")]
    pub client_key: Option<PathBuf>,
    /// Name expected in the agent's certificate. Also USHER_TLS_SERVER_NAME or CONSUL_TLS_SERVER_NAME.
    #[arg(long, value_name = "name")]
    pub tls_server_name: Option<String>,
}

/// How to ask the cluster behind the agent.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "HTTP API options")]
pub struct ClusterFlags {
    /// How to reach the agent.
    #[command(flatten)]
    pub http: HttpFlags,
    /// Datacenter to ask; the default is the agent's own.
    #[arg(long, value_name = "name")]
    pub datacenter: Option<String>,
    /// Let any server answer, not only the leader: faster, but the answer may be old.
    #[arg(long)]
    pub stale: bool,
}
