"""The network of the conformance checks, and the packets in it.

    tenant red                         tenant blue
    red_a  10.1.0.5  fd01::5           blue_a 10.1.0.5  fd01::5     on this node
    red_b  10.1.0.6  fd01::6           blue_b 10.1.0.6  fd01::6     on this node
    red_c  10.1.0.9  fd01::9           blue_c 10.1.0.9  fd01::9     on the other

This node and the other are neighbours on up0, with an IPv4 and an IPv6 address
each. What comes for red arrives as VNI 5001 or label 100, what goes out to the
other node's red carries VNI 5001 or label 300; blue has 5002, 200 and 400.
"""

import json

from scapy.compat import raw
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.layers.vxlan import VXLAN

from expect import Tunnelled
from network import BLUE_A, BLUE_B, BLUE_C, RED_A, RED_B, RED_C, ROUTER, Machine, ether  # noqa: F401

NODE = Machine("02:00:00:00:00:01", "192.0.2.1", "2001:db8::1")
OTHER = Machine("02:00:00:00:00:02", "192.0.2.2", "2001:db8::2")
GATEWAY = Machine(ROUTER, "10.1.0.1", "fd01::1")

VNI = {"red": 5001, "blue": 5002}
LABEL_IN = {"red": 100, "blue": 200}
LABEL_OUT = {"red": 300, "blue": 400}

ENCAPS = ["vxlan", "mpls_udp", "mpls_gre"]
# What a packet grows by on the wire, Ethernet not counted: the inner Ethernet
# header is there in VXLAN only.
OVERHEAD = {
    ("vxlan", 4): 20 + 8 + 8 + 14,
    ("vxlan", 6): 40 + 8 + 8 + 14,
    ("mpls_udp", 4): 20 + 8 + 4,
    ("mpls_udp", 6): 40 + 8 + 4,
    ("mpls_gre", 4): 20 + 4 + 4,
    ("mpls_gre", 6): 40 + 4 + 4,
}


def node(encap="vxlan", family=4, payload=None, tunnel=None, red=None, up=None, a=None, b=None, more=None):
    """The configuration, as the text of an objects file.

    `tunnel`, `red`, `up`, `a` and `b` are further fields of the tunnels, the
    vrf red, and the vifs up0, red_a and red_b; `more` further objects by kind.
    """
    made = {
        "vrfs": [
            {"name": "red", "gateways": ["10.1.0.1/24", "fd01::1/64"], **(red or {})},
            {"name": "blue", "gateways": ["10.1.0.1/24", "fd01::1/64"]},
        ],
        "vifs": [
            {
                "name": "up0",
                "role": "fabric",
                "mac": NODE.mac,
                "addresses": [f"{NODE.v4}/24", f"{NODE.v6}/64"],
                **(up or {}),
            },
            vif("red_a", "red", RED_A, a),
            vif("red_b", "red", RED_B, b),
            vif("blue_a", "blue", BLUE_A),
            vif("blue_b", "blue", BLUE_B),
        ],
        "nexthops": [
            {"name": "other-v4", "vif": "up0", "address": OTHER.v4},
            {"name": "other-v6", "vif": "up0", "address": OTHER.v6},
        ],
        "routes": [],
        "macs": [
            # A static neighbour, so that tunnel packets need not wait for it.
            {"vrf": "underlay", "mac": OTHER.mac, "nexthop": f"other-v{family}", "ip": getattr(OTHER, f"v{family}")},
        ],
        "vnis": [{"vni": number, "vrf": vrf} for vrf, number in VNI.items()],
    }
    if encap != "vxlan":
        kind = {"payload": payload} if payload else {}
        made["labels"] = [{"label": number, "vrf": vrf, **kind} for vrf, number in LABEL_IN.items()]
    for vrf, far in (("red", RED_C), ("blue", BLUE_C)):
        made["nexthops"].append({"name": f"{vrf}-other", "tunnel": ends(encap, family, vrf, payload, tunnel)})
        for prefix in (f"{far.v4}/32", f"{far.v6}/128"):
            made["routes"].append({"vrf": vrf, "prefix": prefix, "nexthop": f"{vrf}-other"})
        if encap == "vxlan" or payload == "ethernet":
            made["macs"].append({"vrf": vrf, "mac": far.mac, "nexthop": f"{vrf}-other"})
    for kind, objects in (more or {}).items():
        made.setdefault(kind, []).extend(objects)
    return json.dumps(made, indent=1) + "\n"


