"""Frames that no machine should send, the same ones for every run.

    malformed.py DIR [COUNT] [SEED]

Writes DIR/objects.yaml and DIR/VIF.pcap: every truncation of a valid frame of
each kind, COUNT mutations of them, and a quarter as many frames of random bytes.
"""

import pathlib
import random
import struct
import sys

from scapy.config import conf

conf.verb = 0

from scapy.compat import raw  # noqa: E402
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Dot1Q  # noqa: E402

import golden  # noqa: E402
import pcap  # noqa: E402

golden.load()
import cases_local as local  # noqa: E402
import network as net  # noqa: E402


def inner_frames(src, dst):
    """One of each kind a machine sends, to the router and to a neighbour."""
    for hop in (net.ROUTER, dst):
        ipv4 = net.ether(src, hop) / IP(src=src.v4, dst=dst.v4, id=1)
        ipv6 = net.ether(src, hop) / IPv6(src=src.v6, dst=dst.v6)
        for payload in (UDP(sport=1, dport=2) / b"payload", TCP(sport=1, dport=2, flags="S", options=[("MSS", 1400)])):
            yield ipv4 / payload
            yield ipv6 / payload
        yield ipv4 / ICMP(type=8, id=1) / b"payload"
        yield ipv6 / ICMPv6EchoRequest(id=1, data=b"payload")
        yield ipv6 / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / UDP()
        yield ipv6 / IPv6ExtHdrFragment(offset=0, m=1, id=7) / UDP() / (b"f" * 16)
        yield net.ether(src, hop) / IP(src=src.v4, dst=dst.v4, flags="MF", options=[IPOption_RR(routers=["0.0.0.0"])]) / UDP()
    yield local.arp(src, "10.1.0.1")
    yield local.is_at(dst, src.v4, src.mac)
    yield local.solicitation(src, "fd01::1")
    yield local.advertisement(src, "fd01::5", src.mac, 0, 1)
    yield net.ether(src, net.ROUTER) / IP(src=src.v4, dst="10.1.0.1") / ICMP(type=8) / b"gateway"
    yield net.ether(src, net.ROUTER) / IPv6(src=src.v6, dst="fd01::1") / ICMPv6EchoRequest(data=b"gateway")


def fabric_frames():
    for inner in inner_frames(net.RED_C, net.RED_A):
        yield net.arriving(5001, inner)
    for inner in inner_frames(net.BLUE_C, net.BLUE_A):
        yield net.arriving(5002, inner)
    yield local.arp(net.OTHER, net.NODE.v4)
    yield net.ether(net.OTHER, net.NODE) / IP(src=net.OTHER.v4, dst=net.NODE.v4) / ICMP(type=8) / b"up?"
    yield net.ether(net.OTHER, net.NODE) / Dot1Q(vlan=3) / IP(src=net.OTHER.v4, dst=net.NODE.v4) / UDP()


def mutate(dice, frame):
    """A few bytes changed, removed or added; often with an IPv4 checksum that is
    right again, or everything behind that check would stay in its shadow."""
    frame = bytearray(frame)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(frame))
        kind = dice.randrange(6)
        if kind < 3:
            frame[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        elif kind == 3:
            frame[at] ^= 1 << dice.randrange(8)
        elif kind == 4:
            del frame[at : at + dice.randrange(1, 9)]
        else:
            frame[at:at] = dice.randbytes(dice.randrange(1, 9))
        if not frame:
            break
    if dice.random() < 0.7:
        for l3 in (14, 64):
            repair(frame, l3)
    return bytes(frame)


def repair(frame, l3):
    """Makes the checksum of an IPv4 header at `l3` right, if there is one."""
    if len(frame) < l3 + 20 or frame[l3] >> 4 != 4:
        return
    size = min((frame[l3] & 15) * 4, len(frame) - l3)
    if size < 20:
        return
    frame[l3 + 10 : l3 + 12] = b"\0\0"
    words = struct.unpack(f">{size // 2}H", frame[l3 : l3 + size // 2 * 2])
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    frame[l3 + 10 : l3 + 12] = struct.pack(">H", ~total & 0xFFFF)


def frames(dice, valid, count):
    for frame in valid:
        for size in range(len(frame) + 1):
            yield frame[:size]
    for _ in range(count):
        yield mutate(dice, dice.choice(valid))
    for _ in range(count // 4):
        noise = dice.randbytes(dice.choice((dice.randrange(64), dice.randrange(1500))))
        # Half of them look like Ethernet to the first few checks.
        yield dice.choice(valid)[: dice.choice((14, 34, 54))] + noise if dice.random() < 0.5 else noise


def main(directory, count=40000, seed=0):
    base = pathlib.Path(directory)
    (base / "objects.yaml").write_text(net.KNOWN)
    sources = {"red_a": list(inner_frames(net.RED_A, net.RED_B)), "up0": list(fabric_frames())}
    for number, (vif, valid) in enumerate(sources.items()):
        dice = random.Random(int(seed) * 2 + number)
        made = list(frames(dice, [raw(packet) for packet in valid], int(count)))
        pcap.write(base / f"{vif}.pcap", ((1_000_000 + index / 1000, frame) for index, frame in enumerate(made)))
        print(vif, len(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
