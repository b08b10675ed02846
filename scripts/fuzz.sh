#!/usr/bin/env bash
# Fuzzes: scripts/fuzz.sh SECONDS [TARGET...]. Each target runs for so many seconds, over seeds that
# it makes itself and whatever corpus is left from earlier runs; a finding stops it. Installs cargo-fuzz
# first where it is missing.
#
# The toolchain is the stable one. No sanitizer, since nothing here is unsafe; overflow checks and
# debug assertions are on.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(codec aggregator client packing shamir http_body)
fi
version=0.13.2
if ! cargo fuzz --version 2>/dev/null | grep -qF "$version"; then
    echo "cargo-fuzz $version is missing; installing it once (about a minute)" >&2
    cargo install cargo-fuzz --version "$version" --locked --debug
fi
export RUSTC_BOOTSTRAP=1
export RUSTC_WRAPPER=$PWD/fuzz/rustc.sh
# What a target leaves behind: libFuzzer ends the process without cleaning up.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

cargo fuzz build --sanitizer none --codegen-units 16
host=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-fuzz/target}/$host/release
export UNDERTONE_FUZZ_VECTORS=protocol-spec/vectors

for target in "${targets[@]}"; do
    log=$TMPDIR/$target.log
    export UNDERTONE_FUZZ_SEEDS=fuzz/corpus/$target
    mkdir -p "$UNDERTONE_FUZZ_SEEDS" "fuzz/artifacts/$target"
    if ! "$built/$target" "$UNDERTONE_FUZZ_SEEDS" -max_total_time="$seconds" -max_len=4096 \
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz: $target found something; the input is in fuzz/artifacts/$target/" >&2
        exit 1
    fi
    # The last line of progress has the coverage: cov is edges, ft is features, corp is inputs.
    progress=$(grep -E '^#[0-9]+' "$log" | tail -n 1 | sed -E 's/.*(cov: [0-9]+ ft: [0-9]+ corp: [0-9]+).*/\1/')
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    echo "fuzz: $target: $runs runs in $seconds s ($rate a second), $progress"
done
