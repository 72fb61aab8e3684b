"""IPv6 parsing, flow label, ND, RFC 8200, 6437, 6438, 8504, 4861, 6980."""

from scapy.compat import raw
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Ether

from checklist import check
from checks.world import (
    ENCAPS,
    NODE,
    OTHER,
    RED_A,
    RED_B,
    RED_C,
    broken,
    delivered,
    ipv4,
    ipv6,
    node,
    sends,
    sent,
)
from expect import Case

CONFIG = node()
PAYLOAD = UDP(sport=1000, dport=2000) / b"payload"


def behind(*headers):
    """A packet with these extension headers."""
    packet = IPv6(src=RED_A.v6, dst=RED_B.v6)
    for header in headers:
        packet = packet / header
    return packet / PAYLOAD


def refused(reason, *packets):
    return Case(
        CONFIG,
        [("red_a", packet if isinstance(packet, Ether) else sent(RED_A, packet)) for packet in packets],
        drops={("red_a", reason): len(packets)},
    )


def passes(*packets):
    return Case(
        CONFIG, [("red_a", sent(RED_A, p)) for p in packets], [("red_b", delivered(RED_B, p)) for p in packets]
    )


def options(count):
    """As many options that who does not know them passes over."""
    return [HBHOptUnknown(otype=0x1E, optdata=b"\0" * 2)] * count


@check("X1", "8200 §4.1", "hop-by-hop options that are not the first header are dropped")
def hop_by_hop_first():
    yield refused(
        "extension_headers",
        behind(IPv6ExtHdrDestOpt(), IPv6ExtHdrHopByHop()),
        behind(IPv6ExtHdrHopByHop(), IPv6ExtHdrHopByHop()),
        behind(IPv6ExtHdrFragment(id=7), IPv6ExtHdrHopByHop()),
    )
    yield passes(behind(IPv6ExtHdrHopByHop()), behind(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()))


@check(
    "X2",
    "8504 §5.3",
    "eight extension headers, or eight options, pass; nine are dropped and counted",
    note="what such packets cost is not measured here",
)
def limits():
    yield passes(behind(*[IPv6ExtHdrDestOpt()] * 8), behind(IPv6ExtHdrDestOpt(options=options(8))))
    yield refused("extension_headers", behind(*[IPv6ExtHdrDestOpt()] * 9), behind(*[IPv6ExtHdrDestOpt()] * 100))
    yield refused(
        "extension_options",
        behind(IPv6ExtHdrDestOpt(options=options(9))),
        behind(IPv6ExtHdrHopByHop(options=options(5)), IPv6ExtHdrDestOpt(options=options(4))),
        behind(IPv6ExtHdrDestOpt(options=options(200))),
        behind(IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(6))] * 2)),
    )


@check("X3", "5095 §3", "a routing header of type 0 is dropped, wherever it stands")
def routing_header():
    header = IPv6ExtHdrRouting(type=0, addresses=[RED_C.v6], segleft=1)
    used = IPv6ExtHdrRouting(type=0, addresses=[RED_C.v6], segleft=0)
    yield refused("routing_type0", behind(header), behind(used), behind(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), header))


@check("X4", "8200 §4.7", "next header 59: the packet passes by its addresses, and what follows is not read")
def no_next_header():
    packets = [IPv6(src=RED_A.v6, dst=RED_B.v6, nh=59) / rest for rest in (b"\0", bytes(8), b"\x03\xe8\0\x50" + bytes(60))]

    def portless(flows):
        ports = [(flow["forward"].get("src_port", 0), flow["forward"].get("dst_port", 0)) for flow in flows]
        if ports != [(0, 0)]:
            yield f"flows between the ports {ports}"

    case = passes(*packets, IPv6(src=RED_A.v6, dst=RED_B.v6) / IPv6ExtHdrDestOpt(nh=59) / b"\0\x01\0\x02")
    case.flows = portless
    return case


