-- What the scripts beside this one have in common: a range of UDP flows from one port of Pktgen.
-- Port 0 is wired to the vif `machine`, port 1 to `uplink`.

package.path = package.path .. ";?.lua;test/?.lua;app/?.lua"
require "Pktgen"

local vrouter = {
    router = "00:00:5e:00:01:00",
    machine = "02:00:00:00:00:0a",
    sources = "10.1.0.0",
    service = "10.200.0.1",
    far = "10.128.0.0",
}

-- All four values of one range.
local function range(set, port, start, inc, min, max)
    set(port, "start", start)
    set(port, "inc", inc)
    set(port, "min", min)
    set(port, "max", max)
end

local function fixed(set, port, value, zero)
    range(set, port, value, zero, value, value)
end

-- Flows from the machine: 65,536 source addresses, times so many source ports.
function vrouter.from_machine(port, destination, destination_port, ports, size)
    local r = pktgen.range
    fixed(r.dst_mac, port, vrouter.router, "00:00:00:00:00:00")
    fixed(r.src_mac, port, vrouter.machine, "00:00:00:00:00:00")
    range(r.src_ip, port, "10.1.0.0", "0.0.0.1", "10.1.0.0", "10.1.255.255")
    fixed(r.dst_ip, port, destination, "0.0.0.0")
    range(r.src_port, port, 0x8000, 1, 0x8000, 0x8000 + ports - 1)
    fixed(r.dst_port, port, destination_port, 0)
    fixed(r.pkt_size, port, size, 0)
    r.ip_proto(port, "udp")
    pktgen.set_range(port, "on")
end

-- Sends for so many seconds and says what came back on the other port.
function vrouter.measure(port, other, seconds)
    pktgen.clr()
    pktgen.start(port)
    pktgen.delay(seconds * 1000)
    pktgen.stop(port)
    pktgen.delay(200)
    local sent = pktgen.portStats(port, "port")[tonumber(port)].opackets
    local received = pktgen.portStats(other, "port")[tonumber(other)].ipackets
    printf("sent %d, received %d, lost %d: %.2f Mpps\n",
        sent, received, sent - received, received / seconds / 1e6)
end

return vrouter
