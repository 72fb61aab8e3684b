# The cables: network namespaces for nodes and machines, and an end to all of it.
# Read by scripts/demo, whose variables and functions these use.

# inside PLACE COMMAND…: runs a command on a node or machine.
inside() {
    ip netns exec "$prefix$1" "${@:2}"
}

# The names of all namespaces of the demo, also of one that was killed.
places() {
    local path
    for path in /run/netns/"$prefix"*; do
        [[ -e $path ]] && echo "${path##*/"$prefix"}"
    done
    return 0
}

# The processes on any of these places.
processes() {
    local place
    for place in "$@"; do
        ip netns pids "$prefix$place" 2>/dev/null || true
    done
}

remove_everything() {
    local all pids
    mapfile -t all < <(places)
    pids=$(processes "${all[@]}")
    [[ $pids ]] && kill -TERM $pids 2>/dev/null
    # vrouterd gives its ports back; whoever hangs is ended.
    for _ in {1..30}; do
        pids=$(processes "${all[@]}")
        [[ $pids ]] || break
        sleep 0.1
    done
    [[ $pids ]] && kill -KILL $pids 2>/dev/null
    local place
    for place in "${all[@]}"; do
        ip netns del "$prefix$place" 2>/dev/null || true
    done
    rm -rf "$run_dir"
}

make_namespace() {
    ip netns add "$prefix$1"
    inside "$1" ip link set lo up
    inside "$1" sysctl -qw net.ipv6.conf.default.accept_dad=0 \
        net.ipv6.conf.default.router_solicitations=0
}

# port PLACE INTERFACE: leaves an interface to vrouterd alone.
port() {
    inside "$1" sysctl -qw "net.ipv6.conf.$2.disable_ipv6=1"
    # veth would hand over packets without their checksums.
    inside "$1" ethtool -K "$2" tx off gso off tso off gro off >/dev/null
    inside "$1" ip link set "$2" up
}

# The fabric is a switch that all nodes are plugged into.
make_fabric() {
    make_namespace fabric
    inside fabric ip link add switch type bridge
    inside fabric ip link set switch up
    local node
    for node in "${nodes[@]}"; do
        make_namespace "$node"
        ip link add up0 netns "$prefix$node" type veth peer name "$node" netns "${prefix}fabric"
        port "$node" up0
        port fabric "$node"
        inside fabric ip link set "$node" master switch
    done
}

# plug MACHINE NODE MAC ADDRESS/BITS…: a machine's eth0, cabled to a port of the
# node; the first address of each network is its router.
plug() {
    local machine=$1 node=$2 mac=$3 address
    make_namespace "$machine"
    ip link add eth0 netns "$prefix$machine" mtu $overlay_mtu address "$mac" type veth \
        peer name "$machine" netns "$prefix$node" mtu $overlay_mtu
    port "$node" "$machine"
    inside "$machine" ethtool -K eth0 tx off gso off tso off gro off >/dev/null
    inside "$machine" ip link set eth0 up
    for address in "${@:4}"; do
        local router=${address%/*}
        case $router in
        *:*)
            inside "$machine" ip addr add "$address" dev eth0 nodad
            router=${router%:*}:1
            ;;
        *)
            inside "$machine" ip addr add "$address" dev eth0
            router=${router%.*}.1
            ;;
        esac
        inside "$machine" ip route add default via "$router"
    done
}
