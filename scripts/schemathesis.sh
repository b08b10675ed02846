#!/usr/bin/env bash
# Tests the service against its own OpenAPI document with schemathesis: made-up requests, good and
# bad, to every route; every answer must be one that the document describes.
#
#     scripts/schemathesis.sh [SEED]
#
# The seed is printed; given again, the same requests are made. EXAMPLES (default 40) bounds how many
# each route gets in each run. Reports of failures are in target/schemathesis/.
set -euo pipefail
cd "$(dirname "$0")/.."

seed=${1:-$((RANDOM * 32768 + RANDOM))}
examples=${EXAMPLES:-40}
folder=$PWD/target/schemathesis
venv=$folder/venv
version=4.32.5
mkdir -p "$folder"

if ! "$venv/bin/schemathesis" --version 2>/dev/null | grep -q "$version"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check \
        "schemathesis==$version" "hypothesis==6.170.17"; then
        rm -rf "$venv"
        if [ -n "${CI:-}" ]; then
            echo "schemathesis: PyPI cannot be reached" >&2
            exit 1
        fi
        echo "schemathesis: left out, PyPI cannot be reached" >&2
        exit 0
    fi
fi

# The features of the tests, so that nothing is built twice.
cargo build --quiet --workspace --all-features --bin service-under-test
target=${CARGO_TARGET_DIR:-target}
names=$folder/service
rm -f "$names"
RUST_LOG=off "$target/debug/service-under-test" >"$names" &
service=$!
trap 'kill "$service" 2>/dev/null || true' EXIT
for _ in $(seq 200); do
    grep -q '^token=' "$names" && break
    sleep 0.1
done
# shellcheck disable=SC1090
. "$names"

# Long polls are short, as nothing comes of them. And what the document alone cannot say: random bytes
# are no message of the protocol and no roster, so that two routes need not take what looks right.
polls='"query.wait" = 1'
operations='[[operations]]
include-path = "/v1/rounds/{round}/{phase}/{index}"
checks = { positive_data_acceptance = { enabled = false } }

[[operations]]
include-path = "/admin/v1/tasks"
include-method = "POST"
checks = { positive_data_acceptance = { enabled = false } }'
printf '[parameters]\n%s\n\n%s\n' "$polls" "$operations" >"$folder/made-up.toml"
# The same with a task and a round that there are. They stand in place of ids that schemathesis made
# wrong, too: where a path has another parameter, it then believes that what is right was wrong.
replaced='[[operations]]
include-path = "/admin/v1/tasks/{task}/clients/{client}/rounds"
checks = { negative_data_rejection = { enabled = false } }'
printf '[parameters]\n"path.task" = "%s"\n"path.round" = "%s"\n%s\n\n%s\n\n%s\n' \
    "$task" "$round" "$polls" "$operations" "$replaced" >"$folder/real.toml"

run() {
    local config=$1
    shift
    echo "schemathesis: ids $config, seed $seed, at most $examples requests for each route"
    # One worker and a fixed seed: the same requests again. All checks are on unless the file says
    # otherwise.
    "$venv/bin/schemathesis" --config-file "$folder/$config.toml" run "$server/openapi.json" \
        --header "Authorization: Bearer $token" --seed "$seed" \
        --max-examples "$examples" --workers 1 --request-timeout 10 \
        --generation-database none --report junit --report-dir "$folder/report-$config" \
        --no-color "$@"
}
# These two end what the others need: the token, which schemathesis finds in the list of tokens, and
# the task.
ends=('/admin/v1/tokens/{token}/revoke' '/admin/v1/tasks/{task}/cancel')
failed=0
run made-up --exclude-path "${ends[0]}" --exclude-path "${ends[1]}" || failed=1
run real --exclude-path "${ends[0]}" --exclude-path "${ends[1]}" || failed=1
run real --include-path "${ends[0]}" --include-path "${ends[1]}" || failed=1
if [ "$failed" = 1 ]; then
    echo "schemathesis: the service and its document disagree; again: scripts/schemathesis.sh $seed" >&2
    exit 1
fi
