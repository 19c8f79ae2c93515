//! Unbound, as strict as it can be set: a name at a time, letters' case at random, names below an absent one absent.

use usher_tests::agent::Builder;
use usher_tests::front::{Front, Place, program};

use crate::{readme, zone};

/// Unbound with these zones, and `more` settings.
fn unbound(more: &str, zones: &str) -> Option<Front> {
    let program = program("unbound")?;
    Some(Front::start(&program, |place| arrange(place, more, zones)))
}

/// Its configuration and arguments.
pub(crate) fn arrange(place: &Place<'_>, more: &str, zones: &str) -> Vec<String> {
    let port = place.port();
    let text = format!(
        "server:
            interface: 127.0.0.1
            port: {port}
            do-ip6: no
            do-daemonize: no
            chroot: \"\"
            username: \"\"
            directory: \"{folder}\"
            pidfile: \"\"
            use-syslog: no
            logfile: \"\"
            verbosity: 1
            num-threads: 1
            do-not-query-localhost: no
            domain-insecure: consul
            domain-insecure: example
            domain-insecure: in-addr.arpa
            domain-insecure: ip6.arpa
            local-zone: 8.b.d.0.1.0.0.2.ip6.arpa. nodefault
            local-zone: 10.in-addr.arpa. nodefault
            qname-minimisation: yes
            qname-minimisation-strict: yes
            harden-below-nxdomain: yes
            harden-referral-path: yes
            use-caps-for-id: yes
            ede: yes
            {more}
        remote-control:
            control-enable: no
{zones}",
        folder = place.folder.display(),
    );
    vec!["-d".into(), "-c".into(), place.write("unbound.conf", &text)]
}

fn stubs(port: u16) -> String {
    let stub = |name: &str| format!("stub-zone:\n name: {name}\n stub-addr: 127.0.0.1@{port}\n stub-prime: no\n");
    zone::ZONES.map(stub).concat()
}

#[test]
fn a_stub_zone_answers_as_usher_does() {
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let Some(unbound) = unbound("", &stubs(agent.ports.dns)) else { return };
    zone::every_name(&unbound, "consul", &["consul"]);
    zone::every_address(&unbound, "consul");
    zone::news(&agent, &unbound, "consul");
    zone::much(&unbound, "consul");
}

#[test]
fn a_forward_zone_answers_as_usher_does() {
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let forward = |name: &str| format!("forward-zone:\n name: {name}\n forward-addr: 127.0.0.1@{}\n", agent.ports.dns);
    let Some(unbound) = unbound("", &zone::ZONES.map(forward).concat()) else { return };
    zone::every_name(&unbound, "consul", &["consul"]);
    zone::every_address(&unbound, "consul");
    zone::news(&agent, &unbound, "consul");
    zone::much(&unbound, "consul");
}

#[test]
fn the_readme_is_right() {
    let agent = zone::of_the_readme();
    let Some(unbound) = unbound("", &readme::with_port("stub-zone:", agent.ports.dns)) else { return };
    zone::is_found(&unbound);
}

#[test]
fn a_stub_zone_asked_over_tcp_alone() {
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let Some(unbound) = unbound("tcp-upstream: yes", &stubs(agent.ports.dns)) else { return };
    zone::every_name(&unbound, "consul", &["consul"]);
    zone::news(&agent, &unbound, "consul");
    zone::much(&unbound, "consul");
}

#[test]
fn what_it_keeps_of_a_name_is_of_one_type() {
    let agent = zone::kept();
    let Some(unbound) = unbound("", &stubs(agent.ports.dns)) else { return };
    zone::side_by_side(&unbound);
}
