//! What is done when a flow ends: whoever keeps accounts is told, and what it held is let go.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use flowtable::{Ending, Endings, FlowView};

use super::Shared;
use crate::rule_counters;

/// A flow that ended, as it was last.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Keys, actions, counters, times and note.
    pub flow: FlowView,
    /// Why it ended.
    pub ending: Ending,
}

/// The way of ended flows to whoever keeps accounts; nobody, until somebody asks.
#[derive(Debug, Default)]
pub struct Ledger {
    to: OnceLock<Sender<Ended>>,
    lost: AtomicU64,
}

impl Ledger {
    /// From now on every flow that ends comes out here, in no particular order; of more than `room`
    /// that wait, those that come last are lost, and counted. `None` if somebody asked before.
    pub fn open(&self, room: usize) -> Option<Receiver<Ended>> {
        let (to, from) = bounded(room.max(1));
        self.to.set(to).is_ok().then_some(from)
    }

    /// How many were lost for lack of room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn enter(&self, ended: Ended) {
        let Some(to) = self.to.get() else { return };
        match to.try_send(ended) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Hears of the ends from the flow table.
pub(super) struct Hook(pub(super) Arc<Shared>);

impl Endings for Hook {
    fn ended(&self, worker: usize, flow: &FlowView, ending: Ending) {
        rule_counters::flow_ended(self.0.rules(), worker, flow);
        self.0.flow_ended(flow);
        self.0.ledger.enter(Ended {
            flow: *flow,
            ending,
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::tables::Tables;
    use flowtable::{Action, Class, Config, FlowTable, Insert, Key, NewFlow, Rewrite, Ticks};
    use flowtable::{Verdict, Zone};

    const ACTION: Action = Action {
        verdict: Verdict::Forward,
        nexthop: 0,
        epoch: 0,
        ingress: 0,
        rewrite: Rewrite::NONE,
        group_choice: 0,
        exit: 0,
        flags: 0,
    };

    #[test]
    fn what_ends_comes_out_of_the_ledger_and_what_finds_no_room_is_counted() {
        let tables = Tables::new(1);
        let table = FlowTable::new(&Config {
            pairs: 8,
            ..Config::default()
        });
        let table = table.with_endings(tables.endings());
        let end = |port: u16| {
            let addrs = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
            let key = Key::ipv4(Zone::default(), 17, addrs.0, addrs.1, port, 53);
            let inserted = table.worker(0).insert_pair(&NewFlow {
                forward: &key,
                forward_action: &ACTION,
                reverse: &key.reversed(),
                reverse_action: &ACTION,
                class: Class::Udp,
                vif: 1,
                vrf: 1,
                note: [0; 4],
                now: Ticks(0),
            });
            match inserted {
                Insert::Inserted(hit) => assert!(table.worker(0).remove(hit.id, hit.version())),
                other => panic!("{other:?}"),
            }
        };
        end(1); // nobody listens
        let ledger = tables.sessions().ledger();
        let from = ledger.open(2).expect("the first to ask");
        assert!(ledger.open(2).is_none());
        (2..=4).for_each(end);
        let ports: Vec<u16> = from
            .try_iter()
            .map(|ended| ended.flow.forward.src_port())
            .collect();
        assert_eq!((ports, ledger.lost()), (vec![2, 3], 1));
    }
}
