"""Between a machine here and one behind VXLAN (RFC 7348)."""

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether

from golden import Case, Tunnelled, case, outer_ports
from network import (
    BLUE_A,
    BLUE_C,
    CONFIG,
    KNOWN,
    NODE,
    OTHER,
    RED_A,
    RED_C,
    ROUTER,
    arriving,
    ether,
    outer,
    routed,
    tunnelled,
)

PAYLOADS = [
    lambda: UDP(sport=1000, dport=2000) / b"",
    lambda: UDP(sport=1000, dport=2000) / (b"m" * 1400),
    lambda: TCP(sport=1000, dport=80, flags="S", options=[("MSS", 1410)]),
]


def packets(src, dst, first_hop):
    for payload in PAYLOADS:
        yield ether(src, first_hop) / IP(src=src.v4, dst=dst.v4, id=1) / payload()
        yield ether(src, first_hop) / IPv6(src=src.v6, dst=dst.v6) / payload()
    yield ether(src, first_hop) / IP(src=src.v4, dst=dst.v4, id=1) / ICMP(type=8, id=3, seq=4) / b"ping"
    yield ether(src, first_hop) / IPv6(src=src.v6, dst=dst.v6) / ICMPv6EchoRequest(id=3, seq=4, data=b"ping")


@case
def routed_into_the_tunnel():
    """The inner frame is addressed to the virtual router of the other node."""
    sent = list(packets(RED_A, RED_C, ROUTER))
    return Case(
        KNOWN,
        [("red_a", p) for p in sent],
        [("up0", tunnelled(5001, routed(p, ROUTER, ROUTER))) for p in sent],
    )


@case
def bridged_into_the_tunnel():
    sent = list(packets(RED_A, RED_C, RED_C))
    sent.append(Ether(src=RED_A.mac, dst=RED_C.mac, type=0x88B5) / (b"e" * 46))
    return Case(KNOWN, [("red_a", p) for p in sent], [("up0", tunnelled(5001, p)) for p in sent])


@case
def routed_out_of_the_tunnel():
    inner = list(packets(RED_C, RED_A, ROUTER))
    return Case(
        KNOWN,
        [("up0", arriving(5001, p)) for p in inner],
        [("red_a", routed(p, ROUTER, RED_A)) for p in inner],
    )


@case
def bridged_out_of_the_tunnel():
    inner = list(packets(RED_C, RED_A, RED_A))
    inner.append(Ether(src=RED_C.mac, dst=RED_A.mac, type=0x88B5) / (b"e" * 46))
    return Case(KNOWN, [("up0", arriving(5001, p)) for p in inner], [("red_a", p) for p in inner])


@case
def the_vni_tells_tenants_apart():
    """Equal addresses and ports in both, in both directions."""
    inputs, outputs = [], []
    for port in range(2000, 2020):
        for vni, vif, here, there in ((5001, "red_a", RED_A, RED_C), (5002, "blue_a", BLUE_A, BLUE_C)):
            go = ether(here, ROUTER) / IP(src=here.v4, dst=there.v4) / UDP(sport=port, dport=7) / vif.encode()
            come = ether(there, ROUTER) / IP(src=there.v4, dst=here.v4) / UDP(sport=7, dport=port) / vif.encode()
            inputs += [(vif, go), ("up0", arriving(vni, come))]
            outputs += [
                ("up0", tunnelled(vni, routed(go, ROUTER, ROUTER))),
                (vif, routed(come, ROUTER, here)),
            ]
    return Case(KNOWN, inputs, outputs)


@case
def the_neighbour_is_asked_for():
    """RFC 826: the packet waits, one broadcast goes out, the answer lets it go."""
    sent = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_C.v4) / UDP(sport=1, dport=2) / b"patience"
    ask = Ether(src=NODE.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=NODE.mac, psrc=NODE.v4, hwdst="00:00:00:00:00:00", pdst=OTHER.v4
    )
    answer = Ether(src=OTHER.mac, dst=NODE.mac) / ARP(
        op="is-at", hwsrc=OTHER.mac, psrc=OTHER.v4, hwdst=NODE.mac, pdst=NODE.v4
    )
    return Case(
        CONFIG,
        [("red_a", sent, 0.0), ("up0", answer, 0.1)],
        [("up0", ask), ("up0", tunnelled(5001, routed(sent, ROUTER, ROUTER)))],
        consumed=1,
        originated=1,
    )


