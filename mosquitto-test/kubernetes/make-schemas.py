#!/usr/bin/env python3
"""Writes schemas.json: what Kubernetes takes for the kinds that docker/kubernetes uses.

    make-schemas.py KUBERNETES CRD > schemas.json

KUBERNETES is the source of a release, as `go mod download k8s.io/kubernetes@v1.34.4` brings it, and CRD is the definition of
ServiceMonitor, as controller-gen writes it of github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring (both are
under the Apache License 2.0). Descriptions are left out, and fields that a schema does not name are forbidden, as
`kubectl --validate=strict` has it.
"""

import json
import sys
from pathlib import Path

import yaml

DOCUMENTS = ["api__v1", "apis__apps__v1", "apis__policy__v1", "apis__networking.k8s.io__v1"]
KINDS = [
    "io.k8s.api.core.v1.ConfigMap", "io.k8s.api.core.v1.Secret", "io.k8s.api.core.v1.Service",
    "io.k8s.api.apps.v1.StatefulSet", "io.k8s.api.policy.v1.PodDisruptionBudget",
    "io.k8s.api.networking.v1.NetworkPolicy",
]


def strict(schema, used):
    """The schema without what is for people, and with nothing in it that it does not name; `used` gets what it refers to."""
    if "$ref" in schema:
        used.add(schema["$ref"].rsplit("/", 1)[1])
        return {"$ref": "#/$defs/" + schema["$ref"].rsplit("/", 1)[1]}
    kept = {key: schema[key] for key in ("type", "enum", "required", "pattern", "minLength", "minItems") if key in schema}
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            kept[key] = [strict(part, used) for part in schema[key]]
    if "items" in schema:
        kept["items"] = strict(schema["items"], used)
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = strict(schema["additionalProperties"], used)
    if "properties" in schema:
        kept["properties"] = {name: strict(part, used) for name, part in schema["properties"].items()}
        kept["additionalProperties"] = False
    return kept


def main():
    definitions = {}
    for name in DOCUMENTS:
        path = Path(sys.argv[1], "api/openapi-spec/v3", f"{name}_openapi.json")
        definitions |= json.loads(path.read_text())["components"]["schemas"]
    kept, waiting, kinds = {}, set(KINDS), {}
    while waiting:
        name = waiting.pop()
        if name not in kept:
            used = set()
            kept[name] = strict(definitions[name], used)
            waiting |= used
    for name in KINDS:
        own = definitions[name]["x-kubernetes-group-version-kind"][0]
        group = f"{own['group']}/" if own["group"] else ""
        kinds[f"{group}{own['version']} {own['kind']}"] = {"$ref": f"#/$defs/{name}"}

    monitor = yaml.safe_load(Path(sys.argv[2]).read_text())["spec"]
    version = next(version for version in monitor["versions"] if version["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"], set())
    schema["properties"]["metadata"] = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    kinds[f"{monitor['group']}/v1 {monitor['names']['kind']}"] = schema
    json.dump({"kinds": kinds, "$defs": kept}, sys.stdout, separators=(",", ":"), sort_keys=True)
    print()


main()
