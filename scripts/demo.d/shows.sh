# What the demo shows, one function each, and the checks that fail it.
# Read by scripts/demo.

# The shop as its customers see it: every tier calls the next by a virtual address.
show_shop() {
    heading "The shop: load ▶ front ▶ redis master, and slaves that copy from it"
    local number
    on red-load curl -s --max-time 5 "http://$front/"
    [[ $said == "Hello 10.1.0.11, this is red-front-"* ]] || fail "the front ends answered: $said"
    on red-load curl -g -s --max-time 5 "http://$front6/"
    [[ $said == "Hello fd01::11, this is red-front-"* ]] || fail "the front ends answered: $said"
    for number in 1 2 3; do
        on red-load curl -s --max-time 5 "http://$front/buy"
        [[ $said == "$number" ]] || fail "order $number was answered: $said"
    done
    on red-master redis-cli info replication
    [[ $said == *connected_slaves:2* ]] || fail "the master has not got two slaves"
    [[ $said == *"ip=10.4.0.11,"*state=online* && $said == *"ip=10.4.0.12,"* ]] ||
        fail "the slaves are not those of red"
    until_answered "a slave with three orders" sold red 3
    on red-load curl -s --max-time 5 "http://$front/sold"
    [[ $said == 3 ]] || fail "the slaves know of $said orders, not 3"
    proved shop "orders by IPv4 and IPv6 through three virtual addresses; two slaves replicate from the master"
}

# sold SHOP NUMBER: whether a shop has so many orders, as its slaves know them.
sold() {
    [[ $(inside "$1-load" curl -s --max-time 2 "http://$front/sold") == "$2" ]]
}

# Equal addresses, and everybody is in their own shop.
show_both_shops() {
    heading "The other shop has the same addresses, and its own machines"
    on blue-load curl -s --max-time 5 "http://$front/"
    [[ $said == *"this is blue-front-"* ]] || fail "blue's load was answered: $said"
    on blue-load curl -s --max-time 5 "http://$front/buy"
    [[ $said == 1 ]] || fail "blue's first order is number $said"
    until_answered "a slave of blue with one order" sold blue 1
    sold red 3 || fail "red's orders changed"
    local number foreign=0
    for number in 1 2 3; do
        foreign=$((foreign + $(requests "blue-front-$number" "/buy") - 0))
    done
    ((foreign == 1)) || fail "blue's front ends saw $foreign orders, 1 was blue's"
    proved two_shops "red has 3 orders and blue 1, at the same addresses"
}

show_ping() {
    heading "Ping within a tier, between nodes"
    on red-front-1 ping -n -c 2 -i 0.2 -W 2 10.2.0.12
    on red-front-1 ping -n -c 2 -i 0.2 -W 2 fd02::13
    proved ping "front ends ping each other, IPv4 and IPv6"
}

# load NUMBER: so many requests of red's load, each by a connection of its own.
# Says how many were not answered.
load() {
    inside red-load curl -s -o /dev/null --max-time 20 --connect-timeout 5 --no-progress-meter \
        -H "Connection: close" -Z --parallel-max 8 -w '%{http_code}\n' \
        "http://$front/load/[1-$1]" 2>/dev/null | grep -cv '^200$' || true
}

show_balance() {
    local count=6000 bad number counts=() least most
    heading "$count connections to the front ends' virtual address"
    for number in 1 2 3; do
        : >"$run_dir/red-front-$number/access.log"
    done
    bad=$(load $count)
    ((bad == 0)) || fail "$bad of $count requests were not answered"
    for number in 1 2 3; do
        counts+=("$(requests "red-front-$number" /load)")
        printf '    red-front-%d  %5d\n' $number "${counts[-1]}"
    done
    least=$(printf '%s\n' "${counts[@]}" | sort -n | head -n 1)
    most=$(printf '%s\n' "${counts[@]}" | sort -n | tail -n 1)
    ((counts[0] + counts[1] + counts[2] == count)) || fail "the front ends saw ${counts[*]} of $count requests"
    ((least * 30 >= count * 9 && most * 30 <= count * 11)) || fail "that is not within 10 % of even"
    proved balance "the front ends share $count connections evenly: ${counts[*]}" \
        "{\"connections\": $count, \"least\": $least, \"most\": $most}"
}

show_failure() {
    heading "A front end is killed"
    local start took bad before
    typed red-front-2 "kill -KILL (nginx)"
    kill_nginx red-front-2
    start=$(date +%s%N)
    for ((;;)); do
        bad=$(load 40)
        ((bad == 0)) && break
        (($(date +%s%N) - start < 15000000000)) || fail "the load still goes to the dead front end"
    done
    took=$((($(date +%s%N) - start) / 1000000))
    printf '    40 of 40 requests are answered again after %d ms\n' $took
    bad=$(load 600)
    ((bad == 0)) || fail "$bad of 600 requests were not answered"
    ask node1 get service red-front
    typed red-front-2 nginx
    before=$(requests red-front-2)
    start_nginx red-front-2
    for _ in {1..100}; do
        (($(requests red-front-2) > before)) && break
        load 10 >/dev/null
    done
    (($(requests red-front-2) > before)) || fail "red-front-2 is back and gets nothing"
    proved failure "a killed front end is noticed, the load moves to the others and comes back with it" \
        "{\"noticed_ms\": $took}"
}

# drops NODE VIF REASON: how many packets that vif has dropped for that reason.
drops() {
    vrctl "$1" stats -o json | jq --arg vif "$2" --arg reason "$3" \
        '[.vifs[] | select(.name == $vif) | .drops[]? | select(.reason == $reason) | .packets | tonumber] | add // 0'
}

