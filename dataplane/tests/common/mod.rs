//! A node in memory: configuration in, frames in, frames out, no threads.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::counters::Totals;
use dataplane::io::{Devices, Pool, memory};
use dataplane::snapshot::Publisher;
use dataplane::tables::Tables;
use dataplane::tables::change::{Change, Refusal, Request};
use dataplane::tables::spec::*;
use dataplane::worker::Worker;
use dataplane::{DropReason, accounts};
use encap::{Encap, MacAddr, MemBuffer, Vni};
use etherparse::PacketBuilder;
use flowtable::{FlowTable, Ticks, Timeouts};

pub const ROUTER: MacAddr = MacAddr::VROUTER;

pub struct Node {
    pub publisher: Publisher<Tables>,
    pub flows: Arc<FlowTable>,
    worker: Worker<MemBuffer>,
    peers: BTreeMap<String, memory::Peer>,
    now: Ticks,
}

impl Node {
    /// A node with these objects; every vif's device is in memory.
    pub fn new(objects: Vec<Object>) -> Node {
        Node::with_flow_table(1_000, objects)
    }

    /// The same with room for `pairs` flows.
    pub fn with_flow_table(pairs: usize, objects: Vec<Object>) -> Node {
        Node::with(pairs, Box::new(memory::Pool), objects)
    }

    /// The same with every packet taken through all stages.
    pub fn without_fast_path(mut self) -> Node {
        self.worker.leave_fast_path_out();
        self
    }

    /// The same with buffers from this pool.
    pub fn with(pairs: usize, pool: Box<dyn Pool<MemBuffer>>, objects: Vec<Object>) -> Node {
        let publisher = Publisher::new(Tables::new(1));
        let table = accounts::table_config(pairs, [1, 2, 3, 4], Timeouts::default(), 1);
        let flows = Arc::new(FlowTable::new(&table).with_endings(publisher.current().endings()));
        let worker = Worker::new(0, publisher.reader(), flows.clone(), pool);
        let mut node = Node {
            publisher,
            flows,
            worker,
            peers: BTreeMap::new(),
            now: Ticks(0),
        };
        node.apply(objects.into_iter().map(Change::Upsert).collect())
            .expect("the objects make a configuration");
        node
    }

    /// Commits, and plugs in the devices of new vifs.
    pub fn apply(&mut self, changes: Vec<Change>) -> Result<u64, Vec<Refusal>> {
        let before = self.publisher.current();
        let (tables, changed) = before.prepare(&request(changes))?.finish(|_| None);
        let tables = Arc::new(tables);
        accounts::set_quotas(&self.flows, &tables, &changed);
        self.publisher.publish(tables.clone());
        for key in &changed.deleted {
            if let Key::Vrf(name) = key
                && let Some(vrf) = before.vrf_named(name)
            {
                self.worker.forget(vrf.id);
            }
        }
        accounts::close(&self.flows, &before, &changed);
        for vif in tables.vifs() {
            if !self.peers.contains_key(&*vif.name) {
                let mut devices = memory::Devices::new();
                let peer = devices.plug(&vif.name, 1);
                let mut port = devices.open(&vif.name, 1).expect("it is plugged in");
                self.worker.attach_tx(vif.id, port.tx.remove(0));
                self.worker
                    .attach_rx(vif.id, vif.counters.clone(), port.rx.remove(0));
                self.peers.insert(vif.name.to_string(), peer);
            }
        }
        Ok(tables.generation())
    }

    /// Notes dropped packets from now on.
    pub fn note_drops(&mut self) -> dataplane::observe::drops::Notes {
        self.worker.observer().note_drops()
    }

    /// Captures from now on.
    pub fn capture(
        &mut self,
        wanted: dataplane::observe::capture::Wanted,
    ) -> dataplane::observe::capture::Seeing {
        let (tap, seeing) = dataplane::observe::capture::tap(&Arc::new(wanted));
        self.worker.observer().tap(tap);
        seeing
    }

    /// Lets frames arrive on a vif and takes them through the stages.
    pub fn send(&mut self, vif: &str, frames: &[Vec<u8>]) {
        for frame in frames {
            assert!(self.peers[vif].send(frame), "the receive ring is full");
        }
        self.worker.poll(self.now);
    }

    /// [`send`](Self::send), each frame in pieces of the lengths given with it.
    pub fn send_chained(&mut self, vif: &str, frames: &[(Vec<u8>, Vec<usize>)]) {
        for (frame, lens) in frames {
            let sent = self.peers[vif].send_chained(frame, lens);
            assert!(sent, "the receive ring is full");
        }
        self.worker.poll(self.now);
    }

