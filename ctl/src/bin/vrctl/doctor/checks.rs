//! The checks, one a function: each looks at the node and says what it found.

use ctl::proto::{Encap, Pages, Payload, Role, nexthop};

use super::{Finding, Grade, Node};

/// All findings, in the order in which to mend them.
pub(super) fn all(node: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    found.push(hugepages(node));
    found.extend(cores(node));
    found.extend(numa(node));
    found.extend(offloads(node));
    found.extend(mtus(node));
    found.extend(links(node));
    found.extend(losses(node));
    found.push(flow_table(node));
    found
}

fn good(topic: &'static str, what: impl Into<String>) -> Finding {
    Finding {
        grade: Grade::Good,
        topic,
        what: what.into(),
        cost: String::new(),
        remedy: String::new(),
    }
}

fn slow(
    topic: &'static str,
    what: impl Into<String>,
    cost: &str,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        grade: Grade::Slow,
        topic,
        what: what.into(),
        cost: cost.into(),
        remedy: remedy.into(),
    }
}

fn bad(
    topic: &'static str,
    what: impl Into<String>,
    cost: &str,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        grade: Grade::Bad,
        ..slow(topic, what, cost, remedy)
    }
}

fn hugepages(node: &Node) -> Finding {
    let table = node.stats.flow_table.unwrap_or_default();
    let (total, free) = node.system.hugepages();
    let mib = table.memory_bytes >> 20;
    let wanted = table.memory_bytes.div_ceil(2 << 20) + 80;
    match table.pages() {
        Pages::Reserved2m => good(
            "hugepages",
            format!("the flow table's {mib} MiB are in reserved 2 MiB pages"),
        ),
        Pages::Transparent2m => good(
            "hugepages",
            format!("the flow table's {mib} MiB are in transparent 2 MiB pages"),
        ),
        _ => slow(
            "hugepages",
            format!(
                "the flow table's {mib} MiB are in 4 KiB pages; {total} of 2 MiB are reserved, {free} free"
            ),
            "a table larger than the TLB's reach, some 8 MiB, pays a page walk for most look-ups: \
             tens of nanoseconds a packet; packet buffers are at twice the cost, too",
            format!("sysctl vm.nr_hugepages={wanted}, and start vrouterd again"),
        ),
    }
}

fn cores(node: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    let all = node.system.cores();
    let isolated = node.system.isolated_cores();
    let workers: Vec<u32> = node
        .stats
        .workers
        .iter()
        .map(|worker| worker.core)
        .collect();
    for core in &workers {
        if !all.is_empty() && !all.contains(core) {
            // Another machine's daemon, through a forwarded socket.
            found.push(slow(
                "cores",
                format!("core {core} is not of this machine"),
                "the checks of this machine mean nothing",
                "run vrctl doctor where vrouterd runs",
            ));
            continue;
        }
        let shared: Vec<_> = node.system.siblings(*core);
        if let Some(other) = shared
            .iter()
            .find(|other| workers.contains(other) && *other > core)
        {
            found.push(slow(
                "cores",
                format!("workers {core} and {other} are two threads of one core"),
                "each has little more than half a core",
                "name cores that are not each other's siblings in `cores`",
            ));
        }
        if let Some(governor) = node.system.governor(*core).filter(|it| it != "performance") {
            found.push(slow(
                "cores",
                format!("core {core} changes its frequency ({governor})"),
                "the first packets after a pause meet a slow core: up to 0.1 ms",
                format!("cpupower -c {core} frequency-set -g performance"),
            ));
        }
    }
    let exposed: Vec<_> = workers
        .iter()
        .filter(|core| !isolated.contains(core))
        .collect();
    if !exposed.is_empty() {
        let list: Vec<_> = exposed.iter().map(ToString::to_string).collect();
        let list = list.join(",");
        found.push(slow(
            "cores",
            format!("the kernel schedules other work on cores {list}"),
            "a worker that is put aside for a few milliseconds loses what its rings do not hold: \
             1024 packets, a third of a millisecond at 3 Mpps",
            format!("boot with isolcpus={list} nohz_full={list} rcu_nocbs={list}, and keep interrupts off them"),
        ));
    }
    if all.len() > 1 && workers.len() == all.len() {
        found.push(slow(
            "cores",
            "workers have all cores",
            "commits, and everything else on this machine, wait for a worker's nap or disturb it",
            "leave one core out of `cores`",
        ));
    }
    if found.is_empty() {
        found.push(good(
            "cores",
            format!("{} workers on cores of their own", workers.len()),
        ));
    }
    found
}

