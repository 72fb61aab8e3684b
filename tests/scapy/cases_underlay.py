"""The fabric side: neighbours, several uplinks, tags, and the node's kernel."""

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from cases_errors import about4
from golden import Anything, Case, case
from network import CONFIG, KNOWN, NODE, OTHER, RED_A, RED_C, ROUTER, arriving, ether, routed, tunnelled

NODE6, OTHER6 = "2001:db8::1", "2001:db8::2"
SOLICITED_NODE6 = ("33:33:ff:00:00:01", "ff02::1:ff00:1")
SOLICITED_OTHER6 = ("33:33:ff:00:00:02", "ff02::1:ff00:2")
ALL_NODES = ("33:33:00:00:00:01", "ff02::1")

CONFIG6 = CONFIG.replace("addresses: [192.0.2.1/24]", f'addresses: ["{NODE6}/64"]').replace(
    "192.0.2.2", f'"{OTHER6}"'
)

# The kernel's interface has the uplink's MAC.
HOST = '  - {name: kernel, role: host, device: net_null9, mac: "02:00:00:00:00:01"}\n'
WITH_HOST = KNOWN.replace("nexthops:\n", HOST + "nexthops:\n")


def ecmp(weights, members=None):
    """An uplink and a router for each weight, and 10.255.0.1 on all uplinks."""
    numbers = range(len(weights))
    members = members or numbers
    lines = ["vrfs:", "  - {name: red, gateways: [10.1.0.1/24]}", "vifs:"]
    for n in numbers:
        lines.append(
            f'  - {{name: up{n}, role: fabric, device: net_null{n}, mac: "{uplink_mac(n)}", '
            f"addresses: [198.51.{n}.1/24, 10.255.0.1/32]}}"
        )
    lines.append(
        f'  - {{name: red_a, role: tenant, device: net_null{len(weights)}, vrf: red, '
        f'mac: "{RED_A.mac}", addresses: [10.1.0.5]}}'
    )
    lines.append("nexthops:")
    lines += [f"  - {{name: spine{n}, vif: up{n}, address: 198.51.{n}.254}}" for n in numbers]
    group = ", ".join(f"{{nexthop: spine{n}, weight: {weights[n]}}}" for n in members)
    lines.append(f"  - {{name: spines, group: {{members: [{group}]}}}}")
    lines.append("  - {name: far, tunnel: {encap: vxlan, remote: 203.0.113.9, vni: 5001}}")
    lines.append("routes:")
    lines.append("  - {vrf: underlay, prefix: 203.0.113.0/24, nexthop: spines}")
    lines.append("  - {vrf: red, prefix: 10.1.0.9/32, nexthop: far}")
    lines.append("macs:")
    for n in numbers:
        lines.append(f'  - {{vrf: underlay, mac: "{spine_mac(n)}", nexthop: spine{n}, ip: 198.51.{n}.254}}')
    lines += ["vnis:", "  - {vni: 5001, vrf: red}"]
    return "\n".join(lines) + "\n"


def uplink_mac(n):
    return f"02:00:00:00:03:{n:02x}"


def spine_mac(n):
    return f"02:00:00:00:04:{n:02x}"


def solicitation(target=NODE6, hlim=255, options=True, to=SOLICITED_NODE6):
    ns = Ether(src=OTHER.mac, dst=to[0]) / IPv6(src=OTHER6, dst=to[1], hlim=hlim) / ICMPv6ND_NS(tgt=target)
    return ns / ICMPv6NDOptSrcLLAddr(lladdr=OTHER.mac) if options else ns


