//! The flags of `usher services register` that describe one check of the service. Pure.
//!
//! Which kind it is follows from the flag that says where to look; every other flag must belong to that kind. What the
//! agent decides (limits of times, whether scripts may run) is left to it.

use std::{str::FromStr, time::Duration};

use clap::builder::NonEmptyStringValueParser;
use usher_cluster::{catalog::model::Status, local::definition::CheckSpec};

use crate::{commands::CommandError, values::go_time};

/// How often a check is run that does not say.
const INTERVAL: Duration = Duration::from_secs(10);

/// The flags about the service's check.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Check options")]
pub struct CheckFlags {
    /// Check by a request of this URL: 2xx passes, 429 warns, all else is critical.
    #[arg(long, value_name = "url", value_parser = NonEmptyStringValueParser::new())]
    check_http: Option<String>,
    /// Check by a connection to this address, host:port.
    #[arg(long, value_name = "address", value_parser = NonEmptyStringValueParser::new())]
    check_tcp: Option<String>,
    /// Check by a datagram to this address, host:port: all but a refusal passes.
    #[arg(long, value_name = "address", value_parser = NonEmptyStringValueParser::new())]
    check_udp: Option<String>,
    /// Check by gRPC's health protocol, host:port or host:port/service.
    #[arg(long, value_name = "address", value_parser = NonEmptyStringValueParser::new())]
    check_grpc: Option<String>,
    /// Check by a ping of HTTP/2 to this address, host:port.
    #[arg(long, value_name = "address", value_parser = NonEmptyStringValueParser::new())]
    check_h2ping: Option<String>,
    /// Check by asking a DNS server for this name.
    #[arg(long, value_name = "name", value_parser = NonEmptyStringValueParser::new())]
    check_dns: Option<String>,
    /// Check by a command; give it once for the command and once for each argument. 0 passes, 1 warns, all else is
    /// critical. The agent must allow scripts.
    #[arg(long, value_name = "word")]
    check_args: Vec<String>,
    /// The service's program reports itself, at least this often, to /v1/agent/check/pass/<check id>.
    #[arg(long, value_name = "time", value_parser = go_time)]
    check_ttl: Option<Duration>,
    /// Check by following this service of the agent, by its id.
    #[arg(long, value_name = "id", value_parser = NonEmptyStringValueParser::new())]
    check_alias_service: Option<String>,
    /// Check by following this node; with -check-alias-service, that service on it.
    #[arg(long, value_name = "name", value_parser = NonEmptyStringValueParser::new())]
    check_alias_node: Option<String>,
    /// Id of the check. The default is service:<id of the service>.
    #[arg(long, value_name = "id", default_value = "", hide_default_value = true)]
    check_id: String,
    /// Name of the check, for people.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    check_name: String,
    /// Notes on the check, for people.
    #[arg(long, value_name = "text", default_value = "", hide_default_value = true)]
    check_notes: String,
    /// Status until the first result: passing, warning or critical. The default is critical.
    #[arg(long, value_name = "status", value_parser = status)]
    check_status: Option<Status>,
    /// Time between two runs. The default is 10s.
    #[arg(long, value_name = "time", value_parser = go_time)]
    check_interval: Option<Duration>,
    /// Time a run may take.
    #[arg(long, value_name = "time", value_parser = go_time)]
    check_timeout: Option<Duration>,
    /// Runs in a row that must pass before the status turns passing.
    #[arg(long, value_name = "number")]
    check_success_before_passing: Option<u32>,
    /// Runs in a row that must fail before the status turns warning.
    #[arg(long, value_name = "number")]
    check_failures_before_warning: Option<u32>,
    /// Runs in a row that must fail before the status turns critical.
    #[arg(long, value_name = "number")]
    check_failures_before_critical: Option<u32>,
    /// Remove the service when it has been critical for this long.
    #[arg(long, value_name = "time", value_parser = go_time)]
    check_deregister_after: Option<Duration>,
    /// Bytes of output kept.
    #[arg(long, value_name = "bytes")]
    check_output_max_size: Option<u32>,
    /// -check-http: method of the request, GET by default.
    #[arg(long, value_name = "method", default_value = "", hide_default_value = true)]
    check_method: String,
    /// -check-http: header of the request. May be given several times.
    #[arg(long, value_name = "name: value")]
    check_header: Vec<Header>,
    /// -check-http: body of the request.
    #[arg(long, value_name = "text", default_value = "", hide_default_value = true)]
    check_body: String,
    /// -check-http: take a redirect for the answer instead of following it.
    #[arg(long)]
    check_disable_redirects: bool,
    /// -check-grpc: over TLS.
    #[arg(long)]
    check_grpc_use_tls: bool,
    /// -check-h2ping: over TLS, which is the default; =false for cleartext.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    check_h2ping_use_tls: Option<bool>,
    /// -check-dns: the server to ask, address:port.
    #[arg(long, value_name = "address", value_parser = NonEmptyStringValueParser::new())]
    check_dns_server: Option<String>,
    /// -check-dns: type of the question, A by default.
    #[arg(long, value_name = "type", default_value = "", hide_default_value = true)]
    check_dns_type: String,
    /// -check-dns: a record the answer must hold, as a zone file writes it. May be given several times.
    #[arg(long, value_name = "data")]
    check_dns_expect: Vec<String>,
    /// -check-args: run the command in this Docker container.
    #[arg(long, value_name = "id", value_parser = NonEmptyStringValueParser::new())]
    check_docker_container_id: Option<String>,
    /// -check-docker-container-id: shell to run the command with.
    #[arg(long, value_name = "path", default_value = "", hide_default_value = true)]
    check_shell: String,
    /// Name expected in the certificate of what is checked over TLS.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    check_tls_server_name: String,
    /// Do not verify the certificate of what is checked over TLS.
    #[arg(long)]
    check_tls_skip_verify: bool,
}