    /// Lets a packet arrive with all a port says of it.
    pub fn send_packet(&mut self, vif: &str, packet: MemBuffer) {
        assert!(
            self.peers[vif].send_packet(packet),
            "the receive ring is full"
        );
        self.worker.poll(self.now);
    }

    /// What the node sent on a vif since last asked.
    pub fn recv(&mut self, vif: &str) -> Vec<Vec<u8>> {
        self.peers[vif].recv_all()
    }

    /// Sends one frame and expects exactly one on another vif, and none elsewhere.
    #[track_caller]
    pub fn exchange(&mut self, from: &str, frame: Vec<u8>, to: &str) -> Vec<u8> {
        self.send(from, &[frame]);
        let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
        for (vif, peer) in &self.peers {
            sent.extend(
                peer.recv_all()
                    .into_iter()
                    .map(|frame| (vif.clone(), frame)),
            );
        }
        let drops = self.drops(from);
        match &mut sent[..] {
            [(vif, frame)] if vif == to => std::mem::take(frame),
            other => panic!("expected one frame on {to}, got {other:x?}; drops: {drops:?}"),
        }
    }

    /// Sends one frame, expects nothing to leave but word of it to its sender, and returns the
    /// one reason.
    #[track_caller]
    pub fn refused(&mut self, from: &str, frame: Vec<u8>) -> DropReason {
        let before = self.totals(from);
        self.send(from, &[frame]);
        let after = self.totals(from);
        for (vif, peer) in &self.peers {
            let mut sent = peer.recv_all();
            if vif == from {
                let told = (after.originated - before.originated) as usize;
                sent.drain(..told.min(sent.len()));
            }
            assert_eq!(sent, Vec::<Vec<u8>>::new(), "sent on {vif}");
        }
        let news: Vec<DropReason> = DropReason::ALL
            .iter()
            .filter(|reason| after.drops[**reason as usize] > before.drops[**reason as usize])
            .copied()
            .collect();
        assert_eq!(news.len(), 1, "one drop with one reason, got {news:?}");
        news[0]
    }

    /// Lets the worker send router advertisements of its own accord.
    pub fn announce_routers(&mut self) {
        self.worker.announce_routers();
    }

    /// Everything the node sent since last asked, by vif.
    pub fn recv_all(&mut self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let frames = self
            .peers
            .iter()
            .map(|(vif, peer)| (vif.clone(), peer.recv_all()));
        frames.filter(|(_, frames)| !frames.is_empty()).collect()
    }

    pub fn pass(&mut self, ms: u32) {
        self.now = self.now.after(ms);
        self.worker.poll(self.now);
    }

    /// The clock.
    pub fn now(&self) -> Ticks {
        self.now
    }

    pub fn totals(&self, vif: &str) -> Totals {
        let tables = self.publisher.current();
        tables
            .vif_named(vif)
            .expect("the vif exists")
            .counters
            .totals()
    }

    /// Every frame that came in or was made here is sent, consumed or dropped;
    /// none must be waiting.
    #[track_caller]
    pub fn check_accounts(&self) {
        assert!(!self.worker.is_waiting(), "what waits is not counted yet");
        let mut sum = Totals::default();
        for vif in self.publisher.current().vifs() {
            sum += vif.counters.totals();
        }
        let drops: u64 = sum.drops.iter().sum();
        assert_eq!(
            sum.rx_packets + sum.originated,
            sum.tx_packets + sum.consumed + drops,
            "{sum:?}"
        );
    }

    /// What the worker keeps of fragments.
    pub fn fragments(&self) -> dataplane::stage::fragments::Usage {
        self.worker.fragment_gauge().read()
    }

    /// What the worker keeps of tunnel packets' fragments.
    pub fn reassembly(&self) -> dataplane::stage::fragments::Usage {
        self.worker.reassembly_gauge().read()
    }

    /// Takes a vif's queues away, as before it is removed.
    pub fn detach(&mut self, vif: &str) {
        let tables = self.publisher.current();
        let id = tables.vif_named(vif).expect("the vif exists").id;
        self.worker.detach(id);
    }

    pub fn is_waiting(&self) -> bool {
        self.worker.is_waiting()
    }

    pub fn drops(&self, vif: &str) -> Vec<(DropReason, u64)> {
        self.totals(vif).drops().collect()
    }
}

