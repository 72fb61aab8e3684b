-- A stateful policy of 1,000 rules, a service's address translated, one of eight tunnels. vrouterd
-- has ../whole.yaml.
--
--   cd bench/profiles/pktgen && pktgen -l 0-2 -a VF0 -a VF1 -- -P -m "1.0,2.1" -f whole.lua

local vrouter = require "vrouter"

vrouter.from_machine("0", vrouter.service, 80, 16, 64)
vrouter.measure("0", "1", 10)
