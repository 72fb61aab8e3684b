# What runs on the machines of a shop. Read by scripts/demo.

# background PLACE COMMAND…: starts a program there and says its process id.
background() {
    inside "$1" "${@:2}" </dev/null >>"$run_dir/$1.log" 2>&1 3>&- 4>&- &
    echo $!
}

# until_answered WHAT COMMAND…: waits for a program to be there.
until_answered() {
    for _ in {1..100}; do
        if "${@:2}" >/dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done
    fail "$1 does not answer"
}

# The machines of a shop: where each is, and its addresses.
plug_shop() {
    local shop=$1 mac=$2
    plug "$shop-load" node1 "$mac:01:11" 10.1.0.11/24 fd01::11/64
    plug "$shop-front-1" node1 "$mac:02:11" 10.2.0.11/24 fd02::11/64
    plug "$shop-front-2" node2 "$mac:02:12" 10.2.0.12/24 fd02::12/64
    plug "$shop-front-3" node3 "$mac:02:13" 10.2.0.13/24 fd02::13/64
    plug "$shop-master" node2 "$mac:03:11" 10.3.0.11/24
    plug "$shop-slave-1" node2 "$mac:04:11" 10.4.0.11/24
    plug "$shop-slave-2" node3 "$mac:04:12" 10.4.0.12/24
}

start_shop() {
    local shop=$1 number
    start_redis "$shop-master"
    for number in 1 2; do
        start_redis "$shop-slave-$number" --replicaof ${master%:*} ${master#*:}
    done
    for number in 1 2 3; do
        background "$shop-front-$number" /usr/bin/python3 "$config/front.py" 8000 $master $slaves >/dev/null
        start_nginx "$shop-front-$number"
    done
}

start_redis() {
    local machine=$1 dir=$run_dir/$1
    mkdir -p "$dir"
    background "$machine" redis-server --bind 0.0.0.0 --protected-mode no --dir "$dir" \
        --save '' --repl-diskless-sync-delay 0 "${@:2}" >/dev/null
    until_answered "redis on $machine" inside "$machine" redis-cli ping
}

# A web server that says whose it is, and has the shop behind it.
start_nginx() {
    local machine=$1 dir=$run_dir/$1
    mkdir -p "$dir"
    cat >"$dir/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections 1024; }
http {
    log_format shop '\$remote_addr \$request_uri';
    access_log $dir/access.log shop;
    server {
        listen 80 backlog=1024;
        listen [::]:80 backlog=1024;
        default_type text/plain;
        location / { return 200 "Hello \$remote_addr, this is $machine.\n"; }
        location = /health { access_log off; return 200 "ok\n"; }
        location = /buy { proxy_pass http://127.0.0.1:8000; }
        location = /sold { proxy_pass http://127.0.0.1:8000; }
    }
}
END
    background "$machine" nginx -e "$dir/error.log" -c "$dir/nginx.conf" >/dev/null
    until_answered "nginx on $machine" inside "$machine" curl -sf http://127.0.0.1/health
}

# Ends a machine's web server as a crash would.
kill_nginx() {
    local children
    children=$(pgrep -P "$(<"$run_dir/$1/pid")")
    kill -KILL "$(<"$run_dir/$1/pid")" $children
}

# requests MACHINE [PATTERN]: how many its web server has answered.
requests() {
    grep -c "${2-.}" "$run_dir/$1/access.log" || true
}
