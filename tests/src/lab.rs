//! Network namespaces: a node or a machine each, with cables between them.
//!
//! A lab is taken by one test at a time, in whatever process: scenarios pin
//! workers to cores and measure loss, and would disturb each other.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{run, try_run, words};

/// Namespaces are named `vrt-PID-NAME`, so that leftovers tell whose they were.
const PREFIX: &str = "vrt-";

/// The right to make namespaces; they are gone when it is dropped.
pub struct Lab {
    made: RefCell<Vec<String>>,
    _lock: File,
}

impl Lab {
    /// Waits until no other test has a lab, and clears what killed ones left.
    /// `None`, with a line that says so, when this process may not make network
    /// namespaces.
    ///
    /// # Panics
    /// If the lock file is not writable.
    pub fn enter() -> Option<Lab> {
        if try_run(&mut words("unshare --net true")).status != Some(0) {
            eprintln!("left out: making network namespaces needs root");
            return None;
        }
        let path = Path::new("/run/vrouter-test.lock");
        let lock = File::create(path).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
        flock(&lock, FlockOperation::LockExclusive).expect("a local file can be locked");
        remove_leftovers();
        Some(Lab {
            made: RefCell::default(),
            _lock: lock,
        })
    }

    /// Makes a namespace with its loopback interface up, and nothing else.
    pub fn namespace(&self, name: &str) -> Namespace {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        run(&mut words(&format!("ip netns add {name}")));
        self.made.borrow_mut().push(name.clone());
        let namespace = Namespace { name };
        // Interfaces come up without a word: no router solicitations, no
        // reports of multicast membership, no wait for duplicate addresses.
        for key in [
            "all.disable_ipv6=0",
            "default.accept_dad=0",
            "default.router_solicitations=0",
            "default.accept_ra=0",
        ] {
            namespace.run(&format!("sysctl -qw net.ipv6.conf.{key}"));
        }
        namespace.run("ip link set lo up");
        namespace
    }

    /// Lays a cable: a veth pair, both ends up, no offloads.
    ///
    /// Without offloads each end sends whole packets with whole checksums, as a
    /// cable would carry them.
    pub fn cable(
        &self,
        (a, a_name): (&Namespace, &str),
        (b, b_name): (&Namespace, &str),
        mtu: u16,
    ) {
        run(&mut words(&format!(
            "ip link add {a_name} mtu {mtu} netns {} type veth peer name {b_name} mtu {mtu} netns {}",
            a.name, b.name
        )));
        for (namespace, interface) in [(a, a_name), (b, b_name)] {
            namespace.no_offloads(interface);
            namespace.run(&format!("ip link set {interface} up"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in self.made.borrow().iter() {
            remove(name);
        }
    }
}

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = words(&format!("ip netns exec {}", self.name));
        command.arg(program);
        command
    }

    /// Runs a line of words inside, which must succeed; returns what it printed.
    pub fn run(&self, line: &str) -> String {
        run(&mut words(&format!("ip netns exec {} {line}", self.name)))
    }

    /// Runs a line of words inside.
    pub fn try_run(&self, line: &str) -> crate::Output {
        try_run(&mut words(&format!("ip netns exec {} {line}", self.name)))
    }

    /// Calls a function inside, on a thread of its own. Sockets it opens stay
    /// inside wherever they go.
    ///
    /// # Panics
    /// If the function does, or the namespace is gone.
    pub fn within<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        let file = File::open(&path).unwrap_or_else(|e| panic!("cannot open {path:?}: {e}"));
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                use std::os::fd::AsFd;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                call()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes an interface send whole packets with whole checksums.
    pub fn no_offloads(&self, interface: &str) {
        self.run(&format!(
            "ethtool -K {interface} tx off gso off tso off gro off"
        ));
    }

    /// Leaves an interface to a program: the kernel itself says nothing on it.
    pub fn silence(&self, interface: &str) {
        self.run(&format!(
            "sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1"
        ));
    }

    /// Brings an interface up with one address of each family.
    pub fn address(&self, interface: &str, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.run(&format!("ip addr add {address} dev {interface} {nodad}"));
        }
    }

    /// An interface's MAC, as text.
    ///
    /// # Panics
    /// If there is no such interface.
    pub fn mac(&self, interface: &str) -> String {
        self.run(&format!("cat /sys/class/net/{interface}/address"))
            .trim()
            .to_owned()
    }
}

fn remove(name: &str) {
    // Whatever still runs inside keeps the interfaces alive.
    let inside = try_run(&mut words(&format!("ip netns pids {name}")));
    for pid in inside.stdout.split_whitespace() {
        try_run(&mut words(&format!("kill -KILL {pid}")));
    }
    try_run(&mut words(&format!("ip netns del {name}")));
}

/// Removes namespaces of tests that were killed.
fn remove_leftovers() {
    let Ok(names) = fs::read_dir("/run/netns") else {
        return; // no namespace was ever made here
    };
    for name in names.flatten().map(|entry| entry.file_name()) {
        let name = name.to_string_lossy();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}
