//! Open vSwitch's userspace datapath with DPDK, as Debian packages it: conntrack for policy and
//! translation, select groups for backends and tunnels.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path as Directory, PathBuf};
use std::process::Command;

use super::Setting;
use super::contender::Device;
use super::generator::Feed;
use super::kernel::Namespace;
use super::path::{self, Path};
use super::process::{Process, run, run_command};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// The program with DPDK; the plain one has none.
const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

/// A running Open vSwitch with a database and directories of its own.
pub(super) struct OpenVswitch {
    switch: Process,
    _database: Process,
    _namespace: Namespace,
    settings: Vec<String>,
    flows: String,
}

/// It sends by a queue for its polling thread and one for all its others.
pub(super) const QUEUES: usize = 2;

/// Starts one.
///
/// # Errors
/// A sentence, if it is not installed or refuses something.
pub(super) fn start(
    path: Path,
    setting: &Setting,
    place: &Directory,
    socket: &Directory,
    feed: &Feed,
) -> Result<OpenVswitch, String> {
    if !PathBuf::from(PROGRAM).exists() {
        return Err(format!(
            "there is no {PROGRAM}; install openvswitch-switch-dpdk"
        ));
    }
    let namespace = Namespace::new("ovs")?;
    let file = |name: &str| place.join(name);
    let database_file = file("conf.db");
    let made = Command::new("ovsdb-tool")
        .arg("create")
        .arg(&database_file)
        .arg(SCHEMA)
        .output();
    made.map_err(|error| format!("ovsdb-tool: {error}"))?;

    let mut database = own_directories(namespace.command("ovsdb-server"), place);
    database.arg(&database_file).args([
        format!("--remote=punix:{}", file("db.sock").display()),
        format!("--unixctl={}", file("db.ctl").display()),
    ]);
    let mut database = Process::start(&database, &file("database.log"))?;
    database.until(|| file("db.sock").exists())?;

    let control = format!(
        "ovs-vsctl --timeout=20 --db=unix:{}",
        file("db.sock").display()
    );
    let mut settings = vec![format!(
        "--no-wait set Open_vSwitch . other_config:dpdk-init=true \
         other_config:dpdk-extra=\"--in-memory --no-pci --no-telemetry --iova-mode=va\" \
         other_config:dpdk-socket-mem=512 other_config:dpdk-lcore-mask={:#x} \
         other_config:pmd-cpu-mask={:#x}",
        1_u64 << setting.generator_core,
        1_u64 << setting.core,
    )];
    run(&format!("{control} {}", settings[0]))?;

    let mut switch = own_directories(namespace.command(PROGRAM), place);
    switch.args([
        format!("unix:{}", file("db.sock").display()),
        format!("--unixctl={}", file("switch.ctl").display()),
        "--disable-system".into(),
    ]);
    let mut switch = Process::start(&switch, &file("switch.log"))?;
    switch.until(|| file("switch.ctl").exists())?;

    for line in bridges(path, &socket.display().to_string()) {
        run(&format!("{control} {line}"))?;
        settings.push(line);
    }
    switch.until(|| feed.is_connected())?;
    let inside = |line: &str| run_command(namespace.command("sh").args(["-c", line]));
    inside(&format!(
        "ip addr add {}/24 dev br-phy && ip link set br-phy up",
        path::LOCAL
    ))?;
    let app = format!("ovs-appctl -t {}", file("switch.ctl").display());
    for number in 0..path.nodes() {
        let (node, mac) = (path::node(number), path::node_mac(number));
        run(&format!("{app} tnl/neigh/set br-phy {node} {mac}"))?;
    }
    let rules = flows(path);
    let (groups_file, flows_file) = (file("groups"), file("flows"));
    let write = |file: &Directory, text: &str| {
        fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
    };
    let bridge = file("br-int.mgmt");
    let of = format!(
        "ovs-ofctl -O OpenFlow15 --bundle add-groups unix:{}",
        bridge.display()
    );
    let groups = groups(path);
    if !groups.is_empty() {
        write(&groups_file, &groups)?;
        run(&format!("{of} {}", groups_file.display()))?;
    }
    write(&flows_file, &rules)?;
    run(&format!(
        "ovs-ofctl -O OpenFlow15 --bundle add-flows unix:{} {}",
        bridge.display(),
        flows_file.display()
    ))?;
    Ok(OpenVswitch {
        switch,
        _database: database,
        _namespace: namespace,
        settings,
        flows: format!("{groups}{rules}"),
    })
}

