-- Routed from a machine into a tunnel. vrouterd has ../plain.yaml.
--
--   cd bench/profiles/pktgen && pktgen -l 0-2 -a VF0 -a VF1 -- -P -m "1.0,2.1" -f encap.lua

local vrouter = require "vrouter"

vrouter.from_machine("0", "10.128.0.1", 9, 16, 64)
vrouter.measure("0", "1", 10)
