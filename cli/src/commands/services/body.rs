//! A definition as the agent's HTTP API takes it. Pure.
//!
//! Only what was given is written, so that the agent fills in the rest, and an older agent is not sent what it does not
//! know.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};
use usher_cluster::local::definition::{CheckSpec, ServiceDefinition};

use crate::config::duration;

/// The body of `/v1/agent/service/register`.
pub fn registration(service: &ServiceDefinition) -> Value {
    let mut body = Body::default();
    body.text("ID", &service.id);
    body.text("Name", &service.name);
    body.texts("Tags", &service.tags);
    body.text("Address", &service.address);
    let addresses: Map<String, Value> = service
        .tagged_addresses
        .iter()
        .map(|(purpose, at)| (purpose.clone(), json!({"Address": at.address, "Port": at.port})))
        .collect();
    body.map("TaggedAddresses", addresses);
    body.text_map("Meta", &service.meta);
    body.number("Port", service.port);
    if let Some(weights) = &service.weights {
        body.0.insert("Weights".into(), json!({"Passing": weights.passing, "Warning": weights.warning}));
    }
    if let Some(priority) = service.priority {
        body.0.insert("Priority".into(), priority.into());
    }
    body.truth("Draining", service.draining);
    body.truth("EnableTagOverride", service.enable_tag_override);
    body.text("Token", &service.token);
    body.time("Lease", service.lease);
    body.time("LeaseDeregisterAfter", service.lease_deregister_after);
    if !service.checks.is_empty() {
        body.0.insert("Checks".into(), service.checks.iter().map(check).collect());
    }
    Value::Object(body.0)
}

/// One of its `Checks`.
pub fn check(check: &CheckSpec) -> Value {
    let mut body = Body::default();
    body.text("CheckID", &check.id);
    body.text("Name", &check.name);
    body.text("Notes", &check.notes);
    body.text("Status", check.status.as_ref().map(|status| status.as_str()).unwrap_or_default());
    body.time("TTL", check.ttl);
    body.text("HTTP", &check.http);
    let header = check.header.iter().map(|(name, values)| (name.clone(), json!(values))).collect();
    body.map("Header", header);
    body.text("Method", &check.method);
    body.text("Body", &check.body);
    body.truth("DisableRedirects", check.disable_redirects);
    body.text("TCP", &check.tcp);
    body.text("UDP", &check.udp);
    body.text("H2Ping", &check.h2ping);
    if let Some(tls) = check.h2ping_use_tls {
        body.0.insert("H2PingUseTLS".into(), tls.into());
    }
    body.text("DNS", &check.dns);
    body.text("DNSServer", &check.dns_server);
    body.text("DNSType", &check.dns_type);
    body.texts("DNSExpect", &check.dns_expect);
    body.text("GRPC", &check.grpc);
    body.truth("GRPCUseTLS", check.grpc_use_tls);
    body.texts("Args", &check.args);
    body.text("DockerContainerID", &check.docker_container_id);
    body.text("Shell", &check.shell);
    body.text("AliasNode", &check.alias_node);
    body.text("AliasService", &check.alias_service);
    body.text("TLSServerName", &check.tls_server_name);
    body.truth("TLSSkipVerify", check.tls_skip_verify);
    body.time("Interval", check.interval);
    body.time("Timeout", check.timeout);
    body.number("SuccessBeforePassing", check.success_before_passing.into());
    body.number("FailuresBeforeWarning", check.failures_before_warning.into());
    body.number("FailuresBeforeCritical", check.failures_before_critical.into());
    body.time("DeregisterCriticalServiceAfter", check.deregister_critical_service_after);
    body.number("OutputMaxSize", check.output_max_size.unwrap_or_default().into());
    Value::Object(body.0)
}

/// An object that leaves out what is empty.
#[derive(Default)]
struct Body(Map<String, Value>);

impl Body {
    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.0.insert(key.into(), text.into());
        }
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.0.insert(key.into(), texts.into());
        }
    }

    fn map(&mut self, key: &str, map: Map<String, Value>) {
        if !map.is_empty() {
            self.0.insert(key.into(), map.into());
        }
    }

    fn text_map(&mut self, key: &str, map: &BTreeMap<String, String>) {
        self.map(key, map.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect());
    }

    fn number(&mut self, key: &str, number: i64) {
        if number != 0 {
            self.0.insert(key.into(), number.into());
        }
    }

    fn truth(&mut self, key: &str, truth: bool) {
        if truth {
            self.0.insert(key.into(), true.into());
        }
    }

    fn time(&mut self, key: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.0.insert(key.into(), duration::format(time).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Strictness, service_from_json};

    // What is written is read back as the same definition: by the reader the agent uses for requests.
    #[test]
    fn survives_the_way_to_the_agent() {
        let given = json!({
            "ID": "w", "Name": "web", "Tags": ["a"], "Address": "h", "Port": 80, "Meta": {"k": "v"},
            "TaggedAddresses": {"lan": {"Address": "1.1.1.1", "Port": 4}},
            "Weights": {"Passing": 2, "Warning": 3}, "EnableTagOverride": true, "Token": "t",
            "Checks": [
                {"TTL": "1h30m0s", "Status": "passing", "Notes": "n"},
                {"CheckID": "c", "Name": "n", "HTTP": "http://x", "Header": {"a": ["b", "c"]}, "Method": "POST", "Body": "b",
                 "Interval": "10s", "Timeout": "1.5s", "DeregisterCriticalServiceAfter": "1m0s", "TLSSkipVerify": true,
                 "TLSServerName": "s", "SuccessBeforePassing": 2, "FailuresBeforeCritical": 3, "OutputMaxSize": 9},
                {"TCP": "x:1", "Interval": "5s"},
                {"GRPC": "x:1", "GRPCUseTLS": true, "Interval": "5s"},
                {"Args": ["a", "b"], "DockerContainerID": "d", "Shell": "/bin/sh", "Interval": "5s"},
                {"AliasNode": "n", "AliasService": "s"},
            ],
        });
        let definition = service_from_json(&given, Strictness::Api).unwrap();
        let sent = registration(&definition);
        assert_eq!(service_from_json(&sent, Strictness::Api).unwrap(), definition);
        assert_eq!(sent, given);
    }

    #[test]
    fn leaves_out_what_was_not_given() {
        let service = ServiceDefinition { name: "web".into(), ..ServiceDefinition::default() };
        assert_eq!(registration(&service), json!({"Name": "web"}));
    }
}
