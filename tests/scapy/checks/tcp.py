"""TCP state, RFC 5961, 7323."""

from scapy.layers.inet import TCP

from checklist import check, shown_by
from checks.world import RED_A, RED_B, delivered, ipv4, node, sent
from expect import Case

CONFIG = node()


def conversation(*segments, flows=None):
    """Segments between red_a, port 1000, and red_b, port 80: '>' or '<', flags, and further fields."""
    inputs, outputs = [], []
    for way, flags, *fields in segments:
        fields = fields[0] if fields else {}
        here, there, ports = (RED_A, RED_B, (1000, 80)) if way == ">" else (RED_B, RED_A, (80, 1000))
        packet = ipv4(here, there, TCP(sport=ports[0], dport=ports[1], flags=flags, **fields))
        inputs.append(("red_a" if way == ">" else "red_b", sent(here, packet)))
        outputs.append(("red_b" if way == ">" else "red_a", delivered(there, packet)))
    return Case(CONFIG, inputs, outputs, flows=flows)


HANDSHAKE = [(">", "S"), ("<", "SA"), (">", "A")]


def one_established(flows):
    states = [flow["state"] for flow in flows]
    if len(states) != 1 or "established" not in states[0]:
        yield f"the flows are {states}"


def opened(window=8192):
    """A handshake from 1,000 and 5,000 on; the client expects 5,001 of the server, and the reverse 1,001."""
    return [
        (">", "S", {"seq": 1000, "window": window}),
        ("<", "SA", {"seq": 5000, "ack": 1001, "window": window}),
        (">", "A", {"seq": 1001, "ack": 5001, "window": window}),
    ]


def one_closed(flows):
    states = [flow["state"] for flow in flows]
    if len(states) != 1 or "closed" not in states[0]:
        yield f"the flows are {states}"


@check(
    "C1",
    "5961 §3.2",
    "a reset that is off by 1 to a window keeps the state; an exact one ends it",
    note="it passes either way, as its receiver is to answer with a challenge; see [connections](conntrack.md)",
)
def resets():
    for way, exact in ((">", 1001), ("<", 5001)):
        off = [exact + offset for offset in (1, 2, 100, 4096, 8191, 8192, -1, -8192 % 2**32, 2**31)]
        guesses = [(way, "R", {"seq": number % 2**32}) for number in off]
        yield conversation(*opened(), *guesses, flows=one_established)
        yield conversation(*opened(), *guesses, (way, "R", {"seq": exact}), flows=one_closed)


@check(
    "C2",
    "5961 §4",
    "a SYN on a live flow starts no fresh session, and the challenge ACK passes",
)
def challenge_ack():
    return conversation(*HANDSHAKE, (">", "S", {"seq": 99}), ("<", "A", {"seq": 1, "ack": 1}), flows=one_established)


@check("C3", "7323 §2", "with scaled windows, shifts 0 to 14, no valid segment is called invalid")
def scaled_windows():
    for shift in range(15):
        options = {"options": [("WScale", shift)], "window": 65535}
        far = 65535 << shift
        yield conversation(
            (">", "S", options),
            ("<", "SA", options),
            (">", "A", {"window": 65535}),
            ("<", "A", {"seq": far, "ack": 1}),
            ("<", "PA", {"seq": 1, "ack": 1}),
            (">", "A", {"ack": far + 1 & 0xFFFFFFFF}),
            flows=one_established,
        )


shown_by(
    "C4",
    "first packets",
    "the first packet of a flow at two workers at once makes one entry",
    ("flowtable/tests/stress/main.rs", "workers_inserting_the_same_flow_get_one_pair"),
    ("flowtable/tests/loom.rs", "of_two_workers_inserting_a_flow_one_does"),
    note="and one translated port, when there is address translation",
)
shown_by(
    "C5",
    "policy",
    "a policy's rule removed: its established flow stops within 100 ms",
    ("dataplane/tests/policies/pipeline.rs", "a_change_stops_flows_that_are_no_longer_allowed_and_no_others"),
    note="at its next packet, either direction's",
)
