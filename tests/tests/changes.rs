//! Changes while traffic flows: whoever is not meant by them notices nothing.
#![cfg(feature = "dpdk")]

use std::time::Duration;

use tests::machine::Family;
use tests::topology::{Forwarding, objects, two_nodes, vrouter_node, with_vif2};
use tests::traffic::{self, Arrived, Numbered};
use tests::{Lab, Machine, conversation, until};

/// About ten seconds of background.
const BACKGROUND: Numbered = Numbered {
    packets: 50_000,
    rate: 5_000,
    len: 100,
};

#[test]
fn vifs_come_and_go_and_nobody_else_notices() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let guest = Machine::plug(&lab, "guest", 6, (&one, "vif2"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    let (left, right) = (vrouter_node(&one, 0), vrouter_node(&two, 1));
    let network = objects(1, &web, 2, &db, Forwarding::Routed);
    left.apply(&network);
    right.apply(&objects(2, &db, 1, &web, Forwarding::Routed));
    conversation::meet(&web, &db);
    guest.know_the_router(&[&web]);
    web.know_the_router(&[&guest]);

    let with_guest = with_vif2(&network, &guest);
    std::thread::scope(|scope| {
        let background = scope.spawn(|| traffic::udp(&web, &db, Family::Ipv4, BACKGROUND));
        let mut rounds = 0;
        while !background.is_finished() {
            left.apply(&with_guest);
            until(Duration::from_secs(5), "the new vif to forward", || {
                guest.pings(web.ipv4.into()).then_some(())
            });
            let said = left.vrctl(&["delete", "vif", "vif2"]);
            assert_eq!(said.status, Some(0), "{said}");
            assert!(
                !guest.pings(web.ipv4.into()),
                "a deleted vif still forwards"
            );
            rounds += 1;
        }
        let arrived = background.join().expect("the background traffic flows");
        let all = Arrived {
            packets: BACKGROUND.packets,
            strange: 0,
        };
        assert_eq!(arrived, all, "after {rounds} rounds");
        println!("{rounds} rounds, {} packets, none lost", arrived.packets);
        assert!(rounds >= 3, "only {rounds} rounds");
    });
}
