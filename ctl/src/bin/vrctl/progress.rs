//! What takes longer than a moment says so, on terminals.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// A shorter wait is none.
const MOMENT: Duration = Duration::from_millis(700);

/// Waits for `work`, and meanwhile shows `what` and for how long on standard error.
pub(crate) async fn wait<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    let began = Instant::now();
    let mut shown = false;
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(MOMENT) => {
                // A terminal that is gone needs no progress.
                _ = write!(io::stderr(), "\r{what} … {} s", began.elapsed().as_secs());
                shown = true;
            }
        }
    };
    if shown {
        _ = write!(io::stderr(), "\r\x1b[K");
    }
    done
}
