#!/usr/bin/env bash
# Runs cargo-deny, and installs it first where it is missing. An unoptimised build is enough: it
# builds in a fraction of the time and runs for a second.
set -euo pipefail
version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -qF "$version"; then
    echo "cargo-deny $version is missing; installing it once (a few minutes)" >&2
    cargo install cargo-deny --version "$version" --locked --debug
fi
exec cargo deny "$@"
