//! Open vSwitch with its userspace datapath, as the other end of a tunnel: another
//! program's reading of MPLS and GRE. It has a database, directories and processes
//! of its own, and touches none that the machine may run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{run, try_run, words};
use crate::lab::Namespace;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::until;

/// The bridge that has the fabric's interface and the underlay address.
pub const FABRIC: &str = "br-phy";
/// The bridge that has the machines and the tunnels.
pub const TENANTS: &str = "br-int";

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A running Open vSwitch. Killed when dropped; the switch before its database.
pub struct OpenVswitch {
    _switch: Process,
    _database: Process,
    scratch: Scratch,
}

impl OpenVswitch {
    /// Starts one in a namespace, with both bridges, [`FABRIC`] around the interface
    /// `up0` with this address. `None`, with a line that says so, where the package is
    /// not installed.
    ///
    /// # Panics
    /// If it does not come up within 10 s.
    pub fn start(node: &Namespace, address: &str) -> Option<OpenVswitch> {
        if try_run(&mut words("ovs-vswitchd --version")).status != Some(0) {
            eprintln!("left out: there is no ovs-vswitchd; scripts/setup installs it");
            return None;
        }
        let scratch = Scratch::new("openvswitch");
        let path = |name: &str| scratch.join(name);
        let text = |name: &str| path(name).display().to_string();
        run(Command::new("ovsdb-tool")
            .arg("create")
            .arg(path("conf.db"))
            .arg(SCHEMA));

        let mut database = own_directories(node.command("ovsdb-server"), &scratch);
        database.arg(path("conf.db")).args([
            format!("--remote=punix:{}", text("db.sock")),
            format!("--unixctl={}", text("db.ctl")),
        ]);
        let database = Process::start(&database, &path("database.log"));
        appears(&path("db.sock"));

        let mut switch = own_directories(node.command("ovs-vswitchd"), &scratch);
        switch.args([
            format!("unix:{}", text("db.sock")),
            format!("--unixctl={}", text("switch.ctl")),
            // Not the kernel's datapath, which is the whole machine's.
            "--disable-system".into(),
        ]);
        let switch = Process::start(&switch, &path("switch.log"));
        appears(&path("switch.ctl"));

        let switch = OpenVswitch {
            _switch: switch,
            _database: database,
            scratch,
        };
        for bridge in [FABRIC, TENANTS] {
            // Without flows of its own accord, the tenants' bridge forwards nothing.
            let mode = if bridge == TENANTS {
                "secure"
            } else {
                "standalone"
            };
            switch.configure(&format!(
                "add-br {bridge} -- set bridge {bridge} datapath_type=netdev fail_mode={mode}"
            ));
        }
        switch.configure(&format!("add-port {FABRIC} up0"));
        node.no_offloads(FABRIC);
        node.address(FABRIC, &[address]);
        node.run(&format!("ip link set {FABRIC} up"));
        Some(switch)
    }

    /// Adds an interface to the tenants' bridge as its port `number`; `more` are columns
    /// of its record.
    ///
    /// # Panics
    /// If Open vSwitch refuses.
    pub fn plug(&self, interface: &str, number: u16, more: &str) {
        self.configure(&format!(
            "add-port {TENANTS} {interface} -- set interface {interface} ofport_request={number} {more}"
        ));
    }

    /// Tells it the MAC of a neighbour on the fabric.
    ///
    /// # Panics
    /// If Open vSwitch refuses.
    pub fn know_neighbour(&self, address: &str, mac: &str) {
        let control = self.scratch.join("switch.ctl").display().to_string();
        run(&mut words(&format!(
            "ovs-appctl -t {control} tnl/neigh/set {FABRIC} {address} {mac}"
        )));
    }

    /// Adds a flow to the tenants' bridge.
    ///
    /// # Panics
    /// If Open vSwitch refuses.
    pub fn add_flow(&self, flow: &str) {
        run(Command::new("ovs-ofctl")
            .args(["-O", "OpenFlow13", "add-flow"])
            .arg(format!("unix:{}", self.bridge(TENANTS).display()))
            .arg(flow));
    }

    fn bridge(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.mgmt"))
    }

    fn configure(&self, line: &str) {
        let database = self.scratch.join("db.sock").display().to_string();
        run(&mut words(&format!(
            "ovs-vsctl --timeout=10 --db=unix:{database} {line}"
        )));
    }
}

/// Everything it would keep in the system's directories goes to its own.
fn own_directories(mut command: Command, scratch: &Scratch) -> Command {
    for name in ["RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR"] {
        command.env(format!("OVS_{name}"), &**scratch);
    }
    command
}

fn appears(path: &Path) {
    let what = format!("{} to appear", path.display());
    until(Duration::from_secs(10), &what, || {
        path.exists().then_some(())
    });
}
