"""What goes into a replay, exactly what must come out of it, and the judgement.

Every frame, sent or expected, is built by scapy or written out from the RFC.
`golden.py` and `conformance.py` decide which cases there are; both have them
written, replayed and compared by this file.
"""

import json

from scapy.config import conf

conf.verb = 0

from scapy.compat import raw  # noqa: E402
from scapy.layers.inet import UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import Dot1Q, Ether  # noqa: E402

import pcap  # noqa: E402

START = 1_000_000
"""When captures begin, in seconds."""

SHOWN = 3
"""So many wrong frames of a vif are shown."""


class Case:
    """Packets in, packets out, and the counters that move; all others stay.

    A vif's `outputs` are compared in order. A vif in `judged` is left to `more`,
    which is called with (vif, frames) for every vif that sends and yields what is
    wrong; where `outputs` is None all vifs are. `overall` is called once with all
    that was sent: (seconds, frame) in a list for each vif.
    """

    def __init__(
        self,
        config,
        inputs,
        outputs=(),
        drops=(),
        consumed=0,
        originated=0,
        withheld=0,
        ecn_dubious=0,
        more=None,
        overall=None,
        judged=(),
        flows=None,
        refusal=None,
    ):
        self.config = config
        self.inputs = list(inputs)  # (vif, packet) or (vif, packet, seconds)
        self.outputs = None if outputs is None else list(outputs)  # (vif, packet), in order for each vif
        # Counts; a range where the number is the engine's choice.
        self.drops = dict(drops)  # by (vif, reason)
        self.consumed = consumed
        self.originated = originated
        self.errors_withheld = withheld
        self.ecn_dubious = ecn_dubious
        self.more = more
        self.overall = overall
        self.judged = set(judged)
        self.flows = flows  # called with the flows that live at the end, yields what is wrong
        self.refusal = refusal  # a word of the message that refuses the configuration


class Tunnelled:
    """An expected frame whose outer headers leave something to the sender: the
    UDP source port within its range (RFC 7348 section 5, RFC 7510 section 3) and
    over IPv6 the flow label, which must not be zero (RFC 6438 section 3)."""

    def __init__(self, packet):
        self.packet = packet
        self.bytes = raw(packet)

    def filled_in(self, frame):
        """The expected bytes with what `frame` chose, and what is wrong with that."""
        want, problems = self.packet.copy(), []
        network, l3 = want.payload, 14
        if isinstance(network, Dot1Q):
            network, l3 = network.payload, 18
        l4 = l3 + 20
        if isinstance(network, IPv6):
            l4 = l3 + 40
            network.fl = int.from_bytes(frame[l3 + 1 : l3 + 4], "big") & 0xFFFFF
            if network.fl == 0:
                problems.append("outer flow label 0")
        if isinstance(network.payload, UDP):
            port = network.payload.sport = int.from_bytes(frame[l4 : l4 + 2], "big")
            if not 49152 <= port <= 65535:
                problems.append(f"source port {port}")
        return raw(want), problems


class Anything:
    """An expected frame of this length, which `more` looks at."""

    def __init__(self, packet):
        self.bytes = raw(packet)

    def filled_in(self, frame):
        return frame if len(frame) == len(self.bytes) else self.bytes, []


def outer_ports(frames):
    """The UDP source ports of tunnel packets over IPv4."""
    return [int.from_bytes(frame[34:36], "big") for frame in frames]


def write(case, directory):
    """The configuration and one capture per vif, for `vrouterd replay`."""
    (directory / "in").mkdir(parents=True)
    (directory / "objects.yaml").write_text(case.config)
    captures = {}
    for index, (vif, packet, *when) in enumerate(case.inputs):
        time = START + (when[0] if when else index / 1000)
        captures.setdefault(vif, []).append((time, raw(packet)))
    for vif, frames in captures.items():
        pcap.write(directory / "in" / f"{vif}.pcap", frames)


