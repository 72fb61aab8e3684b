//! The configurations that were in force lately, so that one can be asked what it would have done.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::tables::Tables;

/// How many are held. They share what did not change, so each costs what its commit changed.
const HELD: usize = 16;

/// Some generations before that in force.
#[derive(Default)]
pub(super) struct History(VecDeque<Arc<Tables>>);

impl History {
    /// Holds what is no longer in force, in place of the oldest.
    pub(super) fn keep(&mut self, tables: Arc<Tables>) {
        while self.0.len() >= HELD {
            self.0.pop_front();
        }
        self.0.push_back(tables);
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Tables>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut history = History::default();
        let all: Vec<_> = (0..HELD + 2).map(|_| Arc::new(Tables::new(1))).collect();
        all.iter().for_each(|tables| history.keep(tables.clone()));
        let held: Vec<_> = history.iter().collect();
        assert_eq!(held.len(), HELD);
        assert!(Arc::ptr_eq(held[0], &all[2]));
    }
}
