"""Fragments of tenants' datagrams, to and from a tunnel (RFC 791, RFC 8200 section 4.5)."""

from scapy.compat import raw
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment

from golden import Case, case, outer_ports
from network import KNOWN, RED_A, RED_C, ROUTER, arriving, ether, routed, tunnelled


def fragments(src, dst, version, number=7, cuts=(800, 1600), sport=1000):
    """A datagram of 2,008 bytes from a machine to the router, in pieces."""
    address = {4: "v4", 6: "v6"}[version]
    ip = {4: IP, 6: IPv6}[version](src=getattr(src, address), dst=getattr(dst, address))
    whole = raw(ip / UDP(sport=sport, dport=2000) / (b"f" * 2000))
    data = whole[{4: 20, 6: 40}[version] :]
    edges = [0, *cuts, len(data)]
    for start, end in zip(edges, edges[1:]):
        more = int(end < len(data))
        if version == 4:
            head = IP(src=src.v4, dst=dst.v4, id=number, flags=more, frag=start // 8, proto=17)
        else:
            head = ip / IPv6ExtHdrFragment(offset=start // 8, m=more, id=number, nh=17)
        yield ether(src, ROUTER) / head / data[start:end]


def whole(src, dst, version, sport=1000):
    head = IP(src=src.v4, dst=dst.v4) if version == 4 else IPv6(src=src.v6, dst=dst.v6)
    return ether(src, ROUTER) / head / UDP(sport=sport, dport=2000) / b"whole"


def one_port(vif, frames):
    """All packets of one flow have one outer source port (RFC 7348 section 5)."""
    ports = set(outer_ports(frames))
    if vif == "up0" and len(ports) != 1:
        yield f"source ports {ports}"


def into_the_tunnel(version):
    first, second, third = fragments(RED_A, RED_C, version)
    alike = whole(RED_A, RED_C, version)
    # The second waits for the first and follows it.
    come = [second, first, third, alike]
    go = [first, second, third, alike]
    return Case(
        KNOWN,
        [("red_a", p) for p in come],
        [("up0", tunnelled(5001, routed(p, ROUTER, ROUTER))) for p in go],
        more=one_port,
    )


@case
def fragments_into_the_tunnel_have_one_source_port():
    return into_the_tunnel(4)


@case
def ipv6_fragments_into_the_tunnel_have_one_source_port():
    return into_the_tunnel(6)


@case
def fragments_out_of_the_tunnel():
    inputs, outputs = [], []
    for version in (4, 6):
        first, second, third = fragments(RED_C, RED_A, version)
        inputs += [("up0", arriving(5001, p)) for p in (third, second, first)]
        outputs += [("red_a", routed(p, ROUTER, RED_A)) for p in (first, third, second)]
    return Case(KNOWN, inputs, outputs)


@case
def a_first_fragment_is_waited_for_and_not_for_ever():
    inputs, outputs = [], []
    for version, start in ((4, 0.0), (6, 100.0)):
        first, second, third = fragments(RED_A, RED_C, version)
        # In time; then remembered for less than 30 s.
        inputs += [("red_a", second, start), ("red_a", first, start + 0.9), ("red_a", third, start + 31)]
        outputs += [first, second]
    return Case(
        KNOWN,
        inputs,
        [("up0", tunnelled(5001, routed(p, ROUTER, ROUTER))) for p in outputs],
        drops={("red_a", "fragment_timeout"): 2},
    )


@case
def identifications_are_used_again():
    inputs = [p for version in (4, 6) for sport in (1, 2, 3) for p in fragments(RED_A, RED_C, version, sport=sport)]
    return Case(
        KNOWN,
        [("red_a", p) for p in inputs],
        [("up0", tunnelled(5001, routed(p, ROUTER, ROUTER))) for p in inputs],
    )
