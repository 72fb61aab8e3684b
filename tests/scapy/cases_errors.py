"""What a sender is told about a packet that went no further, and when it is told nothing.

Checks I1 to I16. The machines' gateway is 10.1.0.1 and fd01::1.
"""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    HBHOptUnknown,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from golden import Case, case
from network import CONFIG, KNOWN, NODE, OTHER, RED_A, RED_B, RED_C, ROUTER, arriving, ether, routed, tunnelled

GATEWAY = "10.1.0.1"
GATEWAY6 = "fd01::1"
# A machine that may send from any address.
ANY = "02:00:00:00:01:0a"
WITH_ANY = KNOWN.replace(
    "nexthops:\n",
    f'  - {{name: red_any, role: tenant, device: net_null5, vrf: red, mac: "{ANY}"}}\nnexthops:\n'
    "  - {name: refuse, reject: {}}\n",
).replace(
    "routes:\n",
    "routes:\n"
    "  - {vrf: red, prefix: 10.77.0.0/16, nexthop: refuse}\n"
    '  - {vrf: red, prefix: "fd77::/16", nexthop: refuse}\n'
    "  - {vrf: red, prefix: 10.78.0.0/16, nexthop: lost}\n"
    '  - {vrf: red, prefix: "fd78::/16", nexthop: lost}\n'
    "  - {vrf: red, prefix: 8.0.0.0/8, nexthop: red-other}\n",
).replace(
    "nexthops:\n", "nexthops:\n  - {name: lost, tunnel: {encap: vxlan, remote: 198.51.100.7, vni: 77}}\n"
)


def udp4(src=RED_A, dst=RED_B.v4, payload=b"x", **fields):
    return ether(src, ROUTER) / IP(**{"src": src.v4, "dst": dst, **fields}) / UDP(sport=1000, dport=2000) / payload


def udp6(src=RED_A, dst=RED_B.v6, payload=b"x", **fields):
    return ether(src, ROUTER) / IPv6(**{"src": src.v6, "dst": dst, **fields}) / UDP(sport=1000, dport=2000) / payload


def quoted(packet, layer, most):
    """The datagram as it came, without padding, as much of it as fits."""
    datagram = bytes(packet[layer])
    length = packet[layer].len if layer is IP else packet[layer].plen
    if length is not None:
        datagram = datagram[: length if layer is IP else length + 40]
    return datagram[:most]


def about4(packet, kind, code, gateway=GATEWAY, **fields):
    """RFC 1812 section 4.3.2: precedence 6, 576 bytes at most; RFC 6864: an atomic datagram."""
    packet = Ether(bytes(packet))
    return (
        Ether(src=packet.dst, dst=packet.src)
        / IP(src=gateway, dst=packet[IP].src, tos=0xC0, id=0, flags="DF", ttl=64)
        / ICMP(type=kind, code=code, **fields)
        / Raw(quoted(packet, IP, 576 - 28))
    )


def about6(packet, message, gateway=GATEWAY6):
    """RFC 4443 section 2.4: 1280 bytes at most; the checksum covers a pseudo-header (2.3)."""
    packet = Ether(bytes(packet))
    return (
        Ether(src=packet.dst, dst=packet.src)
        / IPv6(src=gateway, dst=packet[IPv6].src, hlim=255)
        / message
        / Raw(quoted(packet, IPv6, 1280 - 48))
    )


def told(reason, *pairs, config=WITH_ANY, vif="red_a"):
    """Each packet is dropped for the reason and answered with the error."""
    return Case(
        config,
        [(vif, packet, index * 0.2) for index, (packet, _) in enumerate(pairs, 1)],
        [(vif, error) for _, error in pairs],
        drops={(vif, reason): len(pairs)},
        originated=len(pairs),
    )


def silent(reason, *packets, config=WITH_ANY, vif="red_a"):
    return Case(config, [(vif, packet) for packet in packets], drops={(vif, reason): len(packets)})


@case
def i01_a_packet_of_less_than_a_header_is_dropped_silently():
    return silent("truncated", Ether(bytes(ether(RED_A, ROUTER) / IP())[:33]))


@case
def i01_a_bad_checksum_is_dropped_silently():
    return silent("ip_checksum", udp4(chksum=0x1234))


