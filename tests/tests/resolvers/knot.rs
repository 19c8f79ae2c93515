//! Knot Resolver, which takes the zone from Usher by policy.

use usher_tests::{
    agent::Builder,
    front::{Front, Place, program},
};

use crate::{readme, zone};

fn arrange(place: &Place<'_>, zones: &str) -> Vec<String> {
    let text = format!(
        "net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})
        net.ipv6 = false
        trust_anchors.remove('.')
        cache.size = 10 * MB
        {zones}",
        port = place.port(),
    );
    let file = place.write("kresd.conf", &text);
    vec!["--noninteractive".into(), "--config".into(), file, place.folder.display().to_string()]
}

fn zones(usher: u16) -> String {
    let zones = zone::ZONES.map(|zone| format!("'{zone}'")).join(", ");
    format!(
        "policy.add(policy.suffix(policy.STUB('127.0.0.1@{usher}'), policy.todnames({{ {zones} }})))\ncache.min_ttl(0)\n"
    )
}

#[test]
fn a_stub_answers_as_usher_does() {
    let Some(kresd) = program("kresd") else { return };
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let kresd = Front::start(&kresd, |place| arrange(place, &zones(agent.ports.dns)));
    zone::every_name(&kresd, "consul", &["consul"]);
    zone::every_address(&kresd, "consul");
    zone::news(&agent, &kresd, "consul");
    zone::much(&kresd, "consul");
}

#[test]
fn what_it_keeps_of_a_name_is_of_one_type() {
    let Some(kresd) = program("kresd") else { return };
    let agent = zone::kept();
    let kresd = Front::start(&kresd, |place| arrange(place, &zones(agent.ports.dns)));
    zone::side_by_side(&kresd);
}

#[test]
fn the_readme_is_right() {
    let Some(kresd) = program("kresd") else { return };
    let agent = zone::of_the_readme();
    let settings = readme::with_port("policy.add", agent.ports.dns);
    let kresd = Front::start(&kresd, |place| arrange(place, &settings));
    zone::is_found(&kresd);
}
