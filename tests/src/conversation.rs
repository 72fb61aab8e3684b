//! Everything two machines do with each other to show that the network between
//! them works: the same for every pair of nodes.

use std::time::Duration;

use crate::machine::{Family, Machine};
use crate::traffic::{self, Numbered};
use crate::wait::until;

/// Packets that must all arrive.
const PACKETS: u32 = 100_000;
/// Paces to try, in packets a second: the first is one that two cores hold with
/// both nodes, both machines and debug builds on them, the others are for when
/// the cores are busy with something else as well.
const RATES: [u32; 3] = [20_000, 10_000, 5_000];

/// Holds the whole conversation in both directions, IPv4 and IPv6; the bulk
/// transfers move `bulk` bytes each way.
///
/// # Panics
/// At the first thing that does not go as it should.
pub fn hold(left: &Machine, right: &Machine, bulk: usize) {
    meet(left, right);
    for (from, to) in [(left, right), (right, left)] {
        for family in Family::BOTH {
            echo(from, to, family);
            datagrams(from, to, family);
            stream(from, to, family, bulk);
            numbered(from, to, family);
        }
    }
}

/// Waits until the two reach each other in both families.
///
/// # Panics
/// If they do not within 10 s.
pub fn meet(left: &Machine, right: &Machine) {
    for (from, to) in [(left, right), (right, left)] {
        for family in Family::BOTH {
            let target = to.address(family);
            until(
                Duration::from_secs(10),
                &format!("{target} to answer"),
                || from.pings(target).then_some(()),
            );
        }
    }
}

/// Echo requests of one byte, of the usual size and as large as the interface
/// takes; every one must be answered.
///
/// # Panics
/// If one is not.
pub fn echo(from: &Machine, to: &Machine, family: Family) {
    let target = to.address(family);
    let largest = from.mtu - family.echo_headers();
    for len in [1, 56, largest] {
        let line = format!("ping -q -n -c 10 -i 0.02 -W 2 -M do -s {len} {target}");
        let ping = from.namespace.try_run(&line);
        assert!(ping.stdout.contains(" 0% packet loss"), "{ping}");
    }
}

/// UDP payloads of no byte, one byte and as many as the interface takes.
///
/// # Panics
/// If one does not arrive as it was sent.
pub fn datagrams(from: &Machine, to: &Machine, family: Family) {
    for len in [0, 1, from.mtu - family.echo_headers()] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let arrived = traffic::datagram(from, to, family, &payload);
        assert!(
            arrived.as_ref() == Some(&payload),
            "{len} bytes of UDP to {} did not arrive as sent",
            to.address(family)
        );
    }
}

/// A TCP transfer of `len` bytes.
///
/// # Panics
/// If they do not arrive as they were sent.
pub fn stream(from: &Machine, to: &Machine, family: Family, len: usize) {
    let transfer = traffic::tcp(from, to, family, len);
    assert_eq!(transfer.sent, transfer.received, "{family:?} TCP stream");
    println!(
        "{} MiB of TCP over {family:?} in {:.1} s, sha256 {}…",
        len >> 20,
        transfer.seconds,
        &transfer.sent[..12]
    );
}

/// Numbered UDP packets, none of which is lost at a pace that can be held.
fn numbered(from: &Machine, to: &Machine, family: Family) {
    let mut lost = Vec::new();
    for rate in RATES {
        let what = Numbered {
            packets: PACKETS,
            rate,
            len: 200,
        };
        let arrived = traffic::udp(from, to, family, what);
        assert_eq!(arrived.strange, 0, "repeated or foreign packets");
        if arrived.packets == PACKETS {
            println!("{PACKETS} UDP packets over {family:?} at {rate} a second, none lost");
            return;
        }
        lost.push((rate, PACKETS - arrived.packets));
    }
    panic!("UDP packets lost over {family:?}, by rate: {lost:?}");
}