@case
def i01_another_version_is_dropped_silently():
    return silent("ip_version", udp4(version=5), udp4(version=6), udp4(version=0))


@case
def i01_a_header_length_below_five_is_dropped_silently():
    return silent("ip_header_len", udp4(ihl=4), udp4(ihl=0))


@case
def i01_a_total_length_below_the_header_is_dropped_silently():
    return silent("ip_total_len", udp4(len=19), udp4(len=0))


@case
def i02_a_packet_longer_than_its_link_frame_is_dropped():
    return silent("ip_truncated", udp4(len=30), udp4(len=1500), udp6(plen=10))


@case
def i03_padding_changes_nothing():
    """It follows where the frame goes by itself, and is in no error's quote."""
    sent = udp4()
    padding = b"\xee" * 17
    dying = Ether(bytes(udp4(ttl=1)) + padding)
    return Case(
        WITH_ANY,
        [("red_a", Ether(bytes(sent) + padding)), ("red_a", dying)],
        [("red_b", Ether(bytes(routed(sent, ROUTER, RED_B)) + padding)), ("red_a", about4(udp4(ttl=1), 11, 0))],
        drops={("red_a", "ttl_expired"): 1},
        originated=1,
    )


@case
def i04_ttl_one_is_time_exceeded():
    """RFC 1812 section 5.3.1; zero is no better (RFC 792)."""
    packets = [udp4(ttl=1), udp4(ttl=0), udp4(ttl=1, dst=RED_C.v4)]
    return told("ttl_expired", *[(packet, about4(packet, 11, 0)) for packet in packets])


@case
def i04_what_a_tunnel_brings_is_told_through_it():
    inner = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4, ttl=1) / UDP(sport=1, dport=2) / b"far"
    inner6 = ether(RED_C, ROUTER) / IPv6(src=RED_C.v6, dst=RED_A.v6, hlim=1) / UDP(sport=1, dport=2) / b"far"
    return Case(
        KNOWN,
        [("up0", arriving(5001, inner)), ("up0", arriving(5001, inner6))],
        [
            ("up0", tunnelled(5001, about4(inner, 11, 0))),
            ("up0", tunnelled(5001, about6(inner6, ICMPv6TimeExceeded(code=0)))),
        ],
        drops={("up0", "ttl_expired"): 2},
        originated=2,
    )


@case
def i04_an_error_of_the_gateway_on_another_node_is_delivered():
    """It has our own gateway's address; what it quotes went into that tunnel."""
    sent = ether(ROUTER, ROUTER) / IP(src=RED_A.v4, dst=RED_C.v4, ttl=1) / UDP(sport=1, dport=2) / b"near"
    sent6 = ether(ROUTER, ROUTER) / IPv6(src=RED_A.v6, dst=RED_C.v6, hlim=1) / UDP(sport=1, dport=2) / b"near"
    error, error6 = about4(sent, 11, 0), about6(sent6, ICMPv6TimeExceeded(code=0))
    return Case(
        KNOWN,
        [("up0", arriving(5001, error)), ("up0", arriving(5001, error6))],
        [("red_a", routed(error, ROUTER, RED_A)), ("red_a", routed(error6, ROUTER, RED_A))],
    )


@case
def i04_an_error_about_nothing_of_ours_is_spoofed():
    """The quote is about another machine's packet, or about one that did not go that way."""
    foreign = ether(ROUTER, ROUTER) / IP(src=RED_B.v4, dst=RED_C.v4, ttl=1) / UDP(sport=1, dport=2)
    local = ether(ROUTER, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, ttl=1) / UDP(sport=1, dport=2)
    other = about4(foreign, 11, 0)
    other[IP].dst = RED_A.v4
    return silent(
        "reverse_path", arriving(5001, other), arriving(5001, about4(local, 11, 0)), config=KNOWN, vif="up0"
    )


@case
def i05_the_checksum_after_the_hop_is_that_of_the_new_header():
    sent = [udp4(ttl=ttl, id=ttl * 257) for ttl in range(2, 256)]
    return Case(
        KNOWN, [("red_a", p) for p in sent], [("red_b", routed(p, ROUTER, RED_B)) for p in sent]
    )


def dying4(src, dst=RED_B.v4, dst_mac=ROUTER):
    return Ether(src=ANY, dst=dst_mac) / IP(src=src, dst=dst, ttl=1) / UDP(sport=1, dport=2) / b"x"


