//! Parts of the catalog: what is told of an interest whenever its topic is touched makes a partial state that answers
//! as the whole one does, one interest does not touch another, and only what changed wakes.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*};

use super::{
    properties::{ADDRESSES, NODES, SERVICES, command},
    *,
};
use crate::catalog::{Catalog, Content, Interest, Lease, Source, Topic, Unavailable};

fn interests() -> Vec<Interest> {
    let nodes = NODES.iter().chain(&["never"]).map(|name| Interest::node(name));
    let services = SERVICES.iter().chain(&["never"]).map(|name| Interest::service(name));
    let addresses = ADDRESSES.iter().filter_map(|address| Some(Interest::Address(address.parse().ok()?)));
    let mut all: Vec<_> = nodes.chain(services).chain(addresses).collect();
    all.sort();
    all.dedup();
    all
}

/// Shows what `whole` has of `interest`; what was woken.
fn tell(part: &mut State, whole: &State, as_of: u64, interest: &Interest) -> Changes {
    let mut changes = Changes::default();
    assert!(part.show(interest, as_of, whole.content(interest), false, &mut changes));
    changes
}

/// What reads of an interest answer, as text.
fn read(state: &State, interest: &Interest) -> String {
    match interest {
        Interest::Service(name) => {
            let (service, checks) = (state.service(name), state.service_checks(name));
            format!("{service:?} {checks:?} {:?}", state.service_entry(name).map(|entry| entry.answerable()))
        }
        Interest::Node(name) => {
            let (node, services, checks) = (state.node(name), state.node_services(name), state.node_checks(name));
            format!("{node:?} {services:?} {checks:?}")
        }
        Interest::Address(address) => {
            let node = state.node_by_address(*address).map(|entry| &entry.node.name);
            format!("{node:?} {:?}", state.instance_by_address(*address).map(|instance| &instance.service.name))
        }
    }
}

fn topics(interest: &Interest) -> Vec<Topic> {
    match interest {
        Interest::Service(name) => {
            vec![Topic::Service(name.as_str().into()), Topic::ServiceChecks(name.as_str().into())]
        }
        Interest::Node(name) => {
            let name: Arc<str> = name.as_str().into();
            vec![Topic::Node(name.clone()), Topic::NodeServices(name.clone()), Topic::NodeChecks(name)]
        }
        Interest::Address(address) => vec![Topic::Address(*address)],
    }
}

/// The indexes of an interest's blocking queries, each with its topic.
fn indexes(state: &State, interest: &Interest) -> Vec<(Topic, u64)> {
    let indexes = match interest {
        Interest::Service(name) => vec![state.service(name).index, state.service_checks(name).index],
        Interest::Node(name) => {
            vec![state.node(name).index, state.node_services(name).index, state.node_checks(name).index]
        }
        Interest::Address(_) => Vec::new(),
    };
    topics(interest).into_iter().zip(indexes).collect()
}

