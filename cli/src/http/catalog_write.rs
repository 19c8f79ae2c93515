//! `PUT /v1/catalog/register` and `/deregister`: bodies to commands.
//!
//! [`registration`] and [`deregistration`] are pure: a body in, a command or the reason for refusing it out. Texts of
//! refusals are Consul's, clients match them. What only the catalog itself can refuse (a check of an unknown instance)
//! it refuses when the command is applied.

use serde_json::Value;
use usher_cluster::{
    access::Permission,
    catalog::{
        command::{Command, Deregistration, Registration},
        model::{Check, CheckDefinition, LaterDefinition, Service, ServiceAddress, Status, Weights},
    },
};

use super::{
    body::{self, BodyError, Fields},
    context::Cx,
    reply::{Failure, Reply},
};

/// Keys of the service mesh and of enterprise features: known, without meaning here.
const MESH: [&str; 5] = ["Kind", "Proxy", "Connect", "Namespace", "LocallyRegisteredAsSidecar"];

/// `PUT /v1/catalog/register`.
pub(super) async fn register(cx: Cx) -> Result<Reply, Failure> {
    let mut registration = registration(&cx.body)?;
    let datacenter = cx.route_to(&registration.datacenter)?.to_owned();
    cx.authorize(&Permission::NodeWrite(&registration.node))?;
    if let Some(service) = &registration.service {
        cx.authorize(&Permission::ServiceWrite(&service.name))?;
    }
    registration.datacenter = cx.api.agent.router().local().to_owned();
    write(&cx, &datacenter, Command::Register(registration)).await
}

/// `PUT /v1/catalog/deregister`.
pub(super) async fn deregister(cx: Cx) -> Result<Reply, Failure> {
    let (deregistration, datacenter) = deregistration(&cx.body)?;
    let datacenter = cx.route_to(&datacenter)?.to_owned();
    cx.authorize(&Permission::NodeWrite(&deregistration.node))?;
    write(&cx, &datacenter, Command::Deregister(deregistration)).await
}

async fn write(cx: &Cx, datacenter: &str, command: Command) -> Result<Reply, Failure> {
    cx.api.agent.write(datacenter, command).await?.outcome?;
    Reply::json(&true)
}

/// Reads a registration and fills in what it leaves out.
fn registration(bytes: &[u8]) -> Result<Registration, Failure> {
    let (mut registration, foreign) = decode_registration(bytes).map_err(Failure::decode)?;
    if registration.node.is_empty() {
        return Err(Failure::internal("Must provide node"));
    }
    if registration.address.is_empty() && !registration.skip_node_update {
        return Err(Failure::internal("Must provide address if SkipNodeUpdate is not set"));
    }
    if !registration.node_id.is_empty() {
        check_uuid(&registration.node_id).map_err(|text| Failure::internal(format!("Bad node ID: {text}")))?;
    }
    if let Some(service) = &mut registration.service {
        complete_service(service)?;
    }
    if let Some(other) = foreign {
        let node = &registration.node;
        return Err(Failure::internal(format!("check node {other:?} does not match node {node:?}")));
    }
    for check in &mut registration.checks {
        if check.id.is_empty() {
            check.id.clone_from(&check.name);
        }
        if check.id.is_empty() {
            return Err(Failure::internal("Must provide a check ID or name"));
        }
        if check.kind.is_empty() {
            check.kind = kind_of(&check.definition).to_owned();
        }
    }
    Ok(registration)
}

/// Consul's defaults and refusals for an instance.
fn complete_service(service: &mut Service) -> Result<(), Failure> {
    if service.name.is_empty() && !service.id.is_empty() {
        return Err(Failure::internal("Must provide service name with ID"));
    }
    if service.name.is_empty() {
        return Err(Failure::internal("Must provide service name"));
    }
    if service.id.is_empty() {
        service.id.clone_from(&service.name);
    }
    if matches!(service.address.as_str(), "0.0.0.0" | "::" | "[::]") {
        return Err(Failure::internal("Invalid service address"));
    }
    if service.weights == (Weights { passing: 0, warning: 0 }) {
        service.weights = Weights::default();
    }
    Ok(())
}

/// The kind a definition speaks of.
fn kind_of(definition: &CheckDefinition) -> &'static str {
    let later = definition.later.as_deref();
    let of = |target: fn(&LaterDefinition) -> &String| later.is_some_and(|later| !target(later).is_empty());
    if !definition.http.is_empty() {
        "http"
    } else if !definition.tcp.is_empty() {
        "tcp"
    } else if of(|later| &later.udp) {
        "udp"
    } else if of(|later| &later.h2ping) {
        "h2ping"
    } else if of(|later| &later.dns) {
        "dns"
    } else if of(|later| &later.grpc) {
        "grpc"
    } else {
        ""
    }
}

