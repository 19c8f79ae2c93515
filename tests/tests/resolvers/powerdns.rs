//! PowerDNS Recursor, which asks the zone's authority a name at a time.

use usher_tests::{
    agent::Builder,
    front::{Front, Place, program},
};

use crate::{readme, zone};

fn arrange(place: &Place<'_>, zones: &str) -> Vec<String> {
    let text = format!(
        "local-address=127.0.0.1\nlocal-port={port}\nsocket-dir={folder}\ndaemon=no\ndisable-syslog=yes\nloglevel=4\n\
         threads=1\nsecurity-poll-suffix=\ndnssec=off\nqname-minimization=yes\n{zones}",
        port = place.port(),
        folder = place.folder.display(),
    );
    place.write("recursor.conf", &text);
    vec![format!("--config-dir={}", place.folder.display())]
}

fn zones(usher: u16) -> String {
    let zones = zone::ZONES.map(|zone| format!("{zone}=127.0.0.1:{usher}")).join(", ");
    format!("forward-zones={zones}\ndont-query=\nserve-rfc1918=no\nminimum-ttl-override=0\n")
}

#[test]
fn a_forward_zone_answers_as_usher_does() {
    let Some(recursor) = program("pdns_recursor") else { return };
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let recursor = Front::start(&recursor, |place| arrange(place, &zones(agent.ports.dns)));
    zone::every_name(&recursor, "consul", &["consul"]);
    zone::every_address(&recursor, "consul");
    zone::news(&agent, &recursor, "consul");
    zone::much(&recursor, "consul");
}

#[test]
fn what_it_keeps_of_a_name_is_of_one_type() {
    let Some(recursor) = program("pdns_recursor") else { return };
    let agent = zone::kept();
    let recursor = Front::start(&recursor, |place| arrange(place, &zones(agent.ports.dns)));
    zone::side_by_side(&recursor);
}

#[test]
fn the_readme_is_right() {
    let Some(recursor) = program("pdns_recursor") else { return };
    let agent = zone::of_the_readme();
    let settings = readme::with_port("forward-zones=", agent.ports.dns);
    let recursor = Front::start(&recursor, |place| arrange(place, &settings));
    zone::is_found(&recursor);
}