@check("X5", "8200 §3", "payload length 0, and more than there is, is dropped")
def payload_length():
    yield refused("ipv6_payload_len", IPv6(src=RED_A.v6, dst=RED_B.v6, nh=59), broken(ipv6(RED_A, RED_B), IPv6, plen=0))
    whole = ipv6(RED_A, RED_B)
    size = len(whole) - 40
    yield refused("ip_truncated", *(broken(whole, IPv6, plen=value) for value in (size + 1, 1280, 65535)))


@check("X6", "6437 §2, 6438 §3", "a packet's flow label stays; the outer one is not zero, and one for each inner flow")
def flow_labels():
    labels = [0, 1, 0x12345, 0xFFFFF]
    yield passes(*(ipv6(RED_A, RED_B, fl=label) for label in labels))
    flows = [ipv4(RED_A, RED_C, UDP(sport=port, dport=7)) for port in range(1000, 1100)]
    flows += [ipv6(RED_A, RED_C, UDP(sport=port, dport=7), fl=0xABCDE) for port in range(1000, 1100)]

    def spread(vif, frames):
        seen = [int.from_bytes(frame[15:18], "big") & 0xFFFFF for frame in frames]
        if seen[:200] != seen[200:]:
            yield "a flow changed its label"
        if len(set(seen)) < 190:
            yield f"200 flows have {len(set(seen))} labels"

    for encap in ENCAPS:
        yield Case(
            node(encap, 6),
            [("red_a", sent(RED_A, packet)) for packet in flows * 2],
            [("up0", sends(encap, 6, packet)) for packet in flows * 2],
            more=spread,
        )


def solicitation(target=RED_B.v6, src=RED_A.v6, hlim=255, **option):
    return (
        Ether(src=RED_A.mac, dst="33:33:ff:00:00:06")
        / IPv6(src=src, dst="ff02::1:ff00:6", hlim=hlim)
        / ICMPv6ND_NS(tgt=target)
        / ICMPv6NDOptSrcLLAddr(lladdr=RED_A.mac, **option)
    )


def advertisement(target=RED_A.v6, hlim=255, **option):
    return (
        Ether(src=RED_A.mac, dst=RED_B.mac)
        / IPv6(src=RED_A.v6, dst=RED_B.v6, hlim=hlim)
        / ICMPv6ND_NA(tgt=target, S=1)
        / ICMPv6NDOptDstLLAddr(lladdr=RED_A.mac, **option)
    )


@check("X7", "4861 §7.1", "neighbour messages with a hop limit other than 255, an option of length 0, or a multicast target are ignored")
def neighbour_messages():
    yield refused(
        "malformed_nd",
        *(make(hlim=hlim) for make in (solicitation, advertisement) for hlim in (0, 1, 64, 254)),
        *(make(len=0) for make in (solicitation, advertisement)),
        *(make(target="ff02::1") for make in (solicitation, advertisement)),
    )
    # From a neighbour in the fabric nothing is learned either.
    lies = [
        Ether(src=OTHER.mac, dst=NODE.mac)
        / IPv6(src=OTHER.v6, dst=NODE.v6, hlim=hlim)
        / ICMPv6ND_NA(tgt=target, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:66", **option)
        for hlim, target, option in ((254, OTHER.v6, {}), (255, OTHER.v6, {"len": 0}), (255, "ff02::2", {}))
    ]
    packet = ipv4(RED_A, RED_C)
    yield Case(
        node(family=6),
        [("up0", lie) for lie in lies] + [("red_a", sent(RED_A, packet))],
        [("up0", sends("vxlan", 6, packet))],
        drops={("up0", "malformed_nd"): len(lies)},
    )


@check("X8", "6980 §5", "neighbour messages in fragments are ignored, atomic ones too")
def fragmented_messages():
    packets = []
    for message in (solicitation(), advertisement()):
        data = raw(message)[54:]
        link = Ether(raw(message)[:14])
        head = IPv6(src=message[IPv6].src, dst=message[IPv6].dst, hlim=255)
        atomic = link / head / IPv6ExtHdrFragment(nh=58, id=1) / data
        first = link / head / IPv6ExtHdrFragment(nh=58, id=2, m=1) / data[:24]
        packets += [atomic, first]
    return refused("malformed_nd", *packets)


