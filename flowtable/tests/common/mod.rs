//! What the tests share: tables, keys and recognisable actions.
#![allow(dead_code, reason = "each test file uses a part")]

use flowtable::{
    Action, Class, Config, FlowTable, Hit, Insert, Key, NewFlow, Rewrite, SetClass, Ticks,
    Translation, Verdict, Worker, Zone,
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Whose flows they are, unless the test says otherwise.
pub(crate) const VIF: u32 = 42;
pub(crate) const VRF: u32 = 3;

pub(crate) fn table(pairs: usize) -> FlowTable {
    seeded(pairs, [1, 2, 3, 4])
}

pub(crate) fn seeded(pairs: usize, seed: [u64; 4]) -> FlowTable {
    FlowTable::new(&Config {
        pairs,
        seed,
        ..Config::default()
    })
}

/// The `n`th forward key; no two are equal or each other's reverse.
pub(crate) fn ipv4(n: u32) -> Key {
    let src = Ipv4Addr::from_bits(0x0a00_0000 | n >> 12);
    let dst = Ipv4Addr::new(192, 0, 2, 1);
    let zone = Zone::new(n & 3).expect("24 bits");
    Key::ipv4(zone, 6, src, dst, (n & 0xfff) as u16, 443)
}

/// The same for IPv6.
pub(crate) fn ipv6(n: u32) -> Key {
    let src = Ipv6Addr::from_bits(0xfd << 120 | u128::from(n) << 64 | u128::from(n));
    let dst = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    Key::ipv6(Zone::default(), 17, src, dst, 1024, 53)
}

/// An action every field of which follows from `n` and `epoch`, so that a
/// mixture of two is recognised.
pub(crate) fn action(n: u32, epoch: u32) -> Action {
    let mix = n.wrapping_mul(0x9e37_79b9) ^ epoch.wrapping_mul(0x85eb_ca6b);
    let end = |salt: u32| {
        let bits = mix.rotate_left(salt);
        Translation::To(Ipv4Addr::from_bits(bits), bits as u16)
    };
    Action {
        verdict: Verdict::Drop(mix as u8),
        nexthop: mix,
        epoch,
        ingress: !mix,
        rewrite: Rewrite {
            src: end(5),
            dst: end(11),
        },
        // Not kept beside a reason.
        group_choice: 0,
        exit: (mix >> 16) as u16,
        flags: (mix >> 12) as u8 & 3,
    }
}

/// The same as the table returns it for an IPv6 key.
pub(crate) fn action_ipv6(n: u32, epoch: u32) -> Action {
    let rewrite = Rewrite {
        src: Translation::Partner,
        dst: Translation::Partner,
    };
    Action {
        rewrite,
        ..action(n, epoch)
    }
}

/// Actions `n` and `n + 1` of an epoch, for the two directions of a flow.
pub(crate) fn actions(n: u32, epoch: u32) -> [Action; 2] {
    [action(n, epoch), action(n + 1, epoch)]
}

/// A flow with nothing special about it, to change what the test is about.
pub(crate) fn new_flow<'a>(
    forward: &'a Key,
    reverse: &'a Key,
    [forward_action, reverse_action]: &'a [Action; 2],
) -> NewFlow<'a> {
    NewFlow {
        forward,
        forward_action,
        reverse,
        reverse_action,
        class: Class::Udp,
        vif: VIF,
        vrf: VRF,
        note: [0; 4],
        now: Ticks(0),
    }
}

/// Inserts `key` and its reverse with [`actions`] of epoch 0.
pub(crate) fn insert(table: &FlowTable, key: &Key, n: u32, class: Class, now: Ticks) -> Insert {
    insert_by(table.worker(0), key, n, class, now)
}

/// The same by a certain worker.
pub(crate) fn insert_by(worker: Worker<'_>, key: &Key, n: u32, class: Class, now: Ticks) -> Insert {
    let (reverse, actions) = (key.reversed(), actions(n, 0));
    worker.insert_pair(&NewFlow {
        class,
        note: [0; 4],
        now,
        ..new_flow(key, &reverse, &actions)
    })
}

/// Takes a flow to a class, whatever it is in; false if it is gone, or may not
/// be half open.
pub(crate) fn set_class(worker: Worker<'_>, hit: &Hit, class: Class) -> bool {
    let mut hit = *hit;
    loop {
        match worker.set_class(&hit, class) {
            SetClass::Set => return true,
            SetClass::Overtaken(now) => hit = now,
            SetClass::Refused | SetClass::Gone => return false,
        }
    }
}

/// Removes the flow of a hit.
pub(crate) fn remove(table: &FlowTable, hit: &Hit) -> bool {
    table.worker(0).remove(hit.id, hit.version())
}
