//! The flags of `usher agent`: Consul's, each standing for a configuration key.
//!
//! Lists given by flags come before those of files, single values after them: so a flag overrules a file.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use serde_json::{Map, Value};

use super::schema::Kind;

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct AgentFlags {
    /// `-dev`.
    pub dev: bool,
    /// `-config-file` and `-config-dir`, in the order given.
    pub config_files: Vec<PathBuf>,
    /// `-config-format`: how to read files whatever their names say.
    pub config_format: Option<String>,
    /// `-hcl` fragments.
    pub hcl: Vec<String>,
    /// Lists by configuration key.
    pub lists: Map<String, Value>,
    /// Single values and maps by configuration key.
    pub values: Map<String, Value>,
}

struct Flag {
    name: &'static str,
    /// The configuration key, with a dot for a key in a table.
    key: &'static str,
    kind: Kind,
    help: &'static str,
}

const fn flag(name: &'static str, key: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag { name, key, kind, help }
}

static FLAGS: &[Flag] = &[
    flag("advertise", "advertise_addr", Kind::Text, "Address told to other agents"),
    flag("advertise-wan", "advertise_addr_wan", Kind::Text, "Address told to agents of other datacenters"),
    flag(
        "allow-write-http-from",
        "http_config.allow_write_http_from",
        Kind::Texts,
        "Take changes by HTTP only from this network (CIDR); may be repeated",
    ),
    flag("alt-domain", "alt_domain", Kind::Text, "A second DNS domain"),
    flag("bind", "bind_addr", Kind::Text, "Address for talk between agents"),
    flag("bootstrap", "bootstrap", Kind::Bool, "Form a cluster of this one server"),
    flag("bootstrap-expect", "bootstrap_expect", Kind::Int, "Form a cluster when this many servers are there"),
    flag("check_output_max_size", "check_output_max_size", Kind::Int, "Bytes of output kept of a check"),
    flag("client", "client_addr", Kind::Text, "Address for clients: DNS and HTTP"),
    flag("data-dir", "data_dir", Kind::Text, "Where the agent keeps its state"),
    flag("datacenter", "datacenter", Kind::Text, "Datacenter of the agent"),
    flag(
        "default-query-time",
        "default_query_time",
        Kind::Duration,
        "How long a blocking query waits if it does not say",
    ),
    flag("disable-host-node-id", "disable_host_node_id", Kind::Bool, "Make a random node ID (always so)"),
    flag("disable-keyring-file", "disable_keyring_file", Kind::Bool, "Do not keep the keyring in a file"),
    flag("dns-port", "ports.dns", Kind::Int, "DNS port"),
    flag("domain", "domain", Kind::Text, "DNS domain"),
    flag(
        "enable-local-script-checks",
        "enable_local_script_checks",
        Kind::Bool,
        "Run scripts of checks in configuration files",
    ),
    flag("enable-script-checks", "enable_script_checks", Kind::Bool, "Run scripts of checks"),
    flag("encrypt", "encrypt", Kind::Text, "Key of gossip encryption"),
    flag("grpc-port", "ports.grpc", Kind::Int, "Port of the service mesh (not part of this product)"),
    flag("http-port", "ports.http", Kind::Int, "HTTP API port"),
    flag("https-port", "ports.https", Kind::Int, "HTTPS API port"),
    flag("join", "start_join", Kind::Texts, "Address of an agent to join at start; may be repeated"),
    flag(
        "join-wan",
        "start_join_wan",
        Kind::Texts,
        "Address of a server of another datacenter to join at start; may be repeated",
    ),
    flag("log-file", "log_file", Kind::Text, "File to write the log to as well"),
    flag("log-json", "log_json", Kind::Bool, "Write the log as JSON"),
    flag("log-level", "log_level", Kind::Text, "trace, debug, info, warn or err"),
    flag("log-rotate-bytes", "log_rotate_bytes", Kind::Int, "Bytes after which a new log file is begun"),
    flag("log-rotate-duration", "log_rotate_duration", Kind::Duration, "Time after which a new log file is begun"),
    flag("log-rotate-max-files", "log_rotate_max_files", Kind::Int, "Older log files that are kept"),
    flag("max-query-time", "max_query_time", Kind::Duration, "Longest time a blocking query may wait"),
    flag("node", "node_name", Kind::Text, "Name of this node"),
    flag("node-id", "node_id", Kind::Text, "ID of this node, a UUID"),
    flag("node-meta", "node_meta", Kind::TextMap, "A pair key:value of this node; may be repeated"),
    flag("non-voting-server", "non_voting_server", Kind::Bool, "(Consul Enterprise)"),
    flag("pid-file", "pid_file", Kind::Text, "File to write the process ID to"),
    flag("primary-gateway", "primary_gateways", Kind::Texts, "(service mesh)"),
    flag("protocol", "protocol", Kind::Int, "Protocol version; there is one"),
    flag("raft-protocol", "raft_protocol", Kind::Int, "Raft protocol version; there is one"),
    flag("recursor", "recursors", Kind::Texts, "DNS server asked for other names; may be repeated"),
    flag("rejoin", "rejoin_after_leave", Kind::Bool, "Join again after a leave"),
    flag("retry-interval", "retry_interval", Kind::Duration, "Time between attempts to join"),
    flag("retry-interval-wan", "retry_interval_wan", Kind::Duration, "Time between attempts to join other datacenters"),
    flag(
        "retry-join",
        "retry_join",
        Kind::Texts,
        "Address of an agent to join, tried again and again; may be repeated",
    ),
    flag(
        "retry-join-wan",
        "retry_join_wan",
        Kind::Texts,
        "Address of a server of another datacenter to join, tried again and again",
    ),
    flag("retry-max", "retry_max", Kind::Int, "Attempts to join; 0 for no limit"),
    flag("retry-max-wan", "retry_max_wan", Kind::Int, "Attempts to join other datacenters; 0 for no limit"),
    flag("segment", "segment", Kind::Text, "(Consul Enterprise)"),
    flag(
        "serf-lan-allowed-cidrs",
        "serf_lan_allowed_cidrs",
        Kind::Texts,
        "Networks agents may gossip from; may be repeated",
    ),
    flag("serf-lan-bind", "serf_lan", Kind::Text, "Address of gossip within the datacenter"),
    flag("serf-lan-port", "ports.serf_lan", Kind::Int, "Port of gossip within the datacenter"),
    flag(
        "serf-wan-allowed-cidrs",
        "serf_wan_allowed_cidrs",
        Kind::Texts,
        "Networks servers of other datacenters may gossip from; may be repeated",
    ),
    flag("serf-wan-bind", "serf_wan", Kind::Text, "Address of gossip between datacenters"),
    flag("serf-wan-port", "ports.serf_wan", Kind::Int, "Port of gossip between datacenters"),
    flag("server", "server", Kind::Bool, "Take part in the consensus"),
    flag("server-port", "ports.server", Kind::Int, "Port servers talk at"),
    flag("syslog", "enable_syslog", Kind::Bool, "Write the log to syslog"),
    flag("ui", "ui", Kind::Bool, "Serve the web page"),
    flag("ui-content-path", "ui_content_path", Kind::Text, "Path of the web page"),
    flag("ui-dir", "ui_dir", Kind::Text, "Folder of a web page of your own"),
];

