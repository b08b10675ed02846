#!/usr/bin/env bash
# Runs a command beside a throw-away PostgreSQL server:
#
#     scripts/with-postgres.sh cargo test -p undertone-server
#
# The command finds the server's address in UNDERTONE_TEST_POSTGRES. If that is set already, the
# server it names is used and none is started. The exit status is the command's.
set -euo pipefail

say() { echo "with-postgres: $*" >&2; }

if [ $# -eq 0 ]; then
    say "usage: scripts/with-postgres.sh COMMAND [ARGUMENT...]"
    exit 2
fi
if [ -n "${UNDERTONE_TEST_POSTGRES:-}" ]; then
    exec "$@"
fi

# Prints the folder with initdb, pg_ctl and postgres; Debian keeps them out of PATH, one folder for
# each version.
server_programs() {
    local folder
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) /usr/pgsql-*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ]; then
            echo "$folder"
            return
        fi
    done
    if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
        dirname "$(readlink -f "$(command -v initdb)")"
    fi
}

programs=$(server_programs)
if [ -z "$programs" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing the PostgreSQL server with apt-get"
        log=$(mktemp)
        if ! { apt-get update && DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --no-install-recommends postgresql; } >"$log" 2>&1; then
            cat "$log" >&2
            rm -f "$log"
            say "apt-get could not install postgresql; install it by hand, or set" \
                "UNDERTONE_TEST_POSTGRES to the address of a server"
            exit 1
        fi
        rm -f "$log"
        programs=$(server_programs)
    fi
fi
if [ -z "$programs" ]; then
    say "the PostgreSQL server (initdb, pg_ctl) is missing. Install it:"
    say "    Debian, Ubuntu: sudo apt-get install postgresql"
    say "    Fedora:         sudo dnf install postgresql-server"
    say "    macOS:          brew install postgresql"
    say "or set UNDERTONE_TEST_POSTGRES to the address of a server where databases may be made."
    exit 1
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/undertone-postgres.XXXXXX")
as_server=()
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root. The package made this user.
    if ! id postgres >/dev/null 2>&1; then
        rmdir "$folder"
        say "PostgreSQL refuses to run as root, and there is no user 'postgres' to run it as"
        exit 1
    fi
    chown postgres "$folder"
    as_server=(runuser -u postgres --)
fi

child=
stop() {
    status=$?
    trap - EXIT INT TERM HUP
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    if [ -f "$folder/data/postmaster.pid" ]; then
        server "$programs/pg_ctl" stop -D "$folder/data" -m immediate -s || true
    fi
    rm -rf "$folder"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Runs a program as the server's user, in a folder which that user may enter.
server() { (cd "$folder" && ${as_server[@]+"${as_server[@]}"} "$@"); }

if ! server "$programs/initdb" -D "$folder/data" -U postgres --auth=trust --encoding=UTF8 \
    --locale=C --no-sync >"$folder/initdb.log" 2>&1; then
    cat "$folder/initdb.log" >&2
    exit 1
fi

# fsync is off for speed alone. It guards against a crash of the operating system, which no test
# brings about: a killed process of ours, or a killed backend, loses nothing that was committed.
started=
for _ in 1 2 3 4 5; do
    # A free port may be taken before the server has it, hence the loop.
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    options="-p $port -c listen_addresses=127.0.0.1 -k $folder -c fsync=off"
    options+=" -c max_connections=200 -c shared_buffers=64MB"
    if server "$programs/pg_ctl" start -D "$folder/data" -s -w -t 30 -l "$folder/server.log" \
        -o "$options"; then
        started=yes
        break
    fi
done
if [ -z "$started" ]; then
    cat "$folder/server.log" >&2
    say "PostgreSQL did not start"
    exit 1
fi

export UNDERTONE_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres"
# In the background, so that a signal to this script reaches the trap while the command runs; its
# input is still ours.
"$@" <&0 &
child=$!
status=0
wait "$child" || status=$?
child=
exit "$status"
