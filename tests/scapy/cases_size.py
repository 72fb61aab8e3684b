"""Packets too big for where they go, and what is known of the way there.

Checks P1 to P9, G8 and N9. The underlay carries 1500 bytes.
"""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from cases_errors import about4, about6, udp4, udp6
from golden import Case, case
from network import KNOWN, NODE, OTHER, RED_A, RED_B, RED_C, ROUTER, arriving, ether, outer, routed, tunnelled

# The same nodes with an IPv6 underlay.
KNOWN6 = (
    KNOWN.replace("192.0.2.1/24", '"2001:db8::1/64"')
    .replace("remote: 192.0.2.2", 'remote: "2001:db8::2"')
    .replace("address: 192.0.2.2", 'address: "2001:db8::2"')
    .replace("ip: 192.0.2.2", 'ip: "2001:db8::2"')
)
SMALL = KNOWN.replace('{name: red_b, role: tenant,', "{name: red_b, mtu: 1000, role: tenant,")
ROUTER_BETWEEN = "198.51.100.1"


def sized4(size, dst=RED_C.v4, **fields):
    """A UDP packet of so many bytes from the IP header on."""
    return udp4(dst=dst, payload=bytes(i * 7 % 251 for i in range(size - 28)), **fields)


def sized6(size, dst=RED_C.v6, **fields):
    return udp6(dst=dst, payload=bytes(i * 7 % 251 for i in range(size - 48)), **fields)


def needed(packet, mtu):
    """RFC 1191 section 4: the upper half of the word is zero, the lower the MTU."""
    return about4(packet, 3, 4, reserved=0, nexthopmtu=mtu) if mtu else about4(packet, 3, 4)


def too_big(packet, mtu):
    return about6(packet, ICMPv6PacketTooBig(mtu=mtu))


def told(config, *pairs):
    return Case(
        config,
        [("red_a", packet, index * 0.2) for index, (packet, _) in enumerate(pairs, 1)],
        [("red_a", error) for _, error in pairs],
        drops={("red_a", "too_big"): len(pairs)},
        originated=len(pairs),
    )


@case
def p01_too_big_with_df_is_told_the_mtu():
    packets = [sized4(size, flags="DF", id=9) for size in (1451, 1500)]
    return told(KNOWN, *[(packet, needed(packet, 1450)) for packet in packets])


@case
def p01_to_a_machine_with_a_small_mtu():
    packet, packet6 = sized4(1001, dst=RED_B.v4, flags="DF"), sized6(1400, dst=RED_B.v6)
    # P4: less than 1280 is never reported over IPv6 (RFC 8201 section 4).
    return told(SMALL, (packet, needed(packet, 1000)), (packet6, too_big(packet6, 1280)))


@case
def p01_what_fits_exactly_passes():
    sent = [sized4(1450, flags="DF"), sized6(1450)]
    return Case(
        KNOWN,
        [("red_a", packet) for packet in sent],
        [("up0", tunnelled(5001, routed(packet, ROUTER, ROUTER))) for packet in sent],
    )


@case
def p01_a_bridged_packet_is_told_by_the_gateway():
    """It has no router, but its sender must know."""
    packet = sized4(1451, flags="DF")
    packet6 = sized6(1451)
    for sent in (packet, packet6):
        sent[Ether].dst = RED_C.mac
    error, error6 = needed(packet, 1450), too_big(packet6, 1450)
    error[Ether].src = error6[Ether].src = ROUTER
    return told(KNOWN, (packet, error), (packet6, error6))


@case
def p02_vxlan_over_ipv4_leaves_1450():
    packet, packet6 = sized4(1500, flags="DF"), sized6(1500)
    return told(KNOWN, (packet, needed(packet, 1450)), (packet6, too_big(packet6, 1450)))


@case
def p02_vxlan_over_ipv6_leaves_1430():
    packet, packet6 = sized4(1500, flags="DF"), sized6(1500)
    return told(KNOWN6, (packet, needed(packet, 1430)), (packet6, too_big(packet6, 1430)))


@case
def p02_a_configured_path_mtu_counts():
    config = KNOWN.replace("vni: 5001}}", "vni: 5001, mtu: 1400}}")
    packet, packet6 = sized4(1351, flags="DF"), sized6(1351)
    return told(config, (packet, needed(packet, 1350)), (packet6, too_big(packet6, 1350)))


