-- Out of a VXLAN tunnel to the machine: Pktgen has no VXLAN range, so the packets come from a file
-- that trex/decap.py's packets were written to.
--
--   python3 tests/trex/packets.py bench/profiles/trex/decap.py --count 100000 --out decap.pcap
--   cd bench/profiles/pktgen && pktgen -l 0-2 -a VF0 -a VF1 -- -P -m "1.0,2.1" -s 1:decap.pcap -f decap.lua

local vrouter = require "vrouter"

pktgen.pcap("1", "on")
vrouter.measure("1", "0", 10)
