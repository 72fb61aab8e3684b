"""The connections of conntrack.py: segments, and whether each must pass."""

from dataclasses import dataclass

# Sequence numbers at the start, of the client and the server.
C, S = 1_000, 5_000_000

# Seconds that each state lasts without a packet, here and as the scenario sets Linux's.
TIMEOUTS = {
    #               vrouter  Linux
    "syn_sent": (20, 3),
    "syn_received": (20, 3),
    "established": (7440, 8),
    "fin": (240, 3),
    "closed": (240, 3),
}


@dataclass
class Wait:
    """Part of a state's timeout."""

    state: str
    part: float

    def __str__(self):
        return f"after {self.part:g} of the timeout of `{self.state}`: "


@dataclass
class Step:
    way: str
    flags: str
    seq: int = 0
    ack: int = 0
    len: int = 0
    passes: bool = True
    linux: str | None = None
    wait: Wait | None = None
    window: int = 8192
    options: tuple = ()

    def __str__(self):
        origin = {">": (C, S), "<": (S, C)}[self.way]
        names = {"S": "SYN", "A": "ACK", "F": "FIN", "R": "RST", "P": "PSH", "U": "URG"}
        parts = [f"{', '.join(names[flag] for flag in self.flags) or 'no flags'}", f"seq {self.seq - origin[0]:+d}"]
        if "A" in self.flags:
            parts.append(f"ack {self.ack - origin[1]:+d}")
        if self.len:
            parts.append(f"{self.len} bytes")
        return f"{self.wait or ''}{' '.join(parts)}"


@dataclass
class Case:
    name: str
    source: str
    steps: list
    port: int = 0
    server_port: int = 80


def clock(column):
    """Seconds until a step, which is a millisecond unless it waits."""
    return lambda wait: 0.001 if wait is None else wait.part * TIMEOUTS[wait.state][column]


OURS, LINUX = clock(0), clock(1)

DIFFERENCES = {
    "reset before the window": "Linux calls a RST below what the other end has acknowledged invalid. It cannot end "
    "the flow here either, and the end it is for ignores it (RFC 5961 §3.2); so it passes, as what is in the window "
    "has to, for the challenge.",
    "beyond the window": "Linux calls segments outside of the window it has worked out invalid. vrouter keeps no "
    "windows: a middlebox that missed a scaling option, or a change of path, would break connections (RFC 7323 §2.3), "
    "and the ends check for themselves (RFC 9293 §3.10.7.4).",
    "no connection begins so": "Linux takes SYN-ACK, RST and FIN without a connection for invalid. Here a policy "
    "says who may talk to whom, and the flags are the receiver's affair, which answers with a RST or nothing (RFC 9293 "
    "§3.10.7.2). What it lets through so is a half-open flow, which the quotas of half-open flows bound.",
    "flags that do not go together": "Linux drops segments whose flags make no sense. vrouter leaves them to the receiver.",
}


def handshake():
    return [
        Step(">", "S", C),
        Step("<", "SA", S, C + 1),
        Step(">", "A", C + 1, S + 1),
    ]


def established():
    """With a little data both ways: 100 bytes from the client, 200 from the server."""
    return handshake() + [
        Step(">", "PA", C + 1, S + 1, 100),
        Step("<", "PA", S + 1, C + 101, 200),
        Step(">", "A", C + 101, S + 201),
    ]


def closing():
    """Both FINs and their acknowledgements."""
    return [
        Step(">", "FA", C + 101, S + 201),
        Step("<", "A", S + 201, C + 102),
        Step("<", "FA", S + 201, C + 102),
        Step(">", "A", C + 102, S + 202),
    ]


