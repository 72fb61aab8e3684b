"""What must not pass, each with its reason and nothing else."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP, Dot1Q, Ether

from golden import Case, case
from network import CONFIG, KNOWN, NODE, OTHER, RED_A, RED_B, RED_C, ROUTER, arriving, ether


def refused(vif, reason, *packets, config=KNOWN):
    return Case(config, [(vif, packet) for packet in packets], drops={(vif, reason): len(packets)})


def ipv4(**fields):
    return ether(RED_A, ROUTER) / IP(**{"src": RED_A.v4, "dst": RED_B.v4, **fields}) / UDP(sport=1, dport=2) / b"x"


def ipv6(**fields):
    return ether(RED_A, ROUTER) / IPv6(**{"src": RED_A.v6, "dst": RED_B.v6, **fields}) / UDP(sport=1, dport=2) / b"x"


INNER = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4) / UDP(sport=1, dport=2) / b"x"


@case
def spoofed_addresses():
    arp = Ether(src=RED_A.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=RED_A.mac, psrc=RED_B.v4, pdst="10.1.0.1")
    lying = Ether(src=RED_A.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=RED_B.mac, psrc=RED_A.v4, pdst="10.1.0.1")
    return refused("red_a", "spoofed_source", ipv4(src=RED_B.v4), ipv6(src=RED_B.v6), ipv4(src="8.8.8.8"), arp, lying)


@case
def spoofed_mac():
    return refused("red_a", "spoofed_mac", Ether(src=RED_B.mac, dst=ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4) / UDP())


@case
def discarded():
    return refused("red_a", "discard", ipv4(dst="10.66.1.2"))


@case
def martians():
    return refused("red_a", "martian", ipv4(dst="127.0.0.1"), ipv4(dst="0.1.2.3"), ipv4(dst="240.0.0.1"), ipv6(dst="::1"))


@case
def multicast_is_not_replicated():
    return refused(
        "red_a",
        "multicast",
        Ether(src=RED_A.mac, dst="01:00:5e:00:00:fb") / IP(src=RED_A.v4, dst="224.0.0.251") / UDP(),
        Ether(src=RED_A.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src=RED_A.v4, dst="255.255.255.255") / UDP(),
        Ether(src=RED_A.mac, dst="33:33:00:00:00:fb") / IPv6(src=RED_A.v6, dst="ff02::fb") / UDP(),
    )


@case
def source_routes():
    """RFC 7126 section 4.3."""
    return refused(
        "red_a", "source_route", ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, options=[IPOption_LSRR(routers=["10.1.0.9"])]) / UDP()
    )


@case
def routing_header_zero():
    """RFC 5095."""
    header = IPv6ExtHdrRouting(type=0, addresses=[RED_B.v6], segleft=1)
    return refused("red_a", "routing_type0", ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=RED_B.v6) / header / UDP())


@case
def tagged_frames():
    return refused("red_a", "vlan_unexpected", Ether(src=RED_A.mac, dst=ROUTER) / Dot1Q(vlan=5) / IP(src=RED_A.v4, dst=RED_B.v4) / UDP())


@case
def bad_ipv4_checksum():
    return refused("red_a", "ip_checksum", ipv4(chksum=0x1234))


@case
def bad_ip_version():
    return refused("red_a", "ip_version", ipv4(version=5), Ether(src=RED_A.mac, dst=ROUTER, type=0x86DD) / IP(src=RED_A.v4, dst=RED_B.v4) / UDP() / (b"x" * 12))


@case
def bad_ipv4_header_length():
    return refused("red_a", "ip_header_len", ipv4(ihl=4))


@case
def bad_ipv4_total_length():
    return refused("red_a", "ip_total_len", ipv4(len=19))


@case
def datagram_longer_than_the_frame():
    return refused("red_a", "ip_truncated", ipv4(len=100), ipv6(plen=100))


@case
def solicitations_from_afar():
    """RFC 4861 section 7.1.1: a hop limit of 255 proves they are not."""
    ns = Ether(src=RED_A.mac, dst="33:33:ff:00:00:01") / IPv6(src=RED_A.v6, dst="ff02::1:ff00:1", hlim=254)
    return refused("red_a", "malformed_nd", ns / ICMPv6ND_NS(tgt="fd01::1") / ICMPv6NDOptSrcLLAddr(lladdr=RED_A.mac))


@case
def unknown_vni():
    return refused("up0", "unknown_vni", arriving(5003, INNER), arriving(0, INNER), arriving(0xFFFFFF, INNER))


@case
def unknown_tunnel_source():
    packet = arriving(5001, INNER)
    packet[IP].src = "192.0.2.99"
    return refused("up0", "unknown_tunnel_source", packet)


@case
def without_the_i_flag():
    """RFC 7348 section 5."""
    packet = arriving(5001, INNER)
    packet["VXLAN"].flags = 0xF7
    return refused("up0", "vxlan_flags", packet)


@case
def wrong_outer_udp_checksum():
    packet = arriving(5001, INNER)
    packet[UDP].chksum = 0x1234
    return refused("up0", "udp_checksum", packet)


@case
def fragmented_tunnel_packets():
    """RFC 7348 section 4.3."""
    packet = arriving(5001, INNER / (b"x" * 5))  # a multiple of 8 bytes
    packet[IP].flags = "MF"
    return refused("up0", "tunnel_fragment", packet)


@case
def tagged_inner_frames():
    """RFC 7348 section 6.1."""
    inner = Ether(src=RED_C.mac, dst=ROUTER) / Dot1Q(vlan=5) / IP(src=RED_C.v4, dst=RED_A.v4) / UDP()
    return refused("up0", "vlan_unexpected", arriving(5001, inner))


@case
def inner_source_from_elsewhere():
    """An address of this node's, or nobody's, does not come out of a tunnel."""
    return refused(
        "up0",
        "reverse_path",
        arriving(5001, ether(RED_C, ROUTER) / IP(src=RED_B.v4, dst=RED_A.v4) / UDP()),
        arriving(5001, ether(RED_C, ROUTER) / IP(src="10.9.9.9", dst=RED_A.v4) / UDP()),
        arriving(5001, ether(RED_B, RED_A) / IP(src=RED_C.v4, dst=RED_A.v4) / UDP()),
    )


@case
def from_tunnel_to_tunnel():
    return refused("up0", "split_horizon", arriving(5001, ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_C.v4) / UDP()))


@case
def congestion_that_cannot_be_carried_in():
    """RFC 6040 section 4.2."""
    made = refused("up0", "ecn_not_capable", arriving(5001, INNER, tos=0b11))
    made.ecn_dubious = 1
    return made


@case
def not_for_us():
    packet = arriving(5001, INNER)
    packet[IP].dst = "192.0.2.7"
    asked = Ether(src=OTHER.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=OTHER.mac, psrc=OTHER.v4, pdst="192.0.2.7")
    return refused("up0", "not_for_us", packet, asked)


@case
def nobody_hosts_it():
    return refused("up0", "no_host", ether(OTHER, NODE) / IP(src=OTHER.v4, dst=NODE.v4) / TCP(dport=22, flags="S"))


@case
def damaged_pings_are_not_answered():
    return refused("red_a", "icmp_checksum", ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst="10.1.0.1") / ICMP(type=8, chksum=0x1234) / b"x")
