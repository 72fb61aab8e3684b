"""GRE and MPLS in GRE, RFC 2784, 2890, 4023."""

import struct

from scapy.compat import raw
from scapy.layers.inet import IP

from checklist import check
from checks.world import (
    LABEL_IN,
    LABEL_OUT,
    NODE,
    OTHER,
    RED_A,
    RED_C,
    IcmpError,
    arrives,
    both,
    delivered,
    ipv4,
    node,
    outer,
    sends,
    sent,
    sized,
    stack,
)
from expect import Case

CONFIG = node("mpls_gre")
COMING = ipv4(RED_C, RED_A)
CHECKSUM, KEY, SEQUENCE = 0x8000, 0x2000, 0x1000


def gre(bits=0, protocol=0x8847, payload=None, wrong=0):
    """A GRE packet written out from RFC 2784 section 2.1 and RFC 2890 section 2."""
    payload = stack([LABEL_IN["red"]]) + raw(COMING) if payload is None else payload
    fields = b"\x12\x34\x56\x78" * (bool(bits & KEY)) + b"\0\0\0\x07" * (bool(bits & SEQUENCE))
    head = struct.pack(">HH", bits, protocol)
    if bits & CHECKSUM:
        value = internet_checksum(head + b"\0\0\0\0" + fields + payload) ^ wrong
        fields = struct.pack(">HH", value, 0) + fields
    return outer(4, OTHER, NODE, proto=47) / (head + fields + payload)


def internet_checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def accepted(*packets):
    return Case(
        CONFIG, [("up0", packet) for packet in packets], [("red_a", delivered(RED_A, COMING))] * len(packets)
    )


def refused(reason, *packets):
    return Case(CONFIG, [("up0", packet) for packet in packets], drops={("up0", reason): len(packets)})


@check("G1", "4023 §4", "one label pushed: IP protocol 47, GRE flags 0, protocol 0x8847, no checksum, key or sequence")
def header_on_the_wire():
    for family in (4, 6):
        packets = both(RED_A, RED_C)
        yield Case(
            node("mpls_gre", family),
            [("red_a", sent(RED_A, packet)) for packet in packets],
            [("up0", sends("mpls_gre", family, packet)) for packet in packets],
            more=plain_headers(34 if family == 4 else 54),
        )


def plain_headers(l4):
    def look(vif, frames):
        for frame in frames:
            if frame[l4 : l4 + 8] != bytes.fromhex("00008847") + stack([LABEL_OUT["red"]]):
                yield f"GRE and label {frame[l4 : l4 + 8].hex()}"

    return look


@check("G2", "4023 §4, 2890 §2", "checksum, key and sequence in all 8 combinations: the label is read behind them")
def optional_fields():
    bits = [c | k | s for c in (0, CHECKSUM) for k in (0, KEY) for s in (0, SEQUENCE)]
    return accepted(*(gre(b) for b in bits))


@check("G3", "2784 §2.2", "a right GRE checksum is accepted, a wrong one dropped")
def checksums():
    yield accepted(gre(CHECKSUM), gre(CHECKSUM | KEY))
    yield refused("gre_checksum", gre(CHECKSUM, wrong=1), gre(CHECKSUM | KEY | SEQUENCE, wrong=0x8000))


@check("G4", "2784 §2.3", "bits 1, 4 or 5 of the flags: dropped; bits 6 to 12: ignored")
def reserved_flags():
    yield refused("gre_flags", *(gre(0x8000 >> bit) for bit in (1, 4, 5)))
    yield accepted(*(gre(0x8000 >> bit) for bit in range(6, 13)))


@check("G5", "2784 §2.3.1", "versions 1 to 7 are dropped")
def versions():
    return refused("gre_version", *(gre(version) for version in range(1, 8)))


@check("G6", "2784 §2.4", "an unknown protocol type is dropped")
def protocols():
    unknown = (0x0000, 0x0800, 0x6558, 0x8848, 0x88B5, 0xFFFF)
    return refused("gre_protocol", *(gre(protocol=protocol) for protocol in unknown))


@check("G7", "2784 §3.1", "what comes out addressed to the encapsulator does not go back to it")
def no_loop():
    inner = ipv4(RED_C, OTHER)
    packet = arrives("mpls_gre", 4, inner)
    yield Case(CONFIG, [("up0", packet)], drops={("up0", "tunnel_loop"): 1})
    back = {"routes": [{"vrf": "red", "prefix": OTHER.v4, "nexthop": "red-other"}]}
    yield Case(node("mpls_gre", more=back), [("up0", packet)], drops={("up0", "tunnel_loop"): 1})


@check(
    "G8",
    "4023 §5.1",
    "the outer header has DF; a packet over the tunnel's MTU is dropped, unfragmented, and its source told the MTU less the labels",
)
def too_big():
    for family in (4, 6):
        fits, over = sized(1472, RED_A, RED_C, family, **df(family)), sized(1473, RED_A, RED_C, family, **df(family))
        kind, code = (3, 4) if family == 4 else (2, 0)
        yield Case(
            CONFIG,
            [("red_a", sent(RED_A, fits)), ("red_a", sent(RED_A, over))],
            [("up0", sends("mpls_gre", 4, fits)), ("red_a", IcmpError(over, RED_A, kind, code, mtu=1472))],
            drops={("red_a", "too_big"): 1},
            originated=1,
        )


def df(family):
    return {"flags": "DF"} if family == 4 else {}


@check("G9", "4023 §5.2", "the outer TTL never raises the label's or the packet's")
def ttl():
    # (outer, label, packet): one hop less than the packet came with, whatever carried it.
    life = [(255, 2, 9), (10, 200, 64), (1, 255, 64), (255, 255, 2)]
    inputs, outputs = [], []
    for outer_ttl, label_ttl, inner_ttl in life:
        inner = ipv4(RED_C, RED_A, ttl=inner_ttl)
        packet = arrives("mpls_gre", 4, inner, label_ttl=label_ttl)
        packet[IP].ttl = outer_ttl
        inputs.append(("up0", packet))
        outputs.append(("red_a", delivered(RED_A, inner)))
    return Case(CONFIG, inputs, outputs)


@check("G10", "4023 §8.2", "an outer source that is no peer's is dropped")
def peers():
    packet = arrives("mpls_gre", 4, COMING)
    packet[IP].src = "192.0.2.99"
    return refused("unknown_tunnel_source", packet)
