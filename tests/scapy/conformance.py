"""The conformance checks, made, judged and listed.

    conformance.py make DIR [ID…]     writes DIR/ID-N/objects.yaml and DIR/ID-N/in/VIF.pcap
    conformance.py check DIR [ID…]    compares DIR/ID-N/out/VIF.pcap and DIR/ID-N/report.json
                                      and writes the list, DIR/conformance.md

Between the two, `vrouterd replay` takes each case to out/ and report.json, or
what it said when it refused the configuration to refused.txt. The checks are in
checks/, one file for each heading of the list.
"""

import importlib
import pathlib
import sys

from checklist import CHECKS
from checks.unmet import UNMET
from expect import differences, write

# In the order of the list.
HEADINGS = [
    "vxlan",
    "gre",
    "mpls_udp",
    "mpls",
    "ecn",
    "icmp_errors",
    "path_mtu",
    "fragments",
    "nat",
    "tcp",
    "ipv6",
    "ecmp",
]
SOURCES = pathlib.Path(__file__).parent.parent.parent
PREAMBLE = """\
# Conformance

What must be right on the wire, check by check: the packets that go in and the packets, verdicts and counters that must come out. Expected bytes are built by scapy or written out from the RFC. `cargo test -p tests --test conformance` takes every check through `vrouterd replay` and fails when this page is not what it found, so nothing here is better, or worse, than it says.

A section is that of the RFC before it. Checks that no capture can make are shown by the Rust test named beside them.
"""


def load(ids):
    for name in HEADINGS:
        before = len(CHECKS)
        module = importlib.import_module(f"checks.{name}")
        for check in CHECKS[before:]:
            check.unmet = UNMET.get(check.id)
            check.heading = module.__doc__.strip().splitlines()[0].rstrip(".")
    known = [check.id for check in CHECKS]
    if len(set(known)) != len(known):
        sys.exit(f"an id is given twice: {sorted(id for id in known if known.count(id) > 1)}")
    if not set(UNMET) <= set(known):
        sys.exit(f"there are no such checks: {sorted(set(UNMET) - set(known))}")
    return [check for check in CHECKS if not ids or check.id in ids]


def make(base, ids):
    for check in load(ids):
        for name, case in check.named_cases():
            write(case, base / name)


def check(base, ids):
    checks, lies = load(ids), 0
    page = [PREAMBLE]
    heading, counts = None, {"met": 0, "not met": 0, "not yet": 0}
    for item in checks:
        problems = list(problems_of(item, base))
        result = "met" if not problems else "not met"
        if item.later:
            result = "not yet"
        counts[result] += 1
        if (result == "not met") != bool(item.unmet):
            lies += 1
            print(f"{item.id} is {result}, and listed otherwise ({item.unmet or 'as met'})")
            print("".join(f"  {problem}\n" for problem in problems), end="")
        elif problems and ids:
            print(f"{item.id} is not met, as listed: {item.unmet}")
            print("".join(f"  {problem}\n" for problem in problems), end="")
        if item.heading != heading:
            heading = item.heading
            page.append(f"\n## {heading}\n\n| check | RFC | what must hold | result |\n|---|---|---|---|\n")
        page.append(f"| {item.id} | {item.source} | {item.says} | {describe(item, result)} |\n")
    summary = f"{len(checks)} checks: {counts['met']} met, {counts['not met']} not met, {counts['not yet']} not applicable yet."
    page.insert(1, f"\n{summary}\n")
    (base / "conformance.md").write_text("".join(page))
    print(summary)
    return 1 if lies else 0


def problems_of(item, base):
    for name, case in item.named_cases():
        yield from (f"{name}: {problem}" for problem in differences(case, base / name))
    for file, test in item.tests:
        path = SOURCES / file
        if not path.exists() or f"fn {test}()" not in path.read_text():
            yield f"there is no test {test} in {file}"


def describe(item, result):
    if item.later:
        return f"not applicable yet: {item.later}"
    tests = ", ".join(f"[`{test}`](../{file})" for file, test in item.tests)
    told = [part for part in (item.unmet, item.note, tests and f"see {tests}") if part]
    if result == "met":
        result = "**met**"
    return f"{result}: {'; '.join(told)}" if told else result


if __name__ == "__main__":
    actions = {"make": make, "check": check}
    action, base, *ids = sys.argv[1:]
    sys.exit(actions[action](pathlib.Path(base), ids))