@case
def i06_no_error_about_an_error():
    """RFC 1812 section 4.3.2.7; about echoes there is one."""
    about = bytes(udp4()[IP])
    errors = [
        ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, ttl=1) / ICMP(type=kind, code=1) / Raw(about)
        for kind in (3, 4, 5, 11, 12)
    ]
    return silent("ttl_expired", *errors)


@case
def i06_an_echo_is_told():
    echoes = [
        ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, ttl=1) / ICMP(type=kind, id=7) / b"ping"
        for kind in (0, 8)
    ]
    return told("ttl_expired", *[(echo, about4(echo, 11, 0)) for echo in echoes])


@case
def i06_no_error_about_a_later_fragment():
    later = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_B.v4, ttl=1, frag=3, proto=17) / Raw(b"f" * 24)
    later6 = (
        ether(RED_A, ROUTER)
        / IPv6(src=RED_A.v6, dst=RED_B.v6, hlim=1)
        / IPv6ExtHdrFragment(offset=3, m=0, nh=17)
        / Raw(b"f" * 24)
    )
    return silent("ttl_expired", later, later6)


@case
def i06_the_first_fragment_is_told():
    first = udp4(ttl=1, flags="MF", payload=b"f" * 32)
    return told("ttl_expired", (first, about4(first, 11, 0)))


@case
def i06_no_error_to_a_sender_that_is_nobody():
    sources = ["0.1.2.3", "127.0.0.1", "224.0.0.5", "240.1.1.1", "255.255.255.255"]
    return silent("ttl_expired", *[dying4(src) for src in sources], vif="red_any")


@case
def i06_no_error_about_what_went_to_many():
    """The subnet's broadcast address has no route; group destinations expire."""
    return Case(
        WITH_ANY,
        [
            ("red_a", udp4(dst="10.1.0.255")),
            ("red_a", udp4(dst="224.0.0.5", ttl=1)),
            ("red_a", udp4(dst="255.255.255.255", ttl=1)),
            ("red_a", Ether(src=RED_A.mac, dst="ff:ff:ff:ff:ff:ff") / udp4(ttl=1)[IP]),
        ],
        drops={("red_a", "no_route"): 1, ("red_a", "ttl_expired"): 2, ("red_a", "multicast"): 1},
    )


@case
def i07_as_much_is_quoted_as_576_bytes_hold():
    packets = [udp4(ttl=1, payload=b"q" * size) for size in (0, 1, 519, 520, 521, 1400)]
    pairs = [(packet, about4(packet, 11, 0)) for packet in packets]
    assert max(len(error[IP]) for _, error in pairs) == 576
    return told("ttl_expired", *pairs)


@case
def i07_options_are_quoted_with_eight_bytes_behind_them():
    packet = udp4(ttl=1, options=[IPOption(b"\x44\x24\x05\x00" + bytes(32))], payload=b"o" * 600)
    return told("ttl_expired", (packet, about4(packet, 11, 0)))


def bucket(times_ms, rate=100, burst=10):
    """The token bucket of RFC 4443 section 2.4 f, in thousandths: which of these get an error."""
    tokens, last, allowed = burst * 1000, 0, []
    for time in times_ms:
        tokens, last = min(burst * 1000, tokens + (time - last) * rate), time
        allowed.append(tokens >= 1000)
        tokens -= 1000 if allowed[-1] else 0
    return allowed


@case
def i08_a_flood_gets_errors_at_the_configured_rate():
    """1,000 expired packets a second for ten seconds; what others send is not disturbed."""
    inputs, outputs, probes = [], [], 0
    times = list(range(10_000))
    dying = udp4(ttl=1)
    error = about4(dying, 11, 0)
    for time, allowed in zip(times, bucket(times)):
        # Half a millisecond in, where rounding cannot move them.
        inputs.append(("red_a", dying, time / 1000 + 0.0005))
        outputs += [("red_a", error)] if allowed else []
        if time % 10 == 0:
            probe = udp4(src=RED_B, dst=RED_A.v4, payload=time.to_bytes(2, "big"))
            inputs.append(("red_b", probe, time / 1000 + 0.0007))
            outputs.append(("red_a", routed(probe, ROUTER, RED_A)))
            probes += 1
    sent = len(outputs) - probes
    assert 1000 <= sent <= 1010, sent
    return Case(
        KNOWN, inputs, outputs, drops={("red_a", "ttl_expired"): 10_000}, originated=sent, withheld=10_000 - sent
    )


