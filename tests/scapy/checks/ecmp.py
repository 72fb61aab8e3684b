"""ECMP, IPFIX, benchmark method, RFC 2992, 7011, 2544, 8219, 9411."""

import json

from scapy.compat import raw
from scapy.layers.inet import UDP

from checklist import check, later, shown_by
from checks.world import RED_A, RED_C, ipv4, node
from checks.world import sent as from_machine
from expect import Case

FAR = "203.0.113.9"
# Where the inner source port and payload are: outer IPv4, UDP, VXLAN, Ethernet, IPv4, UDP.
SPORT = slice(84, 86)
NUMBER = slice(92, 96)


def spread(weights):
    """A tunnel to FAR over as many uplinks as there are weights, each with a router."""
    made = json.loads(node())
    made["vifs"] = [vif for vif in made["vifs"] if vif["role"] == "tenant"]
    made["macs"] = [mac for mac in made["macs"] if mac["vrf"] != "underlay"]
    made["nexthops"] = [hop for hop in made["nexthops"] if "tunnel" in hop]
    for hop in made["nexthops"]:
        hop["tunnel"]["remote"] = FAR
    members = []
    for number, weight in weights.items():
        router = f"198.51.{number}.254"
        made["vifs"].append(
            {
                "name": f"up{number}",
                "role": "fabric",
                "mac": f"02:00:00:00:03:0{number}",
                "addresses": [f"198.51.{number}.1/24", "10.255.0.1/32"],
            }
        )
        made["nexthops"].append({"name": f"spine{number}", "vif": f"up{number}", "address": router})
        made["macs"].append(
            {"vrf": "underlay", "mac": f"02:00:00:00:04:0{number}", "nexthop": f"spine{number}", "ip": router}
        )
        members.append({"nexthop": f"spine{number}", "weight": weight})
    made["nexthops"].append({"name": "spines", "group": {"members": members}})
    made["routes"].append({"vrf": "underlay", "prefix": f"{FAR}/32", "nexthop": "spines"})
    return json.dumps(made, indent=1) + "\n"


def flows(count):
    return [("red_a", from_machine(RED_A, ipv4(RED_A, RED_C, UDP(sport=1000 + index, dport=7)))) for index in range(count)]


def paths(sent):
    """The uplink that each flow took."""
    return {frame[SPORT]: vif for vif, frames in sent.items() for _, frame in frames}


@check("K1", "2992 §2", "1,000,000 packets of one flow take one path, in order")
def one_flow():
    count = 1_000_000
    packet = raw(from_machine(RED_A, ipv4(RED_A, RED_C, UDP(sport=1, dport=7, chksum=0) / b"0000")))[:-4]
    inputs = [("red_a", packet + number.to_bytes(4, "big"), number / 100_000) for number in range(count)]

    def one_path(sent):
        if len(sent) != 1:
            yield f"one flow went by {sorted(sent)}"
        for vif, frames in sent.items():
            numbers = [int.from_bytes(frame[NUMBER], "big") for _, frame in frames]
            if numbers != list(range(count)):
                yield f"{vif} sent {len(numbers)} packets, not all or not in order"

    return Case(spread({0: 1, 1: 1, 2: 1, 3: 1}), inputs, None, overall=one_path)


@check("K2", "2992 §2", "of 3,600 flows each path gets its weight within 15 %")
def many_flows():
    weights = {0: 1, 1: 1, 2: 2, 3: 4}

    def by_weight(sent):
        taken = list(paths(sent).values())
        if len(taken) != 3600:
            yield f"{len(taken)} of 3,600 flows were seen"
        for number, weight in weights.items():
            share = taken.count(f"up{number}") / (3600 * weight / sum(weights.values()))
            if not 0.85 <= share <= 1.15:
                yield f"up{number} got {share:.2f} of its share"

    return Case(spread(weights), flows(3600), None, overall=by_weight)


@check("K3", "2992 §3", "with 1 of 8 nexthops gone, no flow of the other 7 moves")
def one_gone():
    before = {}

    def remember(sent):
        before.update(paths(sent))
        if len(before) != 3600 or len(set(before.values())) != 8:
            yield f"{len(before)} flows by {len(set(before.values()))} paths"

    def compare(sent):
        after = paths(sent)
        moved = sum(after.get(flow) != vif for flow, vif in before.items() if vif != "up5")
        if moved or len(after) != 3600:
            yield f"{moved} flows moved, {len(after)} were seen"

    eight = {number: 1 for number in range(8)}
    seven = {number: 1 for number in range(8) if number != 5}
    yield Case(spread(eight), flows(3600), None, overall=remember)
    yield Case(spread(seven), flows(3600), None, overall=compare)


shown_by(
    "J1",
    "7011 §3.1, §8.4",
    "flow records as collectors accept them, as many packets as passed",
    ("tests/tests/collector.rs", "nfcapd_takes_every_record_and_misses_no_packet"),
    ("tests/tests/accounting.rs", "every_flow_is_told_once_with_what_it_carried_and_who_let_it_through"),
)
METHOD = "a method of measuring, not a packet; docs/performance.md says how each figure was measured"
later("B1", "2544 §9.1, §24, §26", "64 to 1,518 bytes, trials of 60 s, loss curve, back to back, recovery, reset", METHOD)
later("B2", "8219 §7.2, §5.1.1", "500 tagged frames at least, median and worst case, larger frames", METHOD)
later("B3", "9411", "at most 0.001 % of transactions fail", METHOD)
