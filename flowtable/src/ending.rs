//! Who hears of flows that end: accounting, and whoever holds something for them.

use crate::lookup::FlowId;
use crate::stamp::Stamp;
use crate::table::{FlowTable, Worker};
use crate::view::FlowView;
use alloc::boxed::Box;

/// Why a flow ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// Neither direction was seen for the timeout of its class.
    Idle,
    /// It was removed.
    Removed,
    /// Another flow needed the room.
    Evicted,
}

/// Hears of every flow that ends, once, from the worker that ended it.
pub trait Endings: Send + Sync {
    /// The flow as it was last, with its final counters (nearly, if it was being changed). It is
    /// found by nobody any more, and its place not yet another's. Called on the packet path: it must
    /// not wait, and not call the table. `worker` is the number of the one that ended it.
    fn ended(&self, worker: usize, flow: &FlowView, ending: Ending);
}

impl FlowTable {
    /// The same table, which tells `endings` of every flow that ends.
    #[must_use]
    pub fn with_endings(mut self, endings: Box<dyn Endings>) -> FlowTable {
        self.endings = Some(endings);
        self
    }
}

impl Worker<'_> {
    /// Claims a pair as [`FlowTable::claim`] does, and tells of its end.
    pub(crate) fn end(
        self,
        pair: usize,
        version: u32,
        wanted: impl Fn(Stamp) -> bool,
        ending: Ending,
    ) -> Option<Stamp> {
        let table = self.table;
        let Some(endings) = &table.endings else {
            return table.claim(pair, version, wanted);
        };
        let view = table.view(pair).filter(|view| view.version == version);
        let stamp = table.claim(pair, version, wanted)?;
        if let Some(mut view) = view {
            view.class = stamp.class();
            if !stamp.is_writing() {
                table.count_last(&mut view);
            }
            endings.ended(self.shard, &view, ending);
        }
        Some(stamp)
    }
}

impl FlowTable {
    /// The counters of a pair that was claimed, as they are now.
    pub(crate) fn count_last(&self, view: &mut FlowView) {
        let [forward, reverse] = [true, false].map(|forward| {
            let entry = self.entry(FlowId::new(view.id.pair(), forward));
            entry.counters(view.version)
        });
        (view.forward_counters, view.reverse_counters) = (forward, reverse);
    }
}
