"""A stand-in for TRex's stateless API that keeps what a profile asks for instead of sending it.

Names and arguments are TRex's, so that a profile which loads here loads there.
"""

from dataclasses import dataclass
from typing import Any

from scapy.all import IP, UDP, Ether, IPv6  # noqa: F401 - profiles take them from here, as from TRex


@dataclass
class STLVmFlowVar:
    """A variable of `size` bytes that every packet takes the next value of."""

    name: str
    min_value: int
    max_value: int
    size: int
    op: str
    step: int = 1


@dataclass
class STLVmWrFlowVar:
    """Writes a variable where a field begins, or so many bytes after that."""

    fv_name: str
    pkt_offset: Any
    offset_fixup: int = 0


@dataclass
class STLVmWrMaskFlowVar:
    """Writes some bits of a variable."""

    fv_name: str
    pkt_offset: Any
    pkt_cast_size: int = 1
    mask: int = 0xFF
    shift: int = 0
    offset_fixup: int = 0


@dataclass
class STLVmFixIpv4:
    """Corrects the checksum of an IPv4 header."""

    offset: Any


class CTRexVmInsFixHwCs:
    """Kinds of checksums."""

    L4_TYPE_UDP = 11


@dataclass
class STLVmFixChecksumHw:
    """Corrects the checksums of an IP header and of the one behind it."""

    l3_offset: Any
    l4_offset: Any
    l4_type: int


@dataclass
class STLScVmRaw:
    """What becomes of each packet, in order."""

    commands: list


@dataclass
class STLTXCont:
    """Sends on and on."""

    pps: float = 1.0


@dataclass
class STLFlowLatencyStats:
    """Packets of this group are timed."""

    pg_id: int


@dataclass
class STLPktBuilder:
    """A packet and its program."""

    pkt: Any
    vm: STLScVmRaw | None = None


@dataclass
class STLStream:
    """Packets at a rate."""

    packet: STLPktBuilder
    mode: STLTXCont
    isg: float = 0.0
    flow_stats: STLFlowLatencyStats | None = None
