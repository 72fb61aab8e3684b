"""Writes the packets that a TRex profile would send to a capture file.

    python3 tests/trex/packets.py bench/profiles/trex/encap.py --count 1000 --out encap.pcap -t --flows 64
"""

import argparse
import importlib.util
import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from scapy.all import Packet, wrpcap
from trex_stl_lib import api


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("profile", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", required=True)
    parser.add_argument("-t", dest="tunables", nargs=argparse.REMAINDER, default=[])
    wanted = parser.parse_args()
    streams = load(wanted.profile).get_streams(tunables=wanted.tunables, direction=0, port_id=0)
    wrpcap(wanted.out, list(send(streams, wanted.count)), linktype=1)


def load(path):
    """The profile as TRex loads it: its directory is on the path."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.register()


def send(streams, count):
    """`count` frames, of each stream as many as its rate asks for."""
    draw = random.Random(1)
    running = [Running(stream, draw) for stream in streams]
    rates = [stream.mode.pps for stream in streams]
    for stream in draw.choices(running, weights=rates, k=count):
        yield stream.frame()


class Running:
    """A stream that is being sent."""

    def __init__(self, stream, draw):
        self.packet = stream.packet.pkt
        self.bytes = bytes(self.packet)
        self.program = stream.packet.vm.commands if stream.packet.vm else []
        self.draw = draw
        self.values = {}

    def frame(self):
        frame = bytearray(self.bytes)
        for command in self.program:
            self.execute(command, frame)
        return bytes(frame)

    def execute(self, command, frame):
        match command:
            case api.STLVmFlowVar():
                assert command.max_value < 1 << (8 * command.size), command
                self.values[command.name] = (self.next_value(command), command.size)
            case api.STLVmWrFlowVar():
                value, size = self.values[command.fv_name]
                at = self.offset(command.pkt_offset) + command.offset_fixup
                frame[at : at + size] = value.to_bytes(size, "big")
            case api.STLVmWrMaskFlowVar():
                value, _ = self.values[command.fv_name]
                value = value << command.shift if command.shift > 0 else value >> -command.shift
                at, size = self.offset(command.pkt_offset) + command.offset_fixup, command.pkt_cast_size
                old = int.from_bytes(frame[at : at + size], "big")
                new = old & ~command.mask | value & command.mask
                frame[at : at + size] = new.to_bytes(size, "big")
            case api.STLVmFixIpv4():
                at = self.offset(command.offset)
                end = at + 4 * (frame[at] & 15)
                frame[at + 10 : at + 12] = checksum(frame[at:end], 10)
            case api.STLVmFixChecksumHw(l4_type=api.CTRexVmInsFixHwCs.L4_TYPE_UDP):
                ip, udp = self.offset(command.l3_offset), self.offset(command.l4_offset)
                assert frame[ip] >> 4 == 6, "IPv4 flows go without"
                segment = frame[udp:]
                pseudo = frame[ip + 8 : ip + 40] + struct.pack("!II", len(segment), 17)
                frame[udp + 6 : udp + 8] = checksum(pseudo + segment, len(pseudo) + 6)
            case _:
                raise TypeError(command)

    def next_value(self, variable):
        low, high = variable.min_value, variable.max_value
        if variable.op == "random":
            return self.draw.randint(low, high)
        assert variable.op == "inc", variable
        before, _ = self.values.get(variable.name, (low - variable.step, None))
        return low + (before + variable.step - low) % (high - low + 1)

    def offset(self, place):
        """Where a layer, or a field of it, begins: `IP`, `IP:1`, `UDP.sport`, `IP:1.src`."""
        layer, _, field = place.partition(".")
        name, _, number = layer.partition(":")
        at, found = 0, -1
        packet = self.packet
        while isinstance(packet, Packet) and packet.name != "NoPayload":
            if type(packet).__name__ == name:
                found += 1
                if found == int(number or 0):
                    return at + field_offset(packet, field)
            at += len(packet) - len(packet.payload)
            packet = packet.payload
        raise KeyError(place)


def checksum(data, at):
    """The Internet checksum of `data`, whose own place in it is `at` (RFC 1071)."""
    data = data[:at] + b"\0\0" + data[at + 2 :] + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF or 0xFFFF).to_bytes(2, "big")


def field_offset(packet, wanted):
    if not wanted:
        return 0
    bits = 0
    for field in packet.fields_desc:
        if field.name == wanted:
            return bits // 8
        value = packet.getfieldval(field.name)
        bits += int(field.i2len(packet, value) * 8) if field.sz != int(field.sz) or field.sz < 1 else int(field.sz * 8)
    raise KeyError(f"{type(packet).__name__}.{wanted}")


if __name__ == "__main__":
    main()