def advertisement(mac=OTHER.mac, flags="RSO", hlim=255, src=OTHER6, dst=NODE6):
    bits = {bit: int(bit in flags) for bit in "RSO"}
    return (
        Ether(src=mac, dst=NODE.mac)
        / IPv6(src=src, dst=dst, hlim=hlim)
        / ICMPv6ND_NA(tgt=src, **bits)
        / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


def our_solicitation():
    return (
        Ether(src=NODE.mac, dst=SOLICITED_OTHER6[0])
        / IPv6(src=NODE6, dst=SOLICITED_OTHER6[1], hlim=255)
        / ICMPv6ND_NS(tgt=OTHER6)
        / ICMPv6NDOptSrcLLAddr(lladdr=NODE.mac)
    )


def tunnel6(inner):
    """RFC 7348 over IPv6; the flow label is ours to choose (RFC 6438)."""
    return (
        Ether(src=NODE.mac, dst=OTHER.mac)
        / IPv6(src=NODE6, dst=OTHER6, hlim=64)
        / UDP(sport=49152, dport=4789, chksum=0)
        / VXLAN(flags=8, vni=5001)
        / inner
    )


# Chassis and port by MAC, two minutes, the end (IEEE 802.1AB).
LLDP = bytes.fromhex("0207040200000000020407030200000000020602007800" + "00") + bytes(22)


def udp(port=40000, src=RED_A, dst=RED_C):
    return ether(src, ROUTER) / IP(src=src.v4, dst=dst.v4) / UDP(sport=port, dport=45000) / b"up"


@case
def neighbour_solicitation_is_answered_on_the_fabric():
    """RFC 4861 section 7.2.4."""
    answer = (
        Ether(src=NODE.mac, dst=OTHER.mac)
        / IPv6(src=NODE6, dst=OTHER6, hlim=255)
        / ICMPv6ND_NA(tgt=NODE6, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=NODE.mac)
    )
    return Case(CONFIG6, [("up0", solicitation())], [("up0", answer)])


@case
def x7_invalid_neighbour_discovery_is_ignored():
    """RFC 4861 section 7.1.1, 7.1.2: hop limit, option length, multicast target."""
    zero_option = solicitation(options=False) / b"\x01\x00\x00\x00\x00\x00\x00\x00"
    solicited_to_all = advertisement(dst=ALL_NODES[1], flags="SO")
    wrong = [
        solicitation(hlim=254),
        zero_option,
        solicitation(target="ff02::1"),
        advertisement(hlim=64),
        advertisement(src="ff02::1"),
        solicited_to_all,
    ]
    wrong = [Ether(bytes(packet)) for packet in wrong]
    return Case(CONFIG6, [("up0", p) for p in wrong], drops={("up0", "malformed_nd"): len(wrong)})


@case
def x8_fragmented_neighbour_discovery_is_ignored():
    """RFC 6980 section 5, even if the only fragment is the whole."""
    whole = solicitation()
    message = bytes(Ether(bytes(whole))[ICMPv6ND_NS])
    ip = IPv6(src=OTHER6, dst=SOLICITED_NODE6[1], hlim=255)
    packet = Ether(src=OTHER.mac, dst=SOLICITED_NODE6[0]) / ip / IPv6ExtHdrFragment(nh=58, m=0, offset=0) / message
    return Case(CONFIG6, [("up0", packet)], drops={("up0", "malformed_nd"): 1})


@case
def neighbour_discovery_lets_waiting_packets_go():
    """RFC 4861 section 7.2.2; an answer that fails the checks does not count."""
    sent = udp()
    sent[IP].flags = "DF"

    def check(vif, frames):
        if vif != "up0" or len(frames) != 2:
            return
        have, want = frames[1], bytes(tunnel6(routed(sent, ROUTER, ROUTER)))
        label = int.from_bytes(have[14:18], "big") & 0xFFFFF
        if label == 0:
            yield "no flow label (RFC 6438 section 3)"
        # But for the source port, and a checksum that may be there (RFC 6935).
        if any(have[part] != want[part] for part in (slice(18, 54), slice(56, 60), slice(62, None))):
            yield f"tunnel packet differs\n  want {want.hex()}\n  have {have.hex()}"

    return Case(
        CONFIG6,
        [("red_a", sent, 0.0), ("up0", advertisement(hlim=254), 0.1), ("up0", advertisement(), 0.2)],
        [("up0", our_solicitation()), ("up0", Anything(tunnel6(routed(sent, ROUTER, ROUTER))))],
        drops={("up0", "malformed_nd"): 1},
        consumed=1,
        originated=1,
        more=check,
    )


@case
def nobody_is_believed_who_was_not_asked():
    """Gratuitous ARP (RFC 5227 section 3) and unsolicited advertisements: only for who is needed."""
    stranger = Ether(src=RED_C.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="is-at", hwsrc=RED_C.mac, psrc="192.0.2.77", hwdst="ff:ff:ff:ff:ff:ff", pdst="192.0.2.77"
    )
    asking = stranger.copy()
    asking[ARP].op = "who-has"
    return Case(
        KNOWN,
        [("up0", stranger), ("up0", asking)],
        drops={("up0", "neighbour_unsolicited"): 1, ("up0", "not_for_us"): 1},
    )


@case
def a_gratuitous_arp_of_a_needed_neighbour_moves_it():
    """RFC 826: the merge flag; a static neighbour (KNOWN) would not move."""
    new = "02:00:00:00:00:99"
    ask = Ether(src=NODE.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=NODE.mac, psrc=NODE.v4, hwdst="00:00:00:00:00:00", pdst=OTHER.v4
    )
    gratuitous = [
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        / ARP(op="is-at", hwsrc=mac, psrc=OTHER.v4, hwdst="ff:ff:ff:ff:ff:ff", pdst=OTHER.v4)
        for mac in (OTHER.mac, new)
    ]
    moved = tunnelled(5001, routed(udp(), ROUTER, ROUTER))
    moved.packet.dst = new
    return Case(
        CONFIG,
        [("red_a", udp(), 0), ("up0", gratuitous[0], 0.1), ("up0", gratuitous[1], 0.2), ("red_a", udp(), 0.3)],
        [("up0", ask), ("up0", tunnelled(5001, routed(udp(), ROUTER, ROUTER))), ("up0", moved)],
        consumed=2,
        originated=1,
    )


@case
def a_static_neighbour_neither_moves_nor_is_asked_for():
    spoofed = Ether(src=RED_C.mac, dst=NODE.mac) / ARP(
        op="is-at", hwsrc=RED_C.mac, psrc=OTHER.v4, hwdst=NODE.mac, pdst=NODE.v4
    )
    return Case(
        KNOWN,
        [("up0", spoofed), ("red_a", udp())],
        [("up0", tunnelled(5001, routed(udp(), ROUTER, ROUTER)))],
        consumed=1,
    )


def flows(count):
    """A frame of each of so many flows, by source port."""
    frame = bytes(ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_C.v4) / UDP(dport=45000, chksum=0) / b"up")
    return [frame[:34] + port.to_bytes(2, "big") + frame[36:] for port in range(50000, 50000 + count)]


