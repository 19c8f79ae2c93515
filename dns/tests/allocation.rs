//! In the steady state a question takes no memory. (Reverse names do: the catalog's search by address does.)

#![allow(clippy::unwrap_used, unsafe_code, reason = "for tests alone; an allocator that counts")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use common::{World, instance, query, service, tagged, weighted, with_meta};
use usher_cluster::catalog::command::Registration;
use usher_dns::{
    client::Client,
    policy::Policy,
    responder::{Outcome, Responder},
};

struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn questions_take_no_memory() {
    for policy in [Policy::of_consul(), Policy { cookie_secret: Some([7; 16]), ..Policy::default() }] {
        take_no_memory(Policy { alt_domain: "alt.test".into(), ..policy });
    }
}

fn take_no_memory(policy: Policy) {
    let mut world = World::new(policy);
    world.add("u0", "10.3.0.0", weighted(service("uneven", "10.3.0.1", 80), 1, 1));
    world.add("u1", "10.3.0.1", weighted(service("uneven", "10.3.0.2", 80), 9, 1));
    for at in 0..3_u8 {
        let node = with_meta(&format!("n{at}"), &format!("10.0.0.{at}"), &[("k", "v")]);
        world.register(Registration { service: Some(tagged(service("web", "", 80), &["v1"])), ..node });
        world.add(&format!("n{at}"), &format!("10.0.0.{at}"), instance("twice", "web", 80));
    }
    for at in 0..60_u8 {
        world.add(&format!("b{at}"), &format!("10.1.0.{at}"), service("big", &format!("10.2.0.{at}"), 80));
    }
    let packets: Vec<_> = [
        "web.service.consul A",
        "web.service.consul AAAA",
        "web.service.consul SRV",
        "WEB.service.alt.test SRV edns=1232 ecs=10.0.0.0/24",
        "_web._v1.service.consul SRV",
        "v1.web.service.consul ANY",
        "big.service.consul A",
        "big.service.consul SRV",
        "big.service.consul SRV edns=1232",
        "big.service.consul A edns=1232",
        "n1.node.consul A",
        "n1.node.consul TXT",
        "0a000001.addr.consul A",
        "nosuch.service.consul A",
        "nosuch.service.consul A edns=1232",
        "v9.web.service.consul A edns=1232",
        "nosuch.node.consul A edns=1232",
        "uneven.service.consul A",
        "uneven.service.consul SRV",
        "v1._and.web.service.consul A",
        "service.consul A edns=1232",
        "example.com A",
        "consul AXFR",
    ]
    .iter()
    .map(|question| (*question, query(question)))
    .collect();
    let mut responder = Responder::new(1);
    let mut reply = Vec::new();
    let mut ask = |packet: &[u8], transport| {
        assert_eq!(responder.respond(packet, &Client::by(transport), &world.view(), &mut reply), Outcome::Replied);
    };
    for _ in 0..50 {
        packets.iter().for_each(|(_, (packet, transport))| ask(packet, *transport));
    }
    for (question, (packet, transport)) in &packets {
        let before = TAKEN.get();
        (0..20).for_each(|_| ask(packet, *transport));
        assert_eq!(TAKEN.get() - before, 0, "{question}");
    }
}