CASES = [
    Case("Handshake", "RFC 9293 §3.5: three steps, then data both ways.", established()),
    Case(
        "Nobody else may begin",
        "The policy lets the client open connections to port 80; the server may answer, and nothing else.",
        [
            Step("<", "S", S, passes=False),
            Step("<", "SA", S, C + 1, passes=False),
            Step("<", "A", S, C + 1, 10, passes=False),
            Step("<", "R", S, passes=False),
        ],
    ),
    Case(
        "Another port",
        "The policy lets the client open connections to port 80 only.",
        [Step(">", "S", C, passes=False), Step("<", "SA", S, C + 1, passes=False)],
        server_port=81,
    ),
    Case(
        "Simultaneous open",
        "RFC 9293 §3.5, figure 8; RFC 5382 REQ-2.",
        [
            Step(">", "S", C),
            Step("<", "S", S),
            Step(">", "SA", C, S + 1),
            Step("<", "SA", S, C + 1),
            Step(">", "A", C + 1, S + 1),
            Step("<", "PA", S + 1, C + 1, 50),
            Step(">", "A", C + 1, S + 51),
            Step("<", "A", S + 51, C + 1, wait=Wait("syn_received", 2)),
        ],
    ),
    Case(
        "Half close",
        "RFC 9293 §3.6: who has sent a FIN goes on receiving.",
        established()
        + [
            Step(">", "FA", C + 101, S + 201),
            Step("<", "A", S + 201, C + 102),
            Step("<", "PA", S + 201, C + 102, 500),
            Step(">", "A", C + 102, S + 701),
            Step("<", "PA", S + 701, C + 102, 500, wait=Wait("fin", 0.5)),
            Step(">", "A", C + 102, S + 1201),
            Step("<", "FA", S + 1201, C + 102),
            Step(">", "A", C + 102, S + 1202),
        ],
    ),
    Case(
        "Simultaneous close",
        "RFC 9293 §3.6, figure 13.",
        established()
        + [
            Step(">", "FA", C + 101, S + 201),
            Step("<", "FA", S + 201, C + 101),
            Step(">", "A", C + 102, S + 202),
            Step("<", "A", S + 202, C + 102),
        ],
    ),
    Case(
        "Retransmission",
        "RFC 9293 §3.8: whatever is sent again passes again.",
        [
            Step(">", "S", C),
            Step(">", "S", C),
            Step("<", "SA", S, C + 1),
            Step("<", "SA", S, C + 1),
            Step(">", "A", C + 1, S + 1),
            Step(">", "PA", C + 1, S + 1, 100),
            Step(">", "PA", C + 1, S + 1, 100),
            Step("<", "A", S + 1, C + 101),
            Step("<", "A", S + 1, C + 101),
            Step(">", "PA", C + 1, S + 1, 100),
            Step(">", "FA", C + 101, S + 1),
            Step(">", "FA", C + 101, S + 1),
            Step("<", "A", S + 1, C + 102),
        ],
    ),
    Case(
        "A reset that is exactly next, from the client",
        "RFC 5961 §3.2; RFC 7857 §2.2: it passes, and the flow lives for the timeout of what is closed.",
        established()
        + [
            Step(">", "R", C + 101),
            Step("<", "A", S + 201, C + 101, wait=Wait("closed", 0.5)),
            Step("<", "A", S + 201, C + 101, passes=False, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A reset that is exactly next, from the server",
        "RFC 5961 §3.2.",
        established()
        + [
            Step("<", "R", S + 201),
            Step("<", "A", S + 201, C + 101, passes=False, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A reset after data that nobody has acknowledged yet",
        "RFC 9293 §3.10.4 (ABORT): its number is that of what would be sent next.",
        established()
        + [
            Step("<", "PA", S + 201, C + 101, 300),
            Step("<", "R", S + 501),
            Step("<", "A", S + 501, C + 101, passes=False, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A reset in answer to a segment",
        "RFC 9293 §3.10.7.1: its number is what that segment acknowledged.",
        established()
        + [
            Step(">", "PA", C + 101, S + 201, 10),
            Step("<", "R", S + 201),
            Step("<", "A", S + 201, C + 111, passes=False, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A reset in the window, but not next",
        "RFC 5961 §3.2: the receiver answers with a challenge, so the flow must live; only an exact one ends it.",
        established()
        + [
            Step("<", "R", S + 202),
            Step("<", "R", S + 201 + 4096),
            Step(">", "A", C + 101, S + 201),
            Step("<", "A", S + 201, C + 101, wait=Wait("closed", 1.6)),
            Step("<", "R", S + 201),
            Step("<", "A", S + 201, C + 101, passes=False, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A reset before the window",
        "RFC 5961 §3.2: the receiver ignores it, and the flow lives.",
        established()
        + [
            Step("<", "R", S + 200, linux="reset before the window"),
            Step("<", "R", S - 100_000, linux="reset before the window"),
            Step("<", "A", S + 201, C + 101, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A reset far beyond the window",
        "RFC 5961 §3.2: the receiver ignores it, and the flow lives.",
        established()
        + [
            Step("<", "R", S + 1_000_000_000, linux="beyond the window"),
            Step("<", "A", S + 201, C + 101, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A SYN on a live connection",
        "RFC 5961 §4: the server answers with a challenge, which passes; nothing begins anew.",
        established()
        + [
            Step(">", "S", C + 70_000),
            Step("<", "A", S + 201, C + 101),
            Step("<", "PA", S + 201, C + 101, 10, wait=Wait("syn_sent", 1.6)),
            Step(">", "A", C + 101, S + 211),
        ],
    ),
    Case(
        "The client has started anew",
        "RFC 5961 §4.2: it answers the challenge with a RST of exactly the number that was acknowledged.",
        established()
        + [
            Step(">", "S", C + 70_000),
            Step("<", "A", S + 201, C + 101),
            Step(">", "R", C + 101),
            Step(">", "S", C + 70_001),
            Step("<", "SA", S + 900_000, C + 70_002),
            Step(">", "A", C + 70_002, S + 900_001),
        ],
    ),
    Case(
        "A refused connection, tried again",
        "RFC 9293 §3.5.2.",
        [
            Step(">", "S", C),
            Step("<", "RA", 0, C + 1),
            Step(">", "S", C + 50_000),
            Step("<", "SA", S, C + 50_001),
            Step(">", "A", C + 50_001, S + 1),
        ],
    ),
    Case(
        "A closed tuple used again",
        "RFC 9293 §3.6.1 (TIME-WAIT): by who opened it before.",
        established()
        + closing()
        + [
            Step(">", "S", C + 400_000),
            Step("<", "SA", S + 600_000, C + 400_001),
            Step(">", "A", C + 400_001, S + 600_001),
            Step("<", "PA", S + 600_001, C + 400_001, 20),
            Step("<", "A", S + 600_021, C + 400_001, wait=Wait("closed", 1.6)),
        ],
    ),
    Case(
        "A closed tuple used by the other side",
        "The policy lets the server open nothing, on whichever ports.",
        established() + closing() + [Step("<", "S", S + 600_000, passes=False, wait=Wait("closed", 1.6))],
    ),
    Case(
        "Scaled windows",
        "RFC 7323 §2: with a shift of 14 a window is a gigabyte.",
        [
            Step(">", "S", C, window=65_535, options=(("WScale", 14),)),
            Step("<", "SA", S, C + 1, window=65_535, options=(("WScale", 14),)),
            Step(">", "A", C + 1, S + 1, window=65_535),
            Step("<", "A", S + 1_000_000, C + 1, 100, window=65_535),
            Step("<", "A", S + 500_000_000, C + 1, 100, window=65_535),
            Step(">", "A", C + 1, S + 500_000_100, window=65_535),
        ],
    ),
    Case(
        "Beyond the window",
        "RFC 9293 §3.10.7.4: the receiver discards it and says what it expects.",
        established()
        + [
            Step("<", "A", S + 201 + 500_000, C + 101, 100, linux="beyond the window"),
            Step(">", "A", C + 101, S + 201),
            Step("<", "A", S + 201, C + 101, 100),
        ],
    ),
    Case(
        "Picked up in the middle",
        "As after a restart: whoever may open a connection may go on with one.",
        [
            Step(">", "PA", C + 101, S + 201, 10),
            Step("<", "A", S + 201, C + 111),
            Step("<", "PA", S + 201, C + 111, 10, wait=Wait("syn_sent", 1.6)),
        ],
    ),
    Case(
        "A SYN-ACK without a SYN",
        "RFC 9293 §3.10.7.2: a listener answers with a RST.",
        [Step(">", "SA", C, S + 1, linux="no connection begins so")],
    ),
    Case(
        "A RST without a connection",
        "RFC 9293 §3.10.7.1: nobody answers.",
        [Step(">", "R", C, linux="no connection begins so")],
    ),
    Case(
        "A FIN without a connection",
        "RFC 9293 §3.10.7.1.",
        [Step(">", "FA", C, S, linux="no connection begins so")],
    ),
    Case(
        "No flags, and all of them",
        "RFC 9293 §3.10.7: such segments are dropped by the receiver.",
        [
            Step(">", "", C, linux="flags that do not go together"),
            Step(">", "FPU", C, linux="flags that do not go together"),
            Step(">", "SF", C, linux="flags that do not go together"),
            Step(">", "SR", C, linux="flags that do not go together"),
        ],
    ),
    Case(
        "A SYN that waits for its answer",
        "The answer comes before the timeout.",
        [
            Step(">", "S", C),
            Step("<", "SA", S, C + 1, wait=Wait("syn_sent", 0.5)),
        ],
    ),
    Case(
        "A SYN that has waited too long",
        "The answer comes after it.",
        [
            Step(">", "S", C),
            Step("<", "SA", S, C + 1, passes=False, wait=Wait("syn_sent", 1.6)),
        ],
    ),
    Case(
        "A handshake that is not completed",
        "The server's answer again, before and after the timeout.",
        [
            Step(">", "S", C),
            Step("<", "SA", S, C + 1),
            Step("<", "SA", S, C + 1, wait=Wait("syn_received", 0.5)),
            Step("<", "SA", S, C + 1, passes=False, wait=Wait("syn_received", 1.6)),
        ],
    ),
    Case(
        "An idle connection",
        "RFC 5382 REQ-5: 2 h 4 min at least.",
        established()
        + [
            Step("<", "PA", S + 201, C + 101, 10, wait=Wait("established", 0.8)),
            Step(">", "A", C + 101, S + 211),
            Step("<", "PA", S + 211, C + 101, 10, passes=False, wait=Wait("established", 1.2)),
        ],
    ),
    Case(
        "An idle connection, half closed",
        "RFC 5382 REQ-5: 4 min at least.",
        established()
        + [
            Step(">", "FA", C + 101, S + 201),
            Step("<", "A", S + 201, C + 102),
            Step("<", "PA", S + 201, C + 102, 10, wait=Wait("fin", 0.6)),
            Step("<", "PA", S + 211, C + 102, 10, passes=False, wait=Wait("fin", 1.6)),
        ],
    ),
    Case(
        "A closed connection",
        "RFC 9293 §3.6.1 (TIME-WAIT), RFC 5382 REQ-5: what is left of it passes for 4 min.",
        established()
        + closing()
        + [
            Step("<", "FA", S + 201, C + 102, wait=Wait("closed", 0.6)),
            Step("<", "FA", S + 201, C + 102, passes=False, wait=Wait("closed", 1.6)),
        ],
    ),
]

for index, case in enumerate(CASES):
    case.port = 20_000 + index
