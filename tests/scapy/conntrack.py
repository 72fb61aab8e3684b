"""TCP connections segment by segment: what vrouter lets through, what the RFCs ask for, and what
Linux's conntrack does with the very same frames.

    conntrack.py make DIR                writes DIR/ID/objects.yaml and DIR/ID/in/VIF.pcap
    conntrack.py linux DIR IF_A IF_B     sends the frames into the interfaces' far ends, and notes
                                         in DIR/linux.json which came out of the other
    conntrack.py check DIR               compares, and writes DIR/conntrack.md

A machine, red_a, may open connections to port 80 of another one, red_b; nothing else may begin. The
cases are in conntrack_cases.py.
"""

import heapq
import json
import pathlib
import socket
import sys
import time

from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

import pcap
from conntrack_cases import CASES, DIFFERENCES, LINUX, OURS
from network import RED_A, RED_B, ether

CONFIG = """\
vrfs:
  - {name: red, gateways: [10.1.0.1/24, "fd01::1/64"]}
policies:
  - name: web
    rules:
      - {id: 10, action: allow, protocol: tcp, sources: [10.1.0.5, "fd01::5"], destination_ports: ["80"]}
  - {name: none, rules: []}
vifs:
  - {name: red_a, role: tenant, device: net_null1, vrf: red, mac: "02:00:00:00:01:05", addresses: [10.1.0.5, "fd01::5"], ingress_policies: [none]}
  - {name: red_b, role: tenant, device: net_null2, vrf: red, mac: "02:00:00:00:01:06", addresses: [10.1.0.6, "fd01::6"], ingress_policies: [web]}
"""

PAGE = """\
# Connections

How stateful policies follow TCP, segment by segment, beside what the RFCs ask for and what Linux's conntrack does. `cargo test -p tests --test conntrack` sends every segment below through `vrouterd replay`, over IPv4 and IPv6, and into a Linux router with nftables (`ct state established,related accept`, `ct state new … tcp dport 80 accept`, everything else dropped), compares, and fails when this page is not what it found.

Timeouts are those of each: a case waits a part of them. ">" is from the machine that may open connections, "<" from the one that serves.

"""


def frame(case, step, number, family):
    """The segment as a frame; `number` finds it again when it comes out."""
    here, there = (RED_A, RED_B) if step.way == ">" else (RED_B, RED_A)
    ports = (case.port, case.server_port) if step.way == ">" else (case.server_port, case.port)
    tcp = TCP(
        sport=ports[0],
        dport=ports[1],
        flags=step.flags,
        seq=step.seq & 0xFFFFFFFF,
        ack=step.ack & 0xFFFFFFFF,
        window=step.window,
        options=list(step.options),
    )
    if family == 4:
        ip = IP(src=here.v4, dst=there.v4, id=number)
    else:
        ip = IPv6(src=here.v6, dst=there.v6, fl=number)
    return raw(ether(here, "00:00:5e:00:01:00") / ip / tcp / Raw(b"x" * step.len))


def number_of(frame):
    """What `frame` was given."""
    if frame[14] >> 4 == 4:
        return int.from_bytes(frame[18:20], "big")
    return int.from_bytes(frame[14:18], "big") & 0xFFFFF


def timed(clock):
    """Every segment as (seconds from its case's beginning, case, step, number)."""
    number = 0
    for case in CASES:
        at = 0.0
        for step in case.steps:
            number += 1
            at += clock(step.wait)
            yield at, case, step, number


def make(base):
    for family in (4, 6):
        inputs = {"red_a": [], "red_b": []}
        start, last = 0, None
        for at, case, step, number in timed(OURS):
            if case is not last:
                # One case after the other, as time costs nothing here.
                start, last = (max([time for frames in inputs.values() for time, _ in frames], default=0) + 1, case)
            vif = "red_a" if step.way == ">" else "red_b"
            inputs[vif].append((start + at, frame(case, step, number, family)))
        directory = base / f"ipv{family}"
        (directory / "in").mkdir(parents=True)
        (directory / "objects.yaml").write_text(CONFIG)
        for vif, frames in inputs.items():
            pcap.write(directory / "in" / f"{vif}.pcap", frames)


