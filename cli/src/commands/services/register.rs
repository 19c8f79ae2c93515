//! `usher services register`.

use std::{path::PathBuf, process::ExitCode};

use usher_cluster::{catalog::model::ServiceAddress, local::definition::ServiceDefinition};

use super::{body::registration, check::CheckFlags, files, lease};
use crate::{
    client::{Client, flags::ClusterFlags},
    commands::{
        catalog::Pair,
        error::{CommandError, Doing},
    },
    output::Output,
    values::go_int,
};

/// Register services with the agent
///
/// One service by flags, or any number by files in JSON or HCL, written as in the agent's own
/// configuration. The agent keeps them until 'usher services deregister'.
///
/// Examples:
///     usher services register -name=web -port=8080 -tag=blue -meta=version=3
///     usher services register -name=web -port=8080 -check-http=http://localhost:8080/ -check-interval=5s
///     usher services register -name=db -port=5432 -check-tcp=127.0.0.1:5432 -check-deregister-after=1h
///     usher services register web.json db.hcl
///     usher services register -name=web -port=8080 -lease=10s -exec ./web-server --port 8080
///
/// where web.json is for example:
///     {"service": {"name": "web", "port": 8080, "check": {"tcp": "127.0.0.1:8080", "interval": "10s"}}}
#[derive(clap::Args, Debug, Default)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Name by which the service is found. A DNS label makes it reachable as <name>.service.consul.
    #[arg(long, value_name = "name", default_value = "", hide_default_value = true)]
    name: String,
    /// Id of this instance, unique on the agent. The default is the name.
    #[arg(long, value_name = "id", default_value = "", hide_default_value = true)]
    id: String,
    /// IP address or host name of the service. The default is the node's address.
    #[arg(long, value_name = "address", default_value = "", hide_default_value = true)]
    address: String,
    /// Port of the service.
    #[arg(long, value_name = "port", default_value = "0", hide_default_value = true, value_parser = go_int)]
    port: i64,
    /// Tier of the instance, 0 to 65535: it is answered while no lower one has anybody healthy. The default is 1.
    #[arg(long, value_name = "priority", value_parser = go_int)]
    priority: Option<i64>,
    /// The instance will end soon: answer it with the least weight, and with a TTL of a second.
    #[arg(long)]
    draining: bool,
    /// Tag to find the instance by. May be given several times.
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,
    /// Metadata of the instance. May be given several times.
    #[arg(long, value_name = "key=value")]
    meta: Vec<Pair>,
    /// Address for a purpose, such as lan=10.0.0.1:8080. May be given several times.
    #[arg(long, value_name = "purpose=address:port")]
    tagged_address: Vec<Pair>,
    /// Files with definitions, JSON or HCL, or directories of them.
    #[arg(value_name = "file")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    lease: lease::LeaseFlags,
    #[command(flatten)]
    check: CheckFlags,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Runs the command.
pub async fn run(args: &Args, client: &Client, out: &mut Output) -> Result<ExitCode, CommandError> {
    let services = services(args, out)?;
    if !args.lease.program().is_empty() {
        return lease::run(&services, args.lease.program(), client, out).await;
    }
    for service in services {
        let request = client.agent("/v1/agent/service/register");
        let body = registration(&service);
        client.put(request, Some(&body)).await.doing(format!("Error registering service \"{}\"", service.name))?;
        out.line(format!("Registered service: {}", service.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn services(args: &Args, out: &mut Output) -> Result<Vec<ServiceDefinition>, CommandError> {
    match (by_flags(args)?, args.files.as_slice()) {
        (None, []) => Err(CommandError::Usage("Service registration requires at least one argument or flags.".into())),
        (None, paths) => files::definitions(paths, out),
        (Some(_), [_, ..]) => {
            Err(CommandError::Usage("Service registration requires arguments or -id, not both.".into()))
        }
        (Some(service), []) if service.name.is_empty() => {
            Err(CommandError::Usage("Service registration requires a name (-name).".into()))
        }
        (Some(service), []) => Ok(vec![service]),
    }
}

/// The service that flags describe, if there is any such flag.
fn by_flags(args: &Args) -> Result<Option<ServiceDefinition>, CommandError> {
    let mut service = ServiceDefinition {
        id: args.id.clone(),
        name: args.name.clone(),
        tags: args.tag.clone(),
        address: args.address.clone(),
        meta: args.meta.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect(),
        port: args.port,
        priority: args.priority,
        draining: args.draining,
        ..ServiceDefinition::default()
    };
    service.checks.extend(args.check.check()?);
    args.lease.declare(&mut service);
    for Pair { key, value } in &args.tagged_address {
        service.tagged_addresses.insert(key.clone(), tagged_address(value)?);
    }
    Ok(if service == ServiceDefinition::default() { None } else { Some(service) })
}

/// `address:port`, or `[v6]:port`.
fn tagged_address(text: &str) -> Result<ServiceAddress, CommandError> {
    let invalid = |problem| CommandError::Usage(format!("Invalid Tagged Address: address {text}: {problem}"));
    let (address, port) = text.rsplit_once(':').ok_or_else(|| invalid("missing port in address"))?;
    let port = port.parse().map_err(|_| invalid("the port is not a number"))?;
    let address = match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| invalid("a bracket is not closed"))?,
        None if address.contains(':') => return Err(invalid("too many colons in address")),
        None => address,
    };
    Ok(ServiceAddress { address: address.into(), port })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pair(text: &str) -> Pair {
        text.parse().unwrap()
    }

    fn bodies(args: Args) -> Result<Vec<Value>, String> {
        let services =
            services(&args, &mut Output::new(std::io::sink(), std::io::sink())).map_err(|error| error.to_string())?;
        Ok(services.iter().map(registration).collect())
    }

    #[test]
    fn flags_become_a_body() {
        let args = Args { name: "web".into(), ..Args::default() };
        assert_eq!(bodies(args), Ok(vec![json!({"Name": "web"})]));
        let args = Args {
            name: "web".into(),
            id: "w2".into(),
            address: "10.0.0.2".into(),
            port: 81,
            tag: vec!["a".into(), "b".into()],
            meta: vec![pair("k=v"), pair("x=y=z"), pair("k=last")],
            tagged_address: vec![pair("lan=1.2.3.4:80"), pair("v6=[::1]:7")],
            ..Args::default()
        };
        let body = json!({
            "ID": "w2", "Name": "web", "Tags": ["a", "b"], "Address": "10.0.0.2", "Port": 81,
            "Meta": {"k": "last", "x": "y=z"},
            "TaggedAddresses": {"lan": {"Address": "1.2.3.4", "Port": 80}, "v6": {"Address": "::1", "Port": 7}},
        });
        assert_eq!(bodies(args), Ok(vec![body]));
    }

    #[test]
    fn refuses_half_a_registration() {
        let table = [
            (Args::default(), "Service registration requires at least one argument or flags."),
            (Args { port: 80, ..Args::default() }, "Service registration requires a name (-name)."),
            (
                Args { name: "x".into(), files: vec!["f.json".into()], ..Args::default() },
                "Service registration requires arguments or -id, not both.",
            ),
        ];
        for (args, text) in table {
            assert_eq!(bodies(args), Err(text.into()));
        }
        for address in ["1.2.3.4", "1.2.3.4:x", "::1:80", "[::1:80", ""] {
            assert!(tagged_address(address).is_err(), "{address}");
        }
    }
}
