"""Policies: what they let through, what they refuse, and what they say to whom they refuse."""

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from cases_errors import about4, about6
from golden import Case, case
from network import BLUE_A, BLUE_B, KNOWN, RED_A, RED_B, RED_C, ROUTER, arriving, ether, routed, tunnelled

POLICIES = """\
address_sets:
  - {name: clients, prefixes: [10.1.0.8/30, "fd01::5/128"]}
policies:
  - name: web
    rules:
      - {id: 10, action: deny, protocol: tcp, destination_ports: ["8443"]}
      - {id: 20, action: allow, protocol: tcp, source_sets: [clients], destination_ports: ["80", "8000-8500"]}
      - {id: 30, action: reject, protocol: tcp, destination_ports: ["22"]}
      - {id: 40, action: reject, protocol: udp, destination_ports: ["53"]}
      - {id: 50, action: allow, protocol: icmp, icmp_types: ["8/0"]}
      - {id: 60, action: allow, protocol: icmpv6, icmp_types: ["128"]}
  - name: quiet
    rules: []
"""


def guarded(vif, fields):
    """The network in which that vif has more fields."""
    lines = []
    for line in KNOWN.splitlines():
        if line.startswith(f"  - {{name: {vif},"):
            line = line.replace("}", f", {fields}}}")
        lines.append(line)
    return "\n".join(lines) + "\n" + POLICIES


WEB = guarded("red_b", "ingress_policies: [web]")


def tcp4(src, dst, port, flags="S", **fields):
    return ether(src, ROUTER) / IP(src=src.v4, dst=dst.v4) / TCP(sport=40000, dport=port, flags=flags, **fields)


def tcp6(src, dst, port, flags="S", **fields):
    return ether(src, ROUTER) / IPv6(src=src.v6, dst=dst.v6) / TCP(sport=40000, dport=port, flags=flags, **fields)


def from_web(dst, port, layer=IP):
    """The answer of red_b's server."""
    ends = {"src": RED_B.v4, "dst": dst.v4} if layer is IP else {"src": RED_B.v6, "dst": dst.v6}
    return ether(RED_B, ROUTER) / layer(**ends) / TCP(sport=port, dport=40000, flags="SA")


@case
def the_first_rule_that_matches_decides():
    far = [tcp4(RED_C, RED_B, port) for port in (80, 7999, 8000, 8443, 8500, 8501)]
    let_in = [routed(far[index], ROUTER, RED_B) for index in (0, 2, 4)]
    here = tcp6(RED_A, RED_B, 80)
    return Case(
        WEB,
        [("up0", arriving(5001, packet)) for packet in far] + [("red_a", here), ("red_a", tcp4(RED_A, RED_B, 80))],
        [("red_b", packet) for packet in [*let_in, routed(here, ROUTER, RED_B)]],
        # 10.1.0.5 is none of the clients, fd01::5 is one.
        drops={("up0", "policy_denied"): 3, ("red_a", "policy_denied"): 1},
    )


@case
def replies_need_no_rule_and_others_do():
    config = guarded("red_b", "ingress_policies: [web], egress_policies: [quiet]")
    there, back, more = tcp4(RED_C, RED_B, 80), from_web(RED_C, 80), from_web(RED_C, 81)
    return Case(
        config,
        [("red_b", back), ("up0", arriving(5001, there)), ("red_b", back), ("red_b", more)],
        [("red_b", routed(there, ROUTER, RED_B)), ("up0", tunnelled(5001, routed(back, ROUTER, ROUTER)))],
        drops={("red_b", "policy_denied"): 2},
    )


@case
def the_policies_of_one_network_are_nothing_to_another():
    packet = ether(BLUE_A, ROUTER) / IP(src=BLUE_A.v4, dst=BLUE_B.v4) / UDP(sport=1, dport=1) / b"x"
    twin = ether(RED_A, ROUTER) / packet[IP]
    return Case(
        WEB,
        [("blue_a", packet), ("red_a", twin)],
        [("blue_b", routed(packet, ROUTER, BLUE_B))],
        drops={("red_a", "policy_denied"): 1},
    )


@case
def what_is_rejected_is_answered():
    # RFC 9293 section 3.5.2: acknowledges what came, a SYN counting for one.
    syn4, syn6 = tcp4(RED_A, RED_B, 22, seq=700), tcp6(RED_A, RED_B, 22, seq=700)
    reset = TCP(sport=22, dport=40000, flags="RA", seq=0, ack=701, window=0)
    dns4 = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4) / UDP(sport=1, dport=53) / b"question"
    dns6 = ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=RED_B.v6) / UDP(sport=1, dport=53) / b"question"
    bridged = dns4.copy()
    bridged[Ether].dst = RED_B.mac

    def flipped(packet, answer):
        layer = IP if IP in packet else IPv6
        made = Ether(src=ROUTER, dst=RED_A.mac) / layer(src=packet[layer].dst, dst=packet[layer].src) / answer
        if layer is IP:
            made[IP].id, made[IP].flags = 0, "DF"
        return made

    told = about4(bridged, 3, 13)
    told[Ether].src = ROUTER
    return Case(
        WEB,
        [("red_a", packet) for packet in (syn4, syn6, dns4, dns6, bridged)],
        [
            ("red_a", flipped(syn4, reset)),
            ("red_a", flipped(syn6, reset)),
            ("red_a", about4(dns4, 3, 13)),
            ("red_a", about6(dns6, ICMPv6DestUnreach(code=1))),
            ("red_a", told),
        ],
        drops={("red_a", "policy_rejected"): 5},
        originated=5,
    )


@case
def pings_by_type():
    ask4 = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4) / ICMP(type=8, id=9) / b"ping"
    stamp = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4) / ICMP(type=13, id=10)
    ask6 = ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=RED_B.v6) / ICMPv6EchoRequest(id=9, data=b"ping")
    reply6 = ether(RED_B, ROUTER) / IPv6(src=RED_B.v6, dst=RED_A.v6) / ICMPv6EchoReply(id=9, data=b"ping")
    return Case(
        WEB,
        [("red_a", ask4), ("red_a", stamp), ("red_a", ask6), ("red_b", reply6)],
        [
            ("red_b", routed(ask4, ROUTER, RED_B)),
            ("red_b", routed(ask6, ROUTER, RED_B)),
            ("red_a", routed(reply6, ROUTER, RED_A)),
        ],
        drops={("red_a", "policy_denied"): 1},
    )
