//! dnsmasq, which hands the zone and the reverse names of a network on.

use usher_tests::{
    agent::Builder,
    dns::{self, Options},
    front::{Front, Place, program},
};

use crate::{readme, zone};

fn arrange(place: &Place<'_>, zones: &str) -> Vec<String> {
    let text = format!(
        "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nuser=\ngroup=\n\
         pid-file=\nlog-facility=-\n{zones}",
        port = place.port(),
    );
    vec!["--keep-in-foreground".into(), format!("--conf-file={}", place.write("dnsmasq.conf", &text))]
}

fn zones(usher: u16) -> String {
    format!(
        "server=/consul/127.0.0.1#{usher}\n\
         rev-server=10.0.0.0/8,127.0.0.1#{usher}\n\
         rev-server=2001:db8::/32,127.0.0.1#{usher}\n"
    )
}

#[test]
fn it_forwards_the_zone() {
    let Some(dnsmasq) = program("dnsmasq") else { return };
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let dnsmasq = Front::start(&dnsmasq, |place| arrange(place, &zones(agent.ports.dns)));
    zone::every_name(&dnsmasq, "consul", &["consul"]);
    zone::every_address(&dnsmasq, "consul");
    zone::news(&agent, &dnsmasq, "consul");
    zone::much(&dnsmasq, "consul");
    let reply = dnsmasq.ask_with("x.service.consul A", &Options { edns: Some(1232), ..Options::default() });
    assert_eq!(dns::extended_error(&reply), Some((0, "no service \"x\"".to_owned())), "the reason comes through");
}

#[test]
fn what_it_keeps_of_a_name_is_of_one_type() {
    let Some(dnsmasq) = program("dnsmasq") else { return };
    let agent = zone::kept();
    let dnsmasq = Front::start(&dnsmasq, |place| arrange(place, &zones(agent.ports.dns)));
    zone::side_by_side(&dnsmasq);
}

#[test]
fn the_readme_is_right() {
    let Some(dnsmasq) = program("dnsmasq") else { return };
    let agent = zone::of_the_readme();
    let settings = readme::with_port("server=/consul/", agent.ports.dns);
    let dnsmasq = Front::start(&dnsmasq, |place| arrange(place, &settings));
    zone::is_found(&dnsmasq);
}
