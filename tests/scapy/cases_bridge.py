"""A tenant network as a switch over three nodes: replication, learning, and the
router as IPv6 machines find it.

    red_a, red_b   machines with a MAC of their own, on this node
    red_n          a port with a bridge behind it: whatever MACs that has
    OTHER, THIRD   the other nodes
"""

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from cases_errors import about4
from golden import Case, Tunnelled, case
from network import NODE, OTHER, RED_A, RED_B, ROUTER, ROUTER_LINK_LOCAL, Machine, arriving, ether, outer, tunnelled

THIRD = Machine("02:00:00:00:00:03", "192.0.2.3", None)
# Machines that nobody configured.
X = Machine("02:00:00:00:07:01", "10.1.0.77", "fd01::77")
Y = Machine("02:00:00:00:07:02", "10.1.0.78", "fd01::78")
ALL = "ff:ff:ff:ff:ff:ff"

CONFIG = """\
vrfs:
  - name: red
    gateways: [10.1.0.1/24, "fd01::1/64"]
    learning: true
    router_advertisement: {interval_s: 200, other_config: true}
vifs:
  - {name: up0, role: fabric, device: net_null0, mac: "02:00:00:00:00:01", addresses: [192.0.2.1/24]}
  - {name: red_a, role: tenant, device: net_null1, vrf: red, mac: "02:00:00:00:01:05", addresses: [10.1.0.5, "fd01::5"], mtu: 1450}
  - {name: red_b, role: tenant, device: net_null2, vrf: red, mac: "02:00:00:00:01:06", addresses: [10.1.0.6, "fd01::6"]}
  - {name: red_n, role: tenant, device: net_null3, vrf: red, max_learned_macs: 2, storm_limit: 5}
nexthops:
  - {name: to_a, vif: red_a}
  - {name: to_b, vif: red_b}
  - {name: to_n, vif: red_n}
  - {name: other, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
  - {name: third, tunnel: {encap: vxlan, remote: 192.0.2.3, vni: 5001}}
  - {name: all, replicate: {members: [to_a, to_b, to_n, other, third]}}
  - {name: b_and_third, replicate: {members: [third, to_b]}}
macs:
  - {vrf: red, mac: "ff:ff:ff:ff:ff:ff", nexthop: all}
  - {vrf: red, mac: "01:00:5e:01:02:03", nexthop: b_and_third}
  - {vrf: underlay, mac: "02:00:00:00:00:02", nexthop: other, ip: 192.0.2.2}
  - {vrf: underlay, mac: "02:00:00:00:00:03", nexthop: third, ip: 192.0.2.3}
vnis:
  - {vni: 5001, vrf: red}
"""


def to_third(inner):
    return Tunnelled(outer(5001, NODE, THIRD) / inner)


def from_third(inner):
    return outer(5001, THIRD, NODE) / inner


def flooded(vif, packet):
    """What a frame from a vif makes: a copy for everybody else."""
    local = [(name, packet) for name in ("red_a", "red_b", "red_n") if name != vif]
    return local + [("up0", tunnelled(5001, packet)), ("up0", to_third(packet))]


def some(src, dst):
    return Ether(src=getattr(src, "mac", src), dst=getattr(dst, "mac", dst), type=0x88B5) / (b"not IP" * 10)


@case
def broadcasts_reach_everybody_else():
    """One in, four out, three of them originated here; from a tunnel to vifs only."""
    discover = (
        Ether(src=Y.mac, dst=ALL)
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex("020000000702"))
        / DHCP(options=[("message-type", "discover"), "end"])
    )
    here, there = some(RED_A, ALL), some(X, ALL)
    return Case(
        CONFIG,
        [("red_a", here), ("up0", arriving(5001, there)), ("red_n", discover)],
        flooded("red_a", here) + [(vif, there) for vif in ("red_a", "red_b", "red_n")] + flooded("red_n", discover),
        originated=3 + 2 + 3,
    )


