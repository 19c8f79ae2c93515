//! Members over real sockets on loopback.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    gossip::{Gossip, JoinError, KeyOperation, Keyring, Options, Pool},
    membership::{Member, MemberStatus},
    net::{TcpListener, TcpStream, UdpSocket},
};

const A: &str = "AAECAwQFBgcICQoLDA0ODw==";
const B: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const PATIENCE: Duration = Duration::from_secs(30);

struct Host {
    gossip: Gossip,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Host {
    async fn start(name: &str) -> Self {
        Self::start_with(name, |_| ()).await
    }

    async fn start_with(name: &str, change: impl FnOnce(&mut Options)) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), name, change).await
    }

    async fn start_at(address: SocketAddr, name: &str, change: impl FnOnce(&mut Options)) -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind(address).await.unwrap();
            // The same port may be taken for UDP: then another one is tried.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let mut options = Options {
            pool: Pool::Lan,
            cluster: "dc1".to_owned(),
            name: name.to_owned(),
            id: format!("id of {name}"),
            advertise: tcp.local_addr().unwrap(),
            tags: [("role".to_owned(), "node".to_owned())].into(),
            reconnect_timeout: Duration::from_secs(72 * 3600),
            keyring: Arc::default(),
            snapshot: None,
            rejoin_after_leave: false,
        };
        change(&mut options);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let address = options.advertise;
        let gossip = Gossip::start(options, udp, tcp, &tasks, stop.clone());
        Self { gossip, address, stop, tasks }
    }

    /// Ends without a word.
    async fn kill(self) -> SocketAddr {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.address
    }

    async fn until(&self, what: &str, is_so: impl FnMut(&Arc<Vec<Member>>) -> bool) {
        let mut members = self.gossip.watch();
        if timeout(PATIENCE, members.wait_for(is_so)).await.is_err() {
            panic!("{what}: never, but {:#?}", self.gossip.members());
        }
    }

    async fn until_status(&self, name: &str, status: MemberStatus) {
        self.until(&format!("{name} is {status:?}"), |members| status_of(members, name) == Some(status)).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn status_of(members: &[Member], name: &str) -> Option<MemberStatus> {
    members.iter().find(|it| it.name == name).map(|it| it.status)
}

fn refusal(result: Result<(), JoinError>) -> String {
    match result {
        Err(JoinError::Refused { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn members_meet_and_part() {
    let (one, two, three) = (Host::start("n1").await, Host::start("n2").await, Host::start("n3").await);
    two.gossip.join(one.address).await.unwrap();
    assert_eq!(two.gossip.members().len(), 2, "whom one joins is known at once");
    three.gossip.join(two.address).await.unwrap();
    for host in [&one, &two, &three] {
        for name in ["n1", "n2", "n3"] {
            host.until_status(name, MemberStatus::Alive).await;
        }
    }
    let members = one.gossip.members();
    assert_eq!(members.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["n1", "n2", "n3"]);
    assert_eq!(members[1].tags, [("role".to_owned(), "node".to_owned())].into());
    assert_eq!((members[1].address, members[1].port), (two.address.ip(), two.address.port()));

    three.gossip.leave().await;
    assert_eq!(status_of(&three.gossip.members(), "n3"), Some(MemberStatus::Left));
    for host in [&one, &two] {
        host.until_status("n3", MemberStatus::Left).await;
    }
    two.kill().await;
    one.until_status("n2", MemberStatus::Failed).await;
    one.gossip.force_leave("n2", false).await.unwrap();
    one.until_status("n2", MemberStatus::Left).await;
    one.gossip.force_leave("n2", true).await.unwrap();
    one.until("n2 is forgotten", |members| status_of(members, "n2").is_none()).await;
    assert_eq!(
        one.gossip.force_leave("nosuch", false).await,
        Err("agent: No node found with name 'nosuch'".to_owned())
    );
}

#[tokio::test]
async fn tags_reach_everybody() {
    let (one, two) = (Host::start("n1").await, Host::start("n2").await);
    one.gossip.join(two.address).await.unwrap();
    let tags: BTreeMap<_, _> = [("role".to_owned(), "consul".to_owned())].into();
    one.gossip.set_tags(tags.clone());
    two.until("new tags", |members| members.iter().any(|it| it.name == "n1" && it.tags == tags)).await;
}

#[tokio::test]
async fn a_host_that_starts_again_wins_over_its_old_self() {
    let (one, two) = (Host::start("n1").await, Host::start("n2").await);
    two.gossip.join(one.address).await.unwrap();
    one.until_status("n2", MemberStatus::Alive).await;
    let address = two.kill().await;
    let again = Host::start_at(address, "n2", |it| it.tags = [("life".to_owned(), "2".to_owned())].into()).await;
    again.gossip.join(one.address).await.unwrap();
    one.until("the second life", |members| {
        members.iter().any(|it| it.status == MemberStatus::Alive && it.tags.contains_key("life"))
    })
    .await;
    // At another address as well, before anybody noticed that it was gone.
    again.kill().await;
    let moved = Host::start("n2").await;
    moved.gossip.join(one.address).await.unwrap();
    one.until("the new address", |members| {
        let alive =
            |it: &Member| it.name == "n2" && it.port == moved.address.port() && it.status == MemberStatus::Alive;
        members.len() == 2 && members.iter().any(alive)
    })
    .await;
}

#[tokio::test]
async fn two_living_hosts_are_told_apart() {
    let (one, two) = (Host::start("n1").await, Host::start("n2").await);
    two.gossip.join(one.address).await.unwrap();
    one.until_status("n2", MemberStatus::Alive).await;
    let same_name = Host::start_with("n2", |it| it.id = "another id".to_owned()).await;
    let same_id = Host::start_with("n3", |it| it.id = "id of n1".to_owned()).await;
    for (host, claim, holder) in [(&same_name, "name 'n2'", two.address), (&same_id, "id id of n1", one.address)] {
        let reason = refusal(host.gossip.join(one.address).await);
        assert_eq!(reason, format!("{claim} is taken: {holder} has it, {} wants it", host.address));
        assert_eq!(host.gossip.members().len(), 1);
    }
    assert_eq!(one.gossip.members().len(), 2);
    one.gossip.join(one.address).await.unwrap();
}

#[tokio::test]
async fn strangers_are_refused_and_told_why() {
    let keyring = |key: &str| Arc::new(Keyring::load(Some(key), None).unwrap());
    let clear = Host::start("clear").await;
    let encrypted = Host::start_with("encrypted", |it| it.keyring = keyring(A)).await;
    let other_key = Host::start_with("other", |it| it.keyring = keyring(B)).await;
    let other_cluster = Host::start_with("cluster", |it| it.cluster = "dc2".to_owned()).await;
    for (from, to, expected) in [
        (&clear, &encrypted, "'encrypted' encrypts gossip and what came is in the clear: the key is missing"),
        (&encrypted, &clear, "'clear' does not encrypt gossip and what came is encrypted"),
        (&other_key, &encrypted, "'encrypted' does not know the key that was used to encrypt: the keys differ"),
        (&other_cluster, &clear, "'clear' is part of another datacenter, 'dc1'"),
    ] {
        assert_eq!(refusal(from.gossip.join(to.address).await), expected);
        assert_eq!((from.gossip.members().len(), to.gossip.members().len()), (1, 1));
    }
    let nobody = clear.kill().await;
    assert!(matches!(encrypted.gossip.join(nobody).await, Err(JoinError::Unreachable { .. })));
}

#[tokio::test]
async fn keys_are_rotated_while_everybody_speaks() {
    let keyring = || Arc::new(Keyring::load(Some(A), None).unwrap());
    let one = Host::start_with("n1", |it| it.keyring = keyring()).await;
    let two = Host::start_with("n2", |it| it.keyring = keyring()).await;
    two.gossip.join(one.address).await.unwrap();
    one.until_status("n2", MemberStatus::Alive).await;
    let steps = [KeyOperation::Install(B.into()), KeyOperation::Use(B.into()), KeyOperation::Remove(A.into())];
    for operation in steps {
        let report = one.gossip.keys(operation).await;
        assert_eq!((report.nodes, report.errors, report.messages.len()), (2, 0, 0));
    }
    let report = two.gossip.keys(KeyOperation::List).await;
    assert_eq!(report.keys, [(B.to_owned(), 2)].into());
    assert_eq!(report.primary_keys, report.keys);
    // They still hear each other.
    one.gossip.set_tags([("key".to_owned(), "b".to_owned())].into());
    two.until("news under the new key", |members| members[0].tags.contains_key("key")).await;
    let refused = one.gossip.keys(KeyOperation::Remove(B.into())).await;
    assert_eq!((refused.nodes, refused.errors), (2, 2));
    assert_eq!(refused.messages["n2"], "Removing the primary key is not allowed");
}

#[tokio::test]
async fn an_agent_that_starts_again_finds_those_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("serf/local.snapshot");
    let one = Host::start("n1").await;
    let start = |rejoin: bool, file: PathBuf| {
        Host::start_with("n2", move |it| (it.snapshot, it.rejoin_after_leave) = (Some(file), rejoin))
    };
    let two = start(false, file.clone()).await;
    two.gossip.join(one.address).await.unwrap();
    two.kill().await;
    let two = start(false, file.clone()).await;
    two.until_status("n1", MemberStatus::Alive).await;
    two.gossip.leave().await;
    two.kill().await;
    // Having left it stays away, unless it is told otherwise.
    let kept = crate::gossip::snapshot::Snapshot::read(&file);
    assert!(kept.left && kept.members == [one.address]);
    let two = start(true, file).await;
    two.until_status("n1", MemberStatus::Alive).await;
    one.until_status("n2", MemberStatus::Alive).await;
}

#[tokio::test]
async fn garbage_changes_nothing() {
    let (one, two) = (Host::start("n1").await, Host::start("n2").await);
    two.gossip.join(one.address).await.unwrap();
    one.until_status("n2", MemberStatus::Alive).await;
    let envelope = crate::gossip::envelope::Envelope::new("dc1", Arc::default());
    let udp = UdpSocket::bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).await.unwrap();
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    for length in (0..2000).step_by(7) {
        let garbage: Vec<u8> = (0..length).map(|_| rand::RngExt::random(&mut rng)).collect();
        udp.send_to(&garbage, one.address).await.unwrap();
        udp.send_to(&envelope.seal(garbage.clone()), one.address).await.unwrap();
        if let Ok(mut tcp) = TcpStream::connect(one.address).await {
            let _ = tcp.write_all(&garbage).await;
            let sealed = envelope.seal(garbage);
            let _ = tcp.write_all(&u32::try_from(sealed.len()).unwrap().to_be_bytes()).await;
            let _ = tcp.write_all(&sealed).await;
        }
    }
    one.gossip.set_tags([("still".to_owned(), "here".to_owned())].into());
    two.until("news", |members| members[0].tags.contains_key("still")).await;
    let shown: Vec<_> = one.gossip.members().iter().map(|it| (it.name.clone(), it.status)).collect();
    assert_eq!(shown, [("n1".to_owned(), MemberStatus::Alive), ("n2".to_owned(), MemberStatus::Alive)]);
}

#[tokio::test]
async fn one_peer_does_not_take_all_connections() {
    let one = Host::start("n1").await;
    let mut held = Vec::new();
    // Each says that much follows, and nothing does.
    loop {
        let mut stream = TcpStream::connect(one.address).await.unwrap();
        let _ = stream.write_all(&[0, 0, 4, 0]).await;
        assert!(held.len() <= 64, "there is no limit");
        let closed =
            timeout(Duration::from_millis(if held.len() < 32 { 1 } else { 5000 }), stream.read(&mut [0])).await;
        if matches!(closed, Ok(Ok(0) | Err(_))) {
            break;
        }
        held.push(stream);
    }
    assert_eq!(held.len(), 32);
    drop(held);
    let two = Host::start("n2").await;
    let joined = async { while two.gossip.join(one.address).await.is_err() {} };
    timeout(PATIENCE, joined).await.unwrap();
}

#[tokio::test]
async fn ten_agents_notice_that_one_is_killed() {
    let mut hosts = Vec::new();
    for number in 0..10 {
        let host = Host::start(&format!("n{number}")).await;
        if let Some(first) = hosts.first() {
            let first: &Host = first;
            host.gossip.join(first.address).await.unwrap();
        }
        hosts.push(host);
    }
    for host in &hosts {
        host.until("everybody", |members| members.iter().filter(|it| it.status == MemberStatus::Alive).count() == 10)
            .await;
    }
    hosts.pop().unwrap().kill().await;
    for host in &hosts {
        host.until_status("n9", MemberStatus::Failed).await;
    }
    for host in &hosts {
        assert_eq!(host.gossip.members().iter().filter(|it| it.status == MemberStatus::Alive).count(), 9);
    }
}