class Taken:
    """Which uplink each flow took, and whether the frames are as they should be."""

    def __init__(self, sent, judge):
        self.sent, self.judge = sent, judge
        self.by_flow, self.frames, self.seen = {}, 0, set()

    def __call__(self, vif, frames):
        n = int(vif.removeprefix("up"))
        addresses = bytes.fromhex((spine_mac(n) + uplink_mac(n)).replace(":", ""))
        for frame in frames:
            if frame[:12] != addresses or frame[26:34] != bytes([10, 255, 0, 1, 203, 0, 113, 9]):
                yield f"{vif} sent {frame[:34].hex()}"
            flow = int.from_bytes(frame[84:86], "big")
            if self.by_flow.setdefault(flow, n) != n:
                yield f"flow {flow} took two uplinks"
        self.frames += len(frames)
        if self.frames == len(self.sent):
            yield from self.judge(self.by_flow)


@case
def k1_a_flow_has_one_path():
    """RFC 2992 section 3: in order, over one uplink, however many packets."""
    sent = flows(1) * 5000
    for number, frame in enumerate(sent):
        # The IPv4 id numbers the packets; the checksum follows it (RFC 1624).
        header = bytearray(frame[14:34])
        header[4:6], header[10:12] = number.to_bytes(2, "big"), b"\0\0"
        total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2))
        total = (total & 0xFFFF) + (total >> 16)
        header[10:12] = (0xFFFF - (total & 0xFFFF) - (total >> 16)).to_bytes(2, "big")
        sent[number] = frame[:14] + bytes(header) + frame[34:]

    def ordered(vif, frames):
        if [int.from_bytes(frame[68:70], "big") for frame in frames] != list(range(5000)):
            yield f"{vif} sent {len(frames)} frames, or not in order"

    return Case(ecmp([1] * 8), [("red_a", p) for p in sent], None, more=ordered)


@case
def k2_flows_spread_by_weight():
    """RFC 2992: 3,600 flows, each path within 15 % of its weight."""
    weights, sent = [1, 2, 1, 4], flows(3600)

    def spread(by_flow):
        for n, weight in enumerate(weights):
            share = sum(1 for path in by_flow.values() if path == n) / (3600 * weight / sum(weights))
            if not 0.85 < share < 1.15:
                yield f"up{n} has {share:.2f} of its weight"

    return Case(ecmp(weights), [("red_a", p) for p in sent], None, more=Taken(sent, spread))


K3_BEFORE = {}


@case
def k3_eight_paths():
    """The first half of K3: where 3,600 flows go with eight paths."""
    sent = flows(3600)

    def remember(by_flow):
        K3_BEFORE.update(by_flow)
        if len(set(by_flow.values())) != 8:
            yield "not all paths are used"

    return Case(ecmp([1] * 8), [("red_a", p) for p in sent], None, more=Taken(sent, remember))


@case
def k3_one_path_less_moves_no_other_flow():
    """RFC 2992 section 3: of the flows on the seven paths that stay, none moves."""
    sent = flows(3600)

    def stay(by_flow):
        moved = [flow for flow, path in by_flow.items() if K3_BEFORE[flow] not in (3, path)]
        if moved:
            yield f"{len(moved)} flows moved that need not"
        if 3 in by_flow.values():
            yield "the path that is gone is used"

    rest = [n for n in range(8) if n != 3]
    return Case(ecmp([1] * 8, rest), [("red_a", p) for p in sent], None, more=Taken(sent, stay))


