"""MPLS in UDP, RFC 7510, 6935, 6936, 8085."""

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6

from checklist import check
from checks.gre import df
from checks.world import (
    GATEWAY,
    LABEL_IN,
    NODE,
    RED_A,
    RED_B,
    RED_C,
    IcmpError,
    arrives,
    both,
    delivered,
    ipv4,
    node,
    sends,
    sent,
    sized,
    stack,
)
from expect import Case, outer_ports

CONFIG = node("mpls_udp")
CONFIG6 = node("mpls_udp", 6)
ZERO = node("mpls_udp", 6, tunnel={"udp_zero_checksum": True})
COMING = ipv4(RED_C, RED_A)


def refused(config, reason, *packets):
    return Case(config, [("up0", packet) for packet in packets], drops={("up0", reason): len(packets)})


def checksums(offset, right):
    def check_all(vif, frames):
        for frame in frames:
            value = frame[offset : offset + 2]
            if not right(value):
                yield f"UDP checksum {value.hex()}"

    return check_all


@check(
    "U1",
    "7510 §3, 8085 §5.1.1",
    "UDP port 6635; 1,000 flows leave from at least 940 source ports, all from 49152 up; a flow keeps its own",
)
def source_ports():
    flows = [ipv4(RED_A, RED_C, UDP(sport=port, dport=7)) for port in range(1000, 2000)]

    def spread(vif, frames):
        if any(frame[36:38] != (6635).to_bytes(2, "big") for frame in frames):
            yield "a destination port that is not 6635"
        ports = outer_ports(frames)
        first, again = ports[:1000], ports[1000:]
        if first != again:
            yield "a flow changed its port"
        if not ports or min(ports) < 49152 or len(set(first)) < 940:
            yield f"1,000 flows have {len(set(first))} ports"

    return Case(CONFIG, [("red_a", sent(RED_A, p)) for p in flows * 2], more=spread, judged=["up0"])


@check("U2", "7510 §3", "the UDP checksum over IPv4 is zero")
def checksum_over_ipv4():
    packets = both(RED_A, RED_C)
    return Case(
        CONFIG,
        [("red_a", sent(RED_A, packet)) for packet in packets],
        [("up0", sends("mpls_udp", 4, packet)) for packet in packets],
        more=checksums(40, lambda value: value == b"\0\0"),
    )


@check("U3", "7510 §3.1", "over IPv6 the UDP checksum is there and right, and zero only where the tunnel says so")
def checksum_over_ipv6():
    packets = both(RED_A, RED_C)
    for config, zero in ((CONFIG6, False), (ZERO, True)):
        outputs = [sends("mpls_udp", 6, packet) for packet in packets]
        if zero:
            for frame in outputs:
                frame.packet[UDP].chksum = 0
        yield Case(
            config,
            [("red_a", sent(RED_A, packet)) for packet in packets],
            [("up0", frame) for frame in outputs],
            more=checksums(60, lambda value, zero=zero: (value == b"\0\0") == zero),
        )


def without_checksum(packet):
    packet[UDP].chksum = 0
    return packet


@check("U4", "6936 §4, 8200 §8.1", "over IPv6 a zero checksum is dropped, unless the tunnel says zero is meant")
def zero_on_receipt():
    yield refused(CONFIG6, "udp_checksum_missing", without_checksum(arrives("mpls_udp", 6, COMING)))
    packets = [arrives("mpls_udp", 6, COMING), without_checksum(arrives("mpls_udp", 6, COMING))]
    yield Case(ZERO, [("up0", p) for p in packets], [("red_a", delivered(RED_A, COMING))] * 2)


@check("U5", "7510 §3.1", "and where it is meant, not from or to an address that is not the tunnel's")
def zero_from_elsewhere():
    stranger = without_checksum(arrives("mpls_udp", 6, COMING))
    stranger[IPv6].src = "2001:db8::99"
    yield refused(ZERO, "unknown_tunnel_source", stranger)
    elsewhere = without_checksum(arrives("mpls_udp", 6, COMING))
    elsewhere[IPv6].dst = "2001:db8::77"
    yield refused(ZERO, "not_for_us", elsewhere)
    # One peer's option is not another's.
    third = {
        "nexthops": [
            {"name": "third", "tunnel": {"encap": "mpls_udp", "remote": "2001:db8::3", "label": 500}},
        ],
        "routes": [{"vrf": "red", "prefix": "10.1.0.10/32", "nexthop": "third"}],
    }
    careful = without_checksum(arrives("mpls_udp", 6, COMING))
    careful[IPv6].src = "2001:db8::3"
    config = node("mpls_udp", 6, tunnel={"udp_zero_checksum": True}, more=third)
    yield refused(config, "udp_checksum_missing", careful)


@check("U6", "7510 §4, 4023 §5", "MTU, TTL and DF as in GRE: too big is dropped and told, the outer TTL raises nothing")
def size_and_life():
    for family in (4, 6):
        fits, over = (sized(size, RED_A, RED_C, family, **df(family)) for size in (1468, 1469))
        kind, code = (3, 4) if family == 4 else (2, 0)
        yield Case(
            CONFIG,
            [("red_a", sent(RED_A, fits)), ("red_a", sent(RED_A, over))],
            [("up0", sends("mpls_udp", 4, fits)), ("red_a", IcmpError(over, RED_A, kind, code, mtu=1468))],
            drops={("red_a", "too_big"): 1},
            originated=1,
        )
    inner = ipv4(RED_C, RED_A, ttl=9)
    packets = [arrives("mpls_udp", 4, inner, label_ttl=2), arrives("mpls_udp", 4, inner, label_ttl=255)]
    packets[0][IP].ttl, packets[1][IP].ttl = 255, 1
    yield Case(CONFIG, [("up0", p) for p in packets], [("red_a", delivered(RED_A, inner))] * 2)


@check("U7", "7510 §6", "the same bytes from a guest are its payload, and are never opened")
def from_a_guest():
    shim = UDP(sport=50000, dport=6635) / (stack([LABEL_IN["blue"]]) + bytes(COMING))
    to_machine, to_node = ipv4(RED_A, RED_B, shim), ipv4(RED_A, NODE, shim)
    yield Case(
        CONFIG,
        [("red_a", sent(RED_A, to_machine)), ("red_a", sent(RED_A, to_node))],
        [("red_b", delivered(RED_B, to_machine)), ("red_a", IcmpError(to_node, RED_A, 3, 0))],
        drops={("red_a", "no_route"): 1},
        originated=1,
    )
    # Nor when it comes out of a tunnel; its sender is told through the tunnel.
    packet = arrives("mpls_udp", 4, ipv4(RED_C, NODE, shim))

    def told(vif, frames):
        inner = IP(frames[0][46:]) if frames else None
        if len(frames) != 1 or (inner.src, inner.dst, inner[ICMP].type) != (GATEWAY.v4, RED_C.v4, 3):
            yield f"{len(frames)} frames, and not one error"

    yield Case(CONFIG, [("up0", packet)], None, more=told, drops={("up0", "no_route"): 1}, originated=1)