/// Reads a removal and the datacenter it names.
fn deregistration(bytes: &[u8]) -> Result<(Deregistration, String), Failure> {
    let (deregistration, datacenter) = decode_deregistration(bytes).map_err(Failure::decode)?;
    if deregistration.node.is_empty() {
        return Err(Failure::internal("Must provide node"));
    }
    Ok((deregistration, datacenter))
}

fn decode_deregistration(bytes: &[u8]) -> Result<(Deregistration, String), BodyError> {
    let mut fields = Fields::of(body::value(bytes)?, "DeregisterRequest")?;
    let deregistration = Deregistration {
        node: fields.text("Node")?,
        service_id: fields.text("ServiceID")?,
        check_id: fields.text("CheckID")?,
    };
    let datacenter = fields.text("Datacenter")?;
    fields.ignore(&["Address", "Namespace", "WriteRequest"]);
    fields.finish()?;
    Ok((deregistration, datacenter))
}

/// The registration as it was sent, and the name of another node if one of its checks gives it.
fn decode_registration(bytes: &[u8]) -> Result<(Registration, Option<String>), BodyError> {
    let mut fields = Fields::of(body::value(bytes)?, "RegisterRequest")?;
    let node = fields.text("Node")?;
    let mut foreign = None;
    let mut checks = Vec::new();
    for value in fields.take("Check").into_iter().chain(fields.list("Checks")?) {
        let (check, check_node) = decode_check(value)?;
        if !check_node.is_empty() && !check_node.eq_ignore_ascii_case(&node) {
            foreign.get_or_insert(check_node);
        }
        checks.push(check);
    }
    let registration = Registration {
        node_id: fields.text("ID")?,
        node,
        address: fields.text("Address")?,
        datacenter: fields.text("Datacenter")?,
        tagged_addresses: fields.text_map("TaggedAddresses")?,
        node_meta: fields.text_map("NodeMeta")?,
        skip_node_update: fields.switch("SkipNodeUpdate")?,
        service: fields.object("Service")?.map(decode_service).transpose()?,
        checks,
    };
    fields.ignore(&["Namespace", "WriteRequest"]);
    fields.finish()?;
    Ok((registration, foreign))
}

fn decode_service(mut fields: Fields) -> Result<Service, BodyError> {
    let mut tagged_addresses = std::collections::BTreeMap::new();
    for (purpose, value) in fields.map("TaggedAddresses")? {
        let mut address = Fields::of(value, "Service.TaggedAddresses")?;
        let decoded = ServiceAddress { address: address.text("Address")?, port: address.integer("Port")? };
        address.finish()?;
        tagged_addresses.insert(purpose, decoded);
    }
    let weights = match fields.object("Weights")? {
        None => Weights::default(),
        Some(mut weights) => {
            let decoded = Weights { passing: weights.integer("Passing")?, warning: weights.integer("Warning")? };
            weights.finish()?;
            decoded
        }
    };
    let priority = match fields.take("Priority") {
        None => None,
        Some(value) => {
            let priority = value.as_u64().and_then(|priority| u16::try_from(priority).ok());
            Some(priority.ok_or_else(|| fields.mismatch("Priority", &value, "uint16"))?)
        }
    };
    let service = Service {
        id: fields.text("ID")?,
        name: fields.text("Service")?,
        tags: fields.texts("Tags")?,
        address: fields.text("Address")?,
        tagged_addresses,
        meta: fields.text_map("Meta")?,
        port: fields.integer("Port")?,
        weights,
        priority,
        draining: fields.switch("Draining")?,
        enable_tag_override: fields.switch("EnableTagOverride")?,
        ..Service::default()
    };
    fields.ignore(&MESH);
    fields.ignore(&["CreateIndex", "ModifyIndex"]);
    fields.finish()?;
    Ok(service)
}

