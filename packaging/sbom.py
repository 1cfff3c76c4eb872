#!/usr/bin/env python3
"""Writes what the plugin and the command are made of, as CycloneDX 1.6.

    sbom.py METADATA LOCK TARGET FOLDER

METADATA is what `cargo metadata` says of that target, LOCK is Cargo.lock, FOLDER has the library and the command, and gets
sbom.cdx.json. Two runs over the same write the same: the time is SOURCE_DATE_EPOCH, and the serial number is made of the rest.
"""

import hashlib
import json
import os
import sys
import tomllib
import uuid
from datetime import datetime, timezone
from pathlib import Path

from linked import COMPILER_RT, LIBUNWIND, RUST_STD, by_name, expression, linked

NAME = "mosquitto-http-auth"


def main():
    metadata, lock, target, folder = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], sys.argv[3], Path(sys.argv[4])
    checksums = {
        (package["name"], package["version"]): package["checksum"]
        for package in tomllib.loads(Path(lock).read_text())["package"] if "checksum" in package
    }
    parts = linked(metadata)
    root = next(package for package, _ in parts.values() if package["name"] == NAME)
    # The command is a crate of its own, which stands on the plugin's.
    own = [component(package, None) for name, (package, _) in parts.items() if name == metadata["resolve"]["root"]]
    toolchain = [
        {"type": "library", "bom-ref": f"toolchain:{place}", "name": name, "licenses": [{"expression": licence}]}
        for place, (name, licence) in enumerate([RUST_STD, LIBUNWIND, COMPILER_RT])
    ]
    dependencies = [
        {"ref": reference(package), "dependsOn": sorted({reference(parts[name][0]) for name in needed})}
        for package, needed in parts.values()
    ]
    for entry in dependencies:
        if entry["ref"] == reference(root):
            entry["dependsOn"] += [part["bom-ref"] for part in toolchain]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                **component(root, None),
                "type": "application",
                "description": root["description"],
                "properties": [{"name": "target", "value": target}],
                "components": [
                    {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [digest((folder / name).read_bytes())]}
                    for name in ["libmosquitto_http_auth.so", NAME]
                ],
            },
        },
        "components": own + [component(package, checksums) for package in by_name(metadata)] + toolchain,
        "dependencies": sorted(dependencies, key=lambda entry: entry["ref"]),
    }
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bom, sort_keys=True))}"
    (folder / "sbom.cdx.json").write_text(json.dumps(bom, indent=1) + "\n")


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def digest(data):
    return {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}


def component(package, checksums):
    part = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "licenses": [{"expression": expression(package)}],
        "purl": reference(package),
    }
    if checksums is not None:
        # The checksum of the crate as its registry has it.
        part["hashes"] = [{"alg": "SHA-256", "content": checksums[package["name"], package["version"]]}]
    return part


main()
