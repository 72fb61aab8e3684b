"""Golden captures: what goes into a replay and exactly what must come out.

    golden.py make DIR     writes DIR/CASE/objects.yaml and DIR/CASE/in/VIF.pcap
    golden.py check DIR    compares DIR/CASE/out/VIF.pcap and DIR/CASE/report.json

Every frame, sent or expected, is built by scapy. Cases are functions marked
with @case in cases_*.py; each returns a Case.
"""

import importlib
import json
import pathlib
import sys

from scapy.config import conf

conf.verb = 0

from scapy.compat import raw  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.utils import PcapWriter, RawPcapReader  # noqa: E402

MODULES = ["cases_local", "cases_tunnel", "cases_refused", "cases_underlay"]
CASES = []

# Ethernet, IPv4: the UDP source port of a tunnel packet is ours to choose
# (RFC 7348 section 5), so it is checked for its range and then left out.
SPORT = slice(14 + 20, 14 + 20 + 2)


class Case:
    """Packets in, packets out, and the counters that move; all others stay."""

    def __init__(self, config, inputs, outputs=(), drops=(), consumed=0, originated=0, more=None):
        self.config = config
        self.inputs = list(inputs)  # (vif, packet) or (vif, packet, seconds)
        # (vif, packet), in order for each vif; None: `more` judges all that was sent
        self.outputs = None if outputs is None else list(outputs)
        self.drops = dict(drops)  # (vif, reason): count
        self.consumed = consumed
        self.originated = originated
        self.more = more  # called with (vif, frames sent), yields what is wrong


class Tunnelled:
    """An expected frame whose outer UDP source port may be any in range."""

    def __init__(self, packet):
        self.bytes = raw(packet)


class Anything:
    """An expected frame of this length, which `more` looks at."""

    def __init__(self, packet):
        self.bytes = raw(packet)


def case(function):
    CASES.append(function)
    return function


def load():
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    # Cases import this module by name; let them see this very one.
    sys.modules["golden"] = sys.modules[__name__]
    for module in MODULES:
        importlib.import_module(module)
    return {function.__name__: function for function in CASES}


def make(base):
    for name, function in load().items():
        made = function()
        (base / name / "in").mkdir(parents=True)
        (base / name / "objects.yaml").write_text(made.config)
        writers = {}
        for index, (vif, packet, *when) in enumerate(made.inputs):
            if vif not in writers:
                writers[vif] = PcapWriter(str(base / name / "in" / f"{vif}.pcap"), linktype=1)
                writers[vif].write_header(None)
            time = 1_000_000 + (when[0] if when else index / 1000)
            sec, usec = int(time), round((time % 1) * 1e6)
            writers[vif].write_packet(raw(packet), sec=sec, usec=usec)
        for writer in writers.values():
            writer.close()


def check(base):
    failures = []
    for name, function in load().items():
        for problem in compare(function(), base / name):
            failures.append(f"{name}: {problem}")
    for failure in failures:
        print(failure)
    print(f"{len(CASES)} cases, {len(failures)} differences")
    return 1 if failures else 0


def compare(case, directory):
    expected = {}
    for vif, packet in case.outputs or ():
        expected.setdefault(vif, []).append(packet)
    found = {path.stem: path for path in (directory / "out").glob("*.pcap")}
    for vif in sorted(set(expected) | set(found)):
        frames = [bytes(data) for data, _ in RawPcapReader(str(found[vif]))] if vif in found else []
        if case.outputs is not None:
            yield from compare_frames(vif, expected.get(vif, []), frames)
        if case.more:
            yield from case.more(vif, frames)
    yield from compare_counters(case, json.loads((directory / "report.json").read_text()))


def compare_frames(vif, expected, frames):
    if len(expected) != len(frames):
        yield f"{vif} sent {len(frames)} frames, not {len(expected)}"
    for index, (want, have) in enumerate(zip(expected, frames)):
        if isinstance(want, Anything):
            if len(want.bytes) != len(have):
                yield f"{vif} frame {index} has {len(have)} bytes, not {len(want.bytes)}"
            continue
        if isinstance(want, Tunnelled):
            port = int.from_bytes(have[SPORT], "big")
            if not 49152 <= port <= 65535:
                yield f"{vif} frame {index}: source port {port}"
            want, have = without_port(want.bytes), without_port(have)
        else:
            want = raw(want)
        if want != have:
            yield f"{vif} frame {index} differs\n  want {describe(want)}\n  have {describe(have)}"


def without_port(frame):
    return frame[: SPORT.start] + b"\0\0" + frame[SPORT.stop :]


def describe(frame):
    return f"{frame.hex()}\n       {Ether(frame)!r}"


def compare_counters(case, report):
    drops, total = {}, {"rx_packets": 0, "tx_packets": 0, "consumed": 0, "originated": 0}
    for vif, counters in report["vifs"].items():
        for reason, count in counters["drops"].items():
            drops[vif, reason] = count
        for key in total:
            total[key] += counters[key]
        # What was sent, by the report and by the test.
        for key, packets in (("rx", case.inputs), ("tx", case.outputs)):
            if packets is None:
                continue
            mine = [entry[1] for entry in packets if entry[0] == vif]
            sizes = [len(p.bytes) if isinstance(p, (Tunnelled, Anything)) else len(raw(p)) for p in mine]
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


if __name__ == "__main__":
    actions = {"make": make, "check": check}
    sys.exit(actions[sys.argv[1]](pathlib.Path(sys.argv[2])))
