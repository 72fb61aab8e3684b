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


class Case:
    """Packets in, packets out, and the counters that move; all others stay.

    A vif's `outputs` are compared in order. A vif in `judged` is left to `more`,
    which is called with every vif that sends: (vif, frames) or, if it takes three
    arguments, (vif, frames, seconds); it yields what is wrong.
    """

    def __init__(self, config, inputs, outputs=(), drops=(), consumed=0, originated=0, more=None, judged=()):
        self.config = config
        self.inputs = list(inputs)  # (vif, packet) or (vif, packet, seconds)
        self.outputs = list(outputs)  # (vif, packet), in order for each vif
        self.drops = dict(drops)  # (vif, reason): count
        self.consumed = consumed
        self.originated = originated
        self.more = more
        self.judged = set(judged)


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
        yield refused.read_text().strip()
        return
    expected, sent = {}, {}
    for vif, packet in case.outputs:
        expected.setdefault(vif, []).append(packet)
    for path in (directory / "out").glob("*.pcap"):
        sent[path.stem] = pcap.read(path)
    for vif in sorted(set(expected) | set(sent)):
        frames = [frame for _, frame in sent.get(vif, [])]
        if vif not in case.judged:
            yield from compare_frames(vif, expected.get(vif, []), frames)
        if case.more:
            times = [time - START for time, _ in sent.get(vif, [])]
            takes_times = case.more.__code__.co_argcount == 3
            yield from case.more(vif, frames, times) if takes_times else case.more(vif, frames)
    report = json.loads((directory / "report.json").read_text())
    yield from compare_counters(case, {vif: [len(f) for _, f in frames] for vif, frames in sent.items()}, report)


def compare_frames(vif, expected, frames):
    if len(expected) != len(frames):
        yield f"{vif} sent {len(frames)} frames, not {len(expected)}"
    for index, (want, have) in enumerate(zip(expected, frames)):
        if hasattr(want, "filled_in"):
            want, problems = want.filled_in(have)
            yield from (f"{vif} frame {index}: {problem}" for problem in problems)
        else:
            want = raw(want)
        if want != have:
            yield f"{vif} frame {index} differs\n  want {describe(want)}\n  have {describe(have)}"


def describe(frame):
    return f"{frame.hex()}\n       {Ether(frame)!r}"


def compare_counters(case, sent, report):
    """`sent` are the sizes of the frames in the captures, by vif."""
    received = {}
    for vif, packet, *_ in case.inputs:
        received.setdefault(vif, []).append(len(raw(packet)))
    drops, total = {}, {"rx_packets": 0, "tx_packets": 0, "consumed": 0, "originated": 0}
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
    if drops != case.drops:
        yield f"drops {drops}, not {case.drops}"
    for key in ("consumed", "originated"):
        if total[key] != getattr(case, key):
            yield f"{key} {total[key]}, not {getattr(case, key)}"
    went_in = total["rx_packets"] + total["originated"]
    came_out = total["tx_packets"] + total["consumed"] + sum(drops.values())
    if went_in != came_out:
        yield f"{went_in} packets went in, {came_out} are accounted for"
