//! A note that a flow carries: four numbers of the caller's, such as the rule that admitted it.
//!
//! No lookup reads it. It is written before the pair is offered, so whoever finds the flow finds its
//! note; a new one may come at any time, and a reader meanwhile may see half of each.

use crate::lookup::{FlowId, Hit};
use crate::simd::prefetch_near;
use crate::sync::{Acquire, AtomicU64, Relaxed};
use crate::table::{FlowTable, Worker};

/// Four numbers that mean something to the caller only.
pub type Note = [u32; 4];

impl FlowTable {
    /// The note of a flow in that version of its entry; `None` if the flow is gone.
    pub fn note(&self, id: FlowId, version: u32) -> Option<Note> {
        let note = self.note_at(id.pair());
        let [forward, _] = self.entries_of(id.pair());
        let stamp = forward.stamp(Acquire);
        stamp.is_live(version).then_some(note)
    }

    pub(crate) fn note_at(&self, pair: usize) -> Note {
        let [a, b] = self.note_words(pair).map(|word| word.load(Relaxed));
        [(a >> 32) as u32, a as u32, (b >> 32) as u32, b as u32]
    }

    pub(crate) fn prefetch_note(&self, pair: usize) {
        let [first, _] = self.note_words(pair);
        prefetch_near(first);
    }

    pub(crate) fn set_note(&self, pair: usize, note: Note) {
        let [a, b, c, d] = note.map(u64::from);
        let [first, second] = self.note_words(pair);
        first.store(a << 32 | b, Relaxed);
        second.store(c << 32 | d, Relaxed);
    }

    fn note_words(&self, pair: usize) -> [&AtomicU64; 2] {
        let notes = self.arrays().notes;
        [&notes[2 * pair], &notes[2 * pair + 1]]
    }
}

impl Worker<'_> {
    /// Gives a flow another note; ignored if it is gone.
    pub fn annotate(self, hit: &Hit, note: Note) {
        let [forward, _] = self.table.entries_of(hit.id.pair());
        if forward.stamp(Relaxed).is_live(hit.version()) {
            self.table.set_note(hit.id.pair(), note);
        }
    }
}
