"""TTL, ICMP errors, header checks, RFC 1812, 4443, 791, 7126."""

import struct

from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_LSRR, IPOption_SSRR
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Ether

from checklist import check
from checks.gre import internet_checksum
from checks.world import (
    GATEWAY,
    RED_A,
    RED_B,
    RED_C,
    ROUTER,
    IcmpError,
    arrives,
    broken,
    delivered,
    ether,
    ipv4,
    ipv6,
    node,
    pattern,
    sends,
    sent,
    sized,
)
from expect import Case

CONFIG = node()
# A machine that may send from any address.
ANY_SOURCE = node(a={"addresses": []})
PACKET, PACKET6 = ipv4(RED_A, RED_B), ipv6(RED_A, RED_B)


def refused(reason, *packets, config=CONFIG, **more):
    """Dropped in silence: nothing is sent, above all no ICMP error."""
    return Case(
        config,
        [("red_a", packet if isinstance(packet, Ether) else sent(RED_A, packet)) for packet in packets],
        drops={("red_a", reason): len(packets)},
        **more,
    )


def errors(reason, packets, told, config=CONFIG):
    """Each dropped and reported to its sender."""
    return Case(
        config,
        [("red_a", sent(RED_A, packet)) for packet in packets],
        [("red_a", error) for error in told],
        drops={("red_a", reason): len(packets)},
        originated=len(told),
    )


@check(
    "I1",
    "1812 §5.2.2",
    "fewer than 20 bytes, a wrong checksum, a version other than 4, a header under 5 words, a total length under the header: each dropped in silence under a counter of its own",
)
def bad_headers():
    yield refused("truncated", *(typed(raw(PACKET)[:size]) for size in (0, 1, 19)))
    yield refused("ip_checksum", *(broken(PACKET, IP, chksum=value) for value in (0, 1, 0xFFFF)))
    yield refused("ip_version", *(typed(broken(PACKET, IP, version=value)) for value in (0, 3, 5, 6, 15)))
    yield refused("ip_header_len", *(broken(PACKET, IP, ihl=value) for value in range(5)))
    yield refused("ip_total_len", *(broken(PACKET, IP, len=value) for value in (0, 1, 19)))
    longer = ipv4(RED_A, RED_B, options=[IPOption(b"\x01" * 8)])
    yield refused("ip_total_len", *(broken(longer, IP, len=value) for value in (20, 27)))


def typed(packet):
    return Ether(src=RED_A.mac, dst=ROUTER, type=0x0800) / raw(packet)


@check("I2", "1812 §5.2.2", "a frame shorter than the packet's total length is dropped")
def short_frames():
    yield refused("ip_truncated", *(broken(PACKET, IP, len=len(PACKET) + more) for more in (1, 100, 40000)))
    yield refused("ip_truncated", *(broken(PACKET6, IPv6, plen=len(PACKET6) - 40 + more) for more in (1, 100, 40000)))


@check(
    "I3",
    "1812 §5.2.2",
    "Ethernet padding behind the packet is not payload: the packet passes, and the padding does not enter an L3 tunnel",
    note="the verdict of policies follows when there are policies",
)
def padding():
    small = [ipv4(src, dst, UDP(sport=1, dport=2)) for src, dst in ((RED_A, RED_B), (RED_A, RED_C))]
    padded = [raw(sent(RED_A, packet)) + b"P" * 18 for packet in small]

    def apart(vif, frames):
        for frame in frames:
            if frame[:42] != raw(delivered(RED_B, small[0]))[:42] or frame[42:].strip(b"P\0"):
                yield "not the packet and padding"

    # On a link of its own the packet may be padded or not.
    yield Case(CONFIG, [("red_a", padded[0])], more=apart, judged=["red_b"])
    for encap in ("mpls_udp", "mpls_gre"):
        yield Case(node(encap), [("red_a", padded[1])], [("up0", sends(encap, 4, small[1]))])
    # What the fabric pads is not part of the inner packet either.
    inner = ipv4(RED_C, RED_A, UDP(sport=1, dport=2))
    for encap in ("vxlan", "mpls_udp"):
        packet = raw(arrives(encap, 4, inner)) + b"P" * 18
        yield Case(node(encap), [("up0", packet)], [("red_a", delivered(RED_A, inner))])


@check("I4", "1812 §5.3.1", "TTL 1, or 0: dropped, and type 11 code 0 from the port's gateway address")
def ttl_expires():
    packets = [
        ipv4(RED_A, RED_B, ttl=1),
        ipv4(RED_A, RED_C, ttl=1),
        ipv4(RED_A, RED_B, TCP(sport=1, dport=2, flags="S"), ttl=1),
        ipv4(RED_A, RED_B, ICMP(type=8, id=1) / b"ping", ttl=1),
        ipv4(RED_A, RED_B, ttl=0),
    ]
    return errors("ttl_expired", packets, [IcmpError(packet, RED_A, 11) for packet in packets])


