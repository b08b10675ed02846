#!/usr/bin/env bash
# Prints the path of a Python that can run protocol-spec/python: the `python3` that is there, if it
# has the package `cryptography`, else one in a virtual environment under target/, made once from
# PyPI. Says on standard error why there is none, and then ends with status 1.
set -euo pipefail

CRYPTOGRAPHY='cryptography>=42'

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=${CARGO_TARGET_DIR:-$repository/target}/python-client

fail() {
    echo "python-client: $*" >&2
    exit 1
}

usable() { # interpreter
    "$1" -c '
import sys
import cryptography
assert sys.version_info >= (3, 10) and int(cryptography.__version__.split(".")[0]) >= 42
import fcntl' 2>/dev/null
}

python=$(command -v python3) || fail 'python3 is missing'
if usable "$python"; then
    echo "$python"
    exit
fi
if ! usable "$environment/bin/python"; then
    log=$environment.log
    mkdir -p "$(dirname "$environment")"
    # One at a time: tests run side by side.
    exec 9>"$environment.lock"
    flock 9
    usable "$environment/bin/python" || {
        "$python" -m venv "$environment" >"$log" 2>&1 || fail "no virtual environment, see $log"
        "$environment/bin/pip" install --quiet --disable-pip-version-check "$CRYPTOGRAPHY" \
            >"$log" 2>&1 || fail "pip cannot install $CRYPTOGRAPHY, see $log"
    }
fi
usable "$environment/bin/python" || fail "$CRYPTOGRAPHY or Python 3.10 is missing"
echo "$environment/bin/python"
