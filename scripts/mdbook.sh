#!/usr/bin/env bash
# Runs mdbook, and installs it first where it is missing. Its optional parts (search, serving) are
# not needed to build the specification.
set -euo pipefail
version=0.5.4
if ! mdbook --version 2>/dev/null | grep -qF "$version"; then
    echo "mdbook $version is missing; installing it once (a few minutes)" >&2
    cargo install mdbook --version "$version" --locked --no-default-features
fi
exec mdbook "$@"