@case
def a_groups_own_entry_is_taken():
    packet = Ether(src=RED_A.mac, dst="01:00:5e:01:02:03") / IP(src=RED_A.v4, dst="239.1.2.3", ttl=1) / UDP(sport=1, dport=2)
    return Case(
        CONFIG,
        [("red_a", packet)],
        [("red_b", packet), ("up0", to_third(packet))],
        originated=1,
    )


@case
def an_answer_ends_the_flooding():
    """A MAC is where its frames come from: behind a node, then behind a port."""
    ask = ether(RED_A, X) / IP(src=RED_A.v4, dst=X.v4) / ICMP(id=1, seq=1) / b"where are you?"
    answer = ether(X, RED_A) / IP(src=X.v4, dst=RED_A.v4) / ICMP(type="echo-reply", id=1, seq=1) / b"here"
    return Case(
        CONFIG,
        [
            ("red_a", ask),
            ("up0", from_third(answer)),
            ("red_a", ask),
            ("up0", arriving(5001, answer)),
            ("red_a", ask),
            ("red_n", answer),
            ("red_a", ask),
        ],
        flooded("red_a", ask)
        + [("red_a", answer), ("up0", to_third(ask))]
        + [("red_a", answer), ("up0", tunnelled(5001, ask))]
        + [("red_a", answer), ("red_n", ask)],
        originated=3,
    )


@case
def what_is_learned_is_forgotten_after_five_minutes():
    ask = some(RED_A, X)
    return Case(
        CONFIG,
        [("up0", arriving(5001, some(X, RED_A)), 0), ("red_a", ask, 290), ("red_a", ask, 302)],
        [("red_a", some(X, RED_A)), ("up0", tunnelled(5001, ask))] + flooded("red_a", ask),
        originated=3,
    )


@case
def a_mac_in_two_places_stays_in_one():
    """RFC 7432 section 15.1: after five moves in 180 s it stays where it is."""
    hello = some(X, RED_B)
    inputs = [("up0", (arriving(5001, hello), from_third(hello))[n % 2], n / 10) for n in range(6)]
    inputs += [("up0", arriving(5001, hello), 1), ("up0", arriving(5001, hello), 190)]
    return Case(CONFIG, inputs, [("red_b", hello)] * 7, drops={("up0", "mac_moves"): 1})


@case
def what_is_configured_is_not_learned_elsewhere():
    return Case(
        CONFIG,
        [
            ("up0", arriving(5001, some(RED_A, RED_B))),
            ("up0", arriving(5001, some(ROUTER, RED_B))),
            ("red_n", some(RED_A, RED_B)),
            ("red_n", some(ROUTER, RED_B)),
            ("red_n", some("01:00:5e:00:00:01", RED_B)),
        ],
        drops={("up0", "reverse_path"): 2, ("red_n", "spoofed_mac"): 3},
    )


@case
def a_port_has_as_many_macs_as_it_may():
    return Case(
        CONFIG,
        [("red_n", some(src, RED_B)) for src in (X, Y, "02:00:00:00:07:03", X)],
        [("red_b", some(X, RED_B)), ("red_b", some(Y, RED_B)), ("red_b", some(X, RED_B))],
        drops={("red_n", "mac_limit"): 1},
    )


@case
def storms_are_held_to_their_limit():
    storm = [some(X, dst) for dst in (ALL, Y, "01:00:5e:00:00:09", ALL, ALL, ALL, Y)]
    kept = [packet for frame in storm[:5] for packet in flooded("red_n", frame)]
    return Case(
        CONFIG,
        [("red_n", frame) for frame in storm] + [("red_n", some(X, RED_A))],
        kept + [("red_a", some(X, RED_A))],
        drops={("red_n", "storm_limit"): 2},
        originated=15,
    )


@case
def nothing_goes_back_where_it_came_from():
    """A bridge behind a port delivers to its own machines itself."""
    return Case(
        CONFIG,
        [("red_n", some(X, RED_B)), ("red_n", some(Y, X)), ("up0", arriving(5001, some("02:00:00:00:07:09", RED_B))),
         ("up0", from_third(some("02:00:00:00:07:08", "02:00:00:00:07:09")))],
        [("red_b", some(X, RED_B)), ("red_b", some("02:00:00:00:07:09", RED_B))],
        drops={("red_n", "same_vif"): 1, ("up0", "split_horizon"): 1},
    )