def pieces(packet, mtu, later_options=None):
    """RFC 791 section 3.2: what each fragment looks like, by scapy's fields and our arithmetic."""
    packet = Ether(bytes(packet))
    header = packet[IP].copy()
    payload = bytes(packet[IP].payload)[: packet[IP].len - packet[IP].ihl * 4]
    header.remove_payload()
    offset, frags = 0, []
    while offset < len(payload):
        if offset and later_options is not None:
            header.options = later_options
        for field in ("len", "chksum", "ihl"):
            delattr(header, field)
        room = (mtu - len(bytes(header))) // 8 * 8
        data = payload[offset : offset + room] if len(payload) - offset > mtu - len(bytes(header)) else payload[offset:]
        header.frag = packet[IP].frag + offset // 8
        last = offset + len(data) == len(payload)
        header.flags = "MF" if not last or packet[IP].flags.MF else 0
        frags.append(Ether(src=packet.src, dst=packet.dst) / header.copy() / Raw(data))
        offset += len(data)
    return frags


@case
def p03_too_big_without_df_is_cut():
    """In order, each within the MTU, none with DF; the pieces are those of RFC 791."""
    sent = sized4(1500, id=77)
    cut = pieces(routed(sent, ROUTER, ROUTER), 1450)
    assert [len(piece[IP]) for piece in cut] == [1444, 76]
    return Case(KNOWN, [("red_a", sent)], [("up0", tunnelled(5001, piece)) for piece in cut], originated=1)


@case
def p03_into_many_pieces():
    config = SMALL.replace("mtu: 1000", "mtu: 100")
    sent = sized4(1500, dst=RED_B.v4, id=78)
    cut = pieces(routed(sent, ROUTER, RED_B), 100)
    assert len(cut) == 19
    return Case(config, [("red_a", sent)], [("red_b", piece) for piece in cut], originated=18)


@case
def p03_a_fragment_is_cut_further():
    first = sized4(1500, id=5, flags="MF")
    later = ether(RED_A, ROUTER) / IP(src=RED_A.v4, dst=RED_C.v4, id=5, frag=185, proto=17) / Raw(b"l" * 1480)
    cut = pieces(routed(first, ROUTER, ROUTER), 1450) + pieces(routed(later, ROUTER, ROUTER), 1450)
    return Case(
        KNOWN,
        [("red_a", first), ("red_a", later)],
        [("up0", tunnelled(5001, piece)) for piece in cut],
        originated=2,
    )


@case
def p03_options_follow_their_copied_flag():
    """RFC 791 section 3.1: a timestamp (68) stays in the first piece, router alert (148) goes along."""
    stamp, alert = IPOption(b"\x44\x0c\x05\x00" + bytes(8)), IPOption(b"\x94\x04\x00\x00")
    sent = sized4(1460, id=6, options=[stamp, alert])
    cut = pieces(routed(sent, ROUTER, ROUTER), 1450, later_options=[alert])
    return Case(KNOWN, [("red_a", sent)], [("up0", tunnelled(5001, piece)) for piece in cut], originated=1)


@case
def p04_ipv6_is_never_cut():
    packets = [sized6(size) for size in (1451, 1500)]
    return told(KNOWN, *[(packet, too_big(packet, 1450)) for packet in packets])


# Errors from a router in the fabric, about a tunnel packet of this node.


def our_packet(size=1500, vni=5001, sport=50000, src=NODE.v4, dst=OTHER.v4, dport=4789, quote=64):
    """As much of it as a router would quote; 28 bytes are the least (RFC 792)."""
    packet = (
        IP(src=src, dst=dst, id=0, flags="DF", ttl=60, len=size)
        / UDP(sport=sport, dport=dport, len=size - 20, chksum=0)
        / VXLAN(flags=8, vni=vni)
        / Raw(b"i" * 64)
    )
    return bytes(packet)[:quote]


def fabric4(mtu, quote=None, **fields):
    return (
        Ether(src=OTHER.mac, dst=NODE.mac)
        / IP(src=ROUTER_BETWEEN, dst=NODE.v4)
        / ICMP(type=3, code=4, nexthopmtu=mtu, **fields)
        / Raw(our_packet() if quote is None else quote)
    )


def fabric6(mtu, sport=50000, vni=5001, src="2001:db8::1", dst="2001:db8::2"):
    quote = (
        IPv6(src=src, dst=dst, hlim=60, plen=1460)
        / UDP(sport=sport, dport=4789, len=1460, chksum=0)
        / VXLAN(flags=8, vni=vni)
        / Raw(b"i" * 64)
    )
    return (
        Ether(src=OTHER.mac, dst=NODE.mac)
        / IPv6(src="2001:db8:9::1", dst="2001:db8::1")
        / ICMPv6PacketTooBig(mtu=mtu)
        / Raw(bytes(quote))
    )


