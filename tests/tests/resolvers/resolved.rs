//! systemd-resolved, which needs no systemd to run: only its own folders, which it gets in a mount namespace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use usher_tests::{
    agent::Builder,
    command::{self, Plan},
    front::{Front, Place, missing, program},
};

use crate::{readme, zone};

/// The user it becomes.
const USER: &str = "systemd-resolve";
/// Puts what it wants to read and write in its place, and becomes it. `$0` is the folder, `$1` the program.
const START: &str = "mount -t tmpfs tmpfs /run && mkdir /run/systemd && \
    mount --bind \"$0/etc\" /etc/systemd && mount --bind \"$0/passwd\" /etc/passwd && exec \"$1\"";

fn arrange(place: &Place<'_>, resolved: &Path, zones: &str) -> Vec<String> {
    let text = format!(
        "{zones}LLMNR=no\nMulticastDNS=no\n\
         ResolveUnicastSingleLabel=yes\nDNSStubListener=no\nDNSStubListenerExtra=127.0.0.1:{port}\n",
        port = place.port(),
    );
    fs::create_dir(place.path("etc")).expect("a folder can be made");
    place.write("etc/resolved.conf", &text);
    let mut users = fs::read_to_string("/etc/passwd").expect("a host has users");
    if !users.lines().any(|user| user.split(':').next() == Some(USER)) {
        users += &format!("{USER}:x:65534:65534::/:/bin/false\n");
    }
    place.write("passwd", &users);
    let folder = place.folder.display().to_string();
    ["-m", "sh", "-c", START, &folder, &resolved.display().to_string()].map(str::to_owned).to_vec()
}

fn zones(usher: u16) -> String {
    let zones = zone::ZONES.map(|zone| format!("~{zone}")).join(" ");
    format!("[Resolve]\nDNS=127.0.0.1:{usher}\nDomains={zones}\nDNSSEC=no\n")
}

/// The program and what starts it, where both are to be had.
fn found() -> Option<[PathBuf; 2]> {
    let (resolved, unshare) = (program("systemd-resolved")?, program("unshare")?);
    can_mount(&unshare).then_some([resolved, unshare])
}

/// Whether folders can be put in others' places here: for root alone, and not in every container.
fn can_mount(unshare: &Path) -> bool {
    let mut command = Command::new(unshare);
    command.args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/run"]);
    let can = command::run(&mut command, &Plan::default()).is_ok_and(|ended| ended.code == 0);
    if !can {
        missing("nothing can be mounted in a namespace");
    }
    can
}

#[test]
fn it_sends_the_zone_to_usher() {
    let Some([resolved, unshare]) = found() else { return };
    let agent = zone::agent("consul", Builder::dev().config(zone::reverse()));
    let resolved = Front::start(&unshare, |place| arrange(place, &resolved, &zones(agent.ports.dns)));
    zone::every_name(&resolved, "consul", &["consul"]);
    zone::every_address(&resolved, "consul");
    zone::news(&agent, &resolved, "consul");
    zone::much(&resolved, "consul");
}

#[test]
fn the_readme_is_right() {
    let Some([resolved, unshare]) = found() else { return };
    let agent = zone::of_the_readme();
    let settings = readme::with_port("[Resolve]", agent.ports.dns);
    let resolved = Front::start(&unshare, |place| arrange(place, &resolved, &settings));
    zone::is_found(&resolved);
}