def arp(asker, target, dst=ALL, sender=None):
    return Ether(src=asker.mac, dst=dst) / ARP(
        op="who-has", hwsrc=asker.mac, psrc=sender or asker.v4, hwdst="00:00:00:00:00:00", pdst=target
    )


@case
def arp_is_answered_here_or_else_asked_of_everybody():
    """The gateway's and a known machine's answer comes from here, others answer for themselves."""
    known = Ether(src=RED_B.mac, dst=RED_A.mac) / ARP(op="is-at", hwsrc=RED_B.mac, psrc=RED_B.v4, hwdst=RED_A.mac, pdst=RED_A.v4)
    gateway = Ether(src=ROUTER, dst=RED_A.mac) / ARP(op="is-at", hwsrc=ROUTER, psrc="10.1.0.1", hwdst=RED_A.mac, pdst=RED_A.v4)
    ask = arp(RED_A, X.v4)
    answer = Ether(src=X.mac, dst=RED_A.mac) / ARP(op="is-at", hwsrc=X.mac, psrc=X.v4, hwdst=RED_A.mac, pdst=RED_A.v4)
    probe = arp(RED_A, RED_A.v4, sender="0.0.0.0")
    return Case(
        CONFIG,
        [("red_a", arp(RED_A, RED_B.v4)), ("red_a", arp(RED_A, "10.1.0.1")), ("red_a", ask), ("up0", arriving(5001, answer)),
         ("red_a", probe)],
        [("red_a", known), ("red_a", gateway)] + flooded("red_a", ask) + [("red_a", answer)] + flooded("red_a", probe),
        originated=6,
    )


@case
def nobody_tells_others_what_is_not_theirs():
    """The gateway's address, another machine's, and what only routers say (RFC 6105)."""

    def told(src, target, mac):
        return (
            Ether(src=src.mac, dst="33:33:00:00:00:01")
            / IPv6(src=src.v6, dst="ff02::1", hlim=255)
            / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=mac)
        )

    lie = Ether(src=X.mac, dst=RED_A.mac) / ARP(op="is-at", hwsrc=X.mac, psrc="10.1.0.1", hwdst=RED_A.mac, pdst=RED_A.v4)
    said = [
        ("red_n", lie, "spoofed_source"),
        ("red_n", arp(X, X.v4, sender=RED_B.v4), "spoofed_source"),
        ("red_n", Ether(src=X.mac, dst=ALL) / IP(src="10.1.0.1", dst="255.255.255.255") / UDP(), "spoofed_source"),
        ("red_a", told(RED_A, "fd01::1", RED_A.mac), "spoofed_source"),
        ("red_a", told(RED_A, ROUTER_LINK_LOCAL, RED_A.mac), "spoofed_source"),
        ("red_a", told(RED_A, RED_B.v6, RED_A.mac), "spoofed_source"),
        ("red_a", told(RED_A, RED_A.v6, X.mac), "spoofed_source"),
        ("red_a", ether(RED_A, "33:33:00:00:00:01") / IPv6(src="fe80::5", dst="ff02::1", hlim=255) / ICMPv6ND_RA(), "ra_guard"),
        ("red_a", ether(RED_A, RED_B) / IPv6(src="fe80::5", dst="fe80::6", hlim=255) / ICMPv6ND_RA(), "ra_guard"),
        ("red_a", ether(RED_A, RED_B) / IPv6(src="fe80::5", dst=RED_B.v6, hlim=255) / ICMPv6ND_Redirect(), "ra_guard"),
    ]
    drops = {}
    for vif, _, reason in said:
        drops[vif, reason] = drops.get((vif, reason), 0) + 1
    own = told(RED_A, RED_A.v6, RED_A.mac)
    return Case(
        CONFIG,
        [(vif, packet) for vif, packet, _ in said] + [("red_a", own)],
        flooded("red_a", own),
        drops=drops,
        originated=3,
    )


