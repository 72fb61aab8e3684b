//! Where rules stand: positions that ascend in their order, with places left free between them, so
//! that to insert a rule moves few of the others.
//!
//! What is the same in the old and the new list keeps its position as far as the order allows
//! (a longest increasing subsequence); the rest is placed anew. Where there is no place for them,
//! neighbours move too: more and more of them until some places are left free among so many, and the
//! more have to move, the more must be left free. So whatever is inserted wherever, on average few
//! rules move for each (Itai, Konheim and Rodeh 1981).

use std::ops::Range;

use super::bits::CAPACITY;

/// Rules that a policy may have: so that even those of the largest have room between them.
pub(super) const MAX_RULES: usize = CAPACITY as usize / 2;

/// For each item of `new` where it is to stand, given where the items of `old` do. An item whose
/// position is the same as before did not move.
pub(super) fn places<T>(
    old: &[(u32, T)],
    new: &[T],
    is_same: impl Fn(&T, &T) -> bool,
    id: impl Fn(&T) -> u32,
) -> Vec<u32> {
    let head = old
        .iter()
        .zip(new)
        .take_while(|((_, a), b)| is_same(a, b))
        .count();
    let (olds, news) = (&old[head..], &new[head..]);
    let ends = olds.iter().rev().zip(news.iter().rev());
    let tail = ends.take_while(|((_, a), b)| is_same(a, b)).count();
    let olds = &olds[..olds.len() - tail];
    let by_id: std::collections::HashMap<u32, &(u32, T)> =
        olds.iter().map(|entry| (id(&entry.1), entry)).collect();
    let kept = |rule: &T| {
        let (position, old) = by_id.get(&id(rule))?;
        is_same(old, rule).then_some(*position)
    };
    let middle = news[..news.len() - tail].iter().map(kept).collect();
    let mut places: Vec<Option<u32>> = old[..head].iter().map(|(at, _)| Some(*at)).collect();
    places.extend(increasing(middle));
    places.extend(old[old.len() - tail..].iter().map(|(at, _)| Some(*at)));
    fill(places)
}

/// Leaves as many as possible, in ascending order.
fn increasing(mut places: Vec<Option<u32>>) -> Vec<Option<u32>> {
    // The last of the best sequence of each length found so far, and what stands before each.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; places.len()];
    for (index, place) in places.iter().enumerate() {
        if place.is_none() {
            continue;
        }
        let len = ends.partition_point(|end| places[*end] < *place);
        before[index] = len.checked_sub(1).map(|len| ends[len]);
        match ends.get_mut(len) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut stays = vec![false; places.len()];
    let mut at = ends.last().copied();
    while let Some(index) = at {
        stays[index] = true;
        at = before[index];
    }
    for (place, stays) in places.iter_mut().zip(stays) {
        *place = place.filter(|_| stays);
    }
    places
}

/// Gives a place to all that have none.
fn fill(mut places: Vec<Option<u32>>) -> Vec<u32> {
    let mut from = 0;
    while let Some(start) = (from..places.len()).find(|index| places[*index].is_none()) {
        let end = (start..places.len()).find(|index| places[*index].is_some());
        let mut window = start..end.unwrap_or(places.len());
        let mut doublings = 0;
        let room = loop {
            let room = room(&places, &window);
            let free = match window == (0..places.len()) {
                true => 0,
                false => window.len() * doublings / 64,
            };
            if room.len() >= window.len() + free {
                break room;
            }
            let more = window.len().div_ceil(2);
            window.start = window.start.saturating_sub(more);
            window.end = (window.end + more).min(places.len());
            doublings = (doublings + 1).min(16);
        };
        from = window.end;
        spread(&mut places[window], room);
    }
    places.into_iter().flatten().collect()
}

/// The positions between those before and after a window.
fn room(places: &[Option<u32>], window: &Range<usize>) -> Range<u32> {
    let before = window.start.checked_sub(1).and_then(|at| places[at]);
    let start = before.map_or(0, |place| place + 1);
    let after = places.get(window.end).copied().flatten();
    // Behind the last, as much as leaves a free place in three.
    let len = window.len() as u32;
    let end = after.unwrap_or_else(|| (start + len + len / 2 + 1).min(CAPACITY));
    start..end
}

/// Places all of a window evenly in that room.
fn spread(window: &mut [Option<u32>], room: Range<u32>) {
    let (count, size) = (window.len() as u64, room.len() as u64);
    for (index, place) in window.iter_mut().enumerate() {
        let middle = (2 * index as u64 + 1) * size / (2 * count);
        *place = Some(room.start + middle as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(old: &[(u32, u32)], new: &[u32]) -> Vec<u32> {
        let places = places(old, new, |a, b| a == b, |rule| *rule);
        assert_eq!(places.len(), new.len());
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert!(places.last().is_none_or(|last| *last < CAPACITY));
        places
    }

    /// How many of those that were there before stand elsewhere now.
    fn moved(old: &[(u32, u32)], new: &[u32], places: &[u32]) -> usize {
        let old: std::collections::HashMap<u32, u32> =
            old.iter().map(|(at, rule)| (*rule, *at)).collect();
        let mut all = new.iter().zip(places);
        let moved = |(rule, at): &(&u32, &u32)| old.get(rule).is_some_and(|before| before != *at);
        all.by_ref().filter(moved).count()
    }

    #[test]
    fn insertions_at_one_place_move_few_and_lists_stay_in_order() {
        let mut rules: Vec<u32> = (0..3_000).collect();
        let places = place(&[], &rules);
        let mut old: Vec<(u32, u32)> = places.into_iter().zip(rules.iter().copied()).collect();
        let mut total = 0;
        for new in 3_000..4_500 {
            rules.insert(1_500, new);
            let places = place(&old, &rules);
            total += moved(&old, &rules, &places);
            old = places.into_iter().zip(rules.iter().copied()).collect();
        }
        assert!(total < 1_500 * 100, "{total} moves for 1,500 insertions");
    }

    #[test]
    fn a_rule_that_changes_places_moves_alone() {
        let rules: Vec<u32> = (0..1_000).collect();
        let places = place(&[], &rules);
        let old: Vec<(u32, u32)> = places.into_iter().zip(rules.iter().copied()).collect();
        let mut new = rules.clone();
        let first = new.remove(0);
        new.push(first);
        let places = place(&old, &new);
        assert_eq!(moved(&old, &new, &places), 1);
        new.reverse();
        place(&old, &new);
        place(&old, &[]);
    }

    #[test]
    fn as_many_as_may_be_find_room_in_any_order() {
        let rules: Vec<u32> = (0..MAX_RULES as u32).collect();
        let places = place(&[], &rules);
        let old: Vec<(u32, u32)> = places.into_iter().zip(rules.iter().copied()).collect();
        // All new ones in front of one that stays at the first position.
        let mut new: Vec<u32> = (0..MAX_RULES as u32 - 1)
            .map(|rule| rule + (1 << 20))
            .collect();
        new.push(0);
        place(&old, &new);
    }
}
