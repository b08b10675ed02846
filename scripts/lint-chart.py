"""Renders the chart in its variants and checks the output against Kubernetes' schemas.

Helm itself is not needed: the templates use only what Go's own templates know, and a Go template
library renders them.
"""

import json
import pathlib
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml
from go_template import render_template

KUBERNETES = ["1.27", "1.33", "1.36"]
VARIANTS = {
    "as it comes": {},
    "one replica, plain names": {"replicas": 1, "metrics": {"annotate": False}},
    "TLS": {"tls": {"secretName": "undertone-tls", "clientCaSecretName": ""}},
    "mutual TLS": {
        "tls": {"secretName": "undertone-tls", "clientCaSecretName": "clients-ca"},
        "settings": {"UNDERTONE__LIMITS__CONNECTIONS": "2000", "UNDERTONE__A": 'a "b": #c'},
    },
}


def render(template: pathlib.Path, context: dict, folder: pathlib.Path) -> str:
    """The text that Go makes of a template; an error of Go's is printed and gives no text."""
    values, out = folder / "values.yaml", folder / "out"
    # JSON is YAML; the library reads YAML.
    values.write_text(json.dumps(context))
    out.unlink(missing_ok=True)
    render_template(str(template), str(values), str(out))
    return out.read_text() if out.exists() else ""


def main(chart: pathlib.Path) -> int:
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    meta = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert meta["apiVersion"] == "v2" and meta["name"] == chart.name, "Chart.yaml"
    faults, kinds = 0, set()
    for title, change in VARIANTS.items():
        values = {**defaults, **change}
        jsonschema.validate(values, schema)
        context = {"Values": values, "Release": {"Name": "demo", "Namespace": "default"}}
        with tempfile.TemporaryDirectory() as folder:
            for template in sorted((chart / "templates").glob("*")):
                text = render(template, context, pathlib.Path(folder))
                if not text.strip() or "<no value>" in text:
                    print(f"    {template.name} ({title}): does not render\n{text}")
                    faults += 1
                    continue
                if template.suffix != ".yaml":
                    continue
                resource = yaml.safe_load(text)
                kinds.add(resource["kind"])
                for version in KUBERNETES:
                    try:
                        kubernetes_validate.validate(resource, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        print(f"    {template.name} ({title}, {version}): {error.message}")
                        faults += 1
                if resource["kind"] == "Deployment":
                    check_environment(resource, values)
    assert kinds == {"Deployment", "Service", "PodDisruptionBudget"}, kinds
    print(f"    {len(VARIANTS)} variants for Kubernetes {', '.join(KUBERNETES)}: {faults} faults")
    return 1 if faults else 0


def check_environment(deployment: dict, values: dict) -> None:
    """Every setting reaches the container as it was given."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    seen = {entry["name"]: entry.get("value") for entry in container["env"]}
    for name, value in values["settings"].items():
        assert seen[name] == value, (name, value, seen[name])


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
