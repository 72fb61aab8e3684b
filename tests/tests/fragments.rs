//! Datagrams of 8000 bytes through policy and tunnel: six fragments each, in
//! both families, and none of them lost.
#![cfg(feature = "dpdk")]

use serde_json::Value;
use tests::machine::Family;
use tests::topology::{Forwarding, objects, two_nodes, vrouter_node};
use tests::traffic::{self, Arrived, Numbered};
use tests::{Lab, Machine, Process, Scratch, Vrouter, until};

const DATAGRAM: usize = 8000;

/// Machines say more than we ask them to: see the scenarios of the overlay.
const NOISE: &[&str] = &["multicast"];

/// Two machines, each behind a node of ours.
struct Overlay {
    web: Machine,
    db: Machine,
    left: Vrouter,
    right: Vrouter,
}

fn overlay(lab: &Lab) -> Overlay {
    let (one, two) = two_nodes(lab);
    let web = Machine::plug(lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(lab, "db", 9, (&two, "vif1"));
    let (left, right) = (vrouter_node(&one, 0), vrouter_node(&two, 1));
    // An af_packet port of DPDK 22.11 has the kernel put IPv4 fragments together
    // before it sees them; af_xdp takes frames as they are.
    let as_they_are = |objects: String| {
        objects.replace(
            "net_af_packet1,iface=vif1,framecnt=4096",
            "net_af_xdp1,iface=vif1",
        )
    };
    left.apply(&as_they_are(objects(1, &web, 2, &db, Forwarding::Routed)));
    right.apply(&as_they_are(objects(2, &db, 1, &web, Forwarding::Routed)));
    web.know_the_router(&[&db]);
    db.know_the_router(&[&web]);
    for family in Family::BOTH {
        until(
            std::time::Duration::from_secs(10),
            "the tunnel's neighbours to be known",
            || web.pings(db.address(family)).then_some(()),
        );
    }
    Overlay {
        web,
        db,
        left,
        right,
    }
}

impl Overlay {
    /// Nothing was dropped, nothing is kept, every packet is accounted for.
    fn check(&self) {
        for node in [&self.left, &self.right] {
            node.assert_only_drops(NOISE);
            node.assert_balanced();
            let fragments = &node.stats()["workers"][0]["fragments"];
            for used in ["datagrams", "held_packets"] {
                assert_eq!(fragments[used].as_u64().unwrap_or(0), 0, "{fragments}");
            }
        }
    }
}

#[test]
fn large_datagrams_arrive_whole_and_none_is_lost() {
    let Some(lab) = Lab::enter() else { return };
    let overlay = overlay(&lab);
    for family in Family::BOTH {
        let what = Numbered {
            packets: 10_000,
            rate: 2_000,
            len: DATAGRAM,
        };
        let arrived = traffic::udp(&overlay.web, &overlay.db, family, what);
        let all = Arrived {
            packets: what.packets,
            strange: 0,
        };
        assert_eq!(arrived, all, "{family:?}");
    }
    overlay.check();
}

#[test]
fn iperf_loses_nothing_at_a_rate_the_machine_holds() {
    let Some(lab) = Lab::enter() else { return };
    let overlay = overlay(&lab);
    for family in Family::BOTH {
        // What a receiver loses that is not scheduled in time is not ours; at
        // some rate there is time enough.
        let rates = [100, 50, 25];
        let held = rates.into_iter().find(|rate| {
            let sum = iperf(&overlay, family, *rate);
            println!("{family:?} {rate} Mbit/s: {sum}");
            let packets = sum["packets"].as_u64().unwrap_or(0);
            assert!(packets > 1_000, "iperf3 sent too little: {sum}");
            sum["lost_packets"] == 0
        });
        assert!(
            held.is_some(),
            "{family:?}: iperf3 lost packets at any rate"
        );
    }
    for node in [&overlay.left, &overlay.right] {
        // At a rate that is too high a port may have lost a first fragment.
        node.assert_only_drops(&[NOISE, &["fragment_timeout"]].concat());
        node.assert_balanced();
    }
}

/// Three seconds of UDP at so many Mbit/s; what iperf3 says of it in the end.
fn iperf(overlay: &Overlay, family: Family, rate: u32) -> Value {
    let scratch = Scratch::new("iperf");
    let mut server = overlay.db.namespace.command("iperf3");
    server.args(["--server", "--one-off", "--forceflush"]);
    let server = Process::start(&server, &scratch.join("server"));
    until(
        std::time::Duration::from_secs(5),
        "iperf3 to listen",
        || server.log().contains("listening").then_some(()),
    );
    let mut client = overlay.web.namespace.command("iperf3");
    client.args(["--udp", "--json", "--time", "3", "--client"]);
    client.arg(overlay.db.address(family).to_string());
    client.args(["--length", &DATAGRAM.to_string()]);
    client.args(["--bitrate", &format!("{rate}M")]);
    let said = tests::run(&mut client);
    let report: Value = serde_json::from_str(&said).expect("iperf3 says JSON");
    report["end"]["sum"].clone()
}
