//! Asking for neighbours: those that packets wait for, those that some path
//! depends on, and those not heard of for long. And the reverse: telling the
//! link where our own addresses are when an uplink fails or returns.
//!
//! ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861). What comes back
//! is learned in stage `fabric`.

use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use encap::{Buffer, arp, nd};
use flowtable::Ticks;

use crate::io::{BATCH, Pool};
use crate::stage::outbox::Outbox;
use crate::stage::waiting::Waiting;
use crate::tables::neighbour::{Care, Neighbour};
use crate::tables::{Tables, Vif, VifId};

/// Between two looks at the neighbours that nobody waits for.
const LOOK_MS: u32 = 50;
/// Neighbours passed in one look: some ten microseconds. A round over 10 000
/// takes a second, and no more than 64 are asked in one look, so the transmit
/// ring never fills with questions.
const PASSED_AT_ONCE: usize = 512;

/// Where the first worker's rounds over all neighbours stand.
#[derive(Default)]
pub struct Rounds {
    looked: Ticks,
    /// The neighbour passed last.
    cursor: Option<(VifId, IpAddr)>,
    /// Fabric vifs whose links were down at the last look.
    down: Vec<VifId>,
}

/// What sending a question takes.
pub struct Asking<'a, B> {
    /// The configuration in force.
    pub tables: &'a Tables,
    /// The worker that asks.
    pub worker: usize,
    /// The time.
    pub now: Ticks,
    /// For the questions.
    pub pool: &'a mut dyn Pool<B>,
    /// For sending them; flushing is left to the caller.
    pub outbox: &'a mut Outbox<B>,
}

impl<B: Buffer> Asking<'_, B> {
    /// Asks for the neighbours that packets wait for, each once a second.
    pub fn for_waiting(&mut self, waiting: &Waiting<B>) {
        let due = waiting.neighbours().filter(|neighbour| {
            let care = Care::Needed;
            neighbour.probe_due(self.now, care)
        });
        let due: arrayvec::ArrayVec<Arc<Neighbour>, BATCH> = due.take(BATCH).cloned().collect();
        for neighbour in due {
            self.ask(&neighbour);
        }
    }

    /// Looks at the next neighbours in turn, and at the links.
    pub fn in_turn(&mut self, rounds: &mut Rounds) {
        if self.now.since(rounds.looked) < LOOK_MS {
            return;
        }
        rounds.looked = self.now;
        self.tell_of_links(&mut rounds.down);
        let underlay = self.tables.underlay();
        let from = rounds.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut asked = 0;
        let mut passed = 0;
        rounds.cursor = None;
        for neighbour in underlay.neighbours_from(from) {
            if passed == PASSED_AT_ONCE || asked == BATCH {
                break;
            }
            passed += 1;
            rounds.cursor = Some((neighbour.vif, neighbour.addr));
            if self.is_due(neighbour) {
                asked += 1;
                self.ask(neighbour);
            }
        }
        if passed < PASSED_AT_ONCE && asked < BATCH {
            rounds.cursor = None; // that was the last; from the start again
        }
    }

    fn is_due(&self, neighbour: &Neighbour) -> bool {
        let uplink = self.tables.vif(neighbour.vif);
        if !uplink.is_some_and(|uplink| uplink.link.is_up()) {
            return false; // it could not hear us
        }
        match self.tables.underlay().is_watched(neighbour) {
            true => neighbour.probe_due(self.now, Care::Watched),
            // One that nobody has used yet is asked for when somebody does.
            false => neighbour.mac().is_some() && neighbour.probe_due(self.now, Care::Needed),
        }
    }

    /// Sends an ARP request (RFC 826) or a neighbour solicitation (RFC 4861 §7.2.2).
    fn ask(&mut self, neighbour: &Neighbour) {
        let Some(vif) = self.tables.vif(neighbour.vif) else {
            return;
        };
        let own = || vif.addresses.iter();
        let same_link = own().find(|net| net.contains(&neighbour.addr));
        let same_family = own().find(|net| net.addr().is_ipv4() == neighbour.addr.is_ipv4());
        if let Some(source) = same_link.or(same_family) {
            let source = source.addr();
            self.send(vif, |packet| match (source, neighbour.addr) {
                (IpAddr::V4(src), IpAddr::V4(target)) => arp::request(packet, vif.mac, src, target),
                (IpAddr::V6(src), IpAddr::V6(target)) => nd::solicit(packet, vif.mac, src, target),
                _ => Err(encap::Error::AddressFamily),
            });
        }
    }

    /// What an uplink shares with another is now behind that one, or behind both
    /// again: whoever sends to it learns so at once, not when its cache expires.
    fn tell_of_links(&mut self, down: &mut Vec<VifId>) {
        let tables = self.tables;
        let fabrics = || {
            let fabrics = tables.underlay().fabrics.iter();
            fabrics.filter_map(|id| tables.vif(*id))
        };
        for uplink in fabrics() {
            let was_down = down.contains(&uplink.id);
            if uplink.link.is_up() != was_down {
                continue; // as it was
            }
            if was_down {
                down.retain(|id| *id != uplink.id);
            } else {
                down.push(uplink.id);
            }
            for net in uplink.addresses.iter() {
                let addr = net.addr();
                let mut others = fabrics()
                    .filter(|other| other.id != uplink.id && other.has_address(addr))
                    .peekable();
                let speaker = match was_down {
                    true => others.peek().map(|_| uplink),
                    false => others.find(|other| other.link.is_up()),
                };
                if let Some(speaker) = speaker {
                    self.announce(speaker, addr);
                }
            }
        }
    }

    /// An ARP announcement (RFC 5227 §3) or an unsolicited advertisement (RFC
    /// 4861 §7.2.6).
    fn announce(&mut self, vif: &Vif, addr: IpAddr) {
        self.send(vif, |packet| match addr {
            IpAddr::V4(addr) => arp::request(packet, vif.mac, addr, addr),
            IpAddr::V6(addr) => nd::announce(packet, vif.mac, addr),
        });
    }

    fn send(&mut self, vif: &Vif, build: impl FnOnce(&mut B) -> Result<(), encap::Error>) {
        let Some(mut packet) = self.pool.alloc() else {
            return; // asked again in a second
        };
        if build(&mut packet).is_ok() && self.outbox.push(self.tables, vif.id, packet).is_ok() {
            vif.counters.block(self.worker).originated();
        }
    }
}