@case
def the_kernel_gets_what_is_not_ours():
    """SSH, LLDP, OSPF, an 802.3 frame, a tagged one, ARP for others; and sends the same."""
    ssh = ether(OTHER, NODE) / IP(src=OTHER.v4, dst=NODE.v4) / TCP(sport=5555, dport=22, flags="S")
    lldp = Ether(src=OTHER.mac, dst="01:80:c2:00:00:0e", type=0x88CC) / LLDP
    ospf = Ether(src=OTHER.mac, dst="01:00:5e:00:00:05") / IP(src=OTHER.v4, dst="224.0.0.5", proto=89, ttl=1) / (b"o" * 44)
    bfd = ether(OTHER, NODE) / IP(src=OTHER.v4, dst=NODE.v4, ttl=255) / UDP(sport=49152, dport=3784) / (b"b" * 24)
    stp = Ether(src=OTHER.mac, dst="01:80:c2:00:00:00", type=38) / (b"\x42\x42\x03" + bytes(43))
    tagged = Ether(src=OTHER.mac, dst=NODE.mac) / Dot1Q(vlan=7) / arriving(5001, udp()).payload
    arp = Ether(src=OTHER.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op="who-has", hwsrc=OTHER.mac, psrc=OTHER.v4, pdst="192.0.2.9")
    frames = [ssh, lldp, ospf, bfd, stp, tagged, arp]
    inputs = [("up0", frame) for frame in frames] + [("kernel", frame) for frame in frames]
    return Case(WITH_HOST, inputs, [("kernel", f) for f in frames] + [("up0", f) for f in frames])


@case
def nothing_of_a_tenant_is_the_kernels():
    """A tenant's frames to the node's own addresses, MACs and groups stay inside; the virtual router
    knows no way to them."""
    own = [
        Ether(src=RED_A.mac, dst=ROUTER) / IP(src=RED_A.v4, dst=NODE.v4) / TCP(sport=1, dport=22, flags="S"),
        Ether(src=RED_A.mac, dst=NODE.mac) / IP(src=RED_A.v4, dst=NODE.v4) / TCP(sport=1, dport=22, flags="S"),
    ]
    multicast = [
        Ether(src=RED_A.mac, dst="01:80:c2:00:00:0e", type=0x88CC) / LLDP,
        Ether(src=RED_A.mac, dst="01:00:5e:00:00:05") / IP(src=RED_A.v4, dst="224.0.0.5", proto=89) / (b"o" * 44),
    ]
    asking = Ether(src=RED_A.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op="who-has", hwsrc=RED_A.mac, psrc=RED_A.v4, pdst=NODE.v4)
    return Case(
        WITH_HOST,
        [("red_a", frame) for frame in own + multicast + [asking]],
        [("red_a", about4(own[0], 3, 0))],
        originated=1,
        drops={
            ("red_a", "no_route"): 1,
            ("red_a", "no_mac"): 1,
            ("red_a", "multicast"): 2,
            ("red_a", "neighbour_unanswered"): 1,
        },
    )


@case
def a_tagged_uplink():
    """802.1Q tag 100 on every frame, added and taken off; others are refused."""
    tag = Dot1Q(vlan=100)

    def tagged(packet):
        ethernet = packet.copy()
        ethernet.remove_payload()
        del ethernet.type
        return Ether(src=ethernet.src, dst=ethernet.dst) / tag / packet.payload

    config = KNOWN.replace("addresses: [192.0.2.1/24]}", "addresses: [192.0.2.1/24], vlan: 100}")
    want = tunnelled(5001, routed(udp(), ROUTER, ROUTER))
    want = Anything(want.bytes[:12] + b"\x81\x00\x00\x64" + want.bytes[12:])

    def check(vif, frames):
        if vif == "up0" and frames and frames[0][:52] != want.bytes[:34 + 4] + frames[0][38:40] + want.bytes[40:52]:
            yield f"want {want.bytes.hex()}\n  have {frames[0].hex()}"

    ask = Ether(src=OTHER.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op="who-has", hwsrc=OTHER.mac, psrc=OTHER.v4, hwdst="00:00:00:00:00:00", pdst=NODE.v4)
    is_at = Ether(src=NODE.mac, dst=OTHER.mac) / ARP(op="is-at", hwsrc=NODE.mac, psrc=NODE.v4, hwdst=OTHER.mac, pdst=OTHER.v4)
    other_tag = Ether(src=OTHER.mac, dst=NODE.mac) / Dot1Q(vlan=101) / ask.payload
    return Case(
        config,
        [("red_a", udp()), ("up0", tagged(ask)), ("up0", ask), ("up0", other_tag)],
        [("up0", want), ("up0", tagged(is_at))],
        drops={("up0", "vlan_unexpected"): 2},
        more=check,
    )