/// Whatever a test does: every packet is accounted for.
impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() || self.worker.is_waiting() {
            return;
        }
        self.check_accounts();
    }
}

pub fn request(changes: Vec<Change>) -> Request {
    Request {
        owner: "test".into(),
        replace: false,
        if_generation: None,
        changes,
    }
}

pub fn vrf(name: &str, gateways: &[&str]) -> Object {
    Object::Vrf(Vrf {
        name: name.into(),
        gateways: gateways
            .iter()
            .map(|net| net.parse().expect("a prefix"))
            .collect(),
        mode: ForwardingMode::Both,
        mac: ROUTER,
        flow_quota: None,
        learning: false,
        router_advertisement: None,
        tcp_mss_clamp: None,
        guards: Default::default(),
    })
}

pub fn tenant(name: &str, vrf: &str, mac: MacAddr, addresses: &[&str]) -> Object {
    Object::Vif(Vif {
        name: name.into(),
        device: format!("memory:{name}").into(),
        role: Role::Tenant,
        vrf: vrf.into(),
        mac: Some(mac),
        addresses: addresses.iter().map(|addr| net(addr)).collect(),
        vlan: None,
        mtu: None,
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Default::default(),
    })
}

pub fn fabric(name: &str, mac: MacAddr, addresses: &[&str]) -> Object {
    Object::Vif(Vif {
        name: name.into(),
        device: format!("memory:{name}").into(),
        role: Role::Fabric,
        vrf: UNDERLAY.into(),
        mac: Some(mac),
        addresses: addresses.iter().map(|addr| net(addr)).collect(),
        vlan: None,
        mtu: Some(1600),
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Default::default(),
    })
}

pub fn tunnel(name: &str, remote: &str, vni: u32, inner_mac: Option<MacAddr>) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Tunnel(Tunnel {
            inner_mac,
            ..Tunnel::new(ip(remote), Encap::Vxlan(Vni::new(vni).expect("24 bits")))
        }),
    })
}

/// Pool `out` of what machines of red send to public, from one address.
pub fn snat_pool(address: &str, ports: std::ops::RangeInclusive<u16>) -> Object {
    Object::SnatPool(SnatPool {
        name: "out".into(),
        vrf: "red".into(),
        sources: vec![],
        outside_vrf: "public".into(),
        addresses: vec![net(address)],
        ports,
        block_size: None,
        ports_per_vif: None,
        filtering: Filtering::EndpointIndependent,
        nat64_prefix: None,
    })
}

pub fn route(vrf: &str, prefix: &str, nexthop: &str) -> Object {
    Object::Route(Route {
        vrf: vrf.into(),
        prefix: net(prefix),
        nexthop: nexthop.into(),
    })
}

pub fn mac(vrf: &str, mac: MacAddr, nexthop: &str, addr: Option<&str>) -> Object {
    Object::Mac(Mac {
        vrf: vrf.into(),
        mac,
        nexthop: nexthop.into(),
        ip: addr.map(ip),
    })
}

pub fn vni(number: u32, vrf: &str) -> Object {
    Object::Vni(VniEntry {
        vni: Vni::new(number).expect("24 bits"),
        to: Arrival::Vrf(vrf.into()),
    })
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap_or_else(|_| ip(text).into())
}

/// A UDP packet with 5 bytes of payload, of either family, built by etherparse.
pub fn udp(src: (MacAddr, &str), dst: (MacAddr, &str), ttl: u8) -> Vec<u8> {
    udp_ports(src, dst, ttl, (1111, 2222))
}

/// What the receiver of [`udp`] answers.
pub fn udp_answer(src: (MacAddr, &str), dst: (MacAddr, &str), ttl: u8) -> Vec<u8> {
    udp_ports(src, dst, ttl, (2222, 1111))
}

/// The same with other ports, source first.
pub fn udp_ports(
    src: (MacAddr, &str),
    dst: (MacAddr, &str),
    ttl: u8,
    ports: (u16, u16),
) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(src.0.0, dst.0.0);
    let network = match (ip(src.1), ip(dst.1)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), ttl),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), ttl),
        _ => panic!("one family"),
    };
    let builder = network.udp(ports.0, ports.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"hello").expect("it fits");
    frame
}

