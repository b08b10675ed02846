#!/usr/bin/env bash
# Checks the model of the last two phases, unmask.pml, with spin:
#
#     protocol-spec/model/check.sh [-v] [NAME...]
#
# One line for each configuration: name, states, seconds, MiB, expected result, result. "holds":
# spin searched every state and found no violation. "refuted": spin found one; -v prints how it
# comes about. Without names all configurations are run. The exit status is 1 if any result is not
# the expected one.
set -euo pipefail

say() { echo "model: $*" >&2; }

verbose=
if [ "${1:-}" = -v ]; then
    verbose=yes
    shift
fi
wanted=" $* "

if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing spin and gcc with apt-get"
        log=$(mktemp)
        if ! { apt-get update && DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --no-install-recommends spin gcc libc6-dev; } >"$log" 2>&1; then
            cat "$log" >&2
            rm -f "$log"
            say "apt-get could not install spin; install it by hand (spinroot.com)"
            exit 1
        fi
        rm -f "$log"
    else
        say "spin or gcc is missing. Install them:"
        say "    Debian, Ubuntu: sudo apt-get install spin gcc"
        say "    elsewhere:      spinroot.com"
        exit 1
    fi
fi

# N, C, T, TW, MS.
numbers() { echo "-DN=$1 -DC=$2 -DT=$3 -DTW=$4 -DMS=$5"; }
# The ways to keep the search small, see unmask.pml.
ordered="-DFIXED_U2=1 -DORDERED=1 -DRESTARTS=0"
two="-DFIXED_U2=1 -DCANDIDATES=2 -DRESTARTS=0"
# A ring of twelve, two neighbours on each side; one U3 lacks client 0, the other client 5.
ring="-DN=12 -DC=0 -DK=4 -DT=3 -DMS=11 $ordered -DCANDIDATES=2 -DFIRST=4094 -DSECOND=4063"
VIEW=-DPROPS=1 BOTH=-DPROPS=2 SUM=-DPROPS=4 NONE=-DPROPS=8

# Name, expected result, definitions. The smallest numbers that obey the rules at n = 5, c = 1 are
# t = t_w = min_survivors = 4. Where the threshold alone would save the day, t is 3: then only the
# consistency check stands in the way.
configurations() {
    cat <<END
rules-4               holds    $(numbers 4 1 3 3 3) -DDIRS=2
rules-5               holds    $(numbers 5 1 4 4 4) -DDIRS=2
rules-5-two-corrupt   holds    $(numbers 5 2 4 4 4) -DDIRS=2
rules-6               holds    $(numbers 6 1 4 4 4) $ordered
rules-7               holds    $(numbers 7 2 5 5 5) $two
rules-ring            holds    $ring -DM=3 -DTW=2
can-end-4             refuted  $(numbers 4 1 3 3 3) $NONE
can-end-5             refuted  $(numbers 5 1 4 4 4) $NONE
can-end-5-two-corrupt refuted  $(numbers 5 2 4 4 4) $NONE
can-end-6             refuted  $(numbers 6 1 4 4 4) $ordered $NONE
can-end-7             refuted  $(numbers 7 2 5 5 5) $two $NONE
can-end-ring          refuted  $ring -DM=3 -DTW=2 $NONE
no-check-view         refuted  $(numbers 5 1 4 0 4) $VIEW
no-check-sum          refuted  $(numbers 6 1 4 0 4) $ordered $SUM
no-check-both         refuted  $(numbers 5 1 3 0 4) $BOTH
small-t_w-view        refuted  $(numbers 5 1 4 3 4) $VIEW
small-t_w-both        refuted  $(numbers 5 1 3 3 3) $BOTH
repeats-view          refuted  $(numbers 5 1 4 4 4) -DDISTINCT=0 $VIEW
repeats-both          refuted  $(numbers 5 1 3 4 4) -DDISTINCT=0 $BOTH
forgets-view          refuted  $(numbers 5 1 4 4 4) -DJOURNAL=0 $VIEW
forgets-both          refuted  $(numbers 5 1 4 4 4) -DJOURNAL=0 $BOTH
unbound-view          refuted  $(numbers 5 1 4 4 4) -DBINDS=0 $VIEW
unbound-both          refuted  $(numbers 5 1 3 4 4) -DBINDS=0 $BOTH
unbound-U2-view       refuted  $(numbers 5 1 4 4 4) -DBINDS=1 $VIEW
neighbours-ring       refuted  $ring -DNEIGHBOURS=1 -DTW=3 $SUM
few-signatures-ring   refuted  $ring -DM=4 -DTW=2 $SUM
check-alone           holds    $(numbers 5 1 3 4 4) -DRESTARTS=0
threshold-alone       holds    $(numbers 4 1 3 0 3) $BOTH
END
}

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d "${TMPDIR:-/tmp}/undertone-model.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cp "$here"/*.pml "$folder"
cd "$folder"

