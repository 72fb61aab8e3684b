//! Which backend a client of a service has: one table of fixed size for all workers, asked and
//! written for the first packet of a flow only.
//!
//! ```text
//! (service, client) ── keyed hash ──▶ bucket ─▶ turn | 8 × (service, until, client, backend)
//! ```
//!
//! A bucket is a sequence lock made of atomics, as in [`crate::tables::learned`]: whoever writes
//! makes `turn` odd, whoever reads believes what it read only if `turn` was even and the same before
//! and after. Nobody waits: after a bounded number of tries a reader finds nothing (the flow is
//! spread like any other) and a writer leaves it to the client's next flow.
//!
//! **Bounds.** 65,536 clients in 3.7 MB, taken with the first service that wants it. In a full
//! bucket the client that would be forgotten first gives way.
//!
//! Nothing is swept: an entry that is over is not found, and gives way before any other. One that
//! nobody came across for 24 days may seem to be in force again; all it could do is to lead its
//! client to an active backend of the service, for the service is asked whether it has that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use flowtable::Ticks;

use crate::decide::End;
use crate::spread::SpreadKey;
use crate::tables::service::ServiceId;

/// Entries of a bucket.
const WAYS: usize = 8;
const BUCKETS: usize = 8_192;
/// Tries before a reader or writer gives up: a writer needs some 50 ns.
const TRIES: usize = 64;

/// The affinities of a node's clients.
#[derive(Debug)]
pub struct Affinity {
    key: u64,
    buckets: OnceLock<Box<[Bucket]>>,
}

/// A few entries and the turn to write them.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    entries: [Entry; WAYS],
    /// Odd while somebody writes.
    turn: AtomicU32,
}

/// ```text
/// 0     service + 1, or 0 if free: 32 | until when: 32
/// 1, 2  the client's address
/// 3, 4  the backend's address
/// 5     the backend's port: 16 | families of both: 2
/// ```
#[derive(Debug, Default)]
struct Entry([AtomicU64; 6]);

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    service: ServiceId,
    client: IpAddr,
}

impl Affinity {
    /// Empty; the secret keys the hash, so that nobody can choose clients that push out others.
    pub fn new(secret: u64) -> Affinity {
        Affinity {
            key: secret,
            buckets: OnceLock::new(),
        }
    }

    /// Takes the memory, if that is not done yet. Called before the first service that wants it is
    /// published.
    pub fn prepare(&self) {
        self.buckets
            .get_or_init(|| (0..BUCKETS).map(|_| Bucket::default()).collect());
    }

    /// The backend that a client of a service has.
    pub fn lookup(&self, service: ServiceId, client: IpAddr, now: Ticks) -> Option<End> {
        let asked = Asked { service, client };
        self.bucket(asked)?.find(asked, now)
    }

    /// Has a client of a service keep a backend for the next `timeout_ms`.
    pub fn keep(
        &self,
        service: ServiceId,
        client: IpAddr,
        backend: End,
        timeout_ms: u32,
        now: Ticks,
    ) {
        let asked = Asked { service, client };
        let Some(bucket) = self.bucket(asked) else {
            return;
        };
        let Some(_turn) = Turn::take(bucket) else {
            return;
        };
        bucket
            .place_for(asked, now)
            .write(asked, backend, now.after(timeout_ms));
    }

    /// How many clients have a backend. Looks at all entries.
    pub fn len(&self, now: Ticks) -> usize {
        let buckets = self.buckets.get().into_iter().flatten();
        let entries = buckets.flat_map(|bucket| &bucket.entries);
        entries.filter(|entry| entry.left(now) > 0).count()
    }

    /// True if no client has a backend.
    pub fn is_empty(&self, now: Ticks) -> bool {
        self.len(now) == 0
    }