@case
def i09_martians_are_dropped():
    """RFC 1812 section 5.3.7."""
    packets = [dying4(src) for src in ("0.1.2.3", "127.0.0.1", "224.0.0.5", "240.1.1.1")]
    packets += [dying4("10.9.9.9", dst) for dst in ("127.0.0.1", "0.0.0.1", "240.0.0.1")]
    for packet in packets:
        packet[IP].ttl = 64
    return silent("martian", *packets, vif="red_any")


@case
def i10_an_unknown_option_passes_unchanged():
    """RFC 1812 section 5.3.13.1."""
    sent = [udp4(options=[IPOption(b"\x5e\x04\xab\xcd")]), udp4(options=[IPOption(b"\xde\x04\xab\xcd")])]
    return Case(KNOWN, [("red_a", p) for p in sent], [("red_b", routed(p, ROUTER, RED_B)) for p in sent])


@case
def i11_source_routes_are_dropped_silently():
    """RFC 7126 sections 4.3.5 and 4.4: loose and strict."""
    route = b"\x07\x04" + bytes([10, 1, 0, 9])
    return silent("source_route", udp4(options=[IPOption(b"\x83" + route)]), udp4(options=[IPOption(b"\x89" + route)]))


@case
def i12_hop_limit_one_is_time_exceeded():
    packets = [udp6(hlim=1), udp6(hlim=0), udp6(hlim=1, dst=RED_C.v6)]
    return told("ttl_expired", *[(packet, about6(packet, ICMPv6TimeExceeded(code=0))) for packet in packets])


@case
def i13_as_much_is_quoted_as_1280_bytes_hold():
    packets = [udp6(hlim=1, payload=b"q" * size) for size in (0, 1183, 1184, 1185, 1400)]
    pairs = [(packet, about6(packet, ICMPv6TimeExceeded(code=0))) for packet in packets]
    assert max(len(error[IPv6]) for _, error in pairs) == 1280
    return told("ttl_expired", *pairs)


@case
def i14_no_error_to_groups_nobody_and_about_errors():
    """RFC 4443 section 2.4 e: errors and redirects are never the subject of one."""
    about = bytes(udp6()[IPv6])
    packets = [
        Ether(src=ANY, dst=ROUTER) / IPv6(src=src, dst=RED_B.v6, hlim=1) / UDP(sport=1, dport=2) / b"x"
        for src in ("::", "::1")
    ]
    for message in (ICMPv6DestUnreach(), ICMPv6PacketTooBig(mtu=1400), ICMPv6TimeExceeded(), ICMPv6ParamProblem()):
        packets.append(Ether(src=ANY, dst=ROUTER) / IPv6(src="fd01::77", dst=RED_B.v6, hlim=1) / message / Raw(about))
    return silent("ttl_expired", *packets, vif="red_any")


@case
def i14_a_multicast_source_is_no_sender():
    packet = Ether(src=ANY, dst=ROUTER) / IPv6(src="ff02::1", dst=RED_B.v6, hlim=1) / UDP(sport=1, dport=2) / b"x"
    return silent("ttl_expired", packet, vif="red_any")


@case
def i14_an_echo_over_ipv6_is_told():
    echo = ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=RED_B.v6, hlim=1) / ICMPv6EchoRequest(id=1, data=b"ping")
    return told("ttl_expired", (echo, about6(echo, ICMPv6TimeExceeded(code=0))))


@case
def i15_a_burst_is_tolerated_and_the_rest_withheld():
    """RFC 4443 section 2.4 f: ten at once, then one in ten milliseconds; each source its own."""
    dying, other = udp6(hlim=1), udp6(src=RED_B, dst=RED_A.v6, hlim=1)
    times = [0] * 15 + [10, 10, 25, 30, 30]
    allowed = bucket(times)
    assert sum(allowed) == 13
    inputs = [("red_a", dying, time / 1000 + 0.0005) for time in times] + [("red_b", other, 0.0306)]
    outputs = [("red_a", about6(dying, ICMPv6TimeExceeded(code=0)))] * sum(allowed)
    outputs.append(("red_b", about6(other, ICMPv6TimeExceeded(code=0))))
    drops = {("red_a", "ttl_expired"): len(times), ("red_b", "ttl_expired"): 1}
    return Case(KNOWN, inputs, outputs, drops=drops, originated=14, withheld=7)


