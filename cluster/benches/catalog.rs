//! What a change of the catalog and the questions to it cost: `cargo bench -p usher-cluster --bench catalog`.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that fails may panic")]

use std::{net::Ipv4Addr, sync::Arc};

use divan::{Bencher, black_box, counter::ItemsCount};
use usher_cluster::catalog::{
    Catalog, Changes, State, Topic,
    command::{Command, Registration},
    model::{Check, Service, Status},
};

fn main() {
    divan::main();
}

/// How many services share a node in most of what follows.
const PER_NODE: u32 = 10;

/// One instance with a check of its own, on a node with one of its own and `per_node` instances.
fn on_node(per_node: u32, service: u32, instance: u32, output: u32) -> Command {
    let node = format!("node-{}-{instance}", service / per_node);
    let check = |id: &str, service_id: &str, output: String| Check {
        id: id.into(),
        name: "check".into(),
        status: Status::Passing,
        service_id: service_id.into(),
        output,
        ..Check::default()
    };
    let id = format!("service-{service}-{instance}");
    Command::Register(Registration {
        address: Ipv4Addr::from(0x0a00_0000 + instance).to_string(),
        datacenter: "dc1".into(),
        service: Some(Service {
            id: id.clone(),
            name: format!("service-{service}"),
            tags: vec!["v1".into(), "primary".into()],
            address: Ipv4Addr::from(0x0b00_0000 + service * 0x400 + instance).to_string(),
            port: 8080,
            ..Service::default()
        }),
        checks: vec![
            check("serfHealth", "", "alive".into()),
            check(&format!("service:{id}"), &id, format!("output {output}")),
        ],
        node,
        ..Registration::default()
    })
}

fn registration(service: u32, instance: u32, output: u32) -> Command {
    on_node(PER_NODE, service, instance, output)
}

fn filled(per_node: u32, services: u32, instances: u32) -> State {
    let (mut state, mut index, mut changes) = (State::default(), 0, Changes::default());
    for instance in 0..instances {
        for service in 0..services {
            index += 1;
            state.apply(index, on_node(per_node, service, instance, 0), &mut changes).expect("applied");
        }
    }
    state
}

/// A check's output changes; the new version is published, the old one dropped.
fn update(bencher: Bencher<'_, '_>, per_node: u32, services: u32, instances: u32) {
    let catalog = Catalog::default();
    let mut state = filled(per_node, services, instances);
    catalog.publish(state.clone(), Changes::default());
    let mut round = 0;
    bencher
        .with_inputs(|| {
            round += 1;
            let spread = round * 7919;
            (u64::from(round) + 10_000_000, on_node(per_node, spread % services, spread % instances, round))
        })
        .bench_local_values(|(index, command)| {
            let mut changes = Changes::default();
            state.apply(index, command, &mut changes).expect("applied");
            catalog.publish(state.clone(), changes);
        });
}

/// 1,000 services of 100 instances, ten on a node.
#[divan::bench]
fn update_1000_services_of_100(bencher: Bencher<'_, '_>) {
    update(bencher, PER_NODE, 1000, 100);
}

/// The same on 100 nodes, each of which carries a thousand.
#[divan::bench]
fn update_nodes_of_1000(bencher: Bencher<'_, '_>) {
    update(bencher, 1000, 1000, 100);
}

/// One service of 10,000 instances on 10,000 nodes.
#[divan::bench]
fn update_1_service_of_10000(bencher: Bencher<'_, '_>) {
    update(bencher, PER_NODE, 1, 10_000);
}

/// A registration that says what is known already.
#[divan::bench]
fn repeat_1000_services_of_100(bencher: Bencher<'_, '_>) {
    let mut state = filled(PER_NODE, 1000, 100);
    let mut round = 0_u32;
    bencher
        .with_inputs(|| {
            round += 1;
            registration(round * 7919 % 1000, round * 7919 % 100, 0)
        })
        .bench_local_values(|command| {
            let mut changes = Changes::default();
            state.apply(10_000_000, command, &mut changes).expect("applied");
            assert!(changes.is_empty());
        });
}

/// 128 updates of a service of 10,000 instances, published once.
#[divan::bench]
fn batch_of_128_in_1_service_of_10000(bencher: Bencher<'_, '_>) {
    let catalog = Catalog::default();
    let mut state = filled(PER_NODE, 1, 10_000);
    catalog.publish(state.clone(), Changes::default());
    let mut round = 0;
    bencher
        .counter(ItemsCount::new(128_u32))
        .with_inputs(|| {
            round += 1;
            (0..128).map(|place| registration(0, (round * 128 + place) % 10_000, round)).collect::<Vec<_>>()
        })
        .bench_local_values(|commands| {
            let mut changes = Changes::default();
            for command in commands {
                state.apply(10_000_000, command, &mut changes).expect("applied");
            }
            catalog.publish(state.clone(), changes);
        });
}

/// The service a DNS question asks for, found.
#[divan::bench]
fn lookup_in_1000_services(bencher: Bencher<'_, '_>) {
    let state = filled(PER_NODE, 1000, 1);
    let mut round = 0_u32;
    let names: Vec<_> = (0..1000).map(|service| format!("service-{service}")).collect();
    bencher.bench_local(|| {
        round = (round + 1) % 1000;
        black_box(state.service_entry(&names[round as usize]));
    });
}

/// A change of a service that 10,000 watch, until they are told.
#[divan::bench]
fn wake_10000(bencher: Bencher<'_, '_>) {
    let catalog = Arc::new(Catalog::default());
    let mut state = filled(PER_NODE, 1, 1);
    let _watches: Vec<_> = (0..10_000).map(|_| catalog.watch(Topic::Service("service-0".into()))).collect();
    let mut round = 0;
    bencher.bench_local(|| {
        round += 1;
        let mut changes = Changes::default();
        state.apply(u64::from(round) + 10, registration(0, 0, round), &mut changes).expect("applied");
        catalog.publish(state.clone(), changes);
    });
}

/// A snapshot of 100,000 instances as records, and back.
#[divan::bench(sample_count = 10)]
fn restore_100000_instances(bencher: Bencher<'_, '_>) {
    let state = filled(PER_NODE, 1000, 100);
    bencher.bench_local(|| State::restore(state.records()).expect("its own records"));
}
