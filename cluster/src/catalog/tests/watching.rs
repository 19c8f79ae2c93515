//! Watching: nothing is missed, nobody wakes for nothing, nothing is left behind.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::*;
use crate::catalog::{Catalog, Topic, Watch};

/// Longer than any of this takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn web() -> Topic {
    Topic::Service("web".into())
}

fn publish(catalog: &Catalog, topics: &[Topic]) {
    let mut changes = Changes::default();
    topics.iter().for_each(|topic| changes.add(topic.clone()));
    catalog.publish(State::default(), changes);
}

/// Polls once.
fn woken(watch: &mut Watch) -> bool {
    let changed = std::pin::pin!(watch.changed());
    changed.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

#[test]
fn a_change_before_the_first_poll_is_seen() {
    let catalog = Catalog::default();
    let mut watch = catalog.watch(web());
    publish(&catalog, &[web()]);
    assert!(woken(&mut watch));
    assert!(!woken(&mut watch), "told once");
    publish(&catalog, &[web()]);
    publish(&catalog, &[web()]);
    assert!(woken(&mut watch));
    assert!(!woken(&mut watch), "two changes told as one");
}

#[test]
fn a_change_before_the_watch_began_is_not_seen() {
    let catalog = Catalog::default();
    let _other = catalog.watch(web());
    publish(&catalog, &[web()]);
    assert!(!woken(&mut catalog.watch(web())));
}

#[test]
fn only_its_own_topic_wakes() {
    let topics = [
        Topic::Nodes,
        Topic::Node("a".into()),
        Topic::NodeServices("a".into()),
        Topic::NodeChecks("a".into()),
        Topic::Services,
        Topic::ServicesByNodeMeta,
        Topic::Service("a".into()),
        Topic::Service("b".into()),
        Topic::ServiceChecks("a".into()),
        Topic::Checks,
        Topic::ChecksInState(Status::Passing),
        Topic::ChecksInState(Status::Critical),
    ];
    let catalog = Catalog::default();
    for touched in &topics {
        let mut watches: Vec<_> = topics.iter().map(|topic| (topic, catalog.watch(topic.clone()))).collect();
        publish(&catalog, std::slice::from_ref(touched));
        for (topic, watch) in &mut watches {
            assert_eq!(woken(watch), *topic == touched, "{topic:?} for {touched:?}");
        }
    }
}

#[test]
fn case_does_not_matter() {
    let mut log = Log::default();
    let catalog = Catalog::default();
    let topics = [Topic::Service("wEB".into()), Topic::ServiceChecks("wEB".into()), Topic::Node("nODE".into())];
    let mut watches = topics.map(|topic| catalog.watch(topic));
    let changes = log.register(node("Node", "10.0.0.1").service("w", "Web", &[]).check("c", "w", "odd"));
    let mut odd = catalog.watch(Topic::ChecksInState(Status::from("another odd")));
    catalog.publish(log.state.clone(), changes);
    assert!(watches.iter_mut().all(woken));
    assert!(woken(&mut odd), "texts of the registrants' own are one topic");
}

#[test]
fn everything_wakes_everybody() {
    let catalog = Catalog::default();
    let mut watches: Vec<_> = (0..100).map(|number| catalog.watch(Topic::Node(format!("n{number}").into()))).collect();
    catalog.publish(State::default(), Changes::everything());
    assert!(watches.iter_mut().all(woken));
    assert!(!Changes::everything().is_empty() && Changes::everything().contains(&Topic::Checks));
}

#[test]
fn dropped_watches_leave_nothing() {
    let catalog = Catalog::default();
    let topics = || (0..1000).map(|number| Topic::Service(format!("s{}", number % 500).into()));
    let watches: Vec<_> = topics().map(|topic| catalog.watch(topic)).collect();
    assert_eq!(catalog.watchers.topics(), 500);
    drop(watches);
    assert_eq!(catalog.watchers.topics(), 0);
    let (mut first, second) = (catalog.watch(web()), catalog.watch(web()));
    drop(second);
    publish(&catalog, &[web()]);
    assert!(woken(&mut first), "the one that is left is still known");
}

#[tokio::test]
async fn a_wait_given_up_loses_no_change() {
    let catalog = Catalog::default();
    let mut watch = catalog.watch(web());
    assert!(!woken(&mut watch), "polled and dropped");
    publish(&catalog, &[web()]);
    tokio::time::timeout(DEADLINE, watch.changed()).await.expect("seen");
}

#[tokio::test]
async fn ten_thousand_wait_for_one_service() {
    let catalog = Arc::new(Catalog::default());
    let waiting: Vec<_> = (0..10_000)
        .map(|_| {
            let mut watch = catalog.watch(web());
            tokio::spawn(async move { watch.changed().await })
        })
        .collect();
    tokio::task::yield_now().await;
    publish(&catalog, &[web()]);
    for waiter in waiting {
        tokio::time::timeout(DEADLINE, waiter).await.expect("woken").expect("no panic");
    }
    assert_eq!(catalog.watchers.topics(), 0);
}

/// Readers on other threads follow every service to its last version, however reads and writes fall.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_reach_the_last_version() {
    const ROUNDS: u64 = 2000;
    let catalog = Arc::new(Catalog::default());
    let readers: Vec<_> = (0..16)
        .map(|reader| {
            let (catalog, name) = (catalog.clone(), format!("s{}", reader % 4));
            tokio::spawn(async move {
                let mut reads = 0_u64;
                loop {
                    let mut watch = catalog.watch(Topic::Service(name.as_str().into()));
                    reads += 1;
                    if catalog.state().service(&name).index > ROUNDS - 4 {
                        return reads;
                    }
                    watch.changed().await;
                }
            })
        })
        .collect();
    let writer = tokio::task::spawn_blocking({
        let catalog = catalog.clone();
        move || {
            let mut log = Log::default();
            for round in 0..ROUNDS {
                let name = format!("s{}", round % 4);
                let changes = log.register(node("n1", "10.0.0.1").service(&name, &name, &[&format!("{round}")]));
                catalog.publish(log.state.clone(), changes);
            }
        }
    });
    writer.await.expect("no panic");
    for reader in readers {
        let reads = tokio::time::timeout(DEADLINE, reader).await.expect("reached").expect("no panic");
        assert!(reads <= ROUNDS / 4 + 1, "a reader wakes at most once a change of its service");
    }
    assert_eq!(catalog.watchers.topics(), 0);
}
