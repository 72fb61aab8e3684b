"""MPLS, RFC 3032, 3443, 5462, 6790."""

from scapy.compat import raw

from checklist import check
from checks.world import LABEL_IN, RED_A, RED_C, arrives, both, delivered, ipv4, ipv6, labelled, node, sends, sent
from expect import Case

CONFIG = node("mpls_udp")
RED = LABEL_IN["red"]
COMING, COMING6 = both(RED_C, RED_A)
MPLS = ["mpls_udp", "mpls_gre"]


def refused(reason, *packets, config=CONFIG):
    return Case(config, [("up0", packet) for packet in packets], drops={("up0", reason): len(packets)})


def arriving(number, inner=COMING, **fields):
    return arrives("mpls_udp", 4, inner, number=number, **fields)


@check("M1", "3032 §2.1", "the bottom of the stack has S set, and it alone", note="our tunnels push one label")
def bottom_of_stack():
    packets = both(RED_A, RED_C)

    def as_scapy(vif, frames):
        for packet, frame in zip(packets, frames):
            if frame[42:46] != raw(labelled(packet, [300], ttl=255))[:4]:
                yield f"label stack entry {frame[42:46].hex()}"

    yield Case(
        CONFIG,
        [("red_a", sent(RED_A, packet)) for packet in packets],
        [("up0", sends("mpls_udp", 4, packet)) for packet in packets],
        more=as_scapy,
    )


@check("M2", "3032 §2.1", "label 3, implicit null, is never on the wire: refused in a tunnel, dropped on arrival")
def implicit_null():
    yield Case(node("mpls_udp", tunnel={"label": 3}), [("red_a", sent(RED_A, ipv4(RED_A, RED_C)))], refusal="label")
    yield refused("label_reserved", arriving(3), arriving([3, RED]))


@check("M3", "3032 §2.1", "explicit null at the bottom: 0 is followed by IPv4, 2 by IPv6, in the vrf of the label above")
def explicit_null():
    yield Case(
        CONFIG,
        [("up0", arriving([RED, 0])), ("up0", arriving([RED, 2], COMING6))],
        [("red_a", delivered(RED_A, COMING)), ("red_a", delivered(RED_A, COMING6))],
    )
    yield refused("ip_version", arriving([RED, 0], COMING6), arriving([RED, 2], COMING))


@check("M4", "3032 §2.1, IANA", "labels 4 to 15 have no meaning here: dropped and counted")
def special_labels():
    return refused("label_reserved", *(arriving(label) for label in range(4, 16) if label != 7))


@check("M5", "3032 §2.2", "a stack without a bottom, and one deeper than we look, up to 1,000 labels, are dropped")
def depth():
    endless = arriving(RED, b"")
    endless = endless.__class__(raw(endless)[:42] + (RED << 12 | 255).to_bytes(4, "big") * 3)
    for layer in ("IP", "UDP"):
        endless[layer].len = None
    endless["IP"].chksum = None
    yield refused("label_stack", endless)
    deep = [arriving([RED] * depth) for depth in (9, 10, 16, 17, 64, 300)]
    yield refused("label_stack", *deep)
    yield refused("label_stack", arriving([RED] * 1000))


@check("M6", "3032 §2.2", "behind a label for IP the first nibble must be 4 or 6")
def first_nibble():
    packets = [bytes([nibble << 4 | 5]) + raw(COMING)[1:] for nibble in range(16) if nibble not in (4, 6)]
    return refused("ip_version", *(arriving(RED, packet) for packet in packets))


@check("M7", "3032 §2.4.2", "a label TTL of 0 or 1 ends the packet's way, and it is not stripped and forwarded as IP")
def label_ttl():
    return refused("label_ttl_expired", *(arriving(RED, inner, label_ttl=ttl) for inner in (COMING, COMING6) for ttl in (0, 1)))


@check(
    "M8",
    "3443 §3.4-3.6",
    "pipe: TTL 255 pushed, the packet only routed; uniform: the packet's TTL pushed and the label's taken back, never raised",
)
def ttl_models():
    for encap in MPLS:
        for model in ("pipe", "uniform"):
            config = node(encap, tunnel={"ttl": model})
            out = [packet for ttl in (2, 9, 255) for packet in (ipv4(RED_A, RED_C, ttl=ttl), ipv6(RED_A, RED_C, hlim=ttl))]
            pushed = [255 if model == "pipe" else raw(packet)[8 if packet.version == 4 else 7] - 1 for packet in out]
            yield Case(
                config,
                [("red_a", sent(RED_A, packet)) for packet in out],
                [("up0", sends(encap, 4, packet, label_ttl=ttl)) for packet, ttl in zip(out, pushed)],
            )
            inputs, outputs = [], []
            for label, inner in ((100, 200), (250, 10), (2, 255), (64, 64)):
                for packet in (ipv4(RED_C, RED_A, ttl=inner), ipv6(RED_C, RED_A, hlim=inner)):
                    inputs.append(("up0", arrives(encap, 4, packet, label_ttl=label)))
                    left = min(label, inner) if model == "uniform" else inner
                    outputs.append(("red_a", delivered(RED_A, at(packet, left))))
            yield Case(config, inputs, outputs)


def at(packet, ttl):
    packet = packet.copy()
    setattr(packet, "ttl" if packet.version == 4 else "hlim", ttl)
    return packet


@check("M9", "5462 §3", "the traffic class of a pushed label is the upper three bits of the DSCP", note="labels are not swapped")
def traffic_class():
    for encap in MPLS:
        packets = [packet for dscp in range(64) for packet in marked(dscp)]
        yield Case(
            node(encap),
            [("red_a", sent(RED_A, packet)) for packet in packets],
            [("up0", sends(encap, 4, packet, label_tc=raw(packet)[1] >> 5 if packet.version == 4 else packet.tc >> 5)) for packet in packets],
        )


def marked(dscp):
    return [ipv4(RED_A, RED_C, tos=dscp << 2), ipv6(RED_A, RED_C, tc=dscp << 2)]


@check(
    "M10",
    "6790 §4",
    "an entropy label is passed over; an indicator at the bottom, and a reserved entropy label, are dropped",
    note="we send none",
)
def entropy_labels():
    good = [arriving([RED, 7, 1000]), arriving([7, 1000, RED])]
    yield Case(CONFIG, [("up0", packet) for packet in good], [("red_a", delivered(RED_A, COMING))] * 2)
    yield refused("entropy_label", arriving(7), arriving([RED, 7]), *(arriving([RED, 7, label]) for label in range(16)))