fn numa(node: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    let workers = node.stats.workers.iter().map(|worker| worker.core);
    let homes: Vec<(u32, Option<u32>)> = workers
        .map(|core| (core, node.system.node_of_core(core)))
        .collect();
    let table = node.stats.flow_table.unwrap_or_default().numa_node;
    for (core, home) in &homes {
        if let (Some(home), Some(table)) = (home, table)
            && *home != table
        {
            found.push(slow(
                "numa",
                format!("core {core} is on node {home}, the flow table on node {table}"),
                "each look-up that misses the cache takes half as long again",
                "put workers on one node, or flow_table_numa_node where most are",
            ));
        }
    }
    for vif in &node.vifs {
        let device = interface_of(&vif.device);
        let Some(of_device) = node.system.node_of_device(device) else {
            continue;
        };
        if homes
            .iter()
            .all(|(_, home)| home.is_some_and(|home| home != of_device))
        {
            found.push(slow(
                "numa",
                format!(
                    "the device of vif {} is on node {of_device}, and no worker is",
                    vif.name
                ),
                "every packet crosses between the processors twice: some 100 ns",
                format!("choose cores of node {of_device}"),
            ));
        }
    }
    if found.is_empty() {
        found.push(good("numa", "workers, devices and flow table are together"));
    }
    found
}

/// The interface or PCI address in a device string.
fn interface_of(device: &str) -> &str {
    let mut arguments = device.split(',');
    let first = arguments.next().unwrap_or_default();
    arguments
        .find_map(|it| it.strip_prefix("iface="))
        .unwrap_or(first)
}

fn offloads(node: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut looked = 0;
    for vif in &node.vifs {
        let is_kernel = ["net_af_packet", "net_af_xdp"]
            .iter()
            .any(|it| vif.device.starts_with(it));
        let interface = interface_of(&vif.device);
        let Some(on) = node.system.offloads(interface).filter(|_| is_kernel) else {
            continue;
        };
        looked += 1;
        let merges = ["generic-receive-offload", "large-receive-offload"];
        let merges: Vec<_> = merges
            .into_iter()
            .filter(|it| on.iter().any(|on| on == it))
            .collect();
        if !merges.is_empty() {
            found.push(bad(
                "offloads",
                format!(
                    "{interface} (vif {}) merges packets: {}",
                    vif.name,
                    merges.join(", ")
                ),
                "merged packets are longer than the ring's frames, and lost as rx_oversized",
                format!("ethtool -K {interface} gro off lro off"),
            ));
        }
        if on.iter().any(|on| on == "rx-vlan-offload") && vif.vlan.is_some() {
            found.push(bad(
                "offloads",
                format!("{interface} (vif {}) takes VLAN tags off", vif.name),
                "frames come without the tag that the vif wants, and are dropped as vlan_unexpected",
                format!("ethtool -K {interface} rxvlan off"),
            ));
        }
    }
    for vif in &node.stats.vifs {
        let mut drops = vif.drops.iter();
        let wrong = drops.find(|drop| {
            matches!(
                &drop.reason[..],
                "l4_checksum" | "icmp_checksum" | "udp_checksum"
            )
        });
        if let Some(wrong) = wrong {
            found.push(bad(
                "offloads",
                format!(
                    "{} packets came on vif {} with a wrong checksum ({})",
                    wrong.packets, vif.name, wrong.reason
                ),
                "they are lost, as are those that nobody verifies here, at their receiver",
                "at the other end of a veth: ethtool -K DEVICE tx off",
            ));
        }
    }
    if found.is_empty() {
        found.push(good(
            "offloads",
            format!("nothing to be seen against {looked} kernel interfaces"),
        ));
    }
    found
}

