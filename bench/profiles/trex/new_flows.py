"""First packets only: each packet is of a flow that was not there before, until 8 million have
been, through the whole path. Send on port 0, receive on port 1.

    start -f new_flows.py -p 0 -m 1mpps
"""

import traffic


class NewFlows:
    def get_streams(self, tunables=(), **_):
        wanted = traffic.arguments(tunables, flows=1 << 23)
        ether = traffic.Ether(src=traffic.MACHINE, dst=traffic.ROUTER)
        headers = ether / traffic.inner("4", "10.1.0.0", traffic.SERVICE, 80)
        program = traffic.STLScVmRaw(
            [
                # One after the other: 23 bits over the address's low half and the port's high byte,
                # whose first bit stays set.
                traffic.STLVmFlowVar(
                    name="flow", min_value=0, max_value=min(wanted.flows, 1 << 23) - 1, size=4, op="inc"
                ),
                traffic.STLVmWrMaskFlowVar(
                    fv_name="flow", pkt_offset="IP.src", offset_fixup=2, pkt_cast_size=2, mask=0xFFFF
                ),
                traffic.STLVmWrMaskFlowVar(
                    fv_name="flow", pkt_offset="UDP.sport", pkt_cast_size=1, mask=0x7F, shift=-16
                ),
                traffic.STLVmFixIpv4(offset="IP"),
            ]
        )
        frames = [(traffic.padded(headers, size), weight) for size, weight in traffic.sizes(wanted.size)]
        return traffic.streams(frames, program, wanted.latency)


def register():
    return NewFlows()