def vif(name, vrf, machine, fields=None):
    return {
        "name": name,
        "role": "tenant",
        "vrf": vrf,
        "mac": machine.mac,
        "addresses": [machine.v4, machine.v6],
        **(fields or {}),
    }


def ends(encap, family, vrf, payload=None, fields=None):
    """A tunnel to the other node."""
    number = {"vni": VNI[vrf]} if encap == "vxlan" else {"label": LABEL_OUT[vrf]}
    kind = {"payload": payload} if payload else {}
    return {"encap": encap, "remote": OTHER.v4 if family == 4 else OTHER.v6, **number, **kind, **(fields or {})}


# Packets without their Ethernet header.


def ipv4(src, dst, transport=None, /, **fields):
    packet = IP(**{"src": src.v4, "dst": dst.v4, "id": 7, **fields})
    return packet / (UDP(sport=1000, dport=2000) / b"payload" if transport is None else transport)


def ipv6(src, dst, transport=None, /, **fields):
    packet = IPv6(**{"src": src.v6, "dst": dst.v6, **fields})
    return packet / (UDP(sport=1000, dport=2000) / b"payload" if transport is None else transport)


def both(src, dst, transport=None):
    return [ipv4(src, dst, transport), ipv6(src, dst, transport)]


def sized(size, src, dst, family=4, **fields):
    """A UDP packet of `size` bytes, by the IP header's account; bytes that tell their place."""
    if family == 4:
        return ipv4(src, dst, UDP(sport=1000, dport=2000) / pattern(size - 28), **fields)
    return ipv6(src, dst, UDP(sport=1000, dport=2000) / pattern(size - 48), **fields)


