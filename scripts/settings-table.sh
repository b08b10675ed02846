#!/usr/bin/env bash
# Writes the table of settings in docs/configuration.md anew, from the binary that reads them.
# UNDERTONE_BINARY names one that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

page=docs/configuration.md
run() {
    if [ -n "${UNDERTONE_BINARY:-}" ]; then
        "$UNDERTONE_BINARY" "$@"
    else
        ${CARGO:-cargo} run --quiet --bin undertone -- "$@"
    fi
}
table=$(run serve --print-config=markdown)
# Everything before the table stays.
text=$(sed '/^| setting | default/,$d' "$page")
printf '%s\n\n%s\n' "$text" "$table" >"$page"
