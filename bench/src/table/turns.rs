//! Whether the system let others run meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// How often this thread was given a core.
pub(super) struct Turns {
    file: Option<File>,
    taken: u64,
}

impl Turns {
    /// Of the calling thread, from now on. Where the kernel does not say, none is ever counted.
    pub(super) fn of_this_thread() -> Turns {
        let mut turns = Turns {
            file: File::open("/proc/thread-self/schedstat").ok(),
            taken: 0,
        };
        turns.passed();
        turns
    }

    /// Whether the thread had to wait for a core since the last question.
    pub(super) fn passed(&mut self) -> bool {
        let before = self.taken;
        let mut text = [0; 64];
        if let Some(file) = &self.file
            && let Ok(length) = file.read_at(&mut text, 0)
        {
            self.taken = parse(&text[..length]).unwrap_or(before);
        }
        self.taken != before
    }
}

/// The third number: time slices run on this core.
fn parse(schedstat: &[u8]) -> Option<u64> {
    let text = str::from_utf8(schedstat).ok()?;
    text.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn who_sleeps_takes_another_turn() {
        let mut turns = Turns::of_this_thread();
        thread::sleep(Duration::from_millis(1));
        assert!(turns.passed());
    }

    #[test]
    fn slices_are_the_third_number() {
        assert_eq!(parse(b"12003 5110 7\n"), Some(7));
        assert_eq!(parse(b""), None);
    }
}
