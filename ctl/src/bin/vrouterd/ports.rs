//! A note of the UDP ports that pools have given out, beside the control socket, so that they rest
//! after a crash as after any other end (RFC 6888 REQ-8).
//!
//! Written once a second when it has changed, so what was given out in the last second before a crash
//! is not in it. One line an address: `198.51.100.1 1024 1030-1031`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io, thread};

use dataplane::Tables;
use dataplane::engine::Engine;
use dataplane::io::dpdk::Mbuf;
use dataplane::sessions::leftovers::UdpPorts;
use dataplane::snapshot::Watcher;
use tracing::{info, warn};

/// From one look at the ports to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the note up to date until it is dropped.
pub(crate) struct Keeper {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Lets the ports rest that the process before had given out, and notes those of this one.
pub(crate) fn keep(engine: &Engine<Mbuf>, socket: &Path) -> Result<Keeper, String> {
    let path = socket.with_extension("ports");
    let left = parse(&fs::read_to_string(&path).unwrap_or_default());
    let count: usize = left.values().map(Vec::len).sum();
    if count > 0 {
        info!("{count} UDP ports of pools rest, as they were given out before the start");
    }
    engine.tables().sessions().leftovers.inherit(left);
    let is_over = Arc::new(AtomicBool::new(false));
    let (watcher, flag) = (engine.watcher(), is_over.clone());
    let thread = thread::Builder::new()
        .name("ports".into())
        .spawn(move || run(watcher, &path, &flag))
        .map_err(|error| format!("cannot keep a note of ports: {error}"))?;
    Ok(Keeper {
        is_over,
        thread: Some(thread),
    })
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            _ = thread.join();
        }
    }
}

fn run(watcher: Watcher<Tables>, path: &Path, is_over: &AtomicBool) {
    let mut noted = String::new();
    let mut is_failing = false;
    loop {
        // Once more at the end, when nothing is given out any longer.
        let last = is_over.load(Ordering::Relaxed);
        let text = emit(&given_out(&watcher.current()));
        if text != noted {
            match write(path, &text) {
                Ok(()) => (noted, is_failing) = (text, false),
                Err(error) if !is_failing => {
                    warn!(
                        "cannot note the ports of pools in {}: {error}",
                        path.display()
                    );
                    is_failing = true;
                }
                Err(_) => {}
            }
        }
        if last {
            return;
        }
        thread::park_timeout(INTERVAL);
    }
}

fn given_out(tables: &Tables) -> UdpPorts {
    let mut all = UdpPorts::new();
    for (_, pool) in tables.pools() {
        let taken = pool.allotment.udp_ports();
        all.extend(taken.filter(|(_, ports)| !ports.is_empty()));
    }
    all
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new: PathBuf = path.with_extension("ports.new");
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(new, path)
}

fn emit(all: &UdpPorts) -> String {
    let mut text = String::new();
    for (addr, ports) in all {
        text += &addr.to_string();
        for run in ports.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
            text += &match run {
                [one] => format!(" {one}"),
                [first, .., last] => format!(" {first}-{last}"),
                [] => continue,
            };
        }
        text.push('\n');
    }
    text
}

/// What cannot be read is left out.
fn parse(text: &str) -> UdpPorts {
    let mut all = UdpPorts::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(addr) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        let ranges = words.filter_map(|word| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
        });
        all.insert(addr, ranges.flatten().collect());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut all = UdpPorts::new();
        let one = "198.51.100.1".parse().unwrap();
        all.insert(one, vec![1, 2, 3, 7, 1024, 65_534, 65_535]);
        all.insert("2001:db8::1".parse().unwrap(), vec![53]);
        let text = emit(&all);
        assert_eq!(
            text,
            "198.51.100.1 1-3 7 1024 65534-65535\n2001:db8::1 53\n"
        );
        assert_eq!(parse(&text), all);
    }

    #[test]
    fn what_is_damaged_is_left_out() {
        let read = parse("hello 1\n198.51.100.1 5 x 7-6 8-\n\n198.51.100.2 9");
        assert_eq!(read[&"198.51.100.1".parse().unwrap()], [5]);
        assert_eq!(read[&"198.51.100.2".parse().unwrap()], [9]);
        assert_eq!(read.len(), 2);
    }
}
