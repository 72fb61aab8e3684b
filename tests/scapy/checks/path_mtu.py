"""Path MTU, RFC 1191, 8201, 4459, 6864, 8900."""

from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether

from checklist import check
from checks.gre import df
from checks.world import (
    ENCAPS,
    NODE,
    OTHER,
    OVERHEAD,
    RED_A,
    RED_B,
    RED_C,
    VNI,
    IcmpError,
    arrives,
    carried,
    delivered,
    ether,
    hop,
    ipv4,
    ipv6,
    node,
    pattern,
    sends,
    sent,
    sized,
)
from expect import Case

# A router of the fabric.
SPINE = OTHER._replace(v4="192.0.2.254", v6="2001:db8::fe")


def too_big(family, about, mtu):
    return IcmpError(about, RED_A, *((3, 4) if family == 4 else (2, 0)), mtu=mtu)


def limit(config, to, family, mtu, passes):
    """A packet of `mtu` bytes passes, one of one more is reported."""
    fits, over = (sized(size, RED_A, to, family, **df(family)) for size in (mtu, mtu + 1))
    return Case(
        config,
        [("red_a", sent(RED_A, fits)), ("red_a", sent(RED_A, over))],
        [passes(fits), ("red_a", too_big(family, over, mtu))],
        drops={("red_a", "too_big"): 1},
        originated=1,
    )


@check("P1", "1191 §4", "too big with DF: type 3 code 4, the next hop's MTU to the byte, the upper half zero")
def told_the_mtu():
    for mtu in (576, 1000, 1499):
        yield limit(node(b={"mtu": mtu}), RED_B, 4, mtu, lambda packet: ("red_b", delivered(RED_B, packet)))


@check(
    "P2",
    "1191 §4, 4443 §3.2",
    "an underlay of 1,500 bytes leaves MPLS in GRE 1,472, MPLS in UDP 1,468, over IPv6 1,448, VXLAN 1,450, over IPv6 1,430",
    note="our tunnels push one label",
)
def tunnel_mtu():
    said = {("mpls_gre", 4): 1472, ("mpls_udp", 4): 1468, ("mpls_udp", 6): 1448, ("vxlan", 4): 1450, ("vxlan", 6): 1430}
    for encap in ENCAPS:
        for outer in (4, 6):
            mtu = said.get((encap, outer), 1500 - OVERHEAD[encap, outer])
            for inner in (4, 6):
                through = lambda packet, e=encap, o=outer: ("up0", sends(e, o, packet))  # noqa: E731
                yield limit(node(encap, outer), RED_C, inner, mtu, through)


def inner_packets(frames, skip):
    """The inner IP packets of tunnel packets, whose inner IP header is at `skip`."""
    return [IP(frame[skip:]) for frame in frames]


def reassembled(parts):
    """One datagram of its fragments, in the order in which they came; or what is wrong with them."""
    payload, first = b"", parts[0]
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part.frag * 8 != len(payload):
            return f"fragment {index} starts at {part.frag * 8}, not {len(payload)}"
        if bool(part.flags.MF) == last or part.flags.DF:
            return f"fragment {index} of {len(parts)} has flags {part.flags}"
        if (part.id, part.src, part.dst, part.proto, part.ttl, part.tos) != (
            first.id, first.src, first.dst, first.proto, first.ttl, first.tos,
        ):  # fmt: skip
            return f"fragment {index} is not of the first one's datagram"
        sane = part.copy()
        del sane.chksum
        if raw(sane) != raw(part):
            return f"fragment {index} has a wrong checksum or length"
        payload += raw(part)[part.ihl * 4 : part.len]
    whole = first.copy()
    whole.remove_payload()
    whole.flags, whole.len, whole.chksum = 0, None, None
    return raw(whole / payload)


@check("P3", "1812 §4.2.2.7", "too big without DF: fragments that fit, in order, that make the same bytes again")
def fragmented():
    # What a packet becomes beside itself, the vrouter made: that is, all pieces but one.
    packets = [sized(size, RED_A, RED_C, id=size) for size in (1451, 1452, 1480, 1500)]

    def in_the_tunnel(vif, frames):
        if any(len(frame) > 1514 for frame in frames):
            yield "a frame that does not fit the underlay"
        yield from same(packets, inner_packets(frames, 14 + 36 + 14))

    yield Case(node(), [("red_a", sent(RED_A, p)) for p in packets], more=in_the_tunnel, judged=["up0"], originated=4)
    local = [sized(size, RED_A, RED_B, id=size) for size in (601, 1200, 1500)]

    def on_the_link(vif, frames):
        if any(len(frame) > 614 for frame in frames):
            yield "a frame that does not fit the link"
        yield from same(local, inner_packets(frames, 14))

    yield Case(node(b={"mtu": 600}), [("red_a", sent(RED_A, p)) for p in local], more=on_the_link, judged=["red_b"], originated=5)


def same(packets, parts):
    for packet in packets:
        mine = [part for part in parts if part.id == packet.id]
        if len(mine) < 2:
            yield f"{len(mine)} fragments of a packet of {len(packet)} bytes"
        else:
            have = reassembled(mine)
            if have != raw(hop(packet)):
                yield have if isinstance(have, str) else f"{have.hex()} is not what was sent"


@check("P4", "8200 §4.5", "IPv6 is not fragmented on its way: packet too big, never with less than 1,280")
def ipv6_is_told():
    yield limit(node(b={"mtu": 1400}), RED_B, 6, 1400, lambda packet: ("red_b", delivered(RED_B, packet)))
    # A link that IPv6 may not use (RFC 8200 section 5): the report must not say so little.
    over = sized(1281, RED_A, RED_B, 6)
    yield Case(
        node(b={"mtu": 1000}),
        [("red_a", sent(RED_A, over))],
        [("red_a", too_big(6, over, 1280))],
        drops={("red_a", "too_big"): 1},
        originated=1,
    )


