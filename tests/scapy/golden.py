"""Golden captures: what goes into a replay and exactly what must come out.

    golden.py make DIR     writes DIR/CASE/objects.yaml and DIR/CASE/in/VIF.pcap
    golden.py check DIR    compares DIR/CASE/out/VIF.pcap and DIR/CASE/report.json

Every frame, sent or expected, is built by scapy. Cases are functions marked
with @case in cases_*.py; each returns a Case.
"""

import importlib
import pathlib
import sys

from expect import Anything, Case, Tunnelled, differences, outer_ports, write  # noqa: F401: cases take them from here

MODULES = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("cases_*.py"))
CASES = []


def case(function):
    CASES.append(function)
    return function


def load():
    # Cases import this module by name; let them see this very one.
    sys.modules["golden"] = sys.modules[__name__]
    for module in MODULES:
        importlib.import_module(module)
    return {function.__name__: function for function in CASES}


def make(base):
    for name, function in load().items():
        write(function(), base / name)


def check(base):
    failures = []
    for name, function in load().items():
        for problem in differences(function(), base / name):
            failures.append(f"{name}: {problem}")
    for failure in failures:
        print(failure)
    print(f"{len(CASES)} cases, {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    actions = {"make": make, "check": check}
    sys.exit(actions[sys.argv[1]](pathlib.Path(sys.argv[2])))
