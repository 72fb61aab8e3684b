#!/usr/bin/env bash
# The one list of checks. What passes here passes anywhere.
#
#   scripts/ci.sh             all of them
#   scripts/ci.sh PATTERN     those whose name contains it, e.g. clippy
#
# Each check's output is kept in target/ci/, and shown if it fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
PATH=$PATH:$HOME/.cargo/bin
export CARGO_TERM_COLOR=never

pattern=${1-}
logs=target/ci
passed=0
failed=()
left_out=()

# check NAME COMMAND…: one line with its outcome and time.
check() {
    local name=$1 log start status=ok
    shift
    [[ $name == *"$pattern"* ]] || return 0
    log=$logs/${name// /-}.log
    start=$SECONDS
    printf '%-28s' "$name"
    if "$@" >"$log" 2>&1; then
        ((passed++))
    else
        status=FAILED
        failed+=("$name")
    fi
    printf '%-7s %4d s' $status $((SECONDS - start))
    local tests
    tests=$(awk '/^test result:/ { sum += $4 } END { if (sum) print sum }' "$log")
    echo "${tests:+   $tests tests}"
    if [[ $status == FAILED ]]; then
        grep -nE '^(error|warning: unused|---- |test .*FAILED|thread .*panicked)' "$log" | head -n 40
        echo "  … the end of $log:"
        tail -n 40 "$log" | sed 's/^/  | /'
    fi
    local line
    while read -r line; do
        left_out+=("$name: $line")
    done < <(grep -ohP '(?<=left out: ).*' "$log" | sort -u)
}

# leave_out NAME WHY: a check that cannot run here.
leave_out() {
    [[ $1 == *"$pattern"* ]] || return 0
    printf '%-28sleft out: %s\n' "$1" "$2"
    left_out+=("$1: $2")
}

docs() {
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps "$@"
}

# Scripts parse, and stay free of what shellcheck finds, where there is one.
scripts() {
    local script
    for script in .ci/run scripts/{setup,test,demo,ci.sh}; do
        bash -n "$script" && [[ -x $script ]] || return 1
    done
    for script in scripts/demo.d/*.sh; do # read by the demo
        bash -n "$script" || return 1
    done
    if command -v shellcheck >/dev/null; then
        shellcheck -x .ci/run scripts/{setup,test,demo,ci.sh}
    fi
    # Only the syntax; no compiled files beside the sources.
    /usr/bin/python3 -B -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' scripts/demo.d/*.py tests/scapy/*.py tests/scapy/checks/*.py ctl/examples/python/*.py ctl/tests/conformance/*.py
}

# Tests of the tests crate with the programs that the other crates' tests made:
# building them by themselves would build half of everything again.
scenarios() {
    cargo test "$@" --exclude tests --no-run &&
        VROUTER_PROGRAMS=$PWD/target/debug cargo test --package tests "${features[@]}" -- --nocapture --test-threads=1
}

# Everything runs with the drivers where they are installed, and without them where
# they are not. What differs without them is checked in either case.
everything=(--workspace)
features=()
if ! pkg-config --exists libdpdk; then
    everything+=(--exclude dpdk-sys)
    features=(--no-default-features)
fi

if ! command -v cargo >/dev/null; then
    echo "ci: cargo is missing; run scripts/setup" >&2
    exit 1
fi
mkdir -p $logs

check "scripts" scripts
check "format" cargo fmt --all --check
check "clippy without dpdk" cargo clippy --workspace --exclude dpdk-sys \
    --no-default-features --all-targets -- -D warnings
if ((${#features[@]})); then
    leave_out "clippy" "libdpdk-dev is not installed; run scripts/setup"
    leave_out "tests of the drivers" "libdpdk-dev is not installed; run scripts/setup"
else
    check "clippy" cargo clippy --workspace --all-targets -- -D warnings
    check "programs without dpdk" cargo test --workspace --exclude dpdk-sys --exclude tests \
        --no-default-features --test vrouterd --test observe
fi
check "docs" docs "${everything[@]}" "${features[@]}"
# The same packages each time: cargo would build half of everything again for some of them.
tests=(cargo test "${everything[@]}" "${features[@]}" --exclude tests)
check "tests" "${tests[@]}" --no-fail-fast
check "flow table against a model" env MODEL_OPS=10000000 "${tests[@]}" --test model for_long
check "flow table under stress" env STRESS_MS=60000 "${tests[@]}" --test stress everything_at_once
check "flow table under loom" env RUSTFLAGS="--cfg loom" LOOM_MAX_DURATION=20 \
    cargo test --package flowtable --test loom --release --target-dir target/loom
check "policies against a model" env POLICY_PACKETS=1000000 "${tests[@]}" --test policies random
check "decisions against a model" env DECISIONS=1000000 "${tests[@]}" --test decisions
check "mutations of frames" env MUTATIONS=10000000 "${tests[@]}" --test mutations
# One at a time: they pin workers to cores and count lost packets.
check "scenarios" scenarios "${everything[@]}" "${features[@]}"

echo
if ((${#left_out[@]})); then
    printf 'left out: %s\n' "${left_out[@]}"
    # Where every change is judged, a check that did not run is one that failed.
    [[ ${CI-} ]] && failed+=("nothing may be left out where CI is set")
fi
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}"
fi
printf '%d passed, %d failed in %d min %d s\n' $passed ${#failed[@]} $((SECONDS / 60)) $((SECONDS % 60))
((${#failed[@]} == 0))
