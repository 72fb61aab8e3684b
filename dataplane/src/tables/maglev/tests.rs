//! The properties that the paper claims, with numbers.

use super::*;
use crate::spread::of_name;
use crate::tables::spec::MAGLEV_TABLE_SIZE;

fn backends(weights: &[u16]) -> Vec<Candidate> {
    let numbered = weights.iter().enumerate();
    numbered
        .map(|(n, weight)| Candidate {
            index: n as u16,
            hash: of_name(&format!("10.1.0.{n}:80")),
            weight: NonZeroU16::new(*weight).unwrap(),
        })
        .collect()
}

fn owners(table: &Maglev, size: u32) -> Vec<u16> {
    let step = (1_u128 << 64).div_ceil(u128::from(size));
    let middle = |place: u32| (u128::from(place) * step + step / 2) as u64;
    (0..size)
        .map(|place| table.pick(middle(place)).unwrap())
        .collect()
}

fn places_of(owners: &[u16], index: u16) -> usize {
    owners.iter().filter(|owner| **owner == index).count()
}

#[test]
fn every_backend_has_as_many_places_as_the_others() {
    for count in [2_usize, 3, 10, 100, 256, 257, 1000] {
        let table = Maglev::new(&backends(&vec![1; count]), MAGLEV_TABLE_SIZE);
        let owners = owners(&table, MAGLEV_TABLE_SIZE);
        let fair = MAGLEV_TABLE_SIZE as usize / count;
        for index in 0..count as u16 {
            let places = places_of(&owners, index);
            assert!((fair..=fair + 1).contains(&places), "{places}, not {fair}");
        }
    }
}

#[test]
fn a_backend_has_places_by_its_weight() {
    let weights = [1, 2, 5, 100, 7];
    let table = Maglev::new(&backends(&weights), MAGLEV_TABLE_SIZE);
    let owners = owners(&table, MAGLEV_TABLE_SIZE);
    let sum: u16 = weights.iter().sum();
    for (index, weight) in weights.into_iter().enumerate() {
        let fair = f64::from(MAGLEV_TABLE_SIZE) * f64::from(weight) / f64::from(sum);
        let places = places_of(&owners, index as u16) as f64;
        // Within a turn of each of the others.
        assert!(
            (places - fair).abs() < weights.len() as f64,
            "{places}, not {fair}"
        );
    }
}

#[test]
fn one_that_goes_disturbs_few_of_the_others_flows() {
    for weights in [
        vec![1; 3],
        vec![1; 10],
        vec![1; 100],
        vec![3, 1, 2, 8, 1, 1, 4, 2],
    ] {
        let all = backends(&weights);
        let before = owners(&Maglev::new(&all, MAGLEV_TABLE_SIZE), MAGLEV_TABLE_SIZE);
        for gone in 0..all.len().min(8) {
            let mut rest = all.clone();
            rest.remove(gone);
            let after = owners(&Maglev::new(&rest, MAGLEV_TABLE_SIZE), MAGLEV_TABLE_SIZE);
            let others = before
                .iter()
                .zip(&after)
                .filter(|(was, _)| **was != gone as u16);
            let (kept, moved): (Vec<_>, Vec<_>) = others.partition(|(was, is)| was == is);
            let share = moved.len() as f64 / (kept.len() + moved.len()) as f64;
            let allowed = 1.0 / all.len() as f64 + 0.01;
            println!(
                "{} backends, {gone} goes: {:.2} % of the others move",
                all.len(),
                share * 100.0
            );
            assert!(share <= allowed, "{share} of {} backends", all.len());
        }
    }
}

#[test]
fn the_order_of_listing_and_the_indices_do_not_matter() {
    let mut listed = backends(&[1, 4, 2, 2, 9]);
    let table = Maglev::new(&listed, 251);
    listed.reverse();
    assert_eq!(Maglev::new(&listed, 251), table);
    for candidate in &mut listed {
        candidate.index += 1_000;
    }
    let other = Maglev::new(&listed, 251);
    assert!(matches!(other.0, Places::Many(_)));
    let shifted: Vec<u16> = owners(&table, 251)
        .iter()
        .map(|index| index + 1_000)
        .collect();
    assert_eq!(owners(&other, 251), shifted);
}

#[test]
fn none_and_one_need_no_table() {
    let none = Maglev::new(&[], MAGLEV_TABLE_SIZE);
    assert_eq!((none.pick(7), none.memory()), (None, 0));
    let one = Maglev::new(&backends(&[3]), MAGLEV_TABLE_SIZE);
    assert_eq!((one.pick(u64::MAX), one.memory()), (Some(0), 0));
}

#[test]
fn every_hash_has_a_place() {
    let table = Maglev::new(&backends(&[1; 5]), 7);
    for hash in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
        assert!(table.pick(hash).is_some());
    }
}

#[test]
fn primes_are_told() {
    let primes: Vec<u32> = (0..30).filter(|number| is_prime(*number)).collect();
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    assert!(is_prime(MAGLEV_TABLE_SIZE) && is_prime(655_373) && !is_prime(65_536));
}

/// The paper's own words (§3.4, pseudocode 1) without any of our shortcuts, for even weights.
#[test]
fn the_table_is_the_papers() {
    let candidates = backends(&[1; 7]);
    let size = 1_009_usize;
    let mut sorted = candidates.clone();
    sorted.sort_by_key(|it| it.hash);
    let permutation = |hash: u64| -> Vec<usize> {
        let offset = (hash >> 32) as usize % size;
        let skip = (hash & 0xffff_ffff) as usize % (size - 1) + 1;
        (0..size).map(|j| (offset + j * skip) % size).collect()
    };
    let permutations: Vec<_> = sorted.iter().map(|it| permutation(it.hash)).collect();
    let mut entry = vec![None; size];
    let mut next = vec![0; sorted.len()];
    let mut filled = 0;
    'all: loop {
        for i in 0..sorted.len() {
            let mut c = permutations[i][next[i]];
            while entry[c].is_some() {
                next[i] += 1;
                c = permutations[i][next[i]];
            }
            entry[c] = Some(sorted[i].index);
            next[i] += 1;
            filled += 1;
            if filled == size {
                break 'all;
            }
        }
    }
    let expected: Vec<u16> = entry.into_iter().map(Option::unwrap).collect();
    let table = Maglev::new(&candidates, size as u32);
    assert_eq!(owners(&table, size as u32), expected);
}
