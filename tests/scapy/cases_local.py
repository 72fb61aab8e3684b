"""Two machines on one node, and what the virtual router answers itself."""

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from golden import Case, case
from network import BLUE_A, BLUE_B, CONFIG, RED_A, RED_B, RED_C, ROUTER, ROUTER_LINK_LOCAL, ether, routed

IPV4 = IP(src=RED_A.v4, dst=RED_B.v4, id=7)
IPV6 = IPv6(src=RED_A.v6, dst=RED_B.v6, fl=0x12345)


@case
def routed_between_two_vifs():
    """RFC 1812 section 5.3.1, RFC 8200 section 3: one hop less, MACs of the new link."""
    sent = [
        ether(RED_A, ROUTER) / packet
        for packet in (
            IPV4 / UDP(sport=1000, dport=2000) / b"x",
            IPV4 / TCP(sport=1000, dport=80, flags="S", options=[("MSS", 1460)]),
            IPV4 / ICMP(type="echo-request", id=9, seq=1) / b"ping",
            IP(src=RED_A.v4, dst=RED_B.v4, ttl=2, tos=0xB9, flags="DF") / UDP(sport=5, dport=6),
            IP(src=RED_A.v4, dst=RED_B.v4, ttl=255, proto=50) / b"some other protocol",
            IPV6 / UDP(sport=1000, dport=2000) / b"x",
            IPV6 / TCP(sport=1000, dport=80, flags="S"),
            IPV6 / ICMPv6EchoRequest(id=9, seq=1, data=b"ping"),
        )
    ]
    return Case(
        CONFIG,
        [("red_a", packet) for packet in sent],
        [("red_b", routed(packet, ROUTER, RED_B)) for packet in sent],
    )


@case
def answers_take_the_way_back():
    ask = ether(RED_A, ROUTER) / IPV4 / UDP(sport=1000, dport=7) / b"?"
    answer = ether(RED_B, ROUTER) / IP(src=RED_B.v4, dst=RED_A.v4) / UDP(sport=7, dport=1000) / b"!"
    return Case(
        CONFIG,
        [("red_a", ask), ("red_b", answer), ("red_a", ask)],
        [
            ("red_b", routed(ask, ROUTER, RED_B)),
            ("red_a", routed(answer, ROUTER, RED_A)),
            ("red_b", routed(ask, ROUTER, RED_B)),
        ],
    )


@case
def fragments_are_routed():
    """The last one waits for the first, which has the ports."""
    first = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, id=3, flags="MF") / UDP(sport=1, dport=2, len=1208, chksum=0) / (b"a" * 800)
    last = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, id=3, frag=101, proto=17) / (b"b" * 400)
    return Case(
        CONFIG,
        [("red_a", last), ("red_a", first)],
        [("red_b", routed(first, ROUTER, RED_B)), ("red_b", routed(last, ROUTER, RED_B))],
    )


@case
def bridged_frames_stay_as_they_are():
    sent = [
        ether(RED_A, RED_B) / IPV4 / UDP(sport=1, dport=2) / b"as it is",
        ether(RED_A, RED_B) / IPV6 / TCP(sport=1, dport=2, flags="S"),
        Ether(src=RED_A.mac, dst=RED_B.mac, type=0x88B5) / b"an experiment, not IP at all, padded to sixty",
    ]
    return Case(CONFIG, [("red_a", p) for p in sent], [("red_b", p) for p in sent])


@case
def tenants_with_equal_addresses_stay_apart():
    """The same bytes but for the MACs, at once in both networks."""
    inputs, outputs = [], []
    for port in range(1000, 1020):
        for vif, out, machine, other in (("red_a", "red_b", RED_A, RED_B), ("blue_a", "blue_b", BLUE_A, BLUE_B)):
            for layer in (IP, IPv6):
                address = "v4" if layer is IP else "v6"
                sent = (
                    ether(machine, ROUTER)
                    / layer(src=getattr(machine, address), dst=getattr(other, address))
                    / UDP(sport=port, dport=7)
                    / out.encode()
                )
                inputs.append((vif, sent))
                outputs.append((out, routed(sent, ROUTER, other)))
    return Case(CONFIG, inputs, outputs)


@case
def no_bridge_to_the_other_tenant():
    """Knowing the twin's MAC is of no use."""
    sent = ether(RED_A, BLUE_B) / IPV4 / UDP(sport=1, dport=2)
    other = Ether(src=RED_A.mac, dst=BLUE_B.mac, type=0x88B5) / (b"z" * 46)
    return Case(CONFIG, [("red_a", sent), ("red_a", other)], drops={("red_a", "no_mac"): 2})


