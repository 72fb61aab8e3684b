//! Learned MACs on a packet's way: noted from the frames that vifs and tunnels
//! bring, and asked for where no bridge entry is configured.
//!
//! What is configured always wins: a MAC with a bridge entry, a vif's own MAC and
//! the router's are never learned, and whoever sends with one from elsewhere is
//! dropped. So is a frame whose source may not be learned, be it for lack of room
//! or because it moves too often: an answer to it would go astray.

use encap::{EthernetHeader, MacAddr};
use flowtable::Ticks;

use super::{Context, Ingress, Lane};
use crate::reason::DropReason;
use crate::tables::learned::{Lesson, MAX_REMOTE};
use crate::tables::{Nexthop, NexthopId, Tables, Vrf, VrfId};

/// Notes where the frame's source is, if that is for us to find out.
///
/// # Errors
/// Why the frame may not come from there.
#[inline]
pub fn source(context: &Context, vrf: &Vrf, lane: &Lane, frame: &[u8]) -> Result<(), DropReason> {
    if !vrf.learning {
        return Ok(());
    }
    let is_local = lane.ingress.as_vif().is_some();
    if is_local && context.vif.port.is_strict {
        return Ok(()); // it has one MAC, and that was checked
    }
    let (ethernet, _) = EthernetHeader::split(frame)?;
    let mac = ethernet.src();
    if is_local {
        from_vif(context, vrf, lane, mac)
    } else if ethernet.dst() == vrf.mac {
        Ok(()) // routed, which asks for addresses
    } else {
        from_tunnel(context, vrf, lane, mac)
    }
}

/// From a vif that may have many MACs behind it.
fn from_vif(context: &Context, vrf: &Vrf, lane: &Lane, mac: MacAddr) -> Result<(), DropReason> {
    if !mac.is_unicast() || mac == vrf.mac {
        return Err(DropReason::SpoofedMac);
    }
    if let Some(configured) = vrf.macs.get(&mac) {
        return match context.tables.nexthop(*configured) {
            Some(Nexthop::Vif(id)) if *id == context.vif.id => Ok(()),
            _ => Err(DropReason::SpoofedMac),
        };
    }
    note(
        context,
        vrf,
        lane.ingress,
        mac,
        context.vif.port.max_learned,
    )
}

/// Out of a tunnel. Only what can be reached the same way is learned.
fn from_tunnel(context: &Context, vrf: &Vrf, lane: &Lane, mac: MacAddr) -> Result<(), DropReason> {
    if !mac.is_unicast() || mac == vrf.mac || vrf.macs.contains_key(&mac) {
        return Ok(()); // `bridge::check_source` says whether it may
    }
    if place_of(context.tables, vrf, lane.ingress).is_none() {
        return Ok(()); // likewise
    }
    note(context, vrf, lane.ingress, mac, MAX_REMOTE)
}

fn note(
    context: &Context,
    vrf: &Vrf,
    place: Ingress,
    mac: MacAddr,
    limit: u32,
) -> Result<(), DropReason> {
    let learned = context.tables.learned();
    match learned.learn(vrf.id, mac, place, limit, context.now) {
        Lesson::Known | Lesson::New | Lesson::Moved | Lesson::Busy => Ok(()),
        Lesson::Full => Err(DropReason::MacLimit),
        Lesson::Moving => Err(DropReason::MacMoves),
    }
}

/// Where frames to a MAC go: by its bridge entry, else to where it was learned.
#[inline]
pub fn find(tables: &Tables, vrf: &Vrf, mac: MacAddr) -> Option<NexthopId> {
    let configured = vrf.macs.get(&mac).copied();
    configured.or_else(|| learned(tables, vrf, mac))
}

fn learned(tables: &Tables, vrf: &Vrf, mac: MacAddr) -> Option<NexthopId> {
    if !vrf.learning {
        return None;
    }
    let place = tables.learned().lookup(vrf.id, mac)?;
    place_of(tables, vrf, place)
}

/// The nexthop to a place where MACs of this vrf may be learned, by the
/// configuration as it is now: what was learned under another may be void.
pub fn place_of(tables: &Tables, vrf: &Vrf, place: Ingress) -> Option<NexthopId> {
    if let Some(peer) = place.as_peer() {
        return tables.flood_towards(vrf.flood?, peer);
    }
    let vif = tables.vif(place.as_vif()?)?;
    (vif.vrf == vrf.id && !vif.port.is_strict).then_some(vif.nexthop)
}

/// Removes what is old or void, a few buckets at a time.
#[derive(Debug, Default)]
pub struct Sweeper {
    cursor: usize,
    /// What is due, in buckets times [`ROUND_MS`].
    owed: u64,
}

/// How long a round over all buckets takes: short beside the age at which entries go.
const ROUND_MS: u64 = 10_000;

impl Sweeper {
    /// The worker's share for so much time; no more than `at_most` buckets now.
    pub fn run(
        &mut self,
        tables: &Tables,
        worker: usize,
        now: Ticks,
        elapsed_ms: usize,
        at_most: usize,
    ) {
        let share = share(tables);
        let round = share as u64 * ROUND_MS;
        self.owed = (self.owed + share as u64 * elapsed_ms as u64).min(round);
        let due = ((self.owed / ROUND_MS) as usize).min(at_most);
        self.owed -= due as u64 * ROUND_MS;
        for _ in 0..due {
            let index = self.cursor * tables.workers() + worker;
            self.cursor = (self.cursor + 1) % share;
            tables
                .learned()
                .sweep(index, now, |vrf, place| is_valid(tables, vrf, place));
        }
    }
}

/// Buckets that one worker looks after.
fn share(tables: &Tables) -> usize {
    tables.learned().buckets().div_ceil(tables.workers())
}

/// Looks at all of a worker's share at once.
pub fn sweep_all(tables: &Tables, worker: usize, now: Ticks) {
    let mut all = Sweeper {
        cursor: 0,
        owed: u64::MAX / 2,
    };
    all.run(tables, worker, now, 0, usize::MAX);
}

/// Whether an entry still means something.
fn is_valid(tables: &Tables, vrf: VrfId, place: Ingress) -> bool {
    let vrf = tables.vrf(vrf);
    vrf.is_some_and(|vrf| vrf.learning && place_of(tables, vrf, place).is_some())
}
