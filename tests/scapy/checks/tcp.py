"""TCP state, RFC 5961, 7323."""

from scapy.layers.inet import TCP

from checklist import check, later, shown_by
from checks.world import RED_A, RED_B, delivered, ipv4, node, sent
from expect import Case

CONFIG = node()
NO_WINDOWS = "sequence numbers are not tracked yet, and a session is never closed by what an outsider sends"


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


later("C1", "5961 §3.2", "a reset that is off by 1 to a window keeps the state; an exact one ends it", NO_WINDOWS)


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
