//! What most nodes run today: the kernel's routes, nftables and VXLAN device.
//!
//! Packets are put on one veth from outside by the generator's core; receive packet steering hands
//! them to the contenders' core, which does all the rest. What comes out of the other veth is
//! counted there and dropped at its ingress.

use std::fmt::Write as _;
use std::fs;
use std::path::Path as Directory;
use std::process::Command;

use super::Setting;
use super::contender::Device;
use super::path::{self, Path};
use super::process::{run, run_command};

/// The end of the machine's veth that the generator sends into.
pub(super) const MACHINE: &str = "vrbench-in";
/// The end of the uplink's veth where packets come out.
pub(super) const UPLINK: &str = "vrbench-out";

/// A network namespace, gone when dropped.
pub(super) struct Namespace(String);

impl Namespace {
    /// A new one.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn new(name: &str) -> Result<Namespace, String> {
        let name = format!("vrbench-{name}-{}", std::process::id());
        run(&format!("ip netns add {name}"))?;
        let namespace = Namespace(name);
        run_command(namespace.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// A command that runs in it.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = run(&format!("ip netns del {}", self.0));
    }
}

/// What drops all that comes out, as early as can be; gone when dropped.
struct Sink;

impl Sink {
    fn new() -> Result<Sink, String> {
        drop(Sink); // of an earlier run that was killed
        let chain =
            format!("{{ type filter hook ingress device {UPLINK} priority 0; policy drop; }}");
        run(&format!(
            "nft 'add table netdev vrbench; add chain netdev vrbench sink {chain}'"
        ))?;
        Ok(Sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        _ = run("nft delete table netdev vrbench 2>/dev/null");
    }
}

/// A namespace that forwards.
pub(super) struct Kernel {
    _sink: Sink,
    _namespace: Namespace,
    configuration: String,
}

/// Makes one.
///
/// # Errors
/// A sentence with what was refused.
pub(super) fn start(path: Path, setting: &Setting, place: &Directory) -> Result<Kernel, String> {
    let namespace = Namespace::new("kernel")?;
    for (outside, inside) in [(MACHINE, "machine"), (UPLINK, "uplink")] {
        // From an earlier run that was killed.
        _ = run(&format!("ip link del {outside} 2>/dev/null"));
        run(&format!(
            "ip link add {outside} type veth peer name {inside} netns {}",
            namespace.0
        ))?;
        run(&format!("ip link set {outside} up mtu 1600"))?;
        run(&format!(
            "sysctl -qw net.ipv6.conf.{outside}.disable_ipv6=1"
        ))?;
    }
    let sink = Sink::new()?;
    let configuration = commands(path, setting);
    let script = place.join("kernel.sh");
    fs::write(&script, &configuration)
        .map_err(|error| format!("cannot write {}: {error}", script.display()))?;
    run_command(namespace.command("sh").arg("-e").arg(&script))?;
    Ok(Kernel {
        _sink: sink,
        _namespace: namespace,
        configuration,
    })
}

impl Device for Kernel {
    // It works when there are packets.
    fn set_running(&self, _runs: bool) {}

    fn configuration(&self) -> String {
        self.configuration.clone()
    }
}

fn commands(path: Path, setting: &Setting) -> String {
    let mask = 1_u64 << setting.core;
    let mut text = format!(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0\n\
         ip link set machine address 00:00:5e:00:01:00 up mtu 1500\n\
         ip link set uplink address {} up mtu 1600\n\
         echo {mask:x} > /sys/class/net/machine/queues/rx-0/rps_cpus\n\
         ip addr add 10.0.0.1/15 dev machine\n\
         ip addr add {}/24 dev uplink\n\
         ip link add vx type vxlan id {} local {} dstport 4789 nolearning noudpcsum\n\
         ip link set vx address 00:00:5e:00:01:00 up mtu 1500\n",
        path::UPLINK,
        path::LOCAL,
        path::VNI,
        path::LOCAL,
    );
    let mut route = String::from("ip route add 10.128.0.0/9");
    for number in 0..path.nodes() {
        let (node, mac) = (path::node(number), path::node_mac(number));
        let (inner, gateway) = (number + 1, format!("169.254.0.{}", number + 1));
        _ = writeln!(
            text,
            "ip neigh add {node} lladdr {mac} dev uplink nud permanent\n\
             ip neigh add {gateway} lladdr 02:00:00:00:03:{inner:02x} dev vx nud permanent\n\
             bridge fdb add 02:00:00:00:03:{inner:02x} dev vx dst {node}",
        );
        _ = write!(route, " nexthop via {gateway} dev vx onlink");
    }
    _ = writeln!(
        text,
        "sysctl -qw net.ipv4.fib_multipath_hash_policy=1\n{route}"
    );
    if path == Path::Whole {
        policy(&mut text);
    }
    text
}

/// The policy and the service. Datagrams without an answer do not establish a connection: the mark
/// spares those that were let in the rules.
fn policy(text: &mut String) {
    let backends = (0..path::BACKENDS).map(|n| format!("{n} : {}", path::backend(n)));
    let backends = backends.collect::<Vec<_>>().join(", ");
    _ = writeln!(
        text,
        "sysctl -qw net.netfilter.nf_conntrack_max=2097152 2>/dev/null || true\n\
         nft -f - <<'END'\n\
         table ip vr {{\n\
         \x20 chain services {{\n\
         \x20   type nat hook prerouting priority dstnat;\n\
         \x20   ip daddr {} udp dport {} dnat to jhash ip saddr . udp sport mod {} map {{ {backends} }} : {}\n\
         \x20 }}\n\
         \x20 chain guards {{\n\
         \x20   type filter hook forward priority filter; policy drop;\n\
         \x20   ct state established,related accept\n\
         \x20   ct mark 1 accept",
        path::SERVICE,
        path::SERVICE_PORT,
        path::BACKENDS,
        path::BACKEND_PORT,
    );
    for id in 1..path::RULES {
        _ = writeln!(
            text,
            "    ip daddr 10.{}.{}.0/24 tcp dport {} accept",
            129 + id / 250,
            id % 250,
            1_000 + id,
        );
    }
    _ = writeln!(
        text,
        "    udp dport {} ct mark set 1 accept\n  }}\n}}\nEND",
        path::BACKEND_PORT
    );
}