/// A check and the node it says it belongs to.
fn decode_check(value: Value) -> Result<(Check, String), BodyError> {
    let mut fields = Fields::of(value, "HealthCheck")?;
    let status = fields.text("Status")?;
    let check = Check {
        id: fields.text("CheckID")?,
        name: fields.text("Name")?,
        status: if status.is_empty() { Status::default() } else { Status::from(status.as_str()) },
        notes: fields.text("Notes")?,
        output: fields.text("Output")?,
        service_id: fields.text("ServiceID")?,
        service_name: fields.text("ServiceName")?,
        service_tags: fields.texts("ServiceTags")?,
        kind: fields.text("Type")?,
        definition: fields.object("Definition")?.map(decode_definition).transpose()?.unwrap_or_default(),
        ..Check::default()
    };
    let node = fields.text("Node")?;
    fields.ignore(&["Namespace", "CreateIndex", "ModifyIndex"]);
    fields.finish()?;
    Ok((check, node))
}

fn decode_definition(mut fields: Fields) -> Result<CheckDefinition, BodyError> {
    let definition = CheckDefinition {
        http: fields.text("HTTP")?,
        tls_server_name: fields.text("TLSServerName")?,
        tls_skip_verify: fields.switch("TLSSkipVerify")?,
        header: fields.text_lists("Header")?,
        method: fields.text("Method")?,
        body: fields.text("Body")?,
        tcp: fields.text("TCP")?,
        interval_ns: fields.duration("Interval")?,
        timeout_ns: fields.duration("Timeout")?,
        deregister_critical_service_after_ns: fields.duration("DeregisterCriticalServiceAfter")?,
        later: decode_later(&mut fields)?,
    };
    // Accepted and not kept by Consul's catalog either.
    fields.ignore(&[
        "IntervalDuration",
        "TimeoutDuration",
        "DeregisterCriticalServiceAfterDuration",
        "OutputMaxSize",
        "ScriptArgs",
        "DockerContainerID",
        "Shell",
        "AliasNode",
        "AliasService",
        "TTL",
    ]);
    fields.finish()?;
    Ok(definition)
}

/// What later versions keep of a definition, if it says any of it.
fn decode_later(fields: &mut Fields) -> Result<Option<Box<LaterDefinition>>, BodyError> {
    let h2ping_use_tls = match fields.take("H2PingUseTLS") {
        None => None,
        Some(Value::Bool(tls)) => Some(tls),
        Some(other) => return Err(fields.mismatch("H2PingUseTLS", &other, "bool")),
    };
    let later = LaterDefinition {
        disable_redirects: fields.switch("DisableRedirects")?,
        udp: fields.text("UDP")?,
        h2ping: fields.text("H2Ping")?,
        h2ping_use_tls,
        grpc: fields.text("GRPC")?,
        grpc_use_tls: fields.switch("GRPCUseTLS")?,
        dns: fields.text("DNS")?,
        dns_server: fields.text("DNSServer")?,
        dns_type: fields.text("DNSType")?,
        dns_expect: fields.texts("DNSExpect")?,
    };
    Ok((later != LaterDefinition::default()).then(|| Box::new(later)))
}

