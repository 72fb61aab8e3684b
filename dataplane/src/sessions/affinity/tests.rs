//! Against a map that forgets nothing, and with many threads at once.

use super::*;
use std::collections::HashMap;

const TIMEOUT_MS: u32 = 10_000;

fn ready() -> Affinity {
    let affinity = Affinity::default();
    affinity.prepare();
    affinity
}

fn client(n: u32) -> IpAddr {
    match n % 2 {
        0 => Ipv4Addr::from_bits(0x0a00_0000 + n).into(),
        _ => Ipv6Addr::from_bits(0xfd01 << 112 | u128::from(n)).into(),
    }
}

/// Another one for each client, and each time.
fn backend(client: u32, time: u32) -> End {
    let addr = match client % 2 {
        0 => Ipv4Addr::from_bits(0x1400_0000 + client).into(),
        _ => Ipv6Addr::from_bits(0xfd02 << 112 | u128::from(client)).into(),
    };
    let port = time as u16;
    End { addr, port }
}

#[test]
fn it_is_a_map_that_forgets_by_time() {
    let affinity = ready();
    let mut model: HashMap<Asked, (End, u64)> = HashMap::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 32) as u32
    };
    // Close to where the clock turns around.
    let mut now = u64::from(u32::MAX) - 500_000;
    let mut found = 0;
    for _ in 0..200_000 {
        now += u64::from(next() % 20);
        let number = next() % 2_000;
        let asked = Asked {
            service: ServiceId(next() % 3),
            client: client(number),
        };
        let ticks = Ticks(now as u32);
        let expected = model.get(&asked).filter(|(_, until)| *until > now);
        let got = affinity.lookup(asked.service, asked.client, ticks);
        assert_eq!(got, expected.map(|(end, _)| *end), "{asked:?} at {now}");
        found += usize::from(got.is_some());
        if next() % 4 == 0 {
            let timeout = 1 + next() % (2 * TIMEOUT_MS);
            let end = backend(number, next());
            affinity.keep(asked.service, asked.client, end, timeout, ticks);
            model.insert(asked, (end, now + u64::from(timeout)));
        }
    }
    assert!((5_000..190_000).contains(&found), "{found} found");
    let left = model.values().filter(|(_, until)| *until > now).count();
    assert_eq!(affinity.len(Ticks(now as u32)), left);
}

#[test]
fn without_memory_nothing_is_kept() {
    let affinity = Affinity::default();
    affinity.keep(ServiceId(0), client(1), backend(1, 1), 1_000, Ticks(0));
    assert_eq!(affinity.lookup(ServiceId(0), client(1), Ticks(0)), None);
    assert!(affinity.is_empty(Ticks(0)));
}

#[test]
fn a_flood_of_clients_is_bounded_and_pushes_out_who_would_go_first() {
    let affinity = ready();
    for n in 0..200_000 {
        let number = 2 * n;
        affinity.keep(
            ServiceId(0),
            client(number),
            backend(number, 1),
            TIMEOUT_MS,
            Ticks(n / 100),
        );
    }
    let now = Ticks(2_000);
    assert_eq!(affinity.len(now), BUCKETS * WAYS);
    let has = |n: &u32| affinity.lookup(ServiceId(0), client(2 * n), now).is_some();
    assert_eq!((199_000..200_000).filter(has).count(), 1_000);
    assert!((0..10_000).filter(has).count() < 100);
}

#[test]
fn what_is_read_is_always_what_somebody_wrote_for_that_client() {
    let affinity = Affinity::default();
    affinity.prepare();
    // One bucket's worth of clients, so that all threads are in each other's way.
    let all = (0..).filter(|n| {
        let asked = Asked {
            service: ServiceId(0),
            client: client(*n),
        };
        std::ptr::eq(
            affinity.bucket(asked).unwrap(),
            &affinity.buckets.get().unwrap()[7],
        )
    });
    let clients: Vec<u32> = all.take(12).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (affinity, clients) = (&affinity, &clients);
            scope.spawn(move || {
                for round in 0..20_000_u32 {
                    let number = clients[(round.wrapping_mul(7) + thread) as usize % clients.len()];
                    let (service, addr) = (ServiceId(0), client(number));
                    if (round + thread) % 3 == 0 {
                        let end = backend(number, round);
                        affinity.keep(service, addr, end, TIMEOUT_MS, Ticks(round));
                    } else if let Some(end) = affinity.lookup(service, addr, Ticks(round)) {
                        assert_eq!(end.addr, backend(number, 0).addr);
                    }
                }
            });
        }
    });
}