def differences(case, directory):
    """What the replay in `directory` did differently, as sentences."""
    refused = directory / "refused.txt"
    if refused.exists():
        said = refused.read_text().strip()
        if not (case.refusal and case.refusal in said):
            yield said
        return
    if case.refusal:
        yield "the configuration is not refused"
        return
    expected, sent = {}, {}
    for vif, packet in case.outputs or ():
        expected.setdefault(vif, []).append(packet)
    for path in (directory / "out").glob("*.pcap"):
        sent[path.stem] = [(time - START, frame) for time, frame in pcap.read(path)]
    for vif in sorted(set(expected) | set(sent)):
        frames = [frame for _, frame in sent.get(vif, [])]
        if vif not in case.judged and case.outputs is not None:
            yield from compare_frames(vif, expected.get(vif, []), frames)
        if case.more:
            yield from case.more(vif, frames)
    if case.overall:
        yield from case.overall(sent)
    report = json.loads((directory / "report.json").read_text())
    if case.flows:
        yield from case.flows(report["flows"])
    yield from compare_counters(case, {vif: [len(f) for _, f in frames] for vif, frames in sent.items()}, report)


def compare_frames(vif, expected, frames):
    if len(expected) != len(frames):
        yield f"{vif} sent {len(frames)} frames, not {len(expected)}"
    wrong = [pair for pair in enumerate(zip(expected, frames)) if not is_right(*pair[1])]
    for index, (want, have) in wrong[:SHOWN]:
        want, problems = filled_in(want, have)
        yield from (f"{vif} frame {index}: {problem}" for problem in problems)
        if want != have:
            yield f"{vif} frame {index} differs{where(want, have)}\n  want {describe(want)}\n  have {describe(have)}"
    if len(wrong) > SHOWN:
        yield f"{vif}: {len(wrong) - SHOWN} more frames differ"


def is_right(want, have):
    return filled_in(want, have) == (have, [])


def filled_in(want, have):
    return want.filled_in(have) if hasattr(want, "filled_in") else (raw(want), [])


def where(want, have):
    for at, (one, other) in enumerate(zip(want, have)):
        if one != other:
            return f" at byte {at}: {other:#04x}, not {one:#04x}"
    return f" in length: {len(have)}, not {len(want)}"


def describe(frame):
    return f"{frame[:200].hex()}\n       {repr(Ether(frame))[:1000]}"


def compare_counters(case, sent, report):
    """`sent` are the sizes of the frames in the captures, by vif."""
    received = {}
    for vif, packet, *_ in case.inputs:
        received.setdefault(vif, []).append(len(raw(packet)))
    drops, total = {}, {"rx_packets": 0, "tx_packets": 0, "consumed": 0, "originated": 0, "errors_withheld": 0, "ecn_dubious": 0}
    for vif, counters in report["vifs"].items():
        for reason, count in counters["drops"].items():
            drops[vif, reason] = count
        for key in total:
            total[key] += counters[key]
        # By the report and by the captures.
        for key, sizes in (("rx", received.get(vif, [])), ("tx", sent.get(vif, []))):
            counted = (counters[f"{key}_packets"], counters[f"{key}_bytes"])
            if counted != (len(sizes), sum(sizes)):
                yield f"{vif} counted {key} {counted}, not {(len(sizes), sum(sizes))}"
    if drops.keys() != case.drops.keys() or not all(allows(case.drops[key], count) for key, count in drops.items()):
        yield f"drops {drops}, not {case.drops}"
    for key in ("consumed", "originated", "errors_withheld", "ecn_dubious"):
        if not allows(getattr(case, key), total[key]):
            yield f"{key} {total[key]}, not {getattr(case, key)}"
    went_in = total["rx_packets"] + total["originated"]
    came_out = total["tx_packets"] + total["consumed"] + sum(drops.values())
    if went_in != came_out:
        yield f"{went_in} packets went in, {came_out} are accounted for"


def allows(expected, count):
    """A number, or a range where the number is the engine's choice."""
    return count in expected if isinstance(expected, range) else count == expected