@check("I5", "1812 §5.3.1", "TTL 64 becomes 63, and the checksum is that of a full recompute, whatever it was before: all 65,536 ids, every TTL")
def ttl_and_checksum():
    head = bytearray(raw(ether(RED_A, ROUTER) / ipv4(RED_A, RED_B)))
    lives = [(64, number) for number in range(65536)] + [(ttl, 7) for ttl in range(2, 256)]

    def right(vif, frames):
        out = raw(delivered(RED_B, ipv4(RED_A, RED_B)))
        if len(frames) != len(lives):
            yield f"{len(frames)} of {len(lives)} packets came"
        for (ttl, number), frame in zip(lives, frames):
            if frame != out[:14] + header(bytearray(out[14:34]), ttl - 1, number) + out[34:]:
                yield f"TTL {ttl}, id {number}: {frame[14:34].hex()}"
                return

    packets = [bytes(head[:14]) + header(head[14:34], ttl, number) + bytes(head[34:]) for ttl, number in lives]
    return Case(
        CONFIG, [("red_a", packet, index / 10_000) for index, packet in enumerate(packets)], more=right, judged=["red_b"]
    )


def header(fields, ttl, number):
    """The IPv4 header with these, and the checksum of RFC 791 section 3.1."""
    fields[4:6], fields[8], fields[10:12] = struct.pack(">H", number), ttl, b"\0\0"
    fields[10:12] = struct.pack(">H", internet_checksum(bytes(fields)))
    return bytes(fields)


@check(
    "I6",
    "1812 §4.3.2.7",
    "no ICMP error about an ICMP error, broadcast or multicast, a fragment that is not the first, or a source that is no host's",
)
def no_error_about():
    about = raw(ipv4(RED_B, RED_A))[:28]
    kinds = [ICMP(type=kind, code=0) / about for kind in (3, 4, 5, 11, 12)]
    yield refused("ttl_expired", *(ipv4(RED_A, RED_B, icmp, ttl=1) for icmp in kinds))
    yield Case(
        CONFIG,
        [("red_a", sent(RED_A, ipv4(RED_A, RED_B, b"x" * 16, ttl=1, proto=17, frag=100)))],
        drops={("red_a", "ttl_expired"): 1},
    )
    yield refused("ttl_expired", *(ipv4(RED_A, RED_B, src=source, ttl=1) for source in NO_HOST), config=ANY_SOURCE)
    for link, address in (("ff:ff:ff:ff:ff:ff", "255.255.255.255"), ("01:00:5e:00:00:fb", "224.0.0.251")):
        frame = Ether(src=RED_A.mac, dst=link) / ipv4(RED_A, RED_B, dst=address, ttl=1)
        yield refused("multicast", frame)
        # A packet for one machine in a frame for all.
        yield refused("multicast", Ether(src=RED_A.mac, dst=link) / ipv4(RED_A, RED_B, ttl=1))


NO_HOST = ["0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"]


@check("I7", "1812 §4.3.2.3", "an error quotes as much of the packet as 576 bytes hold, or all of it")
def quotes():
    packets = [sized(size, RED_A, RED_B, ttl=1) for size in (28, 36, 547, 548, 549, 1500)]
    return errors("ttl_expired", packets, [IcmpError(packet, RED_A, 11) for packet in packets])


@check(
    "I8",
    "1812 §4.3.2.8",
    "1,000 expiring packets a second for 10 s: errors stay within the rate, and other traffic loses nothing",
)
def error_rate():
    expiring, probe = raw(sent(RED_A, ipv4(RED_A, RED_B, ttl=1))), raw(sent(RED_B, ipv4(RED_B, RED_A)))
    inputs = []
    for index in range(10_000):
        inputs += [("red_a", expiring, index / 1000), ("red_b", probe, index / 1000)]

    def judge(vif, frames):
        about = [frame for frame in frames if frame[23] == 1]
        if not 10 <= len(about) <= 1_100:
            yield f"{len(about)} errors in 10 s"
        if len(frames) - len(about) != 10_000:
            yield f"{len(frames) - len(about)} of 10,000 other packets"

    return Case(
        CONFIG, inputs, more=judge, judged=["red_a"], drops={("red_a", "ttl_expired"): 10_000}, originated=range(10, 1_101), withheld=range(8_900, 9_991)
    )


