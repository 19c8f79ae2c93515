//! The JSON of a catalog check's definition: how it is run, as far as its registration said. Pure.

use serde::{Serialize, Serializer, ser::SerializeMap};
use usher_cluster::catalog::model::{CheckDefinition, LaterDefinition};

use crate::config::duration;

/// How a check is run; what was not given is left out.
pub(super) struct DefinitionView<'a>(pub(super) &'a CheckDefinition);

impl Serialize for DefinitionView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let definition = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (name, nanoseconds) in [
            ("Interval", definition.interval_ns),
            ("Timeout", definition.timeout_ns),
            ("DeregisterCriticalServiceAfter", definition.deregister_critical_service_after_ns),
        ] {
            if nanoseconds != 0 {
                map.serialize_entry(name, &duration::format(duration::from_nanos(nanoseconds)))?;
            }
        }
        if !definition.http.is_empty() {
            map.serialize_entry("HTTP", &definition.http)?;
        }
        if !definition.tls_server_name.is_empty() {
            map.serialize_entry("TLSServerName", &definition.tls_server_name)?;
        }
        if definition.tls_skip_verify {
            map.serialize_entry("TLSSkipVerify", &true)?;
        }
        if !definition.header.is_empty() {
            map.serialize_entry("Header", &definition.header)?;
        }
        for (name, value) in [("Method", &definition.method), ("Body", &definition.body), ("TCP", &definition.tcp)] {
            if !value.is_empty() {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(later) = &definition.later {
            later_definition(later, &mut map)?;
        }
        map.end()
    }
}

fn later_definition<M: SerializeMap>(later: &LaterDefinition, map: &mut M) -> Result<(), M::Error> {
    for (name, value) in [
        ("UDP", &later.udp),
        ("H2PING", &later.h2ping),
        ("GRPC", &later.grpc),
        ("DNS", &later.dns),
        ("DNSServer", &later.dns_server),
        ("DNSType", &later.dns_type),
    ] {
        if !value.is_empty() {
            map.serialize_entry(name, value)?;
        }
    }
    if !later.dns_expect.is_empty() {
        map.serialize_entry("DNSExpect", &later.dns_expect)?;
    }
    if let Some(tls) = later.h2ping_use_tls {
        map.serialize_entry("H2PingUseTLS", &tls)?;
    }
    for (name, value) in [("GRPCUseTLS", later.grpc_use_tls), ("DisableRedirects", later.disable_redirects)] {
        if value {
            map.serialize_entry(name, &true)?;
        }
    }
    Ok(())
}
