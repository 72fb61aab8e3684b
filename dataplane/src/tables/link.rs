//! Whether a port's link carries packets: one cell per vif, shared by every
//! snapshot and by whoever watches the device.
//!
//! A link that fails is therefore no commit: workers see it with one relaxed
//! load at the next packet, and flows over several uplinks move at once.

use std::sync::atomic::{AtomicBool, Ordering};

/// One port's link; up until somebody says otherwise.
#[derive(Debug)]
pub struct LinkState {
    is_up: AtomicBool,
    /// Somebody wants to know.
    is_watched: AtomicBool,
}

impl LinkState {
    /// Up.
    pub fn new() -> LinkState {
        LinkState {
            is_up: AtomicBool::new(true),
            is_watched: AtomicBool::new(false),
        }
    }

    /// Takes what the device says; returns whether that is news.
    pub fn set(&self, up: bool) -> bool {
        self.is_up.swap(up, Ordering::Relaxed) != up
    }

    /// True if packets sent may arrive.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// From now on whether it is up decides which way flows take.
    pub fn watch(&self) {
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// True if the device is to be asked again and again.
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }
}

impl Default for LinkState {
    fn default() -> Self {
        LinkState::new()
    }
}
