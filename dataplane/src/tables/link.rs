//! Whether a port's link carries packets: one cell per vif, shared by every
//! snapshot and by whoever watches the device.
//!
//! A link that fails is therefore no commit: workers see it with one relaxed
//! load at the next packet, and flows over several uplinks move at once.

use std::sync::atomic::{AtomicBool, Ordering};

/// One port's link; up until somebody says otherwise.
#[derive(Debug)]
pub struct LinkState(AtomicBool);

impl LinkState {
    /// Up.
    pub fn new() -> LinkState {
        LinkState(AtomicBool::new(true))
    }

    /// Takes what the device says; returns whether that is news.
    pub fn set(&self, up: bool) -> bool {
        self.0.swap(up, Ordering::Relaxed) != up
    }

    /// True if packets sent may arrive.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for LinkState {
    fn default() -> Self {
        LinkState::new()
    }
}