/// A TCP packet of either family, with the identification of piece `id`.
pub fn tcp(
    macs: (MacAddr, MacAddr),
    dst: &str,
    ttl: u8,
    id: u16,
    tcp: &etherparse::TcpHeader,
    data: &[u8],
) -> Vec<u8> {
    let src = if dst.contains(':') {
        "fd01::10"
    } else {
        "10.1.0.10"
    };
    let link = PacketBuilder::ethernet2(macs.0.0, macs.1.0);
    let network = match (ip(src), ip(dst)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mut header = etherparse::Ipv4Header::new(
                0,
                ttl,
                etherparse::IpNumber::TCP,
                a.octets(),
                b.octets(),
            )
            .expect("short");
            header.identification = id;
            link.ip(etherparse::IpHeaders::Ipv4(
                header,
                etherparse::Ipv4Extensions::default(),
            ))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), ttl),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    network
        .tcp_header(tcp.clone())
        .write(&mut frame, data)
        .expect("it fits");
    frame
}

/// A TCP header from port 40000 to 80, with FIN and PSH if it is the last.
pub fn tcp_header(sequence: u32, is_last: bool) -> etherparse::TcpHeader {
    let mut header = etherparse::TcpHeader::new(40_000, 80, sequence, 512);
    header.ack = true;
    header.acknowledgment_number = 77;
    (header.psh, header.fin) = (is_last, is_last);
    header
}

/// Bytes that are not alike.
pub fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * n / 251) as u8).collect()
}

/// The part of a whole frame's IP payload from `start` to `end` as a fragment,
/// written from RFC 791 §3.2 and RFC 8200 §4.5.
pub fn piece(whole: &[u8], id: u32, start: usize, end: usize) -> Vec<u8> {
    let is_ipv4 = whole[14] >> 4 == 4;
    let header = if is_ipv4 { 14 + 20 } else { 14 + 40 };
    let more = u16::from(header + end < whole.len());
    let mut frame = whole[..header].to_vec();
    if is_ipv4 {
        let field = more << 13 | (start / 8) as u16;
        frame[16..18].copy_from_slice(&(20 + end as u16 - start as u16).to_be_bytes());
        frame[18..20].copy_from_slice(&(id as u16).to_be_bytes());
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame[24..26].fill(0);
        let sum: u32 = frame[14..34]
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&folded.to_be_bytes());
    } else {
        let next_header = std::mem::replace(&mut frame[20], 44);
        frame[18..20].copy_from_slice(&(8 + end as u16 - start as u16).to_be_bytes());
        frame.extend([next_header, 0]);
        frame.extend((start as u16 | more).to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(&whole[header + start..header + end]);
    frame
}

/// A frame cut at these places.
pub fn cut(whole: &[u8], id: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let header = if whole[14] >> 4 == 4 {
        14 + 20
    } else {
        14 + 40
    };
    let ends = cuts.iter().copied().chain([whole.len() - header]);
    let mut start = 0;
    let pieces = ends.map(|end| {
        let one = piece(whole, id, start, end);
        start = end;
        one
    });
    pieces.collect()
}

/// VXLAN headers (RFC 7348 §5) around an inner frame, built by etherparse.
pub fn vxlan(outer: [(MacAddr, &str); 2], vni: u32, inner: &[u8]) -> Vec<u8> {
    let [(src_mac, src), (dst_mac, dst)] = outer;
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip(src), ip(dst)) else {
        panic!("IPv4 underlay");
    };
    let mut payload = vec![0x08, 0, 0, 0];
    payload.extend(&(vni << 8).to_be_bytes());
    payload.extend(inner);
    let builder = PacketBuilder::ethernet2(src_mac.0, dst_mac.0)
        .ipv4(src.octets(), dst.octets(), 64)
        .udp(50_000, 4789);
    let mut frame = Vec::new();
    builder.write(&mut frame, &payload).expect("it fits");
    frame
}

/// An ARP packet, written out from RFC 826.
pub fn arp(op: u16, sender: (MacAddr, &str), target: (MacAddr, &str), dst: MacAddr) -> Vec<u8> {
    let addr = |text: &str| match ip(text) {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(_) => panic!("ARP is for IPv4"),
    };
    let mut frame = [&dst.0[..], &sender.0.0, &[0x08, 0x06, 0, 1, 8, 0, 6, 4]].concat();
    frame.extend(&op.to_be_bytes());
    frame.extend(
        [
            &sender.0.0[..],
            &addr(sender.1),
            &target.0.0,
            &addr(target.1),
        ]
        .concat(),
    );
    frame
}

/// A small deterministic generator (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
