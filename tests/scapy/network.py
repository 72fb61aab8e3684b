"""The network of the golden cases: one node, two tenants with equal addresses.

    tenant red, VNI 5001               tenant blue, VNI 5002
    red_a  10.1.0.5  fd01::5           blue_a 10.1.0.5  fd01::5     on this node
    red_b  10.1.0.6  fd01::6           blue_b 10.1.0.6  fd01::6     on this node
    red_c  10.1.0.9  fd01::9           blue_c 10.1.0.9  fd01::9     on the other
"""

from collections import namedtuple

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from expect import Tunnelled

ROUTER = "00:00:5e:00:01:00"
ROUTER_LINK_LOCAL = "fe80::200:5eff:fe00:100"

Machine = namedtuple("Machine", "mac v4 v6")
RED_A = Machine("02:00:00:00:01:05", "10.1.0.5", "fd01::5")
RED_B = Machine("02:00:00:00:01:06", "10.1.0.6", "fd01::6")
RED_C = Machine("02:00:00:00:01:09", "10.1.0.9", "fd01::9")
BLUE_A = Machine("02:00:00:00:02:05", "10.1.0.5", "fd01::5")
BLUE_B = Machine("02:00:00:00:02:06", "10.1.0.6", "fd01::6")
BLUE_C = Machine("02:00:00:00:02:09", "10.1.0.9", "fd01::9")
NODE = Machine("02:00:00:00:00:01", "192.0.2.1", None)
OTHER = Machine("02:00:00:00:00:02", "192.0.2.2", None)

CONFIG = """\
vrfs:
  - {name: red, gateways: [10.1.0.1/24, "fd01::1/64"]}
  - {name: blue, gateways: [10.1.0.1/24, "fd01::1/64"]}
vifs:
  - {name: up0, role: fabric, device: net_null0, mac: "02:00:00:00:00:01", addresses: [192.0.2.1/24]}
  - {name: red_a, role: tenant, device: net_null1, vrf: red, mac: "02:00:00:00:01:05", addresses: [10.1.0.5, "fd01::5"]}
  - {name: red_b, role: tenant, device: net_null2, vrf: red, mac: "02:00:00:00:01:06", addresses: [10.1.0.6, "fd01::6"]}
  - {name: blue_a, role: tenant, device: net_null3, vrf: blue, mac: "02:00:00:00:02:05", addresses: [10.1.0.5, "fd01::5"]}
  - {name: blue_b, role: tenant, device: net_null4, vrf: blue, mac: "02:00:00:00:02:06", addresses: [10.1.0.6, "fd01::6"]}
nexthops:
  - {name: red-other, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
  - {name: blue-other, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5002}}
  - {name: nowhere, discard: {}}
  - {name: other, vif: up0, address: 192.0.2.2}
routes:
  - {vrf: red, prefix: 10.1.0.9/32, nexthop: red-other}
  - {vrf: red, prefix: "fd01::9/128", nexthop: red-other}
  - {vrf: red, prefix: 10.66.0.0/16, nexthop: nowhere}
  - {vrf: blue, prefix: 10.1.0.9/32, nexthop: blue-other}
  - {vrf: blue, prefix: "fd01::9/128", nexthop: blue-other}
macs:
  - {vrf: red, mac: "02:00:00:00:01:09", nexthop: red-other}
  - {vrf: blue, mac: "02:00:00:00:02:09", nexthop: blue-other}
vnis:
  - {vni: 5001, vrf: red}
  - {vni: 5002, vrf: blue}
"""

NEIGHBOUR = '  - {vrf: underlay, mac: "02:00:00:00:00:02", nexthop: other, ip: 192.0.2.2}\n'
# The neighbour is known, so that tunnel packets need not wait for it.
KNOWN = CONFIG.replace("vnis:\n", NEIGHBOUR + "vnis:\n")


def ether(src, dst):
    """From a machine to a machine, or to the router if that is its MAC."""
    return Ether(src=getattr(src, "mac", src), dst=getattr(dst, "mac", dst))


def routed(packet, src, dst):
    """The packet one hop later: scapy computes the checksums anew."""
    packet = packet.copy()
    packet[Ether].src, packet[Ether].dst = getattr(src, "mac", src), getattr(dst, "mac", dst)
    if IP in packet:
        packet[IP].ttl -= 1
        del packet[IP].chksum
    else:
        packet[IPv6].hlim -= 1
    return packet


def outer(vni, src=NODE, dst=OTHER, **fields):
    """VXLAN as RFC 7348 section 5 wants it: DF, no UDP checksum, flags 0x08."""
    return (
        Ether(src=src.mac, dst=dst.mac)
        / IP(src=src.v4, dst=dst.v4, id=0, flags="DF", ttl=64, **fields)
        / UDP(sport=49152, dport=4789, chksum=0)
        / VXLAN(flags=8, vni=vni)
    )


def tunnelled(vni, inner):
    """What this node sends to the other."""
    return Tunnelled(outer(vni) / inner)


def arriving(vni, inner, **fields):
    """What the other node sends to this one."""
    return outer(vni, OTHER, NODE, **fields) / inner
