#!/usr/bin/env bash
# Runs the whole test suite. Expects UNDERTONE_TEST_POSTGRES (see with-postgres.sh); brings Chromium
# (see with-chromium.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/with-chromium.sh true
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --all-features --no-fail-fast "$@"
    cargo test --workspace --all-features --doc "$@"
else
    cargo test --workspace --all-features --no-fail-fast "$@"
fi
