#!/usr/bin/env bash
# Runs a command where Chromium and chromedriver are installed, for the tests of the operators' page:
#
#     scripts/with-chromium.sh cargo test -p undertone-tests --test page
#
# UNDERTONE_CHROMIUM and UNDERTONE_CHROMEDRIVER name the programs where they are not in PATH. The
# exit status is the command's.
set -euo pipefail

say() { echo "with-chromium: $*" >&2; }

if [ $# -eq 0 ]; then
    say "usage: scripts/with-chromium.sh COMMAND [ARGUMENT...]"
    exit 2
fi

# Chromium has other names elsewhere; chromedriver finds those of Chrome by itself.
installed() {
    command -v "${UNDERTONE_CHROMEDRIVER:-chromedriver}" >/dev/null || return 1
    local name
    for name in ${UNDERTONE_CHROMIUM:+"$UNDERTONE_CHROMIUM"} chromium chromium-browser \
        google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null; then
            return 0
        fi
    done
    return 1
}

if ! installed && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing chromium and chromium-driver with apt-get"
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends chromium chromium-driver fonts-liberation; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        say "apt-get could not install chromium and chromium-driver"
        exit 1
    fi
    rm -f "$log"
fi
if ! installed; then
    say "Chromium and chromedriver are missing. Install them:"
    say "    Debian: sudo apt-get install chromium chromium-driver"
    say "    Fedora: sudo dnf install chromium chromedriver"
    say "    macOS:  brew install --cask chromium chromedriver"
    say "or name the programs in UNDERTONE_CHROMIUM and UNDERTONE_CHROMEDRIVER."
    exit 1
fi
exec "$@"
