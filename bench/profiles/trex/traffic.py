"""The packets that benchmark a vrouter set up by ../node.yaml.

TRex puts the directory of a profile first on the path, so each profile finds this file. Port 0 of
TRex is wired to the vif `machine`, port 1 to `uplink`.
"""

import argparse

from trex_stl_lib.api import (
    IP,
    CTRexVmInsFixHwCs,
    UDP,
    Ether,
    IPv6,
    STLFlowLatencyStats,
    STLPktBuilder,
    STLScVmRaw,
    STLStream,
    STLTXCont,
    STLVmFixChecksumHw,
    STLVmFixIpv4,
    STLVmFlowVar,
    STLVmWrFlowVar,
    STLVmWrMaskFlowVar,
)
from scapy.contrib.mpls import MPLS
from scapy.layers.l2 import GRE
from scapy.layers.vxlan import VXLAN

ROUTER = "00:00:5e:00:01:00"
MACHINE = "02:00:00:00:00:0a"
UPLINK = "02:00:00:00:01:01"
NODE = "02:00:00:00:02:02"
LOCAL, REMOTE = "192.0.2.1", "192.0.2.2"
VNI, LABEL = 5001, 5001
SERVICE = "10.200.0.1"

# Bytes of a frame without its checksum, and how many of twelve frames have that size: the simple
# IMIX of 7 : 4 : 1.
IMIX = [(60, 7), (590, 4), (1514, 1)]


def arguments(tunables, **defaults):
    """What may be typed behind `-t`, e.g. `-t --flows 1000000 --size imix`."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--flows", type=int, default=10_000, help="number of flows")
    parser.add_argument("--size", default="64", help="bytes on the wire, or imix")
    parser.add_argument("--family", choices=["4", "6"], default="4", help="IP version")
    parser.add_argument("--encap", choices=["vxlan", "mpls_udp", "mpls_gre"], default="vxlan")
    parser.add_argument("--latency", action="store_true", help="a slow stream with time stamps besides")
    parser.set_defaults(**defaults)
    return parser.parse_args(tunables)


def sizes(wanted):
    """Frame sizes without checksum, with their weights."""
    if wanted == "imix":
        return IMIX
    return [(max(int(wanted) - 4, 60), 1)]


def inner(family, source, destination, port):
    """IP and UDP of the first flow. Without a UDP checksum over IPv4, as flows are made of it."""
    if family == "6":
        return IPv6(src=source, dst=destination) / UDP(sport=0x8000, dport=port)
    return IP(src=source, dst=destination, flags="DF") / UDP(sport=0x8000, dport=port, chksum=0)


def padded(headers, size):
    """The headers as a frame of `size` bytes."""
    return headers / (b"\0" * max(size - len(headers), 0))


def outer(encap, headers):
    """The headers in a tunnel from the other node."""
    ether = Ether(src=NODE, dst=UPLINK)
    ip = IP(src=REMOTE, dst=LOCAL, flags="DF")
    label = MPLS(label=LABEL, s=1, ttl=64)
    if encap == "vxlan":
        frame = Ether(src=ROUTER, dst=ROUTER) / headers
        return ether / ip / UDP(sport=50_000, dport=4789, chksum=0) / VXLAN(vni=VNI, flags="Instance") / frame
    if encap == "mpls_udp":
        return ether / ip / UDP(sport=50_000, dport=6635, chksum=0) / label / headers
    return ether / ip / GRE(proto=0x8847) / label / headers


def each_flow(flows, ip, udp):
    """A program for TRex that makes `flows` flows of one packet, in random order: the low 16 bits of
    the source address and the high byte of the source port vary, in these two headers."""
    six = ip.startswith("IPv6")
    addresses = min(flows, 1 << 16)
    ports = -(-flows // addresses)
    program = [
        STLVmFlowVar(name="address", min_value=0, max_value=addresses - 1, size=2, op="random"),
        STLVmWrFlowVar(fv_name="address", pkt_offset=f"{ip}.src", offset_fixup=14 if six else 2),
    ]
    if ports > 1:
        # Both at random: in steps they would go together.
        program += [
            STLVmFlowVar(name="port", min_value=0x80, max_value=0x80 + ports - 1, size=1, op="random"),
            STLVmWrFlowVar(fv_name="port", pkt_offset=f"{udp}.sport"),
        ]
    if six:  # whose UDP has a checksum always
        kind = CTRexVmInsFixHwCs.L4_TYPE_UDP
        program.append(STLVmFixChecksumHw(l3_offset=ip, l4_offset=udp, l4_type=kind))
    else:
        program.append(STLVmFixIpv4(offset=ip))
    return STLScVmRaw(program)


def streams(frames, program, latency=False):
    """A stream for each size, as often as it comes, at a rate that TRex scales as a whole."""
    made = [
        STLStream(
            packet=STLPktBuilder(pkt=frame, vm=program),
            mode=STLTXCont(pps=1000 * weight),
            isg=100 * number,
        )
        for number, (frame, weight) in enumerate(frames)
    ]
    if latency:
        frame = padded(frames[0][0], 80)
        made.append(
            STLStream(
                packet=STLPktBuilder(pkt=frame),
                mode=STLTXCont(pps=1000),
                flow_stats=STLFlowLatencyStats(pg_id=1),
            )
        )
    return made