/// Whether what machines send fits through the tunnels.
fn mtus(node: &Node) -> Vec<Finding> {
    const DEFAULT: u32 = 1_500;
    let mtu = |vif: &ctl::proto::Vif| {
        let of_device = || node.system.mtu(interface_of(&vif.device));
        vif.mtu.or_else(of_device).unwrap_or(DEFAULT)
    };
    let of_role = |role: Role| node.vifs.iter().filter(move |vif| vif.role() == role);
    let Some(uplink) = of_role(Role::Fabric).min_by_key(|vif| mtu(vif)) else {
        return vec![good("mtu", "no uplink, no tunnels to fit into")];
    };
    let Some(machine) = of_role(Role::Tenant).max_by_key(|vif| mtu(vif)) else {
        return vec![good("mtu", "no machines")];
    };
    let (link, largest) = (mtu(uplink), mtu(machine));
    let mut worst: Option<(u32, &str)> = None;
    for it in &node.nexthops {
        let Some(nexthop::Action::Tunnel(tunnel)) = &it.action else {
            continue;
        };
        let overhead = overhead(tunnel);
        let link = tunnel.mtu.map_or(link, |mtu| mtu.min(link));
        let fits = link.saturating_sub(overhead);
        if fits < largest && worst.is_none_or(|(least, _)| fits < least) {
            worst = Some((fits, &it.name));
        }
    }
    match worst {
        None => vec![good(
            "mtu",
            format!("packets of {largest} bytes fit through every tunnel of {link} byte uplinks"),
        )],
        Some((fits, name)) => vec![slow(
            "mtu",
            format!(
                "vif {} sends packets of {largest} bytes, and {fits} fit through nexthop {name} over {} ({link})",
                machine.name, uplink.name
            ),
            "each larger packet is cut in two, or refused and sent again once its sender knows: \
             half the packet rate, and connections that hang where ICMP is filtered",
            format!(
                "raise the uplinks' MTU to {}, or give machines mtu: {fits}",
                largest + (link - fits.min(link))
            ),
        )],
    }
}

/// Bytes that a tunnel adds to a packet of IP.
fn overhead(tunnel: &ctl::proto::Tunnel) -> u32 {
    const ETHERNET: u32 = 14;
    let ip = if tunnel.remote.contains(':') { 40 } else { 20 };
    let inner = match (tunnel.encap(), tunnel.payload()) {
        (Encap::Vxlan, _) | (_, Payload::Ethernet) => ETHERNET,
        _ => 0,
    };
    let headers = match tunnel.encap() {
        Encap::Vxlan => 8 + 8,
        Encap::MplsUdp => 8 + 4,
        Encap::MplsGre | Encap::Unspecified => 4 + 4,
    };
    ip + headers + inner
}

fn links(node: &Node) -> Vec<Finding> {
    let down: Vec<_> = node.stats.vifs.iter().filter(|vif| !vif.link_up).collect();
    match &down[..] {
        [] => vec![good(
            "links",
            format!("all {} are up", node.stats.vifs.len()),
        )],
        down => {
            let names: Vec<_> = down.iter().map(|vif| &vif.name[..]).collect();
            vec![bad(
                "links",
                format!("down: {}", names.join(", ")),
                "what is sent there is lost",
                "look at the other end: the cable, the machine, the veth",
            )]
        }
    }
}

