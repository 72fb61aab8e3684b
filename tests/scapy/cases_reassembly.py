"""Tunnel packets that the other node cut, put together (RFC 791 section 3.2, RFC 8200 section 4.5).

Cut by scapy: over IPv4 by its `fragment`, over IPv6 by its `fragment6`.
"""

from scapy.compat import raw
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

from checks.world import NODE, OTHER, RED_A, RED_C, arrives, delivered, ether, ipv4, ipv6, node, pattern
from golden import Case, case

KINDS = [(encap, family) for encap in ("mpls_udp", "mpls_gre") for family in (4, 6)]


def packets(count=1, size=1400):
    """What the machine behind the other node sends to one here, both families in turn."""
    for number in range(count):
        make = (ipv4, ipv6)[number % 2]
        yield make(RED_C, RED_A, UDP(sport=1000 + number, dport=2000) / pattern(size))


def cut(encap, family, packet, number=7, size=520):
    """The tunnel packet in fragments that carry up to `size` bytes, a multiple of eight."""
    whole = arrives(encap, family, packet)
    link = ether(OTHER, NODE)
    if family == 4:
        # Reads the packet again, so that its checksum and lengths are the whole one's.
        whole = IP(raw(whole)[14:])
        whole.id, whole.flags = number, 0
        return [link / IP(raw(part)) for part in fragment(whole, fragsize=size)]
    whole = raw(whole)[14:]
    parts = fragment6(
        IPv6(src=OTHER.v6, dst=NODE.v6, fl=0x12345, nh=44)
        / IPv6ExtHdrFragment(id=number, nh=whole[6])
        / whole[40:],
        40 + 8 + size + 7,
    )
    return [link / part for part in parts]


def put_together(encap, family, inputs, inners, drops=()):
    """`inputs` are fragments, all of which have served but one for each of `inners`."""
    return Case(
        node(encap, family),
        [("up0", frame) for frame in inputs],
        [("red_a", delivered(RED_A, inner)) for inner in inners],
        drops={("up0", reason): count for reason, count in dict(drops).items()},
        consumed=len(inputs) - len(inners) - sum(dict(drops).values()),
    )


def for_each_kind(name, make):
    """A case for each encapsulation and underlay."""
    for encap, family in KINDS:

        def one(encap=encap, family=family):
            return make(encap, family)

        one.__name__ = f"{name}_{encap}_over_ipv{family}"
        case(one)


def in_order(encap, family):
    inners = list(packets(2))
    parts = [cut(encap, family, inner, number) for number, inner in enumerate(inners)]
    assert [len(some) for some in parts] == [3, 3]
    return put_together(encap, family, sum(parts, []), inners)


def reversed_order(encap, family):
    inners = list(packets(2))
    parts = [cut(encap, family, inner, number) for number, inner in enumerate(inners)]
    return put_together(encap, family, [part for some in parts for part in reversed(some)], inners)


def interleaved(encap, family):
    inners = list(packets(20))
    parts = [cut(encap, family, inner, number) for number, inner in enumerate(inners)]
    # All second ones, all last ones, all first ones.
    return put_together(encap, family, [some[at] for at in (1, 2, 0) for some in parts], inners)


def missing(encap, family):
    lost, kept = packets(2)
    for_ever = cut(encap, family, lost, 1)[:2]
    return put_together(encap, family, for_ever + cut(encap, family, kept, 2), [kept], {"reassembly_timeout": 2})


def twice(encap, family):
    (inner,) = packets()
    first, second, third = cut(encap, family, inner)
    return put_together(encap, family, [first, first, third, third, second], [inner], {"fragment_duplicate": 2})


def overlapping(encap, family):
    spoiled, kept = packets(2)
    first, second, third = cut(encap, family, spoiled, 1)
    # The same bytes, and eight of another fragment before them.
    again = second.copy()
    if family == 4:
        again[IP].frag -= 1
        again[IP].remove_payload()
        again = again / (raw(first)[-8:] + raw(second)[34:])
        again[IP].len += 8
        del again[IP].chksum
    else:
        head = second[IPv6ExtHdrFragment]
        again = ether(OTHER, NODE) / IPv6(src=OTHER.v6, dst=NODE.v6, fl=0x12345, nh=44)
        again = again / IPv6ExtHdrFragment(id=1, nh=head.nh, m=1, offset=head.offset - 1)
        again = again / (raw(first)[-8:] + raw(second)[62:])
    after = cut(encap, family, kept, 2)
    return put_together(encap, family, [first, again, third, *after], [kept], {"fragment_overlap": 3})


for_each_kind("fragments_of_tunnel_packets_in_order", in_order)
for_each_kind("fragments_of_tunnel_packets_reversed", reversed_order)
for_each_kind("fragments_of_tunnel_packets_interleaved", interleaved)
for_each_kind("a_missing_fragment_of_a_tunnel_packet", missing)
for_each_kind("a_fragment_of_a_tunnel_packet_twice", twice)
for_each_kind("overlapping_fragments_of_a_tunnel_packet", overlapping)
