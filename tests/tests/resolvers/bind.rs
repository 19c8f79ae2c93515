//! BIND as a resolver: with Usher as the zone's authority (`static-stub`) and as the one it forwards to.

use serde_json::json;
use usher_tests::{
    agent::Builder,
    front::{Front, Place, address_with, program},
    ports::Ports,
};

use crate::{readme, zone};

/// Names of which a part is absent already: BIND, having asked for that part alone, answers without its SOA.
const TWO_LABELS_DOWN: [&str; 2] = ["web.service.dc2.consul A", "x.y.consul A"];

/// What a BIND that serves a test has in its options, whatever else it is for. It asks other servers at `port`.
pub(crate) fn options(place: &Place<'_>, port: u16) -> String {
    format!(
        "port {port};
        directory \"{}\";
        pid-file none;
        session-keyfile none;
        lock-file none;
        listen-on port {} {{ {}; }};
        listen-on-v6 {{ none; }};
        allow-query {{ any; }};
        dnssec-validation no;
        empty-zones-enable no;",
        place.folder.display(),
        place.port(),
        place.address.ip(),
    )
}

/// Its arguments: in the foreground, its log in the output.
pub(crate) fn arguments(place: &Place<'_>, text: &str) -> Vec<String> {
    let file = place.write("named.conf", text);
    ["-g", "-4", "-n", "1", "-c", &file].map(str::to_owned).to_vec()
}

/// A resolver that takes `port` for that of DNS.
pub(crate) fn resolver(place: &Place<'_>, port: u16, zones: &str) -> Vec<String> {
    let text = format!(
        "options {{
            {}
            recursion yes;
            allow-recursion {{ any; }};
            qname-minimization strict;
        }};
        controls {{ }};
        {zones}",
        options(place, port)
    );
    arguments(place, &text)
}

#[test]
fn a_static_stub_answers_as_usher_does() {
    let Some(named) = program("named") else { return };
    // A static-stub zone names addresses alone: they are asked at the port that BIND takes for that of DNS.
    let ports = Ports::free();
    let Some(usher) = address_with(ports.dns) else { return };
    let settings = json!({"addresses": {"dns": usher.to_string()}});
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()).config(settings).ports(ports));
    let stub = |name: &str| format!("zone \"{name}\" {{ type static-stub; server-addresses {{ {usher}; }}; }};\n");
    let zones = zone::ZONES.map(stub).concat();
    let named = Front::start(&named, |place| resolver(place, ports.dns, &zones));
    zone::every_name_but(&named, "consul", &["consul"], &TWO_LABELS_DOWN);
    zone::every_address(&named, "consul");
    zone::news(&agent, &named, "consul");
    zone::much(&named, "consul");
}

/// Zones that are forwarded to Usher at that port.
fn forwarded(port: u16) -> String {
    let forward = |name: &str| {
        format!("zone \"{name}\" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {port}; }}; }};\n")
    };
    zone::ZONES.map(forward).concat()
}

#[test]
fn it_forwards_the_zone() {
    let Some(named) = program("named") else { return };
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let named = Front::start(&named, |place| resolver(place, place.port(), &forwarded(agent.ports.dns)));
    zone::every_name(&named, "consul", &["consul"]);
    zone::every_address(&named, "consul");
    zone::news(&agent, &named, "consul");
    zone::much(&named, "consul");
}

#[test]
fn what_it_keeps_of_a_name_is_of_one_type() {
    let Some(named) = program("named") else { return };
    let agent = zone::kept();
    let named = Front::start(&named, |place| resolver(place, place.port(), &forwarded(agent.ports.dns)));
    zone::side_by_side(&named);
}

#[test]
fn the_readme_is_right() {
    let Some(named) = program("named") else { return };
    let agent = zone::of_the_readme();
    let zones = readme::with_port("zone \"consul\"", agent.ports.dns);
    let named = Front::start(&named, |place| resolver(place, place.port(), &zones));
    zone::is_found(&named);
}