def from_the_fabric(family, mtu, quoted):
    """What a router on the way says about an outer packet of ours."""
    link = ether(SPINE, NODE)
    if family == 4:
        return link / IP(src=SPINE.v4, dst=NODE.v4) / ICMP(type=3, code=4, nexthopmtu=mtu) / quoted
    return link / IPv6(src=SPINE.v6, dst=NODE.v6) / ICMPv6PacketTooBig(mtu=mtu) / quoted


def our_packet(family, size, dst=OTHER, number=VNI["red"]):
    """An outer packet that this node sends, as a router would quote it."""
    inner = ether(RED_A, RED_C) / sized(size, RED_A, RED_C, family)
    packet = carried("vxlan", family, number, inner, NODE, dst)
    return raw(packet)[14 : 14 + (548 if family == 4 else 1232)]


def learned(family, said, quoted, becomes, drops=()):
    """A report from the fabric at 0.1 s, and at 1.0 s a packet that the tunnel's MTU of 1,450 or 1,430 lets pass."""
    mtu = 1450 if family == 4 else 1430
    big = sized(mtu, RED_A, RED_C, family, **df(family))
    inputs = [("red_a", sent(RED_A, big), 0.0), ("up0", from_the_fabric(family, said, quoted), 0.1)]
    inputs.append(("red_a", sent(RED_A, big), 1.0))
    outputs = [("up0", sends("vxlan", family, big))]
    if becomes is None:
        outputs.append(("up0", sends("vxlan", family, big)))
        return Case(node(family=family), inputs, outputs, drops=dict(drops))
    fits = sized(becomes, RED_A, RED_C, family, **df(family))
    inputs.append(("red_a", sent(RED_A, fits), 1.1))
    outputs += [("red_a", too_big(family, big, becomes)), ("up0", sends("vxlan", family, fits))]
    return Case(
        node(family=family),
        inputs,
        outputs,
        drops={("red_a", "too_big"): 1},
        originated=1,
        consumed=1,
    )


@check("P5", "8201 §4", "a packet too big with less than 1,280, or more than the tunnel's MTU, changes nothing")
def absurd_reports():
    for said in (0, 68, 1279, 1500, 9000):
        yield learned(6, said, our_packet(6, 1430), None, drops={("up0", "path_mtu_ignored"): 1})


@check("P6", "4459 §3.2", "a report about our own tunnel packet lowers that tunnel's MTU; the next big packet is reported inside")
def tunnel_learns():
    yield learned(4, 1400, our_packet(4, 1450), 1350)
    yield learned(6, 1400, our_packet(6, 1430), 1330)


@check("P7", "4459 §3.2", "a report about a packet that we never sent changes nothing")
def forged_reports():
    yield learned(4, 1400, our_packet(4, 1450, dst=SPINE), None, drops={("up0", "icmp_unmatched"): 1})
    yield learned(4, 1400, our_packet(4, 1450, number=5003), None, drops={("up0", "icmp_unmatched"): 1})
    yield learned(6, 1400, our_packet(6, 1430, dst=SPINE), None, drops={("up0", "icmp_unmatched"): 1})


@check(
    "P8",
    "6864 §4.3",
    "a packet with DF is not fragmented and keeps DF; ids of outer packets that may be fragmented do not repeat",
)
def identification():
    packets = [sized(1460, RED_A, RED_C, flags="DF")]
    yield Case(
        node(),
        [("red_a", sent(RED_A, p)) for p in packets],
        [("red_a", too_big(4, p, 1450)) for p in packets],
        drops={("red_a", "too_big"): 1},
        originated=1,
    )
    packet = raw(sent(RED_A, sized(1490, RED_A, RED_C)))

    def ids(vif, frames):
        parts = [Ether(frame)[IP] for frame in frames]
        seen = [part.id for part in parts if part.frag == 0]
        if len(seen) != 1000 or len(set(seen)) != 1000:
            yield f"{len(set(seen))} ids for {len(seen)} outer packets of 1,000"
        if any(part.flags.DF or len(part) > 1500 for part in parts):
            yield "an outer fragment with DF, or one that does not fit"

    config = node("mpls_gre", tunnel={"fragment": "outer"})
    yield Case(config, [("red_a", packet)] * 1000, more=ids, judged=["up0"], originated=1000)


@check("P9", "8900 §6.5", "a deny-all policy still lets packet-too-big for its own flow in")
def own_flow():
    """red_a lets nothing in; what it sends to the far machine is too big for a router on its way."""
    policies = {"policies": [{"name": "nothing", "rules": []}]}
    config = node(a={"ingress_policies": ["nothing"]}, more=policies)
    for family, make in ((4, ipv4), (6, ipv6)):
        data = make(RED_A, RED_C, UDP(sport=1000, dport=2000) / pattern(600))
        at_far = hop(data)
        about = raw(at_far)
        if family == 4:
            error = IP(src=RED_C.v4, dst=RED_A.v4, id=9) / ICMP(type=3, code=4, nexthopmtu=1300) / about[:548]
        else:
            error = IPv6(src=RED_C.v6, dst=RED_A.v6) / ICMPv6PacketTooBig(mtu=1300) / about
        other = make(RED_C, RED_A, UDP(sport=2000, dport=1001) / b"not a reply")
        yield Case(
            config,
            [
                ("red_a", sent(RED_A, data)),
                ("up0", arrives("vxlan", 4, error)),
                ("up0", arrives("vxlan", 4, other)),
            ],
            [("up0", sends("vxlan", 4, data)), ("red_a", delivered(RED_A, error))],
            drops={("up0", "policy_denied"): 1},
        )