@check("I9", "1812 §5.3.7", "martian sources and destinations are dropped")
def martians():
    yield refused("martian", *(ipv4(RED_A, RED_B, src=source) for source in NO_HOST), config=ANY_SOURCE)
    there = ["0.1.2.3", "127.0.0.1", "240.0.0.1", "255.255.255.254"]
    yield refused("martian", *(ipv4(RED_A, RED_B, dst=target) for target in there))
    yield refused("martian", *(ipv6(RED_A, RED_B, dst=target) for target in ("::1", "::")))
    yield refused("martian", *(ipv6(RED_A, RED_B, src=source) for source in ("::1", "ff02::1", "ff0e::1")), config=ANY_SOURCE)
    yield Case(
        CONFIG,
        [("up0", arrives("vxlan", 4, ipv4(RED_C, RED_A, src=source))) for source in NO_HOST],
        drops={("up0", "martian"): len(NO_HOST)},
    )


@check(
    "I10",
    "1812 §5.3.13.1",
    "an unknown IP option passes unchanged",
    note="with a translation due: when there is address translation",
)
def unknown_options():
    options = [b"\x01", b"\x5e\x04ab", b"\x9e\x06abcd", b"\x88\x04\x00\x01", b"\x94\x04\x00\x00"]
    packets = [ipv4(RED_A, RED_B, options=[IPOption(option)]) for option in options]
    return Case(
        CONFIG, [("red_a", sent(RED_A, p)) for p in packets], [("red_b", delivered(RED_B, p)) for p in packets]
    )


@check("I11", "7126 §4.3.5, §4.4", "source routes, loose or strict, are dropped")
def source_routes():
    options = [IPOption_LSRR(routers=["10.1.0.9"]), IPOption_SSRR(routers=["10.1.0.9"])]
    yield refused("source_route", *(ipv4(RED_A, RED_B, options=[option]) for option in options))
    to_gateway = [ipv4(RED_A, GATEWAY, ICMP(type=8, id=1), options=[option]) for option in options]
    yield refused("source_route", *to_gateway)


@check("I12", "4443 §3.3", "hop limit 1, or 0: dropped, and type 3 code 0")
def hop_limit_expires():
    packets = [
        ipv6(RED_A, RED_B, hlim=1),
        ipv6(RED_A, RED_C, hlim=1),
        ipv6(RED_A, RED_B, TCP(sport=1, dport=2, flags="S"), hlim=1),
        ipv6(RED_A, RED_B, ICMPv6EchoRequest(id=1, data=b"ping"), hlim=1),
        ipv6(RED_A, RED_B, hlim=0),
    ]
    return errors("ttl_expired", packets, [IcmpError(packet, RED_A, 3) for packet in packets])


@check("I13", "4443 §2.4c", "an error is 1,280 bytes at most, and quotes what fits")
def quotes_ipv6():
    packets = [sized(size, RED_A, RED_B, 6, hlim=1) for size in (48, 1231, 1232, 1233, 1500)]
    return errors("ttl_expired", packets, [IcmpError(packet, RED_A, 3) for packet in packets])


@check(
    "I14",
    "4443 §2.4e",
    "no error to a multicast or unspecified source, about an error, or about multicast",
)
def no_error_about_ipv6():
    about = raw(ipv6(RED_B, RED_A))
    kinds = [ICMPv6DestUnreach() / about, ICMPv6PacketTooBig(mtu=1280) / about, ICMPv6TimeExceeded() / about]
    yield refused("ttl_expired", *(ipv6(RED_A, RED_B, icmp, hlim=1) for icmp in kinds))
    nobody = ("::", "ff02::1")
    yield refused("ttl_expired", *(ipv6(RED_A, RED_B, src=source, hlim=1) for source in nobody), config=ANY_SOURCE)
    group = Ether(src=RED_A.mac, dst="33:33:00:00:00:fb") / ipv6(RED_A, RED_B, dst="ff0e::fb", hlim=1)
    yield refused("multicast", group)


@check("I15", "4443 §2.4f", "errors are limited by a token bucket: a burst passes, then the rate, then a burst again")
def token_bucket():
    expiring = raw(sent(RED_A, ipv6(RED_A, RED_B, hlim=1)))
    times = [index / 10_000 for index in range(1000)] + [30 + index / 10_000 for index in range(1000)]

    def bursts(sent):
        seconds = [time for time, _ in sent.get("red_a", [])]
        for burst in (sum(time < 10 for time in seconds), sum(time > 10 for time in seconds)):
            if not 5 <= burst <= 200:
                yield f"{burst} errors for 1,000 packets in a tenth of a second"

    return Case(
        CONFIG,
        [("red_a", expiring, time) for time in times],
        None,
        overall=bursts,
        drops={("red_a", "ttl_expired"): 2000},
        originated=range(10, 401),
        withheld=range(1_600, 1_991),
    )


@check("I16", "4443 §2.3", "the checksum of an error includes the pseudo-header, of odd lengths too")
def pseudo_header():
    packets = [ipv6(RED_A, RED_B, UDP(sport=1, dport=2) / pattern(size), hlim=1) for size in range(6)]
    return errors("ttl_expired", packets, [IcmpError(packet, RED_A, 3) for packet in packets])


