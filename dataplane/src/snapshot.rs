//! Publishing one immutable value to many readers that never wait.
//!
//! A reader keeps its own reference to the value it saw last and looks at one
//! shared counter per batch; only when that moved does it touch the lock, for
//! the length of one pointer copy. Old values are freed by the publisher, so a
//! worker never pays for dropping a large tree: the publisher keeps every value
//! until no reader holds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The writing side; clone-free, lives with the control plane.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    retired: Vec<Arc<T>>,
}

/// The reading side; one per worker.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    current: Arc<T>,
    version: u64,
    /// What this reader has moved on to, for the publisher to see.
    reached: Arc<AtomicU64>,
}

/// Looks at what is published now and then, and holds nothing up: not for workers, which must have
/// moved on before something is taken away.
pub struct Watcher<T>(Arc<Shared<T>>);

struct Shared<T> {
    version: AtomicU64,
    slot: Mutex<Slot<T>>,
}

struct Slot<T> {
    current: Arc<T>,
    readers: Vec<Arc<AtomicU64>>,
}

impl<T> Publisher<T> {
    /// Starts with `value` as version 0.
    pub fn new(value: T) -> Publisher<T> {
        Publisher {
            shared: Arc::new(Shared {
                version: AtomicU64::new(0),
                slot: Mutex::new(Slot {
                    current: Arc::new(value),
                    readers: Vec::new(),
                }),
            }),
            retired: Vec::new(),
        }
    }

    /// Makes `value` what every later [`Reader::pin`] sees.
    pub fn publish(&mut self, value: Arc<T>) {
        let old = {
            let mut slot = self.shared.lock();
            let old = std::mem::replace(&mut slot.current, value);
            // Under the lock, so that version and value move together for whoever takes it.
            self.shared.version.fetch_add(1, Ordering::Release);
            old
        };
        self.retired.push(old);
        self.retired.retain(|value| Arc::strong_count(value) > 1);
    }

    /// The value published last.
    pub fn current(&self) -> Arc<T> {
        self.shared.lock().current.clone()
    }

    /// A way to the value published last for whoever is no worker.
    pub fn watcher(&self) -> Watcher<T> {
        Watcher(self.shared.clone())
    }

    /// True when every reader has pinned the value published last: nothing that
    /// only older values mention is in use any more.
    pub fn settled(&self) -> bool {
        let version = self.shared.version.load(Ordering::Acquire);
        let slot = self.shared.lock();
        slot.readers
            .iter()
            .all(|reached| reached.load(Ordering::Acquire) >= version)
    }

    /// A new reader, which starts at the current value.
    pub fn reader(&self) -> Reader<T> {
        let mut slot = self.shared.lock();
        let version = self.shared.version.load(Ordering::Acquire);
        let reached = Arc::new(AtomicU64::new(version));
        slot.readers.push(reached.clone());
        Reader {
            shared: self.shared.clone(),
            current: slot.current.clone(),
            version,
            reached,
        }
    }
}

impl<T> Watcher<T> {
    /// The value published last.
    pub fn current(&self) -> Arc<T> {
        self.0.lock().current.clone()
    }
}

impl<T> Reader<T> {
    /// The current value, valid until the next call: one load when nothing changed.
    pub fn pin(&mut self) -> &Arc<T> {
        if self.shared.version.load(Ordering::Acquire) != self.version {
            self.refresh();
        }
        &self.current
    }

    #[cold]
    fn refresh(&mut self) {
        let slot = self.shared.lock();
        self.version = self.shared.version.load(Ordering::Acquire);
        self.current = slot.current.clone();
        self.reached.store(self.version, Ordering::Release);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.shared
            .lock()
            .readers
            .retain(|reached| !Arc::ptr_eq(reached, &self.reached));
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // No code under this lock can panic half-way; a poisoned lock is still whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_last() {
        let mut publisher = Publisher::new(1);
        let mut reader = publisher.reader();
        assert_eq!(**reader.pin(), 1);
        publisher.publish(Arc::new(2));
        publisher.publish(Arc::new(3));
        assert!(!publisher.settled());
        assert_eq!(**reader.pin(), 3);
        assert!(publisher.settled());
    }

    #[test]
    fn an_old_value_lives_until_its_last_reader_moves_on() {
        let first = Arc::new(1);
        let mut publisher = Publisher::new(0);
        publisher.publish(first.clone());
        let mut reader = publisher.reader();
        publisher.publish(Arc::new(2));
        publisher.publish(Arc::new(3));
        // held here, by the reader and by the publisher's retired list
        assert_eq!(Arc::strong_count(&first), 3);
        reader.pin();
        publisher.publish(Arc::new(4));
        publisher.publish(Arc::new(5));
        drop(publisher);
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn a_reader_that_left_does_not_hold_up_settling() {
        let mut publisher = Publisher::new(1);
        drop(publisher.reader());
        publisher.publish(Arc::new(2));
        assert!(publisher.settled());
    }

    #[test]
    fn threads_only_ever_see_values_grow() {
        let mut publisher = Publisher::new(0_u64);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut reader = publisher.reader();
                scope.spawn(move || {
                    let mut last = 0;
                    while last < 1000 {
                        let now = **reader.pin();
                        assert!(now >= last);
                        last = now;
                    }
                });
            }
            for value in 1..=1000 {
                publisher.publish(Arc::new(value));
            }
        });
    }
}
