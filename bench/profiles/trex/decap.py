"""Out of a tunnel, past the policy of a vif, to the machine. Send on port 1, receive on port 0.

    start -f decap.py -p 1 -m 100% -t --encap mpls_udp
"""

import traffic


class Decap:
    def get_streams(self, tunables=(), **_):
        wanted = traffic.arguments(tunables)
        six = wanted.family == "6"
        source, destination = ("fd80::", "fd01::a") if six else ("10.128.0.0", "10.1.0.10")
        headers = traffic.inner(wanted.family, source, destination, 8080)
        frame = traffic.outer(wanted.encap, headers)
        # The second headers of their kind in the packet, unless the outer ones are of another.
        ip = "IPv6" if six else "IP:1"
        udp = "UDP" if wanted.encap == "mpls_gre" else "UDP:1"
        program = traffic.each_flow(wanted.flows, ip, udp)
        overhead = len(frame) - len(headers)
        frames = [
            (traffic.padded(frame, size + overhead - 14), weight)
            for size, weight in traffic.sizes(wanted.size)
        ]
        return traffic.streams(frames, program, wanted.latency)


def register():
    return Decap()