/// Go's notations of a boolean.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

fn switch(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .hide_possible_values(true)
        .value_name("true|false")
        .action(ArgAction::Set)
        .overrides_with(name)
        .value_parser(boolean)
}

fn argument(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("value").allow_hyphen_values(true).action(ArgAction::Append)
}

impl clap::Args for AgentFlags {
    fn augment_args(command: Command) -> Command {
        let mut command = command
            .arg(switch("dev").help("Run for development: one server, in memory, on 127.0.0.1"))
            .arg(argument("config-file").value_name("file").help("Configuration file, JSON or HCL; may be repeated"))
            .arg(
                argument("config-dir")
                    .value_name("folder")
                    .help("Folder of configuration files, read in order of their names; may be repeated"),
            )
            .arg(argument("config-format").help("Read files as 'hcl' or 'json' whatever their names"))
            .arg(argument("hcl").value_name("text").help("A piece of HCL configuration; may be repeated"));
        for flag in FLAGS {
            let arg = match flag.kind {
                Kind::Bool => switch(flag.name),
                Kind::Int => argument(flag.name).value_parser(clap::value_parser!(i64)),
                _ => argument(flag.name),
            };
            command = command.arg(arg.help(flag.help));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AgentFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self {
            dev: matches.get_one::<bool>("dev").copied().unwrap_or(false),
            config_files: config_files(matches),
            config_format: last(matches, "config-format"),
            hcl: texts(matches, "hcl"),
            ..Self::default()
        };
        for flag in FLAGS {
            let value = match flag.kind {
                Kind::Bool => matches.get_one::<bool>(flag.name).copied().map(Value::from),
                Kind::Int => matches.get_many::<i64>(flag.name).and_then(Iterator::last).copied().map(Value::from),
                Kind::Texts => some_list(texts(matches, flag.name)),
                Kind::TextMap => pairs(flag.name, &texts(matches, flag.name))?,
                _ => last(matches, flag.name).map(Value::from),
            };
            let Some(value) = value else { continue };
            let into = if matches!(flag.kind, Kind::Texts) { &mut flags.lists } else { &mut flags.values };
            insert(into, flag.key, value);
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn last(matches: &ArgMatches, name: &str) -> Option<String> {
    texts(matches, name).pop()
}

fn some_list(texts: Vec<String>) -> Option<Value> {
    (!texts.is_empty()).then(|| Value::from(texts))
}

/// Files and folders in the order they were given.
fn config_files(matches: &ArgMatches) -> Vec<PathBuf> {
    let mut files: Vec<(usize, String)> = Vec::new();
    for name in ["config-file", "config-dir"] {
        let places = matches.indices_of(name).into_iter().flatten();
        files.extend(places.zip(texts(matches, name)));
    }
    files.sort_by_key(|(place, _)| *place);
    files.into_iter().map(|(_, file)| PathBuf::from(file)).collect()
}

fn pairs(name: &str, texts: &[String]) -> Result<Option<Value>, clap::Error> {
    if texts.is_empty() {
        return Ok(None);
    }
    let mut map = Map::new();
    for text in texts {
        let Some((key, value)) = text.split_once(':') else {
            let problem = format!("-{name}: expected key:value, got '{text}'\n");
            return Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, problem));
        };
        map.insert(key.to_owned(), value.into());
    }
    Ok(Some(Value::Object(map)))
}

fn insert(into: &mut Map<String, Value>, key: &str, value: Value) {
    let Some((table, key)) = key.split_once('.') else {
        into.insert(key.to_owned(), value);
        return;
    };
    if let Value::Object(table) = into.entry(table).or_insert_with(|| Value::Object(Map::new())) {
        insert(table, key, value);
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;
    use serde_json::json;

    use super::{
        super::{keys::AGENT, schema::Table},
        *,
    };

    fn parse(args: &[&str]) -> Result<AgentFlags, clap::Error> {
        let command = AgentFlags::augment_args(Command::new("agent").no_binary_name(true));
        AgentFlags::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn every_flag_stands_for_a_known_key_of_its_kind() {
        for flag in FLAGS {
            let mut table: &'static Table = &AGENT;
            let (tables, name) = flag.key.rsplit_once('.').unwrap_or(("", flag.key));
            for part in tables.split('.').filter(|part| !part.is_empty()) {
                let Kind::Table(inner) = table.find(part).unwrap().kind else { panic!("{}", flag.key) };
                table = inner;
            }
            let kind = table.find(name).unwrap_or_else(|| panic!("{}", flag.key)).kind;
            assert_eq!(std::mem::discriminant(&kind), std::mem::discriminant(&flag.kind), "{}", flag.key);
        }
    }

    #[test]
    fn values_and_lists() {
        let flags = parse(&[
            "--server",
            "--ui=false",
            "--dns-port",
            "53",
            "--http-port=80",
            "--node",
            "a",
            "--node=b",
            "--recursor",
            "1.1.1.1",
            "--recursor=8.8.8.8",
            "--node-meta",
            "k:v:w",
            "--hcl",
            "a = 1",
        ])
        .unwrap();
        assert_eq!(
            Value::Object(flags.values),
            json!({"node_meta": {"k": "v:w"}, "node_name": "b", "ports": {"dns": 53, "http": 80}, "server": true, "ui": false})
        );
        assert_eq!(Value::Object(flags.lists), json!({"recursors": ["1.1.1.1", "8.8.8.8"]}));
        assert_eq!(flags.hcl, ["a = 1"]);
        assert!(!flags.dev);
    }

    #[test]
    fn files_keep_their_order() {
        let flags = parse(&["--config-dir", "b", "--config-file=a", "--config-dir", "c", "--dev"]).unwrap();
        assert_eq!(flags.config_files, [PathBuf::from("b"), PathBuf::from("a"), PathBuf::from("c")]);
        assert!(flags.dev);
    }

    #[test]
    fn what_is_no_flag_or_no_value_is_refused() {
        for args in [&["--bogus"][..], &["--server=maybe"], &["--dns-port=x"], &["--node-meta", "kv"], &["stray"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