def after(config, errors, probes, outputs, originated=0, consumed=0, **drops):
    """Errors from the fabric, then a tenant's packets, a second apart."""
    inputs = [("up0", error, index * 0.01) for index, error in enumerate(errors, 1)]
    inputs += [("red_a", probe, 1 + index * 0.2) for index, probe in enumerate(probes)]
    counted = {("up0", reason): count for reason, count in drops.items() if reason != "too_big"}
    if "too_big" in drops:
        counted["red_a", "too_big"] = drops["too_big"]
    return Case(config, inputs, outputs, drops=counted, originated=originated, consumed=consumed)


def unchanged(errors, config=KNOWN, **drops):
    """Nothing fell: 1450 bytes still pass, 1451 do not."""
    fits, exceeds = sized4(1450, flags="DF"), sized4(1451, flags="DF")
    outputs = [("up0", tunnelled(5001, routed(fits, ROUTER, ROUTER))), ("red_a", needed(exceeds, 1450))]
    return after(config, errors, [fits, exceeds], outputs, originated=1, too_big=1, **drops)


@case
def p05_an_mtu_out_of_bounds_is_ignored():
    """Below 576 or not below the uplink's; as long as the packet it is about."""
    return unchanged([fabric4(mtu) for mtu in (0, 68, 575, 1500, 1501, 65535)], path_mtu_ignored=6)


@case
def p05_larger_than_what_is_known_is_ignored():
    """RFC 8201 section 4: an increase is never learned from an error."""
    packet = sized4(1400, flags="DF")
    return after(
        KNOWN,
        [fabric4(1400), fabric4(1420)],
        [packet],
        [("red_a", needed(packet, 1350))],
        originated=1,
        consumed=1,
        path_mtu_ignored=1,
        too_big=1,
    )


@case
def p05_below_1280_over_ipv6_is_ignored():
    fits, exceeds = sized6(1430), sized6(1431)
    config = KNOWN6
    case = after(
        config,
        [fabric6(1279), fabric6(1500)],
        [exceeds],
        [("red_a", too_big(exceeds, 1430))],
        originated=1,
        path_mtu_ignored=2,
        too_big=1,
    )
    return case


@case
def p06_the_next_packet_is_told_the_tunnels_new_mtu():
    """RFC 4459 section 3.2, within a second; smaller ones pass, those without DF are cut."""
    fits, exceeds, six, cut = sized4(1350, flags="DF"), sized4(1351, flags="DF"), sized6(1351), sized4(1351, id=3)
    parts = pieces(routed(cut, ROUTER, ROUTER), 1350)
    outputs = [("up0", tunnelled(5001, routed(fits, ROUTER, ROUTER)))]
    outputs += [("red_a", needed(exceeds, 1350)), ("red_a", too_big(six, 1350))]
    outputs += [("up0", tunnelled(5001, part)) for part in parts]
    return after(KNOWN, [fabric4(1400)], [fits, exceeds, six, cut], outputs, originated=3, consumed=1, too_big=2)


@case
def p06_also_from_a_quote_of_eight_bytes():
    packet = sized4(1351, flags="DF")
    errors = [fabric4(1400, quote=our_packet(quote=28))]
    return after(KNOWN, errors, [packet], [("red_a", needed(packet, 1350))], originated=1, consumed=1, too_big=1)


@case
def p06_also_over_ipv6():
    packet, packet6 = sized4(1331, flags="DF"), sized6(1331)
    outputs = [("red_a", needed(packet, 1330)), ("red_a", too_big(packet6, 1330))]
    return after(KNOWN6, [fabric6(1400)], [packet, packet6], outputs, originated=2, consumed=1, too_big=2)


@case
def p06_is_forgotten_after_ten_minutes():
    """RFC 1191 section 6.3."""
    packet = sized4(1450, flags="DF")
    return Case(
        KNOWN,
        [("up0", fabric4(1400), 1.0), ("red_a", packet, 600.9), ("red_a", packet, 601.1)],
        [("red_a", needed(packet, 1350)), ("up0", tunnelled(5001, routed(packet, ROUTER, ROUTER)))],
        drops={("red_a", "too_big"): 1},
        originated=1,
        consumed=1,
    )


@case
def p06_a_configured_path_mtu_stays():
    config = KNOWN.replace("vni: 5001}}", "vni: 5001, mtu: 1490}}")
    packet = sized4(1441, flags="DF")
    return after(config, [fabric4(1400)], [packet], [("red_a", needed(packet, 1440))], originated=1, consumed=1, too_big=1)


@case
def p07_what_we_never_sent_changes_nothing():
    """Another VNI, port, source port, end, or start; the last two quotes are no tunnel's."""
    quotes = [
        our_packet(vni=5003),
        our_packet(sport=40000),
        our_packet(dst="192.0.2.77"),
        our_packet(src="192.0.2.77"),
    ]
    return unchanged([fabric4(1400, quote=quote) for quote in quotes], icmp_unmatched=4)