# Prints how spin's counterexample comes about, sets as lists of clients.
counterexample() {
    spin -t "$@" unmask.pml | grep -E '^ *(client|the aggregator|and the|two clients)' \
        | awk '{
            while (match($0, /set<[0-9]+>/)) {
                mask = substr($0, RSTART + 4, RLENGTH - 5) + 0; list = ""
                for (i = 0; mask > 0; i++) {
                    if (mask % 2) list = list (list == "" ? "" : " ") i
                    mask = int(mask / 2)
                }
                $0 = substr($0, 1, RSTART - 1) "{" list "}" substr($0, RSTART + RLENGTH)
            }
            sub(/^ */, "    ")
            print
        }' | uniq
}

bad=0
ran=0
printf '%-22s %9s %5s %5s  %-8s %s\n' configuration states s MiB expected result
while read -r name expected definitions; do
    if [ "$wanted" != "  " ] && [[ "$wanted" != *" $name "* ]]; then
        continue
    fi
    ran=$((ran + 1))
    read -ra defines <<<"$definitions"
    rm -f pan pan.* unmask.pml.trail
    # No partial order reduction: every step reads what others write, so it would reduce nothing.
    if ! { spin -a "${defines[@]}" unmask.pml && gcc -O2 -w -DSAFETY -DNOREDUCE -DMEMLIM=3500 \
        -o pan pan.c; } >build.log 2>&1; then
        cat build.log >&2
        say "$name does not compile"
        exit 1
    fi
    started=$SECONDS
    # -E: a client that waits for ever is no error here.
    ./pan -E -m20000 -w22 >pan.log 2>&1 || true
    seconds=$((SECONDS - started))
    if grep -q 'assertion violated' pan.log && [ -s unmask.pml.trail ]; then
        result=refuted
    elif grep -q 'errors: 0$' pan.log && ! grep -Eqi \
        'not completed|search depth too small|out of memory|aborted' pan.log; then
        result=holds
    else
        result=unfinished
    fi
    states=$(awk '/states, stored/ { print $1 }' pan.log)
    memory=$(awk '/total actual memory usage/ { printf "%.0f", $1 }' pan.log)
    printf '%-22s %9s %5s %5s  %-8s %s\n' "$name" "${states:-?}" "$seconds" "${memory:-?}" \
        "$expected" "$result"
    if [ "$result" = unfinished ]; then
        cat pan.log >&2
    fi
    if [ "$result" != "$expected" ]; then
        bad=$((bad + 1))
    fi
    if [ -n "$verbose" ] && [ "$result" = refuted ]; then
        counterexample "${defines[@]}"
    fi
done < <(configurations)

if [ "$ran" = 0 ]; then
    say "no such configuration"
    exit 2
fi
if [ "$bad" != 0 ]; then
    say "$bad of $ran results are not the expected ones"
    exit 1
fi
say "all $ran results are the expected ones"
