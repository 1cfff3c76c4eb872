#!/usr/bin/env python3
"""Holds manifests against Kubernetes' own schemas, and against one another.

    validate.py FILE…    (- is standard input; all files together are one deployment)

Needs PyYAML and jsonschema-rs, which schemathesis brings. Each mistake is one line; the exit status is 1 if there are any.
"""

import json
import sys
from pathlib import Path

import jsonschema_rs
import yaml

SCHEMAS = json.loads((Path(__file__).parent / "schemas.json").read_text())


def against_schema(document):
    kind = f"{document.get('apiVersion')} {document.get('kind')}"
    if kind not in SCHEMAS["kinds"]:
        return [f"{kind}: no schema for it"]
    schema = {**SCHEMAS["kinds"][kind], "$defs": SCHEMAS["$defs"]}
    errors = jsonschema_rs.validator_for(schema).iter_errors(document)
    return [f"{name(document)}: {'.'.join(map(str, error.instance_path)) or 'top'}: {error.message}" for error in errors]


def name(document):
    return f"{document['kind']} {document.get('metadata', {}).get('name')}"


def has(labels, wanted):
    return bool(wanted) and wanted.items() <= labels.items()


class Deployment:
    """The documents together: what one names, another has."""

    def __init__(self, documents):
        self.documents = documents
        self.mistakes = []

    def of(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def named(self, kind, wanted, by):
        if not any(document["metadata"]["name"] == wanted for document in self.of(kind)):
            self.mistakes.append(f"{by}: there is no {kind} {wanted}")

    def check(self, elsewhere):
        [workload] = self.of("StatefulSet")
        pod = workload["spec"]["template"]
        labels, by = pod["metadata"]["labels"], name(workload)
        self.expect(has(labels, workload["spec"]["selector"]["matchLabels"]), f"{by}: its selector is not its pods'")
        self.named("Service", workload["spec"]["serviceName"], by)
        self.containers(workload, by, elsewhere)
        ports = {port["name"] for box in pod["spec"]["containers"] for port in box["ports"]}
        for service in self.of("Service"):
            self.expect(has(labels, service["spec"]["selector"]), f"{name(service)}: it selects no pod")
            for port in service["spec"]["ports"]:
                self.expect(port["targetPort"] in ports, f"{name(service)}: no container has the port {port['targetPort']}")
        for document in self.of("PodDisruptionBudget"):
            self.expect(has(labels, document["spec"]["selector"]["matchLabels"]), f"{name(document)}: it selects no pod")
        for document in self.of("NetworkPolicy"):
            self.expect(has(labels, document["spec"]["podSelector"]["matchLabels"]), f"{name(document)}: it selects no pod")
            for rule in document["spec"]["ingress"]:
                for port in rule["ports"]:
                    self.expect(port["port"] in ports, f"{name(document)}: no container has the port {port['port']}")
        for document in self.of("ServiceMonitor"):
            wanted = document["spec"]["selector"]["matchLabels"]
            found = [service for service in self.of("Service") if has(service["metadata"]["labels"], wanted)]
            offered = {port["name"] for service in found for port in service["spec"]["ports"]}
            for endpoint in document["spec"]["endpoints"]:
                self.expect(endpoint["port"] in offered, f"{name(document)}: no service has the port {endpoint['port']}")

    def containers(self, workload, by, elsewhere):
        spec = workload["spec"]["template"]["spec"]
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            if "configMap" in volume:
                self.named("ConfigMap", volume["configMap"]["name"], by)
            elif "secret" in volume and volume["secret"]["secretName"] not in elsewhere:
                self.named("Secret", volume["secret"]["secretName"], by)
        for box in spec["containers"]:
            mounted = {mount["name"] for mount in box["volumeMounts"]}
            self.expect(mounted == claims | set(volumes), f"{by}: {sorted(mounted ^ (claims | set(volumes)))} is mounted or there, not both")
            paths = [mount["mountPath"] for mount in box["volumeMounts"]]
            self.expect(len(set(paths)) == len(paths), f"{by}: two volumes at one place")
        self.configuration(spec, volumes, by)

    def configuration(self, spec, volumes, by):
        """What mosquitto.conf names is where the container has it, and it listens where the ports say."""
        [box] = spec["containers"]
        [conf] = [document["data"]["mosquitto.conf"] for document in self.of("ConfigMap")]
        mounts = {mount["mountPath"]: mount["name"] for mount in box["volumeMounts"]}
        listens = set()
        for line in conf.splitlines():
            option, _, value = line.partition(" ")
            if option in ("listener", "plugin_opt_metrics_listen"):
                listens.add(int(value.rsplit(":", 1)[-1]))
            path = value.removeprefix("@")
            if path.startswith("/run/secrets/"):
                folder, _, key = path.rpartition("/")
                self.expect(folder in mounts, f"{by}: nothing is mounted for {line!r}")
                volume = volumes.get(mounts.get(folder), {}).get("secret", {})
                for secret in self.of("Secret"):
                    if secret["metadata"]["name"] == volume.get("secretName"):
                        keys = {**secret.get("data", {}), **secret.get("stringData", {})}
                        self.expect(key in keys, f"{by}: the secret has nothing for {line!r}")
        self.expect(listens == {port["containerPort"] for port in box["ports"]}, f"{by}: mosquitto.conf listens on {sorted(listens)}")

    def expect(self, holds, mistake):
        if not holds:
            self.mistakes.append(mistake)


def main():
    files, elsewhere = [], {"mosquitto-tls"}
    for argument in sys.argv[1:]:
        files.append(sys.stdin.read() if argument == "-" else Path(argument).read_text())
    documents = [document for text in files for document in yaml.safe_load_all(text) if document is not None]
    mistakes = [mistake for document in documents for mistake in against_schema(document)]
    # What is no manifest at all cannot be compared.
    if not mistakes:
        deployment = Deployment(documents)
        deployment.check(elsewhere)
        mistakes = deployment.mistakes
    print("\n".join(mistakes) if mistakes else f"{len(documents)} manifests, no mistake")
    sys.exit(1 if mistakes else 0)


main()