# matched NODE POLICY RULE: how many packets that rule has decided about.
matched() {
    vrctl "$1" stats --rules -o json | jq --arg policy "$2" --argjson rule "$3" \
        '[.rules[]? | select(.policy == $policy and .rule == $rule) | .packets // 0 | tonumber] | add // 0'
}

# refused MACHINE HOST: redis there must not answer.
refused() {
    on "$1" timeout 3 redis-cli -h "$2" ping || true
    [[ $said != *PONG* ]] || fail "$1 reached redis, which it does not use"
}

show_refusals() {
    heading "What a tier does not use it does not reach"
    local before after
    before=$(drops node1 red-load no_route)
    refused red-load "${master%:*}"
    refused red-load 10.3.0.11
    ask node1 drops
    after=$(drops node1 red-load no_route)
    ((after > before)) || fail "no drop of red-load was counted as no_route"

    echo "  Somebody gives the load a way by mistake. The master's policy stands:"
    before=$(matched node2 red-master 90)
    cat >"$run_dir/mistake.yaml" <<END
routes:
  - {vrf: red-load, prefix: 10.200.0.3/32, nexthop: red-master-service}
END
    ask node1 apply --owner mistake -f "$run_dir/mistake.yaml"
    refused red-load "${master%:*}"
    ask node2 get policy red-master
    after=$(matched node2 red-master 90)
    ((after > before)) || fail "rule 90 of red-master counted nothing"
    ask node2 drops
    vrctl node2 drops | grep -q policy_rejected || fail "no drop was counted as policy_rejected"
    vrctl node1 delete route red-load 10.200.0.3/32 --owner mistake >/dev/null

    echo "  And nobody pretends to be another machine:"
    inside red-load ip addr add 10.1.0.66/32 dev eth0
    on red-load ping -q -n -c 3 -i 0.1 -W 0.3 -I 10.1.0.66 198.51.100.80 || true
    inside red-load ip addr del 10.1.0.66/32 dev eth0
    (($(drops node1 red-load spoofed_source) >= 3)) || fail "no drop was counted as spoofed_source"
    proved refusal "a tier does not reach what it does not use: no_route, or the rule that refused; every drop has its reason"
}

show_world() {
    heading "Outbound: the world sees a public address and nothing else"
    local seen
    on red-load curl -s --max-time 5 "http://$world/from-red"
    [[ $said == "Hello 203.0.113.1, this is world." ]] || fail "the world sees red otherwise: $said"
    on blue-load curl -s --max-time 5 "http://$world/from-blue"
    [[ $said == "Hello 203.0.113.2, this is world." ]] || fail "the world sees blue otherwise: $said"
    on red-load ping -n -c 2 -i 0.2 -W 2 $world
    typed world cat access.log
    sed 's/^/    /' "$run_dir/world/access.log"
    seen=$(cut -d' ' -f1 "$run_dir/world/access.log" | grep -v '^127' | sort -u | xargs)
    [[ $seen == "203.0.113.1 203.0.113.2" ]] || fail "the world saw $seen"
    ask node1 flows vrf=red-load "addr=$world"
    proved snat "red's load is 203.0.113.1 to the world, and blue's is 203.0.113.2"
}

show_redis() {
    heading "Redis through virtual address, policy and tunnel"
    local latency rate
    typed red-front-1 redis-cli -h "${master%:*}" --latency
    latency=$(inside red-front-1 redis-cli -h "${master%:*}" --latency </dev/null 2>&1 | tail -n 1)
    printf '    min, max, average in ms, samples: %s\n' "$latency"
    on red-front-1 redis-benchmark -h "${master%:*}" -t set,get -n 10000 -c 20 -q
    [[ $said == *"SET: "* && $said == *"GET: "* ]] || fail "redis-benchmark did not finish"
    rate=$(tr '\r' '\n' <<<"$said" | sed -n 's/^GET: \([0-9]*\)[0-9.]* requests per second.*/\1/p' | tail -n 1)
    [[ $rate ]] || fail "redis-benchmark does not say its rate"
    proved redis "redis-benchmark from a front end to the master on another node: $rate GETs per second" \
        "{\"gets_per_second\": $rate, \"latency_ms\": $(awk '{ print $3 + 0 }' <<<"$latency")}"
}

show_throughput() {
    heading "Throughput, and the live flow table meanwhile"
    inside red-front-3 iperf3 --server --one-off >/dev/null &
    local server=$! text gbits
    sleep 0.3
    typed red-front-1 iperf3 --client 10.2.0.13 --time 3
    inside red-front-1 iperf3 --client 10.2.0.13 --time 3 --json >"$run_dir/iperf.json" &
    local client=$!
    sleep 1.5
    ask node1 flows vrf=red-front proto=tcp port=5201
    wait $client || fail "iperf3 failed: $(jq -r '.error // "no reason given"' "$run_dir/iperf.json")"
    wait $server || true
    text=$(jq -r '.end.sum_received | "\(.bytes / 1048576 | floor) MiB in \(.seconds | floor) s"' "$run_dir/iperf.json")
    gbits=$(jq -r '.end.sum_received.bits_per_second / 1e7 | floor / 100' "$run_dir/iperf.json")
    printf '    %s, %s Gbit/s\n' "$text" "$gbits"
    proved throughput "iperf3 over TCP, three nodes and all machines on $(nproc) cores: $gbits Gbit/s" \
        "{\"gbits\": $gbits}"
}

show_counters() {
    heading "Counters of node 1"
    ask node1 stats
}