impl Device for OpenVswitch {
    fn set_running(&self, runs: bool) {
        self.switch.set_running(runs);
    }

    fn configuration(&self) -> String {
        let settings = self.settings.iter();
        let settings: String = settings.map(|line| format!("ovs-vsctl {line}\n")).collect();
        format!("{}\n{settings}{}", self.switch.line(), self.flows)
    }
}

/// Everything it would keep in the system's directories goes to its own.
fn own_directories(mut command: Command, place: &Directory) -> Command {
    for name in ["RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR"] {
        command.env(format!("OVS_{name}"), place);
    }
    command
}

/// The tenants' bridge with the machine and the tunnel, the fabric's with the uplink.
fn bridges(path: Path, socket: &str) -> Vec<String> {
    let port = |bridge: &str, name: &str, id: u8, number: u8| {
        format!(
            "add-port {bridge} {name} -- set interface {name} type=dpdk ofport_request={number} \
             options:dpdk-devargs=net_memif{id},id={id},role=client,socket={socket},socket-abstract=no,rsize=10"
        )
    };
    let remote = match path {
        Path::Encap => path::node(0).to_string(),
        Path::Whole => "flow".into(),
    };
    vec![
        format!(
            "add-br br-phy -- set bridge br-phy datapath_type=netdev fail_mode=standalone other-config:hwaddr={}",
            path::UPLINK
        ),
        "add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure protocols=OpenFlow13,OpenFlow15".into(),
        port("br-phy", "uplink", 1, 1),
        port("br-int", "machine", 0, 1),
        format!(
            "add-port br-int vx -- set interface vx type=vxlan ofport_request=2 options:remote_ip={remote} options:key={}",
            path::VNI
        ),
    ]
}

/// Select groups: backends, and tunnels.
fn groups(path: Path) -> String {
    if path == Path::Encap {
        return String::new();
    }
    let mut backends = String::from("group_id=1,type=select");
    let mut tunnels = String::from("group_id=2,type=select");
    for number in 0..path::BACKENDS {
        _ = write!(
            backends,
            ",bucket=bucket_id={number},weight=1,actions=ct(commit,zone=1,table=2,nat(dst={}:{}))",
            path::backend(number),
            path::BACKEND_PORT,
        );
        _ = write!(
            tunnels,
            ",bucket=bucket_id={number},weight=1,actions=set_field:{}->tun_dst,output:2",
            path::node(number),
        );
    }
    format!("{backends}\n{tunnels}\n")
}

/// What the tenants' bridge does.
fn flows(path: Path) -> String {
    let from_machine = format!("in_port=1,dl_src={},ip,nw_src=10.1.0.0/16", path::MACHINE);
    let route = "dec_ttl,set_field:00:00:5e:00:01:00->eth_src,set_field:00:00:5e:00:01:00->eth_dst";
    if path == Path::Encap {
        return format!(
            "table=0,priority=10,{from_machine},nw_dst=10.128.0.0/9 actions={route},output:2\n"
        );
    }
    // A datagram's connection stays new until there is an answer, and is translated all the same.
    let mut text = format!(
        "table=0,priority=10,{from_machine} actions=ct(zone=1,nat,table=1)\n\
         table=1,priority=20,ct_state=+trk+est,ip actions=resubmit(,3)\n\
         table=1,priority=15,ct_state=+trk+new+dnat,ip actions=resubmit(,3)\n\
         table=1,priority=10,ct_state=+trk+new,udp,nw_dst={},tp_dst={} actions=group:1\n",
        path::SERVICE,
        path::SERVICE_PORT,
    );
    for id in 1..path::RULES {
        _ = writeln!(
            text,
            "table=2,priority={},tcp,nw_dst=10.{}.{}.0/24,tp_dst={} actions=resubmit(,3)",
            path::RULES + 1 - id,
            129 + id / 250,
            id % 250,
            1_000 + id,
        );
    }
    _ = writeln!(
        text,
        "table=2,priority=1,udp,tp_dst={} actions=resubmit(,3)\n\
         table=3,priority=10,ip,nw_dst=10.128.0.0/9 actions={route},group:2",
        path::BACKEND_PORT,
    );
    text
}
