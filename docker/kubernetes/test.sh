#!/bin/bash
# docker/kubernetes/test.sh    renders every kustomization and holds it against Kubernetes' schemas and against itself
#
# Needs kubectl, no cluster and no network. The plain manifests are tested with everything else (mosquitto-test); this is for
# what kubectl makes of the kustomizations.
set -euo pipefail
cd "$(dirname "$0")"
tools=${KUBERNETES_TEST_TOOLS:-../../.examples/schemathesis}
if [[ ! -x $tools/bin/python ]]; then
  tools=$(mktemp -d)
  trap 'rm -rf "$tools"' EXIT
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check pyyaml jsonschema-rs
fi
validate() { "$tools/bin/python" ../../mosquitto-test/kubernetes/validate.py "$@"; }

echo "plain: $(validate base/configuration.yaml base/mosquitto.yaml)"
for folder in base example; do
  echo "$folder: $(kubectl kustomize "$folder" | validate -)"
done