@case
def the_fabric_address_answers():
    """ARP and ping for the tunnel's own address, as no host vif would."""
    arp = Ether(src=OTHER.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=OTHER.mac, psrc=OTHER.v4, hwdst="00:00:00:00:00:00", pdst=NODE.v4
    )
    is_at = Ether(src=NODE.mac, dst=OTHER.mac) / ARP(
        op="is-at", hwsrc=NODE.mac, psrc=NODE.v4, hwdst=OTHER.mac, pdst=OTHER.v4
    )
    ping = ether(OTHER, NODE) / IP(src=OTHER.v4, dst=NODE.v4, id=5, ttl=9) / ICMP(type=8, id=1, seq=1) / b"up?"
    pong = ether(NODE, OTHER) / IP(src=NODE.v4, dst=OTHER.v4, id=5, ttl=64) / ICMP(type=0, id=1, seq=1) / b"up?"
    return Case(KNOWN, [("up0", arp), ("up0", ping)], [("up0", is_at), ("up0", pong)])


@case
def reserved_bits_are_ignored_on_receipt():
    """RFC 7348 section 5: only the I flag counts."""
    inner = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4) / UDP(sport=1, dport=2)
    packet = outer(5001, OTHER, NODE)
    packet[UDP].remove_payload()
    packet = packet / (b"\xff\xff\xff\xff" + (5001).to_bytes(3, "big") + b"\xff") / inner
    return Case(KNOWN, [("up0", packet)], [("red_a", routed(inner, ROUTER, RED_A))])


@case
def a_right_outer_checksum_is_accepted():
    """RFC 7348 section 5: the receiver may check one that is not zero."""
    inner = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4) / UDP(sport=1, dport=2) / b"sum"
    packet = arriving(5001, inner)
    del packet[UDP].chksum
    packet = Ether(bytes(packet))
    return Case(KNOWN, [("up0", packet)], [("red_a", routed(inner, ROUTER, RED_A))])


@case
def congestion_is_carried_in():
    """RFC 6040 section 4.2, figure 4: CE outside marks an ECN-capable packet inside."""
    inner = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4, tos=0b10) / UDP(sport=1, dport=2)
    marked = routed(inner, ROUTER, RED_A)
    marked[IP].tos = 0b11
    return Case(KNOWN, [("up0", arriving(5001, inner, tos=0b11))], [("red_a", marked)])


@case
def congestion_is_carried_out():
    """RFC 6040 section 4.1: the outer field equals the inner; DSCP stays inside (RFC 2983)."""
    inputs, outputs = [], []
    for ecn in range(4):
        sent = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_C.v4, tos=0xB8 | ecn) / UDP(sport=1, dport=2)
        packet = outer(5001, tos=ecn) / routed(sent, ROUTER, ROUTER)
        inputs.append(("red_a", sent))
        outputs.append(("up0", Tunnelled(packet)))
    return Case(KNOWN, inputs, outputs)


@case
def the_source_port_follows_the_flow():
    """RFC 7348 section 5: one port for a flow, many for many, also without IP."""

    def spread(vif, frames):
        ports = outer_ports(frames)
        flows, again = ports[:400], ports[400:]
        if flows != again:
            yield "a flow changed its port"
        if len(set(flows)) < 380:
            yield f"{len(flows)} flows have only {len(set(flows))} ports"

    sent = [
        ether(RED_A, ROUTER) / layer / UDP(sport=port, dport=7)
        for port in range(1000, 1200)
        for layer in (IP(src=RED_A.v4, dst=RED_C.v4), IPv6(src=RED_A.v6, dst=RED_C.v6))
    ] * 2
    return Case(
        KNOWN,
        [("red_a", packet) for packet in sent],
        [("up0", tunnelled(5001, routed(packet, ROUTER, ROUTER))) for packet in sent],
        more=spread,
    )