def linux(base, near, far):
    """All cases at once, each with its own port."""
    marker = ether(RED_A, "00:00:5e:00:01:00") / IP(src=RED_A.v4, dst=RED_B.v4) / UDP(sport=9, dport=9)
    back = ether(RED_B, "00:00:5e:00:01:00") / IP(src=RED_B.v4, dst=RED_A.v4) / UDP(sport=9, dport=9)
    markers = {">": raw(marker), "<": raw(back)}
    ends = {}
    for way, interface in ((">", near), ("<", far)):
        ends[way] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        ends[way].bind((interface, 0x0800))
        ends[way].settimeout(2)
    other = {">": "<", "<": ">"}
    passed = []
    # Each case's next segment, by when it is due: so long after the one before was sent.
    numbered, waiting = {}, []
    for _, case, step, number in timed(LINUX):
        numbered.setdefault(case.port, []).append((case, step, number))
    for port in numbered:
        heapq.heappush(waiting, (time.monotonic(), port, 0))
    while waiting:
        due, port, at = heapq.heappop(waiting)
        time.sleep(max(0, due - time.monotonic()))
        case, step, number = numbered[port][at]
        if at + 1 < len(numbered[port]):
            wait = LINUX(numbered[port][at + 1][1].wait)
            heapq.heappush(waiting, (time.monotonic() + wait, port, at + 1))
        ends[step.way].send(frame(case, step, number, 4))
        # Whatever comes before the marker came through.
        ends[step.way].send(markers[step.way])
        while True:
            got, address = ends[other[step.way]].recvfrom(65535)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            if got[23] == socket.IPPROTO_UDP:
                break
            passed.append(number_of(got))
    (base / "linux.json").write_text(json.dumps(passed))


def check(base):
    passed = {}
    for family in (4, 6):
        out = base / f"ipv{family}" / "out"
        passed[family] = {
            number_of(frame)
            for vif in ("red_a", "red_b")
            if (out / f"{vif}.pcap").exists()
            for _, frame in pcap.read(out / f"{vif}.pcap")
        }
    linux_passed = set(json.loads((base / "linux.json").read_text()))
    page, problems, met = [PAGE], [], set()
    number = 0
    for case in CASES:
        page.append(f"\n## {case.name}\n\n{case.source}\n\n| | segment | must | Linux |\n|---|---|---|---|\n")
        for step in case.steps:
            number += 1
            word = {True: "pass", False: "drop"}
            for family in (4, 6):
                if (number in passed[family]) != step.passes:
                    problems.append(f"{case.name}: {step} over IPv{family}: {word[number in passed[family]]}")
            does = number in linux_passed
            expected = step.passes if step.linux is None else not step.passes
            if does != expected:
                problems.append(f"{case.name}: {step}: Linux does {word[does]}")
            says = word[does]
            if step.linux is not None:
                says += f": {step.linux}"
                met.add(step.linux)
            page.append(f"| {step.way} | {step} | {word[step.passes]} | {says} |\n")
    page.append("\n## Where Linux differs\n\n| | why |\n|---|---|\n")
    for name, why in DIFFERENCES.items():
        page.append(f"| {name} | {why} |\n")
        if name not in met:
            problems.append(f"no segment shows `{name}`")
    (base / "conntrack.md").write_text("".join(page))
    print("\n".join(problems) or f"{len(CASES)} cases, {number} segments")
    return 1 if problems else 0


if __name__ == "__main__":
    actions = {"make": make, "linux": linux, "check": check}
    action, base, *rest = sys.argv[1:]
    sys.exit(actions[action](pathlib.Path(base), *rest))
