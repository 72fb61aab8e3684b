"""VXLAN, RFC 7348."""

import struct

from scapy.compat import raw
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from checklist import check
from checks.world import (
    BLUE_A,
    NODE,
    OTHER,
    RED_A,
    RED_C,
    ROUTER,
    arrives,
    both,
    delivered,
    ipv4,
    node,
    outer,
    sends,
    sent,
    udp,
)
from expect import Case, outer_ports
from network import ether

# A frame for red_a from behind the tunnel, without its Ethernet header.
COMING = ipv4(RED_C, RED_A)


def refused(reason, *packets, **more):
    return Case(node(**more), [("up0", packet) for packet in packets], drops={("up0", reason): len(packets)})


def with_header(header, inner=None):
    """COMING behind these eight bytes instead of a proper VXLAN header."""
    inner = ether(RED_C, ROUTER) / COMING if inner is None else inner
    return outer(4, OTHER, NODE) / udp(4, 4789) / (header + raw(inner))


@check("V1", "7348 §5", "a frame to VNI 5000 has UDP port 4789, flags 0x08, reserved fields 0 and VNI bytes 00 13 88")
def header_on_the_wire():
    config = node(tunnel={"vni": 5000})
    packets = both(RED_A, RED_C)

    def fields(vif, frames):
        for frame in frames:
            if frame[36:38] != (4789).to_bytes(2, "big") or frame[42:50] != bytes.fromhex("0800000000138800"):
                yield f"UDP port and VXLAN header {frame[36:38].hex()} {frame[42:50].hex()}"

    # The whole frame as scapy builds it, and those bytes as the RFC draws them.
    expected = [sends("vxlan", 4, packet) for packet in packets]
    for frame in expected:
        frame.packet[VXLAN].vni = 5000
    return Case(config, [("red_a", sent(RED_A, p)) for p in packets], [("up0", p) for p in expected], more=fields)


@check(
    "V2",
    "7348 §5",
    "1,000 inner flows leave from at least 940 source ports, all in 49152 to 65535; 10,000 packets of one flow from one",
)
def source_ports():
    flows = [sent(RED_A, ipv4(RED_A, RED_C, UDP(sport=port, dport=7))) for port in range(1000, 2000)]
    one = raw(sent(RED_A, ipv4(RED_A, RED_C, UDP(sport=1, dport=7) / b"one flow")))

    def spread(vif, frames):
        ports = outer_ports(frames)
        if not all(49152 <= port <= 65535 for port in ports):
            yield "a source port below 49152"
        if len(set(ports[:1000])) < 940:
            yield f"1,000 flows have {len(set(ports[:1000]))} ports"
        if len(ports) != 11000 or len(set(ports[1000:])) != 1:
            yield f"{len(ports) - 1000} packets of one flow have {len(set(ports[1000:]))} ports"

    return Case(node(), [("red_a", p) for p in flows + [one] * 10_000], more=spread, judged=["up0"])


@check("V3", "7348 §5", "without the I flag a packet is dropped under a counter of its own")
def i_flag_clear():
    flags = [bits for bits in range(256) if not bits & 0x08]
    return refused("vxlan_flags", *(with_header(bytes([bits, 0, 0, 0, 0, 0x13, 0x89, 0])) for bits in flags))


@check("V4", "7348 §5", "with the I flag, the reserved bits do not matter: none set, each one set, all set")
def reserved_bits():
    header = int.from_bytes(bytes.fromhex("0800000000138900"), "big")
    reserved = [bit for bit in range(64) if not 8 <= bit < 32 and bit != 59]
    every = sum(1 << bit for bit in reserved)
    values = [header, header | every] + [header | 1 << bit for bit in reserved]
    return Case(
        node(),
        [("up0", with_header(value.to_bytes(8, "big"))) for value in values],
        [("red_a", delivered(RED_A, COMING))] * len(values),
    )


@check("V5", "7348 §5", "an outer UDP checksum of zero and a right one are accepted, a wrong one is dropped: we verify")
def checksum_on_receipt():
    yield Case(
        node(),
        [("up0", arrives("vxlan", 4, COMING)), ("up0", with_checksum(None))],
        [("red_a", delivered(RED_A, COMING))] * 2,
    )
    yield refused("udp_checksum", with_checksum(1), with_checksum(0xFFFF), with_checksum(0x1234))


def with_checksum(value):
    packet = arrives("vxlan", 4, COMING)
    packet[UDP].chksum = value
    return packet


@check("V6", "7348 §5", "the UDP checksum sent over IPv4 is zero")
def checksum_sent():
    packets = both(RED_A, RED_C)

    def zero(vif, frames):
        if any(frame[40:42] != b"\0\0" for frame in frames):
            yield "a checksum that is not zero"

    return Case(
        node(),
        [("red_a", sent(RED_A, p)) for p in packets],
        [("up0", sends("vxlan", 4, p)) for p in packets],
        more=zero,
    )


