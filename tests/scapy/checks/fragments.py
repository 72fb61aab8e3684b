"""Fragments, RFC 1858, 3128, 5722, 6946, 7112, 8200."""

from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import HBHOptUnknown, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from checklist import check
from checks.world import RED_A, RED_B, RED_C, arrives, delivered, ipv4, ipv6, node, pattern, sent
from expect import Case

CONFIG = node()


def datagram(family, transport):
    """What an IP packet carries, with the checksum that is right there."""
    if family == 4:
        return raw(ipv4(RED_A, RED_B, transport))[20:]
    return raw(ipv6(RED_A, RED_B, transport))[40:]


# From port 1000 to port 2000, 1,200 bytes.
DATAGRAM = {family: datagram(family, UDP(sport=1000, dport=2000) / pattern(1192)) for family in (4, 6)}


def part(family, start, end, data=None, number=7, last=None, protocol=17):
    """Bytes `start` to `end` of a datagram, as the fragment that carries them."""
    data = DATAGRAM[family] if data is None else data
    more = end < len(data) if last is None else not last
    if family == 4:
        head = IP(src=RED_A.v4, dst=RED_B.v4, id=number, flags="MF" if more else 0, frag=start // 8, proto=protocol)
    else:
        head = IPv6(src=RED_A.v6, dst=RED_B.v6) / IPv6ExtHdrFragment(offset=start // 8, m=int(more), id=number, nh=protocol)
    return head / data[start:end]


def parts(family, *cuts, **fields):
    edges = [0, *cuts, 1200]
    return [part(family, start, end, **fields) for start, end in zip(edges, edges[1:])]


def passes(fragments, order=None, flows=None):
    """They come in, and go out in order, or in the order of their numbers in `order`."""
    out = fragments if order is None else [fragments[index] for index in order]
    return Case(
        CONFIG,
        [("red_a", sent(RED_A, packet)) for packet in fragments],
        [("red_b", delivered(RED_B, packet)) for packet in out],
        flows=flows,
    )


def refused(reason, *packets, config=CONFIG):
    """Dropped, and nobody is told."""
    return Case(config, [("red_a", sent(RED_A, packet)) for packet in packets], drops={("red_a", reason): len(packets)})


@check(
    "F1",
    "1858 §2",
    "a later fragment has no ports, whatever its bytes look like: it goes the first one's way, in any order",
    note="which a policy decides by ports, when there are policies",
)
def later_fragments():
    lure = raw(UDP(sport=53, dport=80, len=400, chksum=0))

    def one_flow(flows):
        ports = [(flow["forward"]["src_port"], flow["forward"]["dst_port"]) for flow in flows]
        if ports != [(1000, 2000)]:
            yield f"flows between the ports {ports}, not of the first fragment alone"

    for family in (4, 6):
        data = datagram(family, UDP(sport=1000, dport=2000) / (pattern(792) + lure + pattern(392)))
        first, last = part(family, 0, 800, data), part(family, 800, len(data), data)
        yield passes([first, last], flows=one_flow)
        yield passes([last, first], order=[1, 0], flows=one_flow)


@check(
    "F2",
    "1858 §3.2, 3128",
    "TCP: a first fragment that ends before the flags, and any at offset 8, is dropped",
)
def tiny_fragments():
    for family in (4, 6):
        data = datagram(family, TCP(sport=1000, dport=80, flags="S") / bytes(100))
        yield refused("tiny_fragment", *(part(family, 0, end, data, protocol=6) for end in (8, 16)))
        yield refused("tiny_fragment", part(family, 8, 24, data, protocol=6), part(family, 8, len(data), data, protocol=6))


def overlaps(family):
    """Two fragments that share eight bytes, which is as little as can be shared, or all but eight."""
    pairs = [
        (part(family, 0, 808), part(family, 800, 1200)),
        (part(family, 0, 800), part(family, 8, 1200)),
    ]
    for first, second in pairs:
        # The second is dropped; the first had gone before anybody could know.
        yield Case(
            CONFIG,
            [("red_a", sent(RED_A, p)) for p in (first, second)],
            [("red_b", delivered(RED_B, first))],
            drops={("red_a", "fragment_overlap"): 1},
        )
        # The other way round the second waits for the first, and both go.
        yield Case(
            CONFIG,
            [("red_a", sent(RED_A, p)) for p in (second, first)],
            drops={("red_a", "fragment_overlap"): 2},
        )


@check("F3", "8200 §4.5, 5722", "IPv6 fragments that overlap: the datagram does not become whole, in either order, and no ICMP")
def overlapping_ipv6():
    return list(overlaps(6))


@check("F4", "5722 §3", "the same for IPv4")
def overlapping_ipv4():
    return list(overlaps(4))


@check("F5", "8200 §4.5, 7112 §5", "a first fragment without the whole header chain is dropped")
def whole_chain():
    # 24 bytes of an option that who does not know it passes over.
    options = raw(IPv6ExtHdrDestOpt(nh=17, options=[HBHOptUnknown(otype=0x1E, optdata=b"\0" * 4)] * 3))
    chain = options + datagram(6, UDP(sport=1000, dport=2000) / pattern(64))
    yield refused("tiny_fragment", *(part(6, 0, end, chain, protocol=60) for end in (8, 16, 24)))
    yield passes([part(6, 0, 32, chain, protocol=60), part(6, 32, len(chain), chain, protocol=60)])
    yield refused("tiny_fragment", part(6, 0, 8, datagram(6, TCP(dport=80) / bytes(64)), protocol=6))


@check("F6", "6946 §4", "an atomic fragment passes on its own, and leaves the fragments of the same id alone")
def atomic_fragments():
    atomic = part(6, 0, 1200)
    first, last = parts(6, 800)
    yield passes([first, atomic, last])
    yield passes([last, atomic, first], order=[1, 2, 0])


@check("F7", "8200 §4.5", "a length that is no multiple of 8 before the last, and an end beyond 65,535, is dropped")
def impossible_fragments():
    for family in (4, 6):
        odd = [part(family, 0, end) for end in (801, 807)]
        beyond = [part(family, 65528, 65544, bytes(65544))]
        empty = [part(family, 800, 800, last=True), part(family, 800, 800, last=False)]
        yield refused("fragment_len", *odd, *beyond, *(empty if family == 4 else []))


@check(
    "F8",
    "791 §3.2, 8200 §4.5, 7348 §4.3",
    "outer fragments of tunnel packets are put together, in any order, and those of VXLAN dropped; none is read half",
)
def outer_fragments():
    for encap in ("vxlan", "mpls_udp", "mpls_gre"):
        inner = ipv4(RED_C, RED_A, UDP(sport=1, dport=2) / pattern(970))
        whole = arrives(encap, 4, inner)
        size = (len(whole) - 34) // 2 // 8 * 8
        data = raw(whole)[34:]
        first = fragment_of(whole, data[:size], flags="MF")
        last = fragment_of(whole, data[size:], flags=0, frag=size // 8)
        for both in ([first, last], [last, first]):
            inputs = [("up0", fragment) for fragment in both]
            if encap == "vxlan":
                yield Case(node(encap), inputs, drops={("up0", "tunnel_fragment"): 2})
            else:
                yield Case(node(encap), inputs, [("red_a", delivered(RED_A, inner))], consumed=1)
        yield Case(node(encap), [("up0", first)], drops={("up0", "tunnel_fragment" if encap == "vxlan" else "reassembly_timeout"): 1})


@check(
    "F8a",
    "5722, 8200 §4.5",
    "outer fragments that overlap spoil their packet, in IPv4 too; a duplicate does not; incomplete ones are let go within 60 s",
)
def outer_fragments_that_do_not_fit():
    for encap in ("mpls_udp", "mpls_gre"):
        inner = ipv4(RED_C, RED_A, UDP(sport=1, dport=2) / pattern(970))
        whole = arrives(encap, 4, inner)
        data = raw(whole)[34:]
        first = fragment_of(whole, data[:504], flags="MF")
        over = fragment_of(whole, data[496:], flags=0, frag=496 // 8)
        last = fragment_of(whole, data[504:], flags=0, frag=504 // 8)
        for both in ([first, over], [over, first]):
            yield Case(node(encap), [("up0", fragment) for fragment in both], drops={("up0", "fragment_overlap"): 2})
        yield Case(
            node(encap),
            [("up0", fragment) for fragment in (first, first, last)],
            [("red_a", delivered(RED_A, inner))],
            drops={("up0", "fragment_duplicate"): 1},
            consumed=1,
        )
        yield Case(
            node(encap),
            [("up0", first, 0.0), ("up0", whole, 60.0), ("up0", last, 60.1)],
            [("red_a", delivered(RED_A, inner))],
            drops={("up0", "reassembly_timeout"): 2},
        )


def fragment_of(whole, data, **fields):
    head = whole.copy()
    for name, value in fields.items():
        setattr(head[IP], name, value)
    head[IP].proto = raw(whole)[23]
    head[IP].remove_payload()
    return head / data


@check("F9", "8200 §4.5", "fragments whose datagram stays incomplete are let go within 60 s")
def incomplete():
    for family in (4, 6):
        lonely = [part(family, 800, 1000, number=number) for number in range(10)]
        other = {4: ipv4, 6: ipv6}[family](RED_A, RED_B)
        inputs = [("red_a", sent(RED_A, packet), 0.0) for packet in lonely]
        inputs.append(("red_a", sent(RED_A, other), 60.0))
        yield Case(
            CONFIG,
            inputs,
            [("red_b", delivered(RED_B, other))],
            drops={("red_a", "fragment_timeout"): len(lonely)},
        )


@check(
    "F10",
    "4787 REQ-14a",
    "1,000,000 datagrams of one fragment: memory stays bounded, and other traffic loses nothing",
)
def flood():
    lonely = bytearray(raw(sent(RED_A, part(6, 800, 816, number=1))))
    probe = raw(sent(RED_B, ipv4(RED_B, RED_A)))
    at = 14 + 40 + 4
    inputs = []
    for number in range(1_000_000):
        lonely[at : at + 4] = number.to_bytes(4, "big")
        inputs.append(("red_a", bytes(lonely), number / 100_000))
        if number % 100 == 0:
            inputs.append(("red_b", probe, number / 100_000))

    def probes(vif, frames):
        if vif == "red_a" and len(frames) != 10_000:
            yield f"{len(frames)} of 10,000 other packets"

    return Case(
        CONFIG,
        inputs,
        more=probes,
        judged=["red_a"],
        drops={("red_a", "fragment_limit"): range(900_000, 1_000_000), ("red_a", "fragment_timeout"): range(1, 100_000)},
    )
