//! Many members in the virtual world: what must come about, whatever the network does. A failure names its seed.

use std::time::Duration;

use super::world::{World, address, name};
use crate::{
    gossip::{
        Pool,
        exchange::{Everything, Reply},
        identity::Identity,
        record::RECORD_MAX_BYTES,
        table::Remembrance,
    },
    membership::MemberStatus,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a story under several seeds and says which one failed.
fn tell(seeds: u64, story: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in 0..seeds {
        if let Err(panic) = std::panic::catch_unwind(|| story(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_dead_process_is_failed_everywhere_within_five_seconds() {
    tell(20, |seed| {
        let mut world = World::of(seed, 10);
        world.run_for(3 * SECOND);
        world.kill(4);
        world.within(5 * SECOND, "failed", |world| world.all_see("n4", Some(MemberStatus::Failed)));
        assert_eq!(world.false_alarms(Duration::ZERO), 0);
    });
}

#[test]
fn a_dead_host_is_failed_everywhere() {
    tell(10, |seed| {
        let mut world = World::of(seed, 10);
        world.unplug(4);
        world.within(8 * SECOND, "failed", |world| world.all_see("n4", Some(MemberStatus::Failed)));
    });
}

#[test]
fn nobody_is_failed_wrongly_although_packets_are_lost() {
    for loss in [0.1, 0.25] {
        tell(5, |seed| {
            let mut world = World::of(seed, 10);
            world.loss = loss;
            world.run_for(60 * SECOND);
            assert_eq!(world.false_alarms(Duration::ZERO), 0);
        });
    }
}

#[test]
fn everybody_meets_although_packets_are_lost() {
    tell(5, |seed| {
        let mut world = World::new(seed);
        world.loss = 0.25;
        for number in 0..12 {
            world.start(number, &name(number));
        }
        // In a chain, so that nobody but the first is known to all.
        for number in 1..12 {
            // A connection may fail, too: agents try again.
            while world.members(number).len() == 1 {
                world.join(number, number - 1);
                world.run_for(2 * SECOND);
            }
        }
        world.within(60 * SECOND, "everybody knows everybody", World::all_see_alive);
    });
}

#[test]
fn who_leaves_has_left_and_never_failed() {
    tell(10, |seed| {
        let mut world = World::of(seed, 10);
        world.leave(3);
        world.within(2 * SECOND, "left", |world| world.all_see("n3", Some(MemberStatus::Left)));
        world.kill(3);
        world.run_for(60 * SECOND);
        assert!(world.all_see("n3", Some(MemberStatus::Left)));
        let failed = world.seen.iter().find(|(_, _, of, status)| of == "n3" && *status == MemberStatus::Failed);
        assert_eq!(failed, None);
        // It may come back.
        world.start(3, "n3");
        world.join(3, 0);
        world.within(5 * SECOND, "back", World::all_see_alive);
    });
}

#[test]
fn a_host_alone_leaves_at_once() {
    let mut world = World::of(1, 1);
    assert_eq!(world.status(0, "n0"), Some(MemberStatus::Alive));
    world.leave(0);
    assert_eq!(world.status(0, "n0"), Some(MemberStatus::Left));
    assert_eq!(world.elapsed(), Duration::from_millis(50));
}

#[test]
fn who_starts_again_wins_over_its_old_self() {
    tell(10, |seed| {
        let mut world = World::of(seed, 10);
        // Before anybody noticed, while it is suspected, and after it failed.
        for pause in [50, 1200, 10_000] {
            world.kill(5);
            world.run_for(Duration::from_millis(pause));
            let life = format!("after {pause}");
            let tags = [("life".to_owned(), life.clone())].into();
            world.start_with(5, "n5", |it| it.tags = tags);
            world.join(5, 0);
            let is_shown = |world: &World| {
                (0..10).all(|at| {
                    let member = world.members(at).iter().find(|it| it.name == "n5").unwrap();
                    member.status == MemberStatus::Alive && member.tags.get("life") == Some(&life)
                })
            };
            world.within(3 * SECOND, "the new life is shown", is_shown);
            let since = world.elapsed();
            world.run_for(20 * SECOND);
            assert_eq!(world.false_alarms(since), 0, "{pause}");
        }
    });
}

#[test]
fn who_starts_again_at_another_address_wins_over_its_old_self() {
    tell(10, |seed| {
        let mut world = World::of(seed, 10);
        for (pause, from, to) in [(50, 5, 20), (10_000, 20, 21)] {
            world.kill(from);
            world.run_for(Duration::from_millis(pause));
            world.start(to, "n5");
            world.join_now(to, 0).unwrap();
            let is_there = |world: &World| {
                (0..5).all(|at| {
                    let mut named = world.members(at).iter().filter(|it| it.name == "n5");
                    let member = named.next();
                    named.next().is_none()
                        && member.is_some_and(|it| it.address == address(to).ip() && it.status == MemberStatus::Alive)
                })
            };
            world.within(3 * SECOND, "the new address is shown", is_there);
        }
        // Nor does the old one come back when the new one is forgotten.
        world.kill(21);
        world.until("failed", |world| world.all_see("n5", Some(MemberStatus::Failed)));
        world.at(0, |core, now| core.force_leave(now, "n5", true)).unwrap();
        world.within(5 * SECOND, "forgotten", |world| world.all_see("n5", None));
    });
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_host_out() {
    let mut world = World::of(1, 5);
    world.kill(2);
    world.start_with(2, "n2", |it| (it.started, it.tags) = (5, [("life".to_owned(), "2".to_owned())].into()));
    world.join(2, 0);
    world.within(5 * SECOND, "alive", |world| {
        (0..5).all(|at| {
            let member = world.members(at).iter().find(|it| it.name == "n2").unwrap();
            member.status == MemberStatus::Alive && member.tags.contains_key("life")
        })
    });
}

#[test]
fn a_parted_pool_comes_together_by_itself() {
    for hosts in [2, 3, 10] {
        tell(5, |seed| {
            let mut world = World::of(seed, hosts);
            let (one, other): (Vec<usize>, Vec<usize>) = (0..hosts).partition(|number| number % 2 == 0);
            world.part(&[&one, &other]);
            world.until("each side has failed for the other", |world| {
                one.iter().all(|at| other.iter().all(|of| world.status(*at, &name(*of)) == Some(MemberStatus::Failed)))
                    && other
                        .iter()
                        .all(|at| one.iter().all(|of| world.status(*at, &name(*of)) == Some(MemberStatus::Failed)))
            });
            world.run_for(120 * SECOND);
            world.part(&[]);
            world.within(15 * SECOND, "together again", World::all_see_alive);
            world.run_for(60 * SECOND);
            assert!(world.all_see_alive());
        });
    }
}

#[test]
fn a_host_cut_off_in_one_direction_from_one_other_is_not_failed() {
    tell(5, |seed| {
        let mut world = World::of(seed, 6);
        world.cut(1, 2);
        world.run_for(60 * SECOND);
        assert_eq!(world.false_alarms(Duration::ZERO), 0);
    });
}

#[test]
fn a_host_that_stalls_accuses_nobody_and_comes_back() {
    tell(10, |seed| {
        let mut world = World::of(seed, 10);
        for (stall, deaf) in [(1, false), (3, true), (20, false), (20, true)] {
            let since = world.elapsed();
            world.stall(7, stall * SECOND, deaf);
            // What it missed does not make it suspect anybody.
            for _ in 0..40 {
                world.run_for(stall * SECOND / 20);
                assert_eq!(world.at(7, |core, _| core.condition().1), 0, "stalled for {stall} s");
            }
            world.run_for(15 * SECOND);
            let accused = world.seen.iter().find(|(at, _, of, status)| {
                *at >= since && of != "n7" && matches!(status, MemberStatus::Failed | MemberStatus::Left)
            });
            assert_eq!(accused, None, "stalled for {stall} s");
            assert!(world.all_see_alive(), "stalled for {stall} s");
        }
    });
}

#[test]
fn a_slow_host_accuses_nobody() {
    tell(5, |seed| {
        let mut world = World::of(seed, 10);
        let since = world.elapsed();
        // Of every second it is away for seven tenths.
        for _ in 0..60 {
            world.stall(7, Duration::from_millis(700), false);
            world.run_for(SECOND);
        }
        assert_eq!(world.false_alarms(since), 0);
    });
}

#[test]
fn a_failed_host_can_be_made_to_have_left_or_be_forgotten() {
    tell(5, |seed| {
        let mut world = World::of(seed, 10);
        world.kill(3);
        world.kill(4);
        world.until("failed", |world| {
            world.all_see("n3", Some(MemberStatus::Failed)) && world.all_see("n4", Some(MemberStatus::Failed))
        });
        world.at(0, |core, now| core.force_leave(now, "n3", false)).unwrap();
        world.at(1, |core, now| core.force_leave(now, "n4", true)).unwrap();
        world.within(5 * SECOND, "left and forgotten", |world| {
            world.all_see("n3", Some(MemberStatus::Left)) && world.all_see("n4", None)
        });
        world.run_for(300 * SECOND);
        assert!(world.all_see("n3", Some(MemberStatus::Left)) && world.all_see("n4", None), "it stays so");
        // Both may come back.
        for number in [3, 4] {
            world.start(number, &name(number));
            world.join(number, 0);
        }
        world.within(5 * SECOND, "back", World::all_see_alive);
        assert!(world.at(0, |core, now| core.force_leave(now, "nosuch", false)).is_err());
    });
}

#[test]
fn a_living_host_refutes_that_it_has_left() {
    tell(5, |seed| {
        let mut world = World::of(seed, 10);
        for prune in [false, true] {
            world.at(0, |core, now| core.force_leave(now, "n3", prune)).unwrap();
            world.run_for(5 * SECOND);
            assert!(world.all_see_alive());
        }
        assert_eq!(world.false_alarms(Duration::ZERO), 0);
        // Also after a partition during which it was said to have left.
        world.part(&[&[0, 1, 2, 4, 5, 6, 7, 8, 9], &[3]]);
        world.until("failed", |world| (4..10).all(|at| world.status(at, "n3") == Some(MemberStatus::Failed)));
        world.at(0, |core, now| core.force_leave(now, "n3", false)).unwrap();
        world.until("left", |world| (4..10).all(|at| world.status(at, "n3") == Some(MemberStatus::Left)));
        world.part(&[]);
        world.within(60 * SECOND, "back", World::all_see_alive);
    });
}

#[test]
fn tags_reach_everybody_although_packets_are_lost() {
    tell(5, |seed| {
        let mut world = World::of(seed, 10);
        world.loss = 0.25;
        for (value, size) in [("small", 10), ("large", RECORD_MAX_BYTES / 2)] {
            let mut tags: std::collections::BTreeMap<_, _> = [("key".to_owned(), value.to_owned())].into();
            tags.extend((0..size / 500).map(|n| (format!("filler{n}"), "x".repeat(480))));
            world.at(0, |core, now| core.set_tags(now, tags.clone()));
            let everybody = |world: &World| (0..10).all(|at| world.members(at)[0].tags == tags);
            // A large record goes by push/pull alone.
            let time = world.until("everybody has the tags", everybody);
            assert!(value == "large" || time < 5 * SECOND, "{time:?}");
        }
    });
}

#[test]
fn the_first_keeps_a_name_and_an_id_while_it_lives() {
    tell(5, |seed| {
        let mut world = World::of(seed, 5);
        world.start(10, "n3");
        let reason = world.join_now(10, 0).unwrap_err();
        assert_eq!(reason, format!("name 'n3' is taken: {} has it, {} wants it", address(3), address(10)));
        world.start_with(11, "n11", |it| it.id = "id of n3".to_owned());
        let reason = world.join_now(11, 4).unwrap_err();
        assert_eq!(reason, format!("id id of n3 is taken: {} has it, {} wants it", address(3), address(11)));
        // Two pools that meet: nobody asked whether it may join.
        world.start(12, "n12");
        world.join_now(11, 12).unwrap();
        world.join_now(12, 0).unwrap();
        world.run_for(30 * SECOND);
        for at in 0..5 {
            assert_eq!(world.status(at, "n11"), None, "seen at {at}");
            assert_eq!(world.status(at, "n12"), Some(MemberStatus::Alive), "seen at {at}");
            let named: Vec<_> = world.members(at).iter().filter(|it| it.name == "n3").collect();
            assert!(named.len() == 1 && named[0].address == address(3).ip());
        }
        world.kill(3);
        world.until("the second has it once the first is gone", |world| {
            world.status(0, "n11") == Some(MemberStatus::Alive)
        });
    });
}

#[test]
fn who_failed_is_forgotten_in_time_and_everywhere() {
    let mut world = World::new(1);
    world.remembrance = Remembrance { failed: 72 * HOUR / 72, left: HOUR / 2 };
    for number in 0..6 {
        world.start(number, &name(number));
    }
    (1..6).for_each(|number| world.join(number, 0));
    world.until("everybody knows everybody", World::all_see_alive);
    world.kill(5);
    world.leave(4);
    world.kill(4);
    world.until("failed", |world| world.all_see("n5", Some(MemberStatus::Failed)));
    world.run_for(HOUR / 2 - 60 * SECOND);
    // Who joins late is told, and forgets with the others.
    world.start(6, "n6");
    world.join(6, 0);
    world.run_for(5 * SECOND);
    assert_eq!(world.status(6, "n5"), Some(MemberStatus::Failed));
    assert_eq!(world.status(6, "n4"), Some(MemberStatus::Left));
    world.run_for(120 * SECOND);
    assert!(world.all_see("n4", None));
    assert!(world.all_see("n5", Some(MemberStatus::Failed)));
    world.run_for(HOUR / 2);
    assert!(world.all_see("n5", None));
    world.run_for(600 * SECOND);
    assert!(world.all_see("n5", None) && world.all_see("n4", None), "nobody brings them back");
}

#[test]
fn a_pool_whose_every_host_starts_again_comes_together() {
    tell(5, |seed| {
        let mut world = World::of(seed, 5);
        (0..5).for_each(|number| world.kill(number));
        for number in 0..5 {
            world.start(number, &name(number));
            world.run_for(SECOND);
        }
        (1..5).for_each(|number| world.join(number, 0));
        world.within(10 * SECOND, "together", World::all_see_alive);
    });
}

#[test]
fn members_that_are_made_up_are_forgotten() {
    let mut world = World::of(1, 3);
    let made_up = |number: u32| {
        let address = std::net::SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0b00_0000 + number), 8301));
        (foca::Member::alive(Identity::new(address, 1)), 0)
    };
    let state = Everything { members: (0..30_000).map(made_up).collect(), records: Vec::new() };
    world.at(0, |core, now| core.on_reply(now, address(1), Reply::Sync(state)));
    assert!(world.at(0, |core, _| core.heard_of()) < 10);
    assert!(world.all_see_alive());
    for number in 0..50 {
        let reply = Reply::Check { member: made_up(number).0, packets: Vec::new() };
        world.at(0, |core, now| core.on_reply(now, address(1), reply));
    }
    assert!(world.at(0, |core, _| core.heard_of()) > 50, "they may come to be known");
    world.run_for(600 * SECOND);
    assert!((0..3).all(|at| world.at(at, |core, _| core.heard_of()) < 10));
    assert!(world.all_see_alive());
}

#[test]
fn the_pool_between_datacenters_takes_its_time() {
    tell(3, |seed| {
        let mut world = World::new(seed);
        for number in 0..6 {
            world.start_with(number, &name(number), |it| it.pool = Pool::Wan);
        }
        (1..6).for_each(|number| world.join(number, 0));
        world.within(10 * SECOND, "everybody knows everybody", World::all_see_alive);
        world.loss = 0.1;
        world.run_for(300 * SECOND);
        assert_eq!(world.false_alarms(Duration::ZERO), 0);
        world.unplug(3);
        world.within(90 * SECOND, "failed", |world| world.all_see("n3", Some(MemberStatus::Failed)));
        world.leave(4);
        world.within(10 * SECOND, "left", |world| world.all_see("n4", Some(MemberStatus::Left)));
    });
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        let mut world = World::of(7, 10);
        world.loss = 0.25;
        world.kill(3);
        world.run_for(20 * SECOND);
        (world.seen, world.sent)
    };
    assert_eq!(story(), story());
}
