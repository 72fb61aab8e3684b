//! Router advertisements that nobody asked for (RFC 4861 §6.2.4): to every tenant
//! vif of a vrf that has an IPv6 gateway, by worker 0 for all.
//!
//! A new vif hears one at once and two more soon after, then one at a time between
//! a third of the interval and the interval. When exactly is a function of the
//! vif's number and count, so that vifs do not speak in unison, and two runs
//! with the same clock say the same.

use encap::Buffer;
use flowtable::Ticks;

use super::outbox::Outbox;
use super::router;
use crate::io::{BATCH, Pool};
use crate::tables::spec::Role;
use crate::tables::{Tables, Vif, VifId};

/// Of the first few, no two are further apart than this (RFC 4861 §6.2.4, MAX_INITIAL_RTR_ADVERT_INTERVAL).
const INITIAL_MS: u32 = 16_000;
/// How many are the first few (MAX_INITIAL_RTR_ADVERTISEMENTS).
const INITIAL: u32 = 3;

/// When each vif is due.
#[derive(Debug, Default)]
pub struct Announcer {
    links: Vec<Link>,
}

/// One vif's schedule.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// How many were sent.
    count: u32,
    due: Ticks,
}

impl Announcer {
    /// Sends what is due, to [`BATCH`] vifs at most; the others are due the next time.
    pub fn run<B: Buffer>(
        &mut self,
        tables: &Tables,
        worker: usize,
        now: Ticks,
        pool: &mut dyn Pool<B>,
        outbox: &mut Outbox<B>,
    ) {
        let mut left = BATCH;
        for vif in tables.vifs() {
            if left == 0 {
                return;
            }
            if vif.role == Role::Tenant && self.announce(tables, vif, worker, now, pool, outbox) {
                left -= 1;
            }
        }
    }

    /// Forgets a vif that is gone: another gets its number.
    pub fn forget(&mut self, vif: VifId) {
        if let Some(link) = self.links.get_mut(vif.0 as usize) {
            *link = Link::default();
        }
    }

    /// True if one was sent.
    fn announce<B: Buffer>(
        &mut self,
        tables: &Tables,
        vif: &Vif,
        worker: usize,
        now: Ticks,
        pool: &mut dyn Pool<B>,
        outbox: &mut Outbox<B>,
    ) -> bool {
        let Some(vrf) = tables.vrf(vif.vrf) else {
            return false;
        };
        let Some(said) = &vrf.advertised else {
            return false;
        };
        let index = vif.id.0 as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, Link::default());
        }
        let link = &mut self.links[index];
        if link.count > 0 && now.since(link.due) == 0 && now != link.due {
            return false;
        }
        let Some(mut packet) = pool.alloc() else {
            return false; // the next time
        };
        link.count = link.count.saturating_add(1);
        link.due = now.after(pause_ms(
            u32::from(said.interval_s) * 1_000,
            vif.id,
            link.count,
        ));
        if router::advertise(&mut packet, vrf, said, vif, None).is_err()
            || outbox.push(tables, vif.id, packet).is_err()
        {
            return false;
        }
        vif.counters.block(worker).originated();
        vif.port.advertised.note(now);
        true
    }
}

/// Until the next one: between a third of the interval and all of it.
fn pause_ms(interval_ms: u32, vif: VifId, count: u32) -> u32 {
    let longest = match count < INITIAL {
        true => interval_ms.min(INITIAL_MS),
        false => interval_ms,
    };
    let shortest = longest / 3;
    // Fibonacci hashing spreads consecutive numbers evenly.
    let spread = (vif.0 << 8).wrapping_add(count).wrapping_mul(0x9e37_79b9);
    let over = (u64::from(longest - shortest) * u64::from(spread)) >> 32;
    shortest + over as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_what_rfc_4861_6_2_4_allows() {
        for vif in 0..100 {
            let pauses: Vec<u32> = (1..50)
                .map(|count| pause_ms(600_000, VifId(vif), count))
                .collect();
            assert!(pauses[..2].iter().all(|ms| *ms <= INITIAL_MS), "{pauses:?}");
            assert!(
                pauses[2..]
                    .iter()
                    .all(|ms| (200_000..=600_000).contains(ms))
            );
            let mut seen = pauses.clone();
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.len() > 40, "they vary: {pauses:?}");
        }
    }
}