def arp(asker, target, sender=None):
    return Ether(src=asker.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=asker.mac, psrc=asker.v4 if sender is None else sender, hwdst="00:00:00:00:00:00", pdst=target
    )


def is_at(asker, target, mac, sender=None):
    return Ether(src=mac, dst=asker.mac) / ARP(
        op="is-at", hwsrc=mac, psrc=target, hwdst=asker.mac, pdst=asker.v4 if sender is None else sender
    )


@case
def arp_is_answered():
    """For the gateway, for a machine beside, and for one on another node."""
    answers = [("10.1.0.1", ROUTER), (RED_B.v4, RED_B.mac), (RED_C.v4, ROUTER)]
    return Case(
        CONFIG,
        [("red_a", arp(RED_A, target)) for target, _ in answers],
        [("red_a", is_at(RED_A, target, mac)) for target, mac in answers],
    )


@case
def arp_for_free_addresses_is_not_answered():
    """RFC 5227: a probe for one's own address, one for nobody's, an announcement."""
    return Case(
        CONFIG,
        [
            ("red_a", arp(RED_A, RED_A.v4, sender="0.0.0.0")),
            ("red_a", arp(RED_A, "10.1.0.77")),
            ("red_a", arp(RED_A, RED_A.v4)),
        ],
        drops={("red_a", "neighbour_unanswered"): 2, ("red_a", "neighbour_unsolicited"): 1},
    )


def solicitation(asker, target, src=None):
    group = "ff02::1:ff" + "%02x:%04x" % (low(target) >> 16 & 0xFF, low(target) & 0xFFFF)
    source = asker.v6 if src is None else src
    message = ICMPv6ND_NS(tgt=target)
    if source != "::":
        message = message / ICMPv6NDOptSrcLLAddr(lladdr=asker.mac)
    mac = "33:33:ff:%02x:%02x:%02x" % tuple(low(target).to_bytes(4, "big")[1:])
    return Ether(src=asker.mac, dst=mac) / IPv6(src=source, dst=group, hlim=255) / message


def low(address):
    import ipaddress

    return int(ipaddress.IPv6Address(address)) & 0xFFFFFFFF


def advertisement(asker, target, mac, router, override):
    return (
        Ether(src=mac, dst=asker.mac)
        / IPv6(src=target, dst=asker.v6, hlim=255)
        / ICMPv6ND_NA(R=router, S=1, O=override, tgt=target)
        / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


@case
def neighbour_solicitations_are_answered():
    """RFC 4861 section 7.2.4; a proxy does not override (section 7.2.8)."""
    answers = [
        ("fd01::1", ROUTER, 1, 1),
        (ROUTER_LINK_LOCAL, ROUTER, 1, 1),
        (RED_B.v6, RED_B.mac, 0, 1),
        (RED_C.v6, ROUTER, 1, 0),
    ]
    return Case(
        CONFIG,
        [("red_a", solicitation(RED_A, target)) for target, *_ in answers],
        [("red_a", advertisement(RED_A, *answer)) for answer in answers],
    )


@case
def duplicate_address_detection_finds_nobody():
    """RFC 4862 section 5.4: whose address it is does not hear an answer."""
    return Case(
        CONFIG,
        [("red_a", solicitation(RED_A, RED_A.v6, src="::")), ("red_a", solicitation(RED_A, "fe80::5", src="::"))],
        drops={("red_a", "neighbour_unanswered"): 2},
    )


@case
def gateways_answer_echo_requests():
    """RFC 1122 section 3.2.2.6, RFC 4443 section 4.2; the answer starts with a hop limit of its own."""
    ping = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst="10.1.0.1", id=5, ttl=3) / ICMP(type=8, id=1, seq=2) / b"hello"
    pong = ether(ROUTER, RED_A) / IP(src="10.1.0.1", dst=RED_A.v4, id=5, ttl=64) / ICMP(type=0, id=1, seq=2) / b"hello"
    inputs, outputs = [("red_a", ping)], [("red_a", pong)]
    for gateway, src in (("fd01::1", RED_A.v6), (ROUTER_LINK_LOCAL, "fe80::5")):
        inputs.append(
            ("red_a", ether(RED_A, ROUTER) / IPv6(src=src, dst=gateway, hlim=3) / ICMPv6EchoRequest(id=1, seq=2, data=b"hello"))
        )
        outputs.append(
            ("red_a", ether(ROUTER, RED_A) / IPv6(src=gateway, dst=src, hlim=64) / ICMPv6EchoReply(id=1, seq=2, data=b"hello"))
        )
    return Case(CONFIG, inputs, outputs)