/// What has been lost where no rule wanted it.
fn losses(node: &Node) -> Vec<Finding> {
    let mut found = Vec::new();
    for vif in &node.stats.vifs {
        let device = vif.device.unwrap_or_default();
        let mut drops = vif.drops.iter();
        let full = drops.find(|drop| drop.reason == "tx_ring_full");
        let full = full.map_or(0, |drop| drop.packets);
        if device.rx_missed + device.rx_no_buffer > 0 {
            found.push(bad(
                "losses",
                format!(
                    "the device of vif {} lost {} received packets",
                    vif.name,
                    device.rx_missed + device.rx_no_buffer
                ),
                "workers were too slow for it, or put aside",
                "another core in `cores`, isolated cores, longer rings",
            ));
        }
        if device.rx_oversized > 0 {
            found.push(bad(
                "losses",
                format!(
                    "{} frames on vif {} were longer than its ring's",
                    device.rx_oversized, vif.name
                ),
                "they are lost",
                "switch off merging (ethtool -K … gro off lro off), or set the vif's mtu",
            ));
        }
        if full > 0 {
            found.push(bad(
                "losses",
                format!(
                    "{full} packets found the transmit ring of vif {} full",
                    vif.name
                ),
                "they are lost",
                "whoever is behind it reads too slowly; give it a meter, or more of a core",
            ));
        }
    }
    if found.is_empty() {
        found.push(good("losses", "no device and no ring lost a packet"));
    }
    found
}

