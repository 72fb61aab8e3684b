//! Where DPDK's log messages go.
//!
//! DPDK writes to one stream; the shim turns it into calls of [`receive`]. A
//! message goes to the sink of [`super::EalOptions`], except while something is
//! being tried (a start, a device): then errors are collected, to become part of
//! the error that the caller gets, and warnings count as notices, because
//! drivers warn of what they lack on every machine.

use std::cell::RefCell;
use std::ffi::c_char;
use std::fmt;
use std::slice;
use std::sync::OnceLock;

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something works, but not as it should.
    Warning,
    /// Normal, and worth knowing.
    Notice,
    /// Normal.
    Info,
    /// For whoever debugs a driver.
    Debug,
}

/// Takes one message. Called on whichever thread DPDK logs from, so it must not
/// call DPDK itself.
pub type LogSink = fn(LogLevel, &str);

impl LogLevel {
    /// From the numbers of `rte_log.h`: 1 is an emergency, 8 is debug.
    fn from_dpdk(level: u32) -> Self {
        match level {
            0..=4 => Self::Error,
            5 => Self::Warning,
            6 => Self::Notice,
            7 => Self::Info,
            _ => Self::Debug,
        }
    }

    /// The number in `rte_log.h`.
    pub(super) fn to_dpdk(self) -> u32 {
        self as u32 + 4
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// Messages on standard error, one line each.
pub(super) fn to_stderr(level: LogLevel, text: &str) {
    eprintln!("dpdk: {level}: {text}");
}

/// Sends every message up to `level` to `sink` from now on. Only the first call
/// counts.
pub(super) fn open(level: LogLevel, sink: LogSink) {
    if SINK.set((level, sink)).is_ok() {
        // SAFETY: `receive` has the signature asked for and lives for ever.
        // A failure leaves the messages on standard error, where they are seen.
        unsafe { dpdk_sys::vr_log_open(Some(receive)) };
    }
}

/// Runs `work`; the errors DPDK logs meanwhile on this thread are withheld from
/// the sink and returned.
pub(super) fn collect<T>(work: impl FnOnce() -> T) -> (T, String) {
    COLLECTED.set(Some(String::new()));
    let result = work();
    (result, COLLECTED.take().unwrap_or_default())
}

/// Passes a message of our own, or one that was withheld, to the sink.
pub(super) fn write(level: LogLevel, text: &str) {
    match SINK.get() {
        Some((limit, sink)) if level <= *limit => sink(level, text),
        _ => {}
    }
}

static SINK: OnceLock<(LogLevel, LogSink)> = OnceLock::new();

thread_local! {
    static COLLECTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Called by the shim for every message.
///
/// # Safety
/// `text` points to `len` bytes.
unsafe extern "C" fn receive(level: u32, text: *const c_char, len: usize) {
    // SAFETY: the caller promises it.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), len) };
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    match LogLevel::from_dpdk(level) {
        _ if text.is_empty() => {}
        LogLevel::Error if keep(text) => {}
        LogLevel::Warning if COLLECTED.with_borrow(Option::is_some) => {
            write(LogLevel::Notice, text);
        }
        level => write(level, text),
    }
}

/// Adds `text` to what this thread collects; `false` if it collects nothing.
fn keep(text: &str) -> bool {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(said) = collected else {
            return false;
        };
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(text);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_dpdk() {
        use LogLevel::*;
        for level in [Error, Warning, Notice, Info, Debug] {
            assert_eq!(LogLevel::from_dpdk(level.to_dpdk()), level);
        }
        assert_eq!(LogLevel::from_dpdk(1), Error);
    }

    #[test]
    fn errors_are_collected_in_order_and_only_while_asked() {
        assert!(!keep("before"));
        let (value, said) = collect(|| keep("one") && keep("two"));
        assert!(value);
        assert_eq!(said, "one; two");
        assert!(!keep("after"));
    }
}