impl CheckFlags {
    /// The check they describe; `None` where none of them is given.
    pub fn check(&self) -> Result<Option<CheckSpec>, CommandError> {
        let given = self.given();
        let kinds: Vec<&str> = given.iter().copied().filter(|flag| KINDS.contains(flag)).collect();
        let kind = match kinds.as_slice() {
            [] => {
                return match given.first() {
                    None => Ok(None),
                    Some(flag) => Err(usage(format!(
                        "-{flag} describes a check, but nothing says what to check, such as -check-http or -check-ttl."
                    ))),
                };
            }
            // Both together mean one service of one node.
            ["check-alias-service", "check-alias-node"] => "check-alias-service",
            [kind] => *kind,
            [one, other, ..] => {
                let text = format!("-{one} and -{other} are two checks; flags describe one, files any number.");
                return Err(usage(text));
            }
        };
        if let Some(flag) = given.iter().find(|flag| !belongs(flag, kind, self.check_docker_container_id.is_some())) {
            return Err(usage(format!("-{flag} has no meaning for a check by -{kind}.")));
        }
        if kind == "check-dns" && self.check_dns_server.is_none() {
            return Err(usage("-check-dns asks a DNS server: say which by -check-dns-server.".to_owned()));
        }
        Ok(Some(self.spec(RUN.contains(&kind))))
    }