def pattern(size):
    return b"".join(number.to_bytes(2, "big") for number in range(size // 2 + 1))[:size]


def hop(packet, by=1):
    """The IP packet one hop later: scapy computes the checksum anew."""
    packet = packet.copy()
    if isinstance(packet, IP):
        packet.ttl -= by
        del packet.chksum
    else:
        packet.hlim -= by
    return packet


def broken(packet, layer, **fields):
    """The same packet with fields that make it wrong."""
    packet = packet.copy()
    for name, value in fields.items():
        setattr(packet[layer], name, value)
    return packet


# Frames of machines.


def sent(src, packet, to=ROUTER):
    """From a machine, to the virtual router unless it says otherwise."""
    return ether(src, to) / packet


def delivered(dst, packet):
    """To a machine, routed: the packet as it is one hop later."""
    return ether(ROUTER, dst) / hop(packet)


# Frames on the fabric.


def outer(family, src, dst, **fields):
    """The outer IP header, of an atomic datagram (RFC 6864 section 4.1)."""
    link = Ether(src=src.mac, dst=dst.mac)
    if family == 4:
        return link / IP(src=src.v4, dst=dst.v4, **{"id": 0, "flags": "DF", "ttl": 64, **fields})
    return link / IPv6(src=src.v6, dst=dst.v6, **{"hlim": 64, "fl": 0x12345, **fields})


def udp(family, dport):
    """No checksum over IPv4, a real one over IPv6."""
    return UDP(sport=49152, dport=dport, **({"chksum": 0} if family == 4 else {}))


def stack(labels, ttl=255, tc=0):
    """A label stack (RFC 3032 section 2.1), top first."""
    entries = b""
    for index, label in enumerate(labels):
        bottom = index == len(labels) - 1
        entries += (label << 12 | tc << 9 | bottom << 8 | ttl).to_bytes(4, "big")
    return entries


def carried(encap, family, number, inner, src, dst, label_ttl=255, label_tc=0, **fields):
    """`inner` in a tunnel; `number` is the VNI, the label, or a list of labels."""
    head = outer(family, src, dst, **({"proto" if family == 4 else "nh": 47} if encap == "mpls_gre" else {}), **fields)
    if encap == "vxlan":
        return head / udp(family, 4789) / VXLAN(flags=8, vni=number) / inner
    labels = stack(number if isinstance(number, list) else [number], label_ttl, label_tc)
    shim = udp(family, 6635) if encap == "mpls_udp" else GRE(proto=0x8847)
    return head / shim / (labels + raw(inner))


def sends(encap, family, packet, vrf="red", bridged=False, **fields):
    """What this node sends to the other for an IP packet that a machine sent to the router."""
    number = VNI[vrf] if encap == "vxlan" else LABEL_OUT[vrf]
    inner = packet if bridged else hop(packet)
    if encap == "vxlan" and not bridged:
        inner = ether(ROUTER, ROUTER) / inner
    return Tunnelled(carried(encap, family, number, inner, NODE, OTHER, **fields))


def arrives(encap, family, packet, vrf="red", number=None, **fields):
    """What the other node sends here for an IP packet of red_c; VXLAN gets its Ethernet header."""
    if number is None:
        number = VNI[vrf] if encap == "vxlan" else LABEL_IN[vrf]
    if encap == "vxlan" and not isinstance(packet, Ether):
        packet = ether(RED_C if vrf == "red" else BLUE_C, ROUTER) / packet
    return carried(encap, family, number, packet, OTHER, NODE, **fields)


# ICMP errors.

IPV4_ERROR = 576
IPV6_ERROR = 1280


class IcmpError:
    """An expected ICMP error about an IP packet, as the router sent it to a machine.

    Class, TTL, id and flow label of the error are the sender's choice (RFC 1812
    section 4.3.2.5 wants precedence 0, 6 or 7). `about` is quoted as it came, up
    to 576 bytes of error (RFC 1812 section 4.3.2.3), or 1280 (RFC 4443 section 2.4c).
    """

    def __init__(self, about, to, kind, code=0, mtu=0, src=GATEWAY):
        about = raw(about)
        link = ether(ROUTER, to)
        if about[0] >> 4 == 4:
            icmp = ICMP(type=kind, code=code, **({"nexthopmtu": mtu} if mtu else {}))
            self.packet = link / IP(src=src.v4, dst=to.v4) / icmp / about[: IPV4_ERROR - 28]
        else:
            icmp = {
                1: ICMPv6DestUnreach(code=code),
                2: ICMPv6PacketTooBig(code=code, mtu=mtu),
                3: ICMPv6TimeExceeded(code=code),
            }[kind]
            self.packet = link / IPv6(src=src.v6, dst=to.v6) / icmp / about[: IPV6_ERROR - 48]
        self.bytes = raw(self.packet)

    def filled_in(self, frame):
        want, problems, have = self.packet.copy(), [], Ether(frame)
        if IP in want and IP in have:
            ip = have[IP]
            want[IP].tos, want[IP].ttl, want[IP].id, want[IP].flags = ip.tos, ip.ttl, ip.id, ip.flags
            if ip.tos not in (0, 0xC0, 0xE0):
                problems.append(f"the error's TOS is {ip.tos:#x}")
        elif IPv6 in want and IPv6 in have:
            ip = have[IPv6]
            want[IPv6].tc, want[IPv6].hlim, want[IPv6].fl = ip.tc, ip.hlim, ip.fl
        return raw(want), problems


def labelled(inner, labels, **fields):
    """As scapy's own MPLS layer writes it."""
    packet = inner
    for index, label in reversed(list(enumerate(labels))):
        packet = MPLS(label=label, s=int(index == len(labels) - 1), **fields) / packet
    return packet