@case
def p07_what_is_no_tunnels_is_the_hosts():
    quotes = [our_packet(dport=4790), bytes(IP(src=NODE.v4, dst=OTHER.v4, len=1500) / TCP(sport=50000, dport=4789))]
    return unchanged([fabric4(1400, quote=quote) for quote in quotes], no_host=2)


@case
def p07_a_damaged_error_changes_nothing():
    """N15: bad ICMP checksum, bad checksum of the quoted header."""
    quote = bytearray(our_packet())
    quote[10] ^= 0xFF
    return unchanged([fabric4(1400, chksum=0x1234), fabric4(1400, quote=bytes(quote))], no_host=2)


@case
def p07_also_over_ipv6():
    exceeds = sized6(1431)
    return after(
        KNOWN6,
        [fabric6(1400, sport=40000), fabric6(1400, vni=5003), fabric6(1400, dst="2001:db8::77")],
        [exceeds],
        [("red_a", too_big(exceeds, 1430))],
        originated=1,
        icmp_unmatched=3,
        too_big=1,
    )


@case
def p08_df_is_kept_and_never_cut():
    """RFC 6864 section 4.3."""
    fits, exceeds = sized4(1450, flags="DF", id=7), sized4(1451, flags="DF", id=8)
    return Case(
        KNOWN,
        [("red_a", fits), ("red_a", exceeds)],
        [("up0", tunnelled(5001, routed(fits, ROUTER, ROUTER))), ("red_a", needed(exceeds, 1450))],
        drops={("red_a", "too_big"): 1},
        originated=1,
    )


@case
def p09_an_error_about_a_tenants_own_flow_reaches_it():
    """RFC 8900 section 6.5: from the other end, and from a router behind it."""
    go, go6 = udp4(dst=RED_C.v4), udp6(dst=RED_C.v6)
    seen, seen6 = routed(go, ROUTER, RED_C), routed(go6, ROUTER, RED_C)
    error = ether(RED_C, ROUTER) / IP(src=RED_C.v4, dst=RED_A.v4) / ICMP(type=3, code=4, nexthopmtu=1300) / seen[IP]
    error6 = ether(RED_C, ROUTER) / IPv6(src=RED_C.v6, dst=RED_A.v6) / ICMPv6PacketTooBig(mtu=1300) / seen6[IPv6]
    return Case(
        KNOWN,
        [("red_a", go), ("red_a", go6), ("up0", arriving(5001, error)), ("up0", arriving(5001, error6))],
        [
            ("up0", tunnelled(5001, routed(go, ROUTER, ROUTER))),
            ("up0", tunnelled(5001, routed(go6, ROUTER, ROUTER))),
            ("red_a", routed(error, ROUTER, RED_A)),
            ("red_a", routed(error6, ROUTER, RED_A)),
        ],
    )


def syn(mss, src=RED_A, dst=RED_C, six=False, flags="S", options=None):
    ip = IPv6(src=src.v6, dst=dst.v6) if six else IP(src=src.v4, dst=dst.v4, id=1)
    options = [("MSS", mss), ("SAckOK", b"")] if options is None else options
    return ether(src, ROUTER) / ip / TCP(sport=1000, dport=80, flags=flags, options=options)


@case
def a_syn_announces_no_more_than_the_clamp():
    """Both directions, both families; smaller ones and bridged ones stay as they are."""
    config = KNOWN.replace("{name: red,", "{name: red, tcp_mss_clamp: 1360,")
    inputs, outputs = [], []
    for six in (False, True):
        for mss, clamped in ((1460, 1360), (1360, 1360), (1200, 1200), (65535, 1360)):
            inputs.append(("red_a", syn(mss, six=six)))
            outputs.append(("up0", tunnelled(5001, routed(syn(clamped, six=six), ROUTER, ROUTER))))
        back = [syn(mss, RED_C, RED_A, six, "SA") for mss in (1460, 1360)]
        inputs.append(("up0", arriving(5001, back[0])))
        outputs.append(("red_a", routed(back[1], ROUTER, RED_A)))
    return Case(config, inputs, outputs)


@case
def odd_and_missing_options_are_handled():
    config = KNOWN.replace("{name: red,", "{name: red, tcp_mss_clamp: 1360,")
    odd = [[("NOP", None), ("MSS", mss), ("WScale", 7)] for mss in (1460, 1360)]
    return Case(
        config,
        [("red_a", syn(0, options=odd[0])), ("red_a", syn(0, options=[]))],
        [
            ("up0", tunnelled(5001, routed(syn(0, options=odd[1]), ROUTER, ROUTER))),
            ("up0", tunnelled(5001, routed(syn(0, options=[]), ROUTER, ROUTER))),
        ],
    )