    fn spec(&self, runs: bool) -> CheckSpec {
        let mut spec = CheckSpec {
            id: self.check_id.clone(),
            name: self.check_name.clone(),
            notes: self.check_notes.clone(),
            status: self.check_status.clone(),
            ttl: self.check_ttl,
            http: self.check_http.clone().unwrap_or_default(),
            method: self.check_method.clone(),
            body: self.check_body.clone(),
            disable_redirects: self.check_disable_redirects,
            tcp: self.check_tcp.clone().unwrap_or_default(),
            udp: self.check_udp.clone().unwrap_or_default(),
            h2ping: self.check_h2ping.clone().unwrap_or_default(),
            h2ping_use_tls: self.check_h2ping_use_tls,
            dns: self.check_dns.clone().unwrap_or_default(),
            dns_server: self.check_dns_server.clone().unwrap_or_default(),
            dns_type: self.check_dns_type.clone(),
            dns_expect: self.check_dns_expect.clone(),
            grpc: self.check_grpc.clone().unwrap_or_default(),
            grpc_use_tls: self.check_grpc_use_tls,
            args: self.check_args.clone(),
            docker_container_id: self.check_docker_container_id.clone().unwrap_or_default(),
            shell: self.check_shell.clone(),
            alias_node: self.check_alias_node.clone().unwrap_or_default(),
            alias_service: self.check_alias_service.clone().unwrap_or_default(),
            tls_server_name: self.check_tls_server_name.clone(),
            tls_skip_verify: self.check_tls_skip_verify,
            interval: self.check_interval.or_else(|| runs.then_some(INTERVAL)),
            timeout: self.check_timeout,
            success_before_passing: self.check_success_before_passing.unwrap_or_default(),
            failures_before_warning: self.check_failures_before_warning.unwrap_or_default(),
            failures_before_critical: self.check_failures_before_critical.unwrap_or_default(),
            deregister_critical_service_after: self.check_deregister_after,
            output_max_size: self.check_output_max_size,
            ..CheckSpec::default()
        };
        for Header { name, value } in &self.check_header {
            spec.header.entry(name.clone()).or_default().push(value.clone());
        }
        spec
    }

    /// The flags that are given, in the order of the help.
    fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("check-http", self.check_http.is_some()),
            ("check-tcp", self.check_tcp.is_some()),
            ("check-udp", self.check_udp.is_some()),
            ("check-grpc", self.check_grpc.is_some()),
            ("check-h2ping", self.check_h2ping.is_some()),
            ("check-dns", self.check_dns.is_some()),
            ("check-args", !self.check_args.is_empty()),
            ("check-ttl", self.check_ttl.is_some()),
            ("check-alias-service", self.check_alias_service.is_some()),
            ("check-alias-node", self.check_alias_node.is_some()),
            ("check-id", !self.check_id.is_empty()),
            ("check-name", !self.check_name.is_empty()),
            ("check-notes", !self.check_notes.is_empty()),
            ("check-status", self.check_status.is_some()),
            ("check-interval", self.check_interval.is_some()),
            ("check-timeout", self.check_timeout.is_some()),
            ("check-success-before-passing", self.check_success_before_passing.is_some()),
            ("check-failures-before-warning", self.check_failures_before_warning.is_some()),
            ("check-failures-before-critical", self.check_failures_before_critical.is_some()),
            ("check-deregister-after", self.check_deregister_after.is_some()),
            ("check-output-max-size", self.check_output_max_size.is_some()),
            ("check-method", !self.check_method.is_empty()),
            ("check-header", !self.check_header.is_empty()),
            ("check-body", !self.check_body.is_empty()),
            ("check-disable-redirects", self.check_disable_redirects),
            ("check-grpc-use-tls", self.check_grpc_use_tls),
            ("check-h2ping-use-tls", self.check_h2ping_use_tls.is_some()),
            ("check-dns-server", self.check_dns_server.is_some()),
            ("check-dns-type", !self.check_dns_type.is_empty()),
            ("check-dns-expect", !self.check_dns_expect.is_empty()),
            ("check-docker-container-id", self.check_docker_container_id.is_some()),
            ("check-shell", !self.check_shell.is_empty()),
            ("check-tls-server-name", !self.check_tls_server_name.is_empty()),
            ("check-tls-skip-verify", self.check_tls_skip_verify),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}

/// The flags that say what is checked.
const KINDS: [&str; 10] = [
    "check-http",
    "check-tcp",
    "check-udp",
    "check-grpc",
    "check-h2ping",
    "check-dns",
    "check-args",
    "check-ttl",
    "check-alias-service",
    "check-alias-node",
];

/// Those of them by which the agent looks for itself, again and again.
const RUN: [&str; 7] =
    ["check-http", "check-tcp", "check-udp", "check-grpc", "check-h2ping", "check-dns", "check-args"];