@case
def i16_checksums_over_odd_quotes_have_the_pseudo_header():
    packets = [udp6(hlim=1, payload=b"s" * size) for size in (3, 4, 255)]
    return told("ttl_expired", *[(packet, about6(packet, ICMPv6TimeExceeded(code=0))) for packet in packets])


@case
def no_route_is_unreachable():
    packet, packet6 = udp4(dst="10.9.9.9"), udp6(dst="2001:db8::1")
    return told(
        "no_route", (packet, about4(packet, 3, 0)), (packet6, about6(packet6, ICMPv6DestUnreach(code=0)))
    )


@case
def a_node_the_underlay_cannot_reach_is_unreachable():
    packet, packet6 = udp4(dst="10.78.1.1"), udp6(dst="fd78::1")
    return told(
        "no_underlay_route", (packet, about4(packet, 3, 1)), (packet6, about6(packet6, ICMPv6DestUnreach(code=3)))
    )


@case
def a_node_that_does_not_answer_is_unreachable():
    """After three requests a second apart; the packets are quoted as they came."""
    ask = Ether(src=NODE.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=NODE.mac, psrc=NODE.v4, hwdst="00:00:00:00:00:00", pdst=OTHER.v4
    )
    packet, packet6 = udp4(dst=RED_C.v4), udp6(dst=RED_C.v6)
    # A frame to another machine is not the router's, which says nothing then.
    bridged = Ether(src=RED_A.mac, dst=RED_C.mac) / packet.payload
    return Case(
        CONFIG,
        [("red_a", frame) for frame in (packet, packet6, bridged)],
        [("up0", ask)] * 3
        + [("red_a", about4(packet, 3, 1)), ("red_a", about6(packet6, ICMPv6DestUnreach(code=3)))],
        drops={("up0", "neighbour_unresolved"): 3},
        originated=5,
    )


@case
def reject_is_prohibited():
    packet, packet6 = udp4(dst="10.77.1.1"), udp6(dst="fd77::1")
    return told("reject", (packet, about4(packet, 3, 13)), (packet6, about6(packet6, ICMPv6DestUnreach(code=1))))


def tcp(dst, dst6, **fields):
    payload = fields.pop("payload", b"")
    segment = TCP(**{"sport": 1000, "dport": 80, **fields})
    yield ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=dst) / segment / payload
    yield ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=dst6) / segment / payload


def resets(dst, dst6, **fields):
    segment = TCP(sport=80, dport=1000, window=0, **fields)
    yield ether(ROUTER, RED_A) / IP(src=dst, dst=RED_A.v4, id=0, flags="DF", ttl=64) / segment
    yield ether(ROUTER, RED_A) / IPv6(src=dst6, dst=RED_A.v6, hlim=64) / segment


@case
def reject_resets_connections():
    """RFC 9293 section 3.5.2: the reset takes its number from ACK, or acknowledges everything."""
    there = ("10.77.1.1", "fd77::1")
    pairs = []
    for segment, reset in (
        ({"flags": "S", "seq": 77}, {"flags": "RA", "seq": 0, "ack": 78}),
        ({"flags": "S", "seq": 2**32 - 1, "payload": b"fast"}, {"flags": "RA", "seq": 0, "ack": 4}),
        ({"flags": "PA", "seq": 5, "ack": 99, "payload": b"data"}, {"flags": "R", "seq": 99, "ack": 0}),
        ({"flags": "F", "seq": 5, "payload": b"data"}, {"flags": "RA", "seq": 0, "ack": 10}),
    ):
        pairs += zip(tcp(*there, **segment), resets(*there, **reset))
    return told("reject", *pairs)


@case
def reject_never_resets_a_reset():
    return silent("reject", *tcp("10.77.1.1", "fd77::1", flags="R"), *tcp("10.77.1.1", "fd77::1", flags="RA"))