    fn bucket(&self, asked: Asked) -> Option<&Bucket> {
        let key = SpreadKey::new(self.key ^ u64::from(asked.service.0));
        let hash = key.end(End {
            addr: asked.client,
            port: 0,
        });
        self.buckets.get()?.get((hash >> 32) as usize % BUCKETS)
    }
}

impl Default for Affinity {
    /// With a hash that is the same in every run, as replays need it.
    fn default() -> Affinity {
        Affinity::new(1)
    }
}

impl Bucket {
    /// What is kept for a client, as of one moment.
    fn find(&self, asked: Asked, now: Ticks) -> Option<End> {
        for _ in 0..TRIES {
            let before = self.turn.load(Ordering::Acquire);
            if before & 1 == 0 {
                let mut entries = self.entries.iter();
                let found = entries.find_map(|entry| entry.read(asked, now));
                // The loads above are done before the turn is looked at again.
                fence(Ordering::Acquire);
                if self.turn.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Where to write what is kept for a client, for who has the turn: its own entry, or the one that
    /// is over first.
    fn place_for(&self, asked: Asked, now: Ticks) -> &Entry {
        let mut own = self.entries.iter().filter(|entry| entry.is_of(asked));
        let first = || self.entries.iter().min_by_key(|entry| entry.left(now));
        match own.next().or_else(first) {
            Some(entry) => entry,
            None => unreachable!("a bucket has {WAYS} entries"),
        }
    }
}

impl Entry {
    fn load(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn is_of(&self, asked: Asked) -> bool {
        self.load(0) >> 32 == u64::from(asked.service.0) + 1
            && address(self.load(1), self.load(2), self.load(5) & CLIENT_IPV6) == asked.client
    }

    /// Milliseconds for which it is still in force.
    fn left(&self, now: Ticks) -> u32 {
        let head = self.load(0);
        match head >> 32 {
            0 => 0,
            _ => Ticks(head as u32).since(now),
        }
    }

    fn read(&self, asked: Asked, now: Ticks) -> Option<End> {
        (self.is_of(asked) && self.left(now) > 0).then(|| End {
            addr: address(self.load(3), self.load(4), self.load(5) & BACKEND_IPV6),
            port: (self.load(5) >> 48) as u16,
        })
    }

    fn write(&self, asked: Asked, backend: End, until: Ticks) {
        let (client, is_ipv6) = (bits(asked.client), asked.client.is_ipv6());
        let addr = bits(backend.addr);
        let mut last = u64::from(backend.port) << 48;
        last |= if is_ipv6 { CLIENT_IPV6 } else { 0 };
        last |= if backend.addr.is_ipv6() {
            BACKEND_IPV6
        } else {
            0
        };
        let words = [
            (u64::from(asked.service.0) + 1) << 32 | u64::from(until.0),
            (client >> 64) as u64,
            client as u64,
            (addr >> 64) as u64,
            addr as u64,
            last,
        ];
        for (at, word) in self.0.iter().zip(words) {
            at.store(word, Ordering::Relaxed);
        }
    }
}

const CLIENT_IPV6: u64 = 1;
const BACKEND_IPV6: u64 = 2;

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn address(high: u64, low: u64, is_ipv6: u64) -> IpAddr {
    match is_ipv6 {
        0 => Ipv4Addr::from_bits(low as u32).into(),
        _ => Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
    }
}

/// The right to write a bucket; given back when dropped.
struct Turn<'a>(&'a Bucket, u32);

impl<'a> Turn<'a> {
    fn take(bucket: &'a Bucket) -> Option<Turn<'a>> {
        for _ in 0..TRIES {
            let turn = bucket.turn.load(Ordering::Relaxed);
            let odd = turn.wrapping_add(1);
            if turn & 1 == 0
                && bucket
                    .turn
                    .compare_exchange(turn, odd, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                // Who sees one of the writes that follow sees the odd turn, too.
                fence(Ordering::Release);
                return Some(Turn(bucket, odd.wrapping_add(1)));
            }
            std::hint::spin_loop();
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.store(self.1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
