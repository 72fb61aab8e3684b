use std::collections::HashMap;

use super::*;
use crate::tables::{PeerId, VifId};

const RED: VrfId = VrfId(1);
const HERE: Ingress = Ingress::vif(VifId(3));
const THERE: Ingress = Ingress::peer(PeerId(7));

fn mac(number: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | number)
}

fn table() -> Learned {
    let table = Learned::default();
    table.prepare();
    table
}

#[test]
fn before_anybody_learns_there_is_nothing_and_no_memory() {
    let table = Learned::default();
    assert_eq!(table.lookup(RED, mac(1)), None);
    assert_eq!(table.learn(RED, mac(1), HERE, 9, Ticks(0)), Lesson::Full);
    assert_eq!(table.buckets(), 0);
}

#[test]
fn a_mac_is_known_in_its_own_vrf_only() {
    let table = table();
    assert_eq!(table.learn(RED, mac(1), HERE, 9, Ticks(0)), Lesson::New);
    assert_eq!(table.learn(RED, mac(1), HERE, 9, Ticks(5)), Lesson::Known);
    assert_eq!(table.lookup(RED, mac(1)), Some(HERE));
    assert_eq!(table.lookup(VrfId(2), mac(1)), None);
    assert_eq!(table.lookup(RED, mac(2)), None);
}

#[test]
fn a_place_takes_as_many_as_its_limit_and_one_more_when_one_is_gone() {
    let table = table();
    for number in 0..3 {
        table.learn(RED, mac(number), HERE, 3, Ticks(0));
    }
    assert_eq!(table.learn(RED, mac(3), HERE, 3, Ticks(0)), Lesson::Full);
    // The limit of one place is none of another's business.
    assert_eq!(table.learn(RED, mac(3), THERE, 3, Ticks(0)), Lesson::New);
    // A move makes room where it came from.
    assert_eq!(table.learn(RED, mac(0), THERE, 3, Ticks(0)), Lesson::Moved);
    assert_eq!(table.learn(RED, mac(4), HERE, 3, Ticks(0)), Lesson::New);
    table.forget(|_, place| place == HERE);
    for number in 10..13 {
        assert_eq!(
            table.learn(RED, mac(number), HERE, 3, Ticks(0)),
            Lesson::New
        );
    }
}

#[test]
fn what_is_silent_for_five_minutes_is_forgotten() {
    let table = table();
    table.learn(RED, mac(1), HERE, 9, Ticks(0));
    table.learn(RED, mac(2), HERE, 9, Ticks(0));
    let sweep = |now| (0..table.buckets()).for_each(|at| table.sweep(at, now, |_, _| true));
    table.learn(RED, mac(2), HERE, 9, Ticks(200_000));
    sweep(Ticks(AGE_MS - 1));
    assert_eq!(table.entries(Ticks(AGE_MS)).len(), 2);
    sweep(Ticks(AGE_MS));
    assert_eq!(table.lookup(RED, mac(1)), None);
    assert_eq!(table.lookup(RED, mac(2)), Some(HERE));
    (0..table.buckets()).for_each(|at| table.sweep(at, Ticks(AGE_MS), |vrf, _| vrf != RED));
    assert_eq!(table.entries(Ticks(AGE_MS)), []);
}

#[test]
fn a_mac_that_moves_too_often_stays_where_it_is_until_the_time_is_over() {
    let table = table();
    table.learn(RED, mac(1), HERE, 9, Ticks(1_000));
    let places = [THERE, HERE];
    for count in 0..MAX_MOVES as usize {
        let moved = table.learn(RED, mac(1), places[count % 2], 9, Ticks(1_000));
        assert_eq!(moved, Lesson::Moved);
    }
    assert_eq!(table.lookup(RED, mac(1)), Some(THERE));
    let before = Ticks(1_000 + MOVES_MS - 1_000);
    assert_eq!(table.learn(RED, mac(1), HERE, 9, before), Lesson::Moving);
    assert_eq!(table.lookup(RED, mac(1)), Some(THERE));
    let after = Ticks(1_000 + MOVES_MS);
    assert_eq!(table.learn(RED, mac(1), HERE, 9, after), Lesson::Moved);
}

#[test]
fn it_does_what_a_map_does() {
    let table = table();
    let mut model: HashMap<(u32, u64), Ingress> = HashMap::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let vrf = 1 + (random % 3) as u32;
        let number = random >> 8 & 0xff;
        let place = Ingress::vif(VifId((random >> 20 & 3) as u32));
        let lesson = table.learn(VrfId(vrf), mac(number), place, u32::MAX, Ticks(0));
        match (lesson, model.get(&(vrf, number))) {
            (Lesson::New, None) => _ = model.insert((vrf, number), place),
            (Lesson::Known, Some(at)) => assert_eq!(*at, place),
            (Lesson::Moved, Some(at)) if *at != place => _ = model.insert((vrf, number), place),
            (Lesson::Moving, Some(at)) if *at != place => {}
            other => panic!("{other:?}"),
        }
    }
    for ((vrf, number), place) in &model {
        assert_eq!(table.lookup(VrfId(*vrf), mac(*number)), Some(*place));
    }
    assert_eq!(table.entries(Ticks(0)).len(), model.len());
}

/// Places are a function of the key here, so a reader that took one entry's place
/// for another's would see it.
#[test]
fn no_reader_sees_the_place_of_another_mac_while_everything_changes() {
    let table = Learned::default();
    table.prepare();
    // Few enough buckets' worth of keys that entries are reused all the time.
    let place = |number: u64| Ingress::vif(VifId(number as u32 % 64));
    let keys: Vec<u64> = (0..200_000)
        .filter(|number| {
            std::ptr::eq(
                table.bucket(key(RED, mac(*number))).unwrap(),
                &table.buckets.get().unwrap()[0],
            )
        })
        .collect();
    assert!(keys.len() > 12);
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (table, keys) = (&table, &keys);
            scope.spawn(move || {
                for round in 0..20_000 {
                    let number = keys[(round * 7 + worker) % keys.len()];
                    if worker == 0 {
                        table.sweep(0, Ticks(round as u32), |_, _| round % 3 != 0);
                    } else {
                        table.learn(RED, mac(number), place(number), u32::MAX, Ticks(0));
                    }
                    let seen = table.lookup(RED, mac(number));
                    assert!(seen.is_none_or(|seen| seen == place(number)));
                }
            });
        }
    });
    table.forget(|_, _| true);
    let counts = table.counts.get().unwrap().iter();
    assert!(
        counts
            .map(|count| count.load(Ordering::Relaxed))
            .all(|count| count == 0)
    );
}