@check("V7", "7348 §6.1", "an inner frame with an 802.1Q tag is dropped on arrival; none is ever sent")
def inner_tags():
    tagged = [
        Ether(src=RED_C.mac, dst=to) / Dot1Q(vlan=vlan) / COMING for to in (ROUTER, RED_A.mac) for vlan in (0, 5)
    ]
    yield refused("vlan_unexpected", *(arrives("vxlan", 4, frame) for frame in tagged))
    # A guest's tag is not let in where its vif has none, and is taken off where it has one.
    mine = [Ether(src=RED_A.mac, dst=to) / Dot1Q(vlan=5) / ipv4(RED_A, RED_C) for to in (ROUTER, RED_C.mac)]
    yield Case(node(), [("red_a", frame) for frame in mine], drops={("red_a", "vlan_unexpected"): 2})
    yield Case(
        node(a={"vlan": 5}),
        [("red_a", frame) for frame in mine],
        [
            ("up0", sends("vxlan", 4, ipv4(RED_A, RED_C))),
            ("up0", sends("vxlan", 4, ether(RED_A, RED_C) / ipv4(RED_A, RED_C), bridged=True)),
        ],
    )


@check("V8", "7348 §4.3", "a VXLAN packet is never sent in fragments; outer fragments that arrive are dropped and counted")
def fragments():
    whole = arrives("vxlan", 4, ipv4(RED_C, RED_A, UDP(sport=1, dport=2) / bytes(950)))
    first, last = whole.copy(), whole.copy()  # 1,008 bytes behind the outer header
    first[IP].flags, last[IP].flags, last[IP].frag = "MF", 0, 126
    # The last one has no ports, and shares the fate of the first.
    yield Case(
        node(),
        [("up0", first), ("up0", last)],
        drops={("up0", "tunnel_fragment"): 2},
    )
    packets = [ipv4(RED_A, RED_C, UDP(sport=1, dport=2) / bytes(size)) for size in (0, 1000, 1422)]

    def unfragmented(vif, frames):
        if any(struct.unpack(">H", frame[20:22])[0] != 0x4000 for frame in frames):
            yield "an outer header that is a fragment, or may become one"

    yield Case(
        node(),
        [("red_a", sent(RED_A, p)) for p in packets],
        [("up0", sends("vxlan", 4, p)) for p in packets],
        more=unfragmented,
    )


@check(
    "V9",
    "7348 §4.1",
    "an unknown VNI is dropped; of 1,000,000 packets to two VNIs with the same MACs and addresses, none crosses",
)
def tenants_apart():
    unknown = [arrives("vxlan", 4, COMING, number=number) for number in (0, 5000, 5003, 0xFFFFFF)]
    yield refused("unknown_vni", *unknown)
    # The very same inner frame for both tenants but for its last byte, which says whose it is.
    count, inputs = 500_000, []
    config = node().replace(BLUE_A.mac, RED_A.mac)
    twins = {
        "red_a": raw(arrives("vxlan", 4, ether(RED_C, RED_A) / twin(b"r"), vrf="red")),
        "blue_a": raw(arrives("vxlan", 4, ether(RED_C, RED_A) / twin(b"b"), vrf="blue")),
    }
    for index in range(count):
        time = index / 100_000
        inputs += [("up0", twins["red_a"], time), ("up0", twins["blue_a"], time)]

    def apart(vif, frames):
        mine = twins[vif][50:]
        strange = sum(frame != mine for frame in frames)
        if strange or len(frames) != count:
            yield f"{vif} got {len(frames)} frames, {strange} of them not its own"

    config = config.replace("02:00:00:00:02:09", RED_C.mac)
    yield Case(config, inputs, more=apart, judged=["red_a", "blue_a"])


def twin(letter):
    # No checksum: it would tell them apart before the last byte does.
    return ipv4(RED_C, RED_A, UDP(sport=1, dport=2, chksum=0) / (b"for " + letter))


@check("V10", "7348 §4.1", "UDP port 4789 to an address that is not ours is not opened")
def for_somebody_else():
    packet = arrives("vxlan", 4, COMING)
    packet[IP].dst = "192.0.2.7"
    yield refused("not_for_us", packet)
    # Where the kernel takes what is not ours, it gets the packet closed.
    host = {"vifs": [{"name": "kernel", "role": "host", "mac": "02:00:00:00:00:0f"}]}
    yield Case(node(more=host), [("up0", packet)], [("kernel", packet)])


@check("V11", "7348 §5", "every truncation, and every wrong UDP length from 0 to 65,535, is dropped and counted")
def damaged():
    # The frame ends early, and all the headers still say what they said.
    whole = raw(arrives("vxlan", 4, COMING))
    ends = range(len(whole))
    yield Case(
        node(),
        [("up0", whole[:end]) for end in ends],
        drops={
            ("up0", "truncated"): sum(end < 34 for end in ends),
            ("up0", "ip_truncated"): sum(end >= 34 for end in ends),
        },
    )
    # The headers say the new length: what is inside ends early.
    shorter = []
    for end in range(42, len(whole)):
        packet = Ether(whole[:end])
        packet[UDP].len = end - 34
        packet[IP].len = end - 14
        del packet[IP].chksum
        shorter.append(raw(packet))
    inner = [end - 50 for end in range(42, len(whole))]
    yield Case(
        node(),
        [("up0", packet) for packet in shorter],
        drops={
            # Within the VXLAN header, the inner Ethernet header, or the inner IP header.
            ("up0", "truncated"): sum(size < 34 for size in inner),
            ("up0", "ip_truncated"): sum(size >= 34 for size in inner),
        },
    )
    right = len(whole) - 34
    lengths = [value for value in range(65536) if value != right]
    yield Case(
        node(),
        [("up0", whole[:38] + value.to_bytes(2, "big") + whole[40:], value / 10_000) for value in lengths],
        drops={("up0", "udp_len"): len(lengths)},
    )