@case
def the_gateway_listens_on_no_port():
    """RFC 1122 section 4.1.3.1, also with one hop left (RFC 1812 section 5.3.1)."""
    packets = [udp4(dst=GATEWAY), udp4(dst=GATEWAY, ttl=1)]
    packets6 = [udp6(dst=GATEWAY6), udp6(dst=GATEWAY6, hlim=1)]
    pairs = [(packet, about4(packet, 3, 3)) for packet in packets]
    pairs += [(packet, about6(packet, ICMPv6DestUnreach(code=4))) for packet in packets6]
    pairs += zip(tcp(GATEWAY, GATEWAY6, flags="S", seq=1), resets(GATEWAY, GATEWAY6, flags="RA", seq=0, ack=2))
    return told("to_gateway", *pairs)


@case
def the_gateway_says_what_it_does_not_know():
    """RFC 8200 sections 4 and 4.2: unknown next header, unknown option; RFC 1122 3.2.2.1 for IPv4."""
    sctp = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=GATEWAY, proto=50) / Raw(b"p" * 20)
    sctp6 = ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=GATEWAY6, nh=50) / Raw(b"p" * 20)

    def with_option(kind):
        options = [HBHOptUnknown(otype=kind, optdata=b"\0\0\0\0")]
        header = IPv6ExtHdrDestOpt(autopad=0, options=options)
        return ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=GATEWAY6) / header / UDP(sport=1, dport=2) / b"x"

    return told(
        "to_gateway",
        (sctp, about4(sctp, 3, 2)),
        (sctp6, about6(sctp6, ICMPv6ParamProblem(code=1, ptr=6))),
        (with_option(0x9E), about6(with_option(0x9E), ICMPv6ParamProblem(code=2, ptr=42))),
        (with_option(0x1E), about6(with_option(0x1E), ICMPv6DestUnreach(code=4))),
    )


@case
def the_gateway_drops_what_asks_for_silence():
    header = IPv6ExtHdrDestOpt(autopad=0, options=[HBHOptUnknown(otype=0x5E, optdata=b"\0\0\0\0")])
    packet = ether(RED_A, ROUTER) / IPv6(src=RED_A.v6, dst=GATEWAY6) / header / UDP(sport=1, dport=2) / b"x"
    message = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=GATEWAY) / ICMP(type=13, id=1)
    return silent("to_gateway", packet, message)


@case
def a_vrf_without_a_gateway_says_nothing():
    config = CONFIG.replace('{name: red, gateways: [10.1.0.1/24, "fd01::1/64"]}', "{name: red}")
    return silent("ttl_expired", udp4(ttl=1), udp6(hlim=1), config=config)


@case
def the_gateway_of_the_senders_subnet_speaks():
    """RFC 1812 section 4.3.2.4: of several, the one on the sender's network."""
    config = WITH_ANY.replace("gateways: [10.1.0.1/24,", "gateways: [10.2.0.1/24, 10.1.0.1/24,", 1)
    near, far = udp4(ttl=1), Ether(src=ANY, dst=ROUTER) / IP(src="10.2.0.7", dst=RED_B.v4, ttl=1) / UDP() / b"x"
    return Case(
        config,
        [("red_a", near), ("red_any", far)],
        [("red_a", about4(near, 11, 0)), ("red_any", about4(far, 11, 0, gateway="10.2.0.1"))],
        drops={("red_a", "ttl_expired"): 1, ("red_any", "ttl_expired"): 1},
        originated=2,
    )


@case
def the_mac_of_another_machine_is_no_router():
    """A frame bridged to nobody is dropped without a word: a switch sends no errors."""
    lost = Ether(src=RED_A.mac, dst="02:00:00:00:09:09") / udp4(dst="10.9.9.9")[IP]
    return silent("no_mac", lost)


@case
def a_tunnel_inside_a_tenant_is_payload():
    """U7: what looks like VXLAN to this node, sent by a machine, has no route."""
    inner = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4) / UDP(sport=1, dport=2) / b"x"
    inside = (
        ether(RED_A, ROUTER)
        / IP(src=RED_A.v4, dst=NODE.v4)
        / UDP(sport=50000, dport=4789)
        / b"\x08\0\0\0\0\x13\x88\0"
        / inner
    )
    return told("no_route", (inside, about4(inside, 3, 0)), config=CONFIG)
