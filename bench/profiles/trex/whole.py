"""A stateful policy of 1,000 rules, a service's address translated, one of eight tunnels. Send on
port 0, receive on port 1.

    start -f whole.py -p 0 -m 100% -t --flows 1000000
"""

import traffic


class Whole:
    def get_streams(self, tunables=(), **_):
        wanted = traffic.arguments(tunables)
        ether = traffic.Ether(src=traffic.MACHINE, dst=traffic.ROUTER)
        headers = ether / traffic.inner("4", "10.1.0.0", traffic.SERVICE, 80)
        program = traffic.each_flow(wanted.flows, "IP", "UDP")
        frames = [(traffic.padded(headers, size), weight) for size, weight in traffic.sizes(wanted.size)]
        return traffic.streams(frames, program, wanted.latency)


def register():
    return Whole()
