//! Our own daemon, from its node file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path as Directory;
use std::process::Command;

use super::Setting;
use super::contender::Device;
use super::generator::Feed;
use super::path::{self, Path};
use super::process::Process;

/// A running vrouterd.
pub(super) struct Vrouter {
    process: Process,
    file: String,
}

/// Starts one.
///
/// # Errors
/// A sentence, if it is not there or does not start.
pub(super) fn start(
    path: Path,
    setting: &Setting,
    place: &Directory,
    socket: &Directory,
    feed: &Feed,
) -> Result<Vrouter, String> {
    start_idle("busy", path, setting, place, socket, feed)
}

/// Likewise, with a word on what its worker does without packets.
///
/// # Errors
/// A sentence, if it is not there or does not start.
pub(super) fn start_idle(
    idle: &str,
    path: Path,
    setting: &Setting,
    place: &Directory,
    socket: &Directory,
    feed: &Feed,
) -> Result<Vrouter, String> {
    let file = node_file(idle, path, setting, place, socket);
    let at = place.join("node.yaml");
    fs::write(&at, &file).map_err(|error| format!("cannot write {}: {error}", at.display()))?;
    let mut command = Command::new(&setting.vrouterd);
    command.arg("--config").arg(&at);
    let mut process = Process::start(&command, &place.join("vrouterd.log"))?;
    process.until(|| feed.is_connected())?;
    Ok(Vrouter { process, file })
}

impl Vrouter {
    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Device for Vrouter {
    fn set_running(&self, runs: bool) {
        self.process.set_running(runs);
    }

    fn configuration(&self) -> String {
        format!("{}\n{}", self.process.line(), self.file)
    }
}

fn node_file(
    idle: &str,
    path: Path,
    setting: &Setting,
    place: &Directory,
    socket: &Directory,
) -> String {
    let flows = (setting.most_flows * 5 / 4).max(1 << 16);
    let (core, place, socket) = (setting.core, place.display(), socket.display());
    let device = |id: u32| {
        format!("net_memif{id},id={id},role=client,socket={socket},socket-abstract=no,rsize=10")
    };
    let mut text = format!(
        "cores: [{core}]\n\
         idle: {idle}\n\
         flow_table_size: {flows}\n\
         socket: {place}/ctl.sock\n\
         state_dir: {place}/state\n\
         objects:\n\
         \x20 vrfs:\n\
         \x20   - {{name: tenant}}\n\
         \x20 vifs:\n\
         \x20   - {{name: uplink, role: fabric, device: \"{}\", mac: \"{}\", addresses: [{}/24], mtu: 1600}}\n\
         \x20   - {{name: machine, role: tenant, device: \"{}\", vrf: tenant, mac: \"{}\", addresses: [10.1.0.0/16]{}}}\n",
        device(1),
        path::UPLINK,
        path::LOCAL,
        device(0),
        path::MACHINE,
        match path {
            Path::Encap => "",
            Path::Whole => ", egress_policies: [thousand]",
        },
    );
    nexthops(path, &mut text);
    if path == Path::Whole {
        decisions(&mut text);
    }
    text
}

/// Tunnels, routes and the neighbours behind them.
fn nexthops(path: Path, text: &mut String) {
    _ = writeln!(text, "  nexthops:\n    - {{name: known, discard: {{}}}}");
    for number in 0..path.nodes() {
        _ = writeln!(
            text,
            "    - {{name: to-{number}, tunnel: {{encap: vxlan, remote: {}, vni: {}}}}}",
            path::node(number),
            path::VNI,
        );
    }
    let nexthop = match path {
        Path::Encap => "to-0",
        Path::Whole => {
            let members = (0..path.nodes()).map(|number| format!("{{nexthop: to-{number}}}"));
            let members = members.collect::<Vec<_>>().join(", ");
            _ = writeln!(text, "    - {{name: all, group: {{members: [{members}]}}}}");
            "all"
        }
    };
    _ = writeln!(
        text,
        "  routes:\n    - {{vrf: tenant, prefix: 10.128.0.0/9, nexthop: {nexthop}}}"
    );
    // So that nothing waits for ARP.
    _ = writeln!(text, "  macs:");
    for number in 0..path.nodes() {
        _ = writeln!(
            text,
            "    - {{vrf: underlay, mac: \"{}\", nexthop: known, ip: {}}}",
            path::node_mac(number),
            path::node(number),
        );
    }
}

/// The policy, the last rule of which holds, and the service.
fn decisions(text: &mut String) {
    _ = writeln!(text, "  policies:\n    - name: thousand\n      rules:");
    for id in 1..path::RULES {
        _ = writeln!(
            text,
            "        - {{id: {id}, action: allow, protocol: tcp, destinations: [10.{}.{}.0/24], destination_ports: [\"{}\"]}}",
            129 + id / 250,
            id % 250,
            1_000 + id,
        );
    }
    _ = writeln!(
        text,
        "        - {{id: {}, action: allow, protocol: udp, destination_ports: [\"{}\"]}}",
        path::RULES,
        path::BACKEND_PORT,
    );
    _ = writeln!(
        text,
        "  services:\n    - name: web\n      vrf: tenant\n      address: {}\n      protocol: udp\n      port: {}\n      backends:",
        path::SERVICE,
        path::SERVICE_PORT,
    );
    for number in 0..path::BACKENDS {
        _ = writeln!(
            text,
            "        - {{address: {}, port: {}, weight: 1}}",
            path::backend(number),
            path::BACKEND_PORT,
        );
    }
}
