"""Routed from a machine into a tunnel. Send on port 0, receive on port 1.

    start -f encap.py -p 0 -m 100% -t --flows 1000000
"""

import traffic


class Encap:
    def get_streams(self, tunables=(), **_):
        wanted = traffic.arguments(tunables)
        six = wanted.family == "6"
        source, destination = ("fd01::", "fd80::1") if six else ("10.1.0.0", "10.128.0.1")
        ether = traffic.Ether(src=traffic.MACHINE, dst=traffic.ROUTER)
        headers = ether / traffic.inner(wanted.family, source, destination, 0x8000)
        program = traffic.each_flow(wanted.flows, "IPv6" if six else "IP", "UDP")
        frames = [(traffic.padded(headers, size), weight) for size, weight in traffic.sizes(wanted.size)]
        return traffic.streams(frames, program, wanted.latency)


def register():
    return Encap()