fn flow_table(node: &Node) -> Finding {
    let table = node.stats.flow_table.unwrap_or_default();
    let share = 100.0 * table.high_water as f64 / table.limit.max(1) as f64;
    let what = format!("at most {share:.0} % of {} flows were in use", table.limit);
    match (table.refused, share) {
        (0, 0.0..85.0) => good("flows", what),
        (0, _) => slow(
            "flows",
            what,
            "when it is full, half-open flows go first, and then new ones are refused",
            "raise flow_table_size, or set flow_quota of vrfs",
        ),
        (refused, _) => bad(
            "flows",
            format!("{what}, {refused} found no room"),
            "their packets were dropped as flow_table_full",
            "raise flow_table_size, or set flow_quota of vrfs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use ctl::proto::{self, FlowTableStats, StatsResponse, Tunnel, Vif, VifStats, WorkerStats};

    use super::super::System;
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Two processors of two cores of two threads; the NIC is at the second.
    fn machine(root: &Path) {
        put(
            root,
            "proc/meminfo",
            "HugePages_Total:    1024\nHugePages_Free:     12\n",
        );
        put(root, "sys/devices/system/cpu/online", "0-7\n");
        put(root, "sys/devices/system/cpu/isolated", "2,3,6,7\n");
        put(root, "sys/devices/system/node/online", "0-1\n");
        put(root, "sys/devices/system/node/node0/cpulist", "0,1,4,5\n");
        put(root, "sys/devices/system/node/node1/cpulist", "2,3,6,7\n");
        for core in 0..8 {
            let siblings = format!("{},{}\n", core % 4, core % 4 + 4);
            let of = format!("sys/devices/system/cpu/cpu{core}");
            put(
                root,
                &format!("{of}/topology/thread_siblings_list"),
                &siblings,
            );
            put(
                root,
                &format!("{of}/cpufreq/scaling_governor"),
                "performance\n",
            );
        }
        put(root, "sys/class/net/eth1/mtu", "1600\n");
        put(root, "sys/class/net/eth1/device/numa_node", "1\n");
        put(
            root,
            "ethtool/eth1",
            "Features:\ngeneric-receive-offload: off\ntx-checksumming: on\n",
        );
    }

    fn node(root: &Path, cores: &[u32]) -> Node {
        let worker = |core: &u32| WorkerStats {
            core: *core,
            ..WorkerStats::default()
        };
        let vif = |name: &str, role: Role, device: &str| Vif {
            name: name.into(),
            role: role.into(),
            device: device.into(),
            ..Vif::default()
        };
        let tunnel = Tunnel {
            encap: Encap::Vxlan.into(),
            remote: "192.0.2.2".into(),
            ..Tunnel::default()
        };
        Node {
            stats: StatsResponse {
                workers: cores.iter().map(worker).collect(),
                vifs: vec![VifStats {
                    name: "up0".into(),
                    link_up: true,
                    ..VifStats::default()
                }],
                flow_table: Some(FlowTableStats {
                    limit: 1_000,
                    pages: Pages::Reserved2m.into(),
                    numa_node: Some(1),
                    ..FlowTableStats::default()
                }),
                ..StatsResponse::default()
            },
            vifs: vec![
                vif("up0", Role::Fabric, "net_af_packet0,iface=eth1"),
                vif("web-1", Role::Tenant, "net_vhost0,iface=/run/vm.sock"),
            ],
            nexthops: vec![proto::Nexthop {
                name: "far".into(),
                action: Some(nexthop::Action::Tunnel(tunnel)),
                ..proto::Nexthop::default()
            }],
            system: System::at(root),
        }
    }

    fn wrong(node: &Node) -> Vec<String> {
        let found = all(node).into_iter().filter(|it| it.grade != Grade::Good);
        found
            .map(|it| {
                assert!(!it.cost.is_empty() && !it.remedy.is_empty(), "{it:?}");
                format!("{}: {}", it.topic, it.what)
            })
            .collect()
    }

    #[test]
    fn a_node_as_it_should_be_is_found_so() {
        let dir = tempfile::tempdir().unwrap();
        machine(dir.path());
        assert_eq!(wrong(&node(dir.path(), &[2, 3])), [""; 0]);
    }

    #[test]
    fn workers_in_the_wrong_place_are_found() {
        let dir = tempfile::tempdir().unwrap();
        machine(dir.path());
        assert_eq!(
            wrong(&node(dir.path(), &[0, 4])),
            [
                "cores: workers 0 and 4 are two threads of one core",
                "cores: the kernel schedules other work on cores 0,4",
                "numa: core 0 is on node 0, the flow table on node 1",
                "numa: core 4 is on node 0, the flow table on node 1",
                "numa: the device of vif up0 is on node 1, and no worker is",
            ]
        );
        put(
            dir.path(),
            "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
            "powersave\n",
        );
        assert_eq!(
            wrong(&node(dir.path(), &[2])),
            ["cores: core 2 changes its frequency (powersave)"]
        );
    }

    #[test]
    fn pages_offloads_mtus_links_and_losses_are_found() {
        let dir = tempfile::tempdir().unwrap();
        machine(dir.path());
        put(dir.path(), "sys/class/net/eth1/mtu", "1500\n");
        put(dir.path(), "ethtool/eth1", "generic-receive-offload: on\n");
        let mut node = node(dir.path(), &[2]);
        let table = node.stats.flow_table.as_mut().unwrap();
        table.pages = Pages::Small4k.into();
        table.memory_bytes = 64 << 20;
        (table.high_water, table.refused) = (1_000, 5);
        let vif = &mut node.stats.vifs[0];
        vif.link_up = false;
        vif.device = Some(proto::DeviceStats {
            rx_missed: 9,
            ..proto::DeviceStats::default()
        });
        assert_eq!(
            wrong(&node),
            [
                "hugepages: the flow table's 64 MiB are in 4 KiB pages; 1024 of 2 MiB are reserved, 12 free",
                "offloads: eth1 (vif up0) merges packets: generic-receive-offload",
                "mtu: vif web-1 sends packets of 1500 bytes, and 1450 fit through nexthop far over up0 (1500)",
                "links: down: up0",
                "losses: the device of vif up0 lost 9 received packets",
                "flows: at most 100 % of 1000 flows were in use, 5 found no room",
            ]
        );
    }

    #[test]
    fn what_tunnels_add_is_known() {
        let of = |encap: Encap, payload: Payload, remote: &str| {
            overhead(&Tunnel {
                encap: encap.into(),
                payload: payload.into(),
                remote: remote.into(),
                ..Tunnel::default()
            })
        };
        assert_eq!(of(Encap::Vxlan, Payload::Unspecified, "192.0.2.2"), 50);
        assert_eq!(of(Encap::Vxlan, Payload::Unspecified, "2001:db8::2"), 70);
        assert_eq!(of(Encap::MplsUdp, Payload::Ip, "192.0.2.2"), 32);
        assert_eq!(of(Encap::MplsUdp, Payload::Ethernet, "192.0.2.2"), 46);
        assert_eq!(of(Encap::MplsGre, Payload::Ip, "192.0.2.2"), 28);
    }
}
