//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// Asks every 20 ms until the answer is there; returns it.
///
/// # Panics
/// If there is none within `limit`; `what` completes "waited 5 s for …".
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < limit,
            "waited {} s for {what}",
            limit.as_secs_f32()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