/// Whether a flag says something about a check of that kind.
fn belongs(flag: &str, kind: &str, in_container: bool) -> bool {
    match flag {
        "check-method" | "check-header" | "check-body" | "check-disable-redirects" => kind == "check-http",
        "check-grpc-use-tls" => kind == "check-grpc",
        "check-h2ping-use-tls" => kind == "check-h2ping",
        "check-dns-server" | "check-dns-type" | "check-dns-expect" => kind == "check-dns",
        "check-docker-container-id" => kind == "check-args",
        "check-shell" => kind == "check-args" && in_container,
        "check-tls-server-name" | "check-tls-skip-verify" => {
            matches!(kind, "check-http" | "check-grpc" | "check-h2ping")
        }
        "check-interval"
        | "check-timeout"
        | "check-success-before-passing"
        | "check-failures-before-warning"
        | "check-failures-before-critical" => RUN.contains(&kind),
        "check-output-max-size" => kind == "check-ttl" || RUN.contains(&kind),
        _ => true,
    }
}

fn usage(text: String) -> CommandError {
    CommandError::Usage(text)
}

/// A header of a request, `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    name: String,
    value: String,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err("it must be name: value".to_owned()),
        }
    }
}

fn status(text: &str) -> Result<Status, String> {
    match Status::from(text) {
        Status::Other(_) => Err("it must be passing, warning or critical".to_owned()),
        status => Ok(status),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::services::body::check;

    fn described(args: &[&str]) -> Result<Option<Value>, String> {
        let command = CheckFlags::augment_args(clap::Command::new("register").no_binary_name(true));
        let matches = command.try_get_matches_from(args).map_err(|error| error.to_string())?;
        let flags = CheckFlags::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let spec = flags.check().map_err(|error| error.to_string())?;
        Ok(spec.as_ref().map(check))
    }

    #[test]
    fn flags_become_one_check() {
        let table = [
            (&[][..], None),
            (&["--check-http=http://x/"], Some(json!({"HTTP": "http://x/", "Interval": "10s"}))),
            (
                &[
                    "--check-http=https://x/",
                    "--check-header=A: b:c",
                    "--check-header=A:d",
                    "--check-method=PUT",
                    "--check-body=B",
                    "--check-disable-redirects",
                    "--check-tls-skip-verify",
                    "--check-tls-server-name=s",
                    "--check-interval=1m",
                    "--check-timeout=2s",
                    "--check-success-before-passing=2",
                    "--check-failures-before-warning=3",
                    "--check-failures-before-critical=4",
                    "--check-deregister-after=90s",
                    "--check-output-max-size=5",
                    "--check-status=passing",
                    "--check-id=i",
                    "--check-name=n",
                    "--check-notes=o",
                ],
                Some(json!({
                    "HTTP": "https://x/", "Header": {"A": ["b:c", "d"]}, "Method": "PUT", "Body": "B", "Notes": "o",
                    "DisableRedirects": true, "TLSSkipVerify": true, "TLSServerName": "s", "Interval": "1m0s",
                    "Timeout": "2s", "SuccessBeforePassing": 2, "FailuresBeforeWarning": 3, "FailuresBeforeCritical": 4,
                    "DeregisterCriticalServiceAfter": "1m30s", "OutputMaxSize": 5, "Status": "passing", "CheckID": "i",
                    "Name": "n",
                })),
            ),
            (&["--check-tcp=x:1"], Some(json!({"TCP": "x:1", "Interval": "10s"}))),
            (&["--check-udp=x:1"], Some(json!({"UDP": "x:1", "Interval": "10s"}))),
            (
                &["--check-grpc=x:1/s", "--check-grpc-use-tls"],
                Some(json!({"GRPC": "x:1/s", "GRPCUseTLS": true, "Interval": "10s"})),
            ),
            (
                &["--check-h2ping=x:1", "--check-h2ping-use-tls=false"],
                Some(json!({"H2Ping": "x:1", "H2PingUseTLS": false, "Interval": "10s"})),
            ),
            (
                &["--check-dns=a.b", "--check-dns-server=1.1.1.1:53", "--check-dns-type=MX", "--check-dns-expect=10 m"],
                Some(json!({
                    "DNS": "a.b", "DNSServer": "1.1.1.1:53", "DNSType": "MX", "DNSExpect": ["10 m"], "Interval": "10s",
                })),
            ),
            (
                &["--check-args=a", "--check-args=-b", "--check-docker-container-id=d", "--check-shell=/bin/sh"],
                Some(json!({"Args": ["a", "-b"], "DockerContainerID": "d", "Shell": "/bin/sh", "Interval": "10s"})),
            ),
            (&["--check-ttl=30s"], Some(json!({"TTL": "30s"}))),
            (&["--check-alias-service=s"], Some(json!({"AliasService": "s"}))),
            (
                &["--check-alias-node=n", "--check-alias-service=s"],
                Some(json!({"AliasNode": "n", "AliasService": "s"})),
            ),
        ];
        for (args, expected) in table {
            assert_eq!(described(args), Ok(expected), "{args:?}");
        }
    }

    #[test]
    fn errors_name_the_flag() {
        let table = [
            (&["--check-interval=1s"][..], "-check-interval describes a check, but nothing says what to check"),
            (&["--check-http=h", "--check-tcp=t"], "-check-http and -check-tcp are two checks"),
            (&["--check-tcp=t", "--check-method=PUT"], "-check-method has no meaning for a check by -check-tcp"),
            (&["--check-ttl=1s", "--check-interval=1s"], "-check-interval has no meaning for a check by -check-ttl"),
            (&["--check-args=a", "--check-shell=sh"], "-check-shell has no meaning for a check by -check-args"),
            (&["--check-http="], "--check-http"),
            (&["--check-dns=n"], "-check-dns asks a DNS server: say which by -check-dns-server"),
            (&["--check-http=h", "--check-interval=soon"], "--check-interval"),
            (&["--check-ttl=-1s"], "it must be more than nothing"),
            (&["--check-http=h", "--check-header=nothing"], "it must be name: value"),
            (&["--check-http=h", "--check-status=well"], "it must be passing, warning or critical"),
        ];
        for (args, expected) in table {
            let error = described(args).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    /// A flag that is not told among the given ones would be passed over without a word.
    #[test]
    fn every_flag_is_known_to_be_given() {
        let command = CheckFlags::augment_args(clap::Command::new("register"));
        let known: Vec<String> = command.get_arguments().map(|arg| arg.get_id().as_str().replace('_', "-")).collect();
        let all = CheckFlags {
            check_http: Some("x".into()),
            check_tcp: Some("x".into()),
            check_udp: Some("x".into()),
            check_grpc: Some("x".into()),
            check_h2ping: Some("x".into()),
            check_dns: Some("x".into()),
            check_args: vec!["x".into()],
            check_ttl: Some(INTERVAL),
            check_alias_service: Some("x".into()),
            check_alias_node: Some("x".into()),
            check_id: "x".into(),
            check_name: "x".into(),
            check_notes: "x".into(),
            check_status: Some(Status::Passing),
            check_interval: Some(INTERVAL),
            check_timeout: Some(INTERVAL),
            check_success_before_passing: Some(1),
            check_failures_before_warning: Some(1),
            check_failures_before_critical: Some(1),
            check_deregister_after: Some(INTERVAL),
            check_output_max_size: Some(1),
            check_method: "x".into(),
            check_header: vec!["a: b".parse().unwrap()],
            check_body: "x".into(),
            check_disable_redirects: true,
            check_grpc_use_tls: true,
            check_h2ping_use_tls: Some(true),
            check_dns_server: Some("x".into()),
            check_dns_type: "x".into(),
            check_dns_expect: vec!["x".into()],
            check_docker_container_id: Some("x".into()),
            check_shell: "x".into(),
            check_tls_server_name: "x".into(),
            check_tls_skip_verify: true,
        };
        assert_eq!(all.given(), known);
    }
}