def solicitation(machine, src):
    packet = Ether(src=machine.mac, dst="33:33:00:00:00:02") / IPv6(src=src, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
    return packet if src == "::" else packet / ICMPv6NDOptSrcLLAddr(lladdr=machine.mac)


def advertisement(dst_mac, dst, mtu):
    return (
        Ether(src=ROUTER, dst=dst_mac)
        / IPv6(src=ROUTER_LINK_LOCAL, dst=dst, hlim=255)
        / ICMPv6ND_RA(chlim=64, M=0, O=1, prf=0, routerlifetime=600, reachabletime=0, retranstimer=0)
        / ICMPv6NDOptSrcLLAddr(lladdr=ROUTER)
        / ICMPv6NDOptMTU(mtu=mtu)
        / ICMPv6NDOptPrefixInfo(prefix="fd01::", prefixlen=64, L=1, A=0, R=0, validlifetime=2592000, preferredlifetime=604800)
    )


@case
def router_solicitations_are_answered():
    """RFC 4861 section 6.2.6: in person, or to all but not twice in three seconds."""
    bad = solicitation(RED_A, "fe80::5")
    bad[IPv6].hlim = 254
    return Case(
        CONFIG,
        [
            ("red_a", solicitation(RED_A, "fe80::5"), 0),
            ("red_n", solicitation(X, "fe80::77"), 1),
            ("red_a", solicitation(RED_A, "::"), 2),
            ("red_a", solicitation(RED_A, "::"), 3),
            ("red_a", solicitation(RED_A, "::"), 5.5),
            ("red_a", bad, 6),
        ],
        [
            ("red_a", advertisement(RED_A.mac, "fe80::5", 1450)),
            ("red_n", advertisement(X.mac, "fe80::77", 1500)),
            ("red_a", advertisement("33:33:00:00:00:01", "ff02::1", 1450)),
            ("red_a", advertisement("33:33:00:00:00:01", "ff02::1", 1450)),
        ],
        drops={("red_a", "malformed_nd"): 1},
        consumed=1,
    )


@case
def neighbours_of_other_nodes_find_each_other():
    """A solicitation to a group, the answer to one machine, and then IPv6."""
    ask = (
        Ether(src=RED_A.mac, dst="33:33:ff:00:00:77")
        / IPv6(src=RED_A.v6, dst="ff02::1:ff00:77", hlim=255)
        / ICMPv6ND_NS(tgt=X.v6)
        / ICMPv6NDOptSrcLLAddr(lladdr=RED_A.mac)
    )
    answer = (
        ether(X, RED_A) / IPv6(src=X.v6, dst=RED_A.v6, hlim=255) / ICMPv6ND_NA(tgt=X.v6, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=X.mac)
    )
    ping = ether(RED_A, X) / IPv6(src=RED_A.v6, dst=X.v6) / ICMPv6EchoRequest(id=1, seq=1)
    pong = ether(X, RED_A) / IPv6(src=X.v6, dst=RED_A.v6) / ICMPv6EchoReply(id=1, seq=1)
    return Case(
        CONFIG,
        [("red_a", ask), ("up0", arriving(5001, answer)), ("red_a", ping), ("up0", arriving(5001, pong))],
        flooded("red_a", ask) + [("red_a", answer), ("up0", tunnelled(5001, ping)), ("red_a", pong)],
        originated=3,
    )


@case
def a_port_without_a_mac_is_not_routed():
    lost = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=X.v4) / UDP()
    return Case(
        CONFIG,
        [("red_n", ether(X, ROUTER) / IP(src=X.v4, dst=RED_A.v4) / UDP()), ("red_a", lost)],
        [("red_a", about4(lost, 3, 0))],
        drops={("red_n", "forwarding_mode"): 1, ("red_a", "no_route"): 1},
        originated=1,
    )
