"""ECN and DSCP, RFC 6040, 2983."""

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from checklist import check
from checks.world import ENCAPS, RED_A, RED_C, arrives, delivered, ipv4, ipv6, node, sends, sent
from expect import Case

NOT_ECT, ECT1, ECT0, CE = range(4)
DROP = "drop"
# RFC 6040 figure 4: the ECN field to forward, by the inner field and the outer.
FIGURE_4 = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: DROP},
    ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
    ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
    CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
}

# The pairs that the figure marks with exclamation marks.
MARKED = {(NOT_ECT, ECT0), (NOT_ECT, ECT1), (NOT_ECT, CE), (ECT1, ECT0), (CE, ECT1)}


def packets(src, dst, traffic_class):
    return [ipv4(src, dst, tos=traffic_class), ipv6(src, dst, tc=traffic_class)]


def outer_class(family, value):
    return {"tos" if family == 4 else "tc": value}


def tunnels():
    return [(encap, family) for encap in ENCAPS for family in (4, 6)]


@check("E1", "6040 §4.1", "on the way in, the outer ECN field is the inner one, in all encapsulations")
def encapsulation():
    for encap, family in tunnels():
        out = [(packet, ecn) for ecn in range(4) for packet in packets(RED_A, RED_C, ecn)]
        yield Case(
            node(encap, family),
            [("red_a", sent(RED_A, packet)) for packet, _ in out],
            [("up0", sends(encap, family, packet, **outer_class(family, ecn))) for packet, ecn in out],
        )


@check("E2", "6040 §4.2", "on the way out, all 16 pairs of inner and outer field do as figure 4 says, and the checksum is right")
def decapsulation():
    for encap, family in tunnels():
        inputs, outputs, dropped, dubious = [], [], 0, 0
        for inner, row in FIGURE_4.items():
            for outer, result in row.items():
                for packet in packets(RED_C, RED_A, 0xB8 | inner):
                    dubious += (inner, outer) in MARKED
                    inputs.append(("up0", arrives(encap, family, packet, **outer_class(family, outer))))
                    if result == DROP:
                        dropped += 1
                        continue
                    out = delivered(RED_A, packet)
                    if IP in out:
                        out[IP].tos = 0xB8 | result
                    else:
                        out[IPv6].tc = 0xB8 | result
                    outputs.append(("red_a", out))
        yield Case(node(encap, family), inputs, outputs, drops={("up0", "ecn_not_capable"): dropped}, ecn_dubious=dubious)


@check("E3", "6040 §4.2", "pairs that no proper tunnel makes are counted")
def dubious_pairs():
    for inner, row in FIGURE_4.items():
        for outer, result in row.items():
            packet = ipv4(RED_C, RED_A, tos=inner)
            passed = [] if result == DROP else [("red_a", delivered(RED_A, ipv4(RED_C, RED_A, tos=result)))]
            yield Case(
                node(),
                [("up0", arrives("vxlan", 4, packet, tos=outer))],
                passed,
                drops={("up0", "ecn_not_capable"): 1} if result == DROP else {},
                ecn_dubious=int((inner, outer) in MARKED),
            )


@check("E4", "2983 §5.1", "pipe by default: the DSCP stays inside, the outer is 0; uniform, by tunnel: it is copied out and back in")
def dscp_models():
    classes = [0x00, 0x20, 0xB8, 0xFC]
    for encap, family in tunnels():
        out = [(packet, value) for value in classes for packet in packets(RED_A, RED_C, value)]
        for model in (None, "pipe", "uniform"):
            config = node(encap, family, tunnel={"dscp": model} if model else None)
            yield Case(
                config,
                [("red_a", sent(RED_A, packet)) for packet, _ in out],
                [("up0", on_the_wire(encap, family, packet, value, model == "uniform")) for packet, value in out],
            )
            inputs, outputs = [], []
            for packet, value in [(p, v) for v in classes for p in packets(RED_C, RED_A, 0x28)]:
                inputs.append(("up0", arrives(encap, family, packet, **outer_class(family, value))))
                kept = value if model == "uniform" else 0x28
                outputs.append(("red_a", delivered(RED_A, with_class(packet, kept))))
            yield Case(config, inputs, outputs)


def on_the_wire(encap, family, packet, value, uniform):
    label = {} if encap == "vxlan" else {"label_tc": value >> 5}
    return sends(encap, family, packet, **label, **outer_class(family, value if uniform else 0))


def with_class(packet, value):
    packet = packet.copy()
    setattr(packet, "tos" if isinstance(packet, IP) else "tc", value)
    return packet