fn run(commands: Vec<Command>) {
    let (mut log, mut part) = (Log { index: 10, ..Log::default() }, State::partial());
    let interests = interests();
    for interest in &interests {
        tell(&mut part, &log.state, 10, interest);
    }
    for command in commands {
        let (_, changes) = log.apply(command.clone());
        for interest in interests.iter().filter(|interest| changes.contains(&interest.topic())) {
            let before = part.clone();
            let woken = tell(&mut part, &log.state, log.index, interest);
            for (topic, index) in indexes(&part, interest) {
                let was = indexes(&before, interest).into_iter().find(|(it, _)| *it == topic);
                let moved = was.is_none_or(|(_, was)| was != index);
                assert!(!moved || woken.contains(&topic), "missed {topic:?} {command:?}");
            }
            for other in interests.iter().filter(|other| *other != interest) {
                assert_eq!(read(&part, other), read(&before, other), "{interest:?} touches {other:?}");
                assert!(topics(other).iter().all(|topic| !woken.contains(topic)), "{interest:?} wakes {other:?}");
            }
        }
        for interest in &interests {
            assert_eq!(read(&part, interest), read(&log.state, interest), "{interest:?} {command:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_that_is_told_of_its_topics_answers_as_the_whole(commands in vec(command(), 1..30)) {
        run(commands);
    }
}

fn web(log: &mut Log) -> Interest {
    log.register(node("n1", "10.0.0.1").service("w1", "Web", &["a"]).at("10.1.0.1").check("c", "w1", "passing"));
    Interest::service("WEB")
}

#[test]
fn only_what_is_shown_is_held() {
    let (mut log, mut part) = (Log::default(), State::partial());
    let address: IpAddr = "10.1.0.1".parse().unwrap();
    let interest = web(&mut log);
    assert!(log.state.holds_service("web") && log.state.holds_node("x") && log.state.holds_address(address));
    assert!(!part.holds_service("web") && !part.holds_node("n1") && !part.holds_address(address));
    tell(&mut part, &log.state, 1, &interest);
    assert!(part.holds_service("web") && !part.holds_service("webs") && !part.holds_node("n1"));
    assert!(part.node_entry("n1").is_none(), "the node of an instance is not the node");
    tell(&mut part, &log.state, 1, &Interest::service("nosuch"));
    assert!(part.holds_service("nosuch") && part.service_entry("nosuch").is_none(), "that there is none is known");
    tell(&mut part, &log.state, 1, &Interest::Address(address));
    assert!(part.holds_address(address));
    part.forget(&interest);
    part.forget(&Interest::Address(address));
    assert!(!part.holds_service("web") && part.service_entry("web").is_none() && !part.holds_address(address));
    assert!(part.holds_service("nosuch"), "the others stay");
}

#[test]
fn an_older_moment_never_replaces_a_newer_one() {
    let (mut log, mut part) = (Log::default(), State::partial());
    let interest = web(&mut log);
    let old = log.state.content(&interest);
    log.register(node("n2", "10.0.0.2").service("w2", "web", &[]));
    tell(&mut part, &log.state, 2, &interest);
    let mut changes = Changes::default();
    assert!(!part.show(&interest, 1, old.clone(), false, &mut changes));
    assert_eq!(part.service_entry("web").map(|entry| entry.instances.len()), Some(2));
    assert!(changes.is_empty());
    assert!(part.show(&interest, 1, old, true, &mut changes), "unless the newer one is known to be wrong");
    assert_eq!(part.service_entry("web").map(|entry| entry.instances.len()), Some(1));
    assert!(changes.contains(&interest.topic()));
}

#[test]
fn what_is_told_again_changes_nothing() {
    let (mut log, mut part) = (Log::default(), State::partial());
    let interests = [web(&mut log), Interest::node("n1"), Interest::service("nosuch"), Interest::node("nosuch")];
    for interest in &interests {
        tell(&mut part, &log.state, 1, interest);
    }
    let before = part.clone();
    for interest in &interests {
        assert!(tell(&mut part, &log.state, 5, interest).is_empty(), "{interest:?}");
        assert_eq!(part.held_as_of(interest), Some(5), "but it is known to be so later");
    }
    let entry = |state: &State| state.service_entry("web").cloned().unwrap();
    assert!(Arc::ptr_eq(&entry(&before), &entry(&part)), "what readers computed stays");
}

#[test]
fn what_is_of_another_interest_is_refused() {
    let mut part = State::partial();
    let content = Content::Address { nodes: Vec::new(), services: Vec::new() };
    assert!(!part.show(&Interest::service("web"), 1, content, false, &mut Changes::default()));
    assert!(!part.holds_service("web"));
}

#[test]
fn readers_leave_a_mark() {
    let (mut log, mut part) = (Log::default(), State::partial());
    let interest = web(&mut log);
    tell(&mut part, &log.state, 1, &interest);
    let mark = part.mark(&interest).unwrap();
    assert!(!mark.take_used());
    assert!(part.holds_service("web"));
    assert!(mark.take_used() && !mark.take_used(), "once for many");
    let lease = part.lease(&interest);
    tell(&mut part, &log.state, 2, &interest);
    assert!(mark.take_used() && mark.take_used(), "as long as somebody reads, whatever is told meanwhile");
    drop(lease);
    assert!(!mark.take_used());
}

#[tokio::test]
async fn a_catalog_tells_how_far_it_has_come() {
    let catalog = Arc::new(Catalog::default());
    catalog.reached(0).await;
    let waiting = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.reached(5).await }
    });
    for index in 1..=5 {
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let mut state = State::default();
        state.set_as_of(index);
        catalog.publish(state, Changes::default());
    }
    let begun = Instant::now();
    waiting.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_whole_catalog_has_no_source_and_a_partial_one_loses_it() {
    struct Nobody;
    impl Source for Nobody {
        fn want(&self, _: Interest) -> futures_util::future::BoxFuture<'_, Result<Lease, Unavailable>> {
            Box::pin(std::future::ready(Err(Unavailable)))
        }
        fn age(&self, _: &Interest) -> Option<Duration> {
            None
        }
    }
    let catalog = Catalog::default();
    assert!(catalog.source().is_none() && catalog.load().holds_service("web"));
    let source: Arc<dyn Source> = Arc::new(Nobody);
    catalog.draw_from(Arc::downgrade(&source));
    assert!(catalog.source().is_some() && !catalog.load().holds_service("web"));
    drop(source);
    assert!(catalog.source().is_none());
}