/// The form of a node's id, with Consul's texts.
fn check_uuid(text: &str) -> Result<(), &'static str> {
    if text.len() != 36 {
        return Err("uuid string is wrong length");
    }
    let shaped = text.bytes().enumerate().all(|(position, byte)| match position {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    if shaped { Ok(()) } else { Err("uuid is improperly formatted") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use usher_cluster::catalog::model::{Status, Weights};

    use super::{deregistration, registration};

    #[test]
    fn everything_is_taken() {
        let body = json!({
            "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "x", "Address": "10.0.0.1", "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "10.0.0.1"}, "node_meta": {"a": "b"}, "SkipNodeUpdate": true,
            "Service": {
                "Service": "db", "Port": 5432, "Address": "10.0.9.9", "Tags": ["m"], "Meta": {"k": "v"},
                "EnableTagOverride": true, "Weights": {"Passing": 4, "Warning": 2}, "Connect": {"Native": false},
                "TaggedAddresses": {"wan": {"address": "203.0.113.9", "port": 1}}
            },
            "Check": {"CheckID": "c1", "Name": "one", "Status": "passing"},
            "Checks": [{"Name": "two", "ServiceID": "db", "Status": "odd",
                "Definition": {"TCP": "a:1", "Interval": "10s", "Header": {"a": ["b"]}}}]
        });
        let registration = registration(body.to_string().as_bytes()).unwrap();
        assert!(registration.skip_node_update);
        assert_eq!(registration.node_meta["a"], "b");
        let service = registration.service.unwrap();
        assert_eq!((service.id.as_str(), service.name.as_str(), service.port), ("db", "db", 5432));
        assert_eq!(service.weights, Weights { passing: 4, warning: 2 });
        assert_eq!(service.tagged_addresses["wan"].port, 1);
        let [one, two] = registration.checks.as_slice() else { panic!("two checks") };
        assert_eq!((one.id.as_str(), &one.status), ("c1", &Status::Passing));
        assert_eq!((two.id.as_str(), &two.status), ("two", &Status::Other("odd".into())));
        assert_eq!((two.kind.as_str(), two.definition.interval_ns), ("tcp", 10_000_000_000));
    }

    #[test]
    fn the_later_kinds_are_kept() {
        let later = |definition: serde_json::Value| {
            let body = json!({"Node": "x", "Address": "a", "Check": {"Name": "c", "Definition": definition}});
            let check = registration(body.to_string().as_bytes()).unwrap().checks.remove(0);
            (
                check.kind,
                serde_json::to_value(crate::http::check_definition::DefinitionView(&check.definition)).unwrap(),
            )
        };
        for (definition, kind) in [
            (json!({"HTTP": "http://a/", "DisableRedirects": true, "Interval": "10s"}), "http"),
            (json!({"UDP": "a:1"}), "udp"),
            (json!({"H2PING": "a:1", "H2PingUseTLS": false}), "h2ping"),
            (json!({"GRPC": "a:1", "GRPCUseTLS": true}), "grpc"),
            (json!({"DNS": "a.b", "DNSServer": "a:53", "DNSType": "MX", "DNSExpect": ["10 m"]}), "dns"),
        ] {
            assert_eq!(later(definition.clone()), (kind.to_owned(), definition));
        }
        assert_eq!(later(json!({"TTL": "10s"})), (String::new(), json!({})));
    }

    #[test]
    fn defaults() {
        for (weights, expected) in [
            (json!(null), Weights { passing: 1, warning: 1 }),
            (json!({"Passing": 0, "Warning": 0}), Weights { passing: 1, warning: 1 }),
            (json!({"Passing": 3}), Weights { passing: 3, warning: 0 }),
            (json!({"Passing": 70000, "Warning": -1}), Weights { passing: 70000, warning: -1 }),
        ] {
            let body = json!({"Node": "a", "Address": "1.1.1.1", "Service": {"Service": "x", "Weights": weights}});
            let registration = registration(body.to_string().as_bytes()).unwrap();
            assert_eq!(registration.service.unwrap().weights, expected);
        }
    }

    #[test]
    fn refusals() {
        let refused = |body: &str| {
            let failure = registration(body.as_bytes()).unwrap_err();
            (failure.status.as_u16(), failure.text)
        };
        for (body, status, text) in [
            ("", 400, "Request decode failed: EOF"),
            ("{", 400, "Request decode failed: unexpected EOF"),
            ("null", 500, "Must provide node"),
            ("{}", 500, "Must provide node"),
            (r#"{"Node":"a"}"#, 500, "Must provide address if SkipNodeUpdate is not set"),
            (r#"{"Node":"a","Address":"b","ID":"zz"}"#, 500, "Bad node ID: uuid string is wrong length"),
            (
                r#"{"Node":"a","Address":"b","ID":"40e4a748-2192-161a-0510-9bf59fe950bz"}"#,
                500,
                "Bad node ID: uuid is improperly formatted",
            ),
            (r#"{"Node":"a","Address":"b","Service":{"ID":"x"}}"#, 500, "Must provide service name with ID"),
            (
                r#"{"Node":"a","Address":"b","Service":{"Service":"x","Address":"0.0.0.0"}}"#,
                500,
                "Invalid service address",
            ),
            (
                r#"{"Node":"a","Address":"b","Check":{"Node":"c","CheckID":"q"}}"#,
                500,
                r#"check node "c" does not match node "a""#,
            ),
            (r#"{"Node":"a","Unknown":1}"#, 400, "Request decode failed: json: unknown field \"Unknown\""),
            (
                r#"{"Node":5}"#,
                400,
                "Request decode failed: json: cannot unmarshal number into field RegisterRequest.Node of type string",
            ),
        ] {
            assert_eq!(refused(body), (status, text.to_owned()), "{body}");
        }
    }

    #[test]
    fn removals() {
        let (removal, datacenter) =
            deregistration(br#"{"node":"a","ServiceID":"s","CheckID":"c","Datacenter":"dc2"}"#).unwrap();
        assert_eq!((removal.node.as_str(), removal.service_id.as_str(), removal.check_id.as_str()), ("a", "s", "c"));
        assert_eq!(datacenter, "dc2");
        assert_eq!(deregistration(b"{}").unwrap_err().text, "Must provide node");
    }
}
