#!/usr/bin/env python3
"""Writes the licences of everything that is linked into the plugin and the command.

    third-party.py METADATA ROOT ZIG OUT

METADATA is what `cargo metadata` says inside the root file system ROOT, ZIG is the linker's folder. The texts are the
crates' own, each printed once. A crate whose licence nobody has looked at, or that brings no text where its licence
wants one, ends this with an error. The last line on standard output is one SPDX expression for all of it.
"""

import json
import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

# Licences that ask for no more than their text beside the binary (or not even that).
KNOWN = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
}
TEXTS = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
LINE = "=" * 100


def linked(metadata):
    """The packages whose code ends up in the result: neither build scripts' nor macros'."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package in seen or any("proc-macro" in target["kind"] for target in packages[package]["targets"]):
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted((packages[name] for name in seen - {root}), key=lambda package: (package["name"], package["version"]))


def expression(package):
    """The package's licence as SPDX writes it; a slash is an old way to say OR."""
    text = re.sub(r"\s*/\s*", " OR ", package["license"] or "")
    for alternative in re.split(r"\s+(?:OR|AND)\s+", text.replace("(", "").replace(")", "")):
        if alternative not in KNOWN:
            sys.exit(f"third-party: {package['name']} {package['version']} has the licence {alternative!r}: look at it first")
    return text


def texts(folder):
    """The licence files of a crate: beside its manifest, or in a folder of that name."""
    files = [path for path in folder.iterdir() if TEXTS.match(path.name)]
    files = [file for path in files for file in (path.rglob("*") if path.is_dir() else [path])]
    found = (path for path in sorted(files) if path.is_file() and path.suffix not in {".rs", ".toml", ".py"})
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in found]


def main():
    metadata, root, zig, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    holders, listed, expressions = defaultdict(list), [], {own_licence(metadata)}

    def add(name, licence, found):
        listed.append(f"{name}  ({licence})")
        expressions.add(licence)
        for text in found:
            # The same text with other line ends or spacing is the same text.
            holders[" ".join(text.split())].append((name, text))

    apache = Path(__file__).resolve().parent.parent / "LICENSE-APACHE"
    add("Rust's standard library and what it is made of", "MIT OR Apache-2.0", [apache.read_text().strip()])
    add("LLVM's libunwind", "Apache-2.0 WITH LLVM-exception", texts(zig / "lib/libunwind"))
    add("zig's compiler-rt", "MIT", texts(zig))
    missing = []
    for package in linked(metadata):
        found = texts(root / Path(package["manifest_path"]).parent.relative_to("/"))
        name = f"{package['name']} {package['version']}"
        add(name, expression(package), found)
        if not found:
            missing.append(f"{name}, by {', '.join(package['authors']) or package['repository']}")
    parts = [
        "mosquitto-http-auth is linked with the following, under the licences that their authors chose:",
        "\n".join(listed),
    ]
    if missing:
        parts.append("These bring no text of their licence; it is the one below that has its name:\n\n" + "\n".join(missing))
    for entries in holders.values():
        names = sorted({name for name, _ in entries})
        parts.append(f"{LINE}\n{textwrap.fill(', '.join(names), 100)}\n{LINE}\n\n{entries[0][1]}")
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"third-party: {len(listed)} parts, {len(holders)} texts", file=sys.stderr)
    print(" AND ".join(simplest(expressions)))


def own_licence(metadata):
    root = metadata["resolve"]["root"]
    return next(package["license"] for package in metadata["packages"] if package["id"] == root)


def simplest(expressions):
    """All that holds at once, each part in brackets where it offers a choice, and one that says the same left out."""
    parts = {}
    for text in sorted(expressions):
        for part in re.split(r"\s+AND\s+", text):
            part = part.removeprefix("(").removesuffix(")")
            if "(" in part or ")" in part:
                sys.exit(f"third-party: the licence {text!r} is nested: look at it first")
            parts.setdefault(frozenset(part.split(" OR ")), part)
    return sorted(f"({part})" if " OR " in part else part for part in parts.values())



main()
